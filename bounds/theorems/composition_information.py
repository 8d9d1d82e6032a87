"""Composition over layers: conditional entropies, informations and functional gaps."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import DETERMINISTIC_LAYERS, FINITE_ENTROPY, LAYER_CHAIN, OURS, SQUARE_INTEGRABLE
from bounds.framework.symbolic import symbols
from bounds.framework.theorem import theorem
from bounds.worlds import exact_quantities
from bounds.worlds.families import LAYERS, MAPPED_LAYERS, MARKOV_LAYERS
from bounds.worlds.layered import LayeredWorld, from_kernels
from redundancy.array_types import FloatArray


@theorem(
    label="Composition (informational)",
    equation="(8.5)",
    left=r"H(X_l\mid X_m)",
    right=r"\sum_{i=l}^{m-1}H(X_i\mid X_{i+1})",
    form="sharp",
    source=OURS,
    assumes=(FINITE_ENTROPY,),
    family=LAYERS,
    sides=lambda w, bound: (w.ends.entropy_x_given_y, bound([s.entropy_x_given_y for s in w.steps])),
    symbolic=lambda: sum(symbols("entropies_0:3")),
    tight=lambda: MAPPED_LAYERS.random(3),
)
def entropy_chain(entropies: ArrayLike) -> FloatArray:
    """Conditional entropy across a chain of layers, no Markov assumption: the sum.

    Parameters
    ----------
    entropies : array (..., k), >= 0
        H(X_i | X_{i+1}), earlier given later, in nats, or upper bounds.

    Returns
    -------
    ndarray (...)
        Upper bound on H(X_l | X_m) in nats.

    See Also
    --------
    entropy_chain_of_maps : Composition (informational, deterministic layers).
    information_chain : Composition (information of a Markov chain).

    Examples
    --------
    Losses of three steps add:

    >>> import bounds
    >>> print(bounds.entropy_chain([0.1, 0.0, 0.2]).round(4))
    0.3
    """
    h = arguments.nonnegative(entropies, name="entropies")
    arguments.same_last_axis(entropies=h)
    return arguments.shown(h.sum(axis=-1))


@theorem(
    label="Composition (informational, deterministic layers)",
    equation="(8.5')",
    left=r"H(X_l\mid X_m)=H(X_l)-H(X_m)",
    right=r"\sum_{i=l}^{m-1}H(X_i\mid X_{i+1})",
    relation="=",
    form="sharp",
    source=OURS,
    assumes=(DETERMINISTIC_LAYERS, FINITE_ENTROPY),
    family=MAPPED_LAYERS,
    sides=lambda w, bound: (
        [w.ends.entropy_x_given_y, exact_quantities.entropy(w.ends.x) - exact_quantities.entropy(w.ends.y)],
        bound([s.entropy_x_given_y for s in w.steps]),
    ),
    symbolic=lambda: sum(symbols("entropies_0:3")),
    tight=lambda: MAPPED_LAYERS.random(3),
)
def entropy_chain_of_maps(entropies: ArrayLike) -> FloatArray:
    """Conditional entropy across a chain of deterministic layers: the sum, with equality.

    Parameters
    ----------
    entropies : array (..., k), >= 0
        H(X_i | X_{i+1}) in nats.

    Returns
    -------
    ndarray (...)
        H(X_l | X_m) = H(X_l) - H(X_m) in nats.

    See Also
    --------
    entropy_chain : Composition (informational).

    Examples
    --------
    Three deterministic layers that merge states lose exactly this much:

    >>> import bounds
    >>> print(bounds.entropy_chain_of_maps([0.1, 0.0, 0.2]).round(4))
    0.3
    """
    h = arguments.nonnegative(entropies, name="entropies")
    arguments.same_last_axis(entropies=h)
    return arguments.shown(h.sum(axis=-1))


@theorem(
    label="Composition (information of a Markov chain)",
    equation="(8.6)",
    left=r"I(T;X_l\mid X_m)",
    right=r"\sum_iI(T;X_i\mid X_{i+1})",
    relation="=",
    form="sharp",
    source=OURS,
    assumes=(LAYER_CHAIN, FINITE_ENTROPY),
    family=MARKOV_LAYERS,
    sides=lambda w, bound: (
        w.ends.information_tx_given_y,
        bound([s.information_tx_given_y for s in w.steps]),
    ),
    symbolic=lambda: sum(symbols("informations_0:3")),
    tight=lambda: MARKOV_LAYERS.random(1),
)
def information_chain(informations: ArrayLike) -> FloatArray:
    """What is lost about T across a Markov chain of layers: the losses of its steps add, with equality.

    Parameters
    ----------
    informations : array (..., k), >= 0
        I(T; X_i | X_{i+1}) in nats.

    Returns
    -------
    ndarray (...)
        I(T; X_l | X_m) in nats.

    See Also
    --------
    entropy_chain : Composition (informational).
    functional_chain : Composition (functional).

    Examples
    --------
    What each of three layers forgets about the target:

    >>> import bounds
    >>> print(bounds.information_chain([0.05, 0.0, 0.1]).round(4))
    0.15
    """
    i = arguments.nonnegative(informations, name="informations")
    arguments.same_last_axis(informations=i)
    return arguments.shown(i.sum(axis=-1))


@theorem(
    label="Composition (functional)",
    equation="(8.7)",
    left=r"\lvert\mathrm{mmse}(T\mid X_l)-\mathrm{mmse}(T\mid X_m)\rvert",
    right=r"\sum_i\lvert\mathrm{mmse}(T\mid X_i)-\mathrm{mmse}(T\mid X_{i+1})\rvert",
    form="sharp",
    source=OURS,
    assumes=(SQUARE_INTEGRABLE,),
    family=LAYERS,
    sides=lambda w, bound: (abs(w.ends.gap), bound([abs(s.gap) for s in w.steps])),
    symbolic=lambda: sum(symbols("gaps_0:3")),
    tight=lambda: _noisier_copies(),
)
def functional_chain(gaps: ArrayLike) -> FloatArray:
    """Functional gap across a chain of layers: the sum of the absolute gaps of its steps.

    With Lipschitz constants per step, telescoping functional bounds beats composing distances first.

    Parameters
    ----------
    gaps : array (..., k), >= 0
        ``|mmse(T | X_i) - mmse(T | X_{i+1})|``, or upper bounds.

    Returns
    -------
    ndarray (...)
        Upper bound on ``|mmse(T | X_l) - mmse(T | X_m)|``.

    See Also
    --------
    geometric_chain : Composition (angles).
    functional_from_geometric : Theorem 1.

    Examples
    --------
    Telescoping the functional bounds of two steps beats composing their distances first:

    >>> import numpy as np
    >>> import bounds
    >>> steps = np.array([0.02, 0.02])
    >>> print(bounds.functional_chain(bounds.functional_from_geometric(steps, 1.0)).round(4))
    0.0792
    >>> print(bounds.functional_from_geometric(bounds.geometric_chain(steps), 1.0).round(4))
    0.1521
    """
    g = arguments.nonnegative(gaps, name="gaps")
    arguments.same_last_axis(gaps=g)
    return arguments.shown(g.sum(axis=-1))


def _noisier_copies() -> LayeredWorld:
    """T a fair sign, X_0 = T, then two noisy copies: every step loses information."""
    noise = np.array([[0.9, 0.1], [0.1, 0.9]])
    signs = np.array([[1.0], [-1.0]])
    return from_kernels(0.5 * np.eye(2), signs, (noise, noise), (signs,) * 3)
