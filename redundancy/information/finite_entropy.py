"""Entropies and divergences of finite distributions that are given exactly, in nats.

With 0 log 0 = 0. Estimates from counts, with their bias corrections, are in `bias_corrections`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import xlog1py, xlogy

from redundancy.array_types import FloatArray, IntArray

LEAST = 5e-324  # the smallest positive number, in place of a zero under a zero or in a logarithm


def entropy_of(p: FloatArray) -> float:
    """H = -sum p log p of one distribution, of any shape."""
    return float(-xlogy(p, p).sum())


def binary_entropy_of(p: FloatArray, complement: FloatArray) -> FloatArray:
    """h_2(p), elementwise; the complement 1 - p is passed because computing it would lose a small p."""
    return np.asarray(-xlogy(p, p) - xlogy(complement, complement))


def entropy_modulus(v: ArrayLike, size: ArrayLike) -> FloatArray:
    """omega_k(v) = min(log k, v log k + h_2(v)), elementwise (theory, section 9.3).

    The largest change of an entropy or conditional entropy on k symbols within total variation v. A v above 1 counts
    as 1.
    """
    share, top = np.minimum(np.asarray(v, dtype=np.float64), 1.0), np.log(size)
    # v log k + h_2(v) peaks above log k at k / (k + 1) and falls back to log k at v = 1.
    return np.asarray(np.minimum(top, share * top - xlogy(share, share) - xlog1py(1.0 - share, -share)))


def conditional_entropy_of(p: FloatArray, given: IntArray) -> float:
    """H(X | Y) of cells with probabilities p > 0 whose values of Y are `given`: >= 0, and exactly 0 for X = f(Y)."""
    total = np.bincount(given, weights=p)[given]
    return 0.0 - float((p * np.log(p / np.maximum(total, p))).sum())


def divergences_of(p: FloatArray, r: FloatArray) -> FloatArray:
    """sum p log(p / r) of each table along the first axis."""
    return np.asarray(divergence_cells(p, r).reshape(len(p), -1).sum(1))


def divergence_cells(p: FloatArray, r: FloatArray) -> FloatArray:
    """p log(p / r), elementwise.

    Where r is 0 beside a positive p it has underflowed; the term is then far below the rounding of the sum and is
    left out.
    """
    ratio = p / np.maximum(np.where(r > 0, r, p), LEAST)
    return np.asarray(p * np.log(np.maximum(ratio, LEAST)))


def divergence_terms(p: FloatArray, r: FloatArray) -> FloatArray:
    """r phi(p / r - 1) >= 0 with phi(s) = (1 + s) log(1 + s) - s, elementwise: their sum over all cells is D(p || r).

    For tables of equal mass. Unlike p log(p / r) no term cancels another one, so that a divergence of 1e-16 keeps its
    digits. A cell with p = 0 contributes r.
    """
    positive = r > 0
    shift = np.divide(p - r, r, out=np.zeros_like(p), where=positive)
    with np.errstate(over="ignore"):
        whole = xlog1py(1.0 + shift, shift) - shift
    whole = np.where(shift == -1.0, 1.0, whole)
    small = np.abs(shift) < 0.01
    near = np.where(small, shift, 0.0)
    series = near**2 * sum((-near) ** (k - 2) / (k * (k - 1)) for k in range(2, 10))
    return np.asarray(r * np.where(small, series, whole))


def log_loss_range(size: int, mix: float) -> tuple[float, float]:
    """Range of -log((1 - mix) q + mix / size) for q in [0, 1]: the loss of a forecast mixed with the uniform one."""
    return -float(np.log1p(-mix * (1.0 - 1.0 / size))), float(np.log(size / mix))
