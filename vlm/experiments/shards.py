"""Which batches a worker does, as `--shard k/n`, a Slurm array or torchrun declares it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from redundancy.display import Displayed


@dataclass(frozen=True, repr=False)
class Shard(Displayed):
    """Worker `number` of `count`, counted from 1; by default one worker that does everything.

    Attributes
    ----------
    number, count : int
        1 <= number <= count.

    Raises
    ------
    ValueError
        Other numbers.

    Examples
    --------
    >>> from vlm.experiments.shards import Shard
    >>> Shard(2, 8)
    Shard(number=2, count=8)
    >>> print(Shard(2, 8))
    2-of-8
    >>> [batch for batch in range(20) if Shard(2, 8).takes(batch)]
    [1, 9, 17]
    """

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(f"shard: expected k/n with 1 <= k <= n, such as 1/4, got {self.number}/{self.count}")

    def __str__(self) -> str:
        return f"{self.number}-of-{self.count}"

    def takes(self, batch: int) -> bool:
        """Whether this worker does the batch with this global number, counted from 0."""
        return batch % self.count == self.number - 1


def shard(text: str | None = None, environment: Mapping[str, str] | None = None) -> Shard:
    """Which worker this process is.

    Parameters
    ----------
    text : str, optional
        "k/n", counted from 1, as the user states it.
    environment : mapping, optional
        Where to look for SLURM_ARRAY_TASK_ID (with _MIN, _COUNT and _STEP) and for torchrun's RANK and WORLD_SIZE;
        the process environment by default. An array of one task, or one rank, declares nothing.

    Returns
    -------
    Shard

    Raises
    ------
    ValueError
        A declaration that is malformed or incomplete, or two that differ.

    Examples
    --------
    >>> from vlm.experiments.shards import shard
    >>> shard("2/8", {})
    Shard(number=2, count=8)
    >>> shard(None, {"RANK": "0", "WORLD_SIZE": "4"})
    Shard(number=1, count=4)
    """
    environment = os.environ if environment is None else environment
    sources = {"--shard": _stated(text), "the Slurm array": _slurm(environment), "torchrun": _torchrun(environment)}
    declared = {source: value for source, value in sources.items() if value is not None}
    if len(set(declared.values())) > 1:
        texts = ", ".join(f"{source} says {value.number}/{value.count}" for source, value in declared.items())
        raise ValueError(f"shard: expected one declaration of which worker this is, got {texts}; use only one of them")
    return next(iter(declared.values()), Shard())


def _stated(text: str | None) -> Shard | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip(), flags=re.ASCII)
    if match is None:
        raise ValueError(f"shard: expected k/n with 1 <= k <= n, such as 1/4, got {text!r}")
    return Shard(int(match[1]), int(match[2]))


def _slurm(environment: Mapping[str, str]) -> Shard | None:
    prefix = "SLURM_ARRAY_TASK_"
    if prefix + "ID" not in environment:
        return None
    if prefix + "COUNT" not in environment:
        raise ValueError(f"shard: {prefix}ID is set without {prefix}COUNT; give --shard k/n and unset {prefix}ID")
    task, count = (_number(environment, prefix + name) for name in ("ID", "COUNT"))
    first = _number(environment, prefix + "MIN", 0)
    place, rest = divmod(task - first, max(1, _number(environment, prefix + "STEP", 1)))
    if rest or not 0 <= place < count:
        raise ValueError(
            f"shard: expected Slurm array tasks without gaps, such as --array=0-6, got task {task} of {count} tasks "
            f"from {first}; a part of an array can be repeated with --shard k/n outside of an array"
        )
    return None if count == 1 else Shard(place + 1, count)


def _torchrun(environment: Mapping[str, str]) -> Shard | None:
    given = [name for name in ("RANK", "WORLD_SIZE") if name in environment]
    if not given:
        return None
    if len(given) == 1:
        raise ValueError(f"shard: expected RANK and WORLD_SIZE together, as torchrun sets them, got only {given[0]}")
    rank, size = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    if not 0 <= rank < size:
        raise ValueError(f"shard: expected 0 <= RANK < WORLD_SIZE, got RANK={rank} and WORLD_SIZE={size}")
    return None if size == 1 else Shard(rank + 1, size)


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name, "" if default is None else str(default))
    if not re.fullmatch(r"\d+", text, flags=re.ASCII):
        raise ValueError(f"shard: expected a whole number >= 0 in {name}, got {text!r}")
    return int(text)
