"""How well the earlier state can be simulated from the later one for the purpose of the target."""

from __future__ import annotations

import numpy as np

from bounds.worlds import exact_quantities
from redundancy.array_types import FloatArray


def deficiency(tx: FloatArray, ty: FloatArray) -> float:
    """Least total variation between (T, X) and (T, X'), X' drawn from Y by a kernel: a linear programme.

    The programme's solution is re-evaluated as a kernel, so that the value returned is attained by one.

    Parameters
    ----------
    tx : ndarray (n_t, n_x)
        Law of (T, X).
    ty : ndarray (n_t, n_y)
        Law of (T, Y).
    """
    from scipy.optimize import linprog

    n_x, n_y = tx.shape[1], ty.shape[1]
    # Unknowns: a kernel k[y, x'], then the excess e[t, x'] of simulated over true probability.
    simulate = np.einsum("ty,xz->txyz", ty, np.eye(n_x)).reshape(tx.size, n_y * n_x)
    rows = np.concatenate([simulate, -np.eye(tx.size)], axis=1)
    sums = np.concatenate([np.kron(np.eye(n_y), np.ones(n_x)), np.zeros((n_y, tx.size))], axis=1)
    cost = np.concatenate([np.zeros(n_y * n_x), np.ones(tx.size)])
    found = linprog(cost, A_ub=rows, b_ub=tx.ravel(), A_eq=sums, b_eq=np.ones(n_y), method="highs")
    if found.x is None:
        raise RuntimeError(f"deficiency: the linear programme ended with {found.message!r}")
    kernel = np.clip(found.x[: n_y * n_x].reshape(n_y, n_x), 0.0, None)
    kernel /= kernel.sum(axis=1, keepdims=True)
    return exact_quantities.total_variation(ty @ kernel, tx)
