"""What every estimator returns: a number together with what its interval will need."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from redundancy.array_types import FloatArray


@dataclass(frozen=True, eq=False)
class Estimate:
    """An estimated quantity that keeps its per-unit values.

    The unit of sampling is the image (or document) when the estimator was given `groups`, else the
    row: only units are assumed independent, so only `per_unit` may enter a certificate.

    Attributes
    ----------
    value : float or ndarray (k,)
        The estimate: the mean of `per_unit` over units, never clipped.
    quantity : str
        What was estimated: "geometric", "proximal", "functional", "informational", ...
    per_unit : ndarray (units,) or (units, k), or None
        One number (or one row of k numbers) per unit of sampling; None when the estimator is not a mean
        over units.
    rows : ndarray (units,) or None
        How many rows (tokens) each unit averaged; None means one each.
    support : (float, float)
        The range that a per-unit value cannot leave by construction; an end may be infinite.
    unit_of_sampling : str
        "image" when groups were given, else "row".
    unit : str
        Physical unit of `value`: "1" (dimensionless), "nats", "radians", ...
    settings : mapping
        Everything that was chosen to compute the number.
    baseline : Estimate or None
        The same quantity for unrelated (independent) pairs, where the estimator offers it.
    details : mapping
        Further results of the estimator (tables, chosen models), for reading.
    """

    value: float | FloatArray
    quantity: str
    per_unit: FloatArray | None = None
    rows: FloatArray | None = None
    support: tuple[float, float] = (-math.inf, math.inf)
    unit_of_sampling: str = "row"
    unit: str = "1"
    settings: Mapping[str, Any] = field(default_factory=dict)
    baseline: Estimate | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Number of independent units the estimate averages; 0 when it keeps none."""
        return 0 if self.per_unit is None else int(self.per_unit.shape[0])

    @property
    def bits(self) -> float | FloatArray:
        """The value in bits; only for quantities measured in nats."""
        if self.unit != "nats":
            raise ValueError(f"bits: expected a quantity in nats, got unit {self.unit!r}; read .value instead")
        return self.value / math.log(2.0)

    def __float__(self) -> float:
        return float(self.value)

    def __repr__(self) -> str:
        shown = ", ".join(f"{key}={_short(value)}" for key, value in self.settings.items())
        base = "" if self.baseline is None else f", unrelated {_short(self.baseline.value)}"
        unit = "" if self.unit == "1" else f" {self.unit}"
        size = f"n = {self.n} {self.unit_of_sampling}s" if self.n else "no per-unit values"
        return f"{self.quantity} {_short(self.value)}{unit} ({size}{base}{'; ' + shown if shown else ''})"


def _short(value: object) -> str:
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}"
    if isinstance(value, np.ndarray):
        return np.array2string(value, precision=4, threshold=6)
    return str(value)
