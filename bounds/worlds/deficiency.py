"""Deficiency: how well the earlier state can be simulated from the later one for predicting the target."""

from __future__ import annotations

import numpy as np

from bounds.worlds import exact_quantities
from redundancy.array_types import FloatArray


def deficiency(tx: FloatArray, ty: FloatArray) -> float:
    """Least total variation between (T, X) and (T, X'), over all X' drawn from Y by a kernel: a linear programme.

    The solution is normalised and re-evaluated as a kernel, so that a kernel attains the value returned.

    Parameters
    ----------
    tx : ndarray (n_t, n_x)
        Joint distribution of (T, X).
    ty : ndarray (n_t, n_y)
        Joint distribution of (T, Y).

    Returns
    -------
    float
        In [0, 1]; 0 where X can be simulated from Y.
    """
    from scipy.optimize import linprog

    n_x, n_y = tx.shape[1], ty.shape[1]
    # Unknowns: a kernel k[y, x'], then the excess e[t, x'] of simulated over true probability.
    simulate = np.einsum("ty,xz->txyz", ty, np.eye(n_x)).reshape(tx.size, n_y * n_x)
    rows = np.concatenate([simulate, -np.eye(tx.size)], axis=1)
    sums = np.concatenate([np.kron(np.eye(n_y), np.ones(n_x)), np.zeros((n_y, tx.size))], axis=1)
    cost = np.concatenate([np.zeros(n_y * n_x), np.ones(tx.size)])
    solution = linprog(cost, A_ub=rows, b_ub=tx.ravel(), A_eq=sums, b_eq=np.ones(n_y), method="highs")
    if solution.x is None:
        raise RuntimeError(f"deficiency: the linear programme ended with {solution.message!r}")
    kernel = np.clip(solution.x[: n_y * n_x].reshape(n_y, n_x), 0.0, None)
    kernel /= kernel.sum(axis=1, keepdims=True)
    return exact_quantities.total_variation(ty @ kernel, tx)
