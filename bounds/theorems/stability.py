"""How entropies and unique informations move with the law: continuity (9.0a), stability (9.3), simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import OURS
from bounds.framework.special_functions import binary_entropy, entropy_modulus
from bounds.framework.symbolic import h2, sp, symbols
from bounds.framework.theorem import theorem
from bounds.worlds import gallery
from bounds.worlds.families import PAIRS, SMALL_JOINT
from bounds.worlds.finite import FiniteWorld
from bounds.worlds.pair import PairWorld
from redundancy.array_types import FloatArray

MOVE = r"\lvert H_P(X\mid Y)-H_Q(X\mid Y)\rvert"


def _omega(v: Any, k: Any) -> Any:
    s = sp()
    v = s.Min(v, 1)
    return s.Piecewise((s.log(k), v >= 1), (s.Min(s.log(k), v * s.log(k) + h2(v)), True))


def _entropies(w: PairWorld) -> tuple[list[float], int, int]:
    """How far H(X | Y) and H(Y | X) move, and the numbers of symbols of X and Y."""
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
    assumes=(),
    family=PAIRS,
    sides=lambda w, bound: (
        _entropies(w)[0],
        [bound(w.tv_xy, _entropies(w)[1]), bound(w.tv_xy, _entropies(w)[2])],
    ),
    symbolic=lambda: _omega(*symbols("tv size")),
    # From a point mass to the uniform law on two symbols: v = 1/2 and the entropy moves by log 2.
    tight=lambda: _to_uniform(2),
)
def entropy_continuity(tv: ArrayLike, size: ArrayLike) -> FloatArray:
    """Largest change of H(X | Y) within total variation v: min(log k, v log k + h_2(v)).

    Parameters
    ----------
    tv : array, >= 0
        Total variation between the laws of (X, Y), or an upper limit of it; beyond 1 it counts as 1.
    size : array, >= 1
        Symbols of X, k; those of Y do not matter.

    Returns
    -------
    ndarray
        Upper limit in nats, non-decreasing in tv. Section 9, (9.0a).

    Raises
    ------
    ValueError
        For NaN, a negative tv, size < 1, or shapes that do not broadcast.
    """
    return arguments.shown(entropy_modulus(*_inputs(tv, size, "tv")))


def _to_uniform(k: int) -> PairWorld:
    points = gallery.circle(2.0 * np.pi * np.arange(k) / k)
    centre = points[:1]

    def law(weights: FloatArray) -> FiniteWorld:
        return FiniteWorld(weights[None, :, None], np.zeros((1, 1)), points, centre)

    return PairWorld(law(np.eye(k)[0]), law(np.full(k, 1.0 / k)))


def _learn_the_target() -> PairWorld:
    """T a fair sign, Y constant; X first says nothing, then everything."""
    signs = gallery.SIGNS

    def law(tx: FloatArray) -> FiniteWorld:
        return FiniteWorld(tx[:, :, None], signs, signs, np.array([[1.0]]))

    return PairWorld(law(np.full((2, 2), 0.25)), law(0.5 * np.eye(2)))


def _sharp() -> Any:
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
    assumes=(),
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
        Total variation between the laws of (X, Y), or an upper limit of it.
    size : array, >= 1
        Symbols of X, k.

    Returns
    -------
    ndarray
        Upper limit in nats, non-decreasing in tv. Section 9, (9.0b).

    Raises
    ------
    ValueError
        For NaN, a negative tv, size < 1, or shapes that do not broadcast.
    """
    v, k = _inputs(tv, size, "tv")
    inside = np.minimum(v, 1.0 - 1.0 / k)
    value = inside * np.log(np.maximum(k - 1.0, 1.0)) + binary_entropy(inside)
    return arguments.shown(np.where(v >= 1.0 - 1.0 / k, np.log(k), value))


def _stability() -> Any:
    a, b, k = symbols("tv_tx tv_ty size")
    return _omega(b, k) + _omega(a + b + sp().Min(a, b), k)


def _unique_moves(w: PairWorld) -> list[float]:
    """How far both unique informations surely move: certified gaps taken off."""
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
    assumes=(),
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
    """Largest change of U(T: X without Y) when the two pair laws move.

    Parameters
    ----------
    tv_tx, tv_ty : array, >= 0
        Total variation a between the laws of (T, X) and b between those of (T, Y), or upper limits.
    size : array, >= 1
        Symbols of T, k.
    same_target : bool
        Whether both laws have the same T marginal; then a + b suffices in the second term.

    Returns
    -------
    ndarray
        omega_k(b) + omega_k(a + b + min(a, b)) in nats. Section 9, (9.3).

    Raises
    ------
    ValueError
        For NaN, negative distances, size < 1, or shapes that do not broadcast.
    """
    a, k = _inputs(tv_tx, size, "tv_tx")
    b, _ = _inputs(tv_ty, size, "tv_ty")
    arguments.together(tv_tx=a, tv_ty=b, size=k)
    moved = a + b if same_target else a + b + np.minimum(a, b)
    return arguments.shown(entropy_modulus(b, k) + entropy_modulus(moved, k))


@theorem(
    label="Unique information by simulation",
    equation="(9.4')",
    left=r"U(T{:}X\setminus Y)",
    right=r"\omega_k(\delta)",
    form="consequence",
    source=OURS,
    assumes=(),
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
        omega_k(deficiency) in nats. Section 9.

    Raises
    ------
    ValueError
        For NaN, a negative deficiency, size < 1, or shapes that do not broadcast.
    """
    return arguments.shown(entropy_modulus(*_inputs(deficiency, size, "deficiency")))


@theorem(
    label="Functional gap by simulation",
    equation="(9.4'')",
    left=r"\mathrm{mmse}(T\mid Y)-\mathrm{mmse}(T\mid X)",
    form="consequence",
    source=OURS,
    assumes=(),
    family=SMALL_JOINT,
    sides=lambda w, bound: (-w.gap, bound(w.deficiency, w.radius)),
    symbolic=lambda: 4 * symbols("radius") ** 2 * symbols("deficiency"),
    # A rare second value of T: the gap is 4 B^2 p (1 - p), the deficiency p, so 4 is the best constant.
    tight=lambda: gallery.two_atoms(1e-4),
)
def functional_from_deficiency(deficiency: ArrayLike, radius: ArrayLike) -> FloatArray:
    """The functional gap from how well X can be simulated from Y: 4 B^2 times the deficiency, no entropy.

    Parameters
    ----------
    deficiency : array, >= 0
        As in `unique_information_from_deficiency`.
    radius : array, >= 0
        B with ||T - c|| <= B.

    Returns
    -------
    ndarray
        Upper limit of mmse(T | Y) - mmse(T | X). Section 9.

    Raises
    ------
    ValueError
        For NaN, negative numbers, or shapes that do not broadcast.
    """
    d = arguments.nonnegative(deficiency, name="deficiency")
    b = arguments.nonnegative(radius, name="radius")
    arguments.together(deficiency=d, radius=b)
    return arguments.shown(4.0 * b * b * d)
