"""What a certificate is: an interval, its confidence, and the sentence that says what it means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bounds.certificates import guarantee_text
from redundancy.array_types import FloatArray
from redundancy.estimate import Estimate


@dataclass(frozen=True, eq=False)
class Certificate:
    """An interval [low, high] that covers the true value with probability at least `confidence`.

    Both ends are rounded outward. `guarantee` says in one sentence what is guaranteed, for which unit of
    sampling, under which assumption. A one-sided certificate has the end of the range on its other side.
    """

    low: float | FloatArray
    high: float | FloatArray
    confidence: float
    method: str
    guarantee: str
    quantity: str
    estimate: float | FloatArray
    n: int
    unit_of_sampling: str = "row"
    unit: str = "1"

    def __repr__(self) -> str:
        interval = f"{self.quantity} in [{self.low}, {self.high}]"
        return f"{interval} at confidence {self.confidence:g} ({self.method}, n = {self.n})"


def certificate_of(
    estimate: Estimate,
    *,
    low: FloatArray,
    high: FloatArray,
    value: float | FloatArray,
    confidence: float,
    method: str,
    side: str,
    family: int,
    assumptions: list[str],
    what: str,
    quantity: str | None = None,
    unit: str | None = None,
) -> Certificate:
    """The certificate of an estimate's interval [low, high], with its sentence."""
    scalar = np.ndim(low) == 0
    bottom: float | FloatArray = float(low) if scalar else low
    top: float | FloatArray = float(high) if scalar else high
    return Certificate(
        low=bottom,
        high=top,
        confidence=confidence,
        method=method,
        guarantee=guarantee_text.sentence(
            confidence=confidence,
            n=estimate.n,
            unit=estimate.unit_of_sampling,
            what=what,
            low=bottom,
            high=top,
            side=side,
            assumptions=assumptions,
            family=family,
        ),
        quantity=quantity or estimate.quantity,
        estimate=float(value) if np.ndim(value) == 0 else value,
        n=estimate.n,
        unit_of_sampling=estimate.unit_of_sampling,
        unit=estimate.unit if unit is None else unit,
    )
