"""The method of `interior_point` for one small distribution, on its list of cells: few and short array operations.

A cell is a triple (x, t, y) that can hold mass, a pair is (x, y). The exponent of the cells is linear in the dual
variables, so that a Newton step is a Cholesky factor of a small matrix. Nothing is refined and nothing is repaired; the
result is only a proposal, and `duality_gap.bound_gap` decides how good it is.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import lapack

from redundancy.array_types import FloatArray
from redundancy.pid.interior_point import FRACTION, LONGEST_STEP

STEPS = 40
DAMPING = 1e-12  # of the diagonal, where the dual optimum lies at infinity


def propose_small(a: FloatArray, b: FloatArray, tol: float) -> tuple[FloatArray, FloatArray, FloatArray, int] | None:
    """Coupling q (x, t, y), duals u (x, t) and v (t, y), steps, for pair tables a (x, t) and b (t, y).

    Every x, t and y must have mass. None where a step is lost to rounding.
    """
    cell = (a > 0)[:, :, None] & (b > 0)[None]
    x, t, y = np.nonzero(cell)
    # The largest entry of each slice of b has v fixed: u + v does not determine both.
    free_a, free_b = a > 0, b > 0
    free_b[np.arange(len(b)), b.argmax(1)] = False
    number_a, number_b = np.cumsum(free_a).reshape(a.shape) - 1, np.cumsum(free_b).reshape(b.shape) - 1
    count_a, count_b = int(free_a.sum()), int(free_b.sum())
    cells = np.arange(x.size)
    design = np.zeros((x.size, count_a + count_b))
    design[cells, number_a[x, t]] = 1.0
    has = free_b[t, y]
    design[cells[has], count_a + number_b[t, y][has]] = 1.0
    total = np.zeros((a.shape[0] * b.shape[1], x.size))
    total[x * b.shape[1] + y, cells] = 1.0
    total = total[total.any(1)]  # (pairs, cells)
    given = np.concatenate([a[free_a], b[free_b]])

    share_a, share_b = a / a.sum(1, keepdims=True), b / b.sum(0)
    with np.errstate(divide="ignore"):
        u, v = 0.5 * np.log(share_a), 0.5 * np.log(share_b)
    power = u[x, t] + v[t, y]  # feasible by Cauchy-Schwarz
    q = a[x, t] * b[t, y] / a.sum(0)[t]
    w = (total @ q).clip(1e-300)
    found: tuple[FloatArray, FloatArray, int] | None = power, q, 0
    if w @ (1.0 - total @ np.exp(power)) > 0.1 * tol:
        with np.errstate(all="ignore"):  # a step lost to rounding is noticed
            found = _follow(design, total, given, power - 0.1, w, tol)
    if found is None:
        return None
    power, q, used = found
    coupling = np.zeros(cell.shape)
    coupling[x, t, y] = q
    fixed = b.argmax(1)
    exponent = np.full(cell.shape, -np.inf)
    exponent[x, t, y] = power
    u = exponent[:, np.arange(len(b)), fixed]
    first = a.argmax(0)
    v = exponent[first, np.arange(len(b))] - u[first, np.arange(len(b))][:, None]
    return coupling, u, v, used


def _follow(
    design: FloatArray, total: FloatArray, given: FloatArray, power: FloatArray, w: FloatArray, tol: float
) -> tuple[FloatArray, FloatArray, int] | None:
    """Exponents and masses of the cells at the optimum, and the number of steps."""
    e = np.exp(power)
    s = 1.0 - total @ e
    pairs = len(s)
    transposed, diagonal = np.ascontiguousarray(design.T), slice(None, None, design.shape[1] + 1)
    for step in range(STEPS):
        q = (w @ total) * e
        complement = float(w @ s)
        lack = given - transposed @ q
        residual = float(np.sqrt(lack @ lack))
        if max(complement, 4.0 * residual) < 0.2 * tol:
            return power, q, step
        load = total * e
        spread = load @ design  # (pairs, variables): gradient of the constraints
        matrix = (transposed * q) @ design + spread.T @ ((w / s)[:, None] * spread)
        matrix.ravel()[diagonal] *= 1.0 + DAMPING
        factor, failed = lapack.dpotrf(matrix, lower=1)
        if failed or not complement < np.inf:
            return None
        newton = (factor, given, spread, np.add.reduce(load, 1) + s - 1.0, w, s)
        _, ds, dw = _direction(0.0, *newton)
        ahead = float((w + _longest(w, dw) * dw) @ (s + _longest(s, ds) * ds))
        mean = complement / pairs
        mu = max(mean * (ahead / complement) ** 3, min(mean, 0.1 * residual / pairs), 0.01 * tol / pairs)
        change, ds, dw = _direction(mu - dw * ds, *newton)
        moved = design @ change
        reach = max(float(np.maximum.reduce(np.abs(moved))), LONGEST_STEP)
        length = min(_longest(s, ds), LONGEST_STEP / reach)
        power = power + length * moved
        s = s + length * ds
        w = w + _longest(w, dw) * dw
        e = np.exp(power)
    return None


def _direction(
    target: FloatArray | float,
    factor: FloatArray,
    given: FloatArray,
    spread: FloatArray,
    infeasible: FloatArray,
    w: FloatArray,
    s: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Changes of the dual variables, slacks and multipliers that aim at the complementarity w s = target."""
    right = given - ((target + w * infeasible) / s) @ spread
    change = lapack.dpotrs(factor, right, lower=1)[0]
    ds = -infeasible - spread @ change
    return change, ds, (target - ds * w) / s - w


def _longest(value: FloatArray, change: FloatArray) -> float:
    """Step length: at most 1 and at most FRACTION of the way to zero."""
    return FRACTION / max(-float(np.minimum.reduce(change / value)), FRACTION)
