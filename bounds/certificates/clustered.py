"""Limits when the unit of sampling is an image and the measurements are its dependent tokens (section 9.1).

The image-averaged target needs nothing new: apply `bounds.confidence` to the images' means. Here are the
token-weighted target, the deviation that holds for all thresholds at once, and the two ways to binary units.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bounds.confidence import ROUNDING, betting, deviation
from redundancy import checks
from redundancy.array_types import FloatArray
from redundancy.estimate import Estimate


def dkw_deviation(n: int, *, alpha: float, clustered: bool = True) -> float:
    """Deviation s with P(sup_t (S(t) - S_n(t)) > s) <= alpha, rounded up.

    For rows (clustered=False) DKW with Massart's constant: s = sqrt(log(1/alpha) / (2 n)). For clusters (9.1)
    with the best s_0 = sqrt(log(1/alpha) / (2 n)) put in, which leaves

        s = s_0 + sqrt(pi / (8 n)) erfcx(sqrt(log(1/alpha))).

    Both need alpha <= 1/2; a larger alpha is read as 1/2.
    """
    from scipy.special import erfcx

    checks.probability(alpha, name="alpha", open_ends=True)
    if n < 1:
        raise ValueError(f"n: expected at least one unit, got {n}")
    alpha = min(alpha, 0.5)
    s = deviation(n, alpha)
    if clustered:
        s += math.sqrt(math.pi / (8 * n)) * float(erfcx(math.sqrt(-math.log(alpha))))
    return s * (1 + ROUNDING)


def token_weighted(
    means: ArrayLike, rows: ArrayLike, *, max_rows: float, alpha: float, method: str = "betting"
) -> FloatArray:
    """Upper limit of E[sum of an image's tokens] / E[tokens of an image], the token-weighted target.

    With n_i tokens of mean M_i in [0, 1] the padded mean (n_i M_i + (max_rows - n_i) theta) / max_rows has
    expectation theta exactly at the target.

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
    method : str
        "betting" (prod (1 + lambda_i n_i (theta - M_i) / max_rows) >= 1/alpha rejects theta) or "hoeffding"
        ((mean of n_i M_i + max_rows s) / mean of n_i).
    """
    checks.one_of(method, ("betting", "hoeffding"), name="method for the token-weighted target")
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
    if r.min() < 1 or r.max() > max_rows:
        raise ValueError(
            f"rows: expected 1 to max_rows = {max_rows} tokens per image, got {r.min():g} to {r.max():g}; "
            "max_rows must hold for every image that could come, not only for those seen"
        )
    return r / max_rows


def one_row_per_group(groups: ArrayLike, *, rng: np.random.Generator | int | None = None) -> NDArray[np.int64]:
    """Indices of one uniformly drawn row of each image: independent, so Clopper-Pearson applies to them."""
    labels = np.asarray(groups)
    index, sizes = checks.group_index(labels, labels.shape[0] if labels.ndim else 0)
    shuffled = np.random.default_rng(rng).permutation(index.size)
    _, first = np.unique(index[shuffled], return_index=True)
    assert first.size == sizes.size
    return shuffled[first]


def image_event(estimate: Estimate, *, at_least: float) -> Estimate:
    """The share of images in which at least this fraction of the tokens is close: binary units.

    Parameters
    ----------
    estimate : Estimate
        From `redundancy.proximal` with `groups`.
    at_least : float
        Fraction in [0, 1], fixed in advance.
    """
    if estimate.quantity != "proximal" or estimate.per_unit is None:
        raise ValueError(f"image_event: expected a proximal Estimate, got {estimate.quantity!r}")
    gamma = checks.probability(at_least, name="at_least")
    happened = (estimate.per_unit >= gamma).astype(np.float64)
    value = happened.mean(axis=0)
    return replace(
        estimate,
        value=float(value) if happened.ndim == 1 else value,
        quantity="proximal image event",
        per_unit=happened,
        rows=None,
        baseline=None,
        settings={**estimate.settings, "at_least": gamma},
    )
