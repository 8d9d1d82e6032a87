"""The array types used in signatures; every other module imports them from here."""

from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
# A NumPy array or a torch tensor on any device: the array API standard has no static type.
AnyArray: TypeAlias = Any
# What makes results reproducible: a generator, a seed, or None for fresh entropy.
Rng: TypeAlias = np.random.Generator | int | None


@runtime_checkable
class ArrayLater(Protocol):
    """An array that is made when it is first read, because it is much larger than what it is made from."""

    def values(self) -> FloatArray:
        """The array."""
