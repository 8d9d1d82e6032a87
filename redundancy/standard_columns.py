"""Columns brought to mean 0 and unit spread without overflow, and the one definition of a constant or dependent column.

What a column's rounding can hide is nothing: a column is constant if its range is within `CONSTANT` of its largest
magnitude, and columns are dependent if a singular value of the standardised matrix is within rounding of 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from redundancy.array_types import BoolArray, FloatArray, IntArray

EPSILON = float(np.finfo(np.float64).eps)
EXTREME = 332  # powers of two: columns above 1e100 or below 1e-100
CONSTANT = 64.0 * EPSILON  # range of a constant column, relative to its largest magnitude


@dataclass(frozen=True)
class StandardColumns:
    """Standardised columns (n, d), the logarithms of their scales (d,), and what rounding leaves of them.

    `rounding` is the rounding error of a value in units of its column's spread; constant columns are 0 here.
    """

    z: FloatArray
    log_scale: FloatArray
    constant: BoolArray
    rounding: FloatArray

    @property
    def rank_tolerance(self) -> float:
        """Singular values of `z` below this share of the largest are rounding errors."""
        return float(max(self.z.shape) * self.rounding.max(initial=EPSILON))


def constant_columns(x: FloatArray) -> BoolArray:
    """Which columns (d,) of finite x (n, d) differ from a single number by no more than rounding."""
    largest = np.abs(x).max(0)
    return np.asarray(x.max(0) * 0.5 - x.min(0) * 0.5 <= 0.5 * CONSTANT * largest)


def largest_exponents(x: FloatArray) -> IntArray:
    """The powers of two (d,) above the largest magnitude of each column; ldexp by them changes no digit."""
    return np.asarray(np.frexp(np.abs(x).max(axis=0))[1], dtype=np.int64)


def in_range(x: FloatArray) -> FloatArray:
    """Columns whose squares would leave the range of floats, times powers of two; the others unchanged."""
    exponent = largest_exponents(x)
    extreme = np.abs(exponent) > EXTREME
    return np.asarray(np.ldexp(x, np.where(extreme, -exponent, 0))) if extreme.any() else x


def standard_columns(x: FloatArray) -> StandardColumns:
    """Standardise the columns of finite x (n, d); magnitudes from 1e-320 to 1e308 are safe."""
    constant = constant_columns(x)
    exponent = np.frexp(np.abs(x).max(0))[1]
    centred = np.ldexp(x, -exponent)  # exact, in [-1, 1]
    centred = centred - centred.mean(0)
    second = np.frexp(np.abs(centred).max(0))[1]
    centred = np.ldexp(centred, -second)
    scale = np.where(constant, 1.0, np.sqrt(np.mean(centred * centred, axis=0)))
    z = np.where(constant, 0.0, centred / scale)
    unit = np.ldexp(scale, second)  # spread relative to the power of two above the largest magnitude
    log_scale = np.log(scale) + (exponent + second) * np.log(2.0)
    return StandardColumns(z, log_scale, constant, np.where(constant, 0.0, EPSILON / unit))


def independent_basis(x: FloatArray) -> tuple[FloatArray, float]:
    """Orthonormal basis (n, rank) of the centred columns of x (n, d), and the rank tolerance.

    Constant and linearly dependent columns add nothing, whatever their values, offsets and scales.
    """
    standard = standard_columns(x)
    z = standard.z[:, ~standard.constant]
    if z.shape[1] == 0:
        return z, standard.rank_tolerance
    left, values, _ = np.linalg.svd(z, full_matrices=False)
    return np.asarray(left[:, values > standard.rank_tolerance * values[0]]), standard.rank_tolerance
