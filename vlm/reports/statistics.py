"""Intervals of shares (exact binomial) and of statistics without a simple distribution (bootstrap over whole units)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bounds import confidence as limits

RESAMPLES = 2000
FEWEST = 6  # units; with fewer, resamples of a single unit are no longer rare


def share(count: int, of: int, confidence: float = 0.95) -> tuple[float, float, float]:
    """Compute a proportion with its exact (Clopper-Pearson) interval.

    Parameters
    ----------
    count, of : int
        The proportion is count / of, with 0 <= count <= of.
    confidence : float
        In (0, 1).

    Returns
    -------
    value, low, high : float
        In [0, 1]. If `of` is 0 the value is NaN and the interval is [0, 1].

    See Also
    --------
    bootstrap : For statistics that are not proportions.
    bounds.certify : Intervals for means over images.

    References
    ----------
    Clopper and Pearson (1934), *The use of confidence or fiducial limits illustrated in the case of the binomial*.

    Examples
    --------
    >>> from vlm.reports import share
    >>> tuple(round(number, 3) for number in share(18, 20))
    (0.9, 0.683, 0.988)
    """
    if not of:
        return np.nan, 0.0, 1.0
    happened = np.arange(of) < count
    low, high = limits.interval(happened, alpha=1 - confidence, method="clopper-pearson")
    return count / of, float(low), float(high)


def area_under_curve(score: ArrayLike, positive: ArrayLike) -> float:
    """Compute the area under the ROC curve: P(a positive scores higher than a negative), with ties counting half.

    Parameters
    ----------
    score : array (cells,)
    positive : bool array (cells,)

    Returns
    -------
    float
        In [0, 1]; NaN unless there are both positives and negatives.

    See Also
    --------
    prediction : Uses it to rank cells.
    bootstrap : Its interval.

    Examples
    --------
    >>> from vlm.reports import area_under_curve
    >>> area_under_curve([0.9, 0.8, 0.3, 0.1], [True, False, True, False])
    0.75
    """
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
    """Compute a percentile bootstrap interval of a statistic, drawing whole units with replacement.

    The interval is approximate: correct for many exchangeable units, too short for few. A resample in which the
    statistic is undefined counts as both ends of the support. If the resamples show no spread, or there are fewer
    than six units, the whole support is returned.

    Parameters
    ----------
    statistic : function
        Takes indices of cells and returns a number, NaN where it is undefined.
    units : array (cells,)
        Unit of each cell.
    support : (float, float)
        Range of the statistic.
    confidence : float
        In (0, 1).
    resamples, seed : int
        Number of resamples and their seed.

    Returns
    -------
    low, high : float
        Within the support.
    undefined : int
        Number of resamples in which the statistic was undefined.

    See Also
    --------
    share : The exact interval of a proportion.
    bounds.certify : Intervals with a finite-sample guarantee.

    Examples
    --------
    >>> import numpy as np
    >>> from vlm.reports import bootstrap
    >>> values = np.random.default_rng(0).random(50)
    >>> low, high, undefined = bootstrap(lambda i: values[i].mean(), np.arange(50) // 2, support=(0, 1), resamples=200)
    >>> round(low, 3), round(high, 3), undefined
    (0.444, 0.606, 0)
    """
    low, high = support
    _, index = np.unique(np.asarray(units), return_inverse=True)
    members = [np.flatnonzero(index == u) for u in range(int(index.max()) + 1)]
    if len(members) < FEWEST:
        return low, high, 0
    draws = np.random.default_rng(seed).integers(len(members), size=(resamples, len(members)))
    values = np.array([statistic(np.concatenate([members[u] for u in draw])) for draw in draws])
    undefined = np.isnan(values)
    if undefined.all() or np.ptp(values[~undefined]) == 0:
        return low, high, int(undefined.sum())
    tail = (1 - confidence) / 2
    bottom = np.quantile(np.where(undefined, low, values), tail)
    top = np.quantile(np.where(undefined, high, values), 1 - tail)
    return float(bottom), float(top), int(undefined.sum())
