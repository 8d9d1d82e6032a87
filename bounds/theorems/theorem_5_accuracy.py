"""Theorem 5 for the 0-1 loss: how much accuracy the other state can add (section 7.5)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import OURS
from bounds.framework.special_functions import LOG2
from bounds.framework.symbolic import sp, symbols
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
    form="sharp",
    source=OURS,
    assumes=(),
    family=JOINT,
    sides=lambda w, bound: (gain(w), bound(w.information_tx_given_y)),
    symbolic=lambda: sp().sqrt(symbols("information") / 2),
    tight=lambda: gallery.binary_channel(0.49),
)
def accuracy_from_information(information: ArrayLike) -> FloatArray:
    """Bayes accuracy that X adds to Y: sqrt(I(T; X | Y) / 2), any number of classes.

    Parameters
    ----------
    information : array, >= 0
        I(T; X | Y) in nats, or an upper limit of it. For |acc(X) - acc(Y)| without a Markov chain the
        larger unique information may stand here.

    Returns
    -------
    ndarray
        Upper limit of acc(X, Y) - acc(Y). Section 7.5; asymptotically sharp as I -> 0.

    Raises
    ------
    ValueError
        For NaN or negative numbers.
    """
    return arguments.shown(np.sqrt(0.5 * arguments.nonnegative(information, name="information")))


@theorem(
    label="Theorem 5 (accuracy, entropy)",
    equation="(7.9)",
    left=GAIN,
    form="sharp",
    source=OURS,
    assumes=(),
    family=JOINT,
    sides=lambda w, bound: (gain(w), bound(w.entropy_x_given_y)),
    symbolic=lambda: symbols("entropy") / (2 * sp().log(2)),
    tight=lambda: gallery.binary_channel(0.0),
)
def accuracy_from_entropy(entropy: ArrayLike) -> FloatArray:
    """Bayes accuracy that X adds to Y: half of H(X | Y) in bits.

    Parameters
    ----------
    entropy : array, >= 0
        H(X | Y) in nats, or an upper limit of it.

    Returns
    -------
    ndarray
        Upper limit of acc(X, Y) - acc(Y). Section 7.5; attained by a fair bit.

    Raises
    ------
    ValueError
        For NaN or negative numbers.
    """
    return arguments.shown(arguments.nonnegative(entropy, name="entropy") / (2.0 * LOG2))


def _larger() -> Any:
    s = sp()
    return s.Max(*symbols("entropy_x_given_y entropy_y_given_x")) / (2 * s.log(2))


@theorem(
    label="Theorem 5 (accuracy, no Markov chain)",
    equation="(7.10)",
    left=r"\lvert\mathrm{acc}(X)-\mathrm{acc}(Y)\rvert",
    form="sharp",
    source=OURS,
    assumes=(),
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
        H(X | Y) and H(Y | X) in nats, or upper limits.

    Returns
    -------
    ndarray
        Upper limit of |acc(X) - acc(Y)|. Section 7.5.

    Raises
    ------
    ValueError
        For NaN, negative numbers, or shapes that do not broadcast.
    """
    h = arguments.nonnegative(entropy_x_given_y, name="entropy_x_given_y")
    other = arguments.nonnegative(entropy_y_given_x, name="entropy_y_given_x")
    arguments.together(entropy_x_given_y=h, entropy_y_given_x=other)
    return arguments.shown(np.maximum(h, other) / (2.0 * LOG2))
