"""A primal-dual interior-point method for the BROJA dual, for many distributions at once.

Maximise sum a u + sum b v subject to g_xy = sum_t exp(u_tx + v_ty) <= 1. With slacks s = 1 - g and
multipliers w (the distribution of (X, Y) under the optimal coupling), the path of solutions of

    a_tx = sum_y w_xy e_txy,   b_ty = sum_x w_xy e_txy,   g_xy + s_xy = 1,   w_xy s_xy = mu

is followed to mu = 0 by predictor-corrector Newton steps; the coupling is q_txy = w_xy e_txy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from redundancy.array_types import BoolArray, FloatArray, IntArray
from redundancy.pid.duality_gap import bound_gap
from redundancy.pid.newton_system import Solve, factor, hessian_product

ABSENT = -1e4  # log of a pair of probability zero: exp gives exactly 0, arithmetic stays finite
FRACTION = 0.995  # of the way to the boundary
LONGEST_STEP = 5.0  # in u and v, so that no exponential runs away
REFINEMENTS = 8
PATIENCE = 12  # iterations without a better certificate before the best one is returned


@dataclass(frozen=True, eq=False)
class Solution:
    """Certified solutions, the distribution ("law") as first axis: q (law, x, t, y), u (law, x, t), v (law, t, y)."""

    q: FloatArray
    u: FloatArray
    v: FloatArray
    gap: FloatArray
    iterations: IntArray

    @classmethod
    def unsolved(cls, a: FloatArray, b: FloatArray) -> Solution:
        """Nothing known yet: an infinite gap for each pair of tables a (law, x, t) and b (law, t, y)."""
        return cls(
            q=np.zeros((*a.shape, b.shape[2])),
            u=np.full(a.shape, -np.inf),
            v=np.full(b.shape, -np.inf),
            gap=np.full(len(a), np.inf),
            iterations=np.zeros(len(a), dtype=np.int64),
        )

    def put(self, where: IntArray, other: Solution) -> None:
        """Overwrite the solutions of the distributions `where`, in place."""
        for name, value in vars(self).items():
            value[where] = getattr(other, name)


@dataclass(eq=False)
class _State:
    """The iterate of the distributions not yet finished; every array has the distribution as its first axis."""

    a: FloatArray
    b: FloatArray
    u: FloatArray
    v: FloatArray
    s: FloatArray
    w: FloatArray
    cell: BoolArray  # (law, x, y): can hold mass
    free_u: BoolArray
    free_v: BoolArray
    law: IntArray
    stale: IntArray

    def keep(self, chosen: BoolArray) -> _State:
        return _State(**{name: value[chosen] for name, value in vars(self).items()})


def solve(a: FloatArray, b: FloatArray, *, tol: float, max_iterations: int = 100) -> Solution:
    """Solve for pair tables a (law, x, t) and b (law, t, y), each summing to one with equal t-marginals.

    Every t must have mass; rows of a and columns of b may be empty. Stops for each distribution when its certified gap
    is at most tol, when it has not improved for PATIENCE iterations, or after max_iterations.
    """
    state = _start(a, b)
    best = Solution.unsolved(a, b)
    best.u[...], best.v[...] = state.u, state.v
    for iteration in range(max_iterations + 1):
        e = np.exp(state.u[..., None] + state.v[:, None])
        q = state.w[:, :, None] * e
        complement = (state.w * state.s * state.cell).sum((1, 2))
        near = complement < 30.0 * max(tol, 1e-10)
        if iteration == 0 or iteration == max_iterations:
            near[:] = True  # the start may already be optimal; the last iterate must be certified
        if near.any():
            done = _certify(state, q, near, best, iteration, tol)
            if iteration == max_iterations or done.all():
                break
            if done.any():
                state, e, q, complement = (state.keep(~done), e[~done], q[~done], complement[~done])
        with np.errstate(all="ignore"):  # a step lost to rounding is detected below
            _advance(state, e, q, complement, tol)
        moved = (state.w, state.u, state.v)
        sound = np.logical_and.reduce([np.isfinite(z).all((1, 2)) for z in moved])
        if not sound.all():
            state = state.keep(sound)
            if not sound.any():
                break
    return best


def _start(a: FloatArray, b: FloatArray) -> _State:
    mass_x, mass_t, mass_y = a.sum(2), a.sum(1), b.sum(1)
    has_a, has_b = a > 0, b > 0
    share_a = np.divide(a, mass_x[:, :, None], out=np.ones_like(a), where=has_a)
    share_b = np.divide(b, mass_y[:, None], out=np.ones_like(b), where=has_b)
    # sum_t sqrt(p(t|x) p(t|y)) <= 1: feasible by Cauchy-Schwarz; the shift makes it strictly so
    u = np.where(has_a, 0.5 * np.log(share_a) - 0.1, ABSENT)
    v = np.where(has_b, 0.5 * np.log(share_b), ABSENT)
    cell = (has_a.astype(np.float64) @ has_b.astype(np.float64)) > 0
    w = (a / mass_t[:, None]) @ b  # X - T - Y: a coupling with the right marginals
    s = np.where(cell, 1.0 - np.exp(u) @ np.exp(v), 1.0)
    free_v = has_b.copy()
    np.put_along_axis(free_v, b.argmax(2)[:, :, None], False, axis=2)
    laws = np.arange(a.shape[0])
    return _State(a, b, u, v, s, w, cell, has_a, free_v, laws, np.zeros_like(laws))


def _certify(state: _State, q: FloatArray, near: BoolArray, best: Solution, iteration: int, tol: float) -> BoolArray:
    """Certify the distributions near the end, keep the better certificates, and return which are finished."""
    i = slice(None) if near.all() else np.flatnonzero(near)
    rounded, u, gap = bound_gap(q[i], state.u[i], state.v[i], state.a[i], state.b[i])
    law = state.law[i]
    better = gap < best.gap[law]
    chosen = law[better]
    best.q[chosen], best.u[chosen] = rounded[better], u[better]
    best.v[chosen], best.gap[chosen] = state.v[i][better], gap[better]
    best.iterations[law] = iteration
    state.stale[i] = np.where(better, 0, state.stale[i] + 1)
    done = np.zeros(near.shape, dtype=bool)
    done[i] = (best.gap[law] <= tol) | (state.stale[i] > PATIENCE)
    return done


@dataclass(frozen=True, eq=False)
class _System:
    """The Newton system at an iterate: what both directions of a predictor-corrector step share."""

    q: FloatArray
    e: FloatArray
    ke: FloatArray
    curvature: FloatArray
    infeasible: FloatArray  # violation of g + s = 1
    accuracy: FloatArray  # per distribution, of the solution
    newton: Solve


def _linearise(state: _State, e: FloatArray, q: FloatArray, accuracy: FloatArray) -> _System:
    curvature = np.where(state.cell, state.w / state.s, 0.0)
    ke = curvature[:, :, None] * e
    return _System(
        q=q,
        e=e,
        ke=ke,
        curvature=curvature,
        infeasible=np.where(state.cell, e.sum(2) + state.s - 1.0, 0.0),
        accuracy=accuracy,
        newton=factor(q, ke, e, state.free_u, state.free_v),
    )


def _direction(
    state: _State, system: _System, target: FloatArray | float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Changes (du, dv, ds, dw) that aim at the complementarity w s = target."""
    c = np.where(state.cell, (target + state.w * system.infeasible) / state.s, 0.0)
    moved = system.e * c[:, :, None]
    ru = (state.a - moved.sum(3)) * state.free_u
    rv = (state.b - moved.sum(1)) * state.free_v
    du, dv = _solve_refined(system, ru, rv, state.free_u, state.free_v)
    slope = (system.e * (du[..., None] + dv[:, None])).sum(2)
    ds = np.where(state.cell, -system.infeasible - slope, 0.0)
    dw = np.where(state.cell, target / state.s - state.w - system.curvature * ds, 0.0)
    return du, dv, ds, dw


def _advance(state: _State, e: FloatArray, q: FloatArray, complement: FloatArray, tol: float) -> None:
    """One predictor-corrector step, in place."""
    cells = state.cell.sum((1, 2))
    residual = np.abs(state.a - q.sum(3)).sum((1, 2)) + np.abs(state.b - q.sum(1)).sum((1, 2))
    system = _linearise(state, e, q, 1e-2 * np.maximum(complement, 0.1 * tol))
    _, _, ds, dw = _direction(state, system, 0.0)
    step_s, step_w = _longest(state.s, ds)[:, None, None], _longest(state.w, dw)[:, None, None]
    ahead = ((state.w + step_w * dw) * (state.s + step_s * ds) * state.cell).sum((1, 2))
    # the barrier must not outrun the marginals: mu stays above a tenth of their residual
    mean = complement / cells
    mu = np.maximum(mean * (ahead / complement) ** 3, np.minimum(mean, 0.1 * residual / cells))
    mu = np.maximum(mu, 0.01 * max(tol, 1e-14) / cells)
    du, dv, ds, dw = _direction(state, system, mu[:, None, None] - dw * ds)
    reach = np.maximum(np.abs(du).max((1, 2)), np.abs(dv).max((1, 2)))
    step = np.minimum(_longest(state.s, ds), LONGEST_STEP / np.maximum(reach, LONGEST_STEP))[:, None, None]
    state.u = state.u + step * du
    state.v = state.v + step * dv
    state.s = state.s + step * ds
    state.w = state.w + _longest(state.w, dw)[:, None, None] * dw


def _longest(z: FloatArray, dz: FloatArray) -> FloatArray:
    """Step lengths that keep z positive: at most 1, at most FRACTION of the way to zero."""
    room = np.divide(z, -dz, out=np.full_like(z, np.inf), where=dz < 0)
    return np.asarray(np.minimum(1.0, FRACTION * room.min((1, 2))))


def _solve_refined(
    system: _System, ru: FloatArray, rv: FloatArray, free_u: BoolArray, free_v: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Solve by conjugate gradients with the factorisation as preconditioner; usually no iteration is needed."""
    du, dv = system.newton(ru, rv)
    direction: tuple[FloatArray, FloatArray] | None = None
    previous = np.ones(len(du))
    hu, hv = hessian_product(system.q, system.ke, system.e, du, dv)
    eu, ev = (ru - hu) * free_u, (rv - hv) * free_v
    for _ in range(REFINEMENTS):
        error = np.abs(eu).sum((1, 2)) + np.abs(ev).sum((1, 2))
        if (error <= system.accuracy).all():
            break
        zu, zv = system.newton(eu, ev)
        rho = (eu * zu).sum((1, 2)) + (ev * zv).sum((1, 2))
        if direction is not None:
            beta = (rho / previous)[:, None, None]
            zu, zv = zu + beta * direction[0], zv + beta * direction[1]
        direction, previous = (zu, zv), np.where(rho > 0, rho, 1.0)
        hu, hv = hessian_product(system.q, system.ke, system.e, zu, zv)
        power = (zu * hu).sum((1, 2)) + (zv * hv).sum((1, 2))
        use = (power > 0) & (rho > 0) & (error > system.accuracy)
        alpha = np.where(use, rho / np.where(use, power, 1.0), 0.0)[:, None, None]
        du, dv = du + alpha * zu, dv + alpha * zv
        eu, ev = (eu - alpha * hu) * free_u, (ev - alpha * hv) * free_v
    return du, dv
