"""Geometric and proximal redundancy of two layers: how far their states are apart."""

from __future__ import annotations

from numpy.typing import ArrayLike

import redundancy as rd
from redundancy.array_types import FloatArray
from vlm.notions.measures import Confidence, Measure, certified


def distance_measures(
    x: FloatArray, y: FloatArray, groups: ArrayLike, *, t: float, confidence: Confidence, seed: int
) -> list[Measure]:
    """Mean cosine distance, and the probability that it is at most t (D2, D3).

    Parameters
    ----------
    x, y : ndarray (rows, d)
        Earlier and later states.
    groups : array_like (rows,)
        Image of each row.
    t : float
        Distance up to which two states are close.
    confidence : Confidence
        Of each interval.
    seed : int
        Pairs off images for the baseline.

    Returns
    -------
    list of Measure
        "geometric" and "proximal"; the baseline is the same number for states of unrelated images.
    """
    distance = rd.geometric(x, y, groups=groups, baseline=True, rng=seed)
    close = rd.proximal(x, y, t=t, groups=groups, baseline=True, rng=seed)
    return [
        certified(
            "geometric",
            "cosine distance",
            confidence.certify(distance),
            "mean cosine distance",
            baseline=_baseline(distance),
        ),
        certified(
            "proximal",
            f"within {t:g}",
            confidence.certify(close),
            f"probability of a cosine distance of at most {t:g}",
            baseline=_baseline(close),
        ),
    ]


def _baseline(estimate: rd.Estimate) -> float:
    return float("nan") if estimate.baseline is None else float(estimate.baseline)
