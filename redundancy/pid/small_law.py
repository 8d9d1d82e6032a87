"""The method of `interior_point` for one small distribution, on its list of cells: few and short array operations.

A cell is a triple (x, t, y) that can hold mass, a pair is (x, y). The exponent of the cells is linear in the dual
variables, so that a Newton step is a Cholesky factor of a small matrix. Nothing is refined and nothing is repaired; the
result is only a proposal, and `duality_gap.bound_gap` decides how good it is.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.linalg import lapack

from redundancy.array_types import FloatArray
from redundancy.pid.interior_point import LONGEST_STEP

STEPS = 40
FRACTION = 0.999  # of the way to the boundary
DAMPING = 1e-12  # of the diagonal, where the dual optimum lies at infinity


def propose_small(a: FloatArray, b: FloatArray, tol: float) -> tuple[FloatArray, FloatArray, FloatArray, int] | None:
    """Coupling q (x, t, y), duals u (x, t) and v (t, y), steps, for pair tables a (x, t) and b (t, y).

    Every x, t and y must have mass. None where a step is lost to rounding.
    """
    size_x, size_t, size_y = *a.shape, b.shape[1]
    flat_a, flat_b = a.ravel(), b.ravel()
    positive_a, positive_b = flat_a > 0, flat_b > 0
    where = (positive_a.reshape(size_x, size_t, 1) & positive_b.reshape(1, size_t, size_y)).ravel().nonzero()[0]
    pair_a, y = divmod(where, size_y)  # number of (x, t)
    x, t = divmod(pair_a, size_t)
    pair_b = t * size_y + y
    # The largest entry of each slice of b has v fixed: u + v does not determine both.
    slices, fixed = np.arange(size_t), b.argmax(1)
    positive_b[slices * size_y + fixed] = False
    free_a, free_b = positive_a.nonzero()[0], positive_b.nonzero()[0]
    count_a, count = free_a.size, free_a.size + free_b.size
    number_a, number_b = np.zeros(flat_a.size, dtype=np.intp), np.full(flat_b.size, count)
    number_a[free_a], number_b[free_b] = np.arange(count_a), np.arange(count_a, count)
    cells = np.arange(where.size)
    transposed = np.zeros((count + 1, where.size))  # the last row is that of the fixed ones
    transposed[number_a[pair_a], cells] = 1.0
    transposed[number_b[pair_b], cells] = 1.0
    transposed = transposed[:count]
    total = np.zeros((size_x * size_y, where.size))
    total[x * size_y + y, cells] = 1.0
    if where.size < a.size * size_y:
        total = total[np.logical_or.reduce(total, 1)]  # (pairs, cells)
    given = np.concatenate([flat_a[free_a], flat_b[free_b]])

    here_a, here_b, mass_t = flat_a[pair_a], flat_b[pair_b], np.add.reduce(a, 0)
    share = here_a / np.add.reduce(a, 1)[x] * (here_b / np.add.reduce(b, 0)[y])
    power = 0.5 * np.log(share)  # feasible by Cauchy-Schwarz
    q = here_a * here_b / mass_t[t]
    w = total.dot(q)
    found: tuple[FloatArray, FloatArray, int] | None = power, q, 0
    if w.dot(1.0 - total.dot(np.exp(power))) > 0.1 * tol:
        with np.errstate(all="ignore"):  # a step lost to rounding is noticed
            found = _follow(transposed, total, given, power - 0.1, w, tol)
    if found is None:
        return None
    power, q, used = found
    coupling, exponent = np.zeros(a.size * size_y), np.full(a.size * size_y, -np.inf)
    coupling[where], exponent[where] = q, power
    exponent = exponent.reshape(size_x, size_t, size_y)
    u = exponent[:, slices, fixed]
    first = a.argmax(0)
    v = exponent[first, slices] - u[first, slices][:, None]
    return coupling.reshape(exponent.shape), u, v, used


def _follow(
    transposed: FloatArray, total: FloatArray, given: FloatArray, power: FloatArray, w: FloatArray, tol: float
) -> tuple[FloatArray, FloatArray, int] | None:
    """Exponents and masses of the cells at the optimum, and the number of steps.

    The method `dot` and the functions' `reduce` cost half of `@` and `sum` on arrays as small as these.
    """
    count, cells = transposed.shape
    pairs, spread_w = len(total), total.T.copy()
    # A pair's row is the gradient of its constraint, so that the matrix of a step is one weighted product. An entry of
    # it is the exponential of the one cell that the pair and the variable share, or 0.
    rows, weights = np.empty((cells + pairs, count)), np.empty(cells + pairs)
    rows[:cells] = transposed.T
    shared = total.dot(rows[:cells] * np.arange(1, cells + 1)[:, None]).astype(np.intp)
    padded = np.zeros(cells + 1)
    design, spread, q, stiff = rows[:cells], rows[cells:], weights[:cells], weights[cells:]
    columns = rows.T
    e = np.exp(power)
    load = total.dot(e)
    s = 1.0 - load
    for step in range(STEPS):
        np.multiply(spread_w.dot(w), e, out=q)
        complement = float(w.dot(s))
        lack = given - transposed.dot(q)
        residual = math.sqrt(lack.dot(lack))
        infeasible = load + (s - 1.0)
        if max(complement, 4.0 * residual, max(infeasible.tolist())) < 0.5 * tol:
            return power, q, step
        padded[1:] = e
        padded.take(shared, out=spread, mode="clip")
        np.divide(w, s, out=stiff)
        matrix = (columns * weights).dot(rows)
        matrix.ravel()[:: count + 1] *= 1.0 + DAMPING
        factor, failed = lapack.dpotrf(matrix, lower=1)
        if failed or not complement < math.inf:
            return None
        # Relative changes of the slacks that aim at the complementarity w s = 0; those of w are -1 less these ...
        right = given - (stiff * infeasible).dot(spread)
        of_s = (infeasible + spread.dot(lapack.dpotrs(factor, right, lower=1)[0])) / -s
        listed = of_s.tolist()
        by_s, by_w = _longest(min(listed)), _longest(-1.0 - max(listed))
        product = w * s * of_s
        ahead = (1.0 - by_w) * complement + (by_s * (1.0 - by_w) - by_w) * float(np.add.reduce(product))
        ahead -= by_s * by_w * float(product.dot(of_s))
        mean = complement / pairs
        mu = max(mean * (ahead / complement) ** 3, min(mean, 0.1 * residual / pairs), 0.01 * tol / pairs)
        # ... and at w s = mu, with the product of both changes.
        aim = (mu + product * (of_s + 1.0)) / s
        change = lapack.dpotrs(factor, right - aim.dot(spread), lower=1)[0]
        of_s = (infeasible + spread.dot(change)) / -s
        of_w = aim / w - of_s - 1.0
        moved = design.dot(change)
        reach = LONGEST_STEP
        if moved.dot(moved) > LONGEST_STEP**2:
            reach = max(reach, float(np.maximum.reduce(np.abs(moved))))
        length = min(_longest(min(of_s.tolist())), LONGEST_STEP / reach)
        power = power + length * moved
        s = s + length * of_s * s
        w = w + _longest(min(of_w.tolist())) * of_w * w
        e = np.exp(power)
        load = total.dot(e)
    return None


def _longest(change: float) -> float:
    """Step length for the least relative change: at most 1 and at most FRACTION of the way to zero."""
    return FRACTION / max(-change, FRACTION)
