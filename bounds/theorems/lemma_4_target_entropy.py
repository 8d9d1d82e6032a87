"""Lemma 4: the difference of conditional entropies of a target, with and without a Markov chain."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import FINITE_ENTROPY, LABEL_CHAIN, OURS, PAPER
from bounds.framework.symbolic import sp, symbols
from bounds.framework.theorem import theorem
from bounds.worlds import gallery
from bounds.worlds.families import JOINT
from bounds.worlds.families import LABEL_CHAIN as LABEL_CHAINS
from bounds.worlds.finite import FiniteWorld
from redundancy.array_types import FloatArray


def _loss(w: FiniteWorld) -> float:
    return w.entropy_t_given_y - w.entropy_t_given_x


@theorem(
    label="Lemma 4",
    equation="(1.2)",
    left=r"H(T\mid Y)-H(T\mid X)",
    right=r"I(T;X\mid Y)-I(T;Y\mid X)",
    relation="=",
    form="sharp",
    source=OURS,
    assumes=(FINITE_ENTROPY,),
    family=JOINT,
    sides=lambda w, bound: (
        [_loss(w), w.information_tx - w.information_ty],
        bound(w.information_tx_given_y, w.information_ty_given_x),
    ),
    symbolic=lambda: symbols("information_tx_given_y") - symbols("information_ty_given_x"),
    tight=lambda: gallery.binary_channel(0.2),
)
def entropy_difference(information_tx_given_y: ArrayLike, information_ty_given_x: ArrayLike) -> FloatArray:
    """H(T | Y) - H(T | X) = I(T; X) - I(T; Y) = I(T; X | Y) - I(T; Y | X), always: the log-loss gap.

    Parameters
    ----------
    information_tx_given_y, information_ty_given_x : array, >= 0
        I(T; X | Y) and I(T; Y | X) in nats.

    Returns
    -------
    ndarray
        The difference of the best log-losses, in nats.

    See Also
    --------
    entropy_difference_of_chain : Lemma 4 (Markov chain).
    entropy_difference_bound : Lemma 4 (no Markov chain).

    Examples
    --------
    X knows 0.3 nats about T that Y does not, and Y knows 0.1 that X does not:

    >>> import bounds
    >>> print(bounds.entropy_difference(0.3, 0.1).round(4))
    0.2
    """
    a = arguments.nonnegative(information_tx_given_y, name="information_tx_given_y")
    b = arguments.nonnegative(information_ty_given_x, name="information_ty_given_x")
    arguments.together(information_tx_given_y=a, information_ty_given_x=b)
    return arguments.shown(a - b)


@theorem(
    label="Lemma 4 (Markov chain)",
    equation="(1.3)",
    left=r"0\le H(T\mid Y)-H(T\mid X)",
    right=r"\min\left\lbrace H(X\mid Y),\ H(T\mid Y)\right\rbrace",
    form="sharp",
    source=PAPER,
    assumes=(LABEL_CHAIN, FINITE_ENTROPY),
    family=LABEL_CHAINS,
    sides=lambda w, bound: (
        [_loss(w), -_loss(w), w.information_tx_given_y],
        [bound(w.entropy_x_given_y, w.entropy_t_given_y), 0.0, bound(w.entropy_x_given_y, w.entropy_t_given_y)],
    ),
    symbolic=lambda: sp().Min(*symbols("entropy_x_given_y entropy_t_given_y")),
    tight=lambda: gallery.binary_channel(0.0),
)
def entropy_difference_of_chain(entropy_x_given_y: ArrayLike, entropy_t_given_y: ArrayLike) -> FloatArray:
    """Under T - X - Y the log-loss gap is I(T; X | Y) >= 0, at most min(H(X | Y), H(T | Y)).

    Parameters
    ----------
    entropy_x_given_y, entropy_t_given_y : array, >= 0
        H(X | Y), earlier given later, and H(T | Y) in nats, or upper bounds.

    Returns
    -------
    ndarray
        Upper bound on H(T | Y) - H(T | X) in nats.

    See Also
    --------
    entropy_difference : Lemma 4.
    entropy_difference_bound : Lemma 4 (no Markov chain).

    Examples
    --------
    Whichever entropy is smaller limits the loss:

    >>> import bounds
    >>> print(bounds.entropy_difference_of_chain([0.1, 0.9], 0.5).round(4))
    [0.1 0.5]
    """
    h = arguments.nonnegative(entropy_x_given_y, name="entropy_x_given_y")
    top = arguments.nonnegative(entropy_t_given_y, name="entropy_t_given_y")
    arguments.together(entropy_x_given_y=h, entropy_t_given_y=top)
    return arguments.shown(np.minimum(h, top))


@theorem(
    label="Lemma 4 (no Markov chain)",
    equation="(1.3')",
    left=r"-H(Y\mid X)\le H(T\mid Y)-H(T\mid X)",
    right=r"H(X\mid Y)",
    form="sharp",
    source=OURS,
    assumes=(FINITE_ENTROPY,),
    family=JOINT,
    sides=lambda w, bound: ([_loss(w), -_loss(w)], [bound(w.entropy_x_given_y), bound(w.entropy_y_given_x)]),
    symbolic=lambda: symbols("entropy"),
    tight=lambda: gallery.binary_channel(0.0),
)
def entropy_difference_bound(entropy: ArrayLike) -> FloatArray:
    """The log-loss gap without a Markov assumption: -H(Y | X) <= H(T | Y) - H(T | X) <= H(X | Y).

    Parameters
    ----------
    entropy : array, >= 0
        H(X | Y) for the upper side, H(Y | X) for the lower, in nats.

    Returns
    -------
    ndarray
        Upper bound on H(T | Y) - H(T | X) (or of its negative).

    See Also
    --------
    entropy_difference : Lemma 4.
    entropy_difference_of_chain : Lemma 4 (Markov chain).

    Examples
    --------
    If Y determines X, nothing can be lost:

    >>> import bounds
    >>> print(bounds.entropy_difference_bound([0.0, 0.25]).round(4))
    [0.   0.25]
    """
    return arguments.shown(arguments.nonnegative(entropy, name="entropy") * 1.0)
