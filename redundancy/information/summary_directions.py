"""Linear summaries of two layers, fitted on some rows and read on others: ridge, canonical correlations, PLS.

Columns that are constant or linearly dependent among the fitted rows change nothing, and summaries beyond the rank of
either side are zero.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from redundancy.array_types import FloatArray
from redundancy.prediction.cross_fitting import ridge_predict
from redundancy.standard_columns import constant_columns, standard_columns

SummaryMethod = Literal["ridge", "cca", "pls"]
PREDICTED = 64  # leading components of y that are predicted from x
NO_COVARIANCE = 1e-10  # of the first covariance: what deflation leaves is rounding


def summaries(
    x: FloatArray, y: FloatArray, x_new: FloatArray, y_new: FloatArray, components: int, summary: SummaryMethod
) -> tuple[FloatArray, FloatArray]:
    """Summaries (m, components) of the new rows of each side, fitted on (x, y)."""
    keep_x, keep_y = ~constant_columns(x), ~constant_columns(y)  # of these rows
    if not (keep_x.any() and keep_y.any()):
        return np.zeros((len(x_new), components)), np.zeros((len(y_new), components))
    x, x_new, y, y_new = x[:, keep_x], x_new[:, keep_x], y[:, keep_y], y_new[:, keep_y]
    if summary == "ridge":
        left, values, _ = np.linalg.svd(standard_columns(y).z, full_matrices=False)
        most = max(components, PREDICTED)
        both = ridge_predict(x, left[:, :most] * values[:most], np.vstack([x, x_new]))
        fitted = both[: len(x)] - both[: len(x)].mean(0)
        axes = np.linalg.svd(fitted, full_matrices=False)[2][:components]  # what x predicts best comes first
        both = both @ axes.T
        return both[len(x) :], ridge_predict(y, both[: len(x)], y_new)
    weights_of = canonical_weights if summary == "cca" else partial_least_squares_weights
    weights = weights_of(standard_columns(x).z, standard_columns(y).z, components)
    return _standardised(x, x_new) @ weights[0], _standardised(y, y_new) @ weights[1]


def canonical_weights(x: FloatArray, y: FloatArray, components: int) -> tuple[FloatArray, FloatArray]:
    """Weights (d, components) of the canonical variates of standardised columns, of unit variance."""
    (left_x, map_x), (left_y, map_y) = _whitened(x), _whitened(y)
    a, _, b = np.linalg.svd(left_x.T @ left_y, full_matrices=False)
    return _padded(map_x @ a, components), _padded(map_y @ b.T, components)


def partial_least_squares_weights(x: FloatArray, y: FloatArray, components: int) -> tuple[FloatArray, FloatArray]:
    """Rotations (d, components) of canonical partial least squares (mode A) of standardised columns."""
    rest = [x, y]
    weights: tuple[list[FloatArray], list[FloatArray]] = ([], [])
    loadings: tuple[list[FloatArray], list[FloatArray]] = ([], [])
    first = 0.0
    for _ in range(components):
        left, values, right = np.linalg.svd(rest[0].T @ rest[1], full_matrices=False)
        first = max(first, float(values[0]))
        if values[0] <= NO_COVARIANCE * first:
            break
        for side, direction in enumerate((left[:, 0], right[0])):
            scores = rest[side] @ direction
            loading = scores @ rest[side] / (scores @ scores)
            rest[side] = rest[side] - np.outer(scores, loading)
            weights[side].append(direction)
            loadings[side].append(loading)
    rotations = []
    for w, p, z in zip(weights, loadings, (x, y), strict=True):
        columns = np.array(w).reshape(-1, z.shape[1]).T
        rotations.append(_padded(columns @ np.linalg.pinv(np.array(p).reshape(columns.T.shape) @ columns), components))
    return rotations[0], rotations[1]


def _whitened(z: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Orthonormal basis (n, rank) of the columns, and the map (d, rank) to sqrt(n) times it."""
    left, values, right = np.linalg.svd(z, full_matrices=False)
    held = values > max(z.shape) * np.finfo(np.float64).eps * values[0]
    return left[:, held], np.asarray(right[held].T / values[held] * np.sqrt(len(z)))


def _padded(weights: FloatArray, components: int) -> FloatArray:
    out = np.zeros((weights.shape[0], components))
    out[:, : weights.shape[1]] = weights[:, :components]
    return out


def _standardised(fitted: FloatArray, rows: FloatArray) -> FloatArray:
    """New rows on the scale of the fitted ones."""
    return np.asarray((rows - fitted.mean(0)) / fitted.std(0))
