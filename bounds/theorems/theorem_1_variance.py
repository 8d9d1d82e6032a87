"""Theorem 1 by conditional variances: what one state adds to the other, and which constant is needed.

L_1 (`lipschitz_x`) is the constant of x -> E[Z | X = x, Y = y] on the support of X given Y = y, and L_2
(`lipschitz_y`) that of y -> E[Z | X = x, Y = y] on the support of Y given X = x.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import (
    LABEL_CHAIN,
    LATER_CHAIN,
    LIPSCHITZ_BOTH,
    LIPSCHITZ_X,
    LIPSCHITZ_Y,
    OURS,
    SQUARE_INTEGRABLE,
)
from bounds.framework.symbolic import Expression, symbols
from bounds.framework.theorem import Evaluate, Sides, theorem
from bounds.worlds import gallery
from bounds.worlds.families import FREE_POINTS
from bounds.worlds.families import LABEL_CHAIN as LABEL_CHAINS
from bounds.worlds.families import LATER_CHAIN as LATER_CHAINS
from bounds.worlds.finite import FiniteWorld
from redundancy.array_types import FloatArray


def two_sided(world: FiniteWorld, bound: Evaluate, a: float, b: float) -> tuple[list[float], list[FloatArray]]:
    """The gap and its negative against the bound with L_2 and with L_1."""
    return [world.gap, -world.gap], [bound(a, world.lipschitz_y), bound(b, world.lipschitz_x)]


def times_square(a: ArrayLike, lipschitz: ArrayLike, *, name: str, slope: str = "lipschitz") -> FloatArray:
    """lipschitz^2 a, both checked under their names."""
    a = arguments.nonnegative(a, name=name)
    constant = arguments.nonnegative(lipschitz, name=slope)
    arguments.together(**{name: a, slope: constant})
    return arguments.shown(arguments.product(constant, constant, a))


def _one_constant(w: FiniteWorld, bound: Evaluate) -> Sides:
    """Each half needs its own constant only; the second is checked where it exists too."""
    left, right = [w.lost_without_y], [bound(w.variance_y_given_x, w.lipschitz_y)]
    if np.isfinite(w.lipschitz_x):
        left.append(w.lost_without_x)
        right.append(bound(w.variance_x_given_y, w.lipschitz_x))
    return left, right


@theorem(
    label="Theorem 1 (variance form)",
    equation="(3.1)",
    left=r"\mathrm{mmse}(Z\mid X)-\mathrm{mmse}(Z\mid X,Y)",
    right=r"L_2^2\,\mathrm{mmse}(Y\mid X)",
    form="sharp",
    source=OURS,
    assumes=(LIPSCHITZ_Y, SQUARE_INTEGRABLE),
    family=FREE_POINTS,
    sides=_one_constant,
    symbolic=lambda: symbols("lipschitz") ** 2 * symbols("variance"),
    tight=lambda: gallery.sign_flip(0.5),
)
def functional_from_variance(variance: ArrayLike, lipschitz: ArrayLike) -> FloatArray:
    """What the other state adds to the prediction of Z: L^2 times its conditional variance.

    Parameters
    ----------
    variance : array, >= 0
        mmse(Y | X), with `lipschitz` L_2; or mmse(X | Y), with L_1 and the roles exchanged.
    lipschitz : array, >= 0
        Lipschitz constant of the regression in the state whose variance is given.

    Returns
    -------
    ndarray
        Upper bound on mmse(Z | X) - mmse(Z | X, Y), in units of Z squared.

    See Also
    --------
    functional_gap_from_variance : Theorem 1 (two-sided variance form).
    functional_from_local_constants : Theorem 1 (local constants).

    Examples
    --------
    A regression with L_2 = 2 and a state known up to a variance of 0.1:

    >>> import bounds
    >>> print(bounds.functional_from_variance(0.1, 2.0).round(4))
    0.4
    """
    return times_square(variance, lipschitz, name="variance")


@theorem(
    label="Theorem 1 (two-sided variance form)",
    equation="(3.2)",
    left=r"\pm\left(\mathrm{mmse}(Z\mid X)-\mathrm{mmse}(Z\mid Y)\right)",
    right=r"L^2\,\mathrm{mmse}(Y\mid X)",
    form="sharp",
    source=OURS,
    assumes=(*LIPSCHITZ_BOTH, SQUARE_INTEGRABLE),
    family=FREE_POINTS,
    sides=lambda w, bound: two_sided(w, bound, w.variance_y_given_x, w.variance_x_given_y),
    symbolic=lambda: symbols("lipschitz") ** 2 * symbols("variance"),
    tight=lambda: gallery.sign_flip(0.8),
)
def functional_gap_from_variance(variance: ArrayLike, lipschitz: ArrayLike) -> FloatArray:
    """The functional gap: above by L_2^2 mmse(Y | X), below by minus L_1^2 mmse(X | Y).

    Parameters
    ----------
    variance : array, >= 0
        mmse(Y | X) for the upper side, mmse(X | Y) for the lower.
    lipschitz : array, >= 0
        L_2 for the upper side, L_1 for the lower.

    Returns
    -------
    ndarray
        Upper bound on mmse(Z | X) - mmse(Z | Y) (or of its negative).

    See Also
    --------
    functional_from_variance : Theorem 1 (variance form).
    functional_from_squared_distance : Theorem 1 (general vectors).
    functional_from_geometric : Theorem 1.

    Examples
    --------
    The upper side with mmse(Y | X) = 0.1, the lower side with mmse(X | Y) = 0 because Y determines X:

    >>> import bounds
    >>> print(bounds.functional_gap_from_variance([0.1, 0.0], [2.0, 5.0]).round(4))
    [0.4 0. ]
    """
    return times_square(variance, lipschitz, name="variance")


def _local_sum() -> Expression:
    p, v, slope = symbols("distribution_0:3"), symbols("variances_0:3"), symbols("lipschitz_0:3")
    return sum(p[i] * slope[i] ** 2 * v[i] for i in range(3))


def _trace_of_y(world: FiniteWorld) -> FloatArray:
    mean = world.xy @ world.y_points
    mass = np.where(world.x > 0, world.x, 1.0)
    squares = ((world.y_points[None] - (mean / mass[:, None])[:, None]) ** 2).sum(axis=-1)
    out: FloatArray = (world.xy * squares).sum(axis=1) / mass
    return out


@theorem(
    label="Theorem 1 (local constants)",
    equation="Corollary 4 of (3.1)",
    left=r"\mathrm{mmse}(Z\mid X)-\mathrm{mmse}(Z\mid X,Y)",
    right=r"E\left[L_2(X)^2\,\mathrm{tr\,Cov}(Y\mid X)\right]",
    form="sharp",
    source=OURS,
    assumes=(LIPSCHITZ_Y, SQUARE_INTEGRABLE),
    family=FREE_POINTS,
    sides=lambda w, bound: (w.lost_without_y, bound(w.x / w.x.sum(), _trace_of_y(w), w.lipschitz_y_at)),
    symbolic=_local_sum,
    tight=lambda: gallery.sign_flip(0.3),
)
def functional_from_local_constants(distribution: ArrayLike, variances: ArrayLike, lipschitz: ArrayLike) -> FloatArray:
    """What Y adds to the prediction of Z when every x has its own Lipschitz constant.

    Parameters
    ----------
    distribution : array (..., n)
        p(x), summing to one along the last axis.
    variances : array (..., n), >= 0
        tr Cov(Y | X = x).
    lipschitz : array (..., n), >= 0
        Lipschitz constant of y -> E[Z | X = x, Y = y] for each x.

    Returns
    -------
    ndarray (...)
        Upper bound on mmse(Z | X) - mmse(Z | X, Y).

    Raises
    ------
    ValueError
        If `distribution` does not sum to one.

    See Also
    --------
    functional_from_variance : Theorem 1 (variance form).

    Examples
    --------
    Where the regression is steep the state is known; one constant L_2 = 3 would give 9 * 0.1 = 0.9:

    >>> import bounds
    >>> print(bounds.functional_from_local_constants([0.5, 0.5], [0.0, 0.2], [3.0, 1.0]).round(4))
    0.1
    """
    p = arguments.distribution(distribution, name="distribution")
    v = arguments.nonnegative(variances, name="variances")
    slope = arguments.nonnegative(lipschitz, name="lipschitz")
    arguments.same_last_axis(distribution=p, variances=v, lipschitz=slope)
    arguments.together(distribution=p, variances=v, lipschitz=slope)
    return arguments.shown(arguments.product(p, slope, slope, v).sum(axis=-1))


def _affine_error(weights: FloatArray, source: FloatArray, target: FloatArray) -> float:
    """Weighted squared error of the best affine map from the source points to the target points."""
    i, j = np.nonzero(weights > 0)
    w = np.sqrt(weights[i, j])[:, None]
    design = np.concatenate([np.ones((len(i), 1)), source[i]], axis=1)
    fit = np.linalg.lstsq(w * design, w * target[j], rcond=None)[0]
    return float(((w * (target[j] - design @ fit)) ** 2).sum())


@theorem(
    label="Theorem 1 (reconstruction)",
    equation="Corollary 5 of (3.2)",
    left=r"\pm\left(\mathrm{mmse}(Z\mid X)-\mathrm{mmse}(Z\mid Y)\right)",
    right=r"L^2\,E\lVert Y-h(X)\rVert^2",
    form="sharp",
    source=OURS,
    assumes=(*LIPSCHITZ_BOTH, SQUARE_INTEGRABLE),
    family=FREE_POINTS,
    sides=lambda w, bound: two_sided(
        w,
        bound,
        _affine_error(w.xy, w.x_points, w.y_points),
        _affine_error(w.xy.T, w.y_points, w.x_points),
    ),
    symbolic=lambda: symbols("lipschitz") ** 2 * symbols("error"),
    tight=lambda: gallery.sign_flip(0.4),
)
def functional_from_reconstruction(error: ArrayLike, lipschitz: ArrayLike) -> FloatArray:
    """The functional gap from how well one state is reconstructed from the other: L^2 E ||Y - h(X)||^2.

    Parameters
    ----------
    error : array, >= 0
        E ||Y - h(X)||^2 for any map h, for instance affine (upper side); E ||X - h(Y)||^2 (lower side).
    lipschitz : array, >= 0
        L_2 (upper side), L_1 (lower side).

    Returns
    -------
    ndarray
        Upper bound on mmse(Z | X) - mmse(Z | Y) (or of its negative).

    See Also
    --------
    functional_from_squared_distance : Theorem 1 (general vectors).
    functional_gap_from_variance : Theorem 1 (two-sided variance form).

    Examples
    --------
    An affine map that explains most of the step beats the distance itself:

    >>> import bounds
    >>> print(bounds.functional_from_reconstruction([0.5, 0.02], 1.0).round(4))
    [0.5  0.02]
    """
    return times_square(error, lipschitz, name="error")


@theorem(
    label="Theorem 1 (target behind the later layer)",
    equation="section 3, first row of the table",
    left=r"\left\lvert\mathrm{mmse}(Z\mid X)-\mathrm{mmse}(Z\mid Y)\right\rvert",
    right=r"L_2^2\,\mathrm{mmse}(Y\mid X)",
    form="sharp",
    source=OURS,
    assumes=(LATER_CHAIN, LIPSCHITZ_Y, SQUARE_INTEGRABLE),
    family=LATER_CHAINS,
    sides=lambda w, bound: (
        [w.gap, -w.gap],
        [bound(w.variance_y_given_x, w.lipschitz_y), 0.0],
    ),
    symbolic=lambda: symbols("lipschitz_y") ** 2 * symbols("variance_y"),
    tight=lambda: gallery.sign_flip(0.5),
)
def functional_of_later_target(variance_y: ArrayLike, lipschitz_y: ArrayLike) -> FloatArray:
    """X - Y - Z (Z a later layer): only L_2 matters, and the earlier state never predicts better.

    Parameters
    ----------
    variance_y : array, >= 0
        mmse(Y | X).
    lipschitz_y : array, >= 0
        L_2.

    Returns
    -------
    ndarray
        Upper bound on mmse(Z | X) - mmse(Z | Y), which is >= 0.

    See Also
    --------
    functional_of_label : Theorem 1 (label behind the earlier layer).
    functional_gap_from_variance : Theorem 1 (two-sided variance form).

    Examples
    --------
    Zero where the earlier layer determines the later one, as in a deterministic network:

    >>> import bounds
    >>> print(bounds.functional_of_later_target([0.0, 0.1], 1.5).round(4))
    [0.    0.225]
    """
    return times_square(variance_y, lipschitz_y, name="variance_y", slope="lipschitz_y")


@theorem(
    label="Theorem 1 (label behind the earlier layer)",
    equation="section 3, second row of the table",
    left=r"\left\lvert\mathrm{mmse}(Z\mid Y)-\mathrm{mmse}(Z\mid X)\right\rvert",
    right=r"L_1^2\,\mathrm{mmse}(X\mid Y)",
    form="sharp",
    source=OURS,
    assumes=(LABEL_CHAIN, LIPSCHITZ_X, SQUARE_INTEGRABLE),
    family=LABEL_CHAINS,
    sides=lambda w, bound: (
        [-w.gap, w.gap],
        [bound(w.variance_x_given_y, w.lipschitz_x), 0.0],
    ),
    symbolic=lambda: symbols("lipschitz_x") ** 2 * symbols("variance_x"),
    tight=lambda: gallery.sign_flip(0.5).reversed(),
)
def functional_of_label(variance_x: ArrayLike, lipschitz_x: ArrayLike) -> FloatArray:
    """Z - X - Y (Z a label, Y computed from X): only L_1 matters, and the later state never predicts better.

    Parameters
    ----------
    variance_x : array, >= 0
        mmse(X | Y).
    lipschitz_x : array, >= 0
        L_1.

    Returns
    -------
    ndarray
        Upper bound on mmse(Z | Y) - mmse(Z | X), which is >= 0.

    See Also
    --------
    functional_of_later_target : Theorem 1 (target behind the later layer).
    functional_gap_from_variance : Theorem 1 (two-sided variance form).

    Examples
    --------
    Zero where the layer is injective on the data:

    >>> import bounds
    >>> print(bounds.functional_of_label([0.0, 0.1], 1.5).round(4))
    [0.    0.225]
    """
    return times_square(variance_x, lipschitz_x, name="variance_x", slope="lipschitz_x")
