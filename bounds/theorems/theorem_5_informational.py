"""Theorem 5: informationally redundant layers are functionally redundant for a bounded target.

G = mmse(T | Y) - mmse(T | X, Y) is what X adds to Y; under T - X - Y it is mmse(T | Y) - mmse(T | X).
`radius` is B with ||T - c|| <= B for some c. Entropies are of the earlier state given the later, H(X | Y):
the other direction is zero for a deterministic network and says nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import BOUNDED_TARGET, DISCRETE_X, FINITE_ALPHABETS, OURS, PAPER
from bounds.framework.special_functions import LOG2, psi
from bounds.framework.symbolic import Expression, sp, symbols
from bounds.framework.symbolic import psi as psi_
from bounds.framework.theorem import theorem
from bounds.worlds import gallery
from bounds.worlds.families import JOINT
from redundancy.array_types import FloatArray

GAIN = r"\mathrm{mmse}(T\mid Y)-\mathrm{mmse}(T\mid X,Y)"


def _pair(name: str, value: ArrayLike, radius: ArrayLike) -> tuple[FloatArray, FloatArray]:
    a, b = arguments.nonnegative(value, name=name), arguments.nonnegative(radius, name="radius")
    arguments.together(**{name: a, "radius": b})
    return a, b


@theorem(
    label="Theorem 5 (information)",
    equation="(7.1)",
    left=GAIN,
    right=r"B^2\,\psi\left(I(T;X\mid Y)\right)",
    form="sharp",
    source=OURS,
    assumes=(BOUNDED_TARGET,),
    family=JOINT,
    sides=lambda w, bound: (w.lost_without_x, bound(w.information_tx_given_y, w.radius)),
    symbolic=lambda: symbols("radius") ** 2 * psi_(symbols("information")),
    tight=lambda: gallery.binary_channel(0.1, 2.0),
)
def functional_from_information(information: ArrayLike, radius: ArrayLike) -> FloatArray:
    """What X adds to Y in predicting T: B^2 psi(I(T; X | Y)), the exact supremum.

    Parameters
    ----------
    information : array, >= 0
        I(T; X | Y) in nats, or an upper bound on it.
    radius : array, >= 0
        B with ||T - c|| <= B.

    Returns
    -------
    ndarray
        Upper bound on mmse(T | Y) - mmse(T | X, Y), in units of T squared.

    See Also
    --------
    functional_from_information_linear : Theorem 5 (information, linear).
    functional_from_entropy : Theorem 5 (entropy).
    functional_from_unique_information : Theorem 5 (no Markov chain, unique information).

    Examples
    --------
    psi(I) against the linear form 2 I, at small and at large information:

    >>> import bounds
    >>> print(bounds.functional_from_information([0.01, 0.5], 1.0).round(4))
    [0.0199 0.8165]
    >>> print(bounds.functional_from_information_linear([0.01, 0.5], 1.0).round(4))
    [0.02 1.  ]
    """
    i, b = _pair("information", information, radius)
    return arguments.shown(arguments.product(b, b, psi(i)))


@theorem(
    label="Theorem 5 (information, linear)",
    equation="(7.1), last step",
    left=GAIN,
    right=r"B^2\min\left\lbrace1,\ 2I(T;X\mid Y)\right\rbrace",
    form="consequence",
    source=OURS,
    assumes=(BOUNDED_TARGET,),
    family=JOINT,
    sides=lambda w, bound: (w.lost_without_x, bound(w.information_tx_given_y, w.radius)),
    symbolic=lambda: symbols("radius") ** 2 * sp().Min(1, 2 * symbols("information")),
    tight=lambda: gallery.binary_channel(0.495),
    reached="limit",
)
def functional_from_information_linear(information: ArrayLike, radius: ArrayLike) -> FloatArray:
    """The linear form 2 B^2 I(T; X | Y), at most B^2: 2 is the best constant, approached as I -> 0.

    Parameters
    ----------
    information : array, >= 0
        I(T; X | Y) in nats, or an upper bound on it.
    radius : array, >= 0
        B with ||T - c|| <= B.

    Returns
    -------
    ndarray
        Upper bound on mmse(T | Y) - mmse(T | X, Y).

    See Also
    --------
    functional_from_information : Theorem 5 (information).

    Examples
    --------
    Beyond I = 1/2 only B^2 is known, which is always true:

    >>> import bounds
    >>> print(bounds.functional_from_information_linear([0.1, 0.6], 1.0).round(4))
    [0.2 1. ]
    """
    i, b = _pair("information", information, radius)
    return arguments.shown(arguments.product(b, b, np.minimum(1.0, 2.0 * i)))


@theorem(
    label="Theorem 5 (entropy)",
    equation="(7.2)",
    left=GAIN,
    right=r"B^2\min\left\lbrace1,\ H(X\mid Y)/\log2\right\rbrace",
    form="sharp",
    source=OURS,
    assumes=(BOUNDED_TARGET, DISCRETE_X),
    family=JOINT,
    sides=lambda w, bound: (w.lost_without_x, bound(w.entropy_x_given_y, w.radius)),
    symbolic=lambda: symbols("radius") ** 2 * sp().Min(1, symbols("entropy") / sp().log(2)),
    tight=lambda: gallery.erased_bit(0.4, 2.0),
)
def functional_from_entropy(entropy: ArrayLike, radius: ArrayLike) -> FloatArray:
    """What X adds to Y in predicting T: B^2 times H(X | Y) in bits, at most B^2; the best constant.

    Parameters
    ----------
    entropy : array, >= 0
        H(X | Y) in nats, earlier given later, or an upper bound on it.
    radius : array, >= 0
        B with ||T - c|| <= B.

    Returns
    -------
    ndarray
        Upper bound on mmse(T | Y) - mmse(T | X, Y).

    See Also
    --------
    functional_from_entropy_linear : Theorem 5, as in the paper.
    functional_from_two_entropies : Theorem 5 (no Markov chain, entropies).
    functional_from_information : Theorem 5 (information).

    Examples
    --------
    Half a bit of entropy, and more than a bit:

    >>> import math
    >>> import bounds
    >>> print(bounds.functional_from_entropy([0.5 * math.log(2), 1.0], 2.0).round(4))
    [2. 4.]
    """
    h, b = _pair("entropy", entropy, radius)
    return arguments.shown(arguments.product(b, b, np.minimum(1.0, h / LOG2)))


@theorem(
    label="Theorem 5",
    equation="section 7",
    left=GAIN,
    right=r"2B^2\,H(X\mid Y)",
    form="paper",
    source=PAPER,
    assumes=(BOUNDED_TARGET, DISCRETE_X),
    family=JOINT,
    sides=lambda w, bound: (w.lost_without_x, bound(w.entropy_x_given_y, w.radius)),
    symbolic=lambda: 2 * symbols("radius") ** 2 * symbols("entropy"),
    unattained="the best constant in front of H(X | Y) is 1 / log 2 = 1.44, not 2: at most 0.72 is reached",
)
def functional_from_entropy_linear(entropy: ArrayLike, radius: ArrayLike) -> FloatArray:
    """The likeliest form of the paper's Theorem 5: 2 B^2 H(X | Y).

    Parameters
    ----------
    entropy : array, >= 0
        H(X | Y) in nats, earlier given later.
    radius : array, >= 0
        B with ||T - c|| <= B.

    Returns
    -------
    ndarray
        Upper bound on mmse(T | Y) - mmse(T | X, Y), looser than `functional_from_entropy`.

    See Also
    --------
    functional_from_entropy : Theorem 5 (entropy).

    Examples
    --------
    The paper's constant 2 against the best one, 1 / log 2:

    >>> import bounds
    >>> print(bounds.functional_from_entropy_linear(0.1, 1.0).round(4))
    0.2
    >>> print(bounds.functional_from_entropy(0.1, 1.0).round(4))
    0.1443
    """
    h, b = _pair("entropy", entropy, radius)
    return arguments.shown(arguments.product(2.0, b, b, h))


def _two_entropies() -> Expression:
    b, hx, hy = symbols("radius entropy_x_given_y entropy_y_given_x")
    s = sp()
    return b**2 * s.Min(1, s.Max(hx, hy) / s.log(2))


@theorem(
    label="Theorem 5 (no Markov chain, entropies)",
    equation="(7.3)",
    left=r"\lvert\mathrm{mmse}(T\mid X)-\mathrm{mmse}(T\mid Y)\rvert",
    right=r"B^2\min\left\lbrace1,\ \max\left\lbrace H(X\mid Y),H(Y\mid X)\right\rbrace/\log2\right\rbrace",
    form="sharp",
    source=OURS,
    assumes=(BOUNDED_TARGET, FINITE_ALPHABETS),
    family=JOINT,
    sides=lambda w, bound: (abs(w.gap), bound(w.entropy_x_given_y, w.entropy_y_given_x, w.radius)),
    symbolic=_two_entropies,
    tight=lambda: gallery.erased_bit(0.7),
)
def functional_from_two_entropies(
    entropy_x_given_y: ArrayLike, entropy_y_given_x: ArrayLike, radius: ArrayLike
) -> FloatArray:
    """The functional gap without a Markov assumption: B^2 times the larger conditional entropy in bits.

    Parameters
    ----------
    entropy_x_given_y, entropy_y_given_x : array, >= 0
        H(X | Y) and H(Y | X) in nats, or upper bounds.
    radius : array, >= 0
        B with ||T - c|| <= B.

    Returns
    -------
    ndarray
        Upper bound on ``|mmse(T | X) - mmse(T | Y)|``, at most B^2.

    See Also
    --------
    functional_from_entropy : Theorem 5 (entropy).
    functional_from_unique_information : Theorem 5 (no Markov chain, unique information).

    Examples
    --------
    The larger entropy decides:

    >>> import bounds
    >>> print(bounds.functional_from_two_entropies(0.1, 0.3, 1.0).round(4))
    0.4328
    """
    other, b = _pair("entropy_y_given_x", entropy_y_given_x, radius)
    h = arguments.nonnegative(entropy_x_given_y, name="entropy_x_given_y")
    arguments.together(entropy_x_given_y=h, entropy_y_given_x=other, radius=b)
    return arguments.shown(arguments.product(b, b, np.minimum(1.0, np.maximum(h, other) / LOG2)))
