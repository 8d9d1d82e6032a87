"""Theorem 5 for the 0-1 loss: how much accuracy the other state can add (theory, section 7.5)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import DISCRETE_X, FINITE_ALPHABETS, FINITE_CLASSES, OURS
from bounds.framework.special_functions import LOG2, total_variation_curve
from bounds.framework.symbolic import Expression, sp, symbols
from bounds.framework.symbolic import total_variation_curve as curve_
from bounds.framework.theorem import theorem
from bounds.worlds import exact_quantities, gallery
from bounds.worlds.families import JOINT
from bounds.worlds.finite import FiniteWorld
from redundancy.array_types import FloatArray

GAIN = r"\mathrm{acc}(X,Y)-\mathrm{acc}(Y)"


def gain(w: FiniteWorld) -> float:
    """Accuracy of the best guess of T from (X, Y), less that from Y."""
    return float(w.pmf.max(axis=0).sum()) - exact_quantities.bayes_accuracy(w.ty)


def difference(w: FiniteWorld) -> float:
    """Absolute difference of the accuracies from X and from Y."""
    return abs(exact_quantities.bayes_accuracy(w.tx) - exact_quantities.bayes_accuracy(w.ty))


@theorem(
    label="Theorem 5 (accuracy, information)",
    equation="(7.9)",
    left=GAIN,
    right=r"\mathsf{v}\left(I(T;X\mid Y)\right)\ \left(\le\sqrt{I(T;X\mid Y)/2}\right)",
    form="sharp",
    source=f"{OURS}; the curve: Fedotov, Harremoës and Topsøe (2003), *Refinements of Pinsker's inequality*",
    assumes=(FINITE_CLASSES,),
    family=JOINT,
    sides=lambda w, bound: (gain(w), bound(w.information_tx_given_y)),
    symbolic=lambda: curve_(symbols("information")),
    tight=lambda: gallery.symmetric_channel(3, gallery.RIGHT_OF_THREE),
)
def accuracy_from_information(information: ArrayLike) -> FloatArray:
    """Bayes accuracy that X adds to Y: the tight Pinsker curve at I(T; X | Y), any number of classes.

    Parameters
    ----------
    information : array, >= 0
        I(T; X | Y) in nats, or an upper bound on it. For ``|acc(X) - acc(Y)|`` without a Markov chain the
        larger unique information may stand here.

    Returns
    -------
    ndarray
        Upper bound on acc(X, Y) - acc(Y), at most one; below sqrt(I / 2), by 6 % at I = 1 and 13 % at I = 2.

    See Also
    --------
    accuracy_from_entropy : Theorem 5 (accuracy, entropy).
    accuracy_from_unique_information : Theorem 5 (accuracy, unique information).
    accuracy_from_decoding : Theorem 6 (decoding, accuracy).
    total_variation_from_divergence : Pinsker (tight), the curve.

    Examples
    --------
    0.02 nats are worth at most 10 points of accuracy, two nats not all of it:

    >>> import bounds
    >>> print(bounds.accuracy_from_information([0.02, 2.0]).round(4))
    [0.0999 0.8652]
    """
    return arguments.shown(total_variation_curve(arguments.nonnegative(information, name="information")))


@theorem(
    label="Theorem 5 (accuracy, entropy)",
    equation="(7.9)",
    left=GAIN,
    right=r"\min\left\lbrace1,\ \frac{H(X\mid Y)}{2\log2}\right\rbrace",
    form="sharp",
    source=OURS,
    assumes=(DISCRETE_X,),
    family=JOINT,
    sides=lambda w, bound: (gain(w), bound(w.entropy_x_given_y)),
    symbolic=lambda: sp().Min(1, symbols("entropy") / (2 * sp().log(2))),
    tight=lambda: gallery.binary_channel(0.0),
)
def accuracy_from_entropy(entropy: ArrayLike) -> FloatArray:
    """Bayes accuracy that X adds to Y: half of H(X | Y) in bits.

    Parameters
    ----------
    entropy : array, >= 0
        H(X | Y) in nats, or an upper bound on it.

    Returns
    -------
    ndarray
        Upper bound on acc(X, Y) - acc(Y), at most one; attained by a fair bit.

    See Also
    --------
    accuracy_from_information : Theorem 5 (accuracy, information).
    accuracy_from_two_entropies : Theorem 5 (accuracy, no Markov chain).

    Examples
    --------
    Losing a fair bit costs at most half of the answers:

    >>> import math
    >>> import bounds
    >>> print(bounds.accuracy_from_entropy(math.log(2)).round(4))
    0.5
    """
    return arguments.shown(np.minimum(1.0, arguments.nonnegative(entropy, name="entropy") / (2.0 * LOG2)))


def _larger() -> Expression:
    s = sp()
    return s.Min(1, s.Max(*symbols("entropy_x_given_y entropy_y_given_x")) / (2 * s.log(2)))


@theorem(
    label="Theorem 5 (accuracy, no Markov chain)",
    equation="(7.10)",
    left=r"\lvert\mathrm{acc}(X)-\mathrm{acc}(Y)\rvert",
    right=r"\min\left\lbrace1,\ \frac{\max\left\lbrace H(X\mid Y),H(Y\mid X)\right\rbrace}{2\log2}\right\rbrace",
    form="sharp",
    source=OURS,
    assumes=(FINITE_ALPHABETS,),
    family=JOINT,
    sides=lambda w, bound: (difference(w), bound(w.entropy_x_given_y, w.entropy_y_given_x)),
    symbolic=_larger,
    tight=lambda: gallery.binary_channel(0.0),
)
def accuracy_from_two_entropies(entropy_x_given_y: ArrayLike, entropy_y_given_x: ArrayLike) -> FloatArray:
    """Difference of Bayes accuracies without a Markov assumption: half the larger entropy in bits.

    Parameters
    ----------
    entropy_x_given_y, entropy_y_given_x : array, >= 0
        H(X | Y) and H(Y | X) in nats, or upper bounds.

    Returns
    -------
    ndarray
        Upper bound on ``|acc(X) - acc(Y)|``, at most one.

    See Also
    --------
    accuracy_from_entropy : Theorem 5 (accuracy, entropy).
    accuracy_from_unique_information : Theorem 5 (accuracy, unique information).

    Examples
    --------
    The larger entropy decides:

    >>> import bounds
    >>> print(bounds.accuracy_from_two_entropies(0.02, 0.1).round(4))
    0.0721
    """
    h = arguments.nonnegative(entropy_x_given_y, name="entropy_x_given_y")
    other = arguments.nonnegative(entropy_y_given_x, name="entropy_y_given_x")
    arguments.together(entropy_x_given_y=h, entropy_y_given_x=other)
    return arguments.shown(np.minimum(1.0, np.maximum(h, other) / (2.0 * LOG2)))
