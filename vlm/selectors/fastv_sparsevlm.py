"""Methods that choose image tokens inside the decoder: FastV and SparseVLM, and how redundant each token is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from redundancy.array_types import FloatArray
from vlm.engine.attention_event import AttentionEvent
from vlm.engine.attention_rows import attention_rows
from vlm.engine.forward_call import Call
from vlm.engine.hooks import attached
from vlm.engine.last_token import last_tokens
from vlm.models.families import Family
from vlm.plans.plan import SkipPlan

# SparseVLM: image tokens of LLaVA 1.5 that stay after the three stages, for each published budget.
SPARSE_STAGES = (2, 6, 15)
SPARSE_DEPTH = 32
_SPARSE_KEPT = np.array([[0, 0, 0], [66, 30, 17], [303, 110, 36], [300, 200, 110], [576, 576, 576]]) / 576
_SPARSE_BUDGET = np.array([0, 64, 128, 192, 576]) / 576


@dataclass(eq=False)
class TokenRecord:
    """What :func:`token_scores` measured, per sample and image token.

    Attributes
    ----------
    layers : tuple of int
        Layers whose attention was read.
    depth : int
        Number of decoder layers.
    """

    layers: tuple[int, ...]
    depth: int
    _raters: Tensor | None = None
    _rows: dict[int, Tensor] = field(default_factory=dict)
    _distances: list[Tensor] = field(default_factory=list)
    _done: list[tuple[FloatArray, FloatArray]] = field(default_factory=list)

    def observe_entry(self, call: Call | None, key: Any, states: Tensor, _: Any) -> None:
        self._rows, self._distances = {}, []
        if call is not None and not call.past and states.shape[1] == call.real.shape[1]:
            self._raters = raters(call, states)

    def observe_attention(self, event: AttentionEvent) -> None:
        call, layer, query = event.call, event.layer, event.query
        if call.past or layer not in self.layers:
            return
        if layer in call.query_positions or self._raters is None:
            raise RuntimeError("token scores: a layer is shortened by a plan; measure without a plan")
        rows = torch.arange(query.shape[2], device=query.device).expand(query.shape[0], -1)
        by_query = attention_rows(event, rows).mean(dim=1).to(torch.float64)
        by_query = torch.where(call.real.unsqueeze(-1), by_query, 0.0)  # a row of padding may be undefined
        last = by_query.gather(1, last_tokens(call.real).view(-1, 1, 1).expand(-1, 1, by_query.shape[2]))
        weights = self._raters / self._raters.sum(dim=1, keepdim=True).clamp(min=1.0)
        self._rows[layer] = torch.cat([last, weights.unsqueeze(1) @ by_query], dim=1)

    def observe_layer(self, call: Call, layer: int, before: Tensor, after: Tensor) -> None:
        if not call.past:
            cosines = F.cosine_similarity(before.to(torch.float64), after.to(torch.float64), dim=-1)
            self._distances.append(1 - cosines)

    def finish(self, call: Call) -> None:
        if len(self._distances) == self.depth and len(self._rows) == len(self.layers):
            scores = torch.stack([self._rows[i] for i in self.layers], dim=1).cpu()  # (batch, layers, 2, tokens)
            distances = torch.stack(self._distances, dim=1).cpu()
            for sample, shown in enumerate(call.vision.cpu()):
                self._done.append((scores[sample][..., shown].numpy(), distances[sample][:, shown].numpy()))
        self._raters, self._rows, self._distances = None, {}, []

    def _samples(self) -> list[tuple[FloatArray, FloatArray]]:
        if not self._done:
            raise ValueError("token scores: nothing recorded yet; call the model inside the context first")
        return self._done

    def last_token(self, layer: int) -> list[FloatArray]:
        """Per sample (image tokens,): attention of the last prompt token to each, mean over heads."""
        place = self._place(layer)
        return [scores[place, 0] for scores, _ in self._samples()]

    def text_raters(self, layer: int) -> list[FloatArray]:
        """Per sample (image tokens,): attention of the text raters to each, mean over heads and raters."""
        place = self._place(layer)
        return [scores[place, 1] for scores, _ in self._samples()]

    def distances(self) -> list[FloatArray]:
        """Per sample (depth, image tokens): cosine distance of each between state l and state l+1."""
        return [distances for _, distances in self._samples()]

    def _place(self, layer: int) -> int:
        if layer not in self.layers:
            raise ValueError(f"layer: expected one of the read layers {self.layers}, got {layer}")
        return self.layers.index(layer)


@contextmanager
def token_scores(model: Any, layers: Sequence[int] = (1,), *, family: Family | None = None) -> Iterator[TokenRecord]:
    """Read, while the model runs, the attention that image tokens receive in some layers, and how they change.

    Image tokens are found by their placeholder, never by a constant position. Keeps O(layers x image tokens)
    numbers per sample.

    Parameters
    ----------
    layers : sequence of int
        Layers whose attention is read: FastV with K reads layer K - 1.
    """
    with attached(model, family) as engine:
        depth = engine.parts.depth
        if not layers or any(not 0 <= layer < depth for layer in layers):
            raise ValueError(f"layers: expected some of 0 to {depth - 1}, got {tuple(layers)}")
        record = TokenRecord(tuple(layers), depth)
        entry = {0: engine.parts.layers[0].input_layernorm}
        with (
            engine.watch_modules(entry, record.observe_entry),  # type: ignore[arg-type]
            engine.watch_attention(record.observe_attention, record.finish),
            engine.watch_layers(record.observe_layer, _nothing),
        ):
            yield record


def fastv_plan(removed: float = 0.5, *, layer: int = 2) -> SkipPlan:
    r"""FastV: from layer K on, only the image tokens that the last prompt token looks at most.

    Score of image token j: :math:`\frac1H \sum_h A^{(K-1,h)}[last, j]` of the prompt at hand; a fraction `removed` (R)
    of the tokens leaves, those with the lowest scores. The authors use K = 2 with R = 0.5, and K = 3 with 0.75.
    Scores of a measured sample: `TokenRecord.last_token(layer - 1)`.

    Source: Chen et al. 2024, "An Image is Worth 1/2 Tokens After Layer 2", arXiv 2403.06764.
    """
    return SkipPlan.prune(layer, 1 - removed)


def sparse_stages(depth: int) -> tuple[int, ...]:
    """Layers 2, 6 and 15 of 32, carried over to this depth."""
    return tuple(max(1, round(stage * depth / SPARSE_DEPTH)) for stage in SPARSE_STAGES)


def sparsevlm_plan(scores: Sequence[ArrayLike], stages: Sequence[int], budget: float) -> SkipPlan:
    r"""SparseVLM on one prompt: image tokens leave in stages, those that matter least to the text raters.

    Raters are the text tokens after the image whose mean relevance to the image is above average,
    :math:`r_i = \frac1V\sum_v \mathrm{softmax}_i(x_v \cdot x_i)` on the decoder's input; the score of an image token
    is the raters' attention to it, mean over heads and raters. Merging the removed tokens into a few new ones
    ("recycling") is not done here, and the scores of later stages are of the full run.

    Parameters
    ----------
    scores : one (image tokens,) per stage
        `TokenRecord.text_raters(stage)` of the sample.
    stages : sequence of int
        Layers after which tokens leave; :func:`sparse_stages`.
    budget : float
        Published budgets are 192/576, 128/576 and 64/576 with (300, 200, 110), (303, 110, 36) and (66, 30, 17)
        tokens after the stages; between them the shares are interpolated.

    Source: Zhang et al. 2024, "SparseVLM: Visual Token Sparsification for Efficient Vision-Language Model
    Inference", arXiv 2410.04417.
    """
    alive = np.arange(len(np.asarray(scores[0])))
    total, plan = len(alive), SkipPlan()
    for stage, score in enumerate(scores):
        share = float(np.interp(budget, _SPARSE_BUDGET, _SPARSE_KEPT[:, stage]))
        count = min(len(alive), round(share * total))
        alive = alive[np.sort(np.argsort(-np.asarray(score)[alive], kind="stable")[:count])]
        stop = stages[stage + 1] + 1 if stage + 1 < len(stages) else None
        plan = plan | SkipPlan.keep(stages[stage] + 1, stop, alive.tolist())
    return plan


def raters(call: Call, states: Tensor) -> Tensor:
    """(batch, tokens) 1 for SparseVLM's text raters, 0 elsewhere; states (batch, tokens, width)."""
    chosen = torch.zeros(call.real.shape, dtype=torch.float64, device=states.device)
    for row, (shown, real) in enumerate(zip(call.vision, call.real, strict=True)):
        if bool(shown.any()):
            places = torch.arange(len(shown), device=shown.device)
            after = real & (places > places[shown].max())
            vision, text = states[row, shown].to(torch.float32), states[row, after].to(torch.float32)
            relevance = (vision @ text.T).softmax(dim=1).mean(dim=0)
            chosen[row, after] = (relevance > relevance.mean()).to(torch.float64)
    return chosen


def _nothing(call: Call) -> None:
    return None
