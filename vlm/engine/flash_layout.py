"""Who attends to whom in one layer under flash attention, which takes no masks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

import torch
from torch import Tensor

# Maximum ratio of duplicated keys to keys before falling back to SDPA with a mask: an image with a line-break token
# after each row of patches has one run per break, and each run would copy all keys before it.
_MAXIMUM_COPIES = 4


class SequenceLengths(TypedDict):
    """Boundaries of the runs and the longest run, under the names of transformers' flash attention arguments."""

    cu_seq_lens_q: Tensor
    cu_seq_lens_k: Tensor
    max_length_q: int
    max_length_k: int


@dataclass(frozen=True, eq=False)
class Runs:
    """Queries and keys as concatenated sequences, the "varlen" form of the kernel.

    The kernel aligns causality at the end: query i of a run with n queries and k keys sees the first k - n + i + 1
    keys. A run is therefore a stretch of queries without another key between their own keys, and its keys are all
    that its last query sees.

    Attributes
    ----------
    queries, keys : int (total queries,), (total keys,)
        Rows of the flattened (batch * rows) queries and (batch * keys) keys; a key is repeated in every run that
        sees it.
    lengths : SequenceLengths
        Where runs begin and end.
    """

    queries: Tensor
    keys: Tensor
    lengths: SequenceLengths


@dataclass(frozen=True, eq=False)
class Layout:
    """Who attends to whom in one layer of a call.

    Attributes
    ----------
    own : int (batch, rows)
        Column of each query's own key, -1 for filler.
    keys : int (batch, keys)
        Logical position of each key, increasing along a row except for filler, which is -1.
    opened : bool (batch, keys) or None
        Keys that are neither padding nor filler; None for all.
    runs_apart : bool
        Whether keys that are not queries lie between the queries' own keys, so that causality by row number is
        wrong.
    """

    own: Tensor
    keys: Tensor
    opened: Tensor | None
    runs_apart: bool

    def to(self, device: torch.device | str) -> Layout:
        """The same layout on another device."""
        opened = None if self.opened is None else self.opened.to(device)
        return Layout(self.own.to(device), self.keys.to(device), opened, self.runs_apart)

    @cached_property
    def _open(self) -> Tensor:
        return torch.ones_like(self.keys, dtype=torch.bool) if self.opened is None else self.opened

    def lines(self, rows: Tensor | None = None) -> Tensor:
        """The layout as a boolean mask (batch, 1, rows, keys), for the given rows (batch, rows) or all of them."""
        own = self.own if rows is None else self.own.gather(1, rows)
        places = self.keys.gather(1, own.clamp(min=0))
        seen = (self.keys.unsqueeze(1) <= places.unsqueeze(2)) & self._open.unsqueeze(1)
        # A row without any key would give NaN; its result is never read.
        return (seen | ~seen.any(dim=-1, keepdim=True)).unsqueeze(1)

    @cached_property
    def runs(self) -> Runs | None:
        """All queries that are neither padding nor filler, in runs; None without queries or with too many copies."""
        rows, columns = self.own.shape[1], self._open.shape[1]
        queries = torch.nonzero((self._open.gather(1, self.own.clamp(min=0)) & (self.own >= 0)).flatten())[:, 0]
        if not len(queries):
            return None
        sample, column = queries // rows, self.own.flatten()[queries]
        # Numbered through the batch, the open keys of a run are consecutive and end with its last query's own key.
        number = self._open.flatten().cumsum(0)
        seen = number[sample * columns + column]
        begins = torch.ones_like(seen, dtype=torch.bool)
        begins[1:] = (sample[1:] != sample[:-1]) | (seen[1:] != seen[:-1] + 1)
        start = torch.nonzero(begins)[:, 0]
        stop = torch.cat([start[1:], start.new_tensor([len(queries)])])
        before = torch.cat([number.new_zeros(1), number[columns - 1 :: columns]])[sample[start]]
        lengths = seen[stop - 1] - before
        total = int(lengths.sum())
        if total > _MAXIMUM_COPIES * int(number[-1]):
            return None
        ends = lengths.cumsum(0)
        chosen = torch.arange(total, device=ends.device)
        chosen = chosen + (before - ends + lengths).repeat_interleave(lengths)
        zero = start.new_zeros(1)
        return Runs(
            queries,
            torch.nonzero(self._open.flatten())[:, 0][chosen],
            SequenceLengths(
                cu_seq_lens_q=torch.cat([zero, stop]).to(torch.int32),
                cu_seq_lens_k=torch.cat([zero, ends]).to(torch.int32),
                max_length_q=int((stop - start).max()),
                max_length_k=int(lengths.max()),
            ),
        )


Mask = Tensor | Layout | None
