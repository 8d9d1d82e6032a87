"""Theorem 6: from decoding errors and distances to functional redundancy and accuracy, without entropy.

p_y = 1 - max_x P(X = x | Y = y) is the chance that the best guess of X from Y = y is wrong, P_e its mean.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import BOUNDED_TARGET, DISCRETE_X, LIPSCHITZ_NEAR, ONE_CODE_PER_BALL, OURS, UNIT_NORM
from bounds.framework.special_functions import chi
from bounds.framework.symbolic import Expression, symbols
from bounds.framework.symbolic import chi as chi_
from bounds.framework.theorem import theorem
from bounds.theorems.theorem_5_accuracy import gain
from bounds.theorems.theorem_5_informational import GAIN
from bounds.worlds import gallery
from bounds.worlds.families import FREE_POINTS, JOINT, SPARSE_CODES
from bounds.worlds.finite import FiniteWorld
from redundancy.array_types import FloatArray


def _errors(w: FiniteWorld) -> tuple[FloatArray, FloatArray]:
    """p(y) and p_y for every y that occurs."""
    held = w.y > 0
    rest = np.sort(w.xy[:, held], axis=0)[:-1].sum(axis=0)
    return w.y[held] / w.y[held].sum(), np.minimum(rest / w.y[held], 1.0)


def _mean_error(w: FiniteWorld) -> float:
    return float(np.sort(w.xy, axis=0)[:-1].sum())


def _per_point() -> Expression:
    distribution, p = symbols("distribution_0:3"), symbols("error_0:3")
    return symbols("radius") ** 2 * sum(distribution[i] * chi_(p[i]) for i in range(3))


@theorem(
    label="Theorem 6 (decoding, per point)",
    equation="(8.0a)",
    left=GAIN,
    right=r"B^2E\,\chi(p_Y)",
    form="sharp",
    source=OURS,
    assumes=(BOUNDED_TARGET, DISCRETE_X),
    family=JOINT,
    sides=lambda w, bound: (w.lost_without_x, bound(*_errors(w), w.radius)),
    symbolic=_per_point,
    tight=lambda: gallery.two_atoms(0.2),
)
def functional_from_decoding_per_point(distribution: ArrayLike, error: ArrayLike, radius: ArrayLike) -> FloatArray:
    """What X adds to Y in predicting T, from the decoding error at every y.

    Parameters
    ----------
    distribution : array (..., n)
        p(y), summing to one along the last axis.
    error : array (..., n) in [0, 1]
        Error probability of the best guess of X given Y = y.
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
    functional_from_decoding : Theorem 6 (decoding).
    functional_from_entropy : Theorem 5 (entropy).

    Examples
    --------
    Errors concentrated on one later state cost less than the same mean error spread evenly:

    >>> import bounds
    >>> print(bounds.functional_from_decoding_per_point([0.5, 0.5], [[0.0, 0.4], [0.2, 0.2]], [1.0, 1.0]).round(4))
    [0.48 0.64]
    """
    q, p = arguments.distribution(distribution, name="distribution"), arguments.probability(error, name="error")
    b = arguments.nonnegative(radius, name="radius")
    arguments.same_last_axis(distribution=q, error=p)
    arguments.together(distribution=q, error=p, radius=b[..., None])
    return arguments.shown(arguments.product(b, b, (q * chi(p)).sum(axis=-1)))


@theorem(
    label="Theorem 6 (decoding)",
    equation="(8.0b)",
    left=GAIN,
    right=r"B^2\chi(P_e)",
    form="sharp",
    source=OURS,
    assumes=(BOUNDED_TARGET, DISCRETE_X),
    family=JOINT,
    sides=lambda w, bound: (w.lost_without_x, bound(_mean_error(w), w.radius)),
    symbolic=lambda: symbols("radius") ** 2 * chi_(symbols("decoding_error")),
    tight=lambda: gallery.two_atoms(0.3, 2.0),
)
def functional_from_decoding(decoding_error: ArrayLike, radius: ArrayLike) -> FloatArray:
    """What X adds to Y in predicting T, from how often X is decoded wrongly: B^2 chi(P_e) <= 4 B^2 P_e.

    Parameters
    ----------
    decoding_error : array in [0, 1]
        P_e of the best guess of X from Y, or of any guess, which is an upper bound; P(d > t) if every ball
        holds one codeword.
    radius : array, >= 0
        B with ||T - c|| <= B.

    Returns
    -------
    ndarray
        Upper bound on mmse(T | Y) - mmse(T | X, Y).

    See Also
    --------
    functional_from_decoding_per_point : Theorem 6 (decoding, per point).
    decoding_from_proximal : Theorem 6 (one code per ball).
    functional_from_entropy : Theorem 5 (entropy).

    Examples
    --------
    2.8 % decoding error, whatever the size of the codebook:

    >>> import bounds
    >>> print(bounds.functional_from_decoding(0.028, 1.0).round(4))
    0.1089

    The way through Fano's entropy is five times as large:

    >>> print(bounds.functional_from_fano(0.028, 10_000, 1, 1, 1.0).round(4))
    0.5563
    """
    p = arguments.probability(decoding_error, name="decoding_error")
    b = arguments.nonnegative(radius, name="radius")
    arguments.together(decoding_error=p, radius=b)
    return arguments.shown(arguments.product(b, b, chi(p)))


@theorem(
    label="Theorem 6 (decoding, accuracy)",
    equation="(8.0c)",
    left=r"\mathrm{acc}(X,Y)-\mathrm{acc}(Y)",
    right=r"P_e",
    form="sharp",
    source=OURS,
    assumes=(DISCRETE_X,),
    family=JOINT,
    sides=lambda w, bound: (gain(w), bound(_mean_error(w))),
    symbolic=lambda: symbols("decoding_error"),
    tight=lambda: gallery.binary_channel(0.0),
)
def accuracy_from_decoding(decoding_error: ArrayLike) -> FloatArray:
    """Bayes accuracy that X adds to Y: at most the decoding error of X from Y.

    Parameters
    ----------
    decoding_error : array in [0, 1]
        P_e, or an upper bound on it.

    Returns
    -------
    ndarray
        Upper bound on acc(X, Y) - acc(Y).

    See Also
    --------
    functional_from_decoding : Theorem 6 (decoding).
    accuracy_from_information : Theorem 5 (accuracy, information).

    Examples
    --------
    If the earlier state can be decoded in 95 % of the cases, at most 5 points are lost:

    >>> import bounds
    >>> print(bounds.accuracy_from_decoding(0.05).round(4))
    0.05
    """
    return arguments.shown(arguments.probability(decoding_error, name="decoding_error") * 1.0)


@theorem(
    label="Theorem 6 (one code per ball)",
    equation="(8.0d)",
    left=r"P_e",
    right=r"P_t",
    form="consequence",
    source=OURS,
    assumes=(ONE_CODE_PER_BALL,),
    family=SPARSE_CODES,
    sides=lambda w, bound: (_mean_error(w), bound(w.p_far)),
    symbolic=lambda: symbols("p_far"),
    tight=lambda: gallery.cyclic_codebook(5, 0, 0.4),
)
def decoding_from_proximal(p_far: ArrayLike) -> FloatArray:
    """Decoding error of X from Y when every ball holds at most one codeword: at most P(d > t).

    Parameters
    ----------
    p_far : array in [0, 1]
        P(d > t), or an upper bound on it.

    Returns
    -------
    ndarray
        Upper bound on P_e.

    See Also
    --------
    functional_from_decoding : Theorem 6 (decoding).
    accuracy_from_decoding : Theorem 6 (decoding, accuracy).

    Examples
    --------
    Guess the only codeword in the ball:

    >>> import bounds
    >>> print(bounds.decoding_from_proximal(0.028).round(4))
    0.028
    """
    return arguments.shown(arguments.probability(p_far, name="p_far") * 1.0)


def _hybrid() -> Expression:
    near, slope, p, b = symbols("near_squared_distance lipschitz_x p_far radius")
    return slope**2 * near + 4 * b**2 * p


@theorem(
    label="Theorem 6 (hybrid)",
    equation="(8.1)",
    left=GAIN,
    right=r"L_1^2E\left[\lVert X-Y\rVert^2;d\le t\right]+4B^2P_t",
    form="consequence",
    source=OURS,
    assumes=(BOUNDED_TARGET, LIPSCHITZ_NEAR),
    family=FREE_POINTS,
    sides=lambda w, bound: (
        w.lost_without_x,
        bound(w.near_squared_distance, w.lipschitz_x_near, w.p_far, w.radius),
    ),
    symbolic=_hybrid,
    tight=lambda: gallery.fork(0.3),
)
def functional_hybrid(
    near_squared_distance: ArrayLike, lipschitz_x: ArrayLike, p_far: ArrayLike, radius: ArrayLike
) -> FloatArray:
    """What X adds to Y: Lipschitz where they are close, boundedness where they are far.

    Parameters
    ----------
    near_squared_distance : array, >= 0
        E[||X - Y||^2; d <= t].
    lipschitz_x : array, >= 0
        L_1 on the support points within distance t of y only.
    p_far : array in [0, 1]
        P(d > t), or an upper bound on it.
    radius : array, >= 0
        B with ||T - c|| <= B.

    Returns
    -------
    ndarray
        Upper bound on mmse(T | Y) - mmse(T | X, Y).

    See Also
    --------
    functional_hybrid_from_proximal : Theorem 6 (hybrid, cosine).
    functional_from_decoding : Theorem 6 (decoding).
    functional_from_squared_distance : Theorem 1 (general vectors).

    Examples
    --------
    Near pairs pay through L_1, far pairs through B:

    >>> import bounds
    >>> print(bounds.functional_hybrid(0.01, 2.0, [0.0, 0.02], 1.0).round(4))
    [0.04 0.12]
    """
    near = arguments.nonnegative(near_squared_distance, name="near_squared_distance")
    slope = arguments.nonnegative(lipschitz_x, name="lipschitz_x")
    p, b = arguments.probability(p_far, name="p_far"), arguments.nonnegative(radius, name="radius")
    arguments.together(near_squared_distance=near, lipschitz_x=slope, p_far=p, radius=b)
    return arguments.shown(arguments.product(slope, slope, near) + arguments.product(4.0, b, b, p))


def _hybrid_cosine() -> Expression:
    t, slope, p, b = symbols("t lipschitz_x p_far radius")
    return 2 * slope**2 * t * (1 - p) + 4 * b**2 * p


@theorem(
    label="Theorem 6 (hybrid, cosine)",
    equation="(8.1), last step",
    left=GAIN,
    right=r"2L_1^2\,t\,(1-P_t)+4B^2P_t",
    form="consequence",
    source=OURS,
    assumes=(UNIT_NORM, BOUNDED_TARGET, LIPSCHITZ_NEAR),
    family=JOINT,
    sides=lambda w, bound: (w.lost_without_x, bound(w.threshold, w.lipschitz_x_near, w.p_far, w.radius)),
    symbolic=_hybrid_cosine,
    tight=lambda: gallery.alternating_polygon(200, 1.0),
    reached="limit",
)
def functional_hybrid_from_proximal(
    t: ArrayLike, lipschitz_x: ArrayLike, p_far: ArrayLike, radius: ArrayLike
) -> FloatArray:
    """What X adds to Y for unit vectors and the cosine distance: 2 L_1^2 t (1 - P_t) + 4 B^2 P_t.

    Parameters
    ----------
    t : array, >= 0
        Threshold on the cosine distance.
    lipschitz_x : array, >= 0
        L_1 on the support points within distance t of y only.
    p_far : array in [0, 1]
        P(d_cos > t), exactly (not monotone in it when L_1^2 t > 2 B^2).
    radius : array, >= 0
        B with ||T - c|| <= B.

    Returns
    -------
    ndarray
        Upper bound on mmse(T | Y) - mmse(T | X, Y).

    See Also
    --------
    functional_hybrid : Theorem 6 (hybrid).
    functional_from_proximal : Theorem 1 after Proposition 1.

    Examples
    --------
    3 % of the tokens beyond 0.05:

    >>> import bounds
    >>> print(bounds.functional_hybrid_from_proximal(0.05, 1.0, 0.03, 1.0).round(4))
    0.217
    """
    t, slope = arguments.nonnegative(t, name="t"), arguments.nonnegative(lipschitz_x, name="lipschitz_x")
    p, b = arguments.probability(p_far, name="p_far"), arguments.nonnegative(radius, name="radius")
    arguments.together(t=t, lipschitz_x=slope, p_far=p, radius=b)
    return arguments.shown(arguments.product(2.0, slope, slope, t, 1.0 - p) + arguments.product(4.0, b, b, p))
