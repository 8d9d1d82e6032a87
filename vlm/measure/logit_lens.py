"""Logit lens on image tokens: the words that each state of an image token would predict, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from redundancy.array_types import IntArray
from redundancy.display import Displayed
from vlm.engine.forward_call import Call
from vlm.engine.hooks import attached
from vlm.measure.records import GrowingRecord
from vlm.models.families import Family
from vlm.models.types import Model
from vlm.table import Column, Table

_CHUNK = 1024


@dataclass(frozen=True, eq=False, repr=False)
class Lens(Displayed):
    """The most likely next words of every image token at every state; the result of :func:`vlm.lens`.

    State l enters decoder layer l; state L is the last layer's output before the final norm. Every state, whichever
    layer it comes from, is passed through the model's own final norm and output matrix.

    Attributes
    ----------
    sample, patch : int (image tokens,)
        Prompt that an image token belongs to, and its number among the image tokens of that prompt.
    tokens : int (image tokens, L + 1, top)
        Token ids, most likely first.
    probabilities : float (image tokens, L + 1, top)
        Their softmax probabilities over the whole vocabulary.
    entropy : float (image tokens, L + 1)
        Entropy of that softmax, in nats.

    See Also
    --------
    vlm.lens : Makes one.

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=2, kinds=("location", "count"))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with vlm.lens(model, top=3) as record:
    ...     _ = model(**batch)
    >>> record.result()
    Lens(72 image tokens of 2 samples, states 0..10, top 3)
    >>> record.result().table(processor.tokenizer)
    Table(2376 rows: sample, patch, state, rank, token, probability, word)
    """

    sample: IntArray
    patch: IntArray
    tokens: IntArray
    probabilities: NDArray[np.float32]
    entropy: NDArray[np.float32]

    def __repr__(self) -> str:
        n, states, top = self.tokens.shape
        return f"Lens({n} image tokens of {np.unique(self.sample).size} samples, states 0..{states - 1}, top {top})"

    def table(self, tokenizer: Any = None) -> Table:
        """Tidy table, one row per (image token, state, rank).

        Parameters
        ----------
        tokenizer : PreTrainedTokenizer, optional
            Adds the column `word`, the decoded token.

        Returns
        -------
        Table
            Columns sample, patch, state, rank (0 = most likely), token, probability and, with a tokenizer, word.
        """
        row, state, rank = (a.reshape(-1) for a in np.indices(self.tokens.shape))
        columns: dict[str, Column] = {
            "sample": self.sample[row],
            "patch": self.patch[row],
            "state": state,
            "rank": rank,
            "token": self.tokens.reshape(-1),
            "probability": self.probabilities.reshape(-1).astype(np.float64),
        }
        if tokenizer is not None:
            words = {int(i): tokenizer.decode([int(i)]).strip() for i in np.unique(self.tokens)}
            columns["word"] = np.array([words[int(i)] for i in columns["token"]])
        return Table(columns)


@dataclass(eq=False, repr=False)
class LensRecord(GrowingRecord):
    """What :func:`vlm.lens` has read so far; grows by one entry per prompt.

    Memory is O(image tokens x layers x top).

    Attributes
    ----------
    depth : int
        Number of decoder layers.
    top : int
        Number of tokens kept per image token and state.

    See Also
    --------
    vlm.lens : Makes one.

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=2, kinds=("location", "count"))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with vlm.lens(model) as record:
    ...     _ = model(**batch)
    >>> record
    LensRecord(samples=2, depth=10, top=5)
    >>> record.result().tokens.shape  # image tokens, states, top
    (72, 11, 5)
    """

    _norm: nn.Module
    _head: nn.Module
    depth: int
    top: int
    _rows: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    _done: list[tuple[Tensor, Tensor, list[tuple[Tensor, Tensor, Tensor]]]] = field(default_factory=list)
    _samples: int = 0

    @property
    def samples(self) -> int:
        """Number of prompts recorded, with or without an image."""
        return self._samples

    def observe(self, call: Call, layer: int, before: Tensor, after: Tensor) -> None:
        """Take in one layer's input and output (called by the hooks)."""
        if call.past:
            return
        if layer == 0:
            self._rows = [self._read(before[call.vision.to(before.device)])]
        self._rows.append(self._read(after[call.vision.to(after.device)]))

    def finish(self, call: Call) -> None:
        """Store the samples of a forward call that has ended (called by the hooks)."""
        rows, self._rows = self._rows, []
        if len(rows) == self.depth + 1:
            sample, _ = call.vision.nonzero(as_tuple=True)
            patch = (call.vision.cumsum(dim=1) - 1)[call.vision]
            self._done.append(((sample + self._samples).cpu(), patch.cpu(), rows))
            self._samples += len(call.vision)

    def result(self) -> Lens:
        """Everything read so far, as arrays; ValueError before the first image token."""
        if not any(len(sample) for sample, _, _ in self._done):
            raise ValueError(
                "lens: no image token recorded yet; call the model inside the context, on a prompt with an image"
            )
        tokens, probabilities, entropy = (
            torch.cat([torch.stack([row[i] for row in rows], dim=1) for _, _, rows in self._done]).numpy()
            for i in range(3)
        )
        sample = torch.cat([part for part, _, _ in self._done]).numpy()
        patch = torch.cat([part for _, part, _ in self._done]).numpy()
        return Lens(sample, patch, tokens, probabilities, entropy)

    def _measured(self) -> dict[str, object]:
        return {"result": self.result().to_dict()} if any(len(sample) for sample, _, _ in self._done) else {}

    @torch.no_grad()
    def _read(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Top tokens (n, top), their probabilities, and entropy (n,) of states (n, width)."""
        parts = []
        for chunk in torch.split(states, _CHUNK):
            logs = torch.log_softmax(self._head(self._norm(chunk)).to(torch.float32), dim=-1)
            best = logs.topk(self.top, dim=-1)
            entropy = -(logs.exp() * logs).nansum(dim=-1)
            parts.append((best.indices.cpu(), best.values.exp().cpu(), entropy.cpu()))
        tokens, probabilities, entropies = zip(*parts, strict=True)
        return torch.cat(tokens), torch.cat(probabilities), torch.cat(entropies)


@contextmanager
def lens(model: Model, *, top: int = 5, family: Family | None = None) -> Iterator[LensRecord]:
    """Logit lens: read every image token at every state through the final norm and the output matrix.

    The states themselves are not kept. Cached decoding steps are ignored; under a plan, the states are those of
    the model that skips.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family. Caps and scales that some families apply after the output matrix
        (Gemma's soft cap) are left out: they preserve the order of the tokens but not their probabilities.
    top : int
        How many tokens to keep per image token and state.
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    LensRecord
        `record.result()` after one or more forward calls.

    Raises
    ------
    ValueError
        `top` outside 1..vocabulary.
    TypeError
        A model without an output matrix.

    See Also
    --------
    vlm.trace : Where the image's information matters for the answer.

    References
    ----------
    nostalgebraist (2020), *Interpreting GPT: the logit lens*; Neo et al. (2024), *Towards Interpreting Visual
    Information Processing in Vision-Language Models*, arXiv:2410.07149 (on image tokens).

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=2, kinds=("location", "count"))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with vlm.lens(model, top=1) as record:
    ...     _ = model(**batch)
    >>> table = record.result().table(processor.tokenizer)
    >>> table.where(sample=0, patch=0)["word"].tolist()  # one word per state 0..L
    ['</s>', '</s>', 'c3', 'c3', 'c3', 'c3', 'c3', 'c3', 'c3', 'c3', 'c3']
    """
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if head is None:
        raise TypeError(f"model: expected a model with an output matrix (lm_head), got {type(model).__name__}")
    vocabulary = getattr(head, "out_features", None) or head.weight.shape[0]
    if not 1 <= top <= vocabulary:
        raise ValueError(f"top: expected a number of tokens in 1..{vocabulary}, got {top}")
    with attached(model, family) as engine:
        record = LensRecord(engine.parts.norm, head, engine.parts.depth, top)
        with engine.watch_layers(record.observe, record.finish):
            yield record
