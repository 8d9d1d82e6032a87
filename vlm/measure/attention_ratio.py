"""Visual attention ratio: the share of a text token's attention that falls on the image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from redundancy.array_types import FloatArray
from vlm.engine.attention_event import AttentionEvent
from vlm.engine.attention_rows import attention_rows, row_of
from vlm.engine.forward_call import Call
from vlm.engine.hooks import attached
from vlm.measure.attention_reading import Heads, TextTokens, check_reading, chosen_reading
from vlm.measure.records import BatchedRecord
from vlm.measure.text_rows import TextAttention, TextRows, text_attention, text_rows, vision_keys
from vlm.models.families import Family
from vlm.models.types import Model
from vlm.table import Table


class _Layer(NamedTuple):
    """One layer of a call: the answer token's ratio (batch, heads), and that of all text tokens if measured."""

    answer: Tensor
    text: TextAttention | None


@dataclass(eq=False, repr=False)
class AttentionRecord(BatchedRecord):
    """The visual attention ratios that :func:`vlm.attention` measured; grows by one entry per forward call.

    Call the model once per prompt. Under `generate`, cached decoding steps are ignored, and repetitions of the
    prompt (beams, decoding without a cache) are recorded as samples. A ratio is NaN in a layer that the query
    token, or every text token, bypassed.

    Attributes
    ----------
    depth : int
        Number of decoder layers.
    token : int
        Which token of each prompt was the query of :meth:`ratios`, as a Python index: -1 is the last prompt token.
    tokens : {"all", "answer"}
        Whether all text tokens were measured, or that one alone.

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
    AttentionRecord(samples=2, depth=10, token=-1, tokens=all)
    >>> seen.ratios().shape, seen.largest().shape, seen.mean().shape
    ((2, 10, 4), (2, 10, 4), (2, 10, 4))
    >>> seen.table()
    Table(80 rows: sample, layer, head, ratio, largest, mean)
    """

    depth: int
    token: int
    tokens: TextTokens = "all"
    _rows: dict[int, _Layer] = field(default_factory=dict)
    _sample_axis: ClassVar[int] = 1  # after the layers
    _done: list[Tensor] = field(default_factory=list)
    _all: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    _call: Call | None = None
    _texts: dict[torch.device, TextRows] = field(default_factory=dict)

    def observe(self, event: AttentionEvent) -> None:
        """Take in one layer's queries and keys (called by the hooks)."""
        call = event.call
        if self._call is not call.original:
            # Rows left by an earlier call that failed do not belong to this one.
            self._rows, self._call, self._texts = {}, call.original, {}
        if not call.past:
            everybody = text_attention(event, self._text_rows(event)) if self.tokens == "all" else None
            self._rows[event.layer] = _Layer(_ratio(event, self.token), everybody)

    def _text_rows(self, event: AttentionEvent) -> TextRows:
        if event.layer in event.call.query_positions:
            return text_rows(event.call, event.layer)
        here = event.query.device
        if here not in self._texts:  # finding them waits for the device, so once per call
            self._texts[here] = text_rows(event.call, event.layer)
        return self._texts[here]

    def finish(self, call: Call) -> None:
        """Store the samples of a forward call that has ended (called by the hooks)."""
        rows, self._rows, self._call, self._texts = self._rows, {}, None, {}
        if not rows:
            return
        self._done.append(self._layers({i: row.answer for i, row in rows.items()}))
        texts = {i: row.text for i, row in rows.items() if row.text is not None}
        if texts:
            parts = [self._layers({i: text[k] for i, text in texts.items()}) for k in range(3)]
            self._all.append((parts[0], parts[1], parts[2]))

    def _layers(self, rows: dict[int, Tensor]) -> Tensor:
        """Layers stacked and on the host, NaN where nobody attended."""
        home = next(iter(rows.values()))
        missing = torch.full_like(home, torch.nan)
        # The layers of one model may be on different devices.
        return torch.stack([rows.get(i, missing).to(home.device) for i in range(self.depth)]).to("cpu")

    def ratios(self) -> FloatArray:
        """Ratio of the query token, shape (samples, layers, heads), in [0, 1]; ValueError before the first call."""
        self._check_recorded("attention")
        return torch.cat(self._done, dim=1).permute(1, 0, 2).numpy().astype(np.float64)

    def largest(self) -> FloatArray:
        """Largest ratio of any text token, shape (samples, layers, heads), in [0, 1].

        Raises
        ------
        ValueError
            Before the first call, or the answer token alone was measured.
        """
        return self._text(0)

    def largest_mean(self) -> FloatArray:
        """Largest, over text tokens, of the mean over heads, shape (samples, layers); errors as for :meth:`largest`."""
        return self._text(1)

    def mean(self) -> FloatArray:
        """Mean ratio of the text tokens after the image's first token, shape (samples, layers, heads), in [0, 1].

        Raises
        ------
        ValueError
            As for :meth:`largest`.
        """
        return self._text(2)

    def _text(self, part: int) -> FloatArray:
        self._check_recorded("attention")
        if self.tokens != "all":
            raise ValueError(
                "attention: expected a record of all text tokens, got one of the answer token alone; measure with "
                "vlm.attention(model), without tokens='answer'"
            )
        return torch.cat([parts[part] for parts in self._all], dim=1).transpose(0, 1).numpy().astype(np.float64)

    def reading(self, *, tokens: TextTokens = "all", heads: Heads = "largest") -> FloatArray:
        """One ratio per sample and layer, shape (samples, layers), as :func:`vlm.decide` judges it.

        Parameters
        ----------
        tokens : {"all", "answer"}
            The largest over all text tokens, or the query token's.
        heads : {"largest", "mean"}
            Of the largest head, or the mean over heads.

        Raises
        ------
        ValueError
            Before the first call; all tokens, of a record of the answer token alone.
        """
        check_reading(tokens, heads)
        if tokens == "answer":
            return chosen_reading(self.ratios(), None, heads)
        return chosen_reading(self.largest(), self.largest_mean(), heads)

    def table(self) -> Table:
        """Tidy table, one row per (sample, layer, head).

        Its columns: `ratio` of the query token and, if all text tokens were measured, `largest` and `mean` over them.
        """
        ratios = self.ratios()
        sample, layer, head = (a.reshape(-1) for a in np.indices(ratios.shape))
        columns = {"sample": sample, "layer": layer, "head": head, "ratio": ratios.reshape(-1)}
        if self.tokens == "all":
            columns |= {"largest": self.largest().reshape(-1), "mean": self.mean().reshape(-1)}
        return Table(columns)

    def _measured(self) -> dict[str, object]:
        return {"table": self.table().columns}


@contextmanager
def attention(
    model: Model, *, token: int = -1, tokens: TextTokens = "all", family: Family | None = None
) -> Iterator[AttentionRecord]:
    r"""Measure the visual attention ratio of the text tokens while the model runs.

    The ratio is the share of its attention that a text token gives to image tokens. Per layer and head, the record
    keeps that of the answer token, and the largest and the mean over all text tokens. They are computed from blocks of
    rows of scores, so memory is O(sequence) under eager, sdpa and flash attention alike, and only the rows of text
    tokens cost operations.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family with eager, sdpa or flash attention.
    token : int
        Which real (not padding) token of each prompt is the query, as a Python index: -1 is the last prompt token,
        which predicts the first token of the answer.
    tokens : {"all", "answer"}
        "answer" measures that token alone, at the cost of one row per head. What other tokens read is then unknown, and
        :func:`vlm.decide` refuses to judge by all of them.
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    AttentionRecord
        `record.ratios()`, `record.largest()` and `record.mean()`, in [0, 1], after one or more forward calls.

    Raises
    ------
    ValueError, TypeError
        During a forward call: `token` lies outside a prompt or is an image token. At once: unknown `tokens`, or a model
        that is not a vision-language model of a known family.

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
    >>> seen.reading().round(2)[0]  # the largest over text tokens and heads
    array([0.95, 0.95, 0.94, 1.  , 1.  , 1.  , 1.  , 0.97, 0.95, 0.95])
    """
    check_reading(tokens)
    with attached(model, family) as engine:
        record = AttentionRecord(engine.parts.depth, token, tokens)
        with engine.watch_attention(record.observe, record.finish):
            yield record


def _ratio(event: AttentionEvent, token: int) -> Tensor:
    """(batch, heads) attention mass on image keys."""
    call, layer = event.call, event.layer
    queries = _query_tokens(call, token)
    row, present = row_of(call, layer, queries)
    weights = attention_rows(event, row.unsqueeze(1)).squeeze(2)
    mass = (weights * vision_keys(call, layer).unsqueeze(1)).sum(dim=-1)
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
