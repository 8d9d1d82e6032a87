"""Really skip: in the layers of a plan the sequence is physically shorter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vlm.cache import PartialLayer, refuse_cache
from vlm.engine import Call, Engine, attached
from vlm.families import Family, exact_length
from vlm.plan import SkipPlan

_SEQUENCE_ARGUMENTS = frozenset({"attention_mask", "position_embeddings", "position_ids", "past_key_values"})


@dataclass(frozen=True, eq=False)
class Active:
    """Which tokens of a call go through a layer: index (batch, rows) into the call, and which rows are real.

    Ragged batches are filled on the left; `valid` is None when there is no filler.
    """

    index: Tensor
    valid: Tensor | None
    everything: bool


@contextmanager
def skipping(model: Any, plan: SkipPlan | str, *, family: Family | None = None) -> Iterator[SkipPlan]:
    """Run a model with some tokens bypassing some decoder layers.

    Inside the context the model's own forward and `generate` run unchanged, but each layer of the plan sees
    only the tokens that do not bypass it: fewer operations, less time, a smaller cache. A token that
    bypasses a layer keeps its state and its position and is invisible to the others there. On exit the
    model is as before.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model with eager or sdpa attention.
    plan : SkipPlan or str
        What to skip; the empty plan changes nothing.
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    SkipPlan
        The plan with the model's depth written in.

    Raises
    ------
    ValueError
        The plan names layers beyond the last, or another plan is already active on this model.
    NotImplementedError
        A cache or attention implementation that is not supported.
    """
    plan = SkipPlan.parse(plan) if isinstance(plan, str) else plan
    if not isinstance(plan, SkipPlan):
        raise TypeError(f"plan: expected a SkipPlan or its text form, got {type(plan).__name__}")
    with attached(model, family) as engine:
        if engine.plan is not None:
            raise ValueError(
                f"skipping: the plan {engine.plan} is already active; join plans with | instead of nesting"
            )
        depth = engine.parts.depth
        plan = plan.resolved(depth)
        if plan.frozen or plan.attention or plan.mlp or plan.kept or plan.pruned:
            raise NotImplementedError(f"skipping: the plan {plan} has parts that cannot be run yet")
        vision, text = plan.layers("vision", depth), plan.layers("text", depth)
        forwards = {
            i: _shortened(engine, i, engine.parts.layers[i].forward, i in vision, i in text)
            for i in sorted(vision | text)
        }
        _refuse_unsupported(engine, forwards)
        engine.plan = plan
        try:
            with (
                engine.check_calls(lambda given: _check_call(given, engine, forwards)),
                engine.replace_forwards(forwards),
            ):
                yield plan
        finally:
            engine.plan = None


def _refuse_unsupported(engine: Engine, forwards: Mapping[int, Any]) -> None:
    for index in forwards:
        layer = engine.parts.layers[index]
        if layer.training and getattr(layer, "gradient_checkpointing", False):
            raise NotImplementedError(
                "skipping: gradient checkpointing is not supported in the layers of a plan; turn it off first"
            )
    name = engine.attention_name
    if name not in ("eager", "sdpa"):
        raise NotImplementedError(
            f"skipping: attention implementation {name!r} is not supported; load the model with "
            "attn_implementation='sdpa' or 'eager'"
        )


def _check_call(given: Mapping[str, Any], engine: Engine, forwards: Mapping[int, Any]) -> None:
    """Refuse before anything has run what would come out wrong under this plan."""
    wanted = given.get("output_attentions")
    if forwards and (wanted or (wanted is None and getattr(engine.parts.text_config, "output_attentions", False))):
        raise NotImplementedError(
            "skipping: output_attentions is not supported under a plan, since skipped layers have smaller maps or "
            "none; measure with vlm.attention"
        )
    if forwards:
        refuse_cache(given.get("past_key_values"))
        _check_length(given, engine, forwards)
    for index, layer in enumerate(getattr(given.get("past_key_values"), "layers", ())):
        if isinstance(layer, PartialLayer) and index not in forwards and layer.logical:
            raise RuntimeError(
                f"skipping: layer {index} of this cache was filled under a skip plan that the plan {engine.plan} does "
                "not include; continue with the same plan, or start a new cache"
            )


def _check_length(given: Mapping[str, Any], engine: Engine, forwards: Mapping[int, Any]) -> None:
    limit = exact_length(engine.parts.text_config, frozenset(forwards))
    ids, cache = given.get("input_ids"), given.get("past_key_values")
    length = 0 if ids is None else ids.shape[1] + (0 if cache is None else cache.get_seq_length())
    if limit is not None and length > limit:
        raise NotImplementedError(
            f"skipping: {length} tokens; this model scales queries by their row number from {limit + 1} tokens on in "
            "layers without rotary embedding, so these cannot be shortened exactly; leave them out of the plan"
        )


def _shortened(
    engine: Engine, index: int, original: Callable[..., Any], skip_vision: bool, skip_text: bool
) -> Callable[..., Any]:
    """The layer's forward on the active tokens only, scattered back into the full-length states."""

    def forward(hidden_states: Tensor, **kwargs: Any) -> Any:
        call = engine.current()
        length = hidden_states.shape[1]
        active = _active(call, skip_vision, skip_text)
        cache = _partial_cache(kwargs.get("past_key_values"), index)
        if active.index.shape[1] == 0:
            if cache is not None:
                cache.advance(length)
            return hidden_states
        keys = _key_positions(call, active, cache)
        if cache is not None:
            cache.expect(keys, length)
        call.query_positions[index], call.key_positions[index] = _with_filler(active), keys
        shorter = dict(kwargs)
        shorter["attention_mask"] = _mask(call, kwargs.get("attention_mask"), active, keys)
        if active.everything:
            return original(hidden_states, **shorter)
        _refuse_unknown(kwargs, length)
        for name in ("position_embeddings", "position_ids"):
            if kwargs.get(name) is not None:
                shorter[name] = _rows_of(call, kwargs[name], active)
        width = hidden_states.shape[-1]
        rows = active.index.unsqueeze(-1).expand(-1, -1, width)
        out = original(hidden_states.gather(1, rows), **shorter)
        new = out[0] if isinstance(out, tuple) else out
        if active.valid is None:
            full = hidden_states.scatter(1, rows, new)
        else:
            batch = torch.arange(new.shape[0], device=new.device).unsqueeze(1).expand_as(active.index)
            full = hidden_states.index_put((batch[active.valid], active.index[active.valid]), new[active.valid])
        return (full, *out[1:]) if isinstance(out, tuple) else full

    return forward


def _active(call: Call, skip_vision: bool, skip_text: bool) -> Active:
    """Gather indices of the tokens that stay, worked out once per call and pair of modalities."""
    key = ("active", skip_vision, skip_text)
    if key not in call.memo:
        # Padding counts as text here: it must keep its place so that rows of a batch stay aligned.
        stays = torch.zeros_like(call.vision)
        if not skip_vision:
            stays |= call.vision
        if not skip_text:
            stays |= ~call.vision
        counts = stays.sum(dim=1)
        rows = int(counts.max())
        # A stable sort brings the tokens that stay to the right end, in order; filler is on the left.
        order = torch.argsort(stays.to(torch.uint8), dim=1, stable=True)[:, stays.shape[1] - rows :]
        valid = torch.arange(rows, device=order.device) >= rows - counts.unsqueeze(1)
        ragged = bool((counts != rows).any())
        call.memo[key] = Active(order, valid if ragged else None, everything=bool(stays.all()))
    found: Active = call.memo[key]
    return found


def _with_filler(active: Active) -> Tensor:
    return active.index if active.valid is None else torch.where(active.valid, active.index, -1)


def _partial_cache(cache: Any, index: int) -> PartialLayer | None:
    if cache is None:
        return None
    layers = cache.layers
    while len(layers) <= index:
        layers.append(cache.layer_class_to_replicate())
    layers[index] = PartialLayer.adopt(layers[index])
    partial: PartialLayer = layers[index]
    return partial


def _key_positions(call: Call, active: Active, cache: PartialLayer | None) -> Tensor:
    """Logical positions of the keys this layer will see: those held, then those of this call."""
    held = None if cache is None else cache.visible()
    past = 0 if cache is None else cache.logical
    key = ("keys", id(active), id(held), past)
    if key not in call.memo:
        new = _with_filler(active)
        new = torch.where(new >= 0, new + past, new)
        call.memo[key] = (new if held is None else torch.cat([held, new], dim=1), held)
    positions: Tensor = call.memo[key][0]
    return positions


def _mask(call: Call, mask: Tensor | None, active: Active, keys: Tensor) -> Tensor | None:
    """The 4-D mask on the query and key axes that remain; None stays None where causality is all it says."""
    key = ("mask", id(mask), id(active), id(keys))
    if key not in call.memo:
        call.memo[key] = (_gathered_mask(mask, active, keys, call), mask, active, keys)
    gathered: Tensor | None = call.memo[key][0]
    return gathered


def _gathered_mask(mask: Tensor | None, active: Active, keys: Tensor, call: Call) -> Tensor | None:
    filler = bool((keys < 0).any())
    if mask is None:
        if not filler:
            return None
        queries = torch.where(_with_filler(active) >= 0, _with_filler(active) + call.past, -1)
        seen = (keys.unsqueeze(1) <= queries.unsqueeze(2)) & (keys >= 0).unsqueeze(1)
        return (seen | (queries < 0).unsqueeze(2)).unsqueeze(1)
    if mask.ndim != 4:
        raise NotImplementedError(f"skipping: expected a 4-D attention mask, got {mask.ndim} dimensions")
    mask = mask.expand(active.index.shape[0], -1, -1, -1)
    heads = mask.shape[1]
    if not active.everything:
        mask = mask.gather(2, active.index[:, None, :, None].expand(-1, heads, -1, mask.shape[3]))
    # Under a sliding window the mask's first column is not position 0.
    keys = torch.where(keys < 0, keys, keys - (call.past + call.real.shape[1] - mask.shape[3]))
    if keys.shape[1] != mask.shape[3] or filler:
        mask = mask.gather(3, keys.clamp(min=0)[:, None, None, :].expand(-1, heads, mask.shape[2], -1))
    if filler:
        closed = False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
        opened = True if mask.dtype == torch.bool else 0.0
        mask = mask.masked_fill((keys < 0)[:, None, None, :], closed)
        if active.valid is not None:
            # Filler queries may look anywhere: a row without any key would give NaN.
            mask = mask.masked_fill(~active.valid[:, None, :, None], opened)
    return mask


def _rows_of(call: Call, value: Any, active: Active) -> Any:
    """Positions or rotary tables (..., batch or 1, sequence[, features]) of the active tokens."""
    if isinstance(value, tuple):
        return tuple(_rows_of(call, part, active) for part in value)
    key = ("rows", id(value), id(active))
    if key not in call.memo:
        features = value.is_floating_point() or value.is_complex()
        flat = value if features else value.unsqueeze(-1)
        batch, rows = active.index.shape
        lead = flat.shape[:-3]
        flat = flat.expand(*lead, batch, *flat.shape[-2:])
        index = active.index.view(*(1,) * len(lead), batch, rows, 1).expand(*lead, batch, rows, flat.shape[-1])
        picked = flat.gather(-2, index)
        call.memo[key] = (picked if features else picked.squeeze(-1), value)
    return call.memo[key][0]


def _refuse_unknown(kwargs: Mapping[str, Any], length: int) -> None:
    for name, value in kwargs.items():
        if name not in _SEQUENCE_ARGUMENTS and isinstance(value, Tensor) and length > 1 and length in value.shape:
            raise NotImplementedError(
                f"skipping: the layer receives the argument {name!r} of shape {tuple(value.shape)}, which may run "
                "along the sequence; this family needs support for it"
            )
