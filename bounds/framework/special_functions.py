"""The special functions of the statements, vectorised and accurate near the ends of their domains."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import xlog1py, xlogy

from bounds.worlds.exact_quantities import excess_log
from redundancy.array_types import FloatArray

LOG2 = math.log(2.0)
_BLOCK = 16384


def binary_entropy(p: FloatArray) -> FloatArray:
    """h_2(p) = -p log p - (1 - p) log(1 - p) in nats, p in [0, 1]."""
    out: FloatArray = np.asarray(-xlogy(p, p) - xlog1py(1.0 - p, -p), dtype=np.float64)
    return out


def binary_divergence(
    r: ArrayLike, q: ArrayLike, r_complement: ArrayLike | None = None, q_complement: ArrayLike | None = None
) -> FloatArray:
    """d(r || q) = r log(r / q) + (1 - r) log((1 - r) / (1 - q)) in nats.

    Pass the complements 1 - r and 1 - q when they are known more accurately than a subtraction gives them.
    """
    r, q = np.asarray(r, dtype=np.float64), np.asarray(q, dtype=np.float64)
    s = 1.0 - r if r_complement is None else np.asarray(r_complement, dtype=np.float64)
    p = 1.0 - q if q_complement is None else np.asarray(q_complement, dtype=np.float64)
    # q - r, computed from the smaller pair, which has the more accurate digits.
    gap = np.where(np.minimum(r, q) <= np.minimum(s, p), q - r, s - p)
    return divergence_term(r, q, gap) + divergence_term(s, p, -gap)


def divergence_term(a: FloatArray, b: FloatArray, gap: FloatArray) -> FloatArray:
    # a log(a / b) + b - a, with b - a = gap: non-negative, so the two terms of a divergence never cancel.
    safe = np.where(a > 0, a, 1.0)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        u = gap / safe
        near = np.abs(u) < 0.3
        far = xlogy(a, a / b) + gap
    far = np.where(a > 0, np.where(b > 0, far, np.inf), b)
    return np.where((a > 0) & near, a * excess_log(np.where(near, u, 0.0)), far)


def kappa(epsilon: FloatArray) -> FloatArray:
    """The cap of a mean cosine distance (D11): epsilon (2 - epsilon) up to 1, then 1."""
    capped = np.minimum(epsilon, 1.0)
    return capped * (2.0 - capped)


def chi(p: FloatArray) -> FloatArray:
    """Variance share lost with a decoding error p: 4 p (1 - p) up to 1/2, then 1."""
    capped = np.minimum(p, 0.5)
    return 4.0 * capped * (1.0 - capped)


def zeta(s: FloatArray) -> FloatArray:
    """zeta(s) = sum_k s^k / (2k (2k - 1)) = log 2 - h_2((1 + sqrt s) / 2), s in [0, 1] (D10)."""
    series, _ = _zeta_series(np.minimum(s, 0.06))
    closed, _ = _zeta_closed(s)
    return np.where(s < 0.06, series, closed)


def eta(m: FloatArray) -> FloatArray:
    """eta(m) = zeta(m^2), m in [-1, 1]: the information that one sign of mean m carries, in nats (D10)."""
    return zeta(np.square(m))


def psi(information: FloatArray) -> FloatArray:
    """psi = inverse of zeta on [0, log 2], and 1 beyond: the largest share of variance that `information`
    nats can explain. psi(I) = 2 I - 2 I^2 / 3 + O(I^3) (D10)."""
    i = np.asarray(information, dtype=np.float64)
    flat, out = i.ravel(), np.empty(i.size)
    for start in range(0, i.size, _BLOCK):  # blocks fit into the cache
        block = slice(start, start + _BLOCK)
        out[block] = _psi_block(flat[block])
    return out.reshape(i.shape)


def _psi_block(i: FloatArray) -> FloatArray:
    out = np.ones_like(i)
    small = i < 0.03
    out[small] = _newton(i[small], 2.0 * i[small], _zeta_series, steps=4)
    middle = ~small & (i < LOG2)
    # (4 p (1 - p))^(1 / log 4) is a well-known approximation of h_2(p) / log 2.
    guess = 1.0 - (1.0 - i[middle] / LOG2) ** (2.0 * LOG2)
    out[middle] = _newton(i[middle], guess, _zeta_closed, steps=4)
    return out


def _newton(
    target: FloatArray,
    s: FloatArray,
    value_and_slope: Callable[[FloatArray], tuple[FloatArray, FloatArray]],
    *,
    steps: int,
) -> FloatArray:
    for _ in range(steps):
        value, slope = value_and_slope(s)
        s = np.clip(s - (value - target) / slope, 0.0, 1.0)
    return s


def _zeta_series(s: FloatArray) -> tuple[FloatArray, FloatArray]:
    value, slope = np.zeros_like(s), np.zeros_like(s)
    for k in range(13, 0, -1):
        value = s * (1.0 / (2 * k * (2 * k - 1)) + value)
        slope = 1.0 / (2 * (2 * k - 1)) + s * slope
    return value, slope


def _zeta_closed(s: FloatArray) -> tuple[FloatArray, FloatArray]:
    m = np.sqrt(s)
    rest = (1.0 - s) / (1.0 + m)
    up, down = np.log1p(m), np.log(np.maximum(rest, 1e-300))
    value = 0.5 * ((1.0 + m) * up + rest * down)
    slope = 0.25 * (up - down) / np.maximum(m, 1e-300)
    return value, slope


def entropy_modulus(tv: FloatArray, size: FloatArray) -> FloatArray:
    """omega_k(v) = min(log k, v log k + h_2(v)): the largest change of a (conditional) entropy on k symbols
    within total variation v; v beyond 1 counts as 1."""
    v = np.minimum(tv, 1.0)
    top = np.log(size)
    # v log k + h_2(v) peaks above log k at k / (k + 1) and falls back to log k at v = 1.
    return np.minimum(top, v * top + binary_entropy(v))
