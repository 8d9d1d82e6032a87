"""gamma-MoD: layers ranked by the rank of their attention maps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from redundancy.array_types import FloatArray
from vlm.engine.attention_event import AttentionEvent
from vlm.engine.attention_rows import attention_rows
from vlm.engine.forward_call import Call
from vlm.engine.hooks import attached
from vlm.measure.records import BatchedRecord
from vlm.models.families import Family
from vlm.models.types import Model
from vlm.plans.plan import SkipPlan
from vlm.selectors.ranking import Ranking, Units, by_layer

# Layers 0, 1, 2 and the last of the released models have no router.
_ALWAYS_DENSE = 4


@dataclass(eq=False, repr=False)
class RankRecord(BatchedRecord):
    """What :func:`vlm.selectors.attention_rank` measured: the rank, mean over heads, per sample and layer.

    Attributes
    ----------
    depth : int
        Number of decoder layers.

    See Also
    --------
    vlm.selectors.attention_rank : Makes one.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors, tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=4, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with selectors.attention_rank(model) as record:
    ...     _ = model(**batch)
    >>> record
    RankRecord(samples=4, depth=10)
    >>> record.ranks()[0].round(1)
    array([44. , 42.8, 42.2, 42.2, 42.5, 43. , 43.5, 43.8, 43.5, 43.5])
    """

    depth: int
    _rows: list[Tensor] = field(default_factory=list)
    _done: list[Tensor] = field(default_factory=list)

    @torch.no_grad()
    def observe(self, event: AttentionEvent) -> None:
        """Take in one layer's queries and keys (called by the hooks)."""
        call, layer, query = event.call, event.layer, event.query
        if call.past:
            return
        if layer in call.query_positions:
            raise RuntimeError("attention rank: a layer is shortened by a plan; measure without a plan")
        if layer == 0:
            self._rows = []
        rows = torch.arange(query.shape[2], device=query.device).expand(query.shape[0], -1)
        maps = attention_rows(event, rows)
        # Rows and columns of padding are zeroed; the tolerance is that of a map of the real tokens only.
        both = call.real.unsqueeze(2) & call.real.unsqueeze(1)
        maps = torch.where(both.unsqueeze(1), maps, 0.0).tril(-1)  # of other tokens: the diagonal alone has full rank
        tolerance = call.real.sum(dim=1, keepdim=True) * torch.finfo(maps.dtype).eps
        ranks = torch.linalg.matrix_rank(maps, rtol=tolerance.expand(-1, maps.shape[1]))
        self._rows.append(ranks.to(torch.float64).mean(dim=1))

    def finish(self, call: Call) -> None:
        """Store the samples of a forward call that has ended (called by the hooks)."""
        rows, self._rows = self._rows, []
        if len(rows) == self.depth:
            self._done.append(torch.stack(rows, dim=1).to("cpu"))

    def ranks(self) -> FloatArray:
        """(samples, depth): numerical rank of the attention map without its diagonal, mean over heads."""
        self._check_recorded("attention rank")
        return torch.cat(self._done).numpy()

    def _measured(self) -> dict[str, object]:
        return {"ranks": self.ranks()}


@contextmanager
def attention_rank(model: Model, *, family: Family | None = None) -> Iterator[RankRecord]:
    """Measure the rank of every layer's attention maps while the model runs.

    Builds the full map of one layer at a time and its singular values: O(tokens^2) memory and O(tokens^3)
    time per head. The attention of each token to itself is set to zero first, as the authors do: with its positive
    diagonal every causal map would have full rank. What is left is counted by the singular values above the float32
    tolerance of `torch.linalg.matrix_rank`.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family.
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    RankRecord

    Raises
    ------
    RuntimeError
        During a forward call under a plan that shortens a layer.

    See Also
    --------
    vlm.selectors.attention_map_rank : The ranking by it.

    References
    ----------
    Luo et al. (2024), *gamma-MoD: exploring mixture-of-depth adaptation for multimodal large language models*,
    arXiv:2410.13859.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors, tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=4, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with selectors.attention_rank(model) as record:
    ...     _ = model(**batch)
    >>> selectors.attention_map_rank(record).order
    (3, 2, 4, 5, 1, 9, 6, 8, 7, 0)
    """
    with attached(model, family) as engine:
        record = RankRecord(engine.parts.depth)
        with engine.watch_attention(record.observe, record.finish):
            yield record


def attention_map_rank(record: RankRecord) -> Ranking:
    r"""gamma-MoD: the layers with the lowest attention-map rank are the redundant ones.

    The authors turn layers of low rank into mixture-of-depth layers with routers and train them, which is not
    training-free. Here image tokens bypass the chosen layers instead. The released models turn all layers but 0, 1, 2
    and the last, which is the default number here.

    Parameters
    ----------
    record : RankRecord
        From :func:`attention_rank`.

    Returns
    -------
    Ranking

    See Also
    --------
    vlm.selectors.attention_rank : Makes the record.

    Notes
    -----
    :math:`ARank_l = \frac1H \sum_h \mathrm{rank}(A^{(l,h)} - \mathrm{diag} A^{(l,h)})`, mean over samples.

    References
    ----------
    Luo et al. (2024), *gamma-MoD: Exploring Mixture-of-Depth Adaptation for Multimodal Large Language Models*,
    arXiv:2410.13859.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors, tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=4, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with selectors.attention_rank(model) as record:
    ...     _ = model(**batch)
    >>> ranking = selectors.attention_map_rank(record)
    >>> ranking
    Ranking(gamma-MoD: remove image tokens, 4 samples, 10 units)
    >>> str(ranking.plan(3))
    'vision:2-5'
    """
    return by_layer(
        "gamma-MoD",
        "remove image tokens",
        record.ranks(),
        without_vision,
        usual=max(0, record.depth - _ALWAYS_DENSE) / record.depth,
    )


def without_vision(layers: Units) -> SkipPlan:
    """Image tokens bypass these layers."""
    return SkipPlan(vision=tuple((layer, layer + 1) for layer in layers))
