"""Theorem 1: geometrically redundant layers are functionally redundant, given Lipschitz regressions.

L_1 (`lipschitz_x`) is the constant of x -> E[Z | X = x, Y = y] on the support of X given Y = y, and L_2
(`lipschitz_y`) that of y -> E[Z | X = x, Y = y] on the support of Y given X = x.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import (
    OURS,
    PAPER,
    UNIT_NORM,
)
from bounds.framework.special_functions import kappa
from bounds.framework.symbolic import kappa as kappa_
from bounds.framework.symbolic import sp, symbols
from bounds.framework.theorem import theorem
from bounds.theorems.proposition_1_proximal_geometric import geometric_from_proximal
from bounds.theorems.theorem_1_variance import BOTH, times_square, two_sided
from bounds.worlds import gallery
from bounds.worlds.families import FREE_POINTS, JOINT
from redundancy.array_types import FloatArray


@theorem(
    label="Theorem 1 (general vectors)",
    equation="Corollary 1 of (3.2)",
    left=r"\pm\left(\mathrm{mmse}(Z\mid X)-\mathrm{mmse}(Z\mid Y)\right)",
    form="sharp",
    source=OURS,
    assumes=BOTH,
    family=FREE_POINTS,
    sides=lambda w, bound: two_sided(w, bound, w.squared_distance, w.squared_distance),
    symbolic=lambda: symbols("lipschitz") ** 2 * symbols("squared_distance"),
    tight=lambda: gallery.noisy_copy(0.4, 2.0),
)
def functional_from_squared_distance(squared_distance: ArrayLike, lipschitz: ArrayLike) -> FloatArray:
    """The functional gap from E ||X - Y||^2, without any normalisation: L^2 E ||X - Y||^2.

    Parameters
    ----------
    squared_distance : array, >= 0
        E ||X - Y||^2, or an upper limit of it.
    lipschitz : array, >= 0
        L_2 for the upper side, L_1 for the lower, the larger for both.

    Returns
    -------
    ndarray
        Upper limit of |mmse(Z | X) - mmse(Z | Y)|. Theorem 1, Corollary 1.

    Raises
    ------
    ValueError
        For NaN, negative numbers, or shapes that do not broadcast.
    """
    return times_square(squared_distance, lipschitz, name="squared_distance")


@theorem(
    label="Theorem 1",
    equation="(3.3)",
    left=r"\lvert\mathrm{mmse}(Z\mid X)-\mathrm{mmse}(Z\mid Y)\rvert",
    right=r"L^2\kappa(\varepsilon)",
    form="sharp",
    source=OURS,
    assumes=(UNIT_NORM, *BOTH),
    family=JOINT,
    sides=lambda w, bound: two_sided(w, bound, w.geometric, w.geometric),
    symbolic=lambda: symbols("lipschitz") ** 2 * kappa_(symbols("epsilon")),
    tight=lambda: gallery.sign_flip(0.6),
)
def functional_from_geometric(epsilon: ArrayLike, lipschitz: ArrayLike, *, exact: bool = False) -> FloatArray:
    """The functional gap from the mean cosine distance: L^2 kappa(epsilon), the exact supremum.

    Parameters
    ----------
    epsilon : array, >= 0
        E d_cos(X, Y), or an upper limit of it; states of norm one.
    lipschitz : array, >= 0
        max(L_1, L_2); L_2 alone bounds mmse(Z | X) - mmse(Z | Y), L_1 alone its negative.
    exact : bool
        Whether epsilon is E d_cos itself and not merely an upper limit: then epsilon (2 - epsilon) holds
        beyond 1 too.

    Returns
    -------
    ndarray
        Upper limit of |mmse(Z | X) - mmse(Z | Y)|. Theorem 1, (3.3).

    Raises
    ------
    ValueError
        For NaN, negative numbers, an exact epsilon above 2, or shapes that do not broadcast.
    """
    e = arguments.nonnegative(epsilon, name="epsilon")
    if exact and (e > 2).any():
        raise ValueError(f"epsilon: expected a mean cosine distance in [0, 2], got {e.max()}")
    return times_square(e * (2.0 - e) if exact else kappa(e), lipschitz, name="epsilon")


@theorem(
    label="Theorem 1 (linear)",
    equation="(3.3), last step",
    left=r"\lvert\mathrm{mmse}(Z\mid X)-\mathrm{mmse}(Z\mid Y)\rvert",
    form="paper",
    source=PAPER,
    assumes=(UNIT_NORM, *BOTH),
    family=JOINT,
    sides=lambda w, bound: two_sided(w, bound, w.geometric, w.geometric),
    symbolic=lambda: 2 * symbols("lipschitz") ** 2 * symbols("epsilon"),
    tight=lambda: gallery.sign_flip(1e-4),
)
def functional_from_geometric_linear(epsilon: ArrayLike, lipschitz: ArrayLike) -> FloatArray:
    """The linear form 2 L^2 epsilon: 2 is the best constant, approached as epsilon -> 0.

    Parameters
    ----------
    epsilon : array, >= 0
        E d_cos(X, Y), or an upper limit of it; states of norm one.
    lipschitz : array, >= 0
        max(L_1, L_2).

    Returns
    -------
    ndarray
        Upper limit of |mmse(Z | X) - mmse(Z | Y)|. Theorem 1 as in the paper, (3.3).

    Raises
    ------
    ValueError
        For NaN, negative numbers, or shapes that do not broadcast.
    """
    return arguments.shown(2.0 * times_square(epsilon, lipschitz, name="epsilon"))


def _through_proximal() -> Any:
    t, p, slope = symbols("t p_far lipschitz")
    return slope**2 * kappa_(sp().Min(t, 2) * (1 - p) + 2 * p)


@theorem(
    label="Theorem 1 after Proposition 1",
    equation="Corollary 3 of (3.3)",
    left=r"\lvert\mathrm{mmse}(Z\mid X)-\mathrm{mmse}(Z\mid Y)\rvert",
    right=r"L^2\kappa\left(t+(2-t)P_t\right)",
    form="sharp",
    source=OURS,
    assumes=(UNIT_NORM, *BOTH),
    family=JOINT,
    sides=lambda w, bound: (
        [w.gap, -w.gap],
        [bound(w.threshold, w.p_far, w.lipschitz_y), bound(w.threshold, w.p_far, w.lipschitz_x)],
    ),
    symbolic=_through_proximal,
    tight=lambda: gallery.rotated_or_reflected(0.3, 0.1),
)
def functional_from_proximal(t: ArrayLike, p_far: ArrayLike, lipschitz: ArrayLike) -> FloatArray:
    """The functional gap from P(d_cos > t): Proposition 1, then Theorem 1.

    Parameters
    ----------
    t : array, >= 0
        Threshold on the cosine distance.
    p_far : array in [0, 1]
        P(d_cos > t), or an upper limit of it; states of norm one.
    lipschitz : array, >= 0
        max(L_1, L_2).

    Returns
    -------
    ndarray
        Upper limit of |mmse(Z | X) - mmse(Z | Y)|. Theorem 1, Corollary 3.

    Raises
    ------
    ValueError
        For NaN, numbers outside these ranges, or shapes that do not broadcast.
    """
    return functional_from_geometric(geometric_from_proximal(t, p_far), lipschitz)
