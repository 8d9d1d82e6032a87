"""Entropy of a finite alphabet from counts: the plug-in and five bias corrections. None of them is a bound.

Each function takes the positive counts (k,) of the symbols that were seen and returns nats.

References
----------
Miller (1955), *Note on the bias of information estimates*; Zahl (1977), *Jackknifing an index of diversity*;
Grassberger (2003), *Entropy estimates from insufficient samplings*, arXiv:physics/0307138; Chao and Shen (2003),
*Nonparametric estimation of Shannon's index of diversity*; Chao, Wang and Jost (2013), *Entropy and the species
accumulation curve*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
from scipy.special import digamma, xlogy

from redundancy.array_types import FloatArray

Correction = Literal["plugin", "miller-madow", "jackknife", "grassberger", "chao-shen", "chao-wang-jost"]


def plugin(counts: FloatArray) -> float:
    """-sum (c/n) log (c/n): biased downwards by about (k - 1) / (2 n)."""
    n = counts.sum()
    return float(np.log(n) - xlogy(counts, counts).sum() / n)


def miller_madow(counts: FloatArray) -> float:
    """Plug-in + (k - 1) / (2 n), where k is the number of symbols seen (Miller 1955)."""
    return plugin(counts) + (counts.size - 1) / (2.0 * float(counts.sum()))


def jackknife(counts: FloatArray) -> float:
    """n H - (n - 1) times the mean plug-in with one sample left out (Zahl 1977)."""
    n = float(counts.sum())
    if n == 1:
        return 0.0
    total = xlogy(counts, counts).sum()
    left_out = np.log(n - 1.0) - (total - xlogy(counts, counts) + xlogy(counts - 1.0, counts - 1.0)) / (n - 1.0)
    return n * plugin(counts) - (n - 1.0) * float(counts @ left_out) / n


def grassberger(counts: FloatArray) -> float:
    """log n - (1/n) sum c G(c), G(c) = psi(c) + (-1)^c (psi((c+1)/2) - psi(c/2)) / 2 (Grassberger 2003)."""
    n = counts.sum()
    sign = np.where(counts % 2 == 0, 1.0, -1.0)
    g = digamma(counts) + 0.5 * sign * (digamma(0.5 * (counts + 1.0)) - digamma(0.5 * counts))
    return float(np.log(n) - counts @ g / n)


def chao_shen(counts: FloatArray) -> float:
    """Horvitz-Thompson sum over symbols, with frequencies shrunk to the estimated coverage (2003)."""
    n = float(counts.sum())
    once = min(float((counts == 1).sum()), n - 1.0)  # all seen once: the coverage would be 0
    p = (1.0 - once / n) * counts / n
    with np.errstate(divide="ignore"):  # p = 1 is always seen
        seen = -np.expm1(n * np.log1p(-p))
    return float(-(xlogy(p, p) / seen).sum())


def chao_wang_jost(counts: FloatArray) -> float:
    """The slope of the expected number of species, extrapolated beyond n (Chao, Wang and Jost 2013, eq. 7)."""
    n = float(counts.sum())
    seen = float((counts / n) @ (digamma(n) - digamma(counts)))  # sum_{k=c}^{n-1} 1/k
    once, twice = float((counts == 1).sum()), float((counts == 2).sum())
    if once == 0:
        return seen
    if twice > 0:
        a = 2.0 * twice / ((n - 1.0) * once + 2.0 * twice)
    else:
        a = 2.0 / ((n - 1.0) * (once - 1.0) + 2.0)
    return seen + once / n * _tail(n, a)


def _tail(n: float, a: float) -> float:
    """(1 - a)^(1 - n) (-log a - sum_{r<n} (1 - a)^r / r) = sum_{r>=n} (1 - a)^(r - n + 1) / r, without cancelling.

    It equals the integral over s > 0 of e^-s z / (n (1 - z e^(-s/n))), z = 1 - a; in log s the trapezoidal rule
    converges geometrically (the poles are pi away).
    """
    log_s = np.arange(-60.0, 5.0, 0.1)
    s = np.exp(log_s)
    z = 1.0 - a
    return float(0.1 * np.sum(s * np.exp(-s) * z / (n * (a - z * np.expm1(-s / n)))))


METHODS: Mapping[Correction, Callable[[FloatArray], float]] = MappingProxyType(
    {
        "plugin": plugin,
        "miller-madow": miller_madow,
        "jackknife": jackknife,
        "grassberger": grassberger,
        "chao-shen": chao_shen,
        "chao-wang-jost": chao_wang_jost,
    }
)
