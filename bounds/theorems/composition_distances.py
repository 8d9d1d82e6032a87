"""Composition over layers: from the distances of adjacent layers to the distance of the first and the last."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import NONZERO_STATES, OURS, UNIT_NORM_LAYERS
from bounds.framework.symbolic import Expression, sp, symbols
from bounds.framework.theorem import World, theorem
from bounds.worlds.families import LAYERS
from bounds.worlds.layered import LayeredWorld, adjacent_distances, rotations
from redundancy.array_types import FloatArray

ENDS = r"E\,d_{\cos}(X_l,X_m)"


def _cosines(values: ArrayLike, *, name: str = "epsilons") -> FloatArray:
    e = arguments.nonnegative(values, name=name)
    arguments.same_last_axis(**{name: e})
    if (e > 2 * (1.0 + arguments.ROUNDED)).any():
        raise ValueError(f"{name}: expected cosine distances in [0, 2], got {e.max()}")
    return np.minimum(e, 2.0)


def _angles(epsilons: FloatArray) -> FloatArray:
    # arccos(1 - e) without the cancellation of 1 - e.
    return 2.0 * np.arcsin(np.sqrt(0.5 * epsilons))


def _cosine_of(angle: FloatArray) -> FloatArray:
    # 1 - cos(angle) without cancellation; angles beyond pi count as pi.
    return arguments.shown(2.0 * np.sin(0.5 * np.minimum(np.pi, angle)) ** 2)


def _sum_of_angles() -> Expression:
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
        E d_cos between adjacent layers, or upper bounds; states of norm one.

    Returns
    -------
    ndarray (...)
        Upper bound on E d_cos between the first and the last layer. The sum of the
        epsilons would be wrong by up to a factor k.

    See Also
    --------
    geometric_chain_roots : Composition (roots).
    geometric_chain_linear : Composition (linear).
    chain_threshold : The cosine threshold of the whole chain.

    Examples
    --------
    Two turns of 60 degrees end at 120 degrees, a distance of 1.5 and not 0.5 + 0.5:

    >>> import bounds
    >>> print(bounds.geometric_chain([0.5, 0.5]).round(4))
    1.5

    Four small steps may add up to nearly four times their sum:

    >>> print(bounds.geometric_chain([0.025] * 4).round(4))
    0.3755
    """
    return _cosine_of(_angles(_cosines(epsilons)).sum(axis=-1))


@theorem(
    label="Composition (roots)",
    equation="(8.2), second step",
    left=ENDS,
    right=r"\min\left\lbrace2,\ \left(\sum_i\sqrt{\varepsilon_i}\right)^2\right\rbrace",
    form="consequence",
    source=OURS,
    assumes=(UNIT_NORM_LAYERS,),
    family=LAYERS,
    sides=lambda w, bound: (w.ends.geometric, bound(adjacent_distances(w))),
    symbolic=lambda: sp().Min(2, sum(sp().sqrt(e) for e in symbols("epsilons_0:3")) ** 2),
    tight=lambda: rotations(np.array([0.03, 0.02])),
    reached="limit",
)
def geometric_chain_roots(epsilons: ArrayLike) -> FloatArray:
    """Mean cosine distance between the ends of a chain of layers: (sum of square roots)^2.

    Parameters
    ----------
    epsilons : array (..., k) in [0, 2]
        E d_cos between adjacent layers, or upper bounds; states of norm one.

    Returns
    -------
    ndarray (...)
        Upper bound on E d_cos between the ends, at most 2; sharp for small angles.

    See Also
    --------
    geometric_chain : Composition (angles).
    geometric_chain_linear : Composition (linear).

    Examples
    --------
    Close to the angles for small steps, cut at the largest cosine distance for large ones:

    >>> import bounds
    >>> print(bounds.geometric_chain_roots([[0.025] * 4, [0.5] * 4]).round(4))
    [0.4 2. ]
    >>> print(bounds.geometric_chain([[0.025] * 4, [0.5] * 4]).round(4))
    [0.3755 2.    ]
    """
    return arguments.shown(np.minimum(2.0, np.sqrt(_cosines(epsilons)).sum(axis=-1) ** 2))


@theorem(
    label="Composition (linear)",
    equation="(8.2), third step",
    left=ENDS,
    right=r"\min\left\lbrace2,\ (m-l)\sum_i\varepsilon_i\right\rbrace",
    form="consequence",
    source=OURS,
    assumes=(UNIT_NORM_LAYERS,),
    family=LAYERS,
    sides=lambda w, bound: (w.ends.geometric, bound(adjacent_distances(w))),
    symbolic=lambda: sp().Min(2, 3 * sum(symbols("epsilons_0:3"))),
    tight=lambda: rotations(np.array([0.02, 0.02, 0.02])),
    reached="limit",
)
def geometric_chain_linear(epsilons: ArrayLike) -> FloatArray:
    """Mean cosine distance between the ends of a chain of k layers: k times the sum.

    Parameters
    ----------
    epsilons : array (..., k) in [0, 2]
        E d_cos between adjacent layers, or upper bounds; states of norm one.

    Returns
    -------
    ndarray (...)
        Upper bound on E d_cos between the ends, at most 2.

    See Also
    --------
    geometric_chain : Composition (angles).
    geometric_chain_roots : Composition (roots).

    Examples
    --------
    Equal steps lose nothing against the roots, unequal ones do:

    >>> import bounds
    >>> print(bounds.geometric_chain_linear([[0.1, 0.1], [0.18, 0.02]]).round(4))
    [0.4 0.4]
    >>> print(bounds.geometric_chain_roots([[0.1, 0.1], [0.18, 0.02]]).round(4))
    [0.4  0.32]
    """
    e = _cosines(epsilons)
    return arguments.shown(np.minimum(2.0, e.shape[-1] * e.sum(axis=-1)))


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
    reached="limit",
)
def euclidean_chain(lengths: ArrayLike) -> FloatArray:
    """Root mean square distance between the ends of a chain of layers, any norms: the sum.

    Parameters
    ----------
    lengths : array (..., k), >= 0
        sqrt(E ||X_i - X_{i+1}||^2) of each step, or upper bounds.

    Returns
    -------
    ndarray (...)
        Upper bound on sqrt(E ||X_l - X_m||^2).

    See Also
    --------
    geometric_chain : Composition (angles).
    squared_path : Lemma 1 (path).

    Examples
    --------
    Lengths of any states add:

    >>> import bounds
    >>> print(bounds.euclidean_chain([0.3, 0.4]).round(4))
    0.7
    """
    d = arguments.nonnegative(lengths, name="lengths")
    arguments.same_last_axis(lengths=d)
    return arguments.shown(d.sum(axis=-1))


ANGLE = 0.6


def _far(w: World, angle: float) -> float:
    # An angle equal to the threshold must not count as far because of rounding.
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
        Threshold on the cosine distance of the ends, to which `proximal_chain` refers.

    Raises
    ------
    ValueError
        If a threshold is not a number in [0, 2], or if there is none.

    See Also
    --------
    proximal_chain : Probability that the ends are further apart than this threshold.
    code_threshold : The threshold after quantisation.

    Notes
    -----
    The angle is a metric and the cosine distance is not (theory, section 8.2).

    References
    ----------
    Theory, section 8.2 (docs/explanation/theory).

    Examples
    --------
    Four steps within 0.05 keep the ends within 0.704, not within 0.2:

    >>> import bounds
    >>> print(bounds.chain_threshold([0.05] * 4).round(4))
    0.704
    """
    return _cosine_of(_angles(_cosines(t, name="t")).sum(axis=-1))


def code_threshold(t: ArrayLike, angle: ArrayLike) -> FloatArray:
    """Cosine threshold after both states are replaced by codewords within `angle` radians of them.

    Parameters
    ----------
    t : array in [0, 2]
        Threshold on the cosine distance of the states.
    angle : array, >= 0
        Largest angle between a state and its codeword, in radians.

    Returns
    -------
    ndarray
        P(d_cos(codewords) > code_threshold(t, angle)) <= P(d_cos(states) > t).

    Raises
    ------
    ValueError
        If t is not in [0, 2], if the angle is negative, or if the shapes do not broadcast.

    See Also
    --------
    chain_threshold : The threshold of several steps.

    Notes
    -----
    Triangle inequality of the angles: both states move by at most `angle` (theory, section 5, "Quantisation").

    References
    ----------
    Theory, section 5 (docs/explanation/theory).

    Examples
    --------
    >>> import bounds
    >>> print(bounds.code_threshold(0.05, [0.0, 0.1]).round(4))
    [0.05  0.131]
    """
    t, rho = _cosines(np.atleast_1d(t), name="t"), arguments.nonnegative(angle, name="angle")
    arguments.together(t=t, angle=rho)
    return arguments.shown(np.squeeze(_cosine_of(_angles(t) + 2.0 * rho)))


@theorem(
    label="Composition (proximal)",
    equation="(8.4)",
    left=r"P\left(\angle(X_l,X_m)>\sum_i\tau_i\right)",
    right=r"\min\left\lbrace1,\ \sum_iP\left(\angle(X_i,X_{i+1})>\tau_i\right)\right\rbrace",
    form="sharp",
    source=OURS,
    assumes=(NONZERO_STATES,),
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
        P(angle > tau_i) of each step, or upper bounds.

    Returns
    -------
    ndarray (...)
        Upper bound on P(angle between the ends > sum of the tau_i); `chain_threshold` converts the
        cosine thresholds of the steps into that of the ends.

    See Also
    --------
    chain_threshold : The cosine threshold of the whole chain.
    geometric_chain : Composition (angles).

    Examples
    --------
    Each step far in 2 % of the cases, at thresholds whose angles add up:

    >>> import bounds
    >>> print(bounds.proximal_chain([0.02, 0.02]).round(4))
    0.04
    >>> print(bounds.chain_threshold([0.05, 0.05]).round(4))
    0.195
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
