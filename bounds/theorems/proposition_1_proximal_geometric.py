"""Proposition 1: proximal redundancy and geometric redundancy imply each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import DISTANCE, OURS, PAPER
from bounds.framework.symbolic import Expression, sp, symbols
from bounds.framework.theorem import theorem
from bounds.worlds import gallery
from bounds.worlds.families import JOINT
from bounds.worlds.finite import FiniteWorld
from redundancy.array_types import FloatArray

GRID = np.array([0.0, 0.1, 0.3, 0.7, 1.2, 2.0])


def _survival(world: FiniteWorld, thresholds: FloatArray) -> FloatArray:
    far = world.distances[:, :, None] > thresholds
    out: FloatArray = (world.xy[:, :, None] * far).sum(axis=(0, 1))
    # The largest distance may exceed d_max by rounding.
    return np.where(thresholds >= 2.0, 0.0, np.minimum(out, 1.0))


def _upper() -> Expression:
    t, p, d = symbols("t p_far d_max")
    return sp().Min(t, d) * (1 - p) + d * p


@theorem(
    label="Proposition 1",
    equation="(2.1)",
    left=r"E\,d(X,Y)",
    right=r"t+(d_{\max}-t)\,P_t,\quad t\le d_{\max}",
    form="sharp",
    source=f"{PAPER}, for distances in [0, 1]; {OURS} for any largest distance",
    assumes=(DISTANCE,),
    family=JOINT,
    sides=lambda w, bound: (w.geometric, bound(w.threshold, w.p_far)),
    symbolic=_upper,
    tight=lambda: gallery.near_or_opposite(0.3, 0.2),
)
def geometric_from_proximal(t: ArrayLike, p_far: ArrayLike, d_max: ArrayLike = 2.0) -> FloatArray:
    """Mean distance from a threshold and the probability of exceeding it: t + (d_max - t) P_t.

    Parameters
    ----------
    t : array, >= 0
        Threshold; a t beyond d_max counts as d_max.
    p_far : array in [0, 1]
        P(d > t), or an upper bound on it.
    d_max : array, > 0
        Largest possible distance: 2 for the cosine distance, 1 only if no inner product is negative.

    Returns
    -------
    ndarray
        Upper bound on E d(X, Y).

    See Also
    --------
    proximal_from_geometric : Proposition 1 (converse).
    geometric_from_thresholds : Proposition 1 (several thresholds, upper).

    Examples
    --------
    3 % of the tokens further than 0.05, a cosine distance of at most 2:

    >>> import bounds
    >>> print(bounds.geometric_from_proximal(0.05, 0.03).round(4))
    0.1085

    The paper's form takes distances in [0, 1]:

    >>> print(bounds.geometric_from_proximal(0.05, 0.03, d_max=1.0).round(4))
    0.0785
    """
    t, p = arguments.nonnegative(t, name="t"), arguments.probability(p_far, name="p_far")
    d = arguments.positive(d_max, name="d_max")
    arguments.together(t=t, p_far=p, d_max=d)
    t = np.minimum(t, d)
    return arguments.shown(t + (d - t) * p)


@theorem(
    label="Proposition 1 (converse)",
    equation="(2.1)",
    left=r"P(d(X,Y)\ge t)",
    right=r"\min\left\lbrace1,\ \varepsilon/t\right\rbrace",
    form="sharp",
    source="Markov's inequality",
    assumes=(DISTANCE,),
    family=JOINT,
    sides=lambda w, bound: (
        w.xy[w.distances >= w.threshold].sum(),
        bound(w.geometric, w.threshold),
    ),
    symbolic=lambda: sp().Min(1, symbols("epsilon") / symbols("t")),
    tight=lambda: FiniteWorld(
        np.array([[[0.7, 0.3]]]),
        np.zeros((1, 1)),
        np.array([[1.0, 0.0]]),
        np.array([[1.0, 0.0], [0.0, 1.0]]),
        1.0,
    ),
)
def proximal_from_geometric(epsilon: ArrayLike, t: ArrayLike) -> FloatArray:
    """Probability of a distance of at least t from the mean distance: min(1, epsilon / t).

    Parameters
    ----------
    epsilon : array, >= 0
        E d(X, Y), or an upper bound on it.
    t : array, > 0
        Threshold.

    Returns
    -------
    ndarray in [0, 1]
        Upper bound on P(d >= t), hence of P(d > t).

    See Also
    --------
    geometric_from_proximal : Proposition 1.

    Examples
    --------
    A mean distance of 0.02 leaves at most 20 % of the pairs beyond 0.1, and says nothing below 0.02:

    >>> import bounds
    >>> print(bounds.proximal_from_geometric(0.02, [0.1, 0.01]).round(4))
    [0.2 1. ]
    """
    e, t = arguments.nonnegative(epsilon, name="epsilon"), arguments.positive(t, name="t")
    arguments.together(epsilon=e, t=t)
    # Where e >= t the bound is 1; not dividing there avoids an overflow.
    return arguments.shown(np.where(e >= t, 1.0, np.minimum(e, t) / t))


def _upper_sum() -> Expression:
    t = symbols("thresholds_0:4")
    p = symbols("p_far_0:4")
    return sum((t[i + 1] - t[i]) * p[i] for i in range(3)) + t[0]


@theorem(
    label="Proposition 1 (several thresholds, upper)",
    equation="(2.2)",
    left=r"E\,d(X,Y)",
    right=r"t_0+\sum_{i}(t_{i+1}-t_i)\,P_{t_i}",
    form="sharp",
    source=OURS,
    assumes=(DISTANCE,),
    family=JOINT,
    sides=lambda w, bound: (w.geometric, bound(GRID, _survival(w, GRID))),
    symbolic=_upper_sum,
    tight=lambda: FiniteWorld(np.array([[[0.4, 0.6]]]), np.zeros((1, 1)), np.ones((1, 1)), np.array([[1.0], [-1.0]])),
)
def geometric_from_thresholds(thresholds: ArrayLike, p_far: ArrayLike) -> FloatArray:
    """Mean distance from P(d > t) at several thresholds; converges to it as the grid gets fine.

    Parameters
    ----------
    thresholds : array (..., k), k >= 2
        Ascending; the last one must be the largest possible distance.
    p_far : array (..., k) in [0, 1]
        P(d > t) at each threshold, or upper bounds; the last one is not used.

    Returns
    -------
    ndarray (...)
        Upper bound on E d(X, Y).

    Raises
    ------
    ValueError
        If the thresholds are not in ascending order, or fewer than two.

    See Also
    --------
    geometric_from_proximal : Proposition 1.
    geometric_above_thresholds : Proposition 1 (several thresholds, lower).

    Examples
    --------
    Several thresholds beat one, which would give 0.1 + 1.9 * 0.2 = 0.48:

    >>> import bounds
    >>> print(bounds.geometric_from_thresholds([0.0, 0.1, 0.5, 2.0], [0.6, 0.2, 0.05, 0.0]).round(4))
    0.215
    """
    t, p = _ladder(thresholds, p_far)
    return arguments.shown(t[..., 0] + (np.diff(t, axis=-1) * p[..., :-1]).sum(axis=-1))


def _lower_sum() -> Expression:
    t = symbols("thresholds_0:4")
    p = symbols("p_far_0:4")
    return t[0] * p[0] + sum((t[i] - t[i - 1]) * p[i] for i in range(1, 4))


@theorem(
    label="Proposition 1 (several thresholds, lower)",
    equation="(2.2)",
    left=r"E\,d(X,Y)",
    right=r"t_0P_{t_0}+\sum_{i}(t_{i+1}-t_i)\,P_{t_{i+1}}",
    relation=">=",
    form="sharp",
    source=OURS,
    assumes=(DISTANCE,),
    family=JOINT,
    sides=lambda w, bound: (w.geometric, bound(GRID, _survival(w, GRID))),
    symbolic=_lower_sum,
    # A distance slightly above 1.2: with the strict inequality the bound is approached but not attained.
    tight=lambda: FiniteWorld(
        np.ones((1, 1, 1)),
        np.zeros((1, 1)),
        np.array([[1.0, 0.0]]),
        gallery.circle(np.array([np.arccos(-0.2) + 1e-9])),
    ),
    reached="limit",
)
def geometric_above_thresholds(thresholds: ArrayLike, p_far: ArrayLike) -> FloatArray:
    """Lower bound on the mean distance from P(d > t) at several thresholds.

    Parameters
    ----------
    thresholds : array (..., k), k >= 2
        Ascending, >= 0.
    p_far : array (..., k) in [0, 1]
        P(d > t) at each threshold, or lower bounds.

    Returns
    -------
    ndarray (...)
        Lower bound on E d(X, Y).

    Raises
    ------
    ValueError
        If the thresholds are not in ascending order, or fewer than two.

    See Also
    --------
    geometric_from_thresholds : Proposition 1 (several thresholds, upper).
    proximal_from_geometric : Proposition 1 (converse).

    Examples
    --------
    From the same numbers the mean distance lies between 0.04 and 0.215:

    >>> import bounds
    >>> print(bounds.geometric_above_thresholds([0.0, 0.1, 0.5, 2.0], [0.6, 0.2, 0.05, 0.0]).round(4))
    0.04
    """
    t, p = _ladder(thresholds, p_far)
    return arguments.shown(t[..., 0] * p[..., 0] + (np.diff(t, axis=-1) * p[..., 1:]).sum(axis=-1))


def _ladder(thresholds: ArrayLike, p_far: ArrayLike) -> tuple[FloatArray, FloatArray]:
    t = arguments.nonnegative(thresholds, name="thresholds")
    p = arguments.probability(p_far, name="p_far")
    if arguments.same_last_axis(thresholds=t, p_far=p) < 2:
        raise ValueError(f"thresholds: expected at least two, got shape {t.shape}; use geometric_from_proximal")
    arguments.together(thresholds=t, p_far=p)
    if (np.diff(t, axis=-1) < 0).any():
        raise ValueError("thresholds: expected ascending numbers, got a descent; sort them with their p_far")
    return t, p
