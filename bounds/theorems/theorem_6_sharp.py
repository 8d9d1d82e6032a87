"""Theorem 6(b) in its sharp form (8.1'): far pairs cost B^2 chi(P_t) instead of 4 B^2 P_t (theory, section 17.2)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import BOUNDED_TARGET, LIPSCHITZ_NEAR, OURS
from bounds.framework.special_functions import chi
from bounds.framework.symbolic import Expression, symbols
from bounds.framework.symbolic import chi as chi_
from bounds.framework.theorem import theorem
from bounds.theorems.theorem_5_informational import GAIN
from bounds.worlds import gallery
from bounds.worlds.families import FREE_POINTS
from bounds.worlds.finite import FiniteWorld
from redundancy.array_types import FloatArray


def _far_given_y(w: FiniteWorld) -> tuple[FloatArray, FloatArray]:
    """p(y) and P(d > t | y) for every y that occurs."""
    held = w.y > 0
    far = np.minimum((w.xy * w.far).sum(axis=0)[held] / w.y[held], 1.0)
    return w.y[held] / w.y[held].sum(), far


def one_far_codeword(p_far: float = 0.2) -> FiniteWorld:
    """Y at the likelier of two codewords, the other one far: nothing is lost among near points, L_1 = 0."""
    return replace(gallery.two_atoms(p_far), threshold=0.1)


def _per_point() -> Expression:
    near, slope, b = symbols("near_squared_distance lipschitz_x radius")
    distribution, p = symbols("distribution_0:3"), symbols("p_far_0:3")
    return slope**2 * near + b**2 * sum(distribution[i] * chi_(p[i]) for i in range(3))


@theorem(
    label="Theorem 6 (hybrid, sharp, per point)",
    equation="(8.1'), first step",
    left=GAIN,
    right=r"L_1^2E\left[\lVert X-Y\rVert^2;d\le t\right]+B^2E\,\chi(p_Y),\quad p_y=P(d>t\mid Y=y)",
    form="sharp",
    source=OURS,
    assumes=(BOUNDED_TARGET, LIPSCHITZ_NEAR),
    family=FREE_POINTS,
    sides=lambda w, bound: (
        w.lost_without_x,
        bound(w.near_squared_distance, w.lipschitz_x_near, *_far_given_y(w), w.radius),
    ),
    symbolic=_per_point,
    tight=one_far_codeword,
)
def sharp_hybrid_per_point(
    near_squared_distance: ArrayLike,
    lipschitz_x: ArrayLike,
    distribution: ArrayLike,
    p_far: ArrayLike,
    radius: ArrayLike,
) -> FloatArray:
    """What X adds to Y: Lipschitz where they are close, bounded where they are far, from P(far | y) of every y.

    Parameters
    ----------
    near_squared_distance : array (...), >= 0
        E[||X - Y||^2; d <= t], or an upper bound on it.
    lipschitz_x : array (...), >= 0
        L_1 on the support points within distance t of y only.
    distribution : array (..., n)
        p(y), summing to one along the last axis.
    p_far : array (..., n) in [0, 1]
        P(d > t | Y = y), or upper bounds.
    radius : array (...), >= 0
        B with ||T - c|| <= B.

    Returns
    -------
    ndarray (...)
        Upper bound on mmse(T | Y) - mmse(T | X, Y).

    Raises
    ------
    ValueError
        If `distribution` does not sum to one.

    See Also
    --------
    sharp_hybrid : Theorem 6 (hybrid, sharp).
    functional_from_decoding_per_point : Theorem 6 (decoding, per point).

    Examples
    --------
    One later state with far pairs, one without:

    >>> import bounds
    >>> print(bounds.sharp_hybrid_per_point(0.01, 2.0, [0.5, 0.5], [0.0, 0.4], 1.0).round(4))
    0.52
    >>> print(bounds.sharp_hybrid(0.01, 2.0, 0.2, 1.0).round(4))
    0.68
    """
    near = arguments.nonnegative(near_squared_distance, name="near_squared_distance")
    slope = arguments.nonnegative(lipschitz_x, name="lipschitz_x")
    q, p = arguments.distribution(distribution, name="distribution"), arguments.probability(p_far, name="p_far")
    b = arguments.nonnegative(radius, name="radius")
    arguments.same_last_axis(distribution=q, p_far=p)
    arguments.together(
        near_squared_distance=near[..., None],
        lipschitz_x=slope[..., None],
        distribution=q,
        p_far=p,
        radius=b[..., None],
    )
    share = (q * chi(p)).sum(axis=-1)
    return arguments.shown(arguments.product(slope, slope, near) + arguments.product(b, b, share))


def _hybrid() -> Expression:
    near, slope, p, b = symbols("near_squared_distance lipschitz_x p_far radius")
    return slope**2 * near + b**2 * chi_(p)


@theorem(
    label="Theorem 6 (hybrid, sharp)",
    equation="(8.1'), last step",
    left=GAIN,
    right=r"L_1^2E\left[\lVert X-Y\rVert^2;d\le t\right]+B^2\chi(P_t)",
    form="sharp",
    source=OURS,
    assumes=(BOUNDED_TARGET, LIPSCHITZ_NEAR),
    family=FREE_POINTS,
    sides=lambda w, bound: (
        w.lost_without_x,
        bound(w.near_squared_distance, w.lipschitz_x_near, w.p_far, w.radius),
    ),
    symbolic=_hybrid,
    tight=one_far_codeword,
)
def sharp_hybrid(
    near_squared_distance: ArrayLike, lipschitz_x: ArrayLike, p_far: ArrayLike, radius: ArrayLike
) -> FloatArray:
    """What X adds to Y: Lipschitz where they are close, at most B^2 chi(P_t) where they are far.

    Parameters
    ----------
    near_squared_distance : array, >= 0
        E[||X - Y||^2; d <= t], or an upper bound on it.
    lipschitz_x : array, >= 0
        L_1 on the support points within distance t of y only.
    p_far : array in [0, 1]
        P(d > t), or an upper bound on it.
    radius : array, >= 0
        B with ||T - c|| <= B.

    Returns
    -------
    ndarray
        Upper bound on mmse(T | Y) - mmse(T | X, Y); never above `functional_hybrid`.

    See Also
    --------
    sharp_hybrid_per_point : Theorem 6 (hybrid, sharp, per point).
    functional_hybrid : Theorem 6 (hybrid).
    functional_from_decoding : Theorem 6 (decoding).

    Examples
    --------
    With a fifth of the pairs far, (8.1) gives 0.84:

    >>> import bounds
    >>> print(bounds.sharp_hybrid(0.01, 2.0, [0.0, 0.2, 1.0], 1.0).round(4))
    [0.04 0.68 1.04]
    """
    near = arguments.nonnegative(near_squared_distance, name="near_squared_distance")
    slope = arguments.nonnegative(lipschitz_x, name="lipschitz_x")
    p, b = arguments.probability(p_far, name="p_far"), arguments.nonnegative(radius, name="radius")
    arguments.together(near_squared_distance=near, lipschitz_x=slope, p_far=p, radius=b)
    return arguments.shown(arguments.product(slope, slope, near) + arguments.product(b, b, chi(p)))
