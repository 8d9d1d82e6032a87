"""Confidence limits where the unit of sampling is an image and its tokens depend on each other (theory, section 9.1).

The image-averaged mean needs nothing new: apply `bounds.confidence` to the images' means. Here are the
token-weighted mean, the deviation that holds for all thresholds at once, and the two ways to binary units.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from bounds.confidence import betting, deviation
from bounds.confidence.units import ROUNDING, probability_within_ulps
from redundancy import checks
from redundancy.array_types import FloatArray, IntArray
from redundancy.estimate import Estimate, Quantity

TokenMethod = Literal["betting", "hoeffding"]
TOKEN_METHODS: tuple[TokenMethod, ...] = ("betting", "hoeffding")


def dkw_deviation(n: int, *, alpha: float, clustered: bool = True) -> float:
    """Deviation between a survival function and its empirical version that holds for all thresholds at once.

    Parameters
    ----------
    n : int
        Number of independent units.
    alpha : float
        Error probability in (0, 1); values above 1/2 are read as 1/2, as the inequality needs.
    clustered : bool
        True for images, whose unit is the fraction of rows beyond the threshold; False for single rows.

    Returns
    -------
    float
        s with P(sup_t (S(t) - S_n(t)) > s) <= alpha, rounded up.

    Raises
    ------
    ValueError
        No unit, or a probability outside (0, 1).

    See Also
    --------
    certify_curve : The band around a proximal estimate.

    Notes
    -----
    For rows s = sqrt(log(1/alpha) / (2 n)), the Dvoretzky-Kiefer-Wolfowitz inequality with Massart's constant. For
    images the infimum of (9.1), taken at s_0 = sqrt(log(1/alpha) / (2 n)), is

        s = s_0 + sqrt(pi / (8 n)) erfcx(sqrt(log(1/alpha))).

    References
    ----------
    Massart (1990), *The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality*, Annals of Probability 18;
    Theory, section 9.1 (docs/explanation/theory).

    Examples
    --------
    >>> import bounds
    >>> round(bounds.dkw_deviation(200, alpha=0.05), 4)
    0.0993
    >>> round(bounds.dkw_deviation(200, alpha=0.05, clustered=False), 4)
    0.0865
    """
    from scipy.special import erfcx

    checks.probability(alpha, name="alpha", open_ends=True)
    if not (math.isfinite(n) and n >= 1):
        raise ValueError(f"n: expected at least one unit, got {n}")
    alpha = min(alpha, 0.5)
    s = deviation(n, alpha)
    if clustered:
        s += math.sqrt(math.pi / (8 * n)) * float(erfcx(math.sqrt(-math.log(alpha))))
    return float(s * (1 + ROUNDING))


def token_weighted(
    means: ArrayLike, rows: ArrayLike, *, max_rows: float, alpha: float, method: TokenMethod = "betting"
) -> FloatArray:
    """Upper confidence limit of E[sum over an image's tokens] / E[tokens of an image].

    With n_i tokens of mean M_i in [0, 1] the padded mean (n_i M_i + (max_rows - n_i) theta) / max_rows has
    expectation theta exactly at the token-weighted mean.

    Parameters
    ----------
    means : array (n, ...)
        Mean of each image's tokens, in [0, 1].
    rows : array (n,)
        Number of tokens of each image.
    max_rows : float
        Largest number of tokens an image can have, known before seeing the sample.
    alpha : float
        Error probability of each column.
    method : {"betting", "hoeffding"}
        "betting" rejects theta where prod (1 + lambda_i n_i (theta - M_i) / max_rows) >= 1/alpha; "hoeffding" is
        (mean of n_i M_i + max_rows s) / mean of n_i.

    Returns
    -------
    ndarray (...)
        Rounded up, at most 1.
    """
    checks.one_of(method, TOKEN_METHODS, name="method for the token-weighted mean")
    m = np.asarray(means, dtype=np.float64)
    weight = _weights(rows, max_rows, m.shape[0])
    weight = np.broadcast_to(weight.reshape(-1, *[1] * (m.ndim - 1)), m.shape)
    if method == "betting":
        return betting(m, alpha=alpha, weights=weight)
    checks.probability(alpha, name="alpha", open_ends=True)
    limit = ((weight * m).mean(axis=0) + deviation(m.shape[0], alpha)) / weight.mean(axis=0)
    return np.asarray(np.minimum(1.0, limit * (1 + ROUNDING)))


def _weights(rows: ArrayLike, max_rows: float, n: int) -> FloatArray:
    r = np.asarray(rows, dtype=np.float64)
    if r.shape != (n,):
        raise ValueError(f"rows: expected one number of tokens per image, shape ({n},), got {r.shape}")
    checks.finite(r, name="rows")
    if not math.isfinite(max_rows):
        raise ValueError(f"max_rows: expected the largest possible number of rows of an image, got {max_rows}")
    if r.min() < 1 or r.max() > max_rows:
        raise ValueError(
            f"rows: expected 1 to max_rows = {max_rows} tokens per image, got {r.min():g} to {r.max():g}; "
            "max_rows must hold for every image that could come, not only for those seen"
        )
    return r / max_rows


def one_row_per_group(groups: ArrayLike, *, rng: np.random.Generator | int | None = None) -> IntArray:
    """Draw one row of each image uniformly, so that the rows drawn are independent.

    Parameters
    ----------
    groups : array (rows,)
        Image of each row.
    rng : Generator, int or None
        Draws the rows.

    Returns
    -------
    ndarray (images,) of int
        Indices of the rows drawn, in the sorted order of the images' labels.

    Raises
    ------
    ValueError
        Groups of the wrong shape.

    See Also
    --------
    image_event : The second way to units that are 0 or 1.

    Notes
    -----
    A row drawn uniformly has the image-averaged distribution, and Clopper-Pearson applies to whether it is close
    (theory, section 9.1).

    References
    ----------
    Theory, section 9.1 (docs/explanation/theory); Clopper and Pearson (1934), *The use of confidence or fiducial
    limits illustrated in the case of the binomial*, Biometrika 26.

    Examples
    --------
    >>> import bounds
    >>> bounds.one_row_per_group(["b", "a", "b", "b", "a"], rng=0)
    array([4, 2])
    """
    labels = np.asarray(groups)
    index, sizes = checks.group_index(labels, labels.shape[0] if labels.ndim else 0)
    shuffled = checks.generator(rng).permutation(index.size)
    _, first = np.unique(index[shuffled], return_index=True)
    assert first.size == sizes.size
    return np.asarray(shuffled[first])


def image_event(estimate: Estimate, *, at_least: float) -> Estimate:
    """Share of the images in which at least a given fraction of the tokens is close: units that are 0 or 1.

    Parameters
    ----------
    estimate : Estimate
        From `redundancy.proximal` with `groups`.
    at_least : float
        Fraction in [0, 1], fixed in advance.

    Returns
    -------
    Estimate
        Of quantity "proximal image event"; its `per_unit` values are 0 or 1, so that "clopper-pearson" applies.

    Raises
    ------
    ValueError
        Anything but a proximal estimate; a fraction outside [0, 1].

    See Also
    --------
    one_row_per_group : The second way to binary units.

    References
    ----------
    Theory, section 9.1 (docs/explanation/theory).

    Examples
    --------
    >>> import numpy as np
    >>> import bounds
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> image = np.repeat(np.arange(100), 5)
    >>> x = rng.normal(size=(500, 8))
    >>> close = rd.proximal(x, x + 0.2 * rng.normal(size=x.shape), t=0.02, groups=image)
    >>> event = bounds.image_event(close, at_least=0.6)
    >>> event.value
    0.64
    >>> bounds.certify(event, method="clopper-pearson")
    proximal image event in [0.5378, 0.7336] at confidence 0.95 (clopper-pearson, n = 100 images)
    """
    if estimate.quantity != "proximal" or estimate.per_unit is None:
        raise ValueError(f"image_event: expected a proximal Estimate, got {str(estimate.quantity)!r}")
    gamma = probability_within_ulps(at_least, name="at_least")
    happened = (estimate.per_unit >= gamma).astype(np.float64)
    value = happened.mean(axis=0)
    return replace(
        estimate,
        value=float(value) if happened.ndim == 1 else value,
        quantity=Quantity.PROXIMAL_IMAGE_EVENT,
        per_unit=happened,
        rows=None,
        baseline=None,
        settings={**estimate.settings, "at_least": gamma},
    )
