"""The coupling for a target of two values, in closed form: the hull of two curves.

With T binary, a source is a concave curve from (0, 0) to (p(t = 1), p(t = 0)): its symbols in the order of their
likelihood ratio, each a step (mass with t = 1, mass with t = 0). One source is a garbling of another if and only if its
curve lies below (Blackwell). The hull J of the two curves is thus the least source of which both X and Y are
garblings; with X and Y independent given J, the pair (X, Y) is a garbling of J as well as above it, so that
I(T; X, Y) = I(T; J), and no coupling has less. The result is only a proposal; `duality_gap.bound_gap` decides how good
it is.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from math import inf, log, log1p
from typing import NamedTuple

import numpy as np

from redundancy.array_types import FloatArray

Step = list[float]  # masses with t = 0 and with t = 1
Pair = tuple[float, float]


class _Corner(NamedTuple):
    """A corner of a curve, and how many steps of X and of Y lead to it: -1 for the other source, except at the ends.

    The mass with t = 0 is what the steps ahead have, so that both masses keep their digits where they are small.
    """

    ahead0: float
    mass1: float
    x: int
    y: int


def propose_two(a: FloatArray, b: FloatArray, tol: float) -> tuple[FloatArray, FloatArray, FloatArray, int]:
    """Coupling q (x, t, y), duals u (x, t) and v (t, y), steps, for pair tables a (x, t) and b (t, y) of two t.

    Every x, t and y must have mass.
    """
    rows, columns = a.tolist(), b.T.tolist()
    order_x, order_y = _steepest_first(rows), _steepest_first(columns)
    xs, ys = [rows[x] for x in order_x], [columns[y] for y in order_y]
    corners = _hull(_corners(xs, for_x=True), _corners(ys, for_x=False))
    edges, ratios = _edges(corners, xs, ys)
    u_of, v_of = _duals(corners, ratios)
    share_x, u = _garbling(xs, [corner.x for corner in corners], edges, u_of)
    share_y, v = _garbling(ys, [corner.y for corner in corners], edges, v_of)
    back_x, back_y = np.argsort(order_x), np.argsort(order_y)
    from_x, from_y = np.array(share_x)[back_x], np.array(share_y)[back_y]
    q = (from_x[:, None] * np.array(edges).T) @ from_y.T
    return q, np.where(a > 0, np.array(u)[back_x], -inf), np.where(b > 0, np.array(v)[back_y].T, -inf), 0


def _ratio(step: Step) -> float:
    return step[1] / step[0] if step[0] > 0 else inf


def _steepest_first(steps: list[Step]) -> list[int]:
    return sorted(range(len(steps)), key=[_ratio(step) for step in steps].__getitem__)


def _corners(steps: list[Step], *, for_x: bool) -> list[_Corner]:
    """The points of a source's curve."""
    ahead0 = [0.0, *accumulate(step[0] for step in reversed(steps))]
    mass1 = accumulate((step[1] for step in steps), initial=0.0)
    points = enumerate(zip(reversed(ahead0), mass1, strict=True))
    return [_Corner(*point, number, -1) if for_x else _Corner(*point, -1, number) for number, point in points]


def _hull(of_x: list[_Corner], of_y: list[_Corner]) -> list[_Corner]:
    """The corners of the concave hull of both curves, from the common start to the common end."""
    start, end = (
        _Corner(one.ahead0, one.mass1, one.x, other.y)
        for one, other in zip(of_x[:: len(of_x) - 1], of_y[:: len(of_y) - 1], strict=True)
    )
    hull = [start]
    between = sorted(of_x[1:-1] + of_y[1:-1], key=lambda corner: (corner.mass1, -corner.ahead0))
    for corner in (*between, end):
        while len(hull) > 1 and not _turns_down(hull[-2], hull[-1], corner):
            hull.pop()
        hull.append(corner)
    return hull


def _turns_down(one: _Corner, two: _Corner, three: _Corner) -> bool:
    """Whether the path bends to the right at the second point."""
    first = (two.mass1 - one.mass1) * (two.ahead0 - three.ahead0)
    return first < (one.ahead0 - two.ahead0) * (three.mass1 - two.mass1)


def _edges(corners: list[_Corner], xs: list[Step], ys: list[Step]) -> tuple[list[Step], list[float]]:
    """The steps of J, and their ratios in increasing order."""
    edges, ratios = [], []
    for start, end in pairwise(corners):
        if min(start.x, end.x) >= 0:
            steps = xs[start.x : end.x]
        elif min(start.y, end.y) >= 0:
            steps = ys[start.y : end.y]
        else:  # a bridge from one curve to the other
            steps = [[max(start.ahead0 - end.ahead0, 0.0), max(end.mass1 - start.mass1, 0.0)]]
        edges.append([sum(step[0] for step in steps), sum(step[1] for step in steps)])
        ratios.append(_ratio(edges[-1]))
    # The direction of a bridge between close points is lost to rounding, but it lies between those of its neighbours.
    ceiling = inf
    for k in range(len(edges) - 1, -1, -1):
        ratios[k] = ceiling = min(ratios[k], ceiling)
    return edges, ratios


def _duals(corners: list[_Corner], ratios: list[float]) -> tuple[list[Pair], list[Pair]]:
    """For each edge of J two pairs (over t) whose sum is the logarithm of p(t | edge).

    The pair of Y stays as it is while the hull follows X, and the pair of X while the hull follows Y.
    """
    of_x, of_y = [], []
    fixed, is_y = (0.0, 0.0), corners[1].x >= 0
    for ratio, (start, end) in zip(ratios, pairwise(corners), strict=True):
        other = _rest(ratio, fixed)
        of_x.append(other if is_y else fixed)
        of_y.append(fixed if is_y else other)
        if min(start.x, end.x) < 0 and min(start.y, end.y) < 0:  # a bridge
            fixed, is_y = other, not is_y
    return of_x, of_y


def _rest(ratio: float, fixed: Pair) -> Pair:
    """The logarithms of (1, ratio) / (1 + ratio), less `fixed`."""
    if ratio == inf:
        return -inf, -fixed[1]
    whole = log1p(ratio)
    return -whole - fixed[0], (log(ratio) - whole if ratio > 0 else -inf) - fixed[1]


def _garbling(
    steps: list[Step], met: list[int], edges: list[Step], duals: list[Pair]
) -> tuple[list[list[float]], list[Pair]]:
    """The share of each edge of J that goes to each symbol (symbol, edge), and the symbol's dual pair."""
    shares: list[list[float]] = []
    own: list[Pair] = []
    first = done = 0
    for k in range(1, len(met)):
        if met[k] < 0:
            continue
        here = steps[done : met[k]]
        before, after = [0.0] * first, [0.0] * (len(edges) - k)
        shares += [[*before, *within, *after] for within in _shares(here, edges[first:k])]
        own += [duals[first]] * len(here)
        first, done = k, met[k]
    return shares, own


def _shares(steps: list[Step], edges: list[Step]) -> list[list[float]]:
    """The shares of the edges that go to these steps, between two points where the curves meet.

    Each step in turn takes the chord that its direction cuts from the curve, and leaves what lies beyond its end.
    """
    if len(steps) == 1:
        return [[1.0] * len(edges)]
    rest = [(edge0, edge1, {j: 1.0}) for j, (edge0, edge1) in enumerate(edges) if edge0 + edge1 > 0][::-1]
    shares: list[dict[int, float]] = []
    for step0, step1 in steps[:-1]:
        chord0, chord1, taken, part = 0.0, 0.0, dict[int, float](), 1.0
        while rest and part == 1.0:
            edge0, edge1, origin = rest.pop()
            above, change = chord0 * step1 - chord1 * step0, edge0 * step1 - edge1 * step0
            if above + change <= 0.0:  # a direction that rounding has put below the curve still takes its step's mass
                lack = (step0 + step1 - chord0 - chord1) / (edge0 + edge1)
                part = min(max(lack, above / -change if change < 0.0 else 0.0, 0.0), 1.0)
            if part < 1.0:
                left = 1.0 - part
                rest.append((left * edge0, left * edge1, {j: left * share for j, share in origin.items()}))
            chord0, chord1 = chord0 + part * edge0, chord1 + part * edge1
            for j, share in origin.items():
                taken[j] = taken.get(j, 0.0) + part * share
        chord = chord0 + chord1  # 0 where earlier steps took all but what rounding lost
        kept = min((step0 + step1) / chord, 1.0) if chord > 0 else 1.0
        shares.append({j: kept * share for j, share in taken.items()})
        if kept < 1.0:
            left = 1.0 - kept
            rest.append((left * chord0, left * chord1, {j: left * share for j, share in taken.items()}))
    remaining: dict[int, float] = {}
    for *_, origin in rest:
        for j, share in origin.items():
            remaining[j] = remaining.get(j, 0.0) + share
    return [[one.get(j, 0.0) for j in range(len(edges))] for one in (*shares, remaining)]
