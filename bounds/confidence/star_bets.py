"""Bets that aim at what is still missing (STaR); units on the first axis."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from bounds.confidence.betting_limits import COLUMN_BLOCK
from bounds.confidence.capital import LARGEST_STAKE, goal_of_log_capital, past_squares
from bounds.confidence.units import columns, shaped
from redundancy.array_types import BoolArray, FloatArray

# After so many units the pairs whose capital rests are put aside.
REST = 16


def betting_star(values: ArrayLike, *, alpha: float) -> FloatArray:
    """Upper confidence limit of the mean by bets that aim at what is still missing: for one look at n units.

    Narrower than `betting` where the variance is large (by 10% to 16% in the coverage study), equal elsewhere, and
    slower: time grows as n^1.5.

    Parameters
    ----------
    values : array (n, ...)
        Independent units in [0, 1], in the order of observation; n was fixed in advance.
    alpha : float
        Error probability of each column, in (0, 1).

    Returns
    -------
    ndarray (...)
        P(mean > limit) <= alpha for each column; at most 1, rounded up to a grid of 40 sqrt(n) candidates that are
        fixed in advance.

    See Also
    --------
    betting : The default: quicker, and accepts weights.
    betting_anytime : Valid whenever one stops.

    Notes
    -----
    The stake against the candidate m is lambda_j(m) = sqrt(2 log(1/(alpha K_{j-1}(m))) / ((n - j + 1) v_{j-1})),
    at most 0.9 / (1 - m), with v the regularised variance of the past; a capital that has reached 1/alpha rests.
    The capital is a supermartingale under every mean >= m, but no longer monotone in m; so the hypotheses
    "mean >= m" are tested on a fixed grid from m = 1 downwards until the first is not rejected. Of the true ones only
    the first in this order can be the first mistake, which has probability at most alpha.

    References
    ----------
    V. Voracek and F. Orabona, "STaR-Bets: sequential target-recalculating bets for tighter confidence intervals",
    2025, arXiv:2505.22422.

    Examples
    --------
    >>> import numpy as np
    >>> from bounds import confidence
    >>> values = np.random.default_rng(0).random(200) < 0.5
    >>> round(float(confidence.betting(values, alpha=0.05)), 4)
    0.5274
    >>> round(float(confidence.betting_star(values, alpha=0.05)), 4)
    0.512
    """
    d, shape = columns(values, alpha)
    n = d.shape[1]
    candidates = (np.arange(1, (steps := math.ceil(40 * math.sqrt(n))) + 1) / steps) ** 2
    past = past_squares(d, np.ones_like(d)) / np.arange(1, n + 1)
    out = np.empty(d.shape[0])
    per_block = max(1, COLUMN_BLOCK // (8 * steps))
    for start in range(0, d.shape[0], per_block):
        block = slice(start, start + per_block)
        out[block] = _star_limits(d[block], past[block], candidates, alpha)
    return shaped(out, shape)


def _star_limits(d: FloatArray, variance: FloatArray, candidates: FloatArray, alpha: float) -> FloatArray:
    """The last candidate from 1 downwards before the first that is not rejected; d and variance (c, n), result (c,)."""
    rejected = np.zeros((d.shape[0], candidates.size), dtype=bool)
    # The walk almost always ends above the mean of the units: what lies below is tried only where it does not.
    above = candidates >= d.mean(axis=1)[:, None]
    rejected[above] = _star_rejects(d, variance, above, candidates, alpha)
    below = ~above & (rejected | ~above).all(axis=1)[:, None]
    rejected[below] = _star_rejects(d, variance, below, candidates, alpha)
    count = np.cumprod(rejected[:, ::-1], axis=1).sum(axis=1)
    last = candidates.size - 1
    return np.where(count > 0, candidates[np.minimum(candidates.size - count, last)], 1.0)


def _star_rejects(
    d: FloatArray, variance: FloatArray, tried: BoolArray, candidates: FloatArray, alpha: float
) -> BoolArray:
    """Whether the capital of each pair of a column and a candidate that is tried reaches 1/alpha; result (pairs,)."""
    n = d.shape[1]
    goal = goal_of_log_capital(alpha, n)
    column, candidate = np.nonzero(tried)
    rejected = np.zeros(column.size, dtype=bool)
    at_play = np.arange(column.size)
    mean = candidates[candidate]
    with np.errstate(divide="ignore"):
        cap = LARGEST_STAKE / (1.0 - mean)
    capital = np.zeros(column.size)
    for j in range(n):
        missing = np.maximum(goal - capital, 0.0)
        stake = np.minimum(np.sqrt(2.0 * missing / ((n - j) * variance[column, j])), cap)
        # Where nothing is missing the stake is 0, and the capital rests.
        capital += np.log1p(stake * (mean - d[column, j]))
        if j % REST == REST - 1 or j == n - 1:
            resting = capital >= goal
            rejected[at_play[resting]] = True
            going = ~resting
            at_play, column = at_play[going], column[going]
            mean, cap, capital = mean[going], cap[going], capital[going]
            if not at_play.size:
                break
    return rejected
