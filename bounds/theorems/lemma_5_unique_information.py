"""Lemma 5: unique information U(T: X without Y) lies between differences and conditional informations.

The decomposition is computed with a certified gap (at most 1e-10 nats). Each check uses the end of that interval
for which the statement is a theorem, so that the error of the solver cannot look like a counterexample.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import DISCRETE_X, LABEL_CHAIN, OURS, PAPER, PROPERTIES_OF_PID, TARGET_IS_X
from bounds.framework.symbolic import sp, symbols
from bounds.framework.theorem import theorem
from bounds.worlds import gallery
from bounds.worlds.families import SMALL_COPIES, SMALL_JOINT, SMALL_LABEL_CHAIN
from bounds.worlds.finite import FiniteWorld
from redundancy.array_types import FloatArray

UNIQUE = r"U(T{:}X\setminus Y)"


def lower_ends(w: FiniteWorld) -> tuple[float, float]:
    """Certified lower bounds on both unique informations."""
    return w.decomposition.unique_x - w.decomposition.gap, w.decomposition.unique_y - w.decomposition.gap


def upper_ends(w: FiniteWorld) -> tuple[float, float]:
    """Values of a feasible distribution: upper bounds on both unique informations."""
    return max(0.0, w.decomposition.unique_x), max(0.0, w.decomposition.unique_y)


@theorem(
    label="Lemma 5 (upper)",
    equation="(1.4), upper end",
    left=UNIQUE,
    right=r"\min\left\lbrace I(T;X),\ I(T;X\mid Y)\right\rbrace",
    form="paper",
    source=PAPER,
    assumes=(PROPERTIES_OF_PID,),
    family=SMALL_JOINT,
    sides=lambda w, bound: (
        lower_ends(w),
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
        Upper bound on U(T: X without Y) in nats.

    See Also
    --------
    unique_information_lower : Lemma 5 (lower).
    unique_information_from_entropy : Lemma 5 (entropy).

    Examples
    --------
    The conditional information is not always the smaller one:

    >>> import bounds
    >>> print(bounds.unique_information_upper([0.5, 0.2], [0.3, 0.6]).round(4))
    [0.3 0.2]
    """
    a = arguments.nonnegative(information_tx, name="information_tx")
    b = arguments.nonnegative(information_tx_given_y, name="information_tx_given_y")
    arguments.together(information_tx=a, information_tx_given_y=b)
    return arguments.shown(np.minimum(a, b))


@theorem(
    label="Lemma 5 (lower)",
    equation="(1.4), lower end",
    left=UNIQUE,
    right=r"\max\left\lbrace0,\ I(T;X)-I(T;Y)\right\rbrace",
    relation=">=",
    form="sharp",
    source=OURS,
    assumes=(PROPERTIES_OF_PID,),
    family=SMALL_JOINT,
    sides=lambda w, bound: (
        upper_ends(w),
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
        Lower bound on U(T: X without Y) in nats.

    See Also
    --------
    unique_information_upper : Lemma 5 (upper), as in the paper.

    Examples
    --------
    Together with `unique_information_upper` this encloses U between 0.2 and 0.3 nats:

    >>> import bounds
    >>> print(bounds.unique_information_lower(0.5, 0.3).round(4))
    0.2
    >>> print(bounds.unique_information_upper(0.5, 0.3).round(4))
    0.3
    """
    a = arguments.nonnegative(information_tx, name="information_tx")
    b = arguments.nonnegative(information_ty, name="information_ty")
    arguments.together(information_tx=a, information_ty=b)
    return arguments.shown(np.maximum(0.0, a - b))


@theorem(
    label="Lemma 5 (entropy)",
    equation="(1.4), last step",
    left=UNIQUE,
    right=r"H(X\mid Y)",
    form="sharp",
    source=OURS,
    assumes=(PROPERTIES_OF_PID, DISCRETE_X),
    family=SMALL_JOINT,
    sides=lambda w, bound: (lower_ends(w), [bound(w.entropy_x_given_y), bound(w.entropy_y_given_x)]),
    symbolic=lambda: symbols("entropy_x_given_y"),
    tight=lambda: gallery.erased_bit(0.5),
)
def unique_information_from_entropy(entropy_x_given_y: ArrayLike) -> FloatArray:
    """Unique information is at most H(X | Y).

    Parameters
    ----------
    entropy_x_given_y : array, >= 0
        H(X | Y) in nats, or an upper bound on it.

    Returns
    -------
    ndarray
        Upper bound on U(T: X without Y) in nats.

    See Also
    --------
    unique_information_upper : Lemma 5 (upper), as in the paper.
    unique_information_of_copy : Lemma 5 (T = X).

    Examples
    --------
    If Y determines X, X has no unique information:

    >>> import bounds
    >>> print(bounds.unique_information_from_entropy([0.0, 0.4]).round(4))
    [0.  0.4]
    """
    return arguments.shown(arguments.nonnegative(entropy_x_given_y, name="entropy_x_given_y") * 1.0)


@theorem(
    label="Lemma 5 (T = X)",
    equation="(1.9)",
    left=r"U(X{:}X\setminus Y)",
    right=r"H(X\mid Y)\ \text{(equality)}",
    form="sharp",
    source=OURS,
    assumes=(TARGET_IS_X, PROPERTIES_OF_PID, DISCRETE_X),
    family=SMALL_COPIES,
    # An identity tested with a certified interval: the lower end from below, the upper end from above.
    sides=lambda w, bound: (
        [lower_ends(w)[0], bound(w.entropy_x_given_y)],
        [bound(w.entropy_x_given_y), upper_ends(w)[0]],
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
        U(X: X without Y) in nats.

    See Also
    --------
    unique_information_from_entropy : Lemma 5 (entropy).

    Examples
    --------
    A fair bit X of which Y knows nothing is entirely unique:

    >>> import math
    >>> import bounds
    >>> print(bounds.unique_information_of_copy(math.log(2)).round(4))
    0.6931
    """
    return arguments.shown(arguments.nonnegative(entropy_x_given_y, name="entropy_x_given_y") * 1.0)


@theorem(
    label="Lemma 5 (Markov chain)",
    equation="(1.10)",
    left=UNIQUE,
    right=r"I(T;X\mid Y)\ \text{(equality)},\quad U(T{:}Y\setminus X)=0",
    form="sharp",
    source=OURS,
    assumes=(LABEL_CHAIN, PROPERTIES_OF_PID),
    family=SMALL_LABEL_CHAIN,
    sides=lambda w, bound: (
        [lower_ends(w)[0], bound(w.information_tx_given_y), lower_ends(w)[1]],
        [bound(w.information_tx_given_y), upper_ends(w)[0], 0.0],
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
        U(T: X without Y) in nats.

    See Also
    --------
    unique_information_upper : Lemma 5 (upper), as in the paper.

    Examples
    --------
    The information that the later layer lost is the unique information of the earlier one:

    >>> import bounds
    >>> print(bounds.unique_information_of_chain(0.15).round(4))
    0.15
    """
    value = arguments.nonnegative(information_tx_given_y, name="information_tx_given_y")
    return arguments.shown(value * 1.0)
