"""The tokens of a call that take part in a layer, as indices."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Active:
    """Some tokens of a call.

    Attributes
    ----------
    index : int (batch, rows)
        Positions of the tokens in the call. Samples with fewer tokens than others are filled up on the left.
    valid : bool (batch, rows) or None
        False for filler rows; None if there are none.
    length : int
        Number of tokens of the call.
    """

    index: Tensor
    valid: Tensor | None
    length: int

    def to(self, device: torch.device) -> Active:
        """The same tokens, with indices on another device."""
        return Active(self.index.to(device), None if self.valid is None else self.valid.to(device), self.length)

    @property
    def rows(self) -> int:
        """Number of rows, filler included."""
        return self.index.shape[1]

    @property
    def everything(self) -> bool:
        """Whether these are all tokens of the call."""
        return self.valid is None and self.rows == self.length

    @cached_property
    def flat(self) -> Tensor:
        """Indices (batch * rows,) into the tokens of all samples, one sample after another."""
        return flattened_index(self.index, self.length)

    @cached_property
    def real(self) -> Tensor | None:
        """Indices of the rows of :attr:`flat` that are not filler; None if all of them are."""
        return None if self.valid is None else torch.nonzero(self.valid.flatten())[:, 0]

    @cached_property
    def places(self) -> Tensor:
        """:attr:`index` with -1 for filler."""
        return self.index if self.valid is None else torch.where(self.valid, self.index, -1)


@dataclass(frozen=True, eq=False)
class Roles:
    """What the tokens of a call do in one layer.

    Attributes
    ----------
    running : Active
        Tokens that go through the layer.
    frozen : Active or None
        Tokens that pass unchanged but serve as keys and values.
    seen : Active
        Both together: every token that is a key.
    """

    running: Active
    frozen: Active | None
    seen: Active

    def to(self, device: torch.device) -> Roles:
        """The same roles, with indices on another device."""
        running = self.running.to(device)
        seen = running if self.seen is self.running else self.seen.to(device)
        return Roles(running, None if self.frozen is None else self.frozen.to(device), seen)


def flattened_index(index: Tensor, length: int) -> Tensor:
    """Indices (batch, rows) along axis 1 as (batch * rows,) indices into the flattened (batch * length) axis."""
    offset = torch.arange(len(index), device=index.device).unsqueeze(1) * length
    return (index + offset).flatten()
