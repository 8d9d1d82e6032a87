"""Two finite worlds on the same symbols, and how far apart their laws are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from redundancy import exact
from redundancy.worlds import FiniteWorld


@dataclass(frozen=True, eq=False)
class PairWorld:
    """A law and another one on the same symbols.

    Attributes
    ----------
    first, second : FiniteWorld
    """

    first: FiniteWorld
    second: FiniteWorld

    def __post_init__(self) -> None:
        if self.first.pmf.shape != self.second.pmf.shape:
            raise ValueError(f"second: expected a law of shape {self.first.pmf.shape}, got {self.second.pmf.shape}")

    @cached_property
    def tv_tx(self) -> float:
        """Total variation between the laws of (T, X)."""
        return exact.total_variation(self.first.tx, self.second.tx)

    @cached_property
    def tv_ty(self) -> float:
        """Total variation between the laws of (T, Y)."""
        return exact.total_variation(self.first.ty, self.second.ty)

    @cached_property
    def tv_xy(self) -> float:
        """Total variation between the laws of (X, Y)."""
        return exact.total_variation(self.first.xy, self.second.xy)


def deficiency(world: FiniteWorld) -> float:
    """Least total variation between (T, X) and (T, X'), X' simulated from Y: a linear programme.

    Its vertex solution is re-evaluated as a kernel, so that the value returned is attained by one.
    """
    from scipy.optimize import linprog

    n_t, n_x, n_y = world.pmf.shape
    # Unknowns: a kernel k[y, x'], then the excess e[t, x'] of simulated over true probability.
    simulate = np.einsum("ty,xz->txyz", world.ty, np.eye(n_x)).reshape(n_t * n_x, n_y * n_x)
    rows = np.concatenate([simulate, -np.eye(n_t * n_x)], axis=1)
    sums = np.concatenate([np.kron(np.eye(n_y), np.ones(n_x)), np.zeros((n_y, n_t * n_x))], axis=1)
    cost = np.concatenate([np.zeros(n_y * n_x), np.ones(n_t * n_x)])
    found = linprog(cost, A_ub=rows, b_ub=world.tx.ravel(), A_eq=sums, b_eq=np.ones(n_y), method="highs")
    if found.x is None:
        raise RuntimeError(f"deficiency: the linear programme ended with {found.message!r}")
    kernel = np.clip(found.x[: n_y * n_x].reshape(n_y, n_x), 0.0, None)
    kernel /= kernel.sum(axis=1, keepdims=True)
    return exact.total_variation(world.ty @ kernel, world.tx)
