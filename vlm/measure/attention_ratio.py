"""Visual attention ratio: how much of a text token's attention falls on the image, from that query row only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlm.engine.attention_event import AttentionEvent
from vlm.engine.attention_rows import attention_rows, row_of
from vlm.engine.forward_call import Call
from vlm.engine.hooks import attached
from vlm.models.families import Family
from vlm.table import Table


@dataclass(eq=False)
class AttentionRecord:
    """What :func:`attention` measured: per call a (layers, batch, heads) tensor of ratios.

    Call the model once per prompt; of `generate` cached decoding steps are passed over, repetitions of the
    prompt (beams, decoding without a cache) are recorded as samples. A layer that did not attend from the
    query token (it bypassed the layer) has NaN.
    """

    depth: int
    token: int
    _rows: dict[int, Tensor] = field(default_factory=dict)
    _done: list[Tensor] = field(default_factory=list)
    _call: Call | None = None

    def observe(self, event: AttentionEvent) -> None:
        call = event.call
        if self._call is not call:
            # A call that failed leaves rows behind; they are not this call's.
            self._rows, self._call = {}, call
        if not call.past:
            self._rows[event.layer] = _ratio(event, self.token)

    def finish(self, call: Call) -> None:
        rows, self._rows, self._call = self._rows, {}, None
        if rows:
            missing = torch.full_like(next(iter(rows.values())), torch.nan)
            self._done.append(torch.stack([rows.get(i, missing) for i in range(self.depth)]).to("cpu"))

    def ratios(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Visual attention ratio, shape (samples, layers, heads), in [0, 1]."""
        if not self._done:
            raise ValueError("attention: nothing recorded yet; call the model inside the context first")
        return torch.cat(self._done, dim=1).permute(1, 0, 2).numpy().astype(np.float64)

    def table(self) -> Table:
        """Tidy table, one row per (sample, layer, head), column `ratio`."""
        ratios = self.ratios()
        sample, layer, head = (a.reshape(-1) for a in np.indices(ratios.shape))
        return Table({"sample": sample, "layer": layer, "head": head, "ratio": ratios.reshape(-1)})


@contextmanager
def attention(model: Any, *, token: int = -1, family: Family | None = None) -> Iterator[AttentionRecord]:
    """Measure the visual attention ratio of one text token while the model runs.

    The ratio of layer l and head h is the attention mass that the query token puts on image tokens,
    sum over image tokens j of A^(l, h)[query, j], the alpha of the attention-removal theorem. It is
    computed from one row of scores, so memory is O(sequence) per head, under eager, sdpa and flash attention alike.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family with eager, sdpa or flash attention.
    token : int
        Which real (not padding) token of each prompt asks, counted like a Python index: -1 is the last one,
        which predicts the first answer token.
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    AttentionRecord
    """
    with attached(model, family) as engine:
        record = AttentionRecord(engine.parts.depth, token)
        with engine.watch_attention(record.observe, record.finish):
            yield record


def _ratio(event: AttentionEvent, token: int) -> Tensor:
    """(batch, heads) attention mass on image keys."""
    call, layer = event.call, event.layer
    asked = _asked(call, token)
    row, present = row_of(call, layer, asked)
    weights = attention_rows(event, row.unsqueeze(1)).squeeze(2)
    mass = (weights * _vision_keys(call, layer).unsqueeze(1)).sum(dim=-1)
    return torch.where(present.unsqueeze(1), mass, torch.nan)


def _asked(call: Call, token: int) -> Tensor:
    """(batch,) index in the call of the chosen real token."""
    counts = call.real.sum(dim=1)
    if int(counts.min()) < (token + 1 if token >= 0 else -token):
        raise ValueError(
            f"token: expected an index within every prompt (shortest has {int(counts.min())} tokens), got {token}"
        )
    rank = counts + token if token < 0 else torch.full_like(counts, token)
    asked = (call.real.cumsum(dim=1) == (rank + 1).unsqueeze(1)).to(torch.uint8).argmax(dim=1)
    if bool(call.vision.gather(1, asked.unsqueeze(1)).any()):
        raise ValueError(f"token: expected a text token in every prompt, but token {token} is an image token in one")
    return asked


def _vision_keys(call: Call, layer: int) -> Tensor:
    if layer not in call.key_positions:
        return call.vision.to(torch.float32)
    keys = call.key_positions[layer]
    return (call.vision.gather(1, keys.clamp(min=0)) & (keys >= 0)).to(torch.float32)
