"""Lemma 5 and (7.3): unique information U(T: X without Y), its sandwich and what it bounds.

The decomposition is computed with a certified gap (at most 1e-10 nats); each check uses the end of that
interval for which the statement is a theorem, so that the solver's error cannot look like a counterexample.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import LABEL_CHAIN, OURS, PAPER, TARGET_IS_X
from bounds.framework.special_functions import psi
from bounds.framework.symbolic import psi as psi_
from bounds.framework.symbolic import sp, symbols
from bounds.framework.theorem import theorem
from bounds.theorems.theorem_5_accuracy import difference
from bounds.worlds import gallery
from bounds.worlds.families import SMALL_COPIES, SMALL_JOINT, SMALL_LABEL_CHAIN
from bounds.worlds.finite import FiniteWorld
from redundancy.array_types import FloatArray

UNIQUE = r"U(T{:}X\setminus Y)"


def _least(w: FiniteWorld) -> tuple[float, float]:
    """Certified lower ends of both unique informations."""
    return w.decomposition.unique_x - w.decomposition.gap, w.decomposition.unique_y - w.decomposition.gap


def _most(w: FiniteWorld) -> tuple[float, float]:
    """Values of a feasible law: upper ends."""
    return max(0.0, w.decomposition.unique_x), max(0.0, w.decomposition.unique_y)


@theorem(
    label="Lemma 5 (upper)",
    equation="(1.4)",
    left=UNIQUE,
    form="paper",
    source=PAPER,
    assumes=(),
    family=SMALL_JOINT,
    sides=lambda w, bound: (
        _least(w),
        [bound(w.information_tx, w.information_tx_given_y), bound(w.information_ty, w.information_ty_given_x)],
    ),
    symbolic=lambda: sp().Min(*symbols("information_tx information_tx_given_y")),
    tight=lambda: gallery.binary_channel(0.2),
)
def unique_information_upper(information_tx: ArrayLike, information_tx_given_y: ArrayLike) -> FloatArray:
    """Unique information is at most I(T; X) and at most I(T; X | Y), for every decomposition.

    Parameters
    ----------
    information_tx, information_tx_given_y : array, >= 0
        I(T; X) and I(T; X | Y) in nats.

    Returns
    -------
    ndarray
        Upper limit of U(T: X without Y) in nats. Lemma 5, (1.4).

    Raises
    ------
    ValueError
        For NaN, negative numbers, or shapes that do not broadcast.
    """
    a = arguments.nonnegative(information_tx, name="information_tx")
    b = arguments.nonnegative(information_tx_given_y, name="information_tx_given_y")
    arguments.together(information_tx=a, information_tx_given_y=b)
    return arguments.shown(np.minimum(a, b))


@theorem(
    label="Lemma 5 (lower)",
    equation="(1.4)",
    left=UNIQUE,
    relation=">=",
    form="sharp",
    source=OURS,
    assumes=(),
    family=SMALL_JOINT,
    sides=lambda w, bound: (
        _most(w),
        [bound(w.information_tx, w.information_ty), bound(w.information_ty, w.information_tx)],
    ),
    symbolic=lambda: sp().Max(0, symbols("information_tx") - symbols("information_ty")),
    tight=lambda: gallery.binary_channel(0.2),
)
def unique_information_lower(information_tx: ArrayLike, information_ty: ArrayLike) -> FloatArray:
    """Unique information is at least I(T; X) - I(T; Y), for every decomposition.

    Parameters
    ----------
    information_tx, information_ty : array, >= 0
        I(T; X) and I(T; Y) in nats.

    Returns
    -------
    ndarray
        Lower limit of U(T: X without Y) in nats. Lemma 5, (1.4).

    Raises
    ------
    ValueError
        For NaN, negative numbers, or shapes that do not broadcast.
    """
    a = arguments.nonnegative(information_tx, name="information_tx")
    b = arguments.nonnegative(information_ty, name="information_ty")
    arguments.together(information_tx=a, information_ty=b)
    return arguments.shown(np.maximum(0.0, a - b))


@theorem(
    label="Lemma 5 (entropy)",
    equation="(1.4), last step",
    left=UNIQUE,
    form="sharp",
    source=OURS,
    assumes=(),
    family=SMALL_JOINT,
    sides=lambda w, bound: (_least(w), [bound(w.entropy_x_given_y), bound(w.entropy_y_given_x)]),
    symbolic=lambda: symbols("entropy_x_given_y"),
    tight=lambda: gallery.erased_bit(0.5),
)
def unique_information_from_entropy(entropy_x_given_y: ArrayLike) -> FloatArray:
    """Unique information is at most H(X | Y).

    Parameters
    ----------
    entropy_x_given_y : array, >= 0
        H(X | Y) in nats, or an upper limit of it.

    Returns
    -------
    ndarray
        Upper limit of U(T: X without Y) in nats. Lemma 5, (1.4).

    Raises
    ------
    ValueError
        For NaN or negative numbers.
    """
    return arguments.shown(arguments.nonnegative(entropy_x_given_y, name="entropy_x_given_y") * 1.0)


@theorem(
    label="Lemma 5 (T = X)",
    equation="(1.9)",
    left=r"U(X{:}X\setminus Y)",
    right=r"H(X\mid Y)\ \text{(equality)}",
    form="sharp",
    source=OURS,
    assumes=(TARGET_IS_X,),
    family=SMALL_COPIES,
    # An identity through a certified interval: its lower end from below, its upper end from above.
    sides=lambda w, bound: (
        [_least(w)[0], bound(w.entropy_x_given_y)],
        [bound(w.entropy_x_given_y), _most(w)[0]],
    ),
    symbolic=lambda: symbols("entropy_x_given_y"),
    tight=lambda: gallery.binary_channel(0.0),
)
def unique_information_of_copy(entropy_x_given_y: ArrayLike) -> FloatArray:
    """With T = X the unique information is H(X | Y), for every decomposition.

    Parameters
    ----------
    entropy_x_given_y : array, >= 0
        H(X | Y) in nats.

    Returns
    -------
    ndarray
        U(X: X without Y) in nats. Lemma 5, (1.9).

    Raises
    ------
    ValueError
        For NaN or negative numbers.
    """
    return arguments.shown(arguments.nonnegative(entropy_x_given_y, name="entropy_x_given_y") * 1.0)


@theorem(
    label="Lemma 5 (Markov chain)",
    equation="(1.10)",
    left=UNIQUE,
    right=r"I(T;X\mid Y)\ \text{(equality)},\quad U(T{:}Y\setminus X)=0",
    form="sharp",
    source=OURS,
    assumes=(LABEL_CHAIN,),
    family=SMALL_LABEL_CHAIN,
    sides=lambda w, bound: (
        [_least(w)[0], bound(w.information_tx_given_y), _least(w)[1]],
        [bound(w.information_tx_given_y), _most(w)[0], 0.0],
    ),
    symbolic=lambda: symbols("information_tx_given_y"),
    tight=lambda: gallery.binary_channel(0.2),
)
def unique_information_of_chain(information_tx_given_y: ArrayLike) -> FloatArray:
    """Under T - X - Y the unique information of X is I(T; X | Y), and that of Y is zero.

    Parameters
    ----------
    information_tx_given_y : array, >= 0
        I(T; X | Y) in nats.

    Returns
    -------
    ndarray
        U(T: X without Y) in nats. Lemma 5, (1.10).

    Raises
    ------
    ValueError
        For NaN or negative numbers.
    """
    value = arguments.nonnegative(information_tx_given_y, name="information_tx_given_y")
    return arguments.shown(value * 1.0)


@theorem(
    label="Theorem 5 (no Markov chain, unique information)",
    equation="(7.3)",
    left=r"\pm\left(\mathrm{mmse}(T\mid Y)-\mathrm{mmse}(T\mid X)\right)",
    form="sharp",
    source=OURS,
    assumes=(),
    family=SMALL_JOINT,
    sides=lambda w, bound: ([-w.gap, w.gap], [bound(u, w.radius) for u in _most(w)]),
    symbolic=lambda: symbols("radius") ** 2 * psi_(symbols("unique")),
    tight=lambda: gallery.binary_channel(0.1),
)
def functional_from_unique_information(unique: ArrayLike, radius: ArrayLike) -> FloatArray:
    """The functional gap without a Markov assumption: B^2 psi(U), the exact supremum.

    Parameters
    ----------
    unique : array, >= 0
        U(T: X without Y) in nats for mmse(T | Y) - mmse(T | X), U(T: Y without X) for its negative, the
        larger for both; or an upper limit, such as I_Q(T; X | Y) of any law Q with the same pair marginals.
    radius : array, >= 0
        B with ||T - c|| <= B.

    Returns
    -------
    ndarray
        Upper limit of mmse(T | Y) - mmse(T | X). Theorem 5, (7.3).

    Raises
    ------
    ValueError
        For NaN, negative numbers, or shapes that do not broadcast.
    """
    u, b = arguments.nonnegative(unique, name="unique"), arguments.nonnegative(radius, name="radius")
    arguments.together(unique=u, radius=b)
    return arguments.shown(b * b * psi(u))


@theorem(
    label="Theorem 5 (accuracy, unique information)",
    equation="(7.10)",
    left=r"\lvert\mathrm{acc}(X)-\mathrm{acc}(Y)\rvert",
    form="sharp",
    source=OURS,
    assumes=(),
    family=SMALL_JOINT,
    sides=lambda w, bound: (difference(w), bound(max(_most(w)))),
    symbolic=lambda: sp().sqrt(symbols("unique") / 2),
    tight=lambda: gallery.binary_channel(0.49),
)
def accuracy_from_unique_information(unique: ArrayLike) -> FloatArray:
    """Difference of Bayes accuracies without a Markov assumption: sqrt(U / 2).

    Parameters
    ----------
    unique : array, >= 0
        The larger of the two unique informations, in nats, or an upper limit of it.

    Returns
    -------
    ndarray
        Upper limit of |acc(X) - acc(Y)|. Section 7.5.

    Raises
    ------
    ValueError
        For NaN or negative numbers.
    """
    return arguments.shown(np.sqrt(0.5 * arguments.nonnegative(unique, name="unique")))
