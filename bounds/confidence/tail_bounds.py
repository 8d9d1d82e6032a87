"""Limits from tail bounds of sums, and from the empirical distribution; units on the first axis."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from bounds.confidence.units import ROUNDING, columns, first_rejected, shaped
from redundancy.array_types import BoolArray, FloatArray


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
    d, shape = columns(values, alpha)
    return shaped(d.mean(axis=1) + deviation(d.shape[1], alpha), shape)


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
    d, shape = columns(values, alpha)
    n, mean = d.shape[1], d.mean(axis=1)
    complement = (1.0 - d).mean(axis=1)

    def rejected(mu: FloatArray) -> BoolArray:
        return np.asarray(n * _binary_divergence_below(mean, complement, mu) > -math.log(alpha))

    return shaped(first_rejected(rejected, mean), shape)


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
    d, shape = columns(values, alpha)
    n = d.shape[1]
    s = deviation(n, min(alpha, 0.5))
    ends = np.zeros((d.shape[0], 1))
    gaps = np.diff(np.concatenate([ends, np.sort(d, axis=1), ends + 1.0], axis=1), axis=1)
    survival = np.minimum(1.0, 1.0 - np.arange(n + 1) / n + s)
    return shaped((gaps * survival).sum(axis=1), shape)


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
    d, shape = columns(values, alpha)
    n = d.shape[1]
    if n == 1:
        return shaped(np.ones(d.shape[0]), shape)
    log_term = math.log(2.0) - math.log(alpha)
    spread = np.sqrt(2.0 * d.var(axis=1, ddof=1) * log_term / n)
    return shaped(d.mean(axis=1) + spread + 7.0 * log_term / (3.0 * (n - 1)), shape)


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

    d, shape = columns(values, alpha)
    n, mean = d.shape[1], d.mean(axis=1)
    complement = (1.0 - d).mean(axis=1)
    # Bentkus' bound is log-linear between integers, so a total within rounding of an integer counts as that integer.
    k = np.minimum(np.ceil(d.sum(axis=1) - n * ROUNDING), n)

    def rejected(mu: FloatArray) -> BoolArray:
        exponent = n * _binary_divergence_below(mean, complement, mu)
        # P(Bin(n, mu) <= k) = I_{1-mu}(n - k, k + 1); at k = n it is 1.
        tail = np.where(k < n, betainc(np.maximum(n - k, 1.0), k + 1.0, 1.0 - mu), 1.0)
        return np.asarray((exponent > -math.log(alpha)) | (math.e * tail * (1 + 1e-11) < alpha))

    return shaped(first_rejected(rejected, mean), shape)


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

    d, shape = columns(values, alpha)
    if not ((d == 0) | (d == 1)).all():
        raise ValueError(
            "clopper-pearson: expected units that are 0 or 1, got fractions; the fraction of an image's "
            "tokens is not binary, and its tokens are not independent. Use method='betting', keep one uniformly "
            "drawn token per image, or ask for an image-level event"
        )
    n = d.shape[1]
    k = d.sum(axis=1)
    limit = np.where(k < n, betainccinv(k + 1.0, np.maximum(n - k, 1.0), alpha), 1.0)
    return shaped(limit * (1 + 1e-12), shape)


def _binary_divergence_below(mean: FloatArray, complement: FloatArray, mu: FloatArray) -> FloatArray:
    """d(mean || mu) rounded down, for mu >= mean (0 below), with both complements exact near the ends."""
    from scipy.special import rel_entr

    hit, miss = rel_entr(mean, mu), rel_entr(complement, 1.0 - mu)
    with np.errstate(invalid="ignore"):
        value = hit + miss - 8 * np.finfo(np.float64).eps * (np.abs(hit) + np.abs(miss))
    return np.where(mu > mean, np.where(np.isnan(value), np.inf, value), 0.0)
