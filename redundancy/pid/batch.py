"""BROJA decompositions of many small laws in one vectorised call: bootstrap replicates, per-layer tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from redundancy.pid.binary_sources import propose
from redundancy.pid.duality_gap import certify
from redundancy.pid.interior_point import solve
from redundancy.pid.newton_system import DENSE_LIMIT
from redundancy.pid.result import PIDTable, table
from redundancy.pid.solver import broja, laws

CHUNK_CELLS = 4096  # numbers per array at work: small enough to stay in the processor's cache


def broja_batch(pmfs: ArrayLike, *, tol: float = 1e-9) -> PIDTable:
    """Decompose many laws of one shape; the same numbers and certificates as `broja`, law by law.

    Parameters
    ----------
    pmfs : array_like (laws, t, x, y)
        Probabilities; each law sums to one.
    tol : float
        The duality gap, in nats, at which to stop.

    Returns
    -------
    PIDTable
        Atoms, gaps, couplings and dual points with the law as first axis; `table[i]` is the i-th `PID`.

    Raises
    ------
    ValueError
        As `broja`, if any law is not a law.
    """
    p = np.asarray(pmfs, dtype=np.float64)
    if p.ndim != 4 or p.shape[0] == 0:
        raise ValueError(f"pmfs: expected shape (laws, t, x, y) with at least one law, got {p.shape}")
    p = laws(p, tol=tol)
    a, b = p.sum(3).swapaxes(1, 2), p.sum(2)  # (law, x, t), (law, t, y)
    count, size_t, size_x, size_y = p.shape
    q = np.zeros((count, size_x, size_t, size_y))
    u, v = np.full(a.shape, -np.inf), np.full(b.shape, -np.inf)
    gap = np.full(count, np.inf)
    iterations = np.zeros(count, dtype=np.int64)
    positive = (a > 0).all((1, 2)) & (b > 0).all((1, 2))
    small = size_t * (size_x + size_y) <= DENSE_LIMIT
    step = max(1, CHUNK_CELLS // (size_t * size_x * size_y))
    if size_x == size_y == 2:
        for i in _chunks(np.flatnonzero(positive), step):
            proposed, dual_u, v[i], iterations[i] = propose(a[i], b[i], tol=tol)
            q[i], u[i], gap[i] = certify(proposed, dual_u, v[i], a[i], b[i])
    if small:
        for i in _chunks(np.flatnonzero(positive & (gap > tol)), step):
            found = solve(a[i], b[i], tol=tol)
            q[i], u[i], v[i], gap[i], iterations[i] = found.q, found.u, found.v, found.gap, found.iterations
    q = q.transpose(0, 2, 1, 3)
    u = u.swapaxes(1, 2)
    for k in np.flatnonzero(gap > tol):  # zeros that presolve can use, and laws too large to gain from a batch
        one = broja(p[k], tol=tol)
        if one.gap < gap[k]:
            q[k], u[k], v[k], gap[k], iterations[k] = one.q, one.u, one.v, one.gap, one.iterations
    return table(p, q, u, v, gap, tol=tol, iterations=iterations)


def _chunks(index: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [index[i : i + size] for i in range(0, index.size, size)]
