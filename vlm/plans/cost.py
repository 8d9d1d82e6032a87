"""Cost of the decoder under a plan, counted from the model's own layers and the numbers of tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from redundancy.array_types import FloatArray
from redundancy.display import Displayed
from vlm.models.families import Family, anatomy
from vlm.models.layer_parts import output_map
from vlm.models.types import Model
from vlm.plans.layer_shapes import LayerShape, layer_shape, map_size, stored
from vlm.plans.plan import LayerPlan, SkipPlan
from vlm.plans.ranges import size_below
from vlm.plans.text_form import FEATURES, Terms


@dataclass(frozen=True, eq=False, repr=False)
class Operations(Displayed):
    """Floating-point operations of the decoder; a multiply-add counts as two.

    Attributes
    ----------
    layers : ndarray (depth,)
        Operations of each decoder layer: linear maps of the tokens that go through it, and attention products.
    head : float
        Operations of the output matrix, on the tokens whose logits are computed.

    See Also
    --------
    operations : Count them for one prompt.

    Examples
    --------
    >>> Operations(np.array([1e9, 2e9]), 5e8)
    Operations(3.5 Gflop in 2 layers and head)
    """

    layers: FloatArray
    head: float

    @property
    def total(self) -> float:
        """Operations of all layers and the output matrix."""
        return float(self.layers.sum()) + self.head

    def __repr__(self) -> str:
        return f"Operations({self.total / 1e9:.3g} Gflop in {len(self.layers)} layers and head)"


@dataclass(frozen=True, eq=False, repr=False)
class Cost(Displayed):
    """Cost of a plan for one batch of prompts of equal length.

    Attributes
    ----------
    prefill : Operations
        Of the prompt, without a cache before it.
    decode : Operations
        Of one generated token, with the prompt and the tokens generated before in the cache.
    cache_bytes : ndarray (depth,)
        Keys and values held after the prompt and the generated tokens. Text tokens and image tokens that run or are
        frozen are held where their layer attends; ragged batches also hold their filler. A sliding window is counted
        as full of them, which is an estimate under a plan: what is inside depends on the position of the image. A
        recurrent state has the same size after any number of tokens.
    prefill_weight_bytes, decode_weight_bytes : int
        Weights of decoder layers and output matrix that are read at least once; embeddings are looked up, not read.

    See Also
    --------
    plan_cost : Count them.

    Examples
    --------
    >>> import vlm
    >>> model, _ = vlm.load("tiny")
    >>> cost = vlm.plan_cost(model, vision=64, text=10, plan="vision:0-4")
    >>> round(cost.prefill.total / 1e6, 1), cost.cache_bytes.astype(int).tolist()
    (57.1, [5120, 5120, 5120, 5120, 37888, 37888, 37888, 37888, 37888, 37888])
    """

    prefill: Operations
    decode: Operations
    cache_bytes: FloatArray
    prefill_weight_bytes: int
    decode_weight_bytes: int

    def __repr__(self) -> str:
        return f"Cost({self})"

    def __str__(self) -> str:
        return (
            f"prefill {self.prefill.total / 1e9:.3g} Gflop, decode {self.decode.total / 1e9:.3g} Gflop a token, "
            f"cache {self.cache_bytes.sum() / 1e6:.3g} MB, weights {self.prefill_weight_bytes / 1e6:.3g} MB in prefill "
            f"and {self.decode_weight_bytes / 1e6:.3g} MB in decode"
        )


def plan_cost(
    model: Model,
    *,
    vision: int,
    text: int,
    plan: SkipPlan | str | None = None,
    batch: int = 1,
    generated: int = 0,
    head_tokens: int = 1,
    family: Family | None = None,
) -> Cost:
    """Count operations, cache and weights of prompt and decoding under a plan.

    Attention is counted as the full rectangle of queries and keys, as kernels without a causal shortcut compute it.
    Norms, rotary embedding, softmax and moving tokens are left out (below 1%). A choice by a layer's own attention
    costs that layer's queries, keys and values once more, one by text and image tokens a map of scores. If a keep
    follows a choice, the number of tokens in both depends on the image; the upper bound is used. Of a mixture of
    experts, those are counted that a token is routed to; of a recurrent state (gated delta rule), what chunks of 64
    tokens multiply. Sizes come from the modules themselves: fused, adapted (LoRA)
    and quantised ones too, the latter with the bytes of their own storage and the operations of their maps, without
    unpacking.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model; its weights are not read, so it may live on the meta device.
    vision, text : int
        Number of image and of text tokens of one prompt.
    plan : SkipPlan or str, optional
        What is skipped.
    batch : int
        Prompts at once.
    generated : int
        Tokens decoded before the one that `decode` counts.
    head_tokens : int
        Tokens of each prompt whose logits are computed: 1 when generating, all of them in a plain forward.
    family : Family, optional
        For a model that is not of a known family.

    Returns
    -------
    Cost

    Raises
    ------
    ValueError
        A number of tokens is out of range, or the plan does not fit the model's depth.
    NotImplementedError
        A layer with a part whose operations are not known.

    See Also
    --------
    operations_ratio : One number for comparing plans.

    Examples
    --------
    >>> import vlm
    >>> model, _ = vlm.load("tiny")
    >>> print(vlm.plan_cost(model, vision=64, text=10, plan="vision:0-4"))
    prefill 0.0571 Gflop, decode 0.00114 Gflop a token, cache 0.248 MB, weights 2.02 MB in prefill and 2.02 MB in decode
    """
    if vision < 0 or text < 0 or vision + text == 0:
        raise ValueError(f"vision, text: expected numbers of tokens >= 0, not both 0, got {vision} and {text}")
    if batch < 1 or generated < 0:
        raise ValueError(f"batch, generated: expected at least 1 and 0, got {batch} and {generated}")
    parts = anatomy(model, family)
    plan = SkipPlan.parse(plan) if isinstance(plan, str) else plan or SkipPlan()
    steps = plan.steps(parts.depth)
    ranked = {layer - 1 for layer, _ in plan.resolved(parts.depth).pruned} if vision else set()
    shapes = [layer_shape(layer, parts.text_config, index) for index, layer in enumerate(parts.layers)]
    for index, (shape, step) in enumerate(zip(shapes, steps, strict=True)):
        _refuse_unknown_maps(shape, step, index)
    counts = [_tokens(step, vision, text) for step in steps]
    new = [int(step.text) for step in steps]
    of_features = [(token, terms) for layer, token, terms in plan.merges if layer == FEATURES]
    features = getattr(getattr(parts.model.config, "vision_config", None), "hidden_size", 0)
    prompt = [
        _operations(shape, step, running, running + frozen, running + frozen, _fed(step, vision, running), prompt=True)
        + (index in ranked) * shape.ranking * (running + frozen)
        + _choices(layer, shape, step, index, vision, text)
        + _merging(step.merges, parts.text_config.hidden_size, vision)
        + (index == 0) * _merging(of_features, features, vision)
        for index, (layer, shape, step, (running, frozen)) in enumerate(
            zip(parts.layers, shapes, steps, counts, strict=True)
        )
    ]
    held = [
        min(running + frozen + generated * one, shape.window) * step.attention
        for shape, step, (running, frozen), one in zip(shapes, steps, counts, new, strict=True)
    ]
    token = [_operations(s, p, n, n, h + 1, n) for s, p, n, h in zip(shapes, steps, new, held, strict=True)]
    # A model without its head computes no logits.
    head = parts.model.get_output_embeddings()
    head_bytes = 0 if head is None else sum(map(stored, head.parameters()))
    head_size = 0.0 if head is None else 2.0 * map_size(head) * batch
    size = parts.model.dtype.itemsize
    return Cost(
        Operations(batch * np.array(prompt), head_size * head_tokens),
        Operations(batch * np.array(token), head_size),
        batch * np.array([_held(s, float(h), size) for s, h in zip(shapes, held, strict=True)]),
        head_bytes + sum(_touched(s, p, sum(c)) for s, p, c in zip(shapes, steps, counts, strict=True)),
        head_bytes + sum(_touched(*row) for row in zip(shapes, steps, new, strict=True)),
    )


def operations(
    model: Model,
    *,
    vision: int,
    text: int,
    plan: SkipPlan | str | None = None,
    head_tokens: int = 1,
    family: Family | None = None,
) -> Operations:
    """Operations of the decoder for one prompt (prefill, no cache).

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model; its weights are not read, so it may live on the meta device.
    vision, text : int
        Number of image and of text tokens.
    plan : SkipPlan or str, optional
        What is skipped.
    head_tokens : int
        Tokens whose logits are computed: 1 when generating, all of them in a plain forward.
    family : Family, optional
        For a model that is not of a known family.

    Returns
    -------
    Operations
        Floating-point operations per layer and of the output matrix.

    Raises
    ------
    ValueError
        A number of tokens is out of range, or the plan does not fit the model's depth.
    NotImplementedError
        A layer with a part whose operations are not known.

    See Also
    --------
    plan_cost : Decoding, cache and weights as well, and how they are counted.

    Examples
    --------
    >>> import vlm
    >>> model, _ = vlm.load("tiny")
    >>> vlm.operations(model, vision=64, text=10)
    Operations(0.0883 Gflop in 10 layers and head)
    """
    return plan_cost(model, vision=vision, text=text, plan=plan, head_tokens=head_tokens, family=family).prefill


def operations_ratio(
    model: Model, plan: SkipPlan | str, *, vision: int, text: int, head_tokens: int = 1, family: Family | None = None
) -> float:
    """Operations under the plan divided by operations without a plan.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model; its weights are not read.
    plan : SkipPlan or str
        What is skipped.
    vision, text : int
        Number of image and of text tokens.
    head_tokens : int
        Tokens whose logits are computed.
    family : Family, optional
        For a model that is not of a known family.

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    ValueError
        A number of tokens is out of range, or the plan does not fit the model's depth.
    NotImplementedError
        A layer with a part whose operations are not known.

    See Also
    --------
    operations : The numbers behind the ratio.

    Examples
    --------
    >>> import vlm
    >>> model, _ = vlm.load("tiny")
    >>> round(vlm.operations_ratio(model, "vision:0-4", vision=64, text=10), 3)
    0.647
    """
    full = operations(model, vision=vision, text=text, head_tokens=head_tokens, family=family)
    short = operations(model, vision=vision, text=text, plan=plan, head_tokens=head_tokens, family=family)
    return short.total / full.total


def _tokens(step: LayerPlan, vision: int, text: int) -> tuple[int, int]:
    """Number of prompt tokens that run through a layer, and of image tokens that are only keys and values there."""
    chosen = (*step.pruned, *step.ranked, *step.left)
    images = min([size_below(step.kept, vision)] + [round(fraction * vision) for _, fraction in chosen])
    running = text * step.text + images * (step.vision == "run")
    return running, images * (step.vision == "frozen")


def _fed(step: LayerPlan, vision: int, running: int) -> int:
    """Number of tokens that go through the feed-forward, of those that run."""
    if step.leaving is None:
        return running
    staying, _ = _tokens(replace(step, left=(*step.left, (0, step.leaving)), text=False), vision, 0)
    before, _ = _tokens(replace(step, text=False), vision, 0)
    return running - before + staying


def _choices(layer: Any, shape: LayerShape, step: LayerPlan, index: int, vision: int, text: int) -> float:
    """Operations of choosing tokens by the layer's own attention, before it runs or before its feed-forward."""
    total = 0.0
    if vision and any(first == index for first, _ in step.ranked):
        before = replace(step, ranked=tuple(pair for pair in step.ranked if pair[0] != index))
        seen = sum(_tokens(before, vision, text))
        queries = shape.queries - map_size(output_map(layer))
        total += (2.0 * (queries + shape.keys + shape.expanding) + shape.ranking) * seen
    if vision and step.leaving is not None:
        running = sum(_tokens(step, vision, text))
        # Two sums of the map's rows besides the scores.
        total += (shape.ranking + 4.0) * running * running
    return total


def _merging(merges: Iterable[tuple[int, Terms]], width: int, vision: int) -> float:
    """Operations of the sums that image tokens become."""
    terms = [sum(other < vision for other, _ in terms) for token, terms in merges if token < vision]
    return 2.0 * width * sum(terms)


def _held(shape: LayerShape, tokens: float, size: int) -> float:
    """Bytes that a layer's cache holds of one prompt of so many tokens, in numbers of `size` bytes."""
    state = 0 if shape.recurrence is None or not tokens else shape.recurrence.bytes(size)
    return size * shape.cached * tokens + state


def _operations(
    shape: LayerShape, step: LayerPlan, rows: int, kept: int, seen: float, fed: int, *, prompt: bool = False
) -> float:
    """Queries of `rows` tokens, keys and values of `kept` tokens, attention over `seen` keys, feed-forward of `fed`."""
    if rows and shape.recurrence is not None:
        return 2.0 * (shape.queries * rows + shape.feed_forward * fed) + shape.recurrence.operations(rows, prompt)
    if rows == 0:
        # The keys of frozen tokens in a call without text are still stored, for later calls.
        return 2.0 * shape.keys * kept
    maps = 2.0 * (shape.queries * rows + shape.keys * kept + shape.expanding * seen)
    products = 2.0 * (shape.scored + shape.summed) * rows * seen
    return step.attention * (maps + products) + step.mlp * 2.0 * shape.feed_forward * fed


def _touched(shape: LayerShape, step: LayerPlan, tokens: int) -> int:
    """Bytes of the weights that are read for this number of tokens."""
    halves = step.attention * shape.attention_bytes + step.mlp * shape.feed_forward_read(tokens)
    return halves if tokens else 0


def _refuse_unknown_maps(shape: LayerShape, step: LayerPlan, index: int) -> None:
    """Refuse to count frozen tokens where it is not known which maps make their keys, and halves of what has none."""
    half = not (step.attention and step.mlp) or step.leaving is not None
    choosing = any(first == index for first, _ in step.ranked)
    if shape.recurrence is not None and (step.vision == "frozen" or half or choosing):
        raise NotImplementedError(
            f"cost: layer {index} has a recurrent state in place of attention, in which no token is frozen or ranked "
            "and no half is dropped; drop the whole layer (vision:A-B/text:A-B), or leave it out of the plan"
        )
    if step.vision == "frozen" and shape.unknown:
        raise NotImplementedError(
            f"cost: layer {index}: which of its maps make keys and values of frozen tokens is not known: "
            f"{', '.join(shape.unknown)}"
        )
