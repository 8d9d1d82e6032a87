"""Lemma 3: the squared norm of a sum, and exactly what its bound gives away."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import OURS, PAPER
from bounds.framework.symbolic import Expression, symbols
from bounds.framework.theorem import Evaluate, Sides, theorem
from bounds.theorems.lemma_1_triangle import SHARES, straight_path, two_weighted_squares, weighted_squares
from bounds.worlds.network_families import TWO_STEPS
from bounds.worlds.networks import PathWorld, norm
from redundancy.array_types import FloatArray


@theorem(
    label="Lemma 3",
    equation="(1.5)",
    left=r"\lVert x+y\rVert^2",
    right=r"(1+s)\lVert x\rVert^2+\left(1+\tfrac1s\right)\lVert y\rVert^2",
    form="sharp",
    source=f"{PAPER} with s = 1; {OURS} for every s",
    assumes=(),
    family=TWO_STEPS,
    sides=lambda w, bound: (w.direct**2, bound(*w.steps, share=SHARES)),
    symbolic=lambda: weighted_squares("norm_x", "norm_y"),
    tight=lambda: straight_path(0.0, 1.0, 2.0),
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
        Upper bound on ||x + y||^2; what is lost is ||sqrt(s) x - y / sqrt(s)||^2 (1.6).

    See Also
    --------
    squared_sum_gap : Lemma 3 (gap).
    squared_triangle : Lemma 1.

    Examples
    --------
    Attained by x = y, with ||x + y||^2 = 16:

    >>> import bounds
    >>> print(bounds.squared_sum(2.0, 2.0).round(4))
    16.0

    For x = 3 y the share 1/3 is exact again, 4^2:

    >>> print(bounds.squared_sum(3.0, 1.0, share=[1.0, 1 / 3]).round(4))
    [20. 16.]
    """
    return two_weighted_squares(norm_x, norm_y, share, ("norm_x", "norm_y"))


def _gap() -> Expression:
    a, b, s = symbols("norm_x norm_y share")
    inner = symbols("inner")
    return s * a**2 - 2 * inner + b**2 / s


def _gap_sides(w: PathWorld, bound: Evaluate) -> Sides:
    x, y = np.diff(w.points, axis=0)
    inner = float(x @ y)
    lost = [norm(np.sqrt(s) * x - y / np.sqrt(s)) ** 2 for s in SHARES]
    return lost, bound(norm(x), norm(y), inner, share=SHARES)


@theorem(
    label="Lemma 3 (gap)",
    equation="(1.6)",
    left=r"\left\lVert\sqrt{s}\,x-y/\sqrt{s}\right\rVert^2",
    right=r"s\lVert x\rVert^2-2\langle x,y\rangle+\tfrac1s\lVert y\rVert^2",
    relation="=",
    form="sharp",
    source=OURS,
    assumes=(),
    family=TWO_STEPS,
    sides=_gap_sides,
    symbolic=_gap,
    tight=lambda: straight_path(0.0, 1.0, 3.0),
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
        (1 + s) ||x||^2 + (1 + 1/s) ||y||^2 - ||x + y||^2 >= 0.

    See Also
    --------
    squared_sum : Lemma 3.

    Examples
    --------
    Orthogonal unit vectors: the bound is 4, the truth 2, the difference 2:

    >>> import bounds
    >>> print(bounds.squared_sum_gap(1.0, 1.0, 0.0).round(4))
    2.0

    Equal vectors lose nothing:

    >>> print(bounds.squared_sum_gap(1.0, 1.0, 1.0).round(4))
    0.0
    """
    a, b = arguments.nonnegative(norm_x, name="norm_x"), arguments.nonnegative(norm_y, name="norm_y")
    product, s = arguments.number(inner, name="inner"), arguments.positive(share, name="share")
    arguments.together(norm_x=a, norm_y=b, inner=product, share=s)
    return arguments.shown(arguments.product(s, a, a) - 2.0 * product + arguments.product(arguments.inverse(s), b, b))
