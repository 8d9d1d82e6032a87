"""gamma-MoD's measure of a layer: the rank of its attention maps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from redundancy.array_types import FloatArray
from vlm.engine.attention_event import AttentionEvent
from vlm.engine.attention_rows import attention_rows
from vlm.engine.forward_call import Call
from vlm.engine.hooks import attached
from vlm.models.families import Family
from vlm.plans.plan import SkipPlan
from vlm.selectors.ranking import Ranking, Units, by_layer


@dataclass(eq=False)
class RankRecord:
    """What :func:`attention_rank` measured: the mean rank over heads per sample and layer."""

    depth: int
    _rows: list[Tensor] = field(default_factory=list)
    _done: list[Tensor] = field(default_factory=list)

    def observe(self, event: AttentionEvent) -> None:
        call, layer, query = event.call, event.layer, event.query
        if call.past:
            return
        if layer in call.query_positions:
            raise RuntimeError("attention rank: a layer is shortened by a plan; measure without a plan")
        if layer == 0:
            self._rows = []
        rows = torch.arange(query.shape[2], device=query.device).expand(query.shape[0], -1)
        maps = attention_rows(event, rows)
        # Without padding's rows and columns, and with the tolerance of a map of the real tokens alone.
        both = call.real.unsqueeze(2) & call.real.unsqueeze(1)
        maps = torch.where(both.unsqueeze(1), maps, 0.0)
        tolerance = call.real.sum(dim=1, keepdim=True) * torch.finfo(maps.dtype).eps
        ranks = torch.linalg.matrix_rank(maps, rtol=tolerance.expand(-1, maps.shape[1]))
        self._rows.append(ranks.to(torch.float64).mean(dim=1))

    def finish(self, call: Call) -> None:
        rows, self._rows = self._rows, []
        if len(rows) == self.depth:
            self._done.append(torch.stack(rows, dim=1).to("cpu"))

    def ranks(self) -> FloatArray:
        """(samples, depth): numerical rank of the attention map of all tokens, mean over heads."""
        if not self._done:
            raise ValueError("attention rank: nothing recorded yet; call the model inside the context first")
        return torch.cat(self._done).numpy()


@contextmanager
def attention_rank(model: Any, *, family: Family | None = None) -> Iterator[RankRecord]:
    """Measure the rank of every layer's attention maps while the model runs.

    Builds the full map of one layer at a time and its singular values: O(tokens^2) memory and O(tokens^3)
    time per head. A causal map has a positive diagonal and hence full rank in exact arithmetic; what is
    counted is the number of singular values above the float32 tolerance of `torch.linalg.matrix_rank`.

    Yields
    ------
    RankRecord
    """
    with attached(model, family) as engine:
        record = RankRecord(engine.parts.depth)
        with engine.watch_attention(record.observe, record.finish):
            yield record


def attention_map_rank(record: RankRecord) -> Ranking:
    r"""gamma-MoD: the layers with the lowest attention-map rank are the redundant ones.

    :math:`ARank_l = \frac1H \sum_h \mathrm{rank}(A^{(l,h)})`, mean over samples. The authors turn layers of low
    rank into routers and train them; that part is not training-free. Here image tokens bypass the chosen
    layers, which is ours.

    Source: Luo et al. 2024, "gamma-MoD: Exploring Mixture-of-Depth Adaptation for Multimodal Large Language
    Models", arXiv 2410.13859.
    """
    return by_layer("gamma-MoD", "remove image tokens", record.ranks(), without_vision, usual=0.5)


def without_vision(layers: Units) -> SkipPlan:
    """Image tokens bypass these layers."""
    return SkipPlan(vision=tuple((layer, layer + 1) for layer in layers))
