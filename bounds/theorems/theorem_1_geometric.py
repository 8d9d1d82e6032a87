"""Theorem 1: geometrically redundant layers are functionally redundant, given Lipschitz regressions.

L_1 (`lipschitz_x`) is the constant of x -> E[Z | X = x, Y = y] on the support of X given Y = y, and L_2
(`lipschitz_y`) that of y -> E[Z | X = x, Y = y] on the support of Y given X = x.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import LIPSCHITZ_BOTH, OURS, PAPER, SQUARE_INTEGRABLE, UNIT_NORM
from bounds.framework.special_functions import kappa
from bounds.framework.symbolic import Expression, sp, symbols
from bounds.framework.symbolic import kappa as kappa_
from bounds.framework.theorem import theorem
from bounds.theorems.proposition_1_proximal_geometric import geometric_from_proximal
from bounds.theorems.theorem_1_variance import times_square, two_sided
from bounds.worlds import gallery
from bounds.worlds.families import FREE_POINTS, JOINT
from redundancy.array_types import FloatArray


@theorem(
    label="Theorem 1 (general vectors)",
    equation="Corollary 1 of (3.2)",
    left=r"\pm\left(\mathrm{mmse}(Z\mid X)-\mathrm{mmse}(Z\mid Y)\right)",
    right=r"L^2\,E\lVert X-Y\rVert^2",
    form="sharp",
    source=OURS,
    assumes=(*LIPSCHITZ_BOTH, SQUARE_INTEGRABLE),
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
        E ||X - Y||^2, or an upper bound on it.
    lipschitz : array, >= 0
        L_2 for the upper side, L_1 for the lower, the larger for both.

    Returns
    -------
    ndarray
        Upper bound on ``|mmse(Z | X) - mmse(Z | Y)|``.

    See Also
    --------
    functional_from_geometric : Theorem 1.
    functional_from_reconstruction : Theorem 1 (reconstruction).

    Examples
    --------
    For unit vectors E ||X - Y||^2 = 2 epsilon; here epsilon = 0.05 and L = 2:

    >>> import bounds
    >>> print(bounds.functional_from_squared_distance(0.1, 2.0).round(4))
    0.4
    """
    return times_square(squared_distance, lipschitz, name="squared_distance")


@theorem(
    label="Theorem 1",
    equation="(3.3)",
    left=r"\lvert\mathrm{mmse}(Z\mid X)-\mathrm{mmse}(Z\mid Y)\rvert",
    right=r"L^2\kappa(\varepsilon)",
    form="sharp",
    source=OURS,
    assumes=(UNIT_NORM, *LIPSCHITZ_BOTH, SQUARE_INTEGRABLE),
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
        E d_cos(X, Y), or an upper bound on it; states of norm one.
    lipschitz : array, >= 0
        max(L_1, L_2); L_2 alone bounds mmse(Z | X) - mmse(Z | Y), L_1 alone its negative.
    exact : bool
        Whether epsilon is E d_cos itself and not merely an upper bound: then epsilon (2 - epsilon) holds
        beyond 1 too.

    Returns
    -------
    ndarray
        Upper bound on ``|mmse(Z | X) - mmse(Z | Y)|``.

    Raises
    ------
    ValueError
        If `exact` is true and epsilon exceeds 2.

    See Also
    --------
    functional_from_geometric_linear : Theorem 1 (linear), as in the paper.
    functional_from_squared_distance : Theorem 1 (general vectors).
    functional_from_proximal : Theorem 1 after Proposition 1.
    frozen_head_from_geometric : Theorem 1 (frozen head, unit norm).

    Examples
    --------
    kappa(0.6) = 0.6 * 1.4, and beyond 1 the bound stays at L^2:

    >>> import bounds
    >>> print(bounds.functional_from_geometric([0.6, 1.0, 1.5], 1.0).round(4))
    [0.84 1.   1.  ]

    Attained by a sign that is flipped with probability 0.3:

    >>> from bounds.worlds import gallery
    >>> print(round(bounds.functional_from_geometric.check(gallery.sign_flip(0.6)).ratio, 6))
    1.0
    """
    e = arguments.nonnegative(epsilon, name="epsilon")
    if exact:
        if (e > 2 * (1.0 + arguments.ROUNDED)).any():
            raise ValueError(f"epsilon: expected a mean cosine distance in [0, 2], got {e.max()}")
        e = np.minimum(e, 2.0)
    return times_square(e * (2.0 - e) if exact else kappa(e), lipschitz, name="epsilon")


@theorem(
    label="Theorem 1 (linear)",
    equation="(3.3), last step",
    left=r"\lvert\mathrm{mmse}(Z\mid X)-\mathrm{mmse}(Z\mid Y)\rvert",
    right=r"2L^2\varepsilon",
    form="paper",
    source=PAPER,
    assumes=(UNIT_NORM, *LIPSCHITZ_BOTH, SQUARE_INTEGRABLE),
    family=JOINT,
    sides=lambda w, bound: two_sided(w, bound, w.geometric, w.geometric),
    symbolic=lambda: 2 * symbols("lipschitz") ** 2 * symbols("epsilon"),
    tight=lambda: gallery.sign_flip(1e-4),
    reached="limit",
)
def functional_from_geometric_linear(epsilon: ArrayLike, lipschitz: ArrayLike) -> FloatArray:
    """The linear form 2 L^2 epsilon: 2 is the best constant, approached as epsilon -> 0.

    Parameters
    ----------
    epsilon : array, >= 0
        E d_cos(X, Y), or an upper bound on it; states of norm one.
    lipschitz : array, >= 0
        max(L_1, L_2).

    Returns
    -------
    ndarray
        Upper bound on ``|mmse(Z | X) - mmse(Z | Y)|``.

    See Also
    --------
    functional_from_geometric : Theorem 1.

    Examples
    --------
    The paper's form is close for small distances and twice too large at epsilon = 1:

    >>> import bounds
    >>> print(bounds.functional_from_geometric_linear([0.02, 1.0], 1.0).round(4))
    [0.04 2.  ]
    >>> print(bounds.functional_from_geometric([0.02, 1.0], 1.0).round(4))
    [0.0396 1.    ]
    """
    return arguments.shown(2.0 * times_square(epsilon, lipschitz, name="epsilon"))


def _through_proximal() -> Expression:
    t, p, slope = symbols("t p_far lipschitz")
    return slope**2 * kappa_(sp().Min(t, 2) * (1 - p) + 2 * p)


@theorem(
    label="Theorem 1 after Proposition 1",
    equation="Corollary 3 of (3.3)",
    left=r"\lvert\mathrm{mmse}(Z\mid X)-\mathrm{mmse}(Z\mid Y)\rvert",
    right=r"L^2\kappa\left(t+(2-t)P_t\right)",
    form="sharp",
    source=OURS,
    assumes=(UNIT_NORM, *LIPSCHITZ_BOTH, SQUARE_INTEGRABLE),
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
        P(d_cos > t), or an upper bound on it; states of norm one.
    lipschitz : array, >= 0
        max(L_1, L_2).

    Returns
    -------
    ndarray
        Upper bound on ``|mmse(Z | X) - mmse(Z | Y)|``.

    See Also
    --------
    functional_from_geometric : Theorem 1.
    geometric_from_proximal : Proposition 1.
    functional_hybrid_from_proximal : Theorem 6 (hybrid, cosine).

    Examples
    --------
    3 % of the tokens beyond 0.05 and L = 1:

    >>> import bounds
    >>> print(bounds.functional_from_proximal(0.05, 0.03, 1.0).round(4))
    0.2052
    """
    return functional_from_geometric(geometric_from_proximal(t, p_far), lipschitz)
