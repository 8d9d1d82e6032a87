"""Rank scaling: each column's empirical distribution function, and the quantiles of a normal or Student t margin."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from redundancy.array_types import FloatArray

GRID = 2049  # quantiles are interpolated between this many probabilities


@dataclass(frozen=True, eq=False)
class RankScale:
    """Empirical distribution functions of the columns of the rows that it was fitted on.

    Attributes
    ----------
    ordered : ndarray (n, d)
        The fitted rows, each column sorted.
    """

    ordered: FloatArray

    @classmethod
    def fit(cls, x: FloatArray) -> RankScale:
        """Learn the columns of x (n, d)."""
        return cls(np.sort(x, axis=0))

    def uniform(self, x: FloatArray) -> FloatArray:
        """Mid-rank probabilities (m, d) in (0, 1) of rows x (m, d), interpolated between the fitted rows."""
        n = self.ordered.shape[0]
        out = np.empty(x.shape)
        for j in range(x.shape[1]):
            values, counts = np.unique(self.ordered[:, j], return_counts=True)
            middle = (np.cumsum(counts) - 0.5 * counts) / n
            out[:, j] = np.interp(x[:, j], values, middle, left=0.5 / (n + 1), right=1.0 - 0.5 / (n + 1))
        return np.clip(out, 0.5 / (n + 1), 1.0 - 0.5 / (n + 1))


def quantiles(u: FloatArray, nu: float) -> FloatArray:
    """Quantiles of the Student t distribution with nu degrees of freedom (normal for infinite nu) at u."""
    from scipy.special import ndtri, stdtrit

    if math.isinf(nu):
        return np.asarray(ndtri(u))
    # Quantiles of t are close to linear in normal scores to the power of a smooth function: interpolate on that scale.
    score = ndtri(u)
    edge = max(float(np.abs(score).max()), 1.0)
    grid = np.linspace(-edge, edge, GRID)
    from scipy.special import ndtr

    return np.asarray(np.interp(score, grid, stdtrit(nu, ndtr(grid))))
