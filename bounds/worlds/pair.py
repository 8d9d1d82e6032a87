"""Two finite worlds on the same symbols, and the total variation between their distributions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from bounds.worlds import exact_quantities
from bounds.worlds.finite import FiniteWorld
from redundancy.display import Displayed


@dataclass(frozen=True, eq=False, repr=False)
class PairWorld(Displayed):
    """Two joint distributions on the same symbols.

    Attributes
    ----------
    first, second : FiniteWorld
        Worlds whose distributions have the same shape.
    """

    first: FiniteWorld
    second: FiniteWorld

    def __post_init__(self) -> None:
        if self.first.pmf.shape != self.second.pmf.shape:
            raise ValueError(
                f"second: expected a distribution of shape {self.first.pmf.shape}, got {self.second.pmf.shape}"
            )

    @cached_property
    def tv_tx(self) -> float:
        """Total variation between the two distributions of (T, X)."""
        return exact_quantities.total_variation(self.first.tx, self.second.tx)

    @cached_property
    def tv_ty(self) -> float:
        """Total variation between the two distributions of (T, Y)."""
        return exact_quantities.total_variation(self.first.ty, self.second.ty)

    @cached_property
    def tv_xy(self) -> float:
        """Total variation between the two distributions of (X, Y)."""
        return exact_quantities.total_variation(self.first.xy, self.second.xy)
