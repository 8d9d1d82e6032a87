"""How entropies and unique informations change with the distribution: continuity, stability and simulation."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import BOUNDED_TARGET, FINITE_ALPHABETS, OURS
from bounds.framework.special_functions import binary_entropy
from bounds.framework.symbolic import Expression, h2, sp, symbols
from bounds.framework.theorem import theorem
from bounds.worlds import gallery
from bounds.worlds.families import PAIRS, SMALL_JOINT
from bounds.worlds.finite import FiniteWorld
from bounds.worlds.pair import PairWorld
from redundancy.array_types import FloatArray
from redundancy.information.finite_entropy import entropy_modulus

MOVE = r"\lvert H_P(X\mid Y)-H_Q(X\mid Y)\rvert"


def _omega(v: Expression, k: Expression) -> Expression:
    s = sp()
    v = s.Min(v, 1)
    return s.Piecewise((s.log(k), v >= 1), (s.Min(s.log(k), v * s.log(k) + h2(v)), True))


def _entropies(w: PairWorld) -> tuple[list[float], int, int]:
    """Changes of H(X | Y) and of H(Y | X), and the numbers of symbols of X and Y."""
    a, b = w.first, w.second
    moves = [abs(a.entropy_x_given_y - b.entropy_x_given_y), abs(a.entropy_y_given_x - b.entropy_y_given_x)]
    return moves, len(a.x_points), len(a.y_points)


def _inputs(tv: ArrayLike, size: ArrayLike, name: str) -> tuple[FloatArray, FloatArray]:
    v = arguments.nonnegative(tv, name=name)
    k = arguments.count(size, name="size", least=1)
    arguments.together(**{name: v, "size": k})
    return v, k


@theorem(
    label="Continuity of conditional entropy",
    equation="(9.0a)",
    left=MOVE,
    right=r"\omega_k(v)=\min\left\lbrace\log k,\ v\log k+h_2(v)\right\rbrace",
    form="consequence",
    source=OURS,
    assumes=(FINITE_ALPHABETS,),
    family=PAIRS,
    sides=lambda w, bound: (
        _entropies(w)[0],
        [bound(w.tv_xy, _entropies(w)[1]), bound(w.tv_xy, _entropies(w)[2])],
    ),
    symbolic=lambda: _omega(*symbols("tv size")),
    # From a point mass to the uniform distribution on two symbols: v = 1/2 and the entropy changes by log 2.
    tight=lambda: _to_uniform(2),
)
def entropy_continuity(tv: ArrayLike, size: ArrayLike) -> FloatArray:
    """Largest change of H(X | Y) within total variation v: min(log k, v log k + h_2(v)).

    Parameters
    ----------
    tv : array, >= 0
        Total variation between the distributions of (X, Y), or an upper bound on it; beyond 1 it counts as 1.
    size : array, >= 1
        Symbols of X, k; those of Y do not matter.

    Returns
    -------
    ndarray
        Upper bound in nats, non-decreasing in tv.

    See Also
    --------
    entropy_continuity_sharp : Continuity of conditional entropy (sharp).
    unique_information_from_deficiency : Unique information by simulation.

    Examples
    --------
    1 % of the mass moved on four symbols; beyond all of it, log 4:

    >>> import bounds
    >>> print(bounds.entropy_continuity([0.01, 1.0], 4).round(4))
    [0.0699 1.3863]
    """
    return arguments.shown(entropy_modulus(*_inputs(tv, size, "tv")))


def _to_uniform(k: int) -> PairWorld:
    points = gallery.circle(2.0 * np.pi * np.arange(k) / k)
    centre = points[:1]

    def world(weights: FloatArray) -> FiniteWorld:
        return FiniteWorld(weights[None, :, None], np.zeros((1, 1)), points, centre)

    return PairWorld(world(np.eye(k)[0]), world(np.full(k, 1.0 / k)))


def _learn_the_target() -> PairWorld:
    """T a fair sign, Y constant; X first carries no information about T, then all of it."""
    signs = gallery.SIGNS

    def world(tx: FloatArray) -> FiniteWorld:
        return FiniteWorld(tx[:, :, None], signs, signs, np.array([[1.0]]))

    return PairWorld(world(np.full((2, 2), 0.25)), world(0.5 * np.eye(2)))


def _sharp() -> Expression:
    v, k = symbols("tv size")
    s = sp()
    return s.Piecewise((s.log(k), v >= 1 - 1 / k), (v * s.log(k - 1) + h2(v), True))


@theorem(
    label="Continuity of conditional entropy (sharp)",
    equation="(9.0b)",
    left=MOVE,
    right=r"v\log(k-1)+h_2(v)\ \text{for}\ v\le1-\tfrac1k,\quad\log k\ \text{beyond}",
    form="sharp",
    source="Alhejji and Smith, arXiv:1909.00787 (quoted)",
    assumes=(FINITE_ALPHABETS,),
    family=PAIRS,
    sides=lambda w, bound: (
        _entropies(w)[0],
        [bound(w.tv_xy, _entropies(w)[1]), bound(w.tv_xy, _entropies(w)[2])],
    ),
    symbolic=_sharp,
    tight=lambda: _to_uniform(4),
)
def entropy_continuity_sharp(tv: ArrayLike, size: ArrayLike) -> FloatArray:
    """Largest change of H(X | Y) within total variation v, best possible (quoted, not proved here).

    Parameters
    ----------
    tv : array, >= 0
        Total variation between the distributions of (X, Y), or an upper bound on it.
    size : array, >= 1
        Symbols of X, k.

    Returns
    -------
    ndarray
        Upper bound in nats, non-decreasing in tv.

    See Also
    --------
    entropy_continuity : Continuity of conditional entropy.

    Examples
    --------
    A little smaller than `entropy_continuity` (0.0699):

    >>> import bounds
    >>> print(bounds.entropy_continuity_sharp([0.01, 1.0], 4).round(4))
    [0.067  1.3863]
    """
    v, k = _inputs(tv, size, "tv")
    inside = np.minimum(v, 1.0 - 1.0 / k)
    value = inside * np.log(np.maximum(k - 1.0, 1.0)) + binary_entropy(inside)
    return arguments.shown(np.where(v >= 1.0 - 1.0 / k, np.log(k), value))


def _stability() -> Expression:
    a, b, k = symbols("tv_tx tv_ty size")
    return _omega(b, k) + _omega(a + b + sp().Min(a, b), k)


def _unique_moves(w: PairWorld) -> list[float]:
    """Certified changes of both unique informations: the solver's gaps are subtracted."""
    a, b = w.first.decomposition, w.second.decomposition
    spare = max(a.gap, b.gap)
    return [
        max(0.0, abs(a.unique_x - b.unique_x) - spare),
        max(0.0, abs(a.unique_y - b.unique_y) - spare),
    ]


@theorem(
    label="Stability of unique information",
    equation="(9.3)",
    left=r"\lvert U_P-U_{P'}\rvert",
    right=r"\omega_k(b)+\omega_k\left(a+b+\min(a,b)\right)",
    form="consequence",
    source=OURS,
    assumes=(FINITE_ALPHABETS,),
    family=PAIRS,
    sides=lambda w, bound: (
        _unique_moves(w),
        [bound(w.tv_tx, w.tv_ty, len(w.first.values)), bound(w.tv_ty, w.tv_tx, len(w.first.values))],
    ),
    symbolic=_stability,
    tight=lambda: _learn_the_target(),
)
def unique_information_stability(
    tv_tx: ArrayLike, tv_ty: ArrayLike, size: ArrayLike, *, same_target: bool = False
) -> FloatArray:
    """Largest change of U(T: X without Y) when the two pair distributions move.

    Parameters
    ----------
    tv_tx, tv_ty : array, >= 0
        Total variation a between the distributions of (T, X) and b between those of (T, Y), or upper bounds.
    size : array, >= 1
        Symbols of T, k.
    same_target : bool
        Whether both distributions have the same T marginal; then a + b suffices in the second term.

    Returns
    -------
    ndarray
        omega_k(b) + omega_k(a + b + min(a, b)) in nats.

    See Also
    --------
    entropy_continuity : Continuity of conditional entropy.
    unique_information_from_deficiency : Unique information by simulation.

    Examples
    --------
    A common target distribution saves part of the second term:

    >>> import bounds
    >>> print(bounds.unique_information_stability(0.01, 0.02, 2).round(4))
    0.3076
    >>> print(bounds.unique_information_stability(0.01, 0.02, 2, same_target=True).round(4))
    0.2674
    """
    a, k = _inputs(tv_tx, size, "tv_tx")
    b, _ = _inputs(tv_ty, size, "tv_ty")
    arguments.together(tv_tx=a, tv_ty=b, size=k)
    moved = a + b if same_target else a + b + np.minimum(a, b)
    return arguments.shown(entropy_modulus(b, k) + entropy_modulus(moved, k))


@theorem(
    label="Unique information by simulation",
    equation="(9.3')",
    left=r"U(T{:}X\setminus Y)",
    right=r"\omega_k(\delta)",
    form="consequence",
    source=OURS,
    assumes=(FINITE_ALPHABETS,),
    family=SMALL_JOINT,
    sides=lambda w, bound: (
        max(0.0, w.decomposition.unique_x - w.decomposition.gap),
        bound(w.deficiency, len(w.values)),
    ),
    symbolic=lambda: _omega(*symbols("deficiency size")),
    tight=lambda: gallery.binary_channel(0.0),
)
def unique_information_from_deficiency(deficiency: ArrayLike, size: ArrayLike) -> FloatArray:
    """Unique information from how well X can be simulated from Y for the purpose of T.

    Parameters
    ----------
    deficiency : array, >= 0
        Least total variation between (T, X) and (T, X'), X' drawn from Y by any kernel.
    size : array, >= 1
        Symbols of T, k.

    Returns
    -------
    ndarray
        omega_k(deficiency) in nats.

    See Also
    --------
    functional_from_deficiency : Functional gap by simulation.
    unique_information_stability : Stability of unique information.

    Examples
    --------
    If X can be simulated exactly it has no unique information:

    >>> import bounds
    >>> print(bounds.unique_information_from_deficiency([0.0, 0.05], 2).round(4))
    [0.     0.2332]
    """
    return arguments.shown(entropy_modulus(*_inputs(deficiency, size, "deficiency")))


@theorem(
    label="Functional gap by simulation",
    equation="(9.3'')",
    left=r"\mathrm{mmse}(T\mid Y)-\mathrm{mmse}(T\mid X)",
    right=r"B^2\min\left\lbrace1,\ 4\delta\right\rbrace",
    form="consequence",
    source=OURS,
    assumes=(BOUNDED_TARGET,),
    family=SMALL_JOINT,
    sides=lambda w, bound: (-w.gap, bound(w.deficiency, w.radius)),
    symbolic=lambda: symbols("radius") ** 2 * sp().Min(1, 4 * symbols("deficiency")),
    # A rare second value of T: the gap is 4 B^2 p (1 - p), the deficiency p, so 4 is the best constant.
    tight=lambda: gallery.two_atoms(1e-4),
    reached="limit",
)
def functional_from_deficiency(deficiency: ArrayLike, radius: ArrayLike) -> FloatArray:
    """The functional gap from how well X can be simulated from Y: 4 B^2 times the deficiency, at most B^2.

    Parameters
    ----------
    deficiency : array, >= 0
        As in `unique_information_from_deficiency`.
    radius : array, >= 0
        B with ||T - c|| <= B.

    Returns
    -------
    ndarray
        Upper bound on mmse(T | Y) - mmse(T | X).

    See Also
    --------
    unique_information_from_deficiency : Unique information by simulation.

    Examples
    --------
    Linear in the deficiency:

    >>> import bounds
    >>> print(bounds.functional_from_deficiency([0.0, 0.05], 1.0).round(4))
    [0.  0.2]
    """
    d = arguments.nonnegative(deficiency, name="deficiency")
    b = arguments.nonnegative(radius, name="radius")
    arguments.together(deficiency=d, radius=b)
    return arguments.shown(arguments.product(b, b, np.minimum(1.0, 4.0 * d)))
