"""Visual attention ratio: the share of one text token's attention that falls on the image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from redundancy.array_types import FloatArray
from vlm.engine.attention_event import AttentionEvent
from vlm.engine.attention_rows import attention_rows, row_of
from vlm.engine.forward_call import Call
from vlm.engine.hooks import attached
from vlm.measure.records import BatchedRecord
from vlm.models.families import Family
from vlm.models.types import Model
from vlm.table import Table


@dataclass(eq=False, repr=False)
class AttentionRecord(BatchedRecord):
    """The visual attention ratios that :func:`vlm.attention` measured; grows by one entry per forward call.

    Call the model once per prompt. Under `generate`, cached decoding steps are ignored, and repetitions of the
    prompt (beams, decoding without a cache) are recorded as samples. The ratio is NaN in a layer that the query
    token bypassed.

    Attributes
    ----------
    depth : int
        Number of decoder layers.
    token : int
        Which token of each prompt was the query, as a Python index: -1 is the last prompt token.

    See Also
    --------
    vlm.attention : Makes one.

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=2, kinds=("location", "count"))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with vlm.attention(model) as seen:
    ...     _ = model(**batch)
    >>> seen
    AttentionRecord(samples=2, depth=10, token=-1)
    >>> seen.ratios().shape
    (2, 10, 4)
    >>> seen.table()
    Table(80 rows: sample, layer, head, ratio)
    """

    depth: int
    token: int
    _rows: dict[int, Tensor] = field(default_factory=dict)
    _sample_axis: ClassVar[int] = 1  # after the layers
    _done: list[Tensor] = field(default_factory=list)
    _call: Call | None = None

    def observe(self, event: AttentionEvent) -> None:
        """Take in one layer's queries and keys (called by the hooks)."""
        call = event.call
        if self._call is not call:
            # Rows left by an earlier call that failed do not belong to this one.
            self._rows, self._call = {}, call
        if not call.past:
            self._rows[event.layer] = _ratio(event, self.token)

    def finish(self, call: Call) -> None:
        """Store the samples of a forward call that has ended (called by the hooks)."""
        rows, self._rows, self._call = self._rows, {}, None
        if rows:
            missing = torch.full_like(next(iter(rows.values())), torch.nan)
            self._done.append(torch.stack([rows.get(i, missing) for i in range(self.depth)]).to("cpu"))

    def ratios(self) -> FloatArray:
        """Visual attention ratio, shape (samples, layers, heads), in [0, 1]; ValueError before the first call."""
        self._check_recorded("attention")
        return torch.cat(self._done, dim=1).permute(1, 0, 2).numpy().astype(np.float64)

    def table(self) -> Table:
        """Tidy table, one row per (sample, layer, head), column `ratio`."""
        ratios = self.ratios()
        sample, layer, head = (a.reshape(-1) for a in np.indices(ratios.shape))
        return Table({"sample": sample, "layer": layer, "head": head, "ratio": ratios.reshape(-1)})

    def _measured(self) -> dict[str, object]:
        return {"table": self.table().columns}


@contextmanager
def attention(model: Model, *, token: int = -1, family: Family | None = None) -> Iterator[AttentionRecord]:
    r"""Measure the visual attention ratio of one text token while the model runs.

    The ratio is the share of its attention that the query token gives to image tokens. It is computed from one row
    of scores per head, so memory is O(sequence) under eager, sdpa and flash attention alike.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family with eager, sdpa or flash attention.
    token : int
        Which real (not padding) token of each prompt is the query, as a Python index: -1 is the last prompt token,
        which predicts the first answer token.
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    AttentionRecord
        `record.ratios()`, in [0, 1], after one or more forward calls.

    Raises
    ------
    ValueError, TypeError
        During a forward call: `token` lies outside a prompt or is an image token. At once: a model that is not a
        vision-language model of a known family.

    See Also
    --------
    vlm.probe : The second measurement that `vlm.decide` needs.
    vlm.removal : What removing the image would change in each layer.

    Notes
    -----
    In layer l and head h the ratio is :math:`\alpha^{(l,h)} = \sum_{j \in image} A^{(l,h)}[query, j]`, the
    :math:`\alpha` of (9.4): removing the image keys moves the head's output by at most :math:`\alpha` times the largest
    distance between an image value and a text value (theory, section 9.6).

    References
    ----------
    Jiang et al. (2025), *Devils in Middle Layers of Large Vision-Language Models*, arXiv:2411.16724.

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=2, kinds=("location", "count"))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with vlm.attention(model) as seen:
    ...     _ = model(**batch)
    >>> seen.ratios().mean(axis=2).round(2)  # mean over heads: one row per sample, one column per layer
    array([[0.56, 0.8 , 0.79, 0.78, 0.84, 0.69, 0.76, 0.67, 0.59, 0.52],
           [0.53, 0.64, 0.51, 0.64, 0.72, 0.61, 0.64, 0.7 , 0.65, 0.68]])
    """
    with attached(model, family) as engine:
        record = AttentionRecord(engine.parts.depth, token)
        with engine.watch_attention(record.observe, record.finish):
            yield record


def _ratio(event: AttentionEvent, token: int) -> Tensor:
    """(batch, heads) attention mass on image keys."""
    call, layer = event.call, event.layer
    queries = _query_tokens(call, token)
    row, present = row_of(call, layer, queries)
    weights = attention_rows(event, row.unsqueeze(1)).squeeze(2)
    mass = (weights * _vision_keys(call, layer).unsqueeze(1)).sum(dim=-1)
    return torch.where(present.unsqueeze(1), mass, torch.nan)


def _query_tokens(call: Call, token: int) -> Tensor:
    """(batch,) position in the call of the chosen real token."""
    counts = call.real.sum(dim=1)
    if int(counts.min()) < (token + 1 if token >= 0 else -token):
        raise ValueError(
            f"token: expected an index within every prompt (shortest has {int(counts.min())} tokens), got {token}"
        )
    rank = counts + token if token < 0 else torch.full_like(counts, token)
    positions = (call.real.cumsum(dim=1) == (rank + 1).unsqueeze(1)).to(torch.uint8).argmax(dim=1)
    if bool(call.vision.gather(1, positions.unsqueeze(1)).any()):
        raise ValueError(f"token: expected a text token in every prompt, but token {token} is an image token in one")
    return positions


def _vision_keys(call: Call, layer: int) -> Tensor:
    """(batch, keys) 1 for image keys of this layer, 0 for all others."""
    if layer not in call.key_positions:
        return call.vision.to(torch.float32)
    keys = call.key_positions[layer]
    return (call.vision.gather(1, keys.clamp(min=0)) & (keys >= 0)).to(torch.float32)
