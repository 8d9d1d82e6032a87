"""Small point sets in double precision: directions and all pairwise distances."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from redundancy.array_types import FloatArray


def on_sphere(points: ArrayLike) -> FloatArray:
    """Rows divided by their norms."""
    p = np.asarray(points, dtype=np.float64)
    norms = np.sqrt((p**2).sum(axis=-1, keepdims=True))
    if (norms == 0).any():
        raise ValueError("points: expected non-zero rows, got a zero row, which has no direction; remove it")
    out: FloatArray = p / norms
    return out


def lengths(a: FloatArray, b: FloatArray) -> FloatArray:
    """Euclidean distance of every row of a (n, d) to every row of b (k, d), shape (n, k)."""
    out: FloatArray = np.sqrt(((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=-1))
    return out


def cosine_distances(a: FloatArray, b: FloatArray) -> FloatArray:
    """Cosine distance of every row of a to every row of b, shape (n, k)."""
    return 0.5 * lengths(on_sphere(a), on_sphere(b)) ** 2
