"""Theorem 3: distance-based Fano bounds H(X | Y) by the probability of being far and the size of balls.

X has a finite alphabet inside a codebook V fixed in advance; `size` is |V|, and the ball of y holds the
N(y) codes within distance t of y. No symmetry, metric or uniform law is needed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from bounds.framework import arguments
from bounds.framework.assumptions import OURS, SELF_IN_BALL
from bounds.framework.special_functions import binary_entropy
from bounds.framework.symbolic import h2, sp, symbols
from bounds.framework.theorem import theorem
from bounds.worlds import gallery
from bounds.worlds.families import CODES, COVERED_CODES
from bounds.worlds.finite import FiniteWorld
from redundancy.array_types import FloatArray

PUBLISHED = "Duchi and Wainwright, arXiv:1311.2669"


def _cycle() -> FiniteWorld:
    return gallery.cyclic_codebook(9, 1, 0.3)


def balls(w: FiniteWorld) -> tuple[FloatArray, FloatArray, FloatArray]:
    """p(y), P(far | y) and N(y) for every y that occurs."""
    held = w.y > 0
    p_far = np.minimum((w.xy * w.far).sum(axis=0)[held] / w.y[held], 1.0)
    counts = (~w.far).sum(axis=0)[held].astype(float)
    # A ball that holds every code, or none, leaves no doubt about being far.
    p_far = np.where(counts == len(w.x_points), 0.0, np.where(counts == 0, 1.0, p_far))
    return w.y[held] / w.y[held].sum(), p_far, counts


def _counts(w: FiniteWorld) -> tuple[int, float, float]:
    _, _, n = balls(w)
    return len(w.x_points), n.min(), n.max()


def _per_point() -> Any:
    law, p = symbols("law_0:3"), symbols("p_far_0:3")
    size, n, log = symbols("size"), symbols("n_codes_0:3"), sp().log
    return sum(law[i] * (h2(p[i]) + p[i] * log(size - n[i]) + (1 - p[i]) * log(n[i])) for i in range(3))


@theorem(
    label="Theorem 3 (per point)",
    equation="(F0)",
    left=r"H(X\mid Y)",
    right=r"E\left[h_2(p_Y)+p_Y\log(\lvert V\rvert-N(Y))+(1-p_Y)\log N(Y)\right]",
    form="sharp",
    source=OURS,
    assumes=(),
    family=CODES,
    sides=lambda w, bound: (w.entropy_x_given_y, bound(*balls(w)[:2], len(w.x_points), balls(w)[2])),
    symbolic=_per_point,
    tight=_cycle,
)
def fano_per_point(law: ArrayLike, p_far: ArrayLike, size: ArrayLike, n_codes: ArrayLike) -> FloatArray:
    """H(X | Y) from what is known around every y, in nats.

    Parameters
    ----------
    law : array (..., n)
        p(y), summing to one along the last axis.
    p_far : array (..., n) in [0, 1]
        P(d > t | Y = y).
    size : array (...), >= 1
        Codes in the codebook, |V|.
    n_codes : array (..., n)
        N(y), codes within the threshold of y.

    Returns
    -------
    ndarray (...)
        Upper limit of H(X | Y). Theorem 3, (F0).

    Raises
    ------
    ValueError
        For NaN, numbers outside these ranges, N(y) > |V|, a positive chance of a set without codes, or
        shapes that do not match.
    """
    q, p, rest, n = _per_y(law, p_far, size, n_codes)
    return arguments.shown((q * (binary_entropy(p) + xlogy(p, rest) + xlogy(1.0 - p, n))).sum(axis=-1))


def _mean_counts() -> Any:
    law, p = symbols("law_0:3"), symbols("p_far_0:3")
    size, n, log = symbols("size"), symbols("n_codes_0:3"), sp().log
    total = sum(law[i] * p[i] for i in range(3))
    return h2(total) + sum(law[i] * (p[i] * log(size - n[i]) + (1 - p[i]) * log(n[i])) for i in range(3))


@theorem(
    label="Theorem 3 (mean counts)",
    equation="(F1)",
    left=r"H(X\mid Y)",
    right=r"h_2(P_t)+E\left[1_{d>t}\log(\lvert V\rvert-N(Y))+1_{d\le t}\log N(Y)\right]",
    form="sharp",
    source=OURS,
    assumes=(),
    family=CODES,
    sides=lambda w, bound: (w.entropy_x_given_y, bound(*balls(w)[:2], len(w.x_points), balls(w)[2])),
    symbolic=_mean_counts,
    tight=_cycle,
)
def fano_mean_counts(law: ArrayLike, p_far: ArrayLike, size: ArrayLike, n_codes: ArrayLike) -> FloatArray:
    """H(X | Y) from P_t and the mean logarithms of counts, in nats; between (F0) and (F2).

    Parameters
    ----------
    law, p_far, size, n_codes : array
        As in `fano_per_point`.

    Returns
    -------
    ndarray (...)
        Upper limit of H(X | Y). Theorem 3, (F1).

    Raises
    ------
    ValueError
        As in `fano_per_point`.
    """
    q, p, rest, n = _per_y(law, p_far, size, n_codes)
    total = np.minimum((q * p).sum(axis=-1), 1.0)
    logs = (q * (xlogy(p, rest) + xlogy(1.0 - p, n))).sum(axis=-1)
    return arguments.shown(binary_entropy(total) + logs)


def _published() -> Any:
    p, size, low, high = symbols("p_far size n_min n_max")
    return h2(p) + p * sp().log((size - low) / high) + sp().log(high)


@theorem(
    label="Theorem 3",
    equation="(F2)",
    left=r"H(X\mid Y)",
    right=r"h_2(P_t)+P_t\log\frac{\lvert V\rvert-N_{\min}}{N_{\max}}+\log N_{\max}",
    form="paper",
    source=PUBLISHED,
    assumes=(),
    family=CODES,
    sides=lambda w, bound: (w.entropy_x_given_y, bound(w.p_far, *_counts(w))),
    symbolic=_published,
    tight=_cycle,
)
def fano(p_far: ArrayLike, size: ArrayLike, n_min: ArrayLike, n_max: ArrayLike) -> FloatArray:
    """H(X | Y) from P_t and the smallest and largest ball, as published, in nats.

    Not monotone in p_far: with an upper limit of P_t use `fano_monotone`.

    Parameters
    ----------
    p_far : array in [0, 1]
        P(d > t), exactly.
    size : array, >= 1
        Codes in the codebook, |V|.
    n_min, n_max : array
        Smallest and largest N(y) over the support of Y; 0 <= n_min <= n_max <= size.

    Returns
    -------
    ndarray
        Upper limit of H(X | Y). Theorem 3, (F2). Where a ball holds all codes or all balls are empty the
        trivial log size.

    Raises
    ------
    ValueError
        For NaN, numbers outside these ranges, counts out of order, or shapes that do not broadcast.
    """
    p, v, low, high = _global(p_far, size, n_min, n_max, name="p_far")
    value = binary_entropy(p) + xlogy(p, np.maximum(v - low, 1.0)) + xlogy(1.0 - p, np.maximum(high, 1.0))
    return arguments.shown(np.where(_trivial(v, low, high), np.log(v), value))


def _monotone() -> Any:
    p, size, low, high = symbols("p_far_upper size n_min n_max")
    s = sp()
    far = size - low
    q = s.Min(p, far / (far + high))
    return s.Min(s.log(size), h2(q) + q * s.log(far) + (1 - q) * s.log(high))


@theorem(
    label="Theorem 3 (monotone)",
    equation="(5.1)",
    left=r"H(X\mid Y)",
    right=r"\min\left\lbrace\log\lvert V\rvert,\ F\left(\min(\bar p,p^\ast)\right)\right\rbrace",
    form="sharp",
    source=OURS,
    assumes=(),
    family=CODES,
    sides=lambda w, bound: (
        [w.entropy_x_given_y] * 3,
        [bound(p, *_counts(w)) for p in (w.p_far, 0.5 + 0.5 * w.p_far, min(1.0, w.p_far + 0.02))],
    ),
    symbolic=_monotone,
    tight=_cycle,
)
def fano_monotone(p_far_upper: ArrayLike, size: ArrayLike, n_min: ArrayLike, n_max: ArrayLike) -> FloatArray:
    """H(X | Y) from an upper limit of P_t, in nats: the only form that may be fed a confidence limit.

    Parameters
    ----------
    p_far_upper : array in [0, 1]
        Upper limit of P(d > t).
    size, n_min, n_max : array
        As in `fano`.

    Returns
    -------
    ndarray
        Upper limit of H(X | Y), non-decreasing in p_far_upper, at most log size. Theorem 3, (5.1).

    Raises
    ------
    ValueError
        As in `fano`.
    """
    p, v, low, high = _global(p_far_upper, size, n_min, n_max, name="p_far_upper")
    far = v - low
    p = np.minimum(p, far / np.maximum(far + high, 1.0))
    value = binary_entropy(p) + xlogy(p, np.maximum(far, 1.0)) + xlogy(1.0 - p, np.maximum(high, 1.0))
    top = np.log(v)
    return arguments.shown(np.where(_trivial(v, low, high), top, np.minimum(top, value)))


def _covered() -> Any:
    p, size, low, mean = symbols("p_far size n_min mean_log_count")
    return h2(p) + p * sp().log(size - low) + mean


@theorem(
    label="Theorem 3 (every y covered)",
    equation="(F3)",
    left=r"H(X\mid Y)",
    right=r"h_2(P_t)+P_t\log(\lvert V\rvert-N_{\min})+E\log N(Y)",
    form="consequence",
    source=OURS,
    assumes=(SELF_IN_BALL,),
    family=COVERED_CODES,
    sides=lambda w, bound: (
        w.entropy_x_given_y,
        bound(w.p_far, *_counts(w)[:2], balls(w)[0] @ np.log(balls(w)[2])),
    ),
    symbolic=_covered,
    # Balls of one code each: the mean logarithm vanishes and nothing is given away.
    tight=lambda: gallery.cyclic_codebook(7, 0, 0.4),
)
def fano_covered(p_far: ArrayLike, size: ArrayLike, n_min: ArrayLike, mean_log_count: ArrayLike) -> FloatArray:
    """H(X | Y) from P_t, the smallest ball and the mean logarithm of counts, in nats, when N(y) >= 1.

    Parameters
    ----------
    p_far : array in [0, 1]
        P(d > t), exactly.
    size : array, >= 1
        Codes in the codebook, |V|.
    n_min : array in [1, size]
        Smallest N(y).
    mean_log_count : array, >= 0
        E log N(Y).

    Returns
    -------
    ndarray
        Upper limit of H(X | Y). Theorem 3, (F3).

    Raises
    ------
    ValueError
        For NaN, numbers outside these ranges, or shapes that do not broadcast.
    """
    p = arguments.probability(p_far, name="p_far")
    v = arguments.count(size, name="size", least=1)
    low = arguments.count(n_min, name="n_min", least=1)
    mean = arguments.nonnegative(mean_log_count, name="mean_log_count")
    arguments.together(p_far=p, size=v, n_min=low, mean_log_count=mean)
    arguments.ordered(low, v, names=("n_min", "size"))
    value = binary_entropy(p) + xlogy(p, np.maximum(v - low, 1.0)) + mean
    return arguments.shown(np.where(low == v, np.log(v), value))


def _trivial(size: FloatArray, low: FloatArray, high: FloatArray) -> NDArray[np.bool_]:
    # One ball holds every code, or none holds any: then nothing but the alphabet is known.
    trivial: NDArray[np.bool_] = (low == size) | (high == 0) | (size == 1)
    return trivial


def _global(
    p_far: ArrayLike, size: ArrayLike, n_min: ArrayLike, n_max: ArrayLike, *, name: str
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    p = arguments.probability(p_far, name=name)
    v = arguments.count(size, name="size", least=1)
    low = arguments.count(n_min, name="n_min", least=0)
    high = arguments.count(n_max, name="n_max", least=0)
    arguments.together(**{name: p, "size": v, "n_min": low, "n_max": high})
    arguments.ordered(low, high, names=("n_min", "n_max"))
    arguments.ordered(high, v, names=("n_max", "size"))
    return p, v, low, high


def _per_y(
    law: ArrayLike, p_far: ArrayLike, size: ArrayLike, n_codes: ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    q, p = arguments.law(law, name="law"), arguments.probability(p_far, name="p_far")
    n = arguments.count(n_codes, name="n_codes", least=0)
    v = arguments.count(size, name="size", least=1)[..., None]
    arguments.same_last_axis(law=q, p_far=p, n_codes=n)
    arguments.together(law=q, p_far=p, size=v, n_codes=n)
    arguments.ordered(n, v, names=("n_codes", "size"))
    rest = v - n
    if ((q * p > 0) & (rest == 0)).any() or ((q * (1.0 - p) > 0) & (n == 0)).any():
        raise ValueError(
            "p_far: expected 0 where a ball holds every code and 1 where it holds none, got other values; "
            "count the codes within t and P(d > t) with the same threshold"
        )
    return q, p, np.maximum(rest, 1.0), np.maximum(n, 1.0)
