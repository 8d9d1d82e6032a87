"""Nearest neighbours as a critic: the pointwise terms of KSG, counted among training rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma

from redundancy.array_types import FloatArray
from redundancy.information.normal_scores import RankScale, quantiles


@dataclass(frozen=True, eq=False)
class NeighbourCritic:
    """log p(x, y) / (p(x) p(y)) from the k nearest training rows of a pair, after rank scaling to normal scores.

    Rows scored must not be among the training rows; then rows of one image never count as each other's neighbours.
    """

    x_scale: RankScale
    y_scale: RankScale
    x: FloatArray
    y: FloatArray
    k: int

    def log_ratio(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """psi(k) + psi(n + 1) - psi(n_x + 1) - psi(n_y + 1) of paired rows (m,), n training rows."""
        from scipy.spatial import cKDTree

        zx, zy = _scores(self.x_scale, x), _scores(self.y_scale, y)
        both, pairs = np.hstack([self.x, self.y]), np.hstack([zx, zy])
        gaps, _ = cKDTree(both).query(pairs, k=self.k, p=np.inf)
        radius = np.nextafter(np.asarray(gaps).reshape(len(x), -1)[:, -1], 0.0)
        near_x, near_y = _counts(self.x, zx, radius), _counts(self.y, zy, radius)
        n = len(self.x)
        inside = np.full(len(x), float(self.k))
        tied = radius == 0  # copies of the pair: the mixed count of Gao et al.
        inside[tied] = _counts(both, pairs[tied], radius[tied])
        return np.asarray(digamma(inside) + digamma(n + 1) - digamma(near_x + 1.0) - digamma(near_y + 1.0))


def neighbour_critic(x: FloatArray, y: FloatArray, *, k: int = 5) -> NeighbourCritic:
    """Store the training rows, rank-scaled."""
    x_scale, y_scale = RankScale.fit(x), RankScale.fit(y)
    return NeighbourCritic(x_scale, y_scale, _scores(x_scale, x), _scores(y_scale, y), k)


def _scores(scale: RankScale, x: FloatArray) -> FloatArray:
    return quantiles(scale.uniform(x), np.inf)


def _counts(points: FloatArray, queries: FloatArray, radius: FloatArray) -> FloatArray:
    """How many points are within each query's radius."""
    if points.shape[1] == 1:
        line, q = np.sort(points[:, 0]), queries[:, 0]
        inside = np.searchsorted(line, q + radius, side="right") - np.searchsorted(line, q - radius, side="left")
        return np.asarray(inside, dtype=np.float64)
    from scipy.spatial import cKDTree

    counts = cKDTree(points).query_ball_point(queries, radius, p=np.inf, return_length=True)
    return np.asarray(counts, dtype=np.float64)
