"""Two finite worlds on the same symbols, and how far apart their laws are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from bounds.worlds import exact_quantities
from bounds.worlds.finite import FiniteWorld


@dataclass(frozen=True, eq=False)
class PairWorld:
    """A law and another one on the same symbols.

    Attributes
    ----------
    first, second : FiniteWorld
    """

    first: FiniteWorld
    second: FiniteWorld

    def __post_init__(self) -> None:
        if self.first.pmf.shape != self.second.pmf.shape:
            raise ValueError(f"second: expected a law of shape {self.first.pmf.shape}, got {self.second.pmf.shape}")

    @cached_property
    def tv_tx(self) -> float:
        """Total variation between the laws of (T, X)."""
        return exact_quantities.total_variation(self.first.tx, self.second.tx)

    @cached_property
    def tv_ty(self) -> float:
        """Total variation between the laws of (T, Y)."""
        return exact_quantities.total_variation(self.first.ty, self.second.ty)

    @cached_property
    def tv_xy(self) -> float:
        """Total variation between the laws of (X, Y)."""
        return exact_quantities.total_variation(self.first.xy, self.second.xy)
