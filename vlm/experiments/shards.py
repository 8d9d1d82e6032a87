"""Which batches are one worker's: `--shard k/n`, a Slurm array and torchrun all say the same thing."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Shard:
    """Worker `number` of `count`, counted from 1."""

    number: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(f"shard: expected k/n with 1 <= k <= n, such as 1/4, got {self.number}/{self.count}")

    def __str__(self) -> str:
        return f"{self.number}-of-{self.count}"

    def takes(self, batch: int) -> bool:
        """Whether the batch with this global number is this worker's."""
        return batch % self.count == self.number - 1


def shard(text: str | None = None, environment: Mapping[str, str] | None = None) -> Shard:
    """Find out which worker this is.

    Parameters
    ----------
    text : str, optional
        "k/n", counted from 1: what the user asked for.
    environment : mapping, optional
        Where to look for SLURM_ARRAY_TASK_ID (with _MIN, _COUNT and _STEP) and for torchrun's RANK and WORLD_SIZE;
        the process environment by default. One task or one rank alone says nothing.

    Raises
    ------
    ValueError
        A declaration that is malformed or half there, or two that differ.
    """
    environment = os.environ if environment is None else environment
    found = {"--shard": _asked(text), "the Slurm array": _slurm(environment), "torchrun": _torchrun(environment)}
    said = {source: value for source, value in found.items() if value is not None}
    if len(set(said.values())) > 1:
        listed = ", ".join(f"{source} says {value.number}/{value.count}" for source, value in said.items())
        raise ValueError(f"shard: expected one declaration of which worker this is, got {listed}; use only one of them")
    return next(iter(said.values()), Shard())


def _asked(text: str | None) -> Shard | None:
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
