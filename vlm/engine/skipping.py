"""Run a model under a SkipPlan: skipped tokens are removed from the sequence, not masked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from vlm.engine.flash_attention import refuse_packed
from vlm.engine.half_layer_exit import choosing
from vlm.engine.hooks import Engine, attached
from vlm.engine.kv_cache import PartialLayer, cache_in, refuse_cache
from vlm.engine.layer_forward import shortened
from vlm.engine.own_ranking import ranked_first
from vlm.engine.recurrent_layers import recurrent, refuse_recurrent
from vlm.engine.row_plans import RowPlans, RowStep, Steps, kept_fractions
from vlm.engine.sublayers import replacements
from vlm.engine.token_merging import MergedFeatures, merged_first
from vlm.engine.token_pruning import ranking
from vlm.models.attention_kinds import check_implementation
from vlm.models.families import Family, exact_length
from vlm.models.layer_parts import cache_slot, find_attention
from vlm.models.transformers_internals import checkpointed, reentrant
from vlm.models.types import Arguments, Forward, Model
from vlm.plans.plan import LayerPlan, SkipPlan
from vlm.plans.plan_file import Plan, plan_for
from vlm.plans.ranges import EVERYTHING
from vlm.plans.text_form import FEATURES


@contextmanager
def skipping(model: Model, plan: Plan | Sequence[Plan], *, family: Family | None = None) -> Iterator[Any]:
    """Run a model with some tokens skipping some decoder layers.

    Inside the context the model's own forward and `generate` run unchanged, but each layer of the plan receives
    only the tokens that do not skip it: fewer operations, less time, a smaller cache. A token that skips a layer
    keeps its state and its position, and no other token attends to it there. On exit the model is as before.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model with eager, sdpa or flash attention.
    plan : SkipPlan, str, Path or PlanFile, or a sequence of them
        What to skip, its text form, or a plan file that `vlm.optimize` wrote for these weights; the empty plan changes
        nothing. A sequence gives every row of the batch a plan of its own; a batch of m times as many rows repeats
        each m times, as beams do. Rows must agree on the halves of layers that they drop.
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    SkipPlan
        The plan with the model's depth written in; for a sequence, an object that holds them as `.plans`.

    Raises
    ------
    TypeError
        `plan` is neither a SkipPlan, nor text, nor a plan file, or the model is not a vision-language model.
    ValueError
        The plan names layers beyond the last, another plan is already active on this model, or a plan file was made
        for other weights.
    NotImplementedError
        A cache or attention implementation that is not supported, or a layer that cannot do its part of the plan.

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
    with attached(model, family) as engine, engine.hold_plan(_given(model, plan)) as resolved:
        steps = resolved.steps(engine.parts.depth)
        plans = resolved.plans if isinstance(resolved, RowPlans) else (resolved,)
        pruned, leaving = kept_fractions(plans, "pruned"), kept_fractions(plans, "leaving")
        layers = engine.parts.layers
        refuse_recurrent(layers, steps, engine.parts.text_config)
        inside, own = replacements(engine, steps)
        forwards = _shorter(engine, plans, steps, own)
        first = forwards | _merging(engine, plans, own, forwards)
        features = MergedFeatures(engine, plans)
        inside |= features.forwards()
        replaced = inside | own | {layers[i]: forward for i, forward in first.items()}
        slots = _refuse_unsupported(engine, steps, forwards)
        limit = exact_length(engine.parts.text_config, frozenset(slots))
        with (
            engine.check_calls(lambda given: _check_call(given, engine, steps, slots, limit)),
            engine.check_calls(features.check),
            engine.replace_forwards(replaced),
            engine.route_attention() if _routed(engine, steps, forwards) else nullcontext(),
            engine.watch_attention(ranking(pruned), anywhere=True) if pruned else nullcontext(),
            engine.watch_attention(choosing(leaving), anywhere=True) if leaving else nullcontext(),
        ):
            yield resolved


def _shorter(engine: Engine, plans: Sequence[SkipPlan], steps: Steps, own: Mapping[Any, Forward]) -> dict[int, Forward]:
    """Forwards of the layers whose sequence or cache is shorter under the plan; `own` are those without halves."""
    layers = engine.parts.layers
    fewer = [index for index, step in enumerate(steps) if _fewer_tokens(step)]
    attends = [index for index in fewer if find_attention(layers[index]) is not None]
    keeper = _keeper(engine, fewer)
    ranked = kept_fractions(plans, "ranked")
    forwards: dict[int, Forward] = {}
    for index in fewer:
        original = own.get(layers[index], layers[index].forward)
        if index in attends:
            forwards[index] = shortened(engine, index, original, steps[index])
            if index in ranked:
                forwards[index] = ranked_first(engine, index, original, steps[index], ranked[index], forwards[index])
        else:
            forwards[index] = recurrent(engine, index, original, steps[index], keeper)
    return forwards


def _merging(
    engine: Engine, plans: Sequence[SkipPlan], own: Mapping[Any, Forward], forwards: Mapping[int, Forward]
) -> dict[int, Forward]:
    """Forwards of the layers before which image tokens are merged."""
    layers = engine.parts.layers
    keeper = _keeper(engine, sorted(forwards))
    merging: dict[int, Forward] = {}
    for index in sorted({layer for plan in plans for layer, _, _ in plan.merges if layer != FEATURES}):
        sums = [{token: terms for layer, token, terms in plan.merges if layer == index} for plan in plans]
        following = forwards.get(index) or own.get(layers[index], layers[index].forward)
        merging[index] = merged_first(engine, index, sums, keeper, following)
    return merging


def _keeper(engine: Engine, fewer: Sequence[int]) -> int | None:
    """Cache slot of the first shortened layer that attends, where numbers of image tokens are kept."""
    layers = engine.parts.layers
    attends = [index for index in fewer if find_attention(layers[index]) is not None]
    return cache_slot(layers[attends[0]], attends[0]) if attends else None


def _given(model: Model, plan: Plan | Sequence[Plan]) -> SkipPlan | RowPlans:
    """The plan, or one per row, from what the user gave."""
    if not isinstance(plan, list | tuple):
        return plan_for(model, plan)  # type: ignore[arg-type]
    if not plan:
        raise TypeError("plan: expected a plan, or a list with one for each row, got an empty list")
    return RowPlans(tuple(plan_for(model, one) for one in plan))


def _routed(engine: Engine, steps: Steps, forwards: Mapping[int, Any]) -> bool:
    """Whether attention must be told which keys are no queries, or which remain, or shows what it would read."""
    told = engine.flash or (engine.attention_name == "sdpa" and _frozen(steps)) or any(step.ranked for step in steps)
    return bool(forwards) and told


def _frozen(steps: Steps) -> bool:
    return any(step.vision == "frozen" for step in steps)


def _fewer_tokens(step: LayerPlan | RowStep) -> bool:
    """Whether a token may not attend in this layer, so that its sequence or its cache is shorter."""
    chosen = step.pruned or step.ranked or step.left
    everybody = step.vision == "run" and step.text and step.kept == EVERYTHING and not chosen
    return not (everybody and step.attention)


def _refuse_unsupported(engine: Engine, steps: Steps, forwards: Mapping[int, Any]) -> Mapping[int, int]:
    """Refuse models on which this plan would be wrong; returns the index of each shortened layer by cache slot."""
    check_implementation(engine.attention_name)
    layers = engine.parts.layers
    slots: dict[int, int] = {}
    for index, layer in enumerate(layers):
        if find_attention(layer) is None:
            continue
        if forwards and getattr(find_attention(layer), "is_kv_shared_layer", False):
            raise NotImplementedError(
                f"skipping: layer {index} attends to the keys of an earlier layer, which under this plan may be those "
                "of other tokens; only plans of mlp: are possible on this model"
            )
        slot = cache_slot(layer, index)
        if forwards and slot in slots:
            raise ValueError(
                f"skipping: layers {slots[slot]} and {index} have the same layer_idx {slot}, so that they would "
                "overwrite each other's part of the cache; number them anew (layer.self_attn.layer_idx)"
            )
        slots[slot] = index
    return {slot: index for slot, index in slots.items() if index in forwards}


def _check_call(
    given: Arguments,
    engine: Engine,
    steps: Steps,
    slots: Mapping[int, int],
    limit: int | None,
) -> None:
    """Refuse, before anything has run, calls whose results would be wrong under this plan."""
    maps = given.get("output_attentions")
    if slots and (maps or (maps is None and getattr(engine.parts.text_config, "output_attentions", False))):
        raise NotImplementedError(
            "skipping: output_attentions is not supported under a plan, since skipped layers have smaller maps or "
            "none; measure with vlm.attention"
        )
    if slots and engine.flash:
        refuse_packed(given)
    if isinstance(engine.plan, RowPlans) and given.get("input_ids") is not None:
        engine.plan.check(len(given["input_ids"]))
    if engine.plan:
        refuse_cache(cache_in(given))
        _check_checkpointing(engine, steps)
    if slots:
        _check_length(given, limit)
    for slot, layer in enumerate(getattr(cache_in(given), "layers", ())):
        if isinstance(layer, PartialLayer) and slot not in slots and layer.logical:
            raise RuntimeError(
                f"skipping: layer {slot} of this cache was filled under a skip plan that the plan {engine.plan} does "
                "not include; continue with the same plan, or start a new cache"
            )


def _check_checkpointing(engine: Engine, steps: Steps) -> None:
    """Refuse plans whose layers cannot be recomputed in backward; checked in each call, since training turns it on."""
    if not torch.is_grad_enabled():
        return
    for index, (layer, step) in enumerate(zip(engine.parts.layers, steps, strict=True)):
        repeated = checkpointed(layer)
        if repeated == "no" or step == LayerPlan():
            continue
        if repeated == "call":
            why = "needs a later transformers, which repeats a layer's forward alone"
        elif step.vision == "frozen" and reentrant(layer):
            why = (
                "with frozen image tokens needs gradient_checkpointing_kwargs={'use_reentrant': False}: the older "
                "checkpoint would run backward twice through the frozen tokens' keys"
            )
        else:
            continue
        raise NotImplementedError(f"skipping: gradient checkpointing in layer {index} {why}; or turn it off")


def _check_length(given: Arguments, limit: int | None) -> None:
    ids, cache = given.get("input_ids"), cache_in(given)
    length = 0 if ids is None else ids.shape[1] + (0 if cache is None else cache.get_seq_length())
    if limit is not None and length > limit:
        raise NotImplementedError(
            f"skipping: {length} tokens; this model scales queries by their row number from {limit + 1} tokens on in "
            "layers without rotary embedding, so these cannot be shortened exactly; leave them out of the plan"
        )
