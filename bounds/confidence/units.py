"""Units on the first axis, as columns of numbers in [0, 1]; limits rounded to the valid side."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import BoolArray, FloatArray

# Covers the rounding of pairwise sums and of the map to [0, 1], in units of the support's width.
ROUNDING = 64 * np.finfo(np.float64).eps
BISECTIONS = 52


def to_unit(values: ArrayLike, support: tuple[float, float]) -> FloatArray:
    """Map values from a finite support to [0, 1].

    Parameters
    ----------
    values : array (n, ...)
        Units on the first axis.
    support : (float, float)
        Finite range that no unit can leave.

    Returns
    -------
    ndarray (n, ...)
        In [0, 1]; 0 where the support is a single number.

    Raises
    ------
    ValueError
        An infinite support, or values outside it.

    Examples
    --------
    >>> from bounds import confidence
    >>> confidence.to_unit([-1.0, 0.0, 1.0], (-1.0, 1.0)).tolist()
    [0.0, 0.5, 1.0]
    """
    low, high = (float(end) for end in support)
    if not (math.isfinite(high - low) and low <= high):
        raise ValueError(
            f"support: expected two finite numbers low <= high of a finite width, got ({low}, {high}); a mean of "
            "unbounded units has no finite-sample confidence limit without further assumptions"
        )
    a = checks.real_array(values, name="values")
    if a.ndim == 0 or a.size == 0:
        raise ValueError(f"values: expected shape (n, ...) with n >= 1 units, got {a.shape}")
    checks.finite(a, name="values")
    slack = ROUNDING * max(abs(low), abs(high))
    if a.min() < low - slack or a.max() > high + slack:
        raise ValueError(
            f"values: expected numbers in [{low}, {high}], got a range {a.min()} to {a.max()}; "
            "widen the support or look for the unit that leaves it"
        )
    if low == high:  # the mean is known
        return np.zeros_like(a)
    return np.clip((a - low) / (high - low), 0.0, 1.0)


def columns(values: ArrayLike, alpha: float, *, name: str = "values") -> tuple[FloatArray, tuple[int, ...]]:
    """Values (n, ...) as contiguous columns (c, n), so that sums along the units are pairwise."""
    checks.probability(alpha, name="alpha", open_ends=True)
    a = checks.real_array(values, name=name)
    if a.ndim == 0 or a.size == 0:
        raise ValueError(f"{name}: expected shape (n, ...) with n >= 1 units, got {a.shape}")
    checks.finite(a, name=name)
    if a.min() < -ROUNDING or a.max() > 1.0 + ROUNDING:
        raise ValueError(f"{name}: expected numbers in [0, 1], got a range {a.min()} to {a.max()}")
    # A mean of numbers in [0, 1] may leave it by a few ulps.
    return np.ascontiguousarray(np.clip(a, 0.0, 1.0).reshape(a.shape[0], -1).T), a.shape[1:]


def probability_within_ulps(value: float, *, name: str) -> float:
    """A number in [0, 1]; one that rounding moved out of it by a few ulps is moved back."""
    number = checks.number(value, name=name)
    return checks.probability(
        min(1.0, max(0.0, number)) if -ROUNDING <= number <= 1.0 + ROUNDING else number, name=name
    )


def shaped(limit: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Limits in the shape of a unit, raised by the rounding of their computation; at most 1."""
    return np.minimum(1.0, limit + ROUNDING).reshape(shape)


def first_rejected(rejected: Callable[[FloatArray], BoolArray], low: FloatArray) -> FloatArray:
    """The rejected, hence valid, end of the bracket around the point where a monotone test starts to reject."""
    low, high = low.copy(), np.ones_like(low)
    for _ in range(BISECTIONS):
        middle = 0.5 * (low + high)
        below = rejected(middle)
        high = np.where(below, middle, high)
        low = np.where(below, low, middle)
    return high
