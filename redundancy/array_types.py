"""The array types used in signatures; every other module imports them from here."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
# A NumPy array or a torch tensor on any device: the array API standard has no static type.
AnyArray: TypeAlias = Any
# What makes results reproducible: a generator, a seed, or None for fresh entropy.
Rng: TypeAlias = np.random.Generator | int | None
