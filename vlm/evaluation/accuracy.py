"""Accuracy with intervals over images, paired differences between plans, and the furthest certified layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

import bounds
from redundancy import Estimate, checks
from redundancy.array_types import FloatArray

# Loss of accuracy that a certified plan may cost.
TOLERANCE = 0.05


@dataclass(frozen=True)
class Score:
    """A mean over images with its interval, in the unit of the scores."""

    value: float
    low: float
    high: float
    images: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def score_accuracy(
    right: ArrayLike,
    images: ArrayLike,
    *,
    low: float = 0.0,
    high: float = 1.0,
    confidence: float = 0.95,
    weighting: Literal["image", "question"] = "image",
) -> Score:
    """Mean score, with an interval that covers its expectation with the stated probability.

    Parameters
    ----------
    right : array (questions,)
        Score of each question, in [low, high].
    images : array (questions,)
        Image of each question: questions about one image are not independent.
    weighting : {"image", "question"}
        What counts the same: every image (the mean over images of an image's mean), or every question, as
        benchmarks report it. The latter supposes that no image has more questions than the one with most.
    """
    estimate = _per_image(np.asarray(right, dtype=np.float64), images, low, high)
    if weighting == "image":
        limits = bounds.certify_mean(estimate, confidence)
        return Score(float(estimate), float(limits.low), float(limits.high), estimate.n)
    assert estimate.rows is not None
    limits = bounds.certify_token_mean(estimate, confidence, max_rows=float(estimate.rows.max()))
    return Score(float(limits.estimate), float(limits.low), float(limits.high), estimate.n)


def _per_image(values: FloatArray, images: ArrayLike, low: float, high: float) -> Estimate:
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"scores: expected one per question, got shape {values.shape}")
    return Estimate.over_units(values, images, quantity="score", support=(low, high))


def paired_difference(
    right: ArrayLike,
    reference: ArrayLike,
    images: ArrayLike,
    *,
    confidence: float = 0.95,
    weighting: Literal["image", "question"] = "image",
) -> Score:
    """Mean change of the score from the reference, paired question by question, in [-1, 1]; see :func:`score`."""
    delta = np.asarray(right, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    return score_accuracy(delta, images, low=-1.0, high=1.0, confidence=confidence, weighting=weighting)


def certified_layer(
    evaluate: Callable[[int], ArrayLike],
    reference: ArrayLike,
    images: ArrayLike,
    candidates: Sequence[int],
    *,
    tolerance: float = TOLERANCE,
    confidence: float = 0.95,
) -> int | None:
    """The last candidate, in the given order, whose score is certified to fall by at most `tolerance`.

    Compares the frozen model under a skip with the model without, on the same questions: the held-out risk
    difference of docs/certificates.md, which needs no condition on attention or distance. Candidates are
    tested in order, mildest first, and testing stops at the first that is not certified; so the
    probability that any certified one is worse than `tolerance` is at most 1 - confidence, without a union
    bound.

    Parameters
    ----------
    evaluate : function
        Candidate to scores of the questions, each in [0, 1].
    reference : array (questions,)
        Scores without a skip.
    images : array (questions,)
        Image of each question, the unit of sampling.
    candidates : sequence of int
        In the order to be tested; fixed before seeing the scores.

    Returns
    -------
    int or None
        None when not even the first candidate is certified.
    """
    checks.probability(tolerance, name="tolerance")
    last = None
    for candidate in candidates:
        delta = np.asarray(evaluate(candidate), dtype=np.float64) - np.asarray(reference, dtype=np.float64)
        if bounds.certify_mean(_per_image(delta, images, -1.0, 1.0), confidence, side="lower").low < -tolerance:
            break
        last = candidate
    return last
