"""What a profile measures and how: every choice, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeAlias, TypedDict, get_args

import numpy as np

from redundancy import checks
from redundancy.array_types import Rng
from vlm.notions.measures import NOTIONS, Notion
from vlm.notions.task_losses import Predictor
from vlm.notions.usable_measures import READERS, Reader

Pairs: TypeAlias = Literal["adjacent", "entry"] | Sequence[tuple[int, int]]


class ProfileOptions(TypedDict, total=False):
    """Parameters that :func:`vlm.profile` and :func:`vlm.profile_states` share, all by keyword."""

    notions: Notion | Sequence[Notion] | None
    pairs: Pairs
    t: float
    codes: int
    radius: float | None
    predictors: Predictor | Sequence[Predictor]
    readers: Reader | Sequence[Reader]
    classes: int
    target_range: tuple[float, float] | None
    folds: int
    fit_share: float
    replicates: int
    confidence: float
    simultaneous: int | None
    rng: Rng
    progress: bool


@dataclass(frozen=True)
class Choices:
    """The checked choices of a profile; the meanings are those of :func:`vlm.profile`."""

    notions: tuple[Notion, ...] = NOTIONS
    pairs: Pairs = "adjacent"
    t: float = 0.05
    codes: int = 16
    radius: float | None = None
    predictors: tuple[Predictor, ...] = get_args(Predictor)
    readers: tuple[Reader, ...] = READERS
    classes: int = 32
    target_range: tuple[float, float] | None = None
    folds: int = 2
    fit_share: float = 0.5
    replicates: int = 40
    confidence: float = 0.95
    simultaneous: int | None = None
    seed: int = 0

    def settings(self) -> dict[str, object]:
        """The choices by name, for the result."""
        return {name: value for name, value in asdict(self).items() if name not in ("pairs", "simultaneous")}


def choices(options: ProfileOptions) -> Choices:
    """Check options and fill in what was not given.

    Raises
    ------
    ValueError
        An unknown notion, predictor or reader, or a number out of its range.
    TypeError
        An option that does not exist.
    """
    given: dict[str, Any] = dict(options)
    known = {f.name for f in fields(Choices)} - {"seed"} | {"rng", "progress"}
    for name in given:
        if name not in known:
            raise TypeError(f"{name}: not an option of a profile; expected some of {', '.join(sorted(known))}")
    given.pop("progress", None)
    rng = options.get("rng", 0)
    given.pop("rng", None)
    if given.get("notions", ()) is None:
        del given["notions"]
    for name, allowed in (("notions", NOTIONS), ("predictors", get_args(Predictor)), ("readers", READERS)):
        if name in given:
            given[name] = _chosen(given[name], allowed, name)
    for name, least in (("codes", 2), ("classes", 2), ("folds", 2), ("replicates", 2)):
        if name in given:
            given[name] = checks.integer(given[name], name=name, least=least)
    if given.get("simultaneous") is not None:
        given["simultaneous"] = checks.integer(given["simultaneous"], name="simultaneous", least=1)
    for name in ("t", "radius"):
        if given.get(name) is not None:
            given[name] = checks.radius(given[name], name=name)
    for name in ("confidence", "fit_share"):
        if name in given:
            given[name] = checks.probability(given[name], name=name, open_ends=True)
    seed = rng if type(rng) is int else int(np.random.default_rng(rng).integers(2**31))
    return Choices(**given, seed=seed)


def _chosen(values: object, allowed: tuple[str, ...], name: str) -> tuple[str, ...]:
    several = [values] if isinstance(values, str) else list(values)  # type: ignore[call-overload]
    for value in several:
        checks.one_of(value, allowed, name=name)
    if not several:
        raise ValueError(f"{name}: expected some of {', '.join(allowed)}, got none")
    return tuple(dict.fromkeys(several))


def layer_pairs(pairs: Pairs, layers: Sequence[int]) -> list[tuple[int, int]]:
    """The pairs (earlier, later) among the recorded states.

    Raises
    ------
    ValueError
        Fewer than two recorded states, a pair that is not recorded or not in order, or an unknown word.
    """
    recorded = sorted(layers)
    if len(recorded) < 2:
        raise ValueError(f"pairs: expected at least two recorded states, got {recorded}")
    if isinstance(pairs, str):
        checks.one_of(pairs, ("adjacent", "entry"), name="pairs")
        firsts = recorded[:-1] if pairs == "adjacent" else [recorded[0]] * (len(recorded) - 1)
        return list(zip(firsts, recorded[1:], strict=True))
    chosen = [(int(earlier), int(later)) for earlier, later in pairs]
    for earlier, later in chosen:
        if earlier not in recorded or later not in recorded or not earlier < later:
            raise ValueError(
                f"pairs: expected pairs (earlier, later) of the recorded states {recorded}, got ({earlier}, {later})"
            )
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(f"pairs: expected at least one pair, and none twice, got {chosen}")
    return chosen
