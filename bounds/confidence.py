"""Finite-sample confidence limits for the mean of bounded independent units (theory, section 9.1), vectorised.

Every method takes values (n, ...) in [0, 1] with the units on the first axis, and returns limits (...)
such that P(mean > limit) <= alpha for each column, for a number of units that was fixed in advance. Limits are rounded
up; lower limits come by reflection. `betting_anytime` alone may be watched while units come in (theory, section 16.5).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import BoolArray, FloatArray

# Covers the rounding of pairwise sums and of the map to [0, 1], in units of the support's width.
ROUNDING = 64 * np.finfo(np.float64).eps
BISECTIONS = 52
COLUMN_BLOCK = 2_000_000  # largest array that betting works on at a time, in numbers
# Largest share of the capital that a bet may lose: a single far unit must not bankrupt the bettor.
LARGEST_STAKE = 0.9


def hoeffding(values: ArrayLike, *, alpha: float) -> FloatArray:
    """Upper confidence limit of the mean in closed form, from Hoeffding's inequality.

    Parameters
    ----------
    values : array (n, ...)
        Independent units in [0, 1] on the first axis.
    alpha : float
        Error probability of each column, in (0, 1).

    Returns
    -------
    ndarray (...)
        P(mean > limit) <= alpha for each column; at most 1, rounded up.

    See Also
    --------
    upper_limit : The same for any finite support, by the method's name.

    Notes
    -----
    mean + sqrt(log(1/alpha) / (2 n)) (theory, section 9.1). Never below the limit of `chernoff_kl`.

    References
    ----------
    W. Hoeffding, "Probability inequalities for sums of bounded random variables", JASA, 1963.

    Examples
    --------
    >>> import numpy as np
    >>> from bounds import confidence
    >>> values = np.random.default_rng(0).beta(1, 30, 200)
    >>> round(float(values.mean()), 4)
    0.0352
    >>> round(float(confidence.hoeffding(values, alpha=0.05)), 4)
    0.1217
    """
    d, shape = _columns(values, alpha)
    return _shaped(d.mean(axis=1) + deviation(d.shape[1], alpha), shape)


def deviation(n: int, alpha: float) -> float:
    """Deviation s = sqrt(log(1/alpha) / (2 n)) of Hoeffding's and the DKW-Massart inequality.

    Parameters
    ----------
    n : int
        Number of independent units.
    alpha : float
        Error probability.

    Returns
    -------
    float
        Not rounded.

    Examples
    --------
    >>> from bounds import confidence
    >>> round(confidence.deviation(200, 0.05), 4)
    0.0865
    """
    if not (math.isfinite(n) and n >= 1):
        raise ValueError(f"n: expected at least one unit, got {n}")
    return math.sqrt(-math.log(alpha) / (2 * n))


def chernoff_kl(values: ArrayLike, *, alpha: float) -> FloatArray:
    """Upper confidence limit of the mean from Chernoff's bound with the binary divergence.

    Parameters
    ----------
    values : array (n, ...)
        Independent units in [0, 1] on the first axis.
    alpha : float
        Error probability of each column, in (0, 1).

    Returns
    -------
    ndarray (...)
        P(mean > limit) <= alpha for each column; at most 1, rounded up.

    See Also
    --------
    upper_limit : The same for any finite support, by the method's name.

    Notes
    -----
    The largest mu with n d(mean || mu) <= log(1/alpha), d the binary divergence (theory, section 9.1).

    References
    ----------
    W. Hoeffding, "Probability inequalities for sums of bounded random variables", JASA, 1963, Theorem 1.

    Examples
    --------
    >>> import numpy as np
    >>> from bounds import confidence
    >>> values = np.random.default_rng(0).beta(1, 30, 200)
    >>> round(float(values.mean()), 4)
    0.0352
    >>> round(float(confidence.chernoff_kl(values, alpha=0.05)), 4)
    0.0766
    """
    d, shape = _columns(values, alpha)
    n, mean = d.shape[1], d.mean(axis=1)
    complement = (1.0 - d).mean(axis=1)

    def rejected(mu: FloatArray) -> BoolArray:
        return np.asarray(n * _binary_divergence_below(mean, complement, mu) > -math.log(alpha))

    return _shaped(_first_rejected(rejected, mean), shape)


def anderson_dkw(values: ArrayLike, *, alpha: float) -> FloatArray:
    """Upper confidence limit of the mean by integrating a confidence band of the survival function.

    Parameters
    ----------
    values : array (n, ...)
        Independent units in [0, 1] on the first axis.
    alpha : float
        Error probability of each column, in (0, 1).

    Returns
    -------
    ndarray (...)
        P(mean > limit) <= alpha for each column; at most 1, rounded up.

    See Also
    --------
    upper_limit : The same for any finite support, by the method's name.

    Notes
    -----
    The integral of min(1, S_n + s) over [0, 1], with S_n the empirical survival function and
    s = sqrt(log(1/alpha) / (2 n)) (theory, section 9.1). Never above Hoeffding's limit. The inequality needs
    alpha <= 1/2; a larger alpha is read as 1/2.

    References
    ----------
    T. W. Anderson, "Confidence limits for the expected value of an arbitrary bounded random variable", 1969.

    P. Massart, "The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality", Annals of Probability, 1990.

    Examples
    --------
    >>> import numpy as np
    >>> from bounds import confidence
    >>> values = np.random.default_rng(0).beta(1, 30, 200)
    >>> round(float(values.mean()), 4)
    0.0352
    >>> round(float(confidence.anderson_dkw(values, alpha=0.05)), 4)
    0.1216
    """
    d, shape = _columns(values, alpha)
    n = d.shape[1]
    s = deviation(n, min(alpha, 0.5))
    ends = np.zeros((d.shape[0], 1))
    gaps = np.diff(np.concatenate([ends, np.sort(d, axis=1), ends + 1.0], axis=1), axis=1)
    survival = np.minimum(1.0, 1.0 - np.arange(n + 1) / n + s)
    return _shaped((gaps * survival).sum(axis=1), shape)


def empirical_bernstein(values: ArrayLike, *, alpha: float) -> FloatArray:
    """Upper confidence limit of the mean that adapts to the sample variance, in closed form.

    Parameters
    ----------
    values : array (n, ...)
        Independent units in [0, 1] on the first axis.
    alpha : float
        Error probability of each column, in (0, 1).

    Returns
    -------
    ndarray (...)
        P(mean > limit) <= alpha for each column; at most 1, rounded up.

    See Also
    --------
    upper_limit : The same for any finite support, by the method's name.

    Notes
    -----
    mean + sqrt(2 V log(2/alpha) / n) + 7 log(2/alpha) / (3 (n - 1)) with V the sample variance; 1 if n = 1
    (theory, section 9.1).

    References
    ----------
    A. Maurer and M. Pontil, "Empirical Bernstein bounds and sample-variance penalization", 2009, arXiv:0907.3740.

    Examples
    --------
    >>> import numpy as np
    >>> from bounds import confidence
    >>> values = np.random.default_rng(0).beta(1, 30, 200)
    >>> round(float(values.mean()), 4)
    0.0352
    >>> round(float(confidence.empirical_bernstein(values, alpha=0.05)), 4)
    0.0849
    """
    d, shape = _columns(values, alpha)
    n = d.shape[1]
    if n == 1:
        return _shaped(np.ones(d.shape[0]), shape)
    log_term = math.log(2.0) - math.log(alpha)
    spread = np.sqrt(2.0 * d.var(axis=1, ddof=1) * log_term / n)
    return _shaped(d.mean(axis=1) + spread + 7.0 * log_term / (3.0 * (n - 1)), shape)


def hoeffding_bentkus(values: ArrayLike, *, alpha: float) -> FloatArray:
    """Upper confidence limit of the mean from the smaller of Hoeffding's and Bentkus' tail bounds.

    Parameters
    ----------
    values : array (n, ...)
        Independent units in [0, 1] on the first axis.
    alpha : float
        Error probability of each column, in (0, 1).

    Returns
    -------
    ndarray (...)
        P(mean > limit) <= alpha for each column; at most 1, rounded up.

    See Also
    --------
    upper_limit : The same for any finite support, by the method's name.

    Notes
    -----
    The largest mu with min(exp(-n d(mean || mu)), e P(Bin(n, mu) <= ceil(n mean))) >= alpha (theory, section 9.1).

    References
    ----------
    V. Bentkus, "On Hoeffding's inequalities", Annals of Probability, 2004.

    Examples
    --------
    >>> import numpy as np
    >>> from bounds import confidence
    >>> values = np.random.default_rng(0).beta(1, 30, 200)
    >>> round(float(values.mean()), 4)
    0.0352
    >>> round(float(confidence.hoeffding_bentkus(values, alpha=0.05)), 4)
    0.0766
    """
    from scipy.special import betainc

    d, shape = _columns(values, alpha)
    n, mean = d.shape[1], d.mean(axis=1)
    complement = (1.0 - d).mean(axis=1)
    # Bentkus' bound is log-linear between integers, so a total within rounding of an integer counts as that integer.
    k = np.minimum(np.ceil(d.sum(axis=1) - n * ROUNDING), n)

    def rejected(mu: FloatArray) -> BoolArray:
        exponent = n * _binary_divergence_below(mean, complement, mu)
        # P(Bin(n, mu) <= k) = I_{1-mu}(n - k, k + 1); at k = n it is 1.
        tail = np.where(k < n, betainc(np.maximum(n - k, 1.0), k + 1.0, 1.0 - mu), 1.0)
        return np.asarray((exponent > -math.log(alpha)) | (math.e * tail * (1 + 1e-11) < alpha))

    return _shaped(_first_rejected(rejected, mean), shape)


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
    I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by betting", JRSS B, 2024,
    arXiv:2010.09686.

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
    return _betting(values, weights, alpha=alpha, stakes=_stakes)


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
    d, shape = _columns(values, alpha)
    ones = np.ones_like(d)
    capital = _log_capital(d, ones, _stakes(d, ones, alpha), np.full(d.shape[0], candidate - ROUNDING))
    return np.asarray(capital.max(axis=1) > _goal(alpha, d.shape[1])).reshape(shape)


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
    I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by betting", JRSS B, 2024,
    arXiv:2010.09686, Theorem 3.

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
    if horizon is not None and not horizon >= 1:
        raise ValueError(f"horizon: expected a number of units >= 1, got {horizon}")

    def stakes(d: FloatArray, w: FloatArray, alpha: float) -> FloatArray:
        return _stakes_anytime(d, w, alpha, horizon)

    return _betting(values, weights, alpha=alpha, stakes=stakes)


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
    d, shape = _columns(values, alpha)
    n = d.shape[1]
    candidates = (np.arange(1, (steps := math.ceil(40 * math.sqrt(n))) + 1) / steps) ** 2
    past = _past_squares(d, np.ones_like(d)) / np.arange(1, n + 1)
    out = np.empty(d.shape[0])
    per_block = max(1, COLUMN_BLOCK // (8 * steps))
    for start in range(0, d.shape[0], per_block):
        block = slice(start, start + per_block)
        rejected = _star_rejects(d[block], past[block], candidates, alpha)
        # Candidates down to the first that is not rejected.
        count = np.cumprod(rejected[:, ::-1], axis=1).sum(axis=1)
        out[block] = np.where(count > 0, candidates[np.minimum(steps - count, steps - 1)], 1.0)
    return _shaped(out, shape)


def _star_rejects(d: FloatArray, variance: FloatArray, candidates: FloatArray, alpha: float) -> BoolArray:
    """Whether the capital against each candidate reaches 1/alpha; d and variance (c, n), result (c, candidates)."""
    n = d.shape[1]
    goal = _goal(alpha, n)
    with np.errstate(divide="ignore"):
        cap = LARGEST_STAKE / (1.0 - candidates)
    capital = np.zeros((d.shape[0], candidates.size))
    for j in range(n):
        missing = np.maximum(goal - capital, 0.0)
        stake = np.minimum(np.sqrt(2.0 * missing / ((n - j) * variance[:, j, None])), cap)
        # Where nothing is missing the stake is 0, and the capital rests.
        capital += np.log1p(stake * (candidates - d[:, j, None]))
    return np.asarray(capital >= goal)


Stakes = Callable[[FloatArray, FloatArray, float], FloatArray]


def _betting(values: ArrayLike, weights: ArrayLike | None, *, alpha: float, stakes: Stakes) -> FloatArray:
    d, shape = _columns(values, alpha)
    w = np.ones_like(d) if weights is None else _columns(weights, alpha)[0]
    if w.shape != d.shape:
        raise ValueError(f"weights: expected one weight per value, got {w.shape[1]} for {d.shape[1]} units")
    out = np.empty(d.shape[0])
    per_block = max(1, COLUMN_BLOCK // d.shape[1])
    for start in range(0, d.shape[0], per_block):
        block = slice(start, start + per_block)
        out[block] = _betting_block(d[block], w[block], alpha, stakes)
    return _shaped(out, shape)


def _betting_block(d: FloatArray, w: FloatArray, alpha: float, stakes: Stakes) -> FloatArray:
    stake = stakes(d, w, alpha)
    goal = _goal(alpha, d.shape[1])

    def rejected(m: FloatArray) -> BoolArray:
        return np.asarray(_log_capital(d, w, stake, m).max(axis=1) > goal)

    return _first_rejected(rejected, np.zeros(d.shape[0]))


def _goal(alpha: float, n: int) -> float:
    """log(1/alpha) and a margin: a computed log-capital is off by at most a few ulps of each summand."""
    return -math.log(alpha) * (1 + 1e-12) + 1e-14 * n


def _stakes(d: FloatArray, w: FloatArray, alpha: float) -> FloatArray:
    """lambda_j = sqrt(2 log(1/alpha) j / (n V_{j-1})), V_{j-1} a regularised sum of squares of the past."""
    n = d.shape[1]
    return np.asarray(np.sqrt(-2.0 * math.log(alpha) * np.arange(1, n + 1) / (n * _past_squares(d, w))))


def _stakes_anytime(d: FloatArray, w: FloatArray, alpha: float, horizon: int | None) -> FloatArray:
    """Stakes that do not depend on the number of units: tuned to a horizon fixed in advance, or to none."""
    j = np.arange(1, d.shape[1] + 1)
    share = 1.0 / np.log1p(j) if horizon is None else j / np.maximum(j, horizon)
    return np.asarray(np.sqrt(-2.0 * math.log(alpha) * share / _past_squares(d, w)))


def _past_squares(d: FloatArray, w: FloatArray) -> FloatArray:
    """V_0, ..., V_{n-1}: 1/4 plus the squares of the past units' deviations from their running means."""
    # Half a unit at 1/2 and a variance of 1/4 stand for the first unit's missing past.
    centre = (0.5 + np.cumsum(w * d, axis=1)) / (1.0 + np.cumsum(w, axis=1))
    spread = np.cumsum((w * (d - centre)) ** 2, axis=1)
    return np.asarray(0.25 + np.concatenate([np.zeros((d.shape[0], 1)), spread[:, :-1]], axis=1))


def _log_capital(d: FloatArray, w: FloatArray, stake: FloatArray, m: FloatArray) -> FloatArray:
    """log K_1(m), ..., log K_n(m) of each column; d, w, stake (c, n), m (c,)."""
    with np.errstate(divide="ignore"):
        cap = LARGEST_STAKE / (1.0 - m)
    gain = np.minimum(stake, cap[:, None])
    gain *= w
    gain *= m[:, None] - d
    np.log1p(gain, out=gain)
    return np.asarray(np.cumsum(gain, axis=1))


def clopper_pearson(values: ArrayLike, *, alpha: float) -> FloatArray:
    """Exact upper confidence limit of a probability, from units that are 0 or 1.

    Parameters
    ----------
    values : array (n, ...)
        Independent units in [0, 1] on the first axis.
    alpha : float
        Error probability of each column, in (0, 1).

    Returns
    -------
    ndarray (...)
        P(mean > limit) <= alpha for each column; at most 1, rounded up.

    Raises
    ------
    ValueError
        A value that is neither 0 nor 1: an image's fraction of close tokens is not binary.

    See Also
    --------
    upper_limit : The same for any finite support, by the method's name.

    Notes
    -----
    Beta^{-1}(1 - alpha; k + 1, n - k) for k ones, 1 if k = n (theory, section 9.1).

    References
    ----------
    C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the
    binomial", Biometrika, 1934.

    Examples
    --------
    >>> import numpy as np
    >>> from bounds import confidence
    >>> values = np.repeat([1.0, 0.0], [3, 97])
    >>> round(float(confidence.clopper_pearson(values, alpha=0.05)), 4)
    0.0757
    """
    from scipy.special import betainccinv

    d, shape = _columns(values, alpha)
    if not ((d == 0) | (d == 1)).all():
        raise ValueError(
            "clopper-pearson: expected units that are 0 or 1, got fractions; the fraction of an image's "
            "tokens is not binary, and its tokens are not independent. Use method='betting', keep one uniformly "
            "drawn token per image, or ask for an image-level event"
        )
    n = d.shape[1]
    k = d.sum(axis=1)
    limit = np.where(k < n, betainccinv(k + 1.0, np.maximum(n - k, 1.0), alpha), 1.0)
    return _shaped(limit * (1 + 1e-12), shape)


Method = Literal[
    "betting",
    "betting-anytime",
    "betting-star",
    "hoeffding",
    "chernoff-kl",
    "anderson-dkw",
    "empirical-bernstein",
    "hoeffding-bentkus",
    "clopper-pearson",
]
METHODS: Mapping[Method, Callable[..., FloatArray]] = {
    "betting": betting,
    "betting-anytime": betting_anytime,
    "betting-star": betting_star,
    "hoeffding": hoeffding,
    "chernoff-kl": chernoff_kl,
    "anderson-dkw": anderson_dkw,
    "empirical-bernstein": empirical_bernstein,
    "hoeffding-bentkus": hoeffding_bentkus,
    "clopper-pearson": clopper_pearson,
}


def upper_limit(
    values: ArrayLike, *, alpha: float, method: Method = "betting", support: tuple[float, float] = (0.0, 1.0)
) -> FloatArray:
    """Upper confidence limit of the mean of units in a finite range, one for each column.

    Parameters
    ----------
    values : array (n, ...)
        One number per unit of sampling on the first axis; the units are independent draws from one distribution,
        the other axes are layers, thresholds, ... of the same units.
    alpha : float
        Error probability in (0, 1), of each column separately; divide it for a union over columns.
    method : str
        "betting" (one look at a number of units fixed in advance), "betting-anytime" (valid whenever one stops),
        "betting-star" (one look; narrower and slower), "hoeffding", "chernoff-kl", "anderson-dkw",
        "empirical-bernstein", "hoeffding-bentkus" or "clopper-pearson".
    support : (float, float)
        Finite range that no unit can leave.

    Returns
    -------
    ndarray (...)
        P(mean > limit) <= alpha; never above the support's end; rounded up.

    Raises
    ------
    ValueError
        An infinite support, values outside it, an unknown method.

    See Also
    --------
    interval : Both ends.
    bounds.certify_mean : The same for an Estimate, with the sentence that says what is guaranteed.

    Examples
    --------
    >>> import numpy as np
    >>> from bounds import confidence
    >>> values = np.random.default_rng(0).beta(1, 30, 200)
    >>> round(float(values.mean()), 4)
    0.0352
    >>> round(float(confidence.upper_limit(values, alpha=0.05, support=(0.0, 2.0))), 4)
    0.0682
    """
    low, high = support
    unit = to_unit(values, support)
    return _outward(low + (high - low) * _method(method)(unit, alpha=alpha), support, up=True)


def lower_limit(
    values: ArrayLike, *, alpha: float, method: Method = "betting", support: tuple[float, float] = (0.0, 1.0)
) -> FloatArray:
    """Lower confidence limit of the mean of units in a finite range: the reflected units' upper limit.

    Parameters
    ----------
    values, alpha, method, support
        As in :func:`upper_limit`.

    Returns
    -------
    ndarray (...)
        P(mean < limit) <= alpha; never below the support's end; rounded down.

    Examples
    --------
    >>> import numpy as np
    >>> from bounds import confidence
    >>> values = np.random.default_rng(0).beta(1, 30, 200)
    >>> round(float(values.mean()), 4)
    0.0352
    >>> round(float(confidence.lower_limit(values, alpha=0.05)), 4)
    0.0269
    """
    low, high = support
    reflected = 1.0 - to_unit(values, support)
    return _outward(high - (high - low) * _method(method)(reflected, alpha=alpha), support, up=False)


def interval(
    values: ArrayLike, *, alpha: float, method: Method = "betting", support: tuple[float, float] = (0.0, 1.0)
) -> tuple[FloatArray, FloatArray]:
    """Confidence interval for the mean of units in a finite range: one-sided limits at alpha / 2 each.

    Parameters
    ----------
    values, alpha, method, support
        As in :func:`upper_limit`.

    Returns
    -------
    (ndarray (...), ndarray (...))
        Lower and upper limit; P(mean outside) <= alpha for each column.

    Notes
    -----
    Betting limits of units that drift with their order may cross; the hull of the two is then returned.

    Examples
    --------
    >>> import numpy as np
    >>> from bounds import confidence
    >>> values = np.random.default_rng(0).beta(1, 30, 200)
    >>> round(float(values.mean()), 4)
    0.0352
    >>> low, high = confidence.interval(values, alpha=0.05)
    >>> round(float(low), 4), round(float(high), 4)
    (0.0261, 0.0554)
    """
    low = lower_limit(values, alpha=alpha / 2, method=method, support=support)
    high = upper_limit(values, alpha=alpha / 2, method=method, support=support)
    return np.minimum(low, high), np.maximum(low, high)


def to_unit(values: ArrayLike, support: tuple[float, float]) -> FloatArray:
    """Map values from a finite support to [0, 1].

    Parameters
    ----------
    values : array (n, ...)
        Units on the first axis.
    support : (float, float)
        Finite range that no unit can leave.

    Returns
    -------
    ndarray (n, ...)
        In [0, 1].

    Raises
    ------
    ValueError
        An infinite support, or values outside it.

    Examples
    --------
    >>> from bounds import confidence
    >>> confidence.to_unit([-1.0, 0.0, 1.0], (-1.0, 1.0)).tolist()
    [0.0, 0.5, 1.0]
    """
    low, high = (float(end) for end in support)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(
            f"support: expected two finite numbers low < high, got ({low}, {high}); a mean of unbounded units "
            "has no finite-sample confidence limit without further assumptions"
        )
    a = np.asarray(values, dtype=np.float64)
    if a.ndim == 0 or a.size == 0:
        raise ValueError(f"values: expected shape (n, ...) with n >= 1 units, got {a.shape}")
    checks.finite(a, name="values")
    slack = ROUNDING * max(abs(low), abs(high))
    if a.min() < low - slack or a.max() > high + slack:
        raise ValueError(
            f"values: expected numbers in [{low}, {high}], got a range {a.min()} to {a.max()}; "
            "widen the support or look for the unit that leaves it"
        )
    return np.clip((a - low) / (high - low), 0.0, 1.0)


def _method(name: Method) -> Callable[..., FloatArray]:
    checks.one_of(name, tuple(METHODS), name="method")
    return METHODS[name]


def _columns(values: ArrayLike, alpha: float) -> tuple[FloatArray, tuple[int, ...]]:
    """Values (n, ...) as contiguous columns (c, n), so that sums along the units are pairwise."""
    checks.probability(alpha, name="alpha", open_ends=True)
    a = np.asarray(values, dtype=np.float64)
    if a.ndim == 0 or a.size == 0:
        raise ValueError(f"values: expected shape (n, ...) with n >= 1 units, got {a.shape}")
    checks.finite(a, name="values")
    if a.min() < -ROUNDING or a.max() > 1.0 + ROUNDING:
        raise ValueError(f"values: expected numbers in [0, 1], got a range {a.min()} to {a.max()}")
    # A mean of numbers in [0, 1] may leave it by a few ulps.
    return np.ascontiguousarray(np.clip(a, 0.0, 1.0).reshape(a.shape[0], -1).T), a.shape[1:]


def probability_within_ulps(value: float, *, name: str) -> float:
    """A number in [0, 1]; one that rounding moved out of it by a few ulps is moved back."""
    number = checks.number(value, name=name)
    return checks.probability(
        min(1.0, max(0.0, number)) if -ROUNDING <= number <= 1.0 + ROUNDING else number, name=name
    )


def _shaped(limit: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    return np.minimum(1.0, limit + ROUNDING).reshape(shape)


def _outward(limit: FloatArray, support: tuple[float, float], *, up: bool) -> FloatArray:
    low, high = support
    nudge = ROUNDING * max(abs(low), abs(high))
    return np.asarray(np.minimum(high, limit + nudge) if up else np.maximum(low, limit - nudge))


def _binary_divergence_below(mean: FloatArray, complement: FloatArray, mu: FloatArray) -> FloatArray:
    """d(mean || mu) rounded down, for mu >= mean (0 below), with both complements exact near the ends."""
    from scipy.special import rel_entr

    hit, miss = rel_entr(mean, mu), rel_entr(complement, 1.0 - mu)
    with np.errstate(invalid="ignore"):
        value = hit + miss - 8 * np.finfo(np.float64).eps * (np.abs(hit) + np.abs(miss))
    return np.where(mu > mean, np.where(np.isnan(value), np.inf, value), 0.0)


def _first_rejected(rejected: Callable[[FloatArray], BoolArray], low: FloatArray) -> FloatArray:
    """The rejected, hence valid, end of the bracket around the point where a monotone test starts to reject."""
    low, high = low.copy(), np.ones_like(low)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        below = rejected(middle)
        high = np.where(below, middle, high)
        low = np.where(below, low, middle)
    return high
