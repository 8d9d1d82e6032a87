"""Logit lens on image tokens: which words a patch's state would already say, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vlm.engine.forward_call import Call
from vlm.engine.hooks import attached
from vlm.models.families import Family
from vlm.table import Table

_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class Lens:
    """The likeliest next words of every image token at every state.

    State l enters decoder layer l; state L is the last layer's output before the final norm. Each state goes
    through the model's own final norm and output matrix, whatever layer it comes from.

    Attributes
    ----------
    sample, patch : int (image tokens,)
        Which prompt an image token belongs to, and which of that prompt's image tokens it is, in order.
    tokens : int (image tokens, L + 1, top)
        Token ids, likeliest first.
    probabilities : float (image tokens, L + 1, top)
        Their softmax probabilities over the whole vocabulary.
    entropy : float (image tokens, L + 1)
        Entropy of that softmax, in nats.
    """

    sample: NDArray[np.int64]
    patch: NDArray[np.int64]
    tokens: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    entropy: NDArray[np.float32]

    def __repr__(self) -> str:
        n, states, top = self.tokens.shape
        return f"Lens({n} image tokens of {np.unique(self.sample).size} samples, states 0..{states - 1}, top {top})"

    def table(self, tokenizer: Any = None) -> Table:
        """Tidy table, one row per (image token, state, rank): `token`, `probability`, and `word` with a tokenizer."""
        row, state, rank = (a.reshape(-1) for a in np.indices(self.tokens.shape))
        columns: dict[str, Any] = {
            "sample": self.sample[row],
            "patch": self.patch[row],
            "state": state,
            "rank": rank,
            "token": self.tokens.reshape(-1),
            "probability": self.probabilities.reshape(-1).astype(np.float64),
        }
        if tokenizer is not None:
            names = {int(i): tokenizer.decode([int(i)]).strip() for i in np.unique(self.tokens)}
            columns["word"] = np.array([names[int(i)] for i in columns["token"]])
        return Table(columns)


@dataclass(eq=False)
class LensRecord:
    """What :func:`lens` sees; grows by one entry per prompt. Memory is O(image tokens x layers x top)."""

    norm: nn.Module
    head: nn.Module
    depth: int
    top: int
    _rows: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)
    _done: list[tuple[Tensor, Tensor, list[tuple[Tensor, Tensor, Tensor]]]] = field(default_factory=list)
    _samples: int = 0

    def observe(self, call: Call, layer: int, before: Tensor, after: Tensor) -> None:
        if call.past:
            return
        if layer == 0:
            self._rows = [self._read(before[call.vision])]
        self._rows.append(self._read(after[call.vision]))

    def finish(self, call: Call) -> None:
        rows, self._rows = self._rows, []
        if len(rows) == self.depth + 1:
            sample, _ = call.vision.nonzero(as_tuple=True)
            patch = (call.vision.cumsum(dim=1) - 1)[call.vision]
            self._done.append(((sample + self._samples).cpu(), patch.cpu(), rows))
            self._samples += len(call.vision)

    def result(self) -> Lens:
        """Everything read so far."""
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

    @torch.no_grad()
    def _read(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Top tokens (n, top), their probabilities, and entropy (n,) of states (n, width)."""
        parts = []
        for chunk in torch.split(states, _CHUNK):
            logs = torch.log_softmax(self.head(self.norm(chunk)).to(torch.float32), dim=-1)
            best = logs.topk(self.top, dim=-1)
            entropy = -(logs.exp() * logs).nansum(dim=-1)
            parts.append((best.indices.cpu(), best.values.exp().cpu(), entropy.cpu()))
        tokens, probabilities, entropies = zip(*parts, strict=True)
        return torch.cat(tokens), torch.cat(probabilities), torch.cat(entropies)


@contextmanager
def lens(model: Any, *, top: int = 5, family: Family | None = None) -> Iterator[LensRecord]:
    """Read every image token at every state through the final norm and the output matrix while the model runs.

    Nothing is kept of the states themselves. Cached decoding steps are passed over; under a plan, the states
    are those of the model that skips.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family. Caps and scales that some families put behind the output matrix
        (Gemma's soft cap) are left out: they keep the order of the tokens, not their probabilities.
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
    """
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if head is None:
        raise TypeError(f"model: expected a model with an output matrix (lm_head), got {type(model).__name__}")
    words = head.weight.shape[0]
    if not 1 <= top <= words:
        raise ValueError(f"top: expected a number of tokens in 1..{words}, got {top}")
    with attached(model, family) as engine:
        record = LensRecord(engine.parts.norm, head, engine.parts.depth, top)
        with engine.watch_layers(record.observe, record.finish):
            yield record
