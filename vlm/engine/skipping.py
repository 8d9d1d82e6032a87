"""Run a model under a SkipPlan: skipped tokens are removed from the sequence, not masked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from vlm.engine.flash_attention import refuse_packed
from vlm.engine.hooks import Engine, attached
from vlm.engine.kv_cache import PartialLayer, cache_in, refuse_cache
from vlm.engine.layer_forward import shortened
from vlm.engine.sublayers import replacements
from vlm.engine.token_pruning import ranking
from vlm.models.attention_kinds import check_implementation
from vlm.models.families import Family, exact_length
from vlm.models.types import Arguments, Model
from vlm.plans.plan import LayerPlan, SkipPlan
from vlm.plans.plan_file import Plan, plan_for
from vlm.plans.ranges import EVERYTHING


@contextmanager
def skipping(model: Model, plan: Plan, *, family: Family | None = None) -> Iterator[SkipPlan]:
    """Run a model with some tokens skipping some decoder layers.

    Inside the context the model's own forward and `generate` run unchanged, but each layer of the plan receives
    only the tokens that do not skip it: fewer operations, less time, a smaller cache. A token that skips a layer
    keeps its state and its position, and no other token attends to it there. On exit the model is as before.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model with eager, sdpa or flash attention.
    plan : SkipPlan, str, Path or PlanFile
        What to skip, its text form, or a plan file that `vlm.optimize` wrote for these weights; the empty plan changes
        nothing.
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    SkipPlan
        The plan with the model's depth written in.

    Raises
    ------
    TypeError
        `plan` is neither a SkipPlan, nor text, nor a plan file, or the model is not a vision-language model.
    ValueError
        The plan names layers beyond the last, another plan is already active on this model, or a plan file was made
        for other weights.
    NotImplementedError
        A cache or attention implementation that is not supported, or layers on several devices.

    See Also
    --------
    SkipPlan : What can be skipped.
    vlm.plan_cost : What a plan saves.

    Notes
    -----
    Logits equal those of the full-length model with skipped tokens masked, up to floating-point rounding;
    ``python -m vlm exactness`` prints by how much, for every supported family.

    Examples
    --------
    >>> import torch
    >>> import vlm
    >>> from vlm.tiny import questions
    >>> model, processor = vlm.load("tiny")
    >>> question = questions(limit=1)[0]
    >>> question.prompt, question.answer
    ('<image> which digit is at b3? answer:', '2')
    >>> batch = processor(images=[question.image], text=[question.prompt], return_tensors="pt")
    >>> with torch.no_grad(), vlm.skipping(model, "vision:8-") as plan:
    ...     logits = model(**batch).logits
    >>> plan, processor.decode(logits[0, -1].argmax())
    (SkipPlan('vision:8-10'), '2')
    """
    chosen = plan_for(model, plan)
    with attached(model, family) as engine, engine.hold_plan(chosen) as resolved:
        steps = resolved.steps(engine.parts.depth)
        layers = engine.parts.layers
        forwards = {
            i: shortened(engine, i, layers[i].forward, step) for i, step in enumerate(steps) if _fewer_tokens(step)
        }
        replaced = {layers[i]: forward for i, forward in forwards.items()} | replacements(engine, steps)
        _refuse_unsupported(engine, forwards)
        limit = exact_length(engine.parts.text_config, frozenset(forwards))
        with (
            engine.check_calls(lambda given: _check_call(given, engine, forwards, limit)),
            engine.replace_forwards(replaced),
            engine.route_attention() if forwards and engine.flash else nullcontext(),
            engine.watch_attention(ranking(resolved.pruned)) if resolved.pruned else nullcontext(),
        ):
            yield resolved


def _fewer_tokens(step: LayerPlan) -> bool:
    """Whether a token may not attend in this layer, so that its sequence or its cache is shorter."""
    everybody = step.vision == "run" and step.text and step.kept == EVERYTHING and not step.pruned
    return not (everybody and step.attention)


def _refuse_unsupported(engine: Engine, forwards: Mapping[int, Any]) -> None:
    for index in forwards:
        layer = engine.parts.layers[index]
        if layer.training and getattr(layer, "gradient_checkpointing", False):
            raise NotImplementedError(
                "skipping: gradient checkpointing is not supported in the layers of a plan; turn it off first"
            )
    devices = sorted({str(weight.device) for layer in engine.parts.layers for weight in layer.parameters()})
    if forwards and len(devices) > 1:
        raise NotImplementedError(
            f"skipping: expected all decoder layers on one device, got {', '.join(devices)}; "
            "a model split over devices or offloaded (device_map) runs only without a plan, so load it on one device"
        )
    check_implementation(engine.attention_name)


def _check_call(given: Arguments, engine: Engine, forwards: Mapping[int, Any], limit: int | None) -> None:
    """Refuse, before anything has run, calls whose results would be wrong under this plan."""
    maps = given.get("output_attentions")
    if forwards and (maps or (maps is None and getattr(engine.parts.text_config, "output_attentions", False))):
        raise NotImplementedError(
            "skipping: output_attentions is not supported under a plan, since skipped layers have smaller maps or "
            "none; measure with vlm.attention"
        )
    if forwards and engine.flash:
        refuse_packed(given)
    if engine.plan:
        refuse_cache(cache_in(given))
    if forwards:
        _check_length(given, limit)
    for index, layer in enumerate(getattr(cache_in(given), "layers", ())):
        if isinstance(layer, PartialLayer) and index not in forwards and layer.logical:
            raise RuntimeError(
                f"skipping: layer {index} of this cache was filled under a skip plan that the plan {engine.plan} does "
                "not include; continue with the same plan, or start a new cache"
            )


def _check_length(given: Arguments, limit: int | None) -> None:
    ids, cache = given.get("input_ids"), cache_in(given)
    length = 0 if ids is None else ids.shape[1] + (0 if cache is None else cache.get_seq_length())
    if limit is not None and length > limit:
        raise NotImplementedError(
            f"skipping: {length} tokens; this model scales queries by their row number from {limit + 1} tokens on in "
            "layers without rotary embedding, so these cannot be shortened exactly; leave them out of the plan"
        )
