"""FastV and SparseVLM, which choose image tokens inside the decoder, and the redundancy of each token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn

from redundancy.array_types import FloatArray
from vlm.engine.attention_event import AttentionEvent
from vlm.engine.attention_rows import attention_rows
from vlm.engine.forward_call import Call
from vlm.engine.hooks import attached
from vlm.engine.last_token import last_tokens
from vlm.measure.records import GrowingRecord
from vlm.models.families import Family
from vlm.models.types import Model
from vlm.plans.plan import SkipPlan
from vlm.selectors.token_choices import finite

# Heads that SparseVLM+ reads; half of them in models of fewer than 28.
PLUS_HEADS = 14
# SparseVLM: image tokens of LLaVA 1.5 that remain after the three stages, for each released budget.
SPARSE_STAGES = (2, 6, 15)
SPARSE_DEPTH = 32
_SPARSE_KEPT = (
    np.array([[0, 0, 0], [66, 30, 17], [238, 48, 26], [303, 110, 36], [300, 200, 110], [576, 576, 576]]) / 576
)
_SPARSE_BUDGET = np.array([0, 64, 96, 128, 192, 576]) / 576
# The same of SparseVLM+.
_PLUS_KEPT = np.array([[0, 0, 0], [66, 34, 20], [246, 54, 28], [238, 108, 60], [300, 200, 118], [576, 576, 576]]) / 576


@dataclass(eq=False, repr=False)
class TokenRecord(GrowingRecord):
    """What :func:`vlm.selectors.token_scores` measured, per sample and image token.

    Attributes
    ----------
    layers : tuple of int
        Layers whose attention was read.
    depth : int
        Number of decoder layers.

    See Also
    --------
    vlm.selectors.token_scores : Makes one.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors, tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=4, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with selectors.token_scores(model, layers=(1,)) as record:
    ...     _ = model(**batch)
    >>> record
    TokenRecord(samples=4, layers=(1), depth=10)
    >>> record.last_token(1)[0].shape, record.distances()[0].shape
    ((36,), (10, 36))
    """

    layers: tuple[int, ...]
    depth: int
    _rotary: nn.Module | None = None
    _raters: Tensor | None = None
    _rows: dict[int, Tensor] = field(default_factory=dict)
    _distances: list[Tensor] = field(default_factory=list)
    _done: list[tuple[FloatArray, FloatArray]] = field(default_factory=list)

    @property
    def samples(self) -> int:
        """Number of samples recorded."""
        return len(self._done)

    @torch.no_grad()
    def observe_entry(self, call: Call | None, key: object, states: Tensor, _: object) -> None:
        """Take in the decoder's input (called by the hooks)."""
        self._rows, self._distances = {}, []
        if call is not None and not call.past and states.shape[1] == call.real.shape[1]:
            self._raters = raters(call, states)

    @torch.no_grad()
    def observe_attention(self, event: AttentionEvent) -> None:
        """Take in one layer's queries and keys (called by the hooks)."""
        call, layer, query = event.call, event.layer, event.query
        if call.past or layer not in self.layers:
            return
        if layer in call.query_positions or self._raters is None:
            raise RuntimeError("token scores: a layer is shortened by a plan; measure without a plan")
        rows = torch.arange(query.shape[2], device=query.device).expand(query.shape[0], -1)
        by_query = attention_rows(event, rows).mean(dim=1).to(torch.float64)
        by_query = torch.where(call.real.unsqueeze(-1), by_query, 0.0)  # rows of padding may be undefined
        last = by_query.gather(1, last_tokens(call.real).view(-1, 1, 1).expand(-1, 1, by_query.shape[2]))
        weights = self._raters / self._raters.sum(dim=1, keepdim=True).clamp(min=1.0)
        plus = self._plus_scores(event, rows, weights)
        self._rows[layer] = torch.cat([last, weights.unsqueeze(1) @ by_query, plus], dim=1)

    def _plus_scores(self, event: AttentionEvent, rows: Tensor, weights: Tensor) -> Tensor:
        """SparseVLM+'s scores (batch, 1, tokens), NaN without a rotary embedding."""
        call, query = event.call, event.query
        if self._rotary is None:
            return torch.full_like(weights, torch.nan).unsqueeze(1)
        maps = torch.where(call.real[:, None, :, None], attention_rows(event, rows), 0.0).to(torch.float64)
        bias = rotary_bias(self._rotary, query)
        by_head = (weights[:, None, None, :] @ (maps / bias)).squeeze(2)  # (batch, heads, tokens)
        mass = torch.where(call.vision.unsqueeze(1), by_head, 0.0).sum(dim=2)
        best = mass.topk(plus_heads(mass.shape[1]), dim=1).indices
        return by_head.gather(1, best.unsqueeze(-1).expand(-1, -1, by_head.shape[2])).mean(dim=1, keepdim=True)

    @torch.no_grad()
    def observe_layer(self, call: Call, layer: int, before: Tensor, after: Tensor) -> None:
        """Take in one layer's input and output (called by the hooks)."""
        if not call.past:
            cosines = F.cosine_similarity(before.to(torch.float64), after.to(torch.float64), dim=-1)
            self._distances.append(1 - cosines)

    @torch.no_grad()
    def finish(self, call: Call) -> None:
        """Store the samples of a forward call that has ended (called by the hooks)."""
        if len(self._distances) == self.depth and len(self._rows) == len(self.layers):
            scores = torch.stack([self._rows[i] for i in self.layers], dim=1).cpu()  # (batch, layers, 2, tokens)
            distances = torch.stack(self._distances, dim=1).cpu()
            for sample, shown in enumerate(call.vision.cpu()):
                self._done.append((scores[sample][..., shown].numpy(), distances[sample][:, shown].numpy()))
        self._raters, self._rows, self._distances = None, {}, []

    def _measured(self) -> dict[str, object]:
        scores = {
            layer: {
                "last_token": self.last_token(layer),
                "text_raters": self.text_raters(layer),
                "plus": self.plus(layer),
            }
            for layer in self.layers
        }
        return {"scores": scores, "distances": self.distances()}

    def _samples(self) -> list[tuple[FloatArray, FloatArray]]:
        self._check_recorded("token scores")
        return self._done

    def last_token(self, layer: int) -> list[FloatArray]:
        """Attention of the last prompt token to each image token, mean over heads: one (image tokens,) per sample."""
        place = self._place(layer)
        return [scores[place, 0] for scores, _ in self._samples()]

    def text_raters(self, layer: int) -> list[FloatArray]:
        """Mean attention of the text raters to each image token: one (image tokens,) per sample."""
        place = self._place(layer)
        return [scores[place, 1] for scores, _ in self._samples()]

    def plus(self, layer: int) -> list[FloatArray]:
        """SparseVLM+'s score of each image token: one (image tokens,) per sample, NaN without rotary positions.

        The text raters' attention after the softmax, divided by the product that rotary positions alone would give
        (that of vectors of ones), mean over raters and over the 14 heads with the largest sum over raters and image
        tokens, half of the heads in models of fewer than 28.
        """
        place = self._place(layer)
        return [scores[place, 2] for scores, _ in self._samples()]

    def distances(self) -> list[FloatArray]:
        """Cosine distance of each image token between state l and state l+1: one (depth, image tokens) per sample."""
        return [distances for _, distances in self._samples()]

    def _place(self, layer: int) -> int:
        if layer not in self.layers:
            raise ValueError(f"layer: expected one of the read layers {self.layers}, got {layer}")
        return self.layers.index(layer)


@contextmanager
def token_scores(model: Model, layers: Sequence[int] = (1,), *, family: Family | None = None) -> Iterator[TokenRecord]:
    """Measure the attention that image tokens receive in some layers, and how far they move, while the model runs.

    Image tokens are found by their placeholder, never by a fixed position. Keeps O(layers x image tokens)
    numbers per sample.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family.
    layers : sequence of int
        Layers whose attention is read: FastV with K reads layer K - 1.
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    TokenRecord

    Raises
    ------
    ValueError
        A layer outside the model.
    RuntimeError
        During a forward call under a plan that shortens a layer.

    See Also
    --------
    vlm.selectors.fastv_plan, vlm.selectors.sparsevlm_plan : Plans that use the scores.

    References
    ----------
    Chen et al. (2024), *An image is worth 1/2 tokens after layer 2*, arXiv:2403.06764; Zhang et al. (2024),
    *SparseVLM: visual token sparsification for efficient vision-language model inference*, arXiv:2410.04417.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors, tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=4, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with selectors.token_scores(model, layers=(1,)) as record:
    ...     _ = model(**batch)
    >>> record.last_token(1)[0].argsort()[-3:].tolist()  # the three image tokens with the most attention
    [32, 25, 30]
    """
    with attached(model, family) as engine:
        depth = engine.parts.depth
        if not layers or any(not 0 <= layer < depth for layer in layers):
            raise ValueError(f"layers: expected one or more numbers from 0 to {depth - 1}, got {tuple(layers)}")
        rotary = getattr(engine.parts.decoder, "rotary_emb", None)
        record = TokenRecord(tuple(layers), depth, rotary if isinstance(rotary, nn.Module) else None)
        entry = {0: engine.parts.layers[0].input_layernorm}
        with (
            engine.watch_modules(entry, record.observe_entry),  # type: ignore[arg-type]
            engine.watch_attention(record.observe_attention, record.finish),
            engine.watch_layers(record.observe_layer, _nothing),
        ):
            yield record


def fastv_plan(removed: float = 0.5, *, layer: int = 2) -> SkipPlan:
    r"""FastV: from layer K on, only the image tokens to which the last prompt token attends most remain.

    The fraction `removed` with the lowest scores is removed, separately for each prompt while it runs.

    Parameters
    ----------
    removed : float
        Fraction R of image tokens that are removed, in [0, 1).
    layer : int
        The authors' K. They use K = 2 with R = 0.5, and K = 3 with R = 0.75.

    Returns
    -------
    SkipPlan

    See Also
    --------
    vlm.SkipPlan.prune : The same plan by the fraction that is kept.
    vlm.selectors.token_scores : `TokenRecord.last_token(layer - 1)` holds the scores of measured samples.

    Notes
    -----
    The score of image token j is :math:`\frac1H \sum_h A^{(K-1,h)}[last, j]`.

    References
    ----------
    Chen et al. (2024), *An Image is Worth 1/2 Tokens After Layer 2*, arXiv:2403.06764.

    Examples
    --------
    >>> from vlm import selectors
    >>> str(selectors.fastv_plan(0.75, layer=3))
    'prune:3=0.25'
    """
    return SkipPlan.prune(layer, 1 - removed)


def sparse_stages(depth: int) -> tuple[int, ...]:
    """SparseVLM's stages, layers 2, 6 and 15 of 32, scaled to this depth.

    Parameters
    ----------
    depth : int
        Number of decoder layers.

    Returns
    -------
    tuple of int
        Three different layers, at least 1.

    Raises
    ------
    ValueError
        A model so shallow that two stages fall on one layer.

    See Also
    --------
    vlm.selectors.sparsevlm_plan : Takes the stages.

    References
    ----------
    Zhang et al. (2024), *SparseVLM: visual token sparsification for efficient vision-language model inference*,
    arXiv:2410.04417.

    Examples
    --------
    >>> from vlm import selectors
    >>> selectors.sparse_stages(32), selectors.sparse_stages(10)
    ((2, 6, 15), (1, 2, 5))
    """
    stages = scaled_stages(depth)
    if len(set(stages)) < len(stages):
        raise ValueError(
            f"depth: SparseVLM's stages {SPARSE_STAGES} of {SPARSE_DEPTH} layers fall on {stages} of {depth}; name "
            "three layers yourself"
        )
    return stages


def scaled_stages(depth: int) -> tuple[int, ...]:
    """SparseVLM's stages in proportion, which may coincide."""
    return tuple(max(1, round(stage * depth / SPARSE_DEPTH)) for stage in SPARSE_STAGES)


def sparsevlm_plan(scores: Sequence[ArrayLike], stages: Sequence[int], budget: float) -> SkipPlan:
    r"""SparseVLM on one prompt: in stages, the image tokens that matter least to the text raters are removed.

    Raters are the text tokens after the image whose relevance to the image is above average; the score of an image
    token is the raters' attention to it, mean over heads and raters. Left out of the released code: the paper's rank
    rule, which makes the number of removed tokens depend on the rank of the raters' attention (the released lists fix
    the numbers), the merging of removed tokens into a few new ones ("recycling"), and the cut of positions to the new
    length; the scores of later stages come from the full run.

    Parameters
    ----------
    scores : one (image tokens,) per stage
        `TokenRecord.text_raters(stage)` of the sample.
    stages : sequence of int
        Layers after which tokens are removed; see :func:`sparse_stages`.
    budget : float
        Mean fraction of image tokens that are kept, in [0, 1]. The released budgets are 192/576, 128/576, 96/576 and
        64/576 with (300, 200, 110), (303, 110, 36), (238, 48, 26) and (66, 30, 17) tokens after the stages; fractions
        in between are interpolated.

    Returns
    -------
    SkipPlan

    See Also
    --------
    vlm.selectors.token_scores : Makes the record of the scores.

    Notes
    -----
    The relevance of text token i is :math:`r_i = \frac1V\sum_v \mathrm{softmax}_i(x_v \cdot x_i)`, with the states x
    that enter the decoder and the V image tokens v.

    References
    ----------
    Zhang et al. (2024), *SparseVLM: Visual Token Sparsification for Efficient Vision-Language Model Inference*,
    arXiv:2410.04417.

    Examples
    --------
    >>> import numpy as np
    >>> from vlm import selectors
    >>> scores = [np.arange(9.0), np.arange(9.0), np.arange(9.0)]  # of nine image tokens, at three stages
    >>> str(selectors.sparsevlm_plan(scores, stages=(1, 2, 5), budget=1 / 3))
    'keep:2-3=4-9/keep:3-6=6-9/keep:6-=7-9'
    """
    return _staged(scores, stages, budget, _SPARSE_KEPT)


def _staged(scores: Sequence[ArrayLike], stages: Sequence[int], budget: float, kept: FloatArray) -> SkipPlan:
    """Keeps by stages, numbers interpolated between the released budgets."""
    if len(set(stages)) < len(stages) or list(stages) != sorted(stages):
        raise ValueError(f"stages: expected different layers, in order, got {tuple(stages)}")
    remaining = np.arange(len(np.asarray(scores[0])))
    total, plan = len(remaining), SkipPlan()
    for stage, given in enumerate(scores):
        score = finite(given, name="scores")
        share = float(np.interp(budget, _SPARSE_BUDGET, kept[:, stage]))
        count = min(len(remaining), round(share * total))
        remaining = remaining[np.sort(np.argsort(-score[remaining], kind="stable")[:count])]
        stop = stages[stage + 1] + 1 if stage + 1 < len(stages) else None
        plan = plan | SkipPlan.keep(stages[stage] + 1, stop, remaining.tolist())
    return plan


def sparsevlm_plus_plan(scores: Sequence[ArrayLike], stages: Sequence[int], budget: float) -> SkipPlan:
    r"""SparseVLM+ on one prompt: as SparseVLM, with corrected scores of selected heads and no merging.

    As :func:`sparsevlm_plan` with the scores of `TokenRecord.plus` and the lists of the second release: (300, 200,
    118), (238, 108, 60), (246, 54, 28) and (66, 34, 20) tokens for 192, 128, 96 and 64. Removed tokens are not recycled
    and positions stay, as in the authors' code. What it calls logits are softmaxed weights: these are divided, not the
    products before the softmax. Heads are chosen over all image tokens and the scores of later stages come from the
    full run. O(L N log N).

    Parameters
    ----------
    scores : one (image tokens,) per stage
        `TokenRecord.plus(stage)` of the sample.
    stages : sequence of int
        Layers after which tokens are removed; see :func:`sparse_stages`.
    budget : float
        Mean fraction of image tokens that are kept, in [0, 1].

    Returns
    -------
    SkipPlan

    See Also
    --------
    vlm.selectors.token_scores : Makes the record of the scores.

    Notes
    -----
    Head by head :math:`s_{ij} = A_{ij} / b_{i-j}`, :math:`b_\delta = (R_\delta 1) \cdot 1 / \sqrt d`, with text raters
    i and the rotation R; the 14 heads with the largest :math:`\sum_{ij} s_{ij}` count, half of the heads where they are
    fewer than 28.

    References
    ----------
    Zhang et al. (2024), *SparseVLM: visual token sparsification for efficient vision-language model inference*,
    arXiv:2410.04417; version 2 of github.com/Gumpest/SparseVLMs, llava/model/language_model/modelling_sparse_llama.py.

    Examples
    --------
    >>> import numpy as np
    >>> from vlm import selectors
    >>> scores = [np.arange(9.0), np.arange(9.0), np.arange(9.0)]  # of nine image tokens, at three stages
    >>> str(selectors.sparsevlm_plus_plan(scores, stages=(1, 2, 5), budget=1 / 3))
    'keep:2-3=4-9/keep:3-6=6-9/keep:6-=7-9'
    """
    return _staged(scores, stages, budget, _PLUS_KEPT)


def plus_heads(count: int) -> int:
    """How many of a layer's heads SparseVLM+ reads."""
    return min(PLUS_HEADS, (count + 1) // 2)


def rotary_bias(rotary: nn.Module, query: Tensor) -> Tensor:
    """Products (tokens, tokens) of rotated vectors of ones, scaled as scores; for queries (batch, heads, tokens, d)."""
    length, width = query.shape[2], query.shape[3]
    places = torch.arange(length, device=query.device).unsqueeze(0)
    cos, sin = rotary(query.new_ones(1, length, width, dtype=torch.float32), places)
    cos, sin = cos[0].to(torch.float64), sin[0].to(torch.float64)
    half = cos.shape[-1] // 2
    ones = torch.cat([cos[:, :half] - sin[:, :half], cos[:, half:] + sin[:, half:]], dim=1)
    bias: Tensor = (ones @ ones.T) * width**-0.5
    return bias


def raters(call: Call, states: Tensor) -> Tensor:
    """(batch, tokens) 1 for SparseVLM's text raters, 0 for all others; states (batch, tokens, width)."""
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
