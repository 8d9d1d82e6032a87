"""BROJA decompositions of many small distributions in one vectorised call: bootstrap replicates, per-layer tables."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import FloatArray, IntArray
from redundancy.pid.binary_sources import propose
from redundancy.pid.duality_gap import bound_gap
from redundancy.pid.interior_point import Solution, solve
from redundancy.pid.newton_system import DENSE_LIMIT
from redundancy.pid.result import PIDTable
from redundancy.pid.solver import as_table, checked_pmfs, pair_tables, solve_one

CHUNK_CELLS = 4096  # numbers per array in work: small enough to stay in the processor's cache


def broja_batch(pmfs: ArrayLike, *, tol: float = 1e-9) -> PIDTable:
    """Decompose many distributions of one shape; each gets the atoms and the certificate of :func:`broja`.

    Parameters
    ----------
    pmfs : array_like (distributions, z, x, y)
        Probabilities; each distribution sums to one.
    tol : float
        The duality gap, in nats, at which to stop.

    Returns
    -------
    PIDTable
        Atoms in nats, gaps, couplings and dual points with the distribution as first axis; `table[i]` is the i-th
        `PID`.

    Raises
    ------
    ValueError, TypeError
        As :func:`broja`, if any of the distributions is invalid.

    See Also
    --------
    broja : One distribution, and the definition of the atoms.

    Notes
    -----
    The minimisation of D9, vectorised over distributions. Those that the vectorised solvers do not bring to tol
    (zeros that a presolve can use, or large alphabets) are solved one by one.

    References
    ----------
    Bertschinger, Rauh, Olbrich, Jost and Ay (2014), *Quantifying unique information*, arXiv:1311.2852.

    Examples
    --------
    >>> import numpy as np
    >>> import redundancy as rd
    >>> pmfs = np.random.default_rng(0).dirichlet(np.ones(8), size=100).reshape(100, 2, 2, 2)
    >>> table = rd.broja_batch(pmfs)
    >>> len(table), bool(table.converged.all())
    (100, True)
    >>> table.unique_x[:3].round(4)
    array([0.1066, 0.0003, 0.1409])
    >>> bool(abs(table[0].unique_x - rd.broja(pmfs[0]).unique_x) < 2e-9)
    True
    """
    p = checks.real_array(pmfs, name="pmfs")
    if p.ndim != 4 or p.shape[0] == 0:
        raise ValueError(f"pmfs: expected shape (distributions, z, x, y) with at least one distribution, got {p.shape}")
    p = checked_pmfs(p, tol=tol)
    a, b = pair_tables(p)
    solution = Solution.unsolved(a, b)
    _solve_together(a, b, solution, tol)
    for k in np.flatnonzero(solution.gap > tol):
        alone = solve_one(a[k], b[k], tol)
        if alone.gap[0] < solution.gap[k]:
            solution.put(np.array([k]), alone)
    return as_table(p, solution, tol=tol)


def _solve_together(a: FloatArray, b: FloatArray, solution: Solution, tol: float) -> None:
    """Solve all distributions without zeros that are small enough to gain from it, in place."""
    _, size_x, size_t = a.shape
    size_y = b.shape[2]
    positive = (a > 0).all((1, 2)) & (b > 0).all((1, 2))
    step = max(1, CHUNK_CELLS // (size_t * size_x * size_y))
    if size_x == size_y == 2:
        for i in _chunks(np.flatnonzero(positive), step):
            proposed, u, v, iterations = propose(a[i], b[i], tol=tol)
            q, u, gap = bound_gap(proposed, u, v, a[i], b[i])
            solution.put(i, Solution(q, u, v, gap, np.full(i.size, iterations)))
    if size_t * (size_x + size_y) <= DENSE_LIMIT:
        for i in _chunks(np.flatnonzero(positive & (solution.gap > tol)), step):
            solution.put(i, solve(a[i], b[i], tol=tol))


def _chunks(index: IntArray, size: int) -> list[IntArray]:
    return [index[i : i + size] for i in range(0, index.size, size)]
