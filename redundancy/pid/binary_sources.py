"""The method of `interior_point` for binary X and Y, where the Newton system has a closed form.

One corner determines a slice of the coupling with given margins: the other three cells move by the same amount, up or
down. Since the exponent is u + v, the signed sum of its change over the four cells is zero, and the system reduces to
one scalar equation per distribution. The result is only a proposal; `duality_gap.bound_gap` decides how good it is.
"""

from __future__ import annotations

import numpy as np

from redundancy.array_types import FloatArray
from redundancy.pid.interior_point import FRACTION, LONGEST_STEP

SIGN = np.array([1.0, -1.0, -1.0, 1.0])[:, None]  # cells (0, 0), (0, 1), (1, 0), (1, 1) of (x, y)


def propose(
    a: FloatArray, b: FloatArray, *, tol: float, max_iterations: int = 30
) -> tuple[FloatArray, FloatArray, FloatArray, int]:
    """Couplings q (law, x, t, y), duals u (law, x, t) and v (law, t, y), steps, for positive pair tables."""
    # inside, the axes are (cell, t, law): the distribution is the fastest axis, so that vectors are long
    a, b = a.transpose(1, 2, 0), b.transpose(2, 1, 0)
    table_a, table_b = a[[0, 0, 1, 1]], b[[0, 1, 0, 1]]
    power = 0.5 * np.log(table_a / table_a.sum(1, keepdims=True) * table_b / table_b.sum(1, keepdims=True)) - 0.1
    w = (table_a * table_b / a.sum(0)).sum(1)
    e = np.exp(power)
    s = 1.0 - e.sum(1)
    half_a, half_b, quarter = 0.5 * a, 0.5 * b, 0.25 * a.sum(0)
    steps = 0
    for steps in range(max_iterations):  # noqa: B007  (reported)
        q = w[:, None] * e
        ws = w * s
        complement = ws.sum(0)
        # the change of the coupling that repairs the margins before the corner moves
        lines = q.reshape(2, 2, *q.shape[1:])
        q_a, q_b = lines.sum(1), lines.sum(0)
        repair = ((half_a - 0.5 * q_a)[:, None] + (half_b - 0.5 * q_b)[None] - (quarter - 0.25 * q_a.sum(0))).reshape(
            q.shape
        )
        residual = np.abs(repair).sum((0, 1))
        if max(complement.max(), 10.0 * residual.max()) < 0.5 * tol:
            break
        load = e.sum(1)
        infeasible = load + s - 1.0
        inverse = 1.0 / q
        lean = 1.0 / inverse.sum(0)  # (t, law): compliance of a corner
        lean_sum = lean.sum(0)
        twist = (SIGN[:, None] * repair * inverse).sum(0)
        pull = (lean * twist).sum(0)
        over_w, share = 1.0 / w, 1.0 / (load + s)
        stiff = np.maximum(1.0 - lean_sum * (share * over_w).sum(0), 1e-14)
        offset = w * infeasible - ws + repair.sum(1)

        given = (offset, share, over_w, lean_sum, pull, stiff, ws, s)
        dw, ds = _multipliers(np.zeros_like(w), *given)
        ahead = ((w + _longest(w, dw) * dw) * (s + _longest(s, ds) * ds)).sum(0)
        mean = 0.25 * complement
        mu = np.maximum(mean * (ahead / complement) ** 3, np.minimum(mean, 0.025 * residual))
        dw, ds = _multipliers(mu - dw * ds, *given)
        corner = lean * ((SIGN * dw * over_w).sum(0) - twist)
        change = (repair + SIGN[:, None] * corner) * inverse - (dw * over_w)[:, None]
        reach = np.maximum(np.abs(change).max((0, 1)), LONGEST_STEP)
        length = np.minimum(_longest(s, ds), LONGEST_STEP / reach)
        power = power + length * change
        s = s + length * ds
        w = w + _longest(w, dw) * dw
        e = np.exp(power)
    power = power.reshape(2, 2, *power.shape[1:])  # (x, y, t, law)
    u = power.mean(1)
    v = power.mean(0) - power.mean((0, 1))
    coupling = (w[:, None] * e).reshape(power.shape)
    return coupling.transpose(3, 0, 2, 1), u.transpose(2, 0, 1), v.transpose(2, 1, 0), steps


def _multipliers(
    target: FloatArray,
    offset: FloatArray,
    share: FloatArray,
    over_w: FloatArray,
    lean_sum: FloatArray,
    pull: FloatArray,
    stiff: FloatArray,
    ws: FloatArray,
    s: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Changes of the multipliers and slacks (cell, law) that aim at the complementarity `target`."""
    fixed = (target + offset) * share
    corner = (lean_sum * (SIGN * fixed * over_w).sum(0) - pull) / stiff  # summed over t
    dw = fixed + SIGN * corner * share
    return dw, (target - ws - s * dw) * over_w


def _longest(value: FloatArray, change: FloatArray) -> FloatArray:
    """Step length per distribution: at most 1 and at most FRACTION of the way to zero."""
    return np.asarray(FRACTION / np.maximum((-change / value).max(0), FRACTION))
