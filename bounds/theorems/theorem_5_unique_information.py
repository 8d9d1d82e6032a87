"""Theorem 5 without a Markov chain: unique information bounds the functional gap and the difference of accuracies."""

from __future__ import annotations

from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import BOUNDED_TARGET, FINITE_CLASSES, OURS
from bounds.framework.special_functions import psi, total_variation_curve
from bounds.framework.symbolic import psi as psi_
from bounds.framework.symbolic import symbols
from bounds.framework.symbolic import total_variation_curve as curve_
from bounds.framework.theorem import theorem
from bounds.theorems.lemma_5_unique_information import upper_ends
from bounds.theorems.theorem_5_accuracy import difference
from bounds.worlds import gallery
from bounds.worlds.families import SMALL_JOINT
from redundancy.array_types import FloatArray


@theorem(
    label="Theorem 5 (no Markov chain, unique information)",
    equation="(7.3)",
    left=r"\pm\left(\mathrm{mmse}(T\mid Y)-\mathrm{mmse}(T\mid X)\right)",
    right=r"B^2\,\psi(U)",
    form="sharp",
    source=OURS,
    assumes=(BOUNDED_TARGET,),
    family=SMALL_JOINT,
    sides=lambda w, bound: ([-w.gap, w.gap], [bound(u, w.radius) for u in upper_ends(w)]),
    symbolic=lambda: symbols("radius") ** 2 * psi_(symbols("unique")),
    tight=lambda: gallery.binary_channel(0.1),
)
def functional_from_unique_information(unique: ArrayLike, radius: ArrayLike) -> FloatArray:
    """The functional gap without a Markov assumption: B^2 psi(U), the exact supremum.

    Parameters
    ----------
    unique : array, >= 0
        U(T: X without Y) in nats for mmse(T | Y) - mmse(T | X), U(T: Y without X) for its negative, the
        larger for both; or an upper bound, such as I_Q(T; X | Y) of any distribution Q with the same pair marginals.
    radius : array, >= 0
        B with ||T - c|| <= B.

    Returns
    -------
    ndarray
        Upper bound on mmse(T | Y) - mmse(T | X).

    See Also
    --------
    functional_from_information : Theorem 5 (information).
    functional_from_two_entropies : Theorem 5 (no Markov chain, entropies).
    accuracy_from_unique_information : Theorem 5 (accuracy, unique information).

    Examples
    --------
    psi is nearly 2 U for small U, and never exceeds one:

    >>> import bounds
    >>> print(bounds.functional_from_unique_information([0.01, 0.1, 1.0], 1.0).round(4))
    [0.0199 0.1932 1.    ]
    """
    u, b = arguments.nonnegative(unique, name="unique"), arguments.nonnegative(radius, name="radius")
    arguments.together(unique=u, radius=b)
    return arguments.shown(arguments.product(b, b, psi(u)))


@theorem(
    label="Theorem 5 (accuracy, unique information)",
    equation="(7.10)",
    left=r"\lvert\mathrm{acc}(X)-\mathrm{acc}(Y)\rvert",
    right=r"\mathsf{v}(U)\ \left(\le\sqrt{U/2}\right)",
    form="sharp",
    source=f"{OURS}; the curve: Fedotov, Harremoës and Topsøe (2003), *Refinements of Pinsker's inequality*",
    assumes=(FINITE_CLASSES,),
    family=SMALL_JOINT,
    sides=lambda w, bound: (difference(w), bound(max(upper_ends(w)))),
    symbolic=lambda: curve_(symbols("unique")),
    tight=lambda: gallery.symmetric_channel(3, gallery.RIGHT_OF_THREE),
)
def accuracy_from_unique_information(unique: ArrayLike) -> FloatArray:
    """Difference of Bayes accuracies without a Markov assumption: the tight Pinsker curve at U.

    Parameters
    ----------
    unique : array, >= 0
        The larger of the two unique informations, in nats, or an upper bound on it.

    Returns
    -------
    ndarray
        Upper bound on ``|acc(X) - acc(Y)|``, below sqrt(U / 2) and at most one.

    See Also
    --------
    accuracy_from_information : Theorem 5 (accuracy, information).
    accuracy_from_two_entropies : Theorem 5 (accuracy, no Markov chain).

    Examples
    --------
    A unique information of 0.02 nats changes the accuracy by at most 10 points:

    >>> import bounds
    >>> print(bounds.accuracy_from_unique_information(0.02).round(4))
    0.0999
    """
    return arguments.shown(total_variation_curve(arguments.nonnegative(unique, name="unique")))
