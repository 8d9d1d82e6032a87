"""Lemma 1: squared distances through a middle point and along a path."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import METRIC, OURS, PAPER
from bounds.framework.symbolic import Expression, symbols
from bounds.framework.theorem import theorem
from bounds.worlds.network_families import PATHS, TWO_STEPS
from bounds.worlds.networks import PathWorld
from redundancy.array_types import FloatArray

SHARES = np.array([0.3, 1.0, 2.5])


def straight_path(*places: float) -> PathWorld:
    return PathWorld(np.array(places)[:, None])


def weighted_squares(a: str, b: str) -> Expression:
    x, y, s = symbols(f"{a} {b} share")
    return (1 + s) * x**2 + (1 + 1 / s) * y**2


def two_weighted_squares(first: ArrayLike, second: ArrayLike, share: ArrayLike, names: tuple[str, str]) -> FloatArray:
    a = arguments.nonnegative(first, name=names[0])
    b = arguments.nonnegative(second, name=names[1])
    s = arguments.positive(share, name="share")
    arguments.together(**{names[0]: a, names[1]: b, "share": s})
    return arguments.shown(arguments.product(1.0 + s, a, a) + arguments.product(1.0 + arguments.inverse(s), b, b))


@theorem(
    label="Lemma 1",
    equation="(1.11)",
    left=r"d(x,z)^2",
    right=r"(1+s)\,d(x,y)^2+\left(1+\tfrac1s\right)d(y,z)^2",
    form="sharp",
    source=f"{PAPER} with s = 1; {OURS} for every s",
    assumes=(METRIC,),
    family=TWO_STEPS,
    sides=lambda w, bound: (w.direct**2, bound(*w.steps, share=SHARES)),
    symbolic=lambda: weighted_squares("d_xy", "d_yz"),
    tight=lambda: straight_path(0.0, 1.0, 2.0),
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
        Upper bound on d(x, z)^2; its least value over s is (d_xy + d_yz)^2.

    See Also
    --------
    squared_path : Lemma 1 (path).
    squared_sum : Lemma 3.

    Examples
    --------
    A midpoint attains the bound, ends at distance 2:

    >>> import bounds
    >>> print(bounds.squared_triangle(1.0, 1.0).round(4))
    4.0

    For unequal steps the best s is d(y, z) / d(x, y), which gives the square of the sum:

    >>> print(bounds.squared_triangle(1.0, 3.0, share=[1.0, 3.0]).round(4))
    [20. 16.]
    """
    return two_weighted_squares(d_xy, d_yz, share, ("d_xy", "d_yz"))


@theorem(
    label="Lemma 1 (path)",
    equation="(1.12)",
    left=r"d(x_0,x_k)^2",
    right=r"k\sum_{i=1}^{k}d(x_{i-1},x_i)^2",
    form="sharp",
    source=OURS,
    assumes=(METRIC,),
    family=PATHS,
    sides=lambda w, bound: (w.direct**2, bound(w.steps)),
    symbolic=lambda: 3 * sum(s**2 for s in symbols("steps_0:3")),
    tight=lambda: straight_path(0.0, 1.0, 2.0, 3.0, 4.0),
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
        Upper bound on d(x_0, x_k)^2.

    See Also
    --------
    squared_triangle : Lemma 1.
    euclidean_chain : Composition (Euclidean).

    Examples
    --------
    Equal steps on a line attain it, (1 + 1 + 1)^2:

    >>> import bounds
    >>> print(bounds.squared_path([1.0, 1.0, 1.0]).round(4))
    9.0

    Unequal steps do not; the ends are at most 2 apart here:

    >>> print(bounds.squared_path([2.0, 0.0, 0.0]).round(4))
    12.0
    """
    d = arguments.nonnegative(steps, name="steps")
    k = arguments.same_last_axis(steps=d)
    return arguments.shown(arguments.product(k, arguments.square(d).sum(axis=-1)))
