"""Which candidates keep the promise: joint plans, tested in one fixed sequence on images the search never saw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

import bounds
from bounds import confidence as limits
from redundancy.array_types import FloatArray, IntArray
from redundancy.display import Displayed
from vlm.planner.evidence import Evidence, steps_of
from vlm.planner.frontier import Scored

Stopping = Literal["fixed", "anytime"]


@dataclass(frozen=True, repr=False)
class Tested(Displayed):
    """A candidate's test.

    Attributes
    ----------
    candidate : Scored
        The plan, its cost and what the search saw of it.
    loss : float
        Mean over the images.
    low, high : float
        Two-sided interval of the expected loss at the promise's confidence, for the eye.
    limit : float
        Upper confidence limit of the expected loss: the plan is certified if it is at most the promised loss.
    images : int
        Images that were used.
    certified : bool
    """

    candidate: Scored
    loss: float
    low: float
    high: float
    limit: float
    images: int
    certified: bool


def certification(
    candidates: Sequence[Scored],
    evidence: Evidence,
    groups: IntArray,
    *,
    max_loss: float,
    alpha: float,
    support: tuple[float, float],
    stopping: Stopping = "fixed",
    binary: bool = False,
    say: Callable[[Tested], None] = lambda tested: None,
) -> list[Tested]:
    """Test candidates in the given order; stop at the first that is not certified.

    Parameters
    ----------
    candidates : sequence of Scored
        Mildest first; their order and number are fixed before any certification image is seen.
    evidence : Evidence
        Measures plans on the certification questions.
    groups : ndarray (questions,)
        Image of each question, the unit of sampling; numbered in order of appearance.
    max_loss : float
        The promised loss.
    alpha : float
        Error probability of the whole sequence.
    support : (float, float)
        Range of a question's loss.
    stopping : {"fixed", "anytime"}
        "fixed": every candidate sees all images, and its limit is the narrowest for that number. "anytime": images come
        in steps, and a candidate is certified as soon as its limit allows, by a test that may be watched.
    binary : bool
        Whether every image loses 0 or 1 by the design of the data: the exact limit of Clopper and Pearson then takes
        the place of betting at a fixed number of images.

    Returns
    -------
    list of Tested
        Every candidate that was tested; all but the last are certified for sure.

    Notes
    -----
    If some candidate's expected loss exceeds `max_loss`, an error needs the first such candidate to be certified, which
    has probability at most alpha. So no union bound is needed (fixed-sequence testing). Each candidate is a whole plan:
    nothing is put together from parts that were tested apart.
    """
    out: list[Tested] = []
    for candidate in candidates:
        tested = _test(candidate, evidence, groups, max_loss, alpha, support, stopping, binary)
        out.append(tested)
        say(tested)
        if not tested.certified:
            break
    return out


def image_losses(losses: FloatArray, groups: IntArray) -> FloatArray:
    """Mean loss of each image (images,), in order of appearance."""
    counts = np.bincount(groups)
    return np.asarray(np.bincount(groups, weights=losses) / counts)


def loss_limit(
    values: FloatArray,
    alpha: float,
    support: tuple[float, float],
    *,
    horizon: int | None = None,
    binary: bool = False,
) -> float:
    """One-sided upper confidence limit of the expected loss; with a horizon by the test that may be watched."""
    if horizon is None:
        method: limits.Method = "clopper-pearson" if binary else "betting"
        return float(limits.upper_limit(values, alpha=alpha, method=method, support=support))
    low, high = support
    unit = limits.betting_anytime(limits.to_unit(values, support), alpha=alpha, horizon=horizon)
    return min(high, float(np.nextafter(low + float(unit) * (high - low), np.inf)))


def _test(
    candidate: Scored,
    evidence: Evidence,
    groups: IntArray,
    max_loss: float,
    alpha: float,
    support: tuple[float, float],
    stopping: Stopping,
    binary: bool,
) -> Tested:
    images = int(groups.max()) + 1
    for count in _looks(evidence.size, groups, stopping):
        values = image_losses(evidence.on(candidate.plan, count).loss, groups[:count])
        horizon = None if stopping == "fixed" else images
        limit = loss_limit(values, alpha, support, horizon=horizon, binary=binary)
        if limit <= max_loss:
            break
    low, high = limits.interval(values, alpha=alpha, method="clopper-pearson" if binary else "betting", support=support)
    return Tested(candidate, float(values.mean()), float(low), float(high), limit, len(values), limit <= max_loss)


def _looks(size: int, groups: IntArray, stopping: Stopping) -> Iterator[int]:
    """Numbers of questions after which a candidate is looked at; whole images only."""
    if stopping == "fixed":
        yield size
        return
    for step in steps_of(size):
        # Questions of one image stand together: go on to the end of the image.
        end = step
        while end < size and groups[end] == groups[end - 1]:
            end += 1
        yield end


def images_for(
    max_loss: float, rate: float, *, confidence: float, power: float = 0.8, binary: bool = False
) -> int | None:
    """Images that a promise probably needs at a disagreement rate; None if no number is enough."""
    try:
        return bounds.images_needed(
            max_loss, rate, confidence, power, method="clopper-pearson" if binary else "betting"
        )
    except ValueError:
        return None
