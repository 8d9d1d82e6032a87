"""Finite-sample confidence limits for the mean of bounded independent units (theory, section 9.1), vectorised.

Every method takes values (n, ...) in [0, 1] with the units on the first axis, and returns limits (...)
such that P(mean > limit) <= alpha for each column. Limits are rounded up; lower limits come by reflection.
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
    """Upper confidence limit of the mean by betting against every candidate, unit by unit.

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
        P(mean > limit) <= alpha for each column; at most 1, rounded up. Valid at any stopping time.

    Raises
    ------
    ValueError
        Values or weights outside [0, 1], or of different shapes.

    See Also
    --------
    upper_limit : The same for any finite support, by the method's name.

    Notes
    -----
    The limit is inf { m : max_{i <= n} K_i(m) >= 1/alpha } with the capital
    K_i(m) = prod_{j <= i} (1 + lambda_j(m) (m - D_j)) (theory, section 9.1). The stake
    lambda_j(m) = min(lambda_j, 0.9 / (1 - m)) has lambda_j from the past D_1..D_{j-1} only, and each factor is
    non-negative and non-decreasing in m: {m : K < 1/alpha} is an interval. At m = mean, K is a non-negative
    martingale, so by Ville's inequality the running minimum of the limits is valid at any stopping time. The order
    of the units matters and must not depend on the values.

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
    d, shape = _columns(values, alpha)
    w = np.ones_like(d) if weights is None else _columns(weights, alpha)[0]
    if w.shape != d.shape:
        raise ValueError(f"weights: expected one weight per value, got {w.shape[1]} for {d.shape[1]} units")
    out = np.empty(d.shape[0])
    per_block = max(1, COLUMN_BLOCK // d.shape[1])
    for start in range(0, d.shape[0], per_block):
        block = slice(start, start + per_block)
        out[block] = _betting_block(d[block], w[block], alpha)
    return _shaped(out, shape)


def _betting_block(d: FloatArray, w: FloatArray, alpha: float) -> FloatArray:
    stake = _stakes(d, w, alpha)
    # A computed log-capital is off by at most a few ulps of each summand.
    goal = -math.log(alpha) * (1 + 1e-12) + 1e-14 * d.shape[1]

    def rejected(m: FloatArray) -> BoolArray:
        return np.asarray(_log_capital(d, w, stake, m).max(axis=1) > goal)

    return _first_rejected(rejected, np.zeros(d.shape[0]))


def _stakes(d: FloatArray, w: FloatArray, alpha: float) -> FloatArray:
    """lambda_j = sqrt(2 log(1/alpha) / (n V_{j-1})), V_{j-1} a regularised variance of the past."""
    columns, n = d.shape
    # Half a unit at 1/2 and a variance of 1/4 stand for the first unit's missing past.
    centre = (0.5 + np.cumsum(w * d, axis=1)) / (1.0 + np.cumsum(w, axis=1))
    spread = np.cumsum((w * (d - centre)) ** 2, axis=1)
    past = np.concatenate([np.zeros((columns, 1)), spread[:, :-1]], axis=1)
    return np.asarray(np.sqrt(-2.0 * math.log(alpha) * np.arange(1, n + 1) / (n * (0.25 + past))))


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
    "hoeffding",
    "chernoff-kl",
    "anderson-dkw",
    "empirical-bernstein",
    "hoeffding-bentkus",
    "clopper-pearson",
]
METHODS: Mapping[Method, Callable[..., FloatArray]] = {
    "betting": betting,
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
        "betting", "hoeffding", "chernoff-kl", "anderson-dkw", "empirical-bernstein", "hoeffding-bentkus" or
        "clopper-pearson".
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
    if a.min() < 0.0 or a.max() > 1.0:
        raise ValueError(f"values: expected numbers in [0, 1], got a range {a.min()} to {a.max()}")
    return np.ascontiguousarray(a.reshape(a.shape[0], -1).T), a.shape[1:]


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
