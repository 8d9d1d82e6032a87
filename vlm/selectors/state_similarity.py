"""Methods that skip the layers, sub-layers or blocks of layers that change the states least."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from redundancy.array_types import FloatArray
from vlm.engine.forward_call import Call
from vlm.engine.hooks import attached
from vlm.engine.last_token import last_tokens
from vlm.measure.records import GrowingRecord
from vlm.models.families import Family
from vlm.models.types import Model
from vlm.plans.plan import SkipPlan
from vlm.selectors.ranking import Ranking, Units, by_layer, lowest

Sublayer = Literal["attention", "mlp"]
SUBLAYERS: tuple[Sublayer, ...] = get_args(Sublayer)


@dataclass(eq=False, repr=False)
class SimilarityRecord(GrowingRecord):
    """What :func:`vlm.selectors.similarity` measured; grows by one entry per forward call.

    Memory is O(layers^2) per sample.

    Attributes
    ----------
    depth : int
        Number of decoder layers.

    See Also
    --------
    vlm.selectors.similarity : Makes one.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors, tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=4, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with selectors.similarity(model) as record:
    ...     _ = model(**batch)
    >>> record
    SimilarityRecord(samples=4, depth=10)
    >>> record.layer_cosines().mean(axis=0).round(2)
    array([0.83, 0.93, 0.86, 0.94, 0.94, 0.95, 0.97, 0.99, 0.99, 0.84])
    """

    depth: int
    _layers: list[Tensor] = field(default_factory=list)
    _sublayers: list[Tensor] = field(default_factory=list)
    _last: list[Tensor] = field(default_factory=list)
    _middle: Tensor | None = None
    _done: list[tuple[Tensor, Tensor, Tensor]] = field(default_factory=list)

    @property
    def samples(self) -> int:
        """Number of samples recorded."""
        return sum(len(part[0]) for part in self._done)

    @torch.no_grad()
    def observe_middle(self, call: Call | None, layer: int, middle: Tensor, _: object) -> None:
        """Take in one layer's state between attention and MLP (called by the hooks)."""
        self._middle = middle

    @torch.no_grad()
    def observe(self, call: Call, layer: int, before: Tensor, after: Tensor) -> None:
        """Take in one layer's input and output (called by the hooks)."""
        if call.past:
            return
        if layer == 0:
            self._layers, self._sublayers, self._last = [], [], [_last_token(call, before)]
        middle = self._middle
        if middle is None or middle.shape != before.shape:
            raise RuntimeError("similarity: a layer ran without or shortened by a plan; measure without a plan")
        self._layers.append(_mean_cosine(call, before, after))
        parts = [_mean_cosine(call, before, middle), _mean_cosine(call, middle, after)]
        self._sublayers.append(torch.stack(parts, dim=-1))
        self._last.append(_last_token(call, after))
        self._middle = None

    @torch.no_grad()
    def finish(self, call: Call) -> None:
        """Store the samples of a forward call that has ended (called by the hooks)."""
        layers, sublayers, last = self._layers, self._sublayers, self._last
        self._layers, self._sublayers, self._last, self._middle = [], [], [], None
        if len(layers) == self.depth:
            units = F.normalize(torch.stack(last, dim=1), dim=-1)
            between_layers, between_sublayers = torch.stack(layers, dim=1), torch.stack(sublayers, dim=1)
            between_last_tokens = units @ units.transpose(1, 2)
            self._done.append((between_layers.cpu(), between_sublayers.cpu(), between_last_tokens.cpu()))

    def _measured(self) -> dict[str, object]:
        return {
            "layer_cosines": self.layer_cosines(),
            "sublayer_cosines": self.sublayer_cosines(),
            "last_token_cosines": self.last_token_cosines(),
        }

    def _all(self, part: int) -> FloatArray:
        self._check_recorded("similarity")
        return torch.cat([done[part] for done in self._done]).numpy()

    def layer_cosines(self) -> FloatArray:
        """(samples, depth): cosine of state l and state l+1, mean over all tokens."""
        return self._all(0)

    def sublayer_cosines(self) -> FloatArray:
        """(samples, depth, 2): cosine of the states before and after attention, and the MLP, mean over all tokens."""
        return self._all(1)

    def last_token_cosines(self) -> FloatArray:
        """(samples, depth + 1, depth + 1): cosine of any two states of the last prompt token."""
        return self._all(2)


@contextmanager
def similarity(model: Model, *, family: Family | None = None) -> Iterator[SimilarityRecord]:
    """Measure cosines between states across layers, sub-layers and blocks of layers while the model runs.

    All states are those of the residual stream; state L is taken before the final norm. Image tokens count, padding
    does not. Call the model once per prompt, without a plan.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family.
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    SimilarityRecord

    Raises
    ------
    TypeError
        A layer without a norm between attention and MLP.
    RuntimeError
        During a forward call under a plan that shortens a layer.

    See Also
    --------
    vlm.selectors.block_influence, vlm.selectors.adaskip : Rankings by it.

    References
    ----------
    Men et al. (2024), *ShortGPT: layers in large language models are more redundant than you expect*,
    arXiv:2403.03853; Gromov et al. (2024), *The unreasonable ineffectiveness of the deeper layers*,
    arXiv:2403.17887; He et al. (2024), *What matters in transformers? Not all attention is needed*,
    arXiv:2406.15786; He et al. (2025), *AdaSkip: adaptive sublayer skipping for accelerating long-context LLM
    inference*, arXiv:2501.02336.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors, tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=4, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with selectors.similarity(model) as record:
    ...     _ = model(**batch)
    >>> selectors.block_influence(record).order
    (7, 8, 6, 5, 4, 3, 1, 2, 9, 0)
    """
    with attached(model, family) as engine:
        record = SimilarityRecord(engine.parts.depth)
        norms = {i: _norm_before_mlp(layer) for i, layer in enumerate(engine.parts.layers)}
        with (
            engine.watch_modules(norms, record.observe_middle),
            engine.watch_layers(record.observe, record.finish),
        ):
            yield record


def block_influence(record: SimilarityRecord) -> Ranking:
    r"""ShortGPT: delete the layers with the least block influence.

    The authors delete about a quarter of the layers (Llama-2 7B: 21-29 of 32; 13B: 26-35 of 40) of text models.

    Parameters
    ----------
    record : SimilarityRecord
        From :func:`similarity`.

    Returns
    -------
    Ranking

    See Also
    --------
    vlm.selectors.similarity : Makes the record.

    Notes
    -----
    :math:`BI_l = 1 - E[\cos(h_l, h_{l+1})]` over all tokens.

    References
    ----------
    Men et al. (2024), *ShortGPT: Layers in Large Language Models are More Redundant Than You Expect*,
    arXiv:2403.03853.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors, tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=4, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with selectors.similarity(model) as record:
    ...     _ = model(**batch)
    >>> ranking = selectors.block_influence(record)
    >>> ranking
    Ranking(ShortGPT: drop layers, 4 samples, 10 units)
    >>> str(ranking.plan())
    'vision:7-9/text:7-9'
    """
    return by_layer("ShortGPT", "drop layers", 1 - record.layer_cosines(), SkipPlan.drop, usual=0.25)


def angular_distance(record: SimilarityRecord) -> Ranking:
    r"""Remove the block of n layers across which the last prompt token's state turns least.

    The authors remove up to half of the layers and heal the model by fine-tuning, which is not done here.

    Parameters
    ----------
    record : SimilarityRecord
        From :func:`similarity`.

    Returns
    -------
    Ranking

    See Also
    --------
    vlm.selectors.similarity : Makes the record.

    Notes
    -----
    :math:`d(l, n) = \frac1\pi E[\arccos\cos(h_l, h_{l+n})]` at the last prompt token; for a budget of n layers the
    block with the smallest d is removed.

    References
    ----------
    Gromov et al. (2024), *The Unreasonable Ineffectiveness of the Deeper Layers*, arXiv:2403.17887.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors, tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=4, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with selectors.similarity(model) as record:
    ...     _ = model(**batch)
    >>> str(selectors.angular_distance(record).plan(3))
    'vision:4-7/text:4-7'
    """
    angles = np.arccos(np.clip(record.last_token_cosines(), -1.0, 1.0)) / np.pi
    depth = record.depth

    def block(mean: FloatArray, number: int) -> Units:
        start = int(np.argmin([mean[start, start + number] for start in range(depth - number + 1)]))
        return tuple(range(start, start + number))

    single = np.diagonal(angles, offset=1, axis1=1, axis2=2)
    return Ranking("angular distance", "drop layers", angles, single, depth, block, SkipPlan.drop, depth // 2)


def sublayer_similarity(record: SimilarityRecord, sublayer: Sublayer = "attention") -> Ranking:
    r"""LLM-Drop: drop the attention (or MLP) sub-layers, with their norm, that change the states least.

    The authors drop half of the attention sub-layers.

    Parameters
    ----------
    record : SimilarityRecord
        From :func:`similarity`.
    sublayer : {"attention", "mlp"}
        "attention" is the authors' advice.

    Returns
    -------
    Ranking

    Raises
    ------
    ValueError
        Another sub-layer.

    See Also
    --------
    vlm.selectors.adaskip : Both kinds of sub-layers ranked together.

    Notes
    -----
    The score is :math:`1 - E[\cos(x, x + f(\mathrm{norm}\,x))]` over all tokens.

    References
    ----------
    He et al. (2024), *What Matters in Transformers? Not All Attention is Needed*, arXiv:2406.15786.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors, tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=4, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with selectors.similarity(model) as record:
    ...     _ = model(**batch)
    >>> str(selectors.sublayer_similarity(record).plan(2))
    'attention:7-9'
    """
    if sublayer not in SUBLAYERS:
        raise ValueError(f"sublayer: expected one of {SUBLAYERS}, got {sublayer!r}")
    scores = 1 - record.sublayer_cosines()[:, :, SUBLAYERS.index(sublayer)]
    build = SkipPlan.drop_attention if sublayer == "attention" else SkipPlan.drop_mlp
    return by_layer(f"LLM-Drop ({sublayer})", f"drop {sublayer}", scores, build, usual=0.5)


def adaskip(record: SimilarityRecord) -> Ranking:
    r"""AdaSkip: skip the sub-layers, attention and MLP ranked together, that change the states least.

    Scores are those of :func:`sublayer_similarity`, averaged over the first 20 prompts by the authors and over all
    measured ones here; the lowest N of 2L are skipped. The authors rescale the input of a skipped sub-layer by the
    mean ratio of norms, which is not done here. Unit 2l is the attention of layer l, unit 2l + 1 its MLP.

    Parameters
    ----------
    record : SimilarityRecord
        From :func:`similarity`.

    Returns
    -------
    Ranking

    See Also
    --------
    vlm.selectors.sublayer_similarity : One kind of sub-layers alone.

    References
    ----------
    He et al. (2025), *AdaSkip: Adaptive Sublayer Skipping for Accelerating Long-Context LLM Inference*,
    arXiv:2501.02336.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors, tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=4, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with selectors.similarity(model) as record:
    ...     _ = model(**batch)
    >>> str(selectors.adaskip(record).plan(3))
    'mlp:3-5+7-8'
    """
    scores = 1 - record.sublayer_cosines()
    samples, depth, _ = scores.shape

    flat = scores.reshape(samples, 2 * depth)
    return Ranking(
        "AdaSkip", "drop sub-layers", flat, scores.mean(axis=2), 2 * depth, lowest, halves, round(0.25 * 2 * depth)
    )


def halves(units: Units) -> SkipPlan:
    """Sub-layers dropped: unit 2 l is the attention of layer l, unit 2 l + 1 its feed-forward."""
    layers = [[u // 2 for u in units if u % 2 == part] for part in (0, 1)]
    return SkipPlan.drop_attention(layers[0]) | SkipPlan.drop_mlp(layers[1])


def _norm_before_mlp(layer: nn.Module) -> nn.Module:
    """The norm whose input is the state between attention and MLP."""
    for name in ("pre_feedforward_layernorm", "post_attention_layernorm"):
        module = getattr(layer, name, None)
        if isinstance(module, nn.Module):
            return module
    raise TypeError(f"{type(layer).__name__}: expected a norm between attention and MLP, found none")


def _mean_cosine(call: Call, before: Tensor, after: Tensor) -> Tensor:
    """(batch,) mean cosine over real tokens."""
    cosines = F.cosine_similarity(before.to(torch.float64), after.to(torch.float64), dim=-1)
    return torch.where(call.real, cosines, 0.0).sum(dim=1) / call.real.sum(dim=1)


def _last_token(call: Call, states: Tensor) -> Tensor:
    """(batch, width) state of the last real token."""
    index = last_tokens(call.real).view(-1, 1, 1).expand(-1, 1, states.shape[-1])
    return states.gather(1, index).squeeze(1).to(torch.float64)
