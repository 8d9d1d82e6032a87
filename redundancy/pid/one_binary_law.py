"""The coupling of a single distribution with binary X and Y, in plain numbers: a root of one decreasing function.

A slice t of the coupling has one free number, and at the optimum every slice has the odds ratio of the sum of all
slices, q_00 q_11 / (q_01 q_10) = Q_00 Q_11 / (Q_01 Q_10), or the odds ratio is 0 or infinite. For a given common odds
ratio e^L each slice solves a quadratic equation, and the logarithm of the odds ratio of their sum less L decreases in L
(the objective is convex), so that its root is found by Newton's method inside a bracket. The result is only a proposal;
`duality_gap.bound_gap` decides how good it is.
"""

from __future__ import annotations

from math import exp, inf, log, sqrt

import numpy as np

from redundancy.array_types import FloatArray

FARTHEST = 80.0  # |L| that stands for an odds ratio of 0 or infinity
STEPS = 40
CLOSE = 1e-13

Cells = tuple[float, float, float, float]  # (0, 0), (0, 1), (1, 0), (1, 1) of (x, y)


def propose_one(a: FloatArray, b: FloatArray, tol: float) -> tuple[FloatArray, FloatArray, FloatArray, int] | None:
    """Coupling q (x, t, y), duals u (x, t) and v (t, y), steps, for pair tables a (x, t) and b (t, y).

    Every x, t and y must have mass, and some slice t more than one coupling. None where the numbers leave the range of
    floats.
    """
    slices = list(zip(*a.tolist(), *b.T.tolist(), strict=True))
    try:
        cells, steps = _common_odds(slices)
        u, v = _duals(slices, cells)
    except (ValueError, ZeroDivisionError, OverflowError):
        return None
    q00, q01, q10, q11 = zip(*cells, strict=True)
    return np.array([[q00, q01], [q10, q11]]).swapaxes(1, 2), np.array(u).T, np.array(v), steps


def _common_odds(slices: list[Cells]) -> tuple[list[Cells], int]:
    """The slices at the root, and the number of steps."""
    odds = 0.0
    cells, excess, slope = _at(slices, odds)
    if abs(excess) <= CLOSE:
        return cells, 0
    far = FARTHEST if excess > 0 else -FARTHEST
    beyond = _at(slices, far)
    if (beyond[1] > 0) == (excess > 0):
        return beyond[0], 1
    low, high = (0.0, far) if far > 0 else (far, 0.0)
    for step in range(2, STEPS):
        if abs(excess) <= CLOSE * (1.0 + abs(odds)):
            return cells, step
        low, high = (odds, high) if excess > 0 else (low, odds)
        following = odds - excess / slope if slope < 0 else far
        odds = following if low < following < high else 0.5 * (low + high)
        cells, excess, slope = _at(slices, odds)
    return cells, STEPS


def _at(slices: list[Cells], odds: float) -> tuple[list[Cells], float, float]:
    """The slices with a logarithmic odds ratio, by how much that of their sum exceeds it, and the slope of this."""
    up, down = exp(odds), exp(-odds)
    cells, give = [], 0.0
    for a0, a1, b0, b1 in slices:
        if min(a0, a1, b0, b1) == 0.0:  # one coupling
            mass = a0 + a1
            cells.append((a0 * b0 / mass, a0 * b1 / mass, a1 * b0 / mass, a1 * b1 / mass))
            continue
        q00, q01 = _cell(a0, b0, a1, b1, up), _cell(a0, b1, a1, b0, down)
        q10, q11 = _cell(a1, b0, a0, b1, down), _cell(a1, b1, a0, b0, up)
        give += 1.0 / (1.0 / q00 + 1.0 / q01 + 1.0 / q10 + 1.0 / q11)
        cells.append((q00, q01, q10, q11))
    s00, s01, s10, s11 = (sum(column) for column in zip(*cells, strict=True))
    slope = give * (1.0 / s00 + 1.0 / s01 + 1.0 / s10 + 1.0 / s11) - 1.0
    return cells, log(s00) + log(s11) - log(s01) - log(s10) - odds, slope


def _cell(row: float, column: float, other_row: float, other_column: float, odds: float) -> float:
    """The cell q in a row and column of these masses, where q (rest + q) = odds (row - q) (column - q)."""
    rest = other_row - column
    linear = rest + odds * (row + column)
    # linear^2 + 4 (1 - odds) odds row column, as a sum of two terms >= 0
    root = sqrt((rest + odds * (row - column)) ** 2 + 4.0 * odds * column * other_column)
    # The form without cancellation; a negative linear term needs odds < 1.
    if linear >= 0:
        return 2.0 * odds * row * column / (linear + root)
    return (root - linear) / (2.0 * (1.0 - odds))


def _duals(slices: list[Cells], cells: list[Cells]) -> tuple[list[list[float]], list[list[float]]]:
    """Numbers u (t, x) and v (t, y) whose sum is log q(t | x, y) in the three heaviest cells (x, y)."""
    totals = [sum(column) for column in zip(*cells, strict=True)]
    i, j = divmod(totals.index(min(totals)), 2)
    i, j = 1 - i, 1 - j
    u, v = [], []
    for masses, slice_ in zip(slices, cells, strict=True):
        logs = [log(q / total) if q > 0 else -inf for q, total in zip(slice_, totals, strict=True)]
        x, y = i, j
        if min(masses) == 0.0:
            x, y = int(masses[0] == 0.0), int(masses[2] == 0.0)  # with mass
        here_u, here_v = [logs[y], logs[2 + y]], [logs[2 * x], logs[2 * x + 1]]
        v.append([value - logs[2 * x + y] for value in here_v])
        u.append(here_u)
    return u, v
