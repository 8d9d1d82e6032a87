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
from redundancy.display import Displayed

Weighting = Literal["image", "question"]

# Loss of accuracy that a certified plan may cost.
TOLERANCE = 0.05


@dataclass(frozen=True, repr=False)
class Score(Displayed):
    """A mean over images with its confidence interval, in the unit of the scores.

    Attributes
    ----------
    value : float
        The mean.
    low, high : float
        Confidence limits of its expectation.
    images : int
        Number of images, the units of sampling.

    Examples
    --------
    >>> from vlm.evaluation.accuracy import Score
    >>> score = Score(0.75, 0.7, 0.8, images=100)
    >>> score
    Score(value=0.75, low=0.7, high=0.8, images=100)
    >>> print(score)
    0.750 [0.700, 0.800]
    >>> f"{score:.0%}"
    '75%'
    """

    value: float
    low: float
    high: float
    images: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def score_accuracy(
    right: ArrayLike,
    groups: ArrayLike,
    *,
    low: float = 0.0,
    high: float = 1.0,
    confidence: float = 0.95,
    weighting: Weighting = "image",
    max_rows: float | None = None,
) -> Score:
    """Mean score, with a finite-sample confidence interval for its expectation.

    Parameters
    ----------
    right : array (questions,)
        Score of each question, in [`low`, `high`].
    groups : array (questions,)
        Image of each question: questions about one image are not independent.
    low, high : float
        Range of the scores.
    confidence : float
        Probability with which the interval covers, in (0, 1).
    weighting : {"image", "question"}
        Unit of weighting: "image" weights images equally (the mean over images of an image's mean score), "question"
        weights questions equally, as benchmarks report it, and needs `max_rows`.
    max_rows : float, optional
        Largest number of questions that any image of the data set's population can have, known before seeing the
        sample, for instance from the data set's definition. It is never read off the sample: the largest number seen
        says little about the images that were not drawn, and an interval built on it misses too often.

    Returns
    -------
    Score
        In the unit of `right`.

    Raises
    ------
    ValueError
        Scores that are not one per question or lie outside [`low`, `high`], another number of labels;
        weighting="question" without `max_rows`, or an image with more questions than that.

    See Also
    --------
    paired_difference : The change of the score from a reference.

    Notes
    -----
    The interval is that of :func:`bounds.certify_mean` (:func:`bounds.certify_token_mean` for questions): images are
    drawn independently, and nothing is supposed about the distribution of an image's scores within their range.

    References
    ----------
    Theory, section 9.1 (docs/explanation/theory); Waudby-Smith and Ramdas (2024), *Estimating means of bounded
    random variables by betting*, arXiv:2010.09686.

    Examples
    --------
    100 images, the first 50 with three questions each; all answers about 80 images are right:

    >>> import numpy as np
    >>> from vlm import score_accuracy
    >>> groups = np.repeat(np.arange(100), [3] * 50 + [1] * 50)
    >>> print(score_accuracy(groups < 80, groups))
    0.800 [0.686, 0.888]
    >>> print(score_accuracy(groups < 80, groups, weighting="question", max_rows=3))
    0.900 [0.829, 0.961]
    """
    estimate = _per_image(np.asarray(right, dtype=np.float64), groups, low, high)
    if weighting == "image":
        limits = bounds.certify_mean(estimate, confidence)
        return Score(float(estimate), float(limits.low), float(limits.high), estimate.n)
    if weighting != "question":
        raise ValueError(f"weighting: expected 'image' or 'question', got {weighting!r}")
    if max_rows is None:
        raise ValueError(
            "max_rows: expected the largest number of questions that any image can have, known in advance, for "
            "weighting='question'; the largest number in the sample is not that. Give it from the data set's "
            "definition, or use weighting='image'"
        )
    limits = bounds.certify_token_mean(estimate, confidence, max_rows=max_rows)
    return Score(float(limits.estimate), float(limits.low), float(limits.high), estimate.n)


def _per_image(values: FloatArray, groups: ArrayLike, low: float, high: float) -> Estimate:
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"scores: expected one per question, got shape {values.shape}")
    return Estimate.over_units(values, groups, quantity="score", support=(low, high))


def paired_difference(
    right: ArrayLike,
    reference: ArrayLike,
    groups: ArrayLike,
    *,
    confidence: float = 0.95,
    weighting: Weighting = "image",
    max_rows: float | None = None,
) -> Score:
    """Mean change of the score from a reference, paired question by question, with its confidence interval.

    Parameters
    ----------
    right : array (questions,)
        Score of each question under a plan, in [0, 1].
    reference : array (questions,)
        Score of the same questions without it, in [0, 1].
    groups, confidence, weighting, max_rows
        As for :func:`score_accuracy`.

    Returns
    -------
    Score
        In [-1, 1]; negative where the plan costs accuracy.

    Raises
    ------
    ValueError
        As :func:`score_accuracy` does.

    See Also
    --------
    score_accuracy : The score itself.
    bounds.certify : Intervals for measurements.

    Notes
    -----
    Pairing removes the variance that both scores share, which is most of it when few answers change.
    ``vlm.evaluation.accuracy.certified_layer`` applies it to one candidate after another.

    References
    ----------
    Theory, sections 9.1 and 9.2 (docs/explanation/theory); Waudby-Smith and Ramdas (2024), *Estimating means of
    bounded random variables by betting*, arXiv:2010.09686.

    Examples
    --------
    A plan that spoils the answers about 5 of 200 images:

    >>> import numpy as np
    >>> from vlm import paired_difference
    >>> groups = np.arange(200)
    >>> reference = groups < 150
    >>> print(paired_difference(reference & (groups >= 5), reference, groups))
    -0.025 [-0.072, 0.003]
    """
    delta = np.asarray(right, dtype=np.float64) - np.asarray(reference, dtype=np.float64)
    return score_accuracy(
        delta, groups, low=-1.0, high=1.0, confidence=confidence, weighting=weighting, max_rows=max_rows
    )


def certified_layer(
    evaluate: Callable[[int], ArrayLike],
    reference: ArrayLike,
    groups: ArrayLike,
    candidates: Sequence[int],
    *,
    tolerance: float = TOLERANCE,
    confidence: float = 0.95,
) -> int | None:
    """The last candidate, in the given order, whose score is certified to fall by at most `tolerance`.

    Parameters
    ----------
    evaluate : function
        From a candidate to the scores of the questions under it, each in [0, 1].
    reference : array (questions,)
        Scores without a skip, in [0, 1].
    groups : array (questions,)
        Image of each question, the unit of sampling.
    candidates : sequence of int
        In the order to be tested, mildest first; fixed before seeing the scores.
    tolerance : float
        Largest loss of the mean score that is acceptable, in [0, 1].
    confidence : float
        Probability that the certified loss holds, in (0, 1).

    Returns
    -------
    int or None
        None if not even the first candidate is certified.

    Raises
    ------
    ValueError
        A tolerance outside [0, 1], or scores as for :func:`score_accuracy`.

    Notes
    -----
    The model under a skip is compared with the model without one on the same questions: a held-out risk difference,
    which needs no condition on attention or distance. Candidates are tested in order, and testing stops at the first
    that is not certified. So the probability that any certified one is worse than `tolerance` is at most
    1 - `confidence`, without a union bound.

    Examples
    --------
    Layer 7 loses the answers about 40 % of the images, so testing stops there:

    >>> import numpy as np
    >>> from vlm.evaluation.accuracy import certified_layer
    >>> groups = np.arange(400)
    >>> loss = {9: 0.0, 8: 0.0, 7: 0.4, 6: 0.0}
    >>> certified_layer(lambda layer: groups >= 400 * loss[layer], np.ones(400), groups, [9, 8, 7, 6])
    8
    """
    checks.probability(tolerance, name="tolerance")
    last = None
    for candidate in candidates:
        delta = np.asarray(evaluate(candidate), dtype=np.float64) - np.asarray(reference, dtype=np.float64)
        if bounds.certify_mean(_per_image(delta, groups, -1.0, 1.0), confidence, side="lower").low < -tolerance:
            break
        last = candidate
    return last
