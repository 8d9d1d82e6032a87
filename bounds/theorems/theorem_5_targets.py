"""Theorem 5 for targets of known range, diameter, classes or tails, and the inequality behind its exact form."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import (
    DISCRETE_X,
    IN_UNIT_BALL,
    ONE_HOT,
    OURS,
    SCALAR,
    SQUARE_INTEGRABLE,
    SUB_GAUSSIAN,
)
from bounds.framework.special_functions import LOG2, eta, psi
from bounds.framework.symbolic import Expression, sp, symbols
from bounds.framework.symbolic import eta as eta_
from bounds.framework.symbolic import psi as psi_
from bounds.framework.theorem import theorem
from bounds.theorems.theorem_5_informational import GAIN, functional_from_information
from bounds.worlds import gallery
from bounds.worlds.families import JOINT, ONE_HOT_TARGET, SCALAR_TARGET, SIGN_TARGET, TWO_VALUED
from bounds.worlds.finite import FiniteWorld
from redundancy.array_types import FloatArray


@theorem(
    label="Theorem 5 (range)",
    equation="(7.5)",
    left=GAIN,
    right=r"\tfrac14(\beta-\alpha)^2\,\psi\left(I(T;X\mid Y)\right)",
    form="sharp",
    source=OURS,
    assumes=(SCALAR,),
    family=SCALAR_TARGET,
    sides=lambda w, bound: (
        w.lost_without_x,
        bound(w.information_tx_given_y, np.ptp(w.values[w.t > 0])),
    ),
    symbolic=lambda: symbols("spread") ** 2 / 4 * psi_(symbols("information")),
    tight=lambda: gallery.binary_channel(0.2, 3.0),
)
def functional_from_range(information: ArrayLike, spread: ArrayLike) -> FloatArray:
    """What X adds to Y for a scalar T in an interval: (length / 2)^2 psi(I(T; X | Y)).

    Parameters
    ----------
    information : array, >= 0
        I(T; X | Y) in nats, or an upper bound on it.
    spread : array, >= 0
        Length of the interval that holds T.

    Returns
    -------
    ndarray
        Upper bound on mmse(T | Y) - mmse(T | X, Y).

    See Also
    --------
    functional_from_information : Theorem 5 (information).
    functional_from_diameter : Theorem 5 (diameter).

    Examples
    --------
    A score in [0, 1] has B = 1/2:

    >>> import bounds
    >>> print(bounds.functional_from_range(0.1, 1.0).round(4))
    0.0483
    >>> print(bounds.functional_from_information(0.1, 0.5).round(4))
    0.0483
    """
    length = arguments.nonnegative(spread, name="spread")
    i = arguments.nonnegative(information, name="information")
    arguments.together(information=i, spread=length)
    return functional_from_information(i, 0.5 * length)


@theorem(
    label="Theorem 5 (diameter)",
    equation="(7.6)",
    left=GAIN,
    right=r"\tfrac12\mathsf{D}^2\min\left\lbrace1,\ I(T;X\mid Y)\right\rbrace",
    form="sharp",
    source=OURS,
    assumes=(SQUARE_INTEGRABLE,),
    family=JOINT,
    sides=lambda w, bound: (w.lost_without_x, bound(w.information_tx_given_y, w.diameter)),
    symbolic=lambda: symbols("diameter") ** 2 / 2 * sp().Min(1, symbols("information")),
    tight=lambda: gallery.binary_channel(0.495),
    reached="limit",
)
def functional_from_diameter(information: ArrayLike, diameter: ArrayLike) -> FloatArray:
    """What X adds to Y for a vector T in a set of given diameter: diameter^2 min(1, I(T; X | Y)) / 2.

    Parameters
    ----------
    information : array, >= 0
        I(T; X | Y) in nats, or an upper bound on it.
    diameter : array, >= 0
        Largest distance between two values of T; never worse than 2 B^2 I, since it is at most 2 B.

    Returns
    -------
    ndarray
        Upper bound on mmse(T | Y) - mmse(T | X, Y).

    See Also
    --------
    functional_from_information_linear : Theorem 5 (information, linear).
    functional_from_range : Theorem 5 (range).
    brier_from_information : Theorem 5 (one-hot).

    Examples
    --------
    One-hot targets have diameter sqrt(2), hence the bound I itself:

    >>> import math
    >>> import bounds
    >>> print(bounds.functional_from_diameter(0.1, math.sqrt(2)).round(4))
    0.1
    """
    d, i = arguments.nonnegative(diameter, name="diameter"), arguments.nonnegative(information, name="information")
    arguments.together(information=i, diameter=d)
    return arguments.shown(arguments.product(0.5, d, d, np.minimum(1.0, i)))


def _brier() -> Expression:
    i, h, k = symbols("information entropy classes")
    s = sp()
    return s.Min((1 - 1 / k) * psi_(i), i, (1 - 1 / k) * h / s.log(2))


def _one_hot_channel() -> FiniteWorld:
    world = gallery.binary_channel(0.15)
    return FiniteWorld(world.pmf, np.eye(2), world.x_points, world.y_points)


@theorem(
    label="Theorem 5 (one-hot)",
    equation="(7.7)",
    left=GAIN,
    right=(
        r"\min\left\lbrace\left(1-\tfrac1K\right)\psi(I),\ I,\ \left(1-\tfrac1K\right)H(X\mid Y)/\log2\right\rbrace,"
        r"\quad I=I(T;X\mid Y)"
    ),
    form="sharp",
    source=OURS,
    assumes=(ONE_HOT, DISCRETE_X),
    family=ONE_HOT_TARGET,
    sides=lambda w, bound: (
        w.lost_without_x,
        bound(w.information_tx_given_y, w.entropy_x_given_y, len(w.values)),
    ),
    symbolic=_brier,
    tight=_one_hot_channel,
)
def brier_from_information(information: ArrayLike, entropy: ArrayLike, classes: ArrayLike) -> FloatArray:
    """What X adds to Y in Brier score: the least of (1 - 1/K) psi(I), I and (1 - 1/K) H(X | Y) / log 2.

    Parameters
    ----------
    information : array, >= 0
        I(T; X | Y) in nats, or an upper bound on it; infinity if unknown.
    entropy : array, >= 0
        H(X | Y) in nats, or an upper bound on it; infinity if unknown.
    classes : array, >= 2
        Number of classes K.

    Returns
    -------
    ndarray
        Upper bound on the difference of Brier scores (squared errors of one-hot T).

    See Also
    --------
    functional_from_information : Theorem 5 (information).
    functional_from_diameter : Theorem 5 (diameter).
    accuracy_from_information : Theorem 5 (accuracy, information).

    Examples
    --------
    Two, four and many classes, with the entropy unknown:

    >>> import bounds
    >>> print(bounds.brier_from_information(0.1, float("inf"), [2, 4, 1000]).round(4))
    [0.0966 0.1    0.1   ]
    """
    i, h = arguments.nonnegative(information, name="information"), arguments.nonnegative(entropy, name="entropy")
    k = arguments.count(classes, name="classes", least=2)
    arguments.together(information=i, entropy=h, classes=k)
    square = 1.0 - 1.0 / k
    return arguments.shown(np.minimum(np.minimum(square * psi(i), i), square * h / LOG2))


@theorem(
    label="Theorem 5 (sub-Gaussian)",
    equation="(7.8)",
    left=GAIN,
    right=r"2\sigma^2\,I(T;X\mid Y)",
    form="sharp",
    source=OURS,
    assumes=(SUB_GAUSSIAN,),
    family=TWO_VALUED,
    sides=lambda w, bound: (w.lost_without_x, bound(w.information_tx_given_y, _two_point_sigma(w))),
    symbolic=lambda: 2 * symbols("sigma") ** 2 * symbols("information"),
    tight=lambda: gallery.binary_channel(0.495),
    reached="limit",
)
def functional_from_subgaussian(information: ArrayLike, sigma: ArrayLike) -> FloatArray:
    """What X adds to Y when T given Y is sub-Gaussian, bounded or not: 2 sigma^2 I(T; X | Y).

    Parameters
    ----------
    information : array, >= 0
        I(T; X | Y) in nats, or an upper bound on it.
    sigma : array, >= 0
        Every projection of T given Y = y is sigma^2-sub-Gaussian.

    Returns
    -------
    ndarray
        Upper bound on mmse(T | Y) - mmse(T | X, Y).

    See Also
    --------
    functional_from_information_linear : Theorem 5 (information, linear).

    Examples
    --------
    A Gaussian target of unit variance has no radius B, but sigma = 1:

    >>> import bounds
    >>> print(bounds.functional_from_subgaussian(0.1, 1.0).round(4))
    0.2
    """
    s, i = arguments.nonnegative(sigma, name="sigma"), arguments.nonnegative(information, name="information")
    arguments.together(information=i, sigma=s)
    return arguments.shown(arguments.product(2.0, s, s, i))


def _two_point_sigma(w: FiniteWorld) -> float:
    """Best sub-Gaussian constant of a two-valued T given any y (Kearns and Saul 1998)."""
    held = w.y > 0
    p = (w.ty[:, held] / w.y[held]).min(axis=0)
    low = np.clip(p, 1e-300, 0.5 - 1e-6)
    # At 1/2 the formula is 0 / 0 with limit 1/4, its largest value.
    square = np.where(p > 0.5 - 1e-6, 0.25, (1.0 - 2.0 * low) / (2.0 * (np.log1p(-low) - np.log(low))))
    return float(np.ptp(w.values) * np.sqrt(square.max()))


def _means() -> Expression:
    distribution, m, centre = symbols("distribution_0:3"), symbols("means_0:3"), symbols("centre")
    return sp().Max(0, sum(distribution[i] * eta_(m[i]) for i in range(3)) - eta_(centre))


@theorem(
    label="Theorem 5 (information of means)",
    equation="(7.4)",
    left=r"I(T;X)",
    right=r"\max\left\lbrace0,\ E\,\eta(\lVert E[T\mid X]\rVert)-\eta(\lVert E\,T\rVert)\right\rbrace",
    relation=">=",
    form="sharp",
    source=f"{OURS}; vectors by Holevo's bound",
    assumes=(IN_UNIT_BALL,),
    family=SIGN_TARGET,
    sides=lambda w, bound: (
        w.information_tx,
        bound(
            w.x / w.x.sum(),
            np.minimum(np.sqrt((w.regression_x**2).sum(axis=1)), 1.0),
            min(1.0, float(np.sqrt(((w.t @ w.values) ** 2).sum()))),
        ),
    ),
    symbolic=_means,
    tight=lambda: gallery.binary_channel(0.3),
)
def information_from_means(distribution: ArrayLike, means: ArrayLike, centre: ArrayLike) -> FloatArray:
    """I(T; X) from how far conditional means spread, in nats, for T in the unit ball.

    Parameters
    ----------
    distribution : array (..., n)
        p(x), summing to one along the last axis.
    means : array (..., n) in [0, 1]
        Norms of E[T | X = x].
    centre : array (...) in [0, 1]
        Norm of E T.

    Returns
    -------
    ndarray (...)
        Lower bound on I(T; X): the step that makes psi exact.

    Raises
    ------
    ValueError
        If `distribution` does not sum to one.

    See Also
    --------
    functional_from_information : Theorem 5 (information).

    Examples
    --------
    A sign whose conditional means are +-0.8 shares this many nats with X, and more if they are +-1:

    >>> import bounds
    >>> print(bounds.information_from_means([0.5, 0.5], [[0.8, 0.8], [1.0, 1.0]], [0.0, 0.0]).round(4))
    [0.3681 0.6931]
    """
    p, m = arguments.distribution(distribution, name="distribution"), arguments.probability(means, name="means")
    c = arguments.probability(centre, name="centre")
    arguments.same_last_axis(distribution=p, means=m)
    arguments.together(distribution=p, means=m, centre=c[..., None])
    return arguments.shown(np.maximum(0.0, (p * eta(m)).sum(axis=-1) - eta(c)))
