"""Theorem 3: distance-based Fano bounds H(X | Y) by the probability of being far and the size of balls.

X has a finite alphabet inside a codebook V fixed in advance; `size` is ``|V|``, and the ball of y holds the
N(y) codewords within distance t of y. No symmetry, metric or uniform distribution is needed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from bounds.framework import arguments
from bounds.framework.assumptions import CODEBOOK, OURS, SELF_IN_BALL
from bounds.framework.special_functions import binary_entropy
from bounds.framework.symbolic import Expression, h2, sp, symbols
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
    # If a ball holds every codeword, or none, the probability of being far is exactly 0 or 1.
    p_far = np.where(counts == len(w.x_points), 0.0, np.where(counts == 0, 1.0, p_far))
    return w.y[held] / w.y[held].sum(), p_far, counts


def _counts(w: FiniteWorld) -> tuple[int, float, float]:
    _, _, n = balls(w)
    return len(w.x_points), n.min(), n.max()


def _per_point() -> Expression:
    distribution, p = symbols("distribution_0:3"), symbols("p_far_0:3")
    size, n, log = symbols("size"), symbols("n_codes_0:3"), sp().log
    return sum(distribution[i] * (h2(p[i]) + p[i] * log(size - n[i]) + (1 - p[i]) * log(n[i])) for i in range(3))


@theorem(
    label="Theorem 3 (per point)",
    equation="(F0)",
    left=r"H(X\mid Y)",
    right=r"E\left[h_2(p_Y)+p_Y\log(\lvert V\rvert-N(Y))+(1-p_Y)\log N(Y)\right]",
    form="sharp",
    source=OURS,
    assumes=(CODEBOOK,),
    family=CODES,
    sides=lambda w, bound: (w.entropy_x_given_y, bound(*balls(w)[:2], len(w.x_points), balls(w)[2])),
    symbolic=_per_point,
    tight=_cycle,
)
def fano_per_point(distribution: ArrayLike, p_far: ArrayLike, size: ArrayLike, n_codes: ArrayLike) -> FloatArray:
    """H(X | Y) from what is known around every y, in nats.

    Parameters
    ----------
    distribution : array (..., n)
        p(y), summing to one along the last axis.
    p_far : array (..., n) in [0, 1]
        P(d > t | Y = y).
    size : array (...), >= 1
        Codewords in the codebook, ``|V|``.
    n_codes : array (..., n)
        N(y), codewords within the threshold of y.

    Returns
    -------
    ndarray (...)
        Upper bound on H(X | Y).

    Raises
    ------
    ValueError
        If `distribution` does not sum to one, if N(y) exceeds ``|V|``, or if a set that holds no codeword has positive
        probability.

    See Also
    --------
    fano_mean_counts : Theorem 3 (mean counts).
    fano : Theorem 3, as in the paper.

    Examples
    --------
    Two later states, one of which determines the codeword:

    >>> import bounds
    >>> print(bounds.fano_per_point([0.5, 0.5], [0.0, 0.4], 10, [1, 3]).round(4))
    1.0553
    """
    q, p, rest, n = _per_y(distribution, p_far, size, n_codes)
    value = (q * (binary_entropy(p) + xlogy(p, rest) + xlogy(1.0 - p, n))).sum(axis=-1)
    return arguments.shown(np.minimum(value, np.log(arguments.count(size, name="size", least=1))))


def _mean_counts() -> Expression:
    distribution, p = symbols("distribution_0:3"), symbols("p_far_0:3")
    size, n, log = symbols("size"), symbols("n_codes_0:3"), sp().log
    total = sum(distribution[i] * p[i] for i in range(3))
    logs = sum(distribution[i] * (p[i] * log(size - n[i]) + (1 - p[i]) * log(n[i])) for i in range(3))
    return sp().Min(log(size), h2(total) + logs)


@theorem(
    label="Theorem 3 (mean counts)",
    equation="(F1)",
    left=r"H(X\mid Y)",
    right=(
        r"\min\left\lbrace\log\lvert V\rvert,\ "
        r"h_2(P_t)+E\left[1_{d>t}\log(\lvert V\rvert-N(Y))+1_{d\le t}\log N(Y)\right]\right\rbrace"
    ),
    form="consequence",
    source=OURS,
    assumes=(CODEBOOK,),
    family=CODES,
    sides=lambda w, bound: (w.entropy_x_given_y, bound(*balls(w)[:2], len(w.x_points), balls(w)[2])),
    symbolic=_mean_counts,
    tight=_cycle,
)
def fano_mean_counts(distribution: ArrayLike, p_far: ArrayLike, size: ArrayLike, n_codes: ArrayLike) -> FloatArray:
    """H(X | Y) from P_t and the mean logarithms of counts, in nats; between (F0) and (F2), at most log size.

    Parameters
    ----------
    distribution, p_far, size, n_codes : array
        As in `fano_per_point`.

    Returns
    -------
    ndarray (...)
        Upper bound on H(X | Y).

    Raises
    ------
    ValueError
        If `distribution` does not sum to one, if N(y) exceeds ``|V|``, or if a set that holds no codeword has positive
        probability.

    See Also
    --------
    fano_per_point : Theorem 3 (per point).
    fano : Theorem 3, as in the paper.

    Examples
    --------
    Averaging the probabilities first costs a little: `fano_per_point` gives 1.0553 nats:

    >>> import bounds
    >>> print(bounds.fano_mean_counts([0.5, 0.5], [0.0, 0.4], 10, [1, 3]).round(4))
    1.2192
    """
    q, p, rest, n = _per_y(distribution, p_far, size, n_codes)
    total = np.minimum((q * p).sum(axis=-1), 1.0)
    logs = (q * (xlogy(p, rest) + xlogy(1.0 - p, n))).sum(axis=-1)
    top = np.log(arguments.count(size, name="size", least=1))
    return arguments.shown(np.minimum(top, binary_entropy(total) + logs))


def _published() -> Expression:
    p, size, low, high = symbols("p_far size n_min n_max")
    return sp().Min(sp().log(size), h2(p) + p * sp().log((size - low) / high) + sp().log(high))


@theorem(
    label="Theorem 3",
    equation="(F2)",
    left=r"H(X\mid Y)",
    right=(
        r"\min\left\lbrace\log\lvert V\rvert,\ "
        r"h_2(P_t)+P_t\log\frac{\lvert V\rvert-N_{\min}}{N_{\max}}+\log N_{\max}\right\rbrace"
    ),
    form="paper",
    source=PUBLISHED,
    assumes=(CODEBOOK,),
    family=CODES,
    sides=lambda w, bound: (w.entropy_x_given_y, bound(w.p_far, *_counts(w))),
    symbolic=_published,
    tight=_cycle,
)
def fano(p_far: ArrayLike, size: ArrayLike, n_min: ArrayLike, n_max: ArrayLike) -> FloatArray:
    """H(X | Y) from P_t and the smallest and largest ball, as published, but at most log size; in nats.

    Not monotone in p_far: with an upper bound on P_t use `fano_monotone`.

    Parameters
    ----------
    p_far : array in [0, 1]
        P(d > t), exactly.
    size : array, >= 1
        Codewords in the codebook, ``|V|``.
    n_min, n_max : array
        Smallest and largest N(y) over the support of Y; 0 <= n_min <= n_max <= size.

    Returns
    -------
    ndarray
        Upper bound on H(X | Y); log size where a ball holds all codewords or all balls are empty.

    Raises
    ------
    ValueError
        Unless n_min <= n_max <= size.

    See Also
    --------
    fano_monotone : Theorem 3 (monotone).
    fano_per_point : Theorem 3 (per point).
    fano_covered : Theorem 3 (every y covered).
    braun_pokutta : Theorem 4, as in the paper.
    entropy_from_proximity : Theorem 4 (conditional entropy).

    Examples
    --------
    A codebook of 10,000 codewords, one per ball, and 2.8 % of the pairs far:

    >>> import bounds
    >>> print(bounds.fano(0.028, 10_000, 1, 1).round(4))
    0.3856

    It falls again beyond p = ``(|V| - N_min) / (|V| - N_min + N_max)``, so an upper bound on P_t must not enter:

    >>> print(bounds.fano([0.5, 0.9, 1.0], 10, 4, 4).round(4))
    [2.2822 2.0763 1.7918]

    Attained on a cycle of nine codewords:

    >>> print(round(bounds.fano.check(bounds.fano.tight()).ratio, 6))
    1.0
    """
    p, v, low, high = _global(p_far, size, n_min, n_max, name="p_far")
    value = binary_entropy(p) + xlogy(p, np.maximum(v - low, 1.0)) + xlogy(1.0 - p, np.maximum(high, 1.0))
    return arguments.shown(np.where(_trivial(v, low, high), np.log(v), np.minimum(value, np.log(v))))


def _monotone() -> Expression:
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
    assumes=(CODEBOOK,),
    family=CODES,
    sides=lambda w, bound: (
        [w.entropy_x_given_y] * 3,
        [bound(p, *_counts(w)) for p in (w.p_far, 0.5 + 0.5 * w.p_far, min(1.0, w.p_far + 0.02))],
    ),
    symbolic=_monotone,
    tight=_cycle,
)
def fano_monotone(p_far_upper: ArrayLike, size: ArrayLike, n_min: ArrayLike, n_max: ArrayLike) -> FloatArray:
    """H(X | Y) from an upper bound on P_t, in nats: the only form that accepts a confidence limit.

    Parameters
    ----------
    p_far_upper : array in [0, 1]
        Upper bound on P(d > t).
    size, n_min, n_max : array
        As in `fano`.

    Returns
    -------
    ndarray
        Upper bound on H(X | Y), non-decreasing in p_far_upper, at most log size.

    Raises
    ------
    ValueError
        Unless n_min <= n_max <= size.

    See Also
    --------
    fano : Theorem 3, as in the paper.
    functional_from_fano : Pipeline (proximal, informational, functional).

    Examples
    --------
    It never falls and never exceeds log ``|V|`` = 2.3026:

    >>> import bounds
    >>> print(bounds.fano_monotone([0.3, 0.6, 1.0], 10, 4, 4).round(4))
    [2.1188 2.3026 2.3026]
    """
    p, v, low, high = _global(p_far_upper, size, n_min, n_max, name="p_far_upper")
    far = v - low
    p = np.minimum(p, far / np.maximum(far + high, 1.0))
    value = binary_entropy(p) + xlogy(p, np.maximum(far, 1.0)) + xlogy(1.0 - p, np.maximum(high, 1.0))
    top = np.log(v)
    return arguments.shown(np.where(_trivial(v, low, high), top, np.minimum(top, value)))


def _covered() -> Expression:
    p, size, low, mean = symbols("p_far size n_min mean_log_count")
    return sp().Min(sp().log(size), h2(p) + p * sp().log(size - low) + mean)


@theorem(
    label="Theorem 3 (every y covered)",
    equation="(F3)",
    left=r"H(X\mid Y)",
    right=(
        r"\min\left\lbrace\log\lvert V\rvert,\ "
        r"h_2(P_t)+P_t\log(\lvert V\rvert-N_{\min})+E\log N(Y)\right\rbrace"
    ),
    form="consequence",
    source=OURS,
    assumes=(SELF_IN_BALL, CODEBOOK),
    family=COVERED_CODES,
    sides=lambda w, bound: (
        w.entropy_x_given_y,
        bound(w.p_far, *_counts(w)[:2], balls(w)[0] @ np.log(balls(w)[2])),
    ),
    symbolic=_covered,
    # Balls of one codeword each: the mean logarithm is zero and the bound is attained.
    tight=lambda: gallery.cyclic_codebook(7, 0, 0.4),
)
def fano_covered(p_far: ArrayLike, size: ArrayLike, n_min: ArrayLike, mean_log_count: ArrayLike) -> FloatArray:
    """H(X | Y) from P_t, the smallest ball and the mean logarithm of counts, in nats, when N(y) >= 1.

    Parameters
    ----------
    p_far : array in [0, 1]
        P(d > t), exactly.
    size : array, >= 1
        Codewords in the codebook, ``|V|``.
    n_min : array in [1, size]
        Smallest N(y).
    mean_log_count : array, >= 0
        E log N(Y).

    Returns
    -------
    ndarray
        Upper bound on H(X | Y).

    Raises
    ------
    ValueError
        Unless n_min <= size.

    See Also
    --------
    fano : Theorem 3, as in the paper.
    fano_mean_counts : Theorem 3 (mean counts).

    Examples
    --------
    With balls of one codeword each it is Fano's inequality:

    >>> import bounds
    >>> print(bounds.fano_covered(0.1, 10, 1, 0.0).round(4))
    0.5448
    >>> print(bounds.fano(0.1, 10, 1, 1).round(4))
    0.5448
    """
    p = arguments.probability(p_far, name="p_far")
    v = arguments.count(size, name="size", least=1)
    low = arguments.count(n_min, name="n_min", least=1)
    mean = arguments.nonnegative(mean_log_count, name="mean_log_count")
    arguments.together(p_far=p, size=v, n_min=low, mean_log_count=mean)
    arguments.ordered(low, v, names=("n_min", "size"))
    value = binary_entropy(p) + xlogy(p, np.maximum(v - low, 1.0)) + mean
    return arguments.shown(np.where(low == v, np.log(v), np.minimum(np.log(v), value)))


def _trivial(size: FloatArray, low: FloatArray, high: FloatArray) -> NDArray[np.bool_]:
    # One ball holds every codeword, or all are empty: then only the alphabet is known.
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
    distribution: ArrayLike, p_far: ArrayLike, size: ArrayLike, n_codes: ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    q, p = arguments.distribution(distribution, name="distribution"), arguments.probability(p_far, name="p_far")
    n = arguments.count(n_codes, name="n_codes", least=0)
    v = arguments.count(size, name="size", least=1)[..., None]
    arguments.same_last_axis(distribution=q, p_far=p, n_codes=n)
    arguments.together(distribution=q, p_far=p, size=v, n_codes=n)
    arguments.ordered(n, v, names=("n_codes", "size"))
    rest = v - n
    # What rounding leaves on an impossible side counts as zero.
    p = np.where((rest == 0) & (p <= arguments.ROUNDED), 0.0, p)
    p = np.where((n == 0) & (p >= 1.0 - arguments.ROUNDED), 1.0, p)
    if ((q * p > 0) & (rest == 0)).any() or ((q * (1.0 - p) > 0) & (n == 0)).any():
        raise ValueError(
            "p_far: expected 0 where a ball holds every codeword and 1 where it holds none, got other values; "
            "use the same threshold t for the counts and for P(d > t)"
        )
    return q, p, np.maximum(rest, 1.0), np.maximum(n, 1.0)
