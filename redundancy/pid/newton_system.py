"""The Newton system of the BROJA dual, solved through its structure.

The barrier Hessian couples u_tx with u_t'x only at the same x, v_ty with v_t'y only at the same y, and u with
v densely. One side is eliminated block by block; a Schur complement of size |T||Y| remains. Axes are always
(law, x, t, y), so that many small distributions ("laws") are solved at once.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg import blas, lapack

from redundancy.array_types import BoolArray, FloatArray

Solve = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]

DENSE_LIMIT = 40  # unknowns |T|(|X|+|Y|) up to which a vectorised dense factorisation is faster than LAPACK calls


def hessian_product(
    q: FloatArray, ke: FloatArray, e: FloatArray, du: FloatArray, dv: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Hessian times (du, dv): q = w e is the coupling, ke = (w / s) e the curvature of the constraints."""
    d = du[..., None] + dv[:, None]  # (law, x, t, y)
    h = q * d + ke * (e * d).sum(2, keepdims=True)
    return h.sum(3), h.sum(1)


def factor(q: FloatArray, ke: FloatArray, e: FloatArray, free_u: BoolArray, free_v: BoolArray) -> Solve:
    """Factor the Newton matrix; return the function that solves it approximately (a preconditioner).

    free_u (law, x, t) and free_v (law, t, y) mark the unknowns; the others stay 0 (zero-probability pairs,
    and one v per t, which fixes the gauge u_t + c, v_t - c).
    """
    laws, size_x, size_t, size_y = q.shape
    if size_t * (size_x + size_y) <= DENSE_LIMIT:
        return _factor_dense(q, ke, e, free_u, free_v)
    solvers = [_factor_schur(q[i], ke[i], e[i], free_u[i], free_v[i]) for i in range(laws)]

    def solve(ru: FloatArray, rv: FloatArray) -> tuple[FloatArray, FloatArray]:
        parts = [solver(ru[i], rv[i]) for i, solver in enumerate(solvers)]
        return np.stack([p[0] for p in parts]), np.stack([p[1] for p in parts])

    return solve


def _factor_schur(q: FloatArray, ke: FloatArray, e: FloatArray, free_u: BoolArray, free_v: BoolArray) -> Solve:
    size_x, size_t, size_y = q.shape
    t, y = np.arange(size_t), np.arange(size_y)
    block = ke @ e.transpose(0, 2, 1)  # (x, t, t): the u-u blocks
    block[:, t, t] += q.sum(2) + ~free_u
    inverse = np.linalg.inv(_cholesky_blocks(block))  # lower-triangular factors, inverted
    keep = np.flatnonzero(free_v)
    if keep.size:
        coupling = ke[:, :, None, :] * e[:, None, :, :]  # (x, t, t', y): the u-v block
        coupling[:, t, t, :] += q
        reduced = (inverse @ coupling.reshape(size_x, size_t, -1)).reshape(size_x * size_t, -1)
        if keep.size < reduced.shape[1]:
            reduced = reduced[:, keep]
        own = e.transpose(2, 1, 0) @ ke.transpose(2, 0, 1)  # (y, t, t'): the v-v blocks
        own[:, t, t] += q.sum(0).T
        diagonal = own[:, t, t].T.ravel()[keep]
        pivot = diagonal - np.einsum("ij,ij->j", reduced, reduced)
        scale = 1.0 / np.sqrt(np.where(pivot > 1e-15 * diagonal, pivot, diagonal))
        reduced *= scale
        place = np.full(size_t * size_y, -1)
        place[keep] = np.arange(keep.size)
        rows = place[(t[:, None] * size_y + y).T]  # (y, t): position of (t, y) in the reduced system
        schur = blas.dsyrk(-1.0, reduced.T, lower=1)
        r, c = np.broadcast_arrays(rows[:, :, None], rows[:, None, :])
        used = (r >= c) & (c >= 0)
        schur[r[used], c[used]] += own[used] * scale[r[used]] * scale[c[used]]
        lower = _cholesky_regularised(schur)

    def solve(ru: FloatArray, rv: FloatArray) -> tuple[FloatArray, FloatArray]:
        half = (inverse @ ru[:, :, None])[:, :, 0]
        dv = np.zeros(size_t * size_y)
        if keep.size:
            z = lapack.dpotrs(lower, rv.ravel()[keep] * scale - half.ravel() @ reduced, lower=1)[0]
            dv[keep] = z * scale
            half = half - (reduced @ z).reshape(half.shape)
        du = (inverse.transpose(0, 2, 1) @ half[:, :, None])[:, :, 0]
        return du, dv.reshape(size_t, size_y)

    return solve


def _cholesky_blocks(block: FloatArray) -> FloatArray:
    """Cholesky factors of a stack; blocks lost to rounding get a relative 1e-13 on the diagonal."""
    try:
        return np.asarray(np.linalg.cholesky(block), dtype=np.float64)
    except np.linalg.LinAlgError:
        t = np.arange(block.shape[-1])
        raised = block.copy()
        raised[..., t, t] *= 1.0 + 1e-13
        return np.asarray(np.linalg.cholesky(raised), dtype=np.float64)


def _cholesky_regularised(a: FloatArray) -> FloatArray:
    """Lower Cholesky factor of a matrix with unit diagonal, raised just enough to make it definite."""
    diagonal, extra = np.diag_indices_from(a), 1e-14
    lower, failed = lapack.dpotrf(a, lower=1, clean=0)
    while failed and extra < 1.0:  # NaN never succeeds: the step is then not finite, and the solver stops
        a[diagonal] += extra
        extra *= 10.0
        lower, failed = lapack.dpotrf(a, lower=1, clean=0)
    return np.asarray(lower)


def _factor_dense(q: FloatArray, ke: FloatArray, e: FloatArray, free_u: BoolArray, free_v: BoolArray) -> Solve:
    """Solve one small dense system per distribution, the fastest axis, so that each pivot is a vector operation."""
    laws, size_x, size_t, size_y = q.shape
    nu, n = size_x * size_t, size_t * (size_x + size_y)
    t = np.arange(size_t)
    q, ke, e = (np.ascontiguousarray(z.transpose(1, 2, 3, 0)) for z in (q, ke, e))  # (x, t, y, law)
    h = np.zeros((n, n, laws))
    uu = h[:nu, :nu].reshape(size_x, size_t, size_x, size_t, laws)
    vv = h[nu:, nu:].reshape(size_t, size_y, size_t, size_y, laws)
    vu = h[nu:, :nu].reshape(size_t, size_y, size_x, size_t, laws)
    for x in range(size_x):
        uu[x, :, x] = (ke[x][:, None] * e[x][None]).sum(2)
        uu[x, t, x, t] += q[x].sum(1)
        vu[:, :, x] = (ke[x][None] * e[x][:, None]).transpose(0, 2, 1, 3)  # symmetric in (t, t')
        vu[t, :, x, t] += q[x]
    for y in range(size_y):
        vv[:, y, :, y] = (ke[:, :, None, y] * e[:, None, :, y]).sum(0)
        vv[t, y, t, y] += q[:, :, y].sum(0)
    free = np.concatenate([free_u.reshape(laws, -1), free_v.reshape(laws, -1)], axis=1).T  # (n, law)
    h *= free[:, None] & free[None]
    i = np.arange(n)
    h[i, i] += ~free
    scale = 1.0 / np.sqrt(h[i, i])
    h *= scale[:, None] * scale[None]
    for k in range(n):
        pivot = h[k, k]
        # a pivot lost to rounding freezes its direction; conjugate gradients recover it
        h[k, k] = np.sqrt(np.where(pivot > 1e-15, pivot, 1e30))
        h[k + 1 :, k] /= h[k, k]
        h[k + 1 :, k + 1 :] -= h[k + 1 :, None, k] * h[None, k + 1 :, k]

    def solve(ru: FloatArray, rv: FloatArray) -> tuple[FloatArray, FloatArray]:
        r = np.concatenate([ru.reshape(laws, -1), rv.reshape(laws, -1)], axis=1).T * scale * free
        for k in range(n):
            r[k] /= h[k, k]
            r[k + 1 :] -= h[k + 1 :, k] * r[k]
        for k in range(n - 1, -1, -1):
            r[k] = (r[k] - (h[k + 1 :, k] * r[k + 1 :]).sum(0)) / h[k, k]
        r *= scale
        return r[:nu].T.reshape(ru.shape), r[nu:].T.reshape(rv.shape)

    return solve
