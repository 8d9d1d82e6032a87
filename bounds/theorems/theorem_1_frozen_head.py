"""Theorem 1 for a frozen network: one Lipschitz predictor applied to both states, any distribution.

The rate is sqrt(epsilon) and cannot be better for a class of predictors; the linear rate of (3.3) requires a
regular regression function.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import FINITE_CLASSES, LIPSCHITZ_HEAD, OURS, SQUARE_INTEGRABLE, UNIT_NORM
from bounds.framework.symbolic import sp, symbols
from bounds.framework.theorem import theorem
from bounds.worlds.families import FREE_HEAD, HEAD, LOGITS_FREE_HEAD, LOGITS_HEAD
from bounds.worlds.finite import FiniteWorld
from bounds.worlds.with_predictors import PredictedWorld
from redundancy.array_types import FloatArray


def _one_pair(at_x: list[float], at_y: list[float], *, classes: int) -> PredictedWorld:
    """One x and one y, a right angle apart, and a target that is always its last symbol."""
    pmf = np.zeros((classes, 1, 1))
    pmf[-1] = 1.0
    world = FiniteWorld(pmf, np.zeros((classes, 1)), np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]))
    return PredictedWorld(world, np.array([at_x]), np.array([at_y]))


def _roots(w: PredictedWorld) -> float:
    return abs(math.sqrt(w.risk_x) - math.sqrt(w.risk_y))


@theorem(
    label="Theorem 1 (frozen head)",
    equation="(3.4)",
    left=r"\left\lvert\sqrt{E\lVert Z-h(X)\rVert^2}-\sqrt{E\lVert Z-h(Y)\rVert^2}\right\rvert",
    right=r"L\sqrt{E\lVert X-Y\rVert^2}",
    form="sharp",
    source=OURS,
    assumes=(LIPSCHITZ_HEAD, SQUARE_INTEGRABLE),
    family=FREE_HEAD,
    sides=lambda w, bound: (_roots(w), bound(w.world.squared_distance, w.lipschitz)),
    symbolic=lambda: symbols("lipschitz") * sp().sqrt(symbols("squared_distance")),
    tight=lambda: _one_pair([0.0], [1.0], classes=1),
)
def frozen_head(squared_distance: ArrayLike, lipschitz: ArrayLike) -> FloatArray:
    """Difference of root risks of one L-Lipschitz predictor on both states: L sqrt(E ||X - Y||^2).

    Parameters
    ----------
    squared_distance : array, >= 0
        E ||X - Y||^2, or an upper bound on it.
    lipschitz : array, >= 0
        Lipschitz constant L of the predictor (or of every member of a class).

    Returns
    -------
    ndarray
        Upper bound on ``|sqrt(risk from X) - sqrt(risk from Y)|``, in units of Z.

    See Also
    --------
    frozen_head_from_geometric : Theorem 1 (frozen head, unit norm).
    frozen_head_log_loss : Theorem 1 (frozen head, log-loss).
    functional_from_squared_distance : Theorem 1 (general vectors).

    Examples
    --------
    The rate is the root of the distance: a hundredth of it gives a tenth of the bound:

    >>> import bounds
    >>> print(bounds.frozen_head([1.0, 0.01], 1.0).round(4))
    [1.  0.1]
    """
    rho = arguments.nonnegative(squared_distance, name="squared_distance")
    slope = arguments.nonnegative(lipschitz, name="lipschitz")
    arguments.together(squared_distance=rho, lipschitz=slope)
    return arguments.shown(arguments.product(slope, np.sqrt(rho)))


@theorem(
    label="Theorem 1 (frozen head, unit norm)",
    equation="(3.4)",
    left=r"\left\lvert\sqrt{E\lVert Z-h(X)\rVert^2}-\sqrt{E\lVert Z-h(Y)\rVert^2}\right\rvert",
    right=r"L\sqrt{2\varepsilon}",
    form="sharp",
    source=OURS,
    assumes=(UNIT_NORM, LIPSCHITZ_HEAD, SQUARE_INTEGRABLE),
    family=HEAD,
    sides=lambda w, bound: (_roots(w), bound(w.world.geometric, w.lipschitz)),
    symbolic=lambda: symbols("lipschitz") * sp().sqrt(2 * symbols("epsilon")),
    tight=lambda: _one_pair([0.0], [1.0], classes=1),
)
def frozen_head_from_geometric(epsilon: ArrayLike, lipschitz: ArrayLike) -> FloatArray:
    """Difference of root risks of one L-Lipschitz predictor from the mean cosine distance: L sqrt(2 epsilon).

    Parameters
    ----------
    epsilon : array, >= 0
        E d_cos(X, Y), or an upper bound on it; states of norm one.
    lipschitz : array, >= 0
        Lipschitz constant L of the predictor.

    Returns
    -------
    ndarray
        Upper bound on ``|sqrt(risk from X) - sqrt(risk from Y)|``, in units of Z.

    See Also
    --------
    frozen_head : Theorem 1 (frozen head).
    functional_from_geometric : Theorem 1.

    Examples
    --------
    Slower than the linear rate of `functional_from_geometric_linear`, but valid for the network as it is:

    >>> import bounds
    >>> print(bounds.frozen_head_from_geometric([0.02, 0.0002], 1.0).round(4))
    [0.2  0.02]
    """
    e = arguments.nonnegative(epsilon, name="epsilon")
    return frozen_head(2.0 * e, lipschitz)


@theorem(
    label="Theorem 1 (frozen head, log-loss)",
    equation="(3.5)",
    left=r"\left\lvert E[-\log p_h(T\mid X)]-E[-\log p_h(T\mid Y)]\right\rvert",
    right=r"\sqrt2\,L\,E\lVert X-Y\rVert",
    form="sharp",
    source=OURS,
    assumes=(LIPSCHITZ_HEAD, FINITE_CLASSES),
    family=LOGITS_FREE_HEAD,
    sides=lambda w, bound: (
        abs(w.log_loss_x - w.log_loss_y),
        bound((w.world.xy * w.world.lengths_xy).sum(), w.lipschitz),
    ),
    symbolic=lambda: sp().sqrt(2) * symbols("lipschitz") * symbols("distance"),
    # Deep in the wrong answer the slope of the log-loss reaches sqrt(2).
    tight=lambda: _one_pair([31.0, -31.0], [30.0, -30.0], classes=2),
)
def frozen_head_log_loss(distance: ArrayLike, lipschitz: ArrayLike) -> FloatArray:
    """Difference of log-losses of one predictor with L-Lipschitz logits: sqrt(2) L E ||X - Y||.

    Parameters
    ----------
    distance : array, >= 0
        E ||X - Y||, or an upper bound on it.
    lipschitz : array, >= 0
        Lipschitz constant L of the logits, Euclidean norms on both sides.

    Returns
    -------
    ndarray
        Upper bound in nats. It bounds the difference of usable informations too.

    See Also
    --------
    frozen_head : Theorem 1 (frozen head).
    frozen_head_log_loss_from_geometric : Theorem 1 (frozen head, log-loss, unit norm).

    Examples
    --------
    Logits with constant 3 and states 0.1 apart on average:

    >>> import bounds
    >>> print(bounds.frozen_head_log_loss(0.1, 3.0).round(4))
    0.4243
    """
    length = arguments.nonnegative(distance, name="distance")
    slope = arguments.nonnegative(lipschitz, name="lipschitz")
    arguments.together(distance=length, lipschitz=slope)
    return arguments.shown(arguments.product(math.sqrt(2.0), slope, length))


@theorem(
    label="Theorem 1 (frozen head, log-loss, unit norm)",
    equation="(3.5)",
    left=r"\left\lvert E[-\log p_h(T\mid X)]-E[-\log p_h(T\mid Y)]\right\rvert",
    right=r"2L\sqrt{\varepsilon}",
    form="sharp",
    source=OURS,
    assumes=(UNIT_NORM, LIPSCHITZ_HEAD, FINITE_CLASSES),
    family=LOGITS_HEAD,
    sides=lambda w, bound: (abs(w.log_loss_x - w.log_loss_y), bound(w.world.geometric, w.lipschitz)),
    symbolic=lambda: 2 * symbols("lipschitz") * sp().sqrt(symbols("epsilon")),
    tight=lambda: _one_pair([31.0, -31.0], [30.0, -30.0], classes=2),
)
def frozen_head_log_loss_from_geometric(epsilon: ArrayLike, lipschitz: ArrayLike) -> FloatArray:
    """Difference of log-losses of one predictor with L-Lipschitz logits: 2 L sqrt(epsilon).

    Parameters
    ----------
    epsilon : array, >= 0
        E d_cos(X, Y), or an upper bound on it; states of norm one.
    lipschitz : array, >= 0
        Lipschitz constant L of the logits, Euclidean norms on both sides.

    Returns
    -------
    ndarray
        Upper bound in nats.

    See Also
    --------
    frozen_head_log_loss : Theorem 1 (frozen head, log-loss).
    frozen_head_from_geometric : Theorem 1 (frozen head, unit norm).

    Examples
    --------
    A mean cosine distance of 0.005 is a mean distance of at most 0.1:

    >>> import bounds
    >>> print(bounds.frozen_head_log_loss_from_geometric(0.005, 3.0).round(4))
    0.4243
    """
    e = arguments.nonnegative(epsilon, name="epsilon")
    return frozen_head_log_loss(np.sqrt(2.0) * np.sqrt(e), lipschitz)
