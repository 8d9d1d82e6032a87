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


def _coth_coefficients(terms: int) -> FloatArray:
    # t coth t = 1 + sum_k c_k t^(2k) with c_k = B_2k 4^k / (2k)!, |t| < pi.
    from scipy.special import bernoulli

    return np.array([bernoulli(2 * k)[-1] * 4.0**k / math.factorial(2 * k) for k in range(1, terms + 1)])


_COTH = _coth_coefficients(20)
_SURE = 45.0  # nats beyond which the total variation is one in double precision


def total_variation_curve(divergence: FloatArray) -> FloatArray:
    """The largest total variation of two distributions with D(P || Q) <= divergence, the tight Pinsker curve.

    The curve has the parametrisation of Fedotov, Harremoes and Topsoe (2003): with u > 0 and
    L = coth u - 1 / u, the total variation is u (1 - L^2) / 2 and the divergence
    log(u / sinh u) + u coth u - u^2 / sinh^2 u. The result is rounded to the larger side.
    """
    d = np.asarray(divergence, dtype=np.float64)
    flat = np.minimum(d.ravel(), _SURE)
    # D(u) <= u^2 / 2, and sqrt(2 D) exp(D) is beyond the solution: bisection in the logarithm of u.
    root = np.sqrt(2.0 * flat)
    low, width = root, flat + 1e-15
    start, end = np.zeros_like(flat), width
    for _ in range(60):
        middle = 0.5 * (start + end)
        below = _curve_divergence(low * np.exp(middle)) < flat
        start, end = np.where(below, middle, start), np.where(below, end, middle)
    value = _curve_variation(low * np.exp(end)) * (1.0 + 4.0 * np.finfo(np.float64).eps)
    # Pinsker's own inequality covers the rounding of the smallest divergences.
    out = np.minimum(np.minimum(value, 0.5 * root), 1.0)
    return np.where(flat >= _SURE, 1.0, np.where(flat > 0, out, 0.0)).reshape(d.shape)


def _curve_divergence(u: FloatArray) -> FloatArray:
    near = u < 1.0
    s = np.where(near, u, 0.0) ** 2
    series = np.zeros_like(s)
    for k in range(len(_COTH), 0, -1):
        series = s * (_COTH[k - 1] * (2.0 * k - 0.5 / k) + series)
    v = np.where(near, 1.0, np.minimum(u, 1e300))
    decay = np.exp(-2.0 * v)
    rest = -np.expm1(-2.0 * v)
    far = np.log(2.0 * v) - np.log(rest) + 2.0 * v * decay / rest - (2.0 * v / rest) ** 2 * decay
    return np.where(near, series, far)


def _curve_variation(u: FloatArray) -> FloatArray:
    near = u < 1.0
    small = np.where(near, u, 0.0)
    s = small**2
    slope = np.zeros_like(s)
    for c in _COTH[::-1]:
        slope = c + s * slope
    v = np.where(near, 1.0, np.minimum(u, 1e300))
    gap = 1.0 / v - 2.0 * np.exp(-2.0 * v) / -np.expm1(-2.0 * v)  # 1 - L
    return np.where(near, 0.5 * small * (1.0 - s * slope**2), 0.5 * v * gap * (2.0 - gap))


def exponential_excess(u: FloatArray) -> FloatArray:
    """phi(u) = (exp(u) - u - 1) / u^2 with phi(0) = 1/2, increasing; infinite where it overflows."""
    u = np.asarray(u, dtype=np.float64)
    near = np.abs(u) < 0.5
    v = np.where(near, u, 0.0)
    series = np.zeros_like(v)
    for k in range(17, 1, -1):
        series = v * series + 1.0 / math.factorial(k)
    w = np.where(near, 1.0, u)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        far = (np.expm1(w) / w - 1.0) / w
    with np.errstate(over="ignore"):
        far = np.where(w > 600.0, np.exp(log_exponential_excess(np.maximum(w, 1.0))), far)
    return np.where(near, series, np.where(np.isneginf(w), 0.0, far))


def log_exponential_excess(u: FloatArray) -> FloatArray:
    """log phi(u) for u >= 1, without overflow."""
    u = np.asarray(u, dtype=np.float64)
    finite = np.where(np.isinf(u), 1.0, u)
    return np.where(np.isinf(u), np.inf, finite - 2.0 * np.log(finite) + np.log1p(-(finite + 1.0) * np.exp(-finite)))
