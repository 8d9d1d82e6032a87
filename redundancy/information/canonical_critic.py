"""Canonical variates of radial features as a critic: a Gaussian copula of a few learned numbers of each side.

The features are the normal scores z and z r^j, with r the standardised squared norm of z: linear in the direction of a
row, polynomial in its length. Scalings and rotations that depend on the norm are of this kind.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from redundancy.array_types import FloatArray
from redundancy.information.copula_critics import Copula, gaussian_copula
from redundancy.information.normal_scores import RankScale, quantiles

RIDGE = 0.01
FARTHEST = 3.0  # the standardised norm is clipped here


@dataclass(frozen=True, eq=False)
class Variates:
    """Linear functions of the radial features of one side.

    Attributes
    ----------
    scale : RankScale
        Margins of the side's columns.
    degree : int
        Highest power of the norm.
    centre : ndarray (f,)
        Means of the f features.
    weights : ndarray (f, m)
        One column per variate.
    """

    scale: RankScale
    degree: int
    centre: FloatArray
    weights: FloatArray

    def of(self, x: FloatArray) -> FloatArray:
        """Variates (rows, m) of rows x (rows, d)."""
        return np.asarray((radial_features(self.scale, x, self.degree) - self.centre) @ self.weights)


@dataclass(frozen=True, eq=False)
class CanonicalCritic:
    """The Gaussian copula of both sides' canonical variates; I(f(X); g(Y)) <= I(X; Y) by data processing."""

    x_variates: Variates
    y_variates: Variates
    copula: Copula

    def log_ratio(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Log ratio of paired rows (m,)."""
        return self.copula.log_ratio(self.x_variates.of(x), self.y_variates.of(y))

    def scores(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What :meth:`matrix` reads: the rank-scaled variates of each side."""
        return self.copula.scores(self.x_variates.of(x), self.y_variates.of(y))

    def of_scores(self, zx: FloatArray, zy: FloatArray) -> FloatArray:
        """Log ratios of paired rows of scores (m,)."""
        return self.copula.of_scores(zx, zy)

    def matrix(self, zx: FloatArray, zy: FloatArray) -> FloatArray:
        """Log ratios of all pairs of rows of scores (m, l)."""
        return self.copula.matrix(zx, zy)


def canonical_critics(
    x: FloatArray, y: FloatArray, *, degree: int, components: tuple[int, ...] = (1, 2, 4)
) -> list[CanonicalCritic]:
    """Critics from the leading canonical variates, one per number of components that both sides can give."""
    sides = [RankScale.fit(rows) for rows in (x, y)]
    features = [radial_features(scale, rows, degree) for scale, rows in zip(sides, (x, y), strict=True)]
    centres = [f.mean(0) for f in features]
    features = [f - centre for f, centre in zip(features, centres, strict=True)]
    n = len(x)
    roots = [np.linalg.cholesky(_ridged(f.T @ f / n)) for f in features]
    across = np.linalg.solve(roots[1], np.linalg.solve(roots[0], features[0].T @ features[1] / n).T).T
    left, _, right = np.linalg.svd(across, full_matrices=False)
    weights = [np.linalg.solve(roots[0].T, left), np.linalg.solve(roots[1].T, right.T)]
    critics = []
    for m in components:
        if m > left.shape[1]:
            break
        f, g = (
            Variates(scale, degree, centre, w[:, :m]) for scale, centre, w in zip(sides, centres, weights, strict=True)
        )
        critics.append(CanonicalCritic(f, g, gaussian_copula(f.of(x), g.of(y))))
    return critics


def radial_features(scale: RankScale, x: FloatArray, degree: int) -> FloatArray:
    """z, z r, ..., z r^degree of rows x (n, d), with r = (|z|^2 - d) / sqrt(2 d): n rows, d (degree + 1) columns."""
    z = quantiles(scale.uniform(x), np.inf)
    d = z.shape[1]
    r = np.clip(((z**2).sum(1, keepdims=True) - d) / np.sqrt(2.0 * d), -FARTHEST, FARTHEST)
    return np.hstack([z * r**j for j in range(degree + 1)])


def _ridged(covariance: FloatArray) -> FloatArray:
    d = np.diag(covariance)
    return np.asarray(covariance + np.diag(RIDGE * d + 1e-12))
