"""What layers share under a plan, what observers are given, and how the engine's values print."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch

from vlm import skipping
from vlm.engine.attention_event import AttentionEvent
from vlm.engine.forward_call import Call
from vlm.engine.hooks import attached
from vlm.models.random_batches import batch_for, with_positions
from vlm.models.random_models import random_model
from vlm.models.transformers_internals import registered_attention

PLAN = "freeze:0-2/text:1-2/keep:2-=0-3"


def watched(engine, calls):
    return engine.watch_layers(lambda *_: None, calls.append)


@pytest.fixture
def finished():
    """A ragged call that has run under a plan that freezes, skips text and keeps."""
    model = random_model()
    calls = []
    batch = with_positions(batch_for(model, images=(2, 0, 1), after=(4, 7, 2)))
    with torch.no_grad(), skipping(model, PLAN), attached(model) as engine, watched(engine, calls):
        model(**batch)
    return calls[0]


def test_entries_keep_the_objects_alive_whose_ids_are_their_keys(finished):
    state = finished.plan_state
    for cache in (state.keys, state.masks, state.rotary, state.orders):
        assert cache
        for key, entry in cache.items():
            held = {id(source) for source in entry.sources}
            ids = key if isinstance(key, tuple) else (key,)
            # The last part of these keys is a number of tokens, not an id.
            ids = ids[:2] if cache is state.keys else ids
            assert set(ids) <= held


def test_layers_with_the_same_plan_share_their_roles(finished):
    # One for layer 0, one for layer 1, one for layers 2 to 4.
    assert len(finished.plan_state.roles) == 3


def test_a_call_without_a_plan_has_no_state():
    model, calls = random_model(), []
    with torch.no_grad(), attached(model) as engine, watched(engine, calls):
        model(**batch_for(model))
    assert "plan_state" not in vars(calls[0])


def test_an_attention_event_holds_the_inputs_of_one_layer_and_cannot_be_changed():
    model, events = random_model(layers=2), []
    batch = batch_for(model)
    with torch.no_grad(), attached(model) as engine, engine.watch_attention(events.append):
        model(**batch)
    length = batch["input_ids"].shape[1]
    assert [event.layer for event in events] == [0, 1]
    assert events[0].query.shape == (1, 4, length, 8)
    assert events[0].key.shape == events[0].value.shape == (1, 2, length, 8)
    assert events[0].scaling == pytest.approx(8**-0.5)
    assert isinstance(events[0], AttentionEvent)
    with pytest.raises(FrozenInstanceError):
        events[0].layer = 1


def test_the_plan_is_held_resolved_and_a_plan_too_deep_leaves_none():
    model = random_model()
    with attached(model) as engine:
        with skipping(model, "vision:3-") as plan:
            assert engine.plan is plan
            assert repr(plan) == "SkipPlan('vision:3-5')"
            assert repr(engine) == "Engine(llava, 5 layers, plan='vision:3-5')"
        with pytest.raises(ValueError, match="reaches to 9"), skipping(model, "vision:3-9"):
            pass
        assert engine.plan is None
        assert repr(engine) == "Engine(llava, 5 layers, no plan)"
        assert repr(engine.parts) == "Anatomy(llava, LlavaForConditionalGeneration, 5 layers)"


def test_calls_print_in_one_line():
    call = Call(torch.zeros(2, 4).bool(), torch.ones(2, 4).bool(), past=3)
    assert repr(call) == "Call(batch=2, tokens=4, past=3, images=True)"


def test_routed_attention_is_unregistered():
    model, before = random_model(), registered_attention()
    with attached(model) as engine, engine.route_attention():
        assert registered_attention() != before
    assert registered_attention() == before


@torch.no_grad()
@pytest.mark.parametrize("plan", ["freeze:1-3", "keep:1-=0-4/prune:2=0.5", "attention:1-2/mlp:3-4"])
def test_a_call_inside_a_call_leaves_the_outer_one_under_the_plan(plan):
    model = random_model()
    batch, inner, within = batch_for(model), [], []

    def again(*_):
        if not within:
            within.append(True)
            inner.append(model(**batch).logits)
            with pytest.raises(ValueError, match="expected input_ids"):
                model.model(inputs_embeds=torch.zeros(1, 4, 32))
            within.clear()

    with skipping(model, plan):
        alone = model(**batch).logits
        handle = model.model.language_model.layers[2].register_forward_hook(again)
        outer = model(**batch).logits
        handle.remove()
    assert torch.equal(outer, alone)
    assert torch.equal(inner[0], alone)
