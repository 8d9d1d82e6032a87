"""Intervals of shares, and of statistics that have no simple law: exact binomial, and a bootstrap over whole units."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bounds import confidence as limits

RESAMPLES = 2000
FEWEST = 6  # units; of fewer, drawing the same one every time is no longer rare


def share(count: int, of: int, confidence: float = 0.95) -> tuple[float, float, float]:
    """count / of with its exact interval (Clopper-Pearson); of nothing the whole range."""
    if not of:
        return np.nan, 0.0, 1.0
    happened = np.arange(of) < count
    low, high = limits.interval(happened, alpha=1 - confidence, method="clopper-pearson")
    return count / of, float(low), float(high)


def area_under_curve(score: ArrayLike, positive: ArrayLike) -> float:
    """P(a positive scores higher than a negative), ties counting one half; NaN without both."""
    from scipy.stats import rankdata

    values, is_positive = np.asarray(score, dtype=np.float64), np.asarray(positive, dtype=bool)
    n, m = int(is_positive.sum()), int((~is_positive).sum())
    if not n or not m:
        return np.nan
    return float((rankdata(values)[is_positive].sum() - n * (n + 1) / 2) / (n * m))


def bootstrap(
    statistic: Callable[[NDArray[np.int64]], float],
    units: ArrayLike,
    *,
    support: tuple[float, float],
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float, int]:
    """Percentile interval of a statistic over whole units drawn with replacement.

    Approximate: it is right for many exchangeable units, and too short for few. A resample in which the
    statistic is undefined counts as both ends of the support; when the resamples show no spread, or there are
    fewer than six units, nothing is known and the whole support is returned.

    Parameters
    ----------
    statistic : function
        Indices of cells to a number, NaN where it is undefined.
    units : array (cells,)
        Unit of each cell.
    support : (float, float)
        Range of the statistic.

    Returns
    -------
    low, high : float
    undefined : int
        Resamples in which the statistic was undefined.
    """
    low, high = support
    _, index = np.unique(np.asarray(units), return_inverse=True)
    members = [np.flatnonzero(index == u) for u in range(int(index.max()) + 1)]
    if len(members) < FEWEST:
        return low, high, 0
    draws = np.random.default_rng(seed).integers(len(members), size=(resamples, len(members)))
    found = np.array([statistic(np.concatenate([members[u] for u in draw])) for draw in draws])
    undefined = np.isnan(found)
    if undefined.all() or np.ptp(found[~undefined]) == 0:
        return low, high, int(undefined.sum())
    tail = (1 - confidence) / 2
    bottom = np.quantile(np.where(undefined, low, found), tail)
    top = np.quantile(np.where(undefined, high, found), 1 - tail)
    return float(bottom), float(top), int(undefined.sum())
