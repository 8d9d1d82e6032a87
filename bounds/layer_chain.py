"""Section 8: from steps between adjacent layers to the step from the first to the last."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bounds import arguments
from bounds.assumptions import DETERMINISTIC_LAYERS, LAYER_CHAIN, OURS, UNIT_NORM_LAYERS
from bounds.families import LAYERS, MAPPED_LAYERS, MARKOV_LAYERS
from bounds.symbolic import sp, symbols
from bounds.theorem import theorem
from redundancy import exact
from redundancy.layered import LayeredWorld, adjacent_distances, from_kernels, rotations

FloatArray = NDArray[np.float64]
ENDS = r"E\,d_{\cos}(X_l,X_m)"


def _cosines(epsilons: ArrayLike) -> FloatArray:
    e = arguments.nonnegative(epsilons, name="epsilons")
    arguments.same_last_axis(epsilons=e)
    if (e > 2).any():
        raise ValueError(f"epsilons: expected mean cosine distances in [0, 2], got {e.max()}")
    return e


def _angles(epsilons: FloatArray) -> FloatArray:
    # arccos(1 - e) without the cancellation of 1 - e.
    return 2.0 * np.arcsin(np.sqrt(0.5 * epsilons))


def _sum_of_angles() -> Any:
    s = sp()
    return 1 - s.cos(s.Min(s.pi, sum(s.acos(1 - e) for e in symbols("epsilons_0:3"))))


@theorem(
    label="Composition (angles)",
    equation="(8.2)",
    left=ENDS,
    right=r"1-\cos\left(\min\left\lbrace\pi,\sum_i\arccos(1-\varepsilon_i)\right\rbrace\right)",
    form="sharp",
    source=OURS,
    assumes=(UNIT_NORM_LAYERS,),
    family=LAYERS,
    sides=lambda w, bound: (w.ends.geometric, bound(adjacent_distances(w))),
    symbolic=_sum_of_angles,
    tight=lambda: rotations(np.array([0.3, 0.5, 0.4])),
)
def geometric_chain(epsilons: ArrayLike) -> FloatArray:
    """Mean cosine distance between the ends of a chain of layers: angles add, distances do not.

    Parameters
    ----------
    epsilons : array (..., k) in [0, 2]
        E d_cos between adjacent layers, or upper limits; states of norm one.

    Returns
    -------
    ndarray (...)
        Upper limit of E d_cos between the first and the last layer. Section 8, (8.2). The sum of the
        epsilons would be wrong by up to a factor k.

    Raises
    ------
    ValueError
        For NaN, numbers outside [0, 2], or no layer.
    """
    total = np.minimum(np.pi, _angles(_cosines(epsilons)).sum(axis=-1))
    return arguments.shown(2.0 * np.sin(0.5 * total) ** 2)


@theorem(
    label="Composition (roots)",
    equation="(8.2), second step",
    left=ENDS,
    right=r"\left(\sum_i\sqrt{\varepsilon_i}\right)^2",
    form="consequence",
    source=OURS,
    assumes=(UNIT_NORM_LAYERS,),
    family=LAYERS,
    sides=lambda w, bound: (w.ends.geometric, bound(adjacent_distances(w))),
    symbolic=lambda: sum(sp().sqrt(e) for e in symbols("epsilons_0:3")) ** 2,
    tight=lambda: rotations(np.array([0.03, 0.02])),
)
def geometric_chain_roots(epsilons: ArrayLike) -> FloatArray:
    """Mean cosine distance between the ends of a chain of layers: (sum of square roots)^2.

    Parameters
    ----------
    epsilons : array (..., k) in [0, 2]
        E d_cos between adjacent layers, or upper limits; states of norm one.

    Returns
    -------
    ndarray (...)
        Upper limit of E d_cos between the ends. Section 8, (8.2); sharp for small angles.

    Raises
    ------
    ValueError
        For NaN, numbers outside [0, 2], or no layer.
    """
    return arguments.shown(np.sqrt(_cosines(epsilons)).sum(axis=-1) ** 2)


@theorem(
    label="Composition (linear)",
    equation="(8.2), third step",
    left=ENDS,
    right=r"(m-l)\sum_i\varepsilon_i",
    form="consequence",
    source=OURS,
    assumes=(UNIT_NORM_LAYERS,),
    family=LAYERS,
    sides=lambda w, bound: (w.ends.geometric, bound(adjacent_distances(w))),
    symbolic=lambda: 3 * sum(symbols("epsilons_0:3")),
    tight=lambda: rotations(np.array([0.02, 0.02, 0.02])),
)
def geometric_chain_linear(epsilons: ArrayLike) -> FloatArray:
    """Mean cosine distance between the ends of a chain of k layers: k times the sum.

    Parameters
    ----------
    epsilons : array (..., k) in [0, 2]
        E d_cos between adjacent layers, or upper limits; states of norm one.

    Returns
    -------
    ndarray (...)
        Upper limit of E d_cos between the ends. Section 8, (8.2).

    Raises
    ------
    ValueError
        For NaN, numbers outside [0, 2], or no layer.
    """
    e = _cosines(epsilons)
    return arguments.shown(e.shape[-1] * e.sum(axis=-1))


@theorem(
    label="Composition (Euclidean)",
    equation="(8.3)",
    left=r"\lVert X_l-X_m\rVert_{L^2}",
    right=r"\sum_i\lVert X_i-X_{i+1}\rVert_{L^2}",
    form="sharp",
    source=OURS,
    assumes=(),
    family=LAYERS,
    sides=lambda w, bound: (
        np.sqrt(w.ends.squared_distance),
        bound([np.sqrt(s.squared_distance) for s in w.steps]),
    ),
    symbolic=lambda: sum(symbols("lengths_0:3")),
    tight=lambda: rotations(np.array([1e-3, 1e-3])),
)
def euclidean_chain(lengths: ArrayLike) -> FloatArray:
    """Root mean square distance between the ends of a chain of layers, any norms: the sum.

    Parameters
    ----------
    lengths : array (..., k), >= 0
        sqrt(E ||X_i - X_{i+1}||^2) of each step, or upper limits.

    Returns
    -------
    ndarray (...)
        Upper limit of sqrt(E ||X_l - X_m||^2). Section 8, (8.3).

    Raises
    ------
    ValueError
        For NaN, negative numbers, or no layer.
    """
    d = arguments.nonnegative(lengths, name="lengths")
    arguments.same_last_axis(lengths=d)
    return arguments.shown(d.sum(axis=-1))


ANGLE = 0.6


def _far(w: Any, angle: float) -> float:
    # Rounding must not call an angle far that equals the limit.
    angles = 2.0 * np.arcsin(np.minimum(1.0, np.sqrt(0.5 * w.distances)))
    return float(min(1.0, w.xy[angles > angle * (1.0 + 1e-12)].sum()))


def chain_threshold(t: ArrayLike) -> FloatArray:
    """Cosine threshold of the whole chain from those of its k steps: 1 - cos(min(pi, sum of angles)).

    Parameters
    ----------
    t : array (..., k) in [0, 2]
        Thresholds on the cosine distance of adjacent layers.

    Returns
    -------
    ndarray (...)
        The threshold that `proximal_chain` is about. Section 8, (8.4).
    """
    return geometric_chain(t)


def code_threshold(t: ArrayLike, angle: ArrayLike) -> FloatArray:
    """Cosine threshold after both states are replaced by codes within `angle` radians of them.

    P(d_cos(codes) > code_threshold(t, angle)) <= P(d_cos(states) > t): the triangle inequality of angles.
    """
    t, rho = _cosines(np.atleast_1d(t)), arguments.nonnegative(angle, name="angle")
    total = np.minimum(np.pi, _angles(t) + 2.0 * rho)
    return arguments.shown(np.squeeze(2.0 * np.sin(0.5 * total) ** 2))


@theorem(
    label="Composition (proximal)",
    equation="(8.4)",
    left=r"P\left(\angle(X_l,X_m)>\sum_i\tau_i\right)",
    right=r"\min\left\lbrace1,\ \sum_iP\left(\angle(X_i,X_{i+1})>\tau_i\right)\right\rbrace",
    form="sharp",
    source=OURS,
    assumes=(UNIT_NORM_LAYERS,),
    family=LAYERS,
    sides=lambda w, bound: (
        _far(w.ends, ANGLE * len(w.steps)),
        bound([_far(s, ANGLE) for s in w.steps]),
    ),
    symbolic=lambda: sp().Min(1, sum(symbols("p_far_0:3"))),
    tight=lambda: _one_far_step(0.2),
)
def proximal_chain(p_far: ArrayLike) -> FloatArray:
    """Probability that the ends of a chain are far, from that of each step: the sum, at most 1.

    Parameters
    ----------
    p_far : array (..., k) in [0, 1]
        P(angle > tau_i) of each step, or upper limits.

    Returns
    -------
    ndarray (...)
        Upper limit of P(angle between the ends > sum of the tau_i); `chain_threshold` turns cosine
        thresholds into the one of the ends. Section 8, (8.4).

    Raises
    ------
    ValueError
        For NaN, numbers outside [0, 1], or no layer.
    """
    p = arguments.probability(p_far, name="p_far")
    arguments.same_last_axis(p_far=p)
    return arguments.shown(np.minimum(1.0, p.sum(axis=-1)))


def _one_far_step(p: float) -> LayeredWorld:
    """The first step turns by 0.6, or with probability p by more; the second always turns by 0.6."""
    turns = np.array([[0.0, 0.0], [ANGLE, 2.0], [2 * ANGLE, 2.0 + ANGLE]])
    points = tuple(np.stack([np.cos(a), np.sin(a)], axis=1) for a in turns)
    pmf = np.zeros((1, 2, 2, 2))
    pmf[0, 0, 0, 0], pmf[0, 1, 1, 1] = 1.0 - p, p
    return LayeredWorld(pmf, np.zeros((1, 1)), points)


@theorem(
    label="Composition (informational)",
    equation="(8.5)",
    left=r"H(X_l\mid X_m)",
    right=r"\sum_{i=l}^{m-1}H(X_i\mid X_{i+1})",
    form="sharp",
    source=OURS,
    assumes=(),
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
        H(X_i | X_{i+1}), earlier given later, in nats, or upper limits.

    Returns
    -------
    ndarray (...)
        Upper limit of H(X_l | X_m) in nats. Section 8, (8.5).

    Raises
    ------
    ValueError
        For NaN, negative numbers, or no layer.
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
    assumes=(DETERMINISTIC_LAYERS,),
    family=MAPPED_LAYERS,
    sides=lambda w, bound: (
        [w.ends.entropy_x_given_y, exact.entropy(w.ends.x) - exact.entropy(w.ends.y)],
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
        H(X_l | X_m) = H(X_l) - H(X_m) in nats. Section 8, (8.5').

    Raises
    ------
    ValueError
        For NaN, negative numbers, or no layer.
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
    assumes=(LAYER_CHAIN,),
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
        I(T; X_l | X_m) in nats. Section 8, (8.6).

    Raises
    ------
    ValueError
        For NaN, negative numbers, or no layer.
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
    assumes=(),
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
        |mmse(T | X_i) - mmse(T | X_{i+1})|, or upper limits.

    Returns
    -------
    ndarray (...)
        Upper limit of |mmse(T | X_l) - mmse(T | X_m)|. Section 8, (8.7).

    Raises
    ------
    ValueError
        For NaN, negative numbers, or no layer.
    """
    g = arguments.nonnegative(gaps, name="gaps")
    arguments.same_last_axis(gaps=g)
    return arguments.shown(g.sum(axis=-1))


def _noisier_copies() -> LayeredWorld:
    """T a fair sign, X_0 = T, then two noisy copies: every step loses something."""
    noise = np.array([[0.9, 0.1], [0.1, 0.9]])
    signs = np.array([[1.0], [-1.0]])
    return from_kernels(0.5 * np.eye(2), signs, (noise, noise), (signs,) * 3)
