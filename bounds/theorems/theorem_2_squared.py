"""Theorem 2 for squared differences of predictions: linear in epsilon, looser than (4.2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import LIPSCHITZ_BOTH, OURS, SQUARE_INTEGRABLE, UNIT_NORM
from bounds.framework.symbolic import Expression, sp, symbols
from bounds.framework.theorem import World, theorem
from bounds.theorems.theorem_2_fitted_predictors import NAMES, quantities, shifted_sign_flip
from bounds.worlds import gallery
from bounds.worlds.families import JOINT, PREDICTED
from redundancy.array_types import FloatArray


def _squared() -> Expression:
    e, l1, l2, dx, dy = symbols(NAMES)
    u = symbols("share")
    s = sp()
    return (1 + u) * (s.sqrt(dx) + s.sqrt(dy)) ** 2 + 2 * (1 + 1 / u) * (l1 + l2) ** 2 * e


@theorem(
    label="Theorem 2 (predictions, squared)",
    equation="(4.3)",
    left=r"E\lVert\hat f(X)-\hat g(Y)\rVert^2",
    right=r"(1+s)\left(\sqrt{\delta_X}+\sqrt{\delta_Y}\right)^2+2\left(1+\tfrac1s\right)(L_1+L_2)^2\varepsilon",
    form="consequence",
    source=OURS,
    assumes=(UNIT_NORM, *LIPSCHITZ_BOTH, SQUARE_INTEGRABLE),
    family=PREDICTED,
    sides=lambda w, bound: ([w.disagreement] * 2, [bound(*quantities(w), share=s) for s in (0.5, 1e6)]),
    symbolic=_squared,
    tight=lambda: shifted_sign_flip(1e-6, 0.0, 1.0),
    reached="limit",
)
def squared_prediction_gap_from_geometric(
    epsilon: ArrayLike,
    lipschitz_x: ArrayLike,
    lipschitz_y: ArrayLike,
    delta_x: ArrayLike,
    delta_y: ArrayLike,
    *,
    share: ArrayLike = 1.0,
) -> FloatArray:
    """Mean squared difference of two fitted predictions, linear in epsilon.

    Parameters
    ----------
    epsilon, lipschitz_x, lipschitz_y, delta_x, delta_y : array, >= 0
        As in `empirical_functional_from_geometric`.
    share : array, > 0
        The free number s: large when the regression errors are small.

    Returns
    -------
    ndarray
        (1 + s) (sqrt(delta_X) + sqrt(delta_Y))^2 + 2 (1 + 1 / s) (L_1 + L_2)^2 epsilon.

    See Also
    --------
    prediction_gap_from_geometric : Theorem 2 (predictions).
    squared_prediction_gap_linear : Theorem 2 (predictions, linear).

    Examples
    --------
    The best share gives the square of `prediction_gap_from_geometric` up to kappa(epsilon) <= 2 epsilon:

    >>> import bounds
    >>> print(bounds.squared_prediction_gap_from_geometric(0.02, 1.0, 1.0, 0.01, 0.01, share=[1.0, 2.0]).round(4))
    [0.4  0.36]
    >>> print((bounds.prediction_gap_from_geometric(0.02, 1.0, 1.0, 0.01, 0.01) ** 2).round(4))
    0.3576
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
    errors = np.sqrt(dx) + np.sqrt(dy)
    fitted = arguments.product(1.0 + s, errors, errors)
    return arguments.shown(fitted + arguments.product(2.0, 1.0 + arguments.inverse(s), l1 + l2, l1 + l2, e))


def _three_three_six() -> Expression:
    e, l1, l2, dx, dy = symbols(NAMES)
    return 3 * dx + 3 * dy + 6 * (l1 + l2) ** 2 * e


@theorem(
    label="Theorem 2 (predictions, linear)",
    equation="(4.4)",
    left=r"E\lVert\hat f(X)-\hat g(Y)\rVert^2",
    right=r"3\delta_X+3\delta_Y+6(L_1+L_2)^2\varepsilon",
    form="consequence",
    source=OURS,
    assumes=(UNIT_NORM, *LIPSCHITZ_BOTH, SQUARE_INTEGRABLE),
    family=PREDICTED,
    sides=lambda w, bound: (w.disagreement, bound(*quantities(w))),
    symbolic=_three_three_six,
    unattained="would need all four terms of (4.2) attained at once, which is impossible (section 17.1)",
)
def squared_prediction_gap_linear(
    epsilon: ArrayLike, lipschitz_x: ArrayLike, lipschitz_y: ArrayLike, delta_x: ArrayLike, delta_y: ArrayLike
) -> FloatArray:
    """Mean squared difference of two fitted predictions: 3 delta_X + 3 delta_Y + 6 (L_1 + L_2)^2 epsilon.

    Parameters
    ----------
    epsilon, lipschitz_x, lipschitz_y, delta_x, delta_y : array, >= 0
        As in `empirical_functional_from_geometric`.

    Returns
    -------
    ndarray
        Upper bound on E ||f(X) - g(Y)||^2.

    See Also
    --------
    squared_prediction_gap_from_geometric : Theorem 2 (predictions, squared).
    regression_gap_from_geometric : Theorem 2 (exact regressions).

    Examples
    --------
    Looser than the form with a share, which gives 0.36 at s = 2:

    >>> import bounds
    >>> print(bounds.squared_prediction_gap_linear(0.02, 1.0, 1.0, 0.01, 0.01).round(4))
    0.54
    """
    e, l1, l2, dx, dy = arguments.nonnegatives(
        epsilon=epsilon, lipschitz_x=lipschitz_x, lipschitz_y=lipschitz_y, delta_x=delta_x, delta_y=delta_y
    )
    return arguments.shown(3.0 * dx + 3.0 * dy + arguments.product(6.0, l1 + l2, l1 + l2, e))


def _regressions() -> Expression:
    e, l1, l2 = symbols("epsilon lipschitz_x lipschitz_y")
    return 2 * (l1 + l2) ** 2 * e


def _regression_gap(w: World) -> float:
    gap = ((w.regression_x[:, None] - w.regression_y[None, :]) ** 2).sum(axis=-1)
    return float((w.xy * gap).sum())


@theorem(
    label="Theorem 2 (exact regressions)",
    equation="(4.5)",
    left=r"E\lVert E[Z\mid X]-E[Z\mid Y]\rVert^2",
    right=r"2(L_1+L_2)^2\varepsilon",
    form="consequence",
    source=OURS,
    assumes=(UNIT_NORM, *LIPSCHITZ_BOTH, SQUARE_INTEGRABLE),
    family=JOINT,
    sides=lambda w, bound: (_regression_gap(w), bound(w.geometric, w.lipschitz_x, w.lipschitz_y)),
    symbolic=_regressions,
    tight=lambda: gallery.sign_flip(1e-6, 1.0, 1.0),
    reached="limit",
)
def regression_gap_from_geometric(epsilon: ArrayLike, lipschitz_x: ArrayLike, lipschitz_y: ArrayLike) -> FloatArray:
    """Mean squared difference of the two best predictions: 2 (L_1 + L_2)^2 epsilon, the best constant.

    Parameters
    ----------
    epsilon : array, >= 0
        E d_cos(X, Y), or an upper bound on it; states of norm one.
    lipschitz_x, lipschitz_y : array, >= 0
        L_1 and L_2.

    Returns
    -------
    ndarray
        Upper bound on E ||E[Z | X] - E[Z | Y]||^2.

    See Also
    --------
    prediction_gap_from_geometric : Theorem 2 (predictions).
    functional_from_geometric : Theorem 1.

    Examples
    --------
    Without regression errors:

    >>> import bounds
    >>> print(bounds.regression_gap_from_geometric(0.02, 1.0, 1.0).round(4))
    0.16
    """
    e, l1, l2 = arguments.nonnegatives(epsilon=epsilon, lipschitz_x=lipschitz_x, lipschitz_y=lipschitz_y)
    return arguments.shown(arguments.product(2.0, l1 + l2, l1 + l2, e))
