"""Theorem 2: fitted predictors, their risks (4.1) and their predictions (4.2).

delta_X = E ||f(X) - E[Z | X]||^2 and delta_Y = E ||g(Y) - E[Z | Y]||^2 are the regression errors; L_1 and
L_2 are the constants of Theorem 1.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import LIPSCHITZ_BOTH, OURS, PAPER, SQUARE_INTEGRABLE, UNIT_NORM
from bounds.framework.special_functions import kappa
from bounds.framework.symbolic import Expression, sp, symbols
from bounds.framework.symbolic import kappa as kappa_
from bounds.framework.theorem import Evaluate, Sides, theorem
from bounds.worlds import gallery
from bounds.worlds.families import FREE_PREDICTED, PREDICTED
from bounds.worlds.with_predictors import PredictedWorld
from redundancy.array_types import FloatArray

NAMES = "epsilon lipschitz_x lipschitz_y delta_x delta_y"


def shifted_sign_flip(epsilon: float, shift: float, slope_x: float = 0.0) -> PredictedWorld:
    """The sign-flip world, where the predictor from X has a constant error and that from Y none."""
    world = gallery.sign_flip(epsilon, slope_x, 1.0)
    return PredictedWorld(world, world.regression_x + shift, world.regression_y)


def quantities(w: PredictedWorld) -> tuple[float, ...]:
    return w.world.geometric, w.world.lipschitz_x, w.world.lipschitz_y, w.delta_x, w.delta_y


def _risk_sides(w: PredictedWorld, bound: Evaluate) -> Sides:
    low, high = bound(*quantities(w))
    return [w.risk_gap, -w.risk_gap], [high, -low]


def _risk_high() -> Expression:
    e, _, slope, dx, _ = symbols(NAMES)
    return slope**2 * kappa_(e) + dx


@theorem(
    label="Theorem 2 (risks)",
    equation="(4.1)",
    left=r"E\lVert Z-\hat f(X)\rVert^2-E\lVert Z-\hat g(Y)\rVert^2",
    right=r"L_2^2\kappa(\varepsilon)+\delta_X,\quad\ge -L_1^2\kappa(\varepsilon)-\delta_Y",
    form="sharp",
    source=OURS,
    assumes=(UNIT_NORM, *LIPSCHITZ_BOTH, SQUARE_INTEGRABLE),
    family=PREDICTED,
    sides=_risk_sides,
    symbolic=_risk_high,
    tight=lambda: shifted_sign_flip(0.5, 0.3),
)
def empirical_functional_from_geometric(
    epsilon: ArrayLike, lipschitz_x: ArrayLike, lipschitz_y: ArrayLike, delta_x: ArrayLike, delta_y: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Difference of the risks of two fitted predictors, between low and high.

    Parameters
    ----------
    epsilon : array, >= 0
        E d_cos(X, Y), or an upper bound on it; states of norm one.
    lipschitz_x, lipschitz_y : array, >= 0
        L_1 and L_2.
    delta_x, delta_y : array, >= 0
        Squared regression errors, or upper bounds.

    Returns
    -------
    low, high : ndarray
        Lower and upper bound on E ||Z - f(X)||^2 - E ||Z - g(Y)||^2.

    See Also
    --------
    empirical_functional_linear : Theorem 2 (risks, linear), as in the paper.
    functional_from_geometric : Theorem 1.
    prediction_gap_from_geometric : Theorem 2 (predictions).

    Examples
    --------
    Each side has its own Lipschitz constant and its own regression error:

    >>> import bounds
    >>> low, high = bounds.empirical_functional_from_geometric(0.1, 1.0, 2.0, 0.01, 0.05)
    >>> print(low.round(4), high.round(4))
    -0.24 0.77
    """
    e, l1, l2, dx, dy = arguments.nonnegatives(
        epsilon=epsilon, lipschitz_x=lipschitz_x, lipschitz_y=lipschitz_y, delta_x=delta_x, delta_y=delta_y
    )
    cap = kappa(e)
    return arguments.shown(-arguments.product(l1, l1, cap) - dy), arguments.shown(arguments.product(l2, l2, cap) + dx)


def _risk_linear() -> Expression:
    e, l1, l2, dx, dy = symbols(NAMES)
    return 2 * sp().Max(l1, l2) ** 2 * e + sp().Max(dx, dy)


@theorem(
    label="Theorem 2 (risks, linear)",
    equation="(4.1), last step",
    left=r"\left\lvert E\lVert Z-\hat f(X)\rVert^2-E\lVert Z-\hat g(Y)\rVert^2\right\rvert",
    right=r"2\max(L_1,L_2)^2\,\varepsilon+\max(\delta_X,\delta_Y)",
    form="paper",
    source=PAPER,
    assumes=(UNIT_NORM, *LIPSCHITZ_BOTH, SQUARE_INTEGRABLE),
    family=PREDICTED,
    sides=lambda w, bound: (abs(w.risk_gap), bound(*quantities(w))),
    symbolic=_risk_linear,
    tight=lambda: shifted_sign_flip(1e-4, 1e-2),
    reached="limit",
)
def empirical_functional_linear(
    epsilon: ArrayLike, lipschitz_x: ArrayLike, lipschitz_y: ArrayLike, delta_x: ArrayLike, delta_y: ArrayLike
) -> FloatArray:
    """Absolute difference of the risks: 2 max(L_1, L_2)^2 epsilon + max(delta_X, delta_Y).

    Parameters
    ----------
    epsilon, lipschitz_x, lipschitz_y, delta_x, delta_y : array, >= 0
        As in `empirical_functional_from_geometric`.

    Returns
    -------
    ndarray
        Upper bound on ``|E ||Z - f(X)||^2 - E ||Z - g(Y)||^2|``.

    See Also
    --------
    empirical_functional_from_geometric : Theorem 2 (risks).

    Examples
    --------
    The paper's form takes the larger of both, here 0.85 instead of 0.77:

    >>> import bounds
    >>> print(bounds.empirical_functional_linear(0.1, 1.0, 2.0, 0.01, 0.05).round(4))
    0.85
    """
    e, l1, l2, dx, dy = arguments.nonnegatives(
        epsilon=epsilon, lipschitz_x=lipschitz_x, lipschitz_y=lipschitz_y, delta_x=delta_x, delta_y=delta_y
    )
    slope = np.maximum(l1, l2)
    return arguments.shown(arguments.product(2.0, slope, slope, e) + np.maximum(dx, dy))


def _polygon() -> PredictedWorld:
    world = gallery.alternating_polygon(8, 1.0)
    return PredictedWorld(world, 1.3 * world.regression_x, world.regression_y)


def _prediction_variance() -> Expression:
    vx, vy, l1, l2, dx, dy = symbols("variance_x variance_y lipschitz_x lipschitz_y delta_x delta_y")
    s = sp()
    return s.sqrt(dx) + s.sqrt(dy) + l2 * s.sqrt(vy) + l1 * s.sqrt(vx)


@theorem(
    label="Theorem 2 (predictions, variance form)",
    equation="(4.2)",
    left=r"\sqrt{E\lVert\hat f(X)-\hat g(Y)\rVert^2}",
    right=r"\sqrt{\delta_X}+\sqrt{\delta_Y}+L_2\sqrt{\mathrm{mmse}(Y\mid X)}+L_1\sqrt{\mathrm{mmse}(X\mid Y)}",
    form="consequence",
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
    symbolic=_prediction_variance,
    tight=_polygon,
)
def prediction_gap_from_variance(
    variance_x: ArrayLike,
    variance_y: ArrayLike,
    lipschitz_x: ArrayLike,
    lipschitz_y: ArrayLike,
    delta_x: ArrayLike,
    delta_y: ArrayLike,
) -> FloatArray:
    """Root mean square difference of two fitted predictions, from conditional variances.

    Parameters
    ----------
    variance_x, variance_y : array, >= 0
        mmse(X | Y) and mmse(Y | X).
    lipschitz_x, lipschitz_y : array, >= 0
        L_1 and L_2.
    delta_x, delta_y : array, >= 0
        Squared regression errors, or upper bounds.

    Returns
    -------
    ndarray
        Upper bound on sqrt(E ||f(X) - g(Y)||^2), in units of Z. Never attained with
        all four terms positive (theory, section 17.1).

    See Also
    --------
    prediction_gap_from_geometric : Theorem 2 (predictions).
    squared_prediction_gap_from_geometric : Theorem 2 (predictions, squared).

    Examples
    --------
    Regression errors of 0.01 each, and a later state that the earlier one determines:

    >>> import bounds
    >>> print(bounds.prediction_gap_from_variance(0.04, 0.0, 1.0, 1.0, 0.01, 0.01).round(4))
    0.4
    """
    vx, vy, l1, l2, dx, dy = arguments.nonnegatives(
        variance_x=variance_x,
        variance_y=variance_y,
        lipschitz_x=lipschitz_x,
        lipschitz_y=lipschitz_y,
        delta_x=delta_x,
        delta_y=delta_y,
    )
    return arguments.shown(
        np.sqrt(dx) + np.sqrt(dy) + arguments.product(l2, np.sqrt(vy)) + arguments.product(l1, np.sqrt(vx))
    )


def _prediction() -> Expression:
    e, l1, l2, dx, dy = symbols(NAMES)
    s = sp()
    return s.sqrt(dx) + s.sqrt(dy) + (l1 + l2) * s.sqrt(kappa_(e))


@theorem(
    label="Theorem 2 (predictions)",
    equation="(4.2)",
    left=r"\sqrt{E\lVert\hat f(X)-\hat g(Y)\rVert^2}",
    right=r"\sqrt{\delta_X}+\sqrt{\delta_Y}+(L_1+L_2)\sqrt{\kappa(\varepsilon)}",
    form="consequence",
    source=OURS,
    assumes=(UNIT_NORM, *LIPSCHITZ_BOTH, SQUARE_INTEGRABLE),
    family=PREDICTED,
    sides=lambda w, bound: (math.sqrt(w.disagreement), bound(*quantities(w))),
    symbolic=_prediction,
    tight=lambda: shifted_sign_flip(1e-6, 0.0, 1.0),
    reached="limit",
)
def prediction_gap_from_geometric(
    epsilon: ArrayLike, lipschitz_x: ArrayLike, lipschitz_y: ArrayLike, delta_x: ArrayLike, delta_y: ArrayLike
) -> FloatArray:
    """Root mean square difference of two fitted predictions, from the mean cosine distance.

    Parameters
    ----------
    epsilon, lipschitz_x, lipschitz_y, delta_x, delta_y : array, >= 0
        As in `empirical_functional_from_geometric`.

    Returns
    -------
    ndarray
        Upper bound on sqrt(E ||f(X) - g(Y)||^2), in units of Z.

    See Also
    --------
    prediction_gap_from_variance : Theorem 2 (predictions, variance form).
    squared_prediction_gap_from_geometric : Theorem 2 (predictions, squared).
    regression_gap_from_geometric : Theorem 2 (exact regressions).

    Examples
    --------
    The same from a mean cosine distance of 0.02:

    >>> import bounds
    >>> print(bounds.prediction_gap_from_geometric(0.02, 1.0, 1.0, 0.01, 0.01).round(4))
    0.598
    """
    e, l1, l2, dx, dy = arguments.nonnegatives(
        epsilon=epsilon, lipschitz_x=lipschitz_x, lipschitz_y=lipschitz_y, delta_x=delta_x, delta_y=delta_y
    )
    return arguments.shown(np.sqrt(dx) + np.sqrt(dy) + arguments.product(l1 + l2, np.sqrt(kappa(e))))
