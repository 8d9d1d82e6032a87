"""From an estimate to a statement that holds with a stated probability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Certificate:
    """An interval [low, high] that covers the true value with probability at least `confidence`.

    Both ends are rounded outward. `guarantee` says in one sentence what is guaranteed, for which unit of
    sampling, under which assumption.
    """

    low: float | FloatArray
    high: float | FloatArray
    confidence: float
    method: str
    guarantee: str
    quantity: str
    estimate: float | FloatArray
    n: int

    def __repr__(self) -> str:
        interval = f"{self.quantity} in [{self.low}, {self.high}]"
        return f"{interval} at confidence {self.confidence:g} ({self.method}, n = {self.n})"
