"""Ridge regression at every strength from one eigendecomposition, in the smaller of the two dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from redundancy.array_types import FloatArray

# Strengths relative to the trace of the Gram matrix: from interpolation to the constant predictor.
STRENGTHS: FloatArray = np.logspace(-9, 1, 31)


@dataclass(frozen=True)
class RidgePath:
    """A fitted path: strength s predicts features @ basis @ (loadings / (e + s trace)) + intercept."""

    eigenvalues: FloatArray  # (r,)
    basis: FloatArray  # (p, r): maps centred test features, or centred kernel rows, to eigen-coordinates
    loadings: FloatArray  # (r, m)
    intercept: FloatArray  # (m,)
    trace: float

    def predict(self, features: FloatArray, strength: float) -> FloatArray:
        """Predictions (t, m) from features (t, p) of the kind that was fitted, or from kernel rows."""
        shrunk = self.loadings / (self.eigenvalues + strength * self.trace)[:, None]
        return np.asarray((features @ self.basis) @ shrunk + self.intercept)


def ridge_path(features: FloatArray, z: FloatArray) -> RidgePath:
    """Fit z (n, m) on centred features (n, p) through the p x p moment matrix; for p <= n."""
    intercept = z.mean(axis=0)
    values, vectors = np.linalg.eigh(features.T @ features)
    return RidgePath(
        np.maximum(values, 0.0), vectors, vectors.T @ (features.T @ (z - intercept)), intercept, _trace(values)
    )


def dual_ridge_path(gram: FloatArray, z: FloatArray) -> RidgePath:
    """Fit z (n, m) on the Gram matrix (n, n) of centred features; `predict` then takes kernel rows (t, n)."""
    intercept = z.mean(axis=0)
    values, vectors = np.linalg.eigh(gram)
    return RidgePath(np.maximum(values, 0.0), vectors, vectors.T @ (z - intercept), intercept, _trace(values))


def _trace(values: FloatArray) -> float:
    return max(float(values.sum()), float(np.finfo(np.float64).tiny))


def path_errors(path: RidgePath, features: FloatArray, z: FloatArray) -> FloatArray:
    """Sum over the rows and columns of z of the squared error, for each of `STRENGTHS`."""
    coordinates = features @ path.basis
    centred = z - path.intercept
    errors = np.empty(STRENGTHS.size)
    for i, strength in enumerate(STRENGTHS):
        shrunk = path.loadings / (path.eigenvalues + strength * path.trace)[:, None]
        errors[i] = np.square(centred - coordinates @ shrunk).sum()
    return errors
