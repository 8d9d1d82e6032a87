"""The BROJA partial information decomposition of a finite distribution, with a certified accuracy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import BoolArray, FloatArray
from redundancy.pid.binary_sources import propose
from redundancy.pid.binary_target import propose_two
from redundancy.pid.duality_gap import bound_gap
from redundancy.pid.interior_point import Solution, solve
from redundancy.pid.one_binary_law import propose_one
from redundancy.pid.presolve import Block, blocks, forced_solution, propose_forced, put_back
from redundancy.pid.result import PID, PIDTable, table
from redundancy.pid.small_law import propose_small

Way = Callable[[FloatArray, FloatArray, float], tuple[FloatArray, FloatArray, FloatArray, int] | None]

SUM_TOLERANCE = 1e-9
SMALL = 300  # cells up to which one distribution is solved without presolve and refinement
# Products of three probabilities must not underflow; less mass than this changes no atom by more than 1e-75 nats.
NEGLIGIBLE = 1e-80


def broja(pmf: ArrayLike, *, tol: float = 1e-9) -> PID:
    """Decompose I(Z; X, Y) into redundant, unique and synergistic information (BROJA).

    Parameters
    ----------
    pmf : array_like (z, x, y)
        Probabilities of the target Z and the two sources X and Y; they sum to one.
    tol : float
        The duality gap, in nats, at which to stop. About 1e-13 is the smallest that double precision attains.

    Returns
    -------
    PID
        Atoms in nats (each true atom is >= 0), a certified gap, the coupling and the dual point that prove it. When
        the gap stays above tol, `status` is "stalled" and the interval given by the gap is still certain.

    Raises
    ------
    ValueError
        If pmf is not three-dimensional, is empty, negative, not finite or does not sum to one, or if tol is
        not a positive number.
    TypeError
        If pmf does not hold real numbers.

    See Also
    --------
    broja_batch : Many distributions at once.
    broja_from_samples : From labels, with confidence limits.
    unique_information : Only the unique information of X, as an Estimate.

    Notes
    -----
    The unique information of X is the minimum of I_Q(Z; X | Y) over all distributions Q with the (Z, X) and (Z, Y)
    marginals of pmf (D9); the other atoms follow from it by the accounting of D8. (The theory calls the target T.)
    The dual problem and its certificate are in section 9.5.1 of the theory.

    Deterministic. Cells below 1e-80 count as zero. Memory: about five arrays of |Z|^2 |X| |Y| numbers and one of
    (|Z| min(|X|, |Y|))^2.

    References
    ----------
    Bertschinger, Rauh, Olbrich, Jost and Ay (2014), *Quantifying unique information*, arXiv:1311.2852.

    Examples
    --------
    The exclusive or of two fair bits is pure synergy, one bit of it:

    >>> import numpy as np
    >>> import redundancy as rd
    >>> xor = np.zeros((2, 2, 2))
    >>> for x in range(2):
    ...     for y in range(2):
    ...         xor[x ^ y, x, y] = 0.25
    >>> pid = rd.broja(xor)
    >>> {atom: round(bits, 6) for atom, bits in pid.bits.items()}
    {'redundant': 0.0, 'unique_x': 0.0, 'unique_y': 0.0, 'synergistic': 1.0}
    >>> pid.converged
    True
    """
    p = checks.real_array(pmf, name="pmf")
    if p.ndim != 3:
        raise ValueError(f"pmf: expected shape (z, x, y), got {p.shape}; for many distributions use broja_batch")
    p = checked_pmfs(p[None], tol=tol)
    a, b = pair_tables(p)
    return as_table(p, solve_one(a[0], b[0], tol), tol=tol)[0]


def pair_tables(p: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Marginals a (law, x, t) and b (law, t, y) of distributions p (law, t, x, y)."""
    return p.sum(3).swapaxes(1, 2), p.sum(2)


def solve_one(a: FloatArray, b: FloatArray, tol: float) -> Solution:
    """Presolve, solve and bound_gap one distribution with pair tables a (x, t) and b (t, y); a Solution of length 1."""
    if a.shape[0] * a.shape[1] * b.shape[1] <= SMALL:
        proved = _solve_small(a, b, tol)
        if proved is not None:
            return proved
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
    rounded, shifted, gap = bound_gap(q[None], u[None], v[None], a[None], b[None])
    return Solution(rounded, shifted, v[None], gap, np.array([iterations]))


def _solve_small(a: FloatArray, b: FloatArray, tol: float) -> Solution | None:
    """A certified solution of one small distribution by the shortest way, or None where that proves nothing."""
    has_a, has_b = a > 0, b > 0
    of_x, of_t, of_y = (np.add.reduce(has, axis) for has, axis in ((has_a, 1), (has_a, 0), (has_b, 0)))
    x, t, y = of_x > 0, of_t > 0, of_y > 0
    whole = all(x.tolist()) and all(t.tolist()) and all(y.tolist())
    massive = (a, b) if whole else (a[np.ix_(x, t)], b[np.ix_(t, y)])
    ways: tuple[Way, ...] = (propose_small,)
    if all(((of_t <= 1) | (np.add.reduce(has_b, 1) <= 1)).tolist()):
        ways = (propose_forced,)
    elif len(massive[1]) == 2:
        ways = (propose_two, propose_small)
    elif len(massive[0]) == massive[1].shape[1] == 2:
        ways = (propose_one, propose_small)
    for way in ways:
        proposal = way(*massive, tol)
        if proposal is None:
            continue
        q, u, v, steps = proposal
        if not whole:
            q, u, v = _widened(q, (x, t, y), 0.0), _widened(u, (x, t), -np.inf), _widened(v, (t, y), -np.inf)
        rounded, shifted, gap = bound_gap(q[None], u[None], v[None], a[None], b[None])
        if gap[0] <= tol:
            return Solution(rounded, shifted, v[None], gap, np.array([steps]))
    return None


def _widened(part: FloatArray, kept: tuple[BoolArray, ...], fill: float) -> FloatArray:
    """A table with the rows and columns put back that have no mass."""
    out = np.full(tuple(len(mask) for mask in kept), fill)
    out[np.ix_(*kept)] = part
    return out


def as_table(p: FloatArray, solution: Solution, *, tol: float) -> PIDTable:
    """The result for distributions p (law, t, x, y), with the axes in the caller's order."""
    return table(
        p,
        solution.q.transpose(0, 2, 1, 3),
        solution.u.swapaxes(1, 2),
        solution.v,
        solution.gap,
        tol=tol,
        iterations=solution.iterations,
    )


def _solve_block(block: Block, tol: float) -> tuple[tuple[FloatArray, FloatArray, FloatArray], int]:
    if block.t.size == 2:
        q, u, v, used = propose_two(block.a, block.b, tol)
        if bound_gap(q[None], u[None], v[None], block.a[None], block.b[None])[2][0] <= 0.9 * tol:
            return (q, u, v), used
    if block.a.shape[0] == block.b.shape[1] == 2 and block.a.all() and block.b.all():
        q, u, v, used = propose(block.a[None], block.b[None], tol=0.9 * tol)
        if bound_gap(q, u, v, block.a[None], block.b[None])[2][0] <= 0.9 * tol:
            return (q[0], u[0], v[0]), used
    # the Schur complement has the size of the y side: make it the smaller one
    swap = block.a.shape[0] < block.b.shape[1]
    a, b = (block.b.T, block.a.T) if swap else (block.a, block.b)
    solution = solve(a[None], b[None], tol=0.9 * tol)  # leaves room for the rounding of the whole
    q, u, v = solution.q[0], solution.u[0], solution.v[0]
    if swap:
        q, u, v = q.transpose(2, 1, 0), v.T, u.T
    return (q, u, v), int(solution.iterations[0])


def checked_pmfs(p: FloatArray, *, tol: float) -> FloatArray:
    """Check probability tables (law, t, x, y) and tol; normalise away the rounding error of the sums."""
    if 0 in p.shape:
        raise ValueError(f"pmf: expected at least one value of z, x and y, got shape {p.shape[1:]}")
    gap = checks.number(tol, name="tol")
    if not (gap > 0 and np.isfinite(gap)):
        raise ValueError(f"tol: expected a positive number of nats, got {tol}; 1e-9 is a good choice")
    least, total = np.minimum.reduce(p, None), np.add.reduce(p.reshape(len(p), -1), 1)
    off = np.maximum.reduce(np.abs(total - 1.0))
    if not (least >= 0 and off <= SUM_TOLERANCE):
        if not np.isfinite(p).all():
            raise ValueError("pmf: expected finite probabilities, got NaN or infinity; check how it was made")
        if least < 0:
            raise ValueError(
                f"pmf: expected non-negative probabilities, got {least:.3g}; set rounding errors to 0 yourself"
            )
        worst = total[np.argmax(np.abs(total - 1.0))]
        raise ValueError(f"pmf: expected probabilities that sum to 1, got {worst:.12g}; divide by their sum")
    return np.asarray(np.where(p < NEGLIGIBLE, 0.0, p) / total[:, None, None, None])
