"""A plan that drops whole layers as an ordinary smaller model, for engines that know nothing of plans."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from vlm.engine.shared_copy import copy_with_shared_weights
from vlm.models.families import Family, anatomy, part
from vlm.models.layer_parts import find_attention
from vlm.models.types import Model
from vlm.models.wrappers import unwrapped
from vlm.plans.plan import LayerPlan, SkipPlan

# Configuration values that name layers by their index.
_INDEX_LISTS = ("mlp_only_layers", "moe_layers", "cross_attention_layers", "full_attn_idxs")
# Configuration values that say how many of the first layers are of a kind.
_FIRST = ("first_k_dense_replace", "max_window_layers", "num_dense_layers")


def bake(model: Model, plan: SkipPlan | str, *, family: Family | None = None) -> Model:
    """Make the smaller model that a plan which drops whole layers describes.

    The result is an ordinary model of the same class with fewer decoder layers. It gives the same outputs as
    `vlm.skipping` with the plan, `save_pretrained` writes a checkpoint that loads without this library, and other
    engines (vLLM, SGLang, llama.cpp's converter) can run it. Save the processor beside it.

    Weights are shared with `model`, not copied: training one changes the other.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model.
    plan : SkipPlan or str
        All tokens bypass its layers: ``SkipPlan.drop(layers)``, "vision:3-5/text:3-5".
    family : Family, optional
        For a model that is not of a known family.

    Returns
    -------
    PreTrainedModel
        Its layers are numbered anew, and its configuration describes them.

    Raises
    ------
    ValueError
        The plan does something else than drop whole layers, drops none or all of them, a configuration of this class
        cannot describe the layers that remain, or the model has adapters, quantised or offloaded weights.

    See Also
    --------
    vlm.skipping : Run any plan on the model itself.

    Examples
    --------
    >>> import vlm
    >>> model, processor = vlm.load("tiny")
    >>> smaller = vlm.bake(model, vlm.SkipPlan.drop([3, 4]))
    >>> type(smaller).__name__, smaller.config.text_config.num_hidden_layers
    ('LlavaForConditionalGeneration', 8)
    """
    model = unwrapped(model)
    parts = anatomy(model, family)
    _refuse_weights(model)
    plan = SkipPlan.parse(plan) if isinstance(plan, str) else plan
    kept = _kept(plan, parts.depth)
    _refuse_between_layers(model, kept)
    smaller = copy_with_shared_weights(model)
    decoder = part(smaller, parts.family.decoder)
    decoder.layers = nn.ModuleList([decoder.layers[index] for index in kept])
    for index, layer in enumerate(decoder.layers):
        for module in layer.modules():
            if isinstance(getattr(module, "layer_idx", None), int):
                module.layer_idx = index
    _shorten(decoder.config, kept, parts.depth)
    top = smaller.config.get_text_config()
    if top is not decoder.config:
        _shorten(top, kept, parts.depth)
    _check(smaller, parts.family)
    return smaller


def _kept(plan: SkipPlan, depth: int) -> list[int]:
    steps = plan.steps(depth)
    dropped = LayerPlan(vision="skipped", text=False)
    kept = [index for index, step in enumerate(steps) if (step.vision, step.text) != (dropped.vision, dropped.text)]
    others = [index for index in kept if steps[index] != LayerPlan()]
    if plan.resolved(depth).merges:
        raise ValueError(
            f"bake: expected a plan that drops whole layers, got {plan}, which merges image tokens; no ordinary model "
            "does that, so run it with vlm.skipping"
        )
    if others:
        raise ValueError(
            f"bake: expected a plan that drops whole layers for all tokens (vision:A-B/text:A-B), got {plan}, which "
            f"does something else in layer {others[0]}; no ordinary model does that, so run it with vlm.skipping"
        )
    if len(kept) == depth or not kept:
        raise ValueError(
            f"bake: expected a plan that drops some of {depth} layers, got {plan}, which drops {depth - len(kept)}"
        )
    return kept


def _refuse_weights(model: Any) -> None:
    """Refuse weights that a checkpoint of an ordinary model does not hold."""
    quantised = getattr(getattr(model, "config", None), "quantization_config", None)
    if any(hasattr(module, "base_layer") for module in model.modules()):
        what, remedy = "adapters, which are no part of an ordinary model", "merge them first (merge_and_unload)"
    elif quantised is not None:
        what, remedy = "quantised weights", "bake the model without quantisation, and quantise what bake returns"
    elif any(weight.device.type == "meta" and hasattr(model, "hf_device_map") for weight in model.parameters()):
        what, remedy = "weights that are offloaded", "load it without offloading; baking needs no GPU"
    else:
        return
    raise ValueError(f"bake: this model has {what}; {remedy}")


def _refuse_between_layers(model: Any, kept: Sequence[int]) -> None:
    """Refuse to drop layers after which the model adds image features, by their number."""
    indexes = getattr(getattr(model.config, "vision_config", None), "deepstack_visual_indexes", None) or ()
    if list(kept[: len(indexes)]) != list(range(len(indexes))):
        raise ValueError(
            f"bake: this model adds image features after each of its first {len(indexes)} layers; keep those layers"
        )


def _shorten(config: Any, kept: Sequence[int], depth: int) -> None:
    """Let a configuration describe the layers that remain."""
    for name, value in list(vars(config).items()):
        if isinstance(value, list | tuple) and name in _INDEX_LISTS:
            setattr(config, name, [kept.index(layer) for layer in value if layer in kept])
        elif isinstance(value, list | tuple) and len(value) == depth:
            setattr(config, name, [value[index] for index in kept])
        elif name in _FIRST and isinstance(value, int):
            setattr(config, name, sum(index < value for index in kept))
    config.num_hidden_layers = len(kept)


def _check(smaller: Any, family: Family) -> None:
    """Build the model anew from its configuration and compare every layer with what that gives."""
    with torch.device("meta"):
        rebuilt = type(smaller)(copy.deepcopy(smaller.config))
    pairs = zip(part(rebuilt, family.decoder).layers, part(smaller, family.decoder).layers, strict=True)
    for index, (planned, layer) in enumerate(pairs):
        if _described(planned) != _described(layer):
            raise ValueError(
                f"bake: a {type(smaller.config).__name__} cannot describe the layers that remain: layer {index} would "
                "be of another kind than it is; drop layers in whole periods of the model's pattern, or run the plan "
                "with vlm.skipping"
            )


def _described(layer: nn.Module) -> list[tuple[object, ...]]:
    """What makes a layer what it is besides its weights."""
    attention = find_attention(layer)
    names = ("layer_idx", "is_sliding", "sliding_window", "use_rope", "is_causal", "head_dim", "num_key_value_groups")
    shapes: list[tuple[object, ...]] = [(name, tuple(weight.shape)) for name, weight in layer.state_dict().items()]
    kinds = [(name, type(module).__name__) for name, module in layer.named_modules()]
    return shapes + kinds + [(name, getattr(attention, name, None)) for name in names]
