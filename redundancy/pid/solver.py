"""The BROJA partial information decomposition of a finite law, with a certified accuracy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from redundancy.array_types import FloatArray
from redundancy.pid.binary_sources import propose
from redundancy.pid.duality_gap import certify
from redundancy.pid.interior_point import solve
from redundancy.pid.presolve import Block, blocks, forced_solution, put_back
from redundancy.pid.result import PID, PIDTable, table

SUM_TOLERANCE = 1e-9
# Products of three probabilities must not underflow; less mass than this moves no atom by 1e-75 nats.
NEGLIGIBLE = 1e-80


def broja(pmf: ArrayLike, *, tol: float = 1e-9) -> PID:
    """Decompose I(T; X, Y) after Bertschinger, Rauh, Olbrich, Jost and Ay (2014).

    unique_x is the least I_Q(T; X | Y) over all laws Q with the (T, X) and (T, Y) marginals of pmf (D9 in
    docs/theory); the other atoms follow from it by the accounting of D8.

    Parameters
    ----------
    pmf : array_like (t, x, y)
        Probabilities of the target T and the two sources X and Y; they sum to one.
    tol : float
        The duality gap, in nats, at which to stop. About 1e-13 is the least that double precision attains.

    Returns
    -------
    PID
        Atoms in nats, a certified gap, the coupling and the dual point that prove it. When the gap stays
        above tol, `status` is "stalled" and the interval given by the gap is still certain.

    Raises
    ------
    ValueError
        If pmf is not three-dimensional, is empty, negative, not finite or does not sum to one, or if tol is
        not a positive number.

    Notes
    -----
    Deterministic. Cells below 1e-80 count as zero. Memory: about five arrays of |T|^2 |X| |Y| numbers and one of
    (|T| min(|X|, |Y|))^2.
    """
    p = np.asarray(pmf, dtype=np.float64)
    if p.ndim != 3:
        raise ValueError(f"pmf: expected shape (t, x, y), got {p.shape}; for many laws use broja_batch")
    return _one(laws(p[None], tol=tol), tol)[0]


def _one(p: FloatArray, tol: float) -> PIDTable:
    a, b = p[0].sum(2).T, p[0].sum(1)  # (x, t), (t, y)
    q = np.zeros((*a.shape, b.shape[1]))
    u, v = np.full(a.shape, -np.inf), np.full(b.shape, -np.inf)
    iterations = 0
    for block in blocks(a, b):
        if block.forced:
            solution, used = forced_solution(block), 0
        else:
            solution, used = _solve_block(block, tol)
        iterations = max(iterations, used)
        if block.a.shape == a.shape and block.b.shape == b.shape:  # nothing was merged, split or dropped
            q, u, v = solution
            break
        put_back(block, solution, (a, b), (q, u, v))
    found, shifted, gap = certify(q[None], u[None], v[None], a[None], b[None])
    return table(
        p,
        found.transpose(0, 2, 1, 3),
        shifted.transpose(0, 2, 1),
        v[None],
        gap,
        tol=tol,
        iterations=np.array([iterations]),
    )


def _solve_block(block: Block, tol: float) -> tuple[tuple[FloatArray, FloatArray, FloatArray], int]:
    if block.a.shape[0] == block.b.shape[1] == 2 and block.a.all() and block.b.all():
        q, u, v, used = propose(block.a[None], block.b[None], tol=0.9 * tol)
        if certify(q, u, v, block.a[None], block.b[None])[2][0] <= 0.9 * tol:
            return (q[0], u[0], v[0]), used
    # the Schur complement lives on the y side: keep it the smaller one
    swap = block.a.shape[0] < block.b.shape[1]
    a, b = (block.b.T, block.a.T) if swap else (block.a, block.b)
    found = solve(a[None], b[None], tol=0.9 * tol)  # leave room for the rounding of the whole
    q, u, v = found.q[0], found.u[0], found.v[0]
    if swap:
        q, u, v = q.transpose(2, 1, 0), v.T, u.T
    return (q, u, v), int(found.iterations[0])


def laws(p: FloatArray, *, tol: float) -> FloatArray:
    """Check probability tables (law, t, x, y) and normalise away the last digits."""
    if 0 in p.shape:
        raise ValueError(f"pmf: expected at least one value of t, x and y, got shape {p.shape[1:]}")
    if not (tol > 0 and np.isfinite(tol)):
        raise ValueError(f"tol: expected a positive number of nats, got {tol}; 1e-9 is a good choice")
    if not np.isfinite(p).all():
        raise ValueError("pmf: expected finite probabilities, got NaN or infinity; check how it was made")
    if (p < 0).any():
        raise ValueError(
            f"pmf: expected non-negative probabilities, got {p.min():.3g}; set rounding errors to 0 yourself"
        )
    total = p.sum((1, 2, 3))
    worst = total[np.argmax(np.abs(total - 1.0))]
    if abs(worst - 1.0) > SUM_TOLERANCE:
        raise ValueError(f"pmf: expected probabilities that sum to 1, got {worst:.12g}; divide by their sum")
    return np.asarray(np.where(p < NEGLIGIBLE, 0.0, p) / total[:, None, None, None])
