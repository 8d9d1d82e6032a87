"""Lemma 2: the cosine distance is half the squared chord, and what unequal norms add to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import OURS, PAPER, UNIT_NORM
from bounds.framework.symbolic import Expression, symbols
from bounds.framework.theorem import theorem
from bounds.worlds import gallery
from bounds.worlds.families import FREE_POINTS, JOINT
from bounds.worlds.finite import FiniteWorld
from bounds.worlds.networks import norm
from redundancy.array_types import FloatArray


@theorem(
    label="Lemma 2",
    equation="(1.7)",
    left=r"E\lVert X-Y\rVert^2",
    right=r"2\,\varepsilon",
    relation="=",
    form="sharp",
    source=f"{PAPER} as an inequality; {OURS} as an identity",
    assumes=(UNIT_NORM,),
    family=JOINT,
    sides=lambda w, bound: (w.squared_distance, bound(1.0 - (w.xy * (w.x_points @ w.y_points.T)).sum())),
    symbolic=lambda: 2 * symbols("epsilon"),
    tight=lambda: gallery.sign_flip(0.3),
)
def squared_distance_from_geometric(epsilon: ArrayLike) -> FloatArray:
    """Mean squared distance of unit vectors: twice the mean cosine distance, with equality.

    Parameters
    ----------
    epsilon : array, >= 0
        E d_cos(X, Y), or an upper bound on it.

    Returns
    -------
    ndarray
        E ||X - Y||^2, or an upper bound on it.

    See Also
    --------
    squared_distance_from_norms : Lemma 2 (any norms).
    squared_distance_from_radii : Lemma 2 (bounded norms).

    Examples
    --------
    Orthogonal and opposite unit vectors:

    >>> import bounds
    >>> print(bounds.squared_distance_from_geometric([1.0, 2.0]).round(4))
    [2. 4.]
    """
    return arguments.shown(2.0 * arguments.nonnegative(epsilon, name="epsilon"))


def _norms(w: FiniteWorld) -> tuple[FloatArray, FloatArray]:
    return norm(w.x_points)[:, None], norm(w.y_points)[None, :]


def _decomposition() -> Expression:
    d, a, b = symbols("cosine norm_x norm_y")
    return (a - b) ** 2 + 2 * a * b * d


@theorem(
    label="Lemma 2 (any norms)",
    equation="(1.1)",
    left=r"\lVert x-y\rVert^2",
    right=r"\left(\lVert x\rVert-\lVert y\rVert\right)^2+2\lVert x\rVert\lVert y\rVert\,d_{\cos}(x,y)",
    relation="=",
    form="sharp",
    source=OURS,
    assumes=(),
    family=FREE_POINTS,
    sides=lambda w, bound: (
        (w.lengths_xy**2).ravel(),
        bound(1.0 - w.x_points @ w.y_points.T / (_norms(w)[0] * _norms(w)[1]), *_norms(w)).ravel(),
    ),
    symbolic=_decomposition,
    tight=lambda: gallery.fork(0.3),
)
def squared_distance_from_norms(cosine: ArrayLike, norm_x: ArrayLike, norm_y: ArrayLike) -> FloatArray:
    """Squared distance of two vectors from their norms and cosine distance, exactly.

    Parameters
    ----------
    cosine : array in [0, 2]
        d_cos(x, y); rounding below 0 is accepted down to -1e-12.
    norm_x, norm_y : array, >= 0
        Norms.

    Returns
    -------
    ndarray
        ||x - y||^2 = (||x|| - ||y||)^2 + 2 ||x|| ||y|| d_cos(x, y).

    See Also
    --------
    squared_distance_from_geometric : Lemma 2.
    squared_distance_from_radii : Lemma 2 (bounded norms).

    Examples
    --------
    Parallel vectors of norms 1 and 3, then orthogonal ones:

    >>> import bounds
    >>> print(bounds.squared_distance_from_norms([0.0, 1.0], 1.0, 3.0).round(4))
    [ 4. 10.]
    """
    d = arguments.number(cosine, name="cosine")
    d = arguments.nonnegative(np.where((d < 0) & (d > -1e-12), 0.0, d), name="cosine")
    a, b = arguments.nonnegative(norm_x, name="norm_x"), arguments.nonnegative(norm_y, name="norm_y")
    arguments.together(cosine=d, norm_x=a, norm_y=b)
    return arguments.shown(arguments.square(a - b) + arguments.product(2.0, a, b, d))


def _bounded() -> Expression:
    e, n, a, b = symbols("epsilon norm_gap radius_x radius_y")
    return n + 2 * a * b * e


@theorem(
    label="Lemma 2 (bounded norms)",
    equation="(1.8)",
    left=r"E\lVert X-Y\rVert^2",
    right=r"E(\lVert X\rVert-\lVert Y\rVert)^2+2R_XR_Y\varepsilon",
    form="sharp",
    source=OURS,
    assumes=(),
    family=FREE_POINTS,
    sides=lambda w, bound: (
        w.squared_distance,
        bound(
            w.geometric,
            (w.xy * (_norms(w)[0] - _norms(w)[1]) ** 2).sum(),
            _norms(w)[0].max(),
            _norms(w)[1].max(),
        ),
    ),
    symbolic=_bounded,
    tight=lambda: gallery.sign_flip(0.3),
)
def squared_distance_from_radii(
    epsilon: ArrayLike, norm_gap: ArrayLike, radius_x: ArrayLike, radius_y: ArrayLike
) -> FloatArray:
    """Mean squared distance from the mean cosine distance when norms are bounded.

    Parameters
    ----------
    epsilon : array, >= 0
        E d_cos(X, Y), or an upper bound on it.
    norm_gap : array, >= 0
        E (||X|| - ||Y||)^2: a cosine distance alone says nothing about norms.
    radius_x, radius_y : array, >= 0
        Upper bounds on ||X|| and ||Y||.

    Returns
    -------
    ndarray
        Upper bound on E ||X - Y||^2.

    See Also
    --------
    squared_distance_from_norms : Lemma 2 (any norms).

    Examples
    --------
    With all norms equal to one this is Lemma 2; with norms up to 3 it is nine times as much:

    >>> import bounds
    >>> print(bounds.squared_distance_from_radii(0.1, 0.0, [1.0, 3.0], [1.0, 3.0]).round(4))
    [0.2 1.8]
    """
    e, n = arguments.nonnegative(epsilon, name="epsilon"), arguments.nonnegative(norm_gap, name="norm_gap")
    a = arguments.nonnegative(radius_x, name="radius_x")
    b = arguments.nonnegative(radius_y, name="radius_y")
    arguments.together(epsilon=e, norm_gap=n, radius_x=a, radius_y=b)
    return arguments.shown(n + arguments.product(2.0, a, b, e))
