"""Reference implementation of the row-wise distances in 60 digits."""

from __future__ import annotations

import mpmath
import numpy as np


def exact_distance(x: np.ndarray, y: np.ndarray, name: str) -> float:
    """Distance of two vectors by its textbook formula; with 60 digits, cancellation does no harm."""
    with mpmath.workdps(60):
        a, b = ([mpmath.mpf(float(v)) for v in row] for row in (x, y))
        norm_a, norm_b = (mpmath.sqrt(mpmath.fsum(v * v for v in row)) for row in (a, b))
        if name == "euclidean":
            return float(mpmath.sqrt(mpmath.fsum((u - v) ** 2 for u, v in zip(a, b, strict=True))))
        cosine = mpmath.fsum(u * v for u, v in zip(a, b, strict=True)) / (norm_a * norm_b)
        cosine = max(min(cosine, mpmath.mpf(1)), mpmath.mpf(-1))
        return float(
            {"cosine": 1 - cosine, "angular": mpmath.acos(cosine), "chordal": mpmath.sqrt(2 - 2 * cosine)}[name]
        )
