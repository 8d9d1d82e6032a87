"""Theorem 2(b) in its sharp form (4.2'): the error of a predictor is orthogonal to what its state cannot know.

f(X) - E[Z | X] is a function of X, and E[Z | X, Y] - E[Z | X] has mean zero given X; so their squares add up and the
triangle inequality is needed only once (theory, section 17.1).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import LIPSCHITZ_BOTH, OURS, SQUARE_INTEGRABLE, UNIT_NORM
from bounds.framework.special_functions import kappa
from bounds.framework.symbolic import Expression, sp, symbols
from bounds.framework.symbolic import kappa as kappa_
from bounds.framework.theorem import theorem
from bounds.theorems.theorem_2_fitted_predictors import NAMES, quantities
from bounds.worlds import gallery
from bounds.worlds.families import FREE_PREDICTED, PREDICTED
from bounds.worlds.with_predictors import PredictedWorld
from redundancy.array_types import FloatArray


def parallel_errors(epsilon: float = 0.3, slope_x: float = 1.0, slope_y: float = 2.0, c: float = 0.7) -> PredictedWorld:
    """Sign flip with T = L_1 X + L_2 Y, and predictors whose errors about T are parallel: four positive terms."""
    world = gallery.sign_flip(epsilon, slope_x, slope_y)
    return PredictedWorld(world, (1.0 + c) * slope_x * world.x_points, (1.0 + c) / c * slope_y * world.y_points)


def equal_errors() -> PredictedWorld:
    """As `parallel_errors` with c = 1: both roots are equal, so that s = 1 is the best share."""
    return parallel_errors(1e-6, 1.0, 1.0, 1.0)


def _variance() -> Expression:
    vx, vy, l1, l2, dx, dy = symbols("variance_x variance_y lipschitz_x lipschitz_y delta_x delta_y")
    s = sp()
    return s.sqrt(dx + l2**2 * vy) + s.sqrt(dy + l1**2 * vx)


@theorem(
    label="Theorem 2 (predictions, sharp, variance form)",
    equation="(4.2')",
    left=r"\sqrt{E\lVert\hat f(X)-\hat g(Y)\rVert^2}",
    right=(r"\sqrt{\delta_X+L_2^2\,\mathrm{mmse}(Y\mid X)}+\sqrt{\delta_Y+L_1^2\,\mathrm{mmse}(X\mid Y)}"),
    form="sharp",
    source=OURS,
    assumes=(*LIPSCHITZ_BOTH, SQUARE_INTEGRABLE),
    family=FREE_PREDICTED,
    sides=lambda w, bound: (
        math.sqrt(w.disagreement),
        bound(
            w.world.variance_x_given_y,
            w.world.variance_y_given_x,
            w.world.lipschitz_x,
            w.world.lipschitz_y,
            w.delta_x,
            w.delta_y,
        ),
    ),
    symbolic=_variance,
    tight=parallel_errors,
)
def sharp_prediction_gap_from_variance(
    variance_x: ArrayLike,
    variance_y: ArrayLike,
    lipschitz_x: ArrayLike,
    lipschitz_y: ArrayLike,
    delta_x: ArrayLike,
    delta_y: ArrayLike,
) -> FloatArray:
    """Root mean square difference of two fitted predictions, from conditional variances; the sharp form.

    Parameters
    ----------
    variance_x, variance_y : array, >= 0
        mmse(X | Y) and mmse(Y | X), or upper bounds.
    lipschitz_x, lipschitz_y : array, >= 0
        L_1 and L_2.
    delta_x, delta_y : array, >= 0
        Squared regression errors, or upper bounds.

    Returns
    -------
    ndarray
        Upper bound on sqrt(E ||f(X) - g(Y)||^2), in units of Z; never above `prediction_gap_from_variance`.

    See Also
    --------
    sharp_prediction_gap_from_geometric : Theorem 2 (predictions, sharp).
    prediction_gap_from_variance : Theorem 2 (predictions, variance form).

    Examples
    --------
    Where (4.2) adds four roots, two of them suffice:

    >>> import bounds
    >>> print(bounds.sharp_prediction_gap_from_variance(0.04, 0.04, 1.0, 1.0, 0.01, 0.01).round(4))
    0.4472
    >>> print(bounds.prediction_gap_from_variance(0.04, 0.04, 1.0, 1.0, 0.01, 0.01).round(4))
    0.6
    """
    vx, vy, l1, l2, dx, dy = arguments.nonnegatives(
        variance_x=variance_x,
        variance_y=variance_y,
        lipschitz_x=lipschitz_x,
        lipschitz_y=lipschitz_y,
        delta_x=delta_x,
        delta_y=delta_y,
    )
    first, second = dx + arguments.product(l2, l2, vy), dy + arguments.product(l1, l1, vx)
    return arguments.shown(np.sqrt(first) + np.sqrt(second))


def _geometric() -> Expression:
    e, l1, l2, dx, dy = symbols(NAMES)
    s = sp()
    return s.sqrt(dx + l2**2 * kappa_(e)) + s.sqrt(dy + l1**2 * kappa_(e))


@theorem(
    label="Theorem 2 (predictions, sharp)",
    equation="(4.2'), unit vectors",
    left=r"\sqrt{E\lVert\hat f(X)-\hat g(Y)\rVert^2}",
    right=r"\sqrt{\delta_X+L_2^2\kappa(\varepsilon)}+\sqrt{\delta_Y+L_1^2\kappa(\varepsilon)}",
    form="sharp",
    source=OURS,
    assumes=(UNIT_NORM, *LIPSCHITZ_BOTH, SQUARE_INTEGRABLE),
    family=PREDICTED,
    sides=lambda w, bound: (math.sqrt(w.disagreement), bound(*quantities(w))),
    symbolic=_geometric,
    tight=parallel_errors,
)
def sharp_prediction_gap_from_geometric(
    epsilon: ArrayLike, lipschitz_x: ArrayLike, lipschitz_y: ArrayLike, delta_x: ArrayLike, delta_y: ArrayLike
) -> FloatArray:
    """Root mean square difference of two fitted predictions, from the mean cosine distance; the sharp form.

    Parameters
    ----------
    epsilon, lipschitz_x, lipschitz_y, delta_x, delta_y : array, >= 0
        As in `empirical_functional_from_geometric`.

    Returns
    -------
    ndarray
        Upper bound on sqrt(E ||f(X) - g(Y)||^2), in units of Z; never above `prediction_gap_from_geometric`.

    See Also
    --------
    sharp_prediction_gap_from_variance : Theorem 2 (predictions, sharp, variance form).
    sharp_squared_prediction_gap : Theorem 2 (predictions, sharp, squared).
    prediction_gap_from_geometric : Theorem 2 (predictions).

    Examples
    --------
    `prediction_gap_from_geometric` gives 0.598 here:

    >>> import bounds
    >>> print(bounds.sharp_prediction_gap_from_geometric(0.02, 1.0, 1.0, 0.01, 0.01).round(4))
    0.4454
    """
    e, l1, l2, dx, dy = arguments.nonnegatives(
        epsilon=epsilon, lipschitz_x=lipschitz_x, lipschitz_y=lipschitz_y, delta_x=delta_x, delta_y=delta_y
    )
    cap = kappa(e)
    first, second = dx + arguments.product(l2, l2, cap), dy + arguments.product(l1, l1, cap)
    return arguments.shown(np.sqrt(first) + np.sqrt(second))


def _squared() -> Expression:
    e, l1, l2, dx, dy = symbols(NAMES)
    u = symbols("share")
    cap = kappa_(e)
    return (1 + u) * (dx + l2**2 * cap) + (1 + 1 / u) * (dy + l1**2 * cap)


@theorem(
    label="Theorem 2 (predictions, sharp, squared)",
    equation="(4.2''), unit vectors",
    left=r"E\lVert\hat f(X)-\hat g(Y)\rVert^2",
    right=(
        r"(1+s)\left(\delta_X+L_2^2\kappa(\varepsilon)\right)"
        r"+\left(1+\tfrac1s\right)\left(\delta_Y+L_1^2\kappa(\varepsilon)\right)"
    ),
    form="consequence",
    source=OURS,
    assumes=(UNIT_NORM, *LIPSCHITZ_BOTH, SQUARE_INTEGRABLE),
    family=PREDICTED,
    sides=lambda w, bound: ([w.disagreement] * 2, [bound(*quantities(w), share=s) for s in (1.0, 3.0)]),
    symbolic=_squared,
    tight=equal_errors,
)
def sharp_squared_prediction_gap(
    epsilon: ArrayLike,
    lipschitz_x: ArrayLike,
    lipschitz_y: ArrayLike,
    delta_x: ArrayLike,
    delta_y: ArrayLike,
    *,
    share: ArrayLike = 1.0,
) -> FloatArray:
    """Mean squared difference of two fitted predictions; at s = 1 twice each error and 2 (L_1^2 + L_2^2) kappa.

    Parameters
    ----------
    epsilon, lipschitz_x, lipschitz_y, delta_x, delta_y : array, >= 0
        As in `empirical_functional_from_geometric`.
    share : array, > 0
        The free number s; the best is the ratio of the second root of (4.2') to the first.

    Returns
    -------
    ndarray
        Upper bound on E ||f(X) - g(Y)||^2; at s = 1 below `squared_prediction_gap_linear` in every coefficient.

    See Also
    --------
    sharp_prediction_gap_from_geometric : Theorem 2 (predictions, sharp).
    squared_prediction_gap_linear : Theorem 2 (predictions, linear).

    Examples
    --------
    `squared_prediction_gap_linear` gives 0.54 here:

    >>> import bounds
    >>> print(bounds.sharp_squared_prediction_gap(0.02, 1.0, 1.0, 0.01, 0.01).round(4))
    0.1984
    """
    s = arguments.positive(share, name="share")
    e, l1, l2, dx, dy, _ = arguments.nonnegatives(
        epsilon=epsilon,
        lipschitz_x=lipschitz_x,
        lipschitz_y=lipschitz_y,
        delta_x=delta_x,
        delta_y=delta_y,
        share=s,
    )
    cap = kappa(e)
    first, second = dx + arguments.product(l2, l2, cap), dy + arguments.product(l1, l1, cap)
    return arguments.shown(arguments.product(1.0 + s, first) + arguments.product(1.0 + arguments.inverse(s), second))
