"""Limits by betting on every candidate mean (theory, sections 9.1 and 16.5); units on the first axis."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.confidence.capital import Stakes, anytime_stakes, fixed_n_stakes, goal_of_log_capital, log_capital
from bounds.confidence.units import ROUNDING, columns, first_rejected, shaped
from redundancy import checks
from redundancy.array_types import BoolArray, FloatArray

COLUMN_BLOCK = 2_000_000  # largest array that betting works on at a time, in numbers


def betting(values: ArrayLike, *, alpha: float, weights: ArrayLike | None = None) -> FloatArray:
    """Upper confidence limit of the mean by betting on every candidate: for one look at n units, n fixed in advance.

    Parameters
    ----------
    values : array (n, ...)
        Independent units in [0, 1], in the order of observation.
    alpha : float
        Error probability of each column, in (0, 1).
    weights : array (n, ...), optional
        Weights w in [0, 1], drawn with the unit: the limit is then for E[w D] / E[w] (token-weighted
        mean: w = tokens of the image / largest possible number).

    Returns
    -------
    ndarray (...)
        P(mean > limit) <= alpha for each column; at most 1, rounded up. Valid for one look at n units, n fixed
        before seeing them: recomputed after every unit and stopped at will it misses far more often.

    Raises
    ------
    ValueError
        Values or weights outside [0, 1], or of different shapes.

    See Also
    --------
    betting_anytime : Somewhat wider, and valid whenever one stops.
    upper_limit : The same for any finite support, by the method's name.

    Notes
    -----
    The limit is inf { m : max_{i <= n} K_i(m) >= 1/alpha } with the capital
    K_i(m) = prod_{j <= i} (1 + lambda_j(m) (m - D_j)) (theory, section 9.1). The stake
    lambda_j(m) = min(lambda_j, 0.9 / (1 - m)) has lambda_j from the past D_1..D_{j-1} only, and each factor is
    non-negative and non-decreasing in m: {m : K < 1/alpha} is an interval. At m = mean, K is a non-negative
    martingale, so the limit is valid by Ville's inequality. The stakes are tuned to n: with another n every
    stake is another one, and the limits of two lengths do not belong to one martingale (theory, section 16.5). The
    order of the units matters and must not depend on the values.

    References
    ----------
    Waudby-Smith and Ramdas (2024), *Estimating means of bounded random variables by betting*, arXiv:2010.09686.

    Examples
    --------
    >>> import numpy as np
    >>> from bounds import confidence
    >>> values = np.random.default_rng(0).beta(1, 30, 200)
    >>> round(float(values.mean()), 4)
    0.0352
    >>> round(float(confidence.betting(values, alpha=0.05)), 4)
    0.0517
    """
    return _betting(values, weights, alpha=alpha, stakes=fixed_n_stakes)


def betting_rejects(values: ArrayLike, candidate: float, *, alpha: float) -> BoolArray:
    """Whether the limit of `betting` is at most a candidate mean: one evaluation instead of a bisection.

    Parameters
    ----------
    values : array (n, ...)
        As in :func:`betting`.
    candidate : float
        In [0, 1].
    alpha : float
        Error probability of each column, in (0, 1).

    Returns
    -------
    ndarray of bool (...)

    Examples
    --------
    >>> import numpy as np
    >>> from bounds import confidence
    >>> values = np.random.default_rng(0).beta(1, 30, 200)
    >>> [bool(confidence.betting_rejects(values, m, alpha=0.05)) for m in (0.05, 0.06)]
    [False, True]
    """
    d, shape = columns(values, alpha)
    candidate = checks.probability(candidate, name="candidate")
    ones = np.ones_like(d)
    capital = log_capital(d, ones, fixed_n_stakes(d, ones, alpha), np.full(d.shape[0], candidate - ROUNDING))
    return np.asarray(capital.max(axis=1) > goal_of_log_capital(alpha, d.shape[1])).reshape(shape)


def betting_anytime(
    values: ArrayLike, *, alpha: float, weights: ArrayLike | None = None, horizon: int | None = None
) -> FloatArray:
    """Upper confidence limit of the mean by betting, valid at every stopping time: the units may be watched.

    Parameters
    ----------
    values : array (n, ...)
        Independent units in [0, 1], in the order of observation: all that were seen so far.
    alpha : float
        Error probability of each column, in (0, 1), of all looks together.
    weights : array (n, ...), optional
        As in :func:`betting`.
    horizon : int, optional
        Number of units, fixed in advance, at which the limit is to be narrowest. Watching may stop before it or go
        on after it. By default no number is preferred.

    Returns
    -------
    ndarray (...)
        P(limit < mean at any n = 1, 2, ...) <= alpha for each column; at most 1, rounded up. More units never
        raise it beyond rounding.

    Raises
    ------
    ValueError
        Values or weights outside [0, 1], or of different shapes; a horizon below 1.

    See Also
    --------
    betting : Narrower, for one look at a number of units fixed in advance.

    Notes
    -----
    As :func:`betting`, with stakes that depend on past units, alpha and the horizon alone, never on the
    current number of units: lambda_j = sqrt(2 log(1/alpha) j / (max(j, N) V_{j-1})) with the horizon N, and
    lambda_j = sqrt(2 log(1/alpha) / (log(1 + j) V_{j-1})) without. Then all limits belong to one martingale, and by
    Ville's inequality they hold together (theory, section 16.5).

    References
    ----------
    Waudby-Smith and Ramdas (2024), *Estimating means of bounded random variables by betting*, arXiv:2010.09686,
    Theorem 3.

    Examples
    --------
    >>> import numpy as np
    >>> from bounds import confidence
    >>> values = np.random.default_rng(0).beta(1, 30, 200)
    >>> [round(float(confidence.betting_anytime(values[:n], alpha=0.05)), 4) for n in (50, 100, 200)]
    [0.1008, 0.0682, 0.0516]
    >>> [round(float(confidence.betting_anytime(values[:n], alpha=0.05, horizon=200)), 4) for n in (50, 100, 200)]
    [0.1047, 0.0688, 0.0517]
    """
    if horizon is not None:
        horizon = checks.integer(horizon, name="horizon", least=1)

    def stakes(d: FloatArray, w: FloatArray, alpha: float) -> FloatArray:
        return anytime_stakes(d, w, alpha, horizon)

    return _betting(values, weights, alpha=alpha, stakes=stakes)


def _betting(values: ArrayLike, weights: ArrayLike | None, *, alpha: float, stakes: Stakes) -> FloatArray:
    d, shape = columns(values, alpha)
    w = np.ones_like(d) if weights is None else columns(weights, alpha, name="weights")[0]
    if w.shape != d.shape:
        raise ValueError(f"weights: expected one weight per value, got {w.shape[1]} for {d.shape[1]} units")
    out = np.empty(d.shape[0])
    per_block = max(1, COLUMN_BLOCK // d.shape[1])
    for start in range(0, d.shape[0], per_block):
        block = slice(start, start + per_block)
        out[block] = _betting_block(d[block], w[block], alpha, stakes)
    return shaped(out, shape)


def _betting_block(d: FloatArray, w: FloatArray, alpha: float, stakes: Stakes) -> FloatArray:
    stake = stakes(d, w, alpha)
    goal = goal_of_log_capital(alpha, d.shape[1])

    def rejected(m: FloatArray) -> BoolArray:
        return np.asarray(log_capital(d, w, stake, m).max(axis=1) > goal)

    return first_rejected(rejected, np.zeros(d.shape[0]))
