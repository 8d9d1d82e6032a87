"""Sums that do not depend on the order of their terms: each is a float64 number and the rounding error it left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from redundancy.array_types import FloatArray


@dataclass(frozen=True, eq=False)
class ExactSum:
    """The sum high + low, elementwise, to about 106 bits.

    Adding float64 numbers is not associative; adding these is, up to 2**-100 of the largest term, so `value` is the
    same float64 number in whichever order and grouping terms were added, unless the exact sum lies that close to the
    middle between two floats.

    Attributes
    ----------
    high, low : ndarray
        `high` is the float64 number nearest to the sum, `low` what is missing from it.

    Examples
    --------
    >>> import numpy as np
    >>> from vlm.hidden_states.moment_exact import ExactSum
    >>> large, small = ExactSum.of(np.array([1e16])), ExactSum.of(np.array([1.0]))
    >>> (small + small + large).value, (large + small + small).value
    (array([1.e+16]), array([1.e+16]))
    >>> ((large + small) + ExactSum.of(np.array([-1e16]))).value
    array([1.])
    """

    high: FloatArray
    low: FloatArray

    @classmethod
    def of(cls, high: FloatArray, low: FloatArray | None = None) -> ExactSum:
        """A sum from its parts, which need not be normalised."""
        high = np.asarray(high, dtype=np.float64)
        return cls(*_normalised(high, np.zeros_like(high) if low is None else low))

    @property
    def value(self) -> FloatArray:
        """The sum rounded to float64."""
        return self.high

    def __add__(self, other: ExactSum) -> ExactSum:
        total, rest = _two_sum(self.high, other.high)
        return ExactSum(*_normalised(total, rest + (self.low + other.low)))

    def __getitem__(self, key: int | slice) -> ExactSum:
        return ExactSum(self.high[key], self.low[key])


def _two_sum(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Knuth's sum: a + b = total + rest exactly."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _normalised(high: FloatArray, low: FloatArray) -> tuple[FloatArray, FloatArray]:
    return _two_sum(high, low)
