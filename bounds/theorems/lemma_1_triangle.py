"""Lemmas 1 and 3: squared distances along a path, and the square of a sum."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import OURS, PAPER
from bounds.framework.symbolic import symbols
from bounds.framework.theorem import theorem
from bounds.worlds.network_families import PATHS, TWO_STEPS
from bounds.worlds.networks import PathWorld, norm
from redundancy.array_types import FloatArray

SHARES = np.array([0.3, 1.0, 2.5])


def _straight(*places: float) -> PathWorld:
    return PathWorld(np.array(places)[:, None])


def _weighted(a: str, b: str) -> Any:
    x, y, s = symbols(f"{a} {b} share")
    return (1 + s) * x**2 + (1 + 1 / s) * y**2


def _two_terms(first: ArrayLike, second: ArrayLike, share: ArrayLike, names: tuple[str, str]) -> FloatArray:
    a = arguments.nonnegative(first, name=names[0])
    b = arguments.nonnegative(second, name=names[1])
    s = arguments.positive(share, name="share")
    arguments.together(**{names[0]: a, names[1]: b, "share": s})
    return arguments.shown((1.0 + s) * a * a + (1.0 + 1.0 / s) * b * b)


@theorem(
    label="Lemma 1",
    equation="(1.3)",
    left=r"d(x,z)^2",
    form="sharp",
    source=f"{PAPER} with s = 1; {OURS} for every s",
    assumes=(),
    family=TWO_STEPS,
    sides=lambda w, bound: (w.direct**2, bound(*w.steps, share=SHARES)),
    symbolic=lambda: _weighted("d_xy", "d_yz"),
    tight=lambda: _straight(0.0, 1.0, 2.0),
)
def squared_triangle(d_xy: ArrayLike, d_yz: ArrayLike, *, share: ArrayLike = 1.0) -> FloatArray:
    """Squared distance through a middle point: (1 + s) d(x, y)^2 + (1 + 1/s) d(y, z)^2.

    Parameters
    ----------
    d_xy, d_yz : array, >= 0
        The two distances, in any metric.
    share : array, > 0
        The free number s; 1 gives the factors 2, best possible, attained by a midpoint.

    Returns
    -------
    ndarray
        Upper limit of d(x, z)^2; its least value over s is (d_xy + d_yz)^2. Lemma 1.

    Raises
    ------
    ValueError
        For NaN, negative numbers, share <= 0, or shapes that do not broadcast.
    """
    return _two_terms(d_xy, d_yz, share, ("d_xy", "d_yz"))


@theorem(
    label="Lemma 1 (path)",
    equation="(1.4)",
    left=r"d(x_0,x_k)^2",
    right=r"k\sum_{i=1}^{k}d(x_{i-1},x_i)^2",
    form="sharp",
    source=OURS,
    assumes=(),
    family=PATHS,
    sides=lambda w, bound: (w.direct**2, bound(w.steps)),
    symbolic=lambda: 3 * sum(s**2 for s in symbols("steps_0:3")),
    tight=lambda: _straight(0.0, 1.0, 2.0, 3.0, 4.0),
)
def squared_path(steps: ArrayLike) -> FloatArray:
    """Squared distance between the ends of a path of k steps: k times the sum of squared steps.

    Parameters
    ----------
    steps : array (..., k), >= 0
        Lengths of the steps, in any metric.

    Returns
    -------
    ndarray (...)
        Upper limit of d(x_0, x_k)^2. Lemma 1.

    Raises
    ------
    ValueError
        For NaN, negative numbers, or no step.
    """
    d = arguments.nonnegative(steps, name="steps")
    k = arguments.same_last_axis(steps=d)
    return arguments.shown(k * (d * d).sum(axis=-1))


@theorem(
    label="Lemma 3",
    equation="(1.5)",
    left=r"\lVert x+y\rVert^2",
    form="sharp",
    source=f"{PAPER} with s = 1; {OURS} for every s",
    assumes=(),
    family=TWO_STEPS,
    sides=lambda w, bound: (w.direct**2, bound(*w.steps, share=SHARES)),
    symbolic=lambda: _weighted("norm_x", "norm_y"),
    tight=lambda: _straight(0.0, 1.0, 2.0),
)
def squared_sum(norm_x: ArrayLike, norm_y: ArrayLike, *, share: ArrayLike = 1.0) -> FloatArray:
    """Squared norm of a sum: (1 + s) ||x||^2 + (1 + 1/s) ||y||^2.

    Parameters
    ----------
    norm_x, norm_y : array, >= 0
        Norms of the two vectors.
    share : array, > 0
        The free number s; with 1, equality holds iff x = y.

    Returns
    -------
    ndarray
        Upper limit of ||x + y||^2; what is lost is ||sqrt(s) x - y / sqrt(s)||^2 (1.6). Lemma 3.

    Raises
    ------
    ValueError
        For NaN, negative numbers, share <= 0, or shapes that do not broadcast.
    """
    return _two_terms(norm_x, norm_y, share, ("norm_x", "norm_y"))


def _gap() -> Any:
    a, b, s = symbols("norm_x norm_y share")
    inner = symbols("inner")
    return s * a**2 - 2 * inner + b**2 / s


def _gap_sides(w: PathWorld, bound: Any) -> Any:
    x, y = np.diff(w.points, axis=0)
    inner = float(x @ y)
    lost = [norm(np.sqrt(s) * x - y / np.sqrt(s)) ** 2 for s in SHARES]
    return lost, bound(norm(x), norm(y), inner, share=SHARES)


@theorem(
    label="Lemma 3 (gap)",
    equation="(1.6)",
    left=r"\left\lVert\sqrt{s}\,x-y/\sqrt{s}\right\rVert^2",
    relation="=",
    form="sharp",
    source=OURS,
    assumes=(),
    family=TWO_STEPS,
    sides=_gap_sides,
    symbolic=_gap,
    tight=lambda: _straight(0.0, 1.0, 3.0),
)
def squared_sum_gap(norm_x: ArrayLike, norm_y: ArrayLike, inner: ArrayLike, *, share: ArrayLike = 1.0) -> FloatArray:
    """What Lemma 3 gives away, exactly: s ||x||^2 - 2 <x, y> + ||y||^2 / s.

    Parameters
    ----------
    norm_x, norm_y : array, >= 0
        Norms of the two vectors.
    inner : array
        Their inner product.
    share : array, > 0
        The free number s.

    Returns
    -------
    ndarray
        (1 + s) ||x||^2 + (1 + 1/s) ||y||^2 - ||x + y||^2 >= 0. Lemma 3.

    Raises
    ------
    ValueError
        For NaN, negative norms, share <= 0, or shapes that do not broadcast.
    """
    a, b = arguments.nonnegative(norm_x, name="norm_x"), arguments.nonnegative(norm_y, name="norm_y")
    product, s = arguments.number(inner, name="inner"), arguments.positive(share, name="share")
    arguments.together(norm_x=a, norm_y=b, inner=product, share=s)
    return arguments.shown(s * a * a - 2.0 * product + b * b / s)
