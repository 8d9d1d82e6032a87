"""Flash attention under a plan: padding masks for the keys that remain, runs where some tokens are only keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from vlm.engine.forward_call import Call
from vlm.engine.token_roles import Roles

# Keys that all runs together may have, over the keys there are: an image with a break after each row of patches has
# a run for each break, and a mask is cheaper than copying all before it so often.
_COPIES = 4
PACKED = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")
_ROWS_OF_THEIR_OWN = (
    "skipping: under flash attention {} several prompts in one row, which a plan cannot tell apart; give each prompt "
    "a row of its own, padded on the left"
)


@dataclass(frozen=True, eq=False)
class Runs:
    """Queries and keys as sequences behind each other, the kernel's "varlen" form.

    The kernel aligns causality with the end: query i of a run of n with k keys sees the first k - n + i + 1. So a
    run is a stretch of queries with no other key between theirs, and its keys are all that its last query sees.

    Attributes
    ----------
    queries, keys : int (total queries,), (total keys,)
        Rows of the flattened (batch * rows) queries and (batch * keys) keys; a key comes once for each run it is in.
    options : dict
        Where runs begin and end, and the longest, under transformers' names.
    """

    queries: Tensor
    keys: Tensor
    options: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Layout:
    """Who sees whom in one layer of a call.

    Attributes
    ----------
    own : int (batch, rows)
        Column of each query's own key, -1 for filler.
    keys : int (batch, keys)
        Logical position of each key, growing along a row but for -1, which is filler.
    opened : bool (batch, keys) or None
        Keys that are neither padding nor filler; None for all.
    runs_apart : bool
        Whether keys that are no queries lie between the queries' own, so that causality by row numbers fails.
    """

    own: Tensor
    keys: Tensor
    opened: Tensor | None
    runs_apart: bool

    @cached_property
    def _open(self) -> Tensor:
        return torch.ones_like(self.keys, dtype=torch.bool) if self.opened is None else self.opened

    def lines(self, rows: Tensor | None = None) -> Tensor:
        """The same as a mask, bool (batch, 1, rows, keys), for these rows (batch, rows) or all."""
        own = self.own if rows is None else self.own.gather(1, rows)
        places = self.keys.gather(1, own.clamp(min=0))
        seen = (self.keys.unsqueeze(1) <= places.unsqueeze(2)) & self._open.unsqueeze(1)
        # A row without any key would give NaN; nobody reads it.
        return (seen | ~seen.any(dim=-1, keepdim=True)).unsqueeze(1)

    @cached_property
    def runs(self) -> Runs | None:
        """Every query that is neither padding nor filler, in runs; None for no query or too many copies of keys."""
        rows, columns = self.own.shape[1], self._open.shape[1]
        queries = torch.nonzero((self._open.gather(1, self.own.clamp(min=0)) & (self.own >= 0)).flatten())[:, 0]
        if not len(queries):
            return None
        sample, column = queries // rows, self.own.flatten()[queries]
        # Numbered through the batch, the open keys of a run are neighbours: they end with its last query's own.
        number = self._open.flatten().cumsum(0)
        seen = number[sample * columns + column]
        begins = torch.ones_like(seen, dtype=torch.bool)
        begins[1:] = (sample[1:] != sample[:-1]) | (seen[1:] != seen[:-1] + 1)
        start = torch.nonzero(begins)[:, 0]
        stop = torch.cat([start[1:], start.new_tensor([len(queries)])])
        before = torch.cat([number.new_zeros(1), number[columns - 1 :: columns]])[sample[start]]
        lengths = seen[stop - 1] - before
        total = int(lengths.sum())
        if total > _COPIES * int(number[-1]):
            return None
        ends = lengths.cumsum(0)
        chosen = torch.arange(total, device=ends.device)
        chosen = chosen + (before - ends + lengths).repeat_interleave(lengths)
        zero = start.new_zeros(1)
        options = {
            "cu_seq_lens_q": torch.cat([zero, stop]).to(torch.int32),
            "cu_seq_lens_k": torch.cat([zero, ends]).to(torch.int32),
            "max_length_q": int((stop - start).max()),
            "max_length_k": int(lengths.max()),
        }
        return Runs(queries, torch.nonzero(self._open.flatten())[:, 0][chosen], options)


Mask = Tensor | Layout | None


def layout(
    call: Call, mask: Tensor | None, positions: Tensor | None, tokens: Roles, keys: Tensor, filler: bool
) -> Layout:
    """The layout of a shortened layer, once per call for all layers alike; mask and position ids are the model's."""
    key = ("layout", id(mask), id(tokens), id(keys))
    if key not in call.memo:
        if mask is None and positions is not None and _restarts(positions):
            raise NotImplementedError(_ROWS_OF_THEIR_OWN.format("position_ids that skip or restart mean"))
        seen = tokens.seen
        held = keys.shape[1] - seen.rows
        column = torch.zeros_like(call.real, dtype=torch.long).scatter(
            1, seen.index, torch.arange(held, keys.shape[1], device=keys.device).expand_as(seen.index)
        )
        own = column.gather(1, tokens.running.index)
        if tokens.running.valid is not None:
            own = torch.where(tokens.running.valid, own, -1)
        opened = _opened(call, mask, keys)
        if filler:
            opened = keys >= 0 if opened is None else opened & (keys >= 0)
        call.memo[key] = Layout(own, keys, opened, tokens.frozen is not None), mask, tokens, keys
    found: Layout = call.memo[key][0]
    return found


def _restarts(positions: Tensor) -> bool:
    """Whether transformers takes position ids (1, tokens) for those of several prompts."""
    return positions.ndim == 2 and len(positions) == 1 and bool((positions.diff(dim=1) != 1).any())


def whole(call: Call, mask: Tensor | None, queries: int, keys: int) -> Layout | None:
    """The layout of a layer that is not shortened; None where causality by row numbers is all."""
    if mask is None and not call.past:
        return None
    key = ("whole layout", id(mask), queries, keys)
    if key not in call.memo:
        end = call.past + call.real.shape[1]
        batch = call.real.shape[0]
        places = torch.arange(end - keys, end, device=call.real.device).expand(batch, -1)
        own = torch.arange(keys - queries, keys, device=call.real.device).expand(batch, -1)
        call.memo[key] = Layout(own, places, _opened(call, mask, places), False), mask
    found: Layout = call.memo[key][0]
    return found


def _opened(call: Call, mask: Tensor | None, keys: Tensor) -> Tensor | None:
    """bool (batch, keys): which keys a padding mask leaves open."""
    if mask is None:
        return None
    if mask.ndim != 2:
        raise NotImplementedError(f"flash attention: expected a padding mask (batch, keys), got {mask.ndim} dimensions")
    # Its columns are positions, unless a full sliding window cuts it.
    check_window(call, mask.shape[1])
    return mask.to(torch.bool).gather(1, keys.clamp(min=0))


def check_causal(module: nn.Module, is_causal: bool | None) -> None:
    """Refuse layers that look both ways, of which only the model's own call of the kernel knows."""
    if not (module.is_causal if is_causal is None else is_causal):
        raise NotImplementedError(
            "flash attention: freezing, pruning and measuring attention need causal layers; load the model with "
            "attn_implementation='sdpa' or 'eager'"
        )


def refuse_packed(given: Mapping[str, Any]) -> None:
    """Refuse the arguments by which several prompts in one row are told apart."""
    named = [name for name in PACKED if given.get(name) is not None]
    if named:
        raise NotImplementedError(_ROWS_OF_THEIR_OWN.format(f"{', '.join(named)} mean"))


def check_window(call: Call, window: int | None) -> None:
    """Refuse a layer whose sliding window is full: the kernel counts it in rows, which need not be positions."""
    length = call.past + call.real.shape[1]
    if window is not None and length > window:
        raise NotImplementedError(
            f"flash attention: {length} tokens exceed this layer's sliding window of {window}, which cannot be "
            "followed exactly; load the model with attn_implementation='sdpa' or 'eager'"
        )


def attend(
    function: Callable[..., Any],
    found: Layout,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    **options: Any,
) -> Any:
    """Attention of a shortened layer by transformers' flash function; query (batch, heads, rows, d)."""
    # Gaps in positions would be taken for several prompts in one row.
    options["position_ids"] = None
    if not found.runs_apart:
        return function(module, query, key, value, found.opened, **options)
    check_causal(module, options.get("is_causal"))
    batch, heads, rows, _ = query.shape
    runs = found.runs
    if runs is None:
        for unusual in ("softcap", "s_aux"):
            if options.get(unusual) is not None:
                raise NotImplementedError(
                    f"skipping: freezing an image of so many runs under flash attention is not supported in layers "
                    f"with {unusual!r}; load the model with attn_implementation='eager'"
                )
        return AttentionInterface()["sdpa"](module, query, key, value, found.lines(), **options)
    chosen = _rows(query, runs.queries)
    out, weights = function(
        module, chosen, _rows(key, runs.keys), _rows(value, runs.keys), None, **options, **runs.options
    )
    full = out.new_zeros(batch * rows, heads, out.shape[-1]).index_copy(0, runs.queries, out[0])
    return full.view(batch, rows, heads, -1), weights


def _rows(states: Tensor, index: Tensor) -> Tensor:
    """Some rows of (batch, heads, rows, d), numbered through the batch, as one sequence (1, heads, chosen, d)."""
    return states.transpose(1, 2).flatten(0, 1)[index].transpose(0, 1).unsqueeze(0)
