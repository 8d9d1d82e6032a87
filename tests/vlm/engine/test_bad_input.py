"""What the engine does with bad input: a clear error, or the behaviour that docs/reference/plans.md states."""

from __future__ import annotations

import sys
import threading
from contextlib import ExitStack

import numpy as np
import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from vlm import Family, SkipPlan, attention, probe, skipping
from vlm.engine.forward_call import read_call
from vlm.models.families import anatomy
from vlm.models.random_batches import batch_for
from vlm.models.random_models import absent, random_model

PLAN = "vision:0-2"


def step_after(batch):
    return {"input_ids": torch.tensor([[11]]), "attention_mask": torch.ones(1, batch["input_ids"].shape[1] + 1)}


def traces(model):
    """Everything that an open context could leave behind."""
    hooked = {
        (name, kind, key)
        for name, module in model.named_modules()
        for kind in ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_always_called")
        for key in getattr(module, kind)
    }
    wrapped = {name for name, module in model.named_modules() if "forward" in module.__dict__}
    names = set(AttentionInterface._global_mapping), set(AttentionMaskInterface._global_mapping)
    return (
        hooked,
        wrapped,
        names,
        model.config.get_text_config()._attn_implementation,
        any(hasattr(module, "__deepcopy__") for module in model.modules()),
    )


@pytest.fixture
def model():
    model = random_model()
    with torch.no_grad():
        # transformers installs its own capture hooks in the first call that asks for states.
        model(**batch_for(model), output_hidden_states=True)
    before = traces(model)
    yield model
    assert traces(model) == before


def test_a_plan_for_another_depth(model):
    with pytest.raises(ValueError, match=r"has 5 decoder layers"), skipping(model, "vision:3-32"):
        pass


def test_an_empty_plan_changes_nothing_and_is_recognised(model):
    batch = batch_for(model)
    for plan in ("none", "", SkipPlan(), SkipPlan.late_entry(0), SkipPlan.early_exit(5), "vision:5-"):
        with torch.no_grad(), skipping(model, plan) as active:
            assert not active
            assert torch.equal(model(**batch).logits, model(**batch).logits)


def test_overlapping_ranges_are_merged(model):
    plan = SkipPlan.parse("vision:0-3+2-4") | SkipPlan.skip("vision", 1, 2)
    assert plan == SkipPlan.parse("vision:0-4")


def test_image_tokens_without_an_image_are_text(model):
    batch = {name: value for name, value in batch_for(model).items() if name != "pixel_values"}
    with torch.no_grad():
        plain = model(**batch).logits
        with skipping(model, "vision:0-"), probe(model) as record:
            assert torch.equal(model(**batch).logits, plain)
    assert (record.table().where(modality="vision")["tokens"] == 0).all()


def test_an_image_without_tokens_is_the_models_own_error_and_leaves_no_trace(model):
    batch = batch_for(model)
    batch["input_ids"] = batch["input_ids"].clamp(min=10)
    good = batch_for(model)
    with torch.no_grad(), skipping(model, PLAN), probe(model) as record:
        with pytest.raises(ValueError, match="Image features and image tokens do not match"):
            model(**batch)
        model(**good)
    assert record.samples == 1


def test_a_cache_filled_outside_continues_with_its_contents(model):
    batch = batch_for(model)
    step = step_after(batch)
    with torch.no_grad():
        caches = [model(**batch, use_cache=True).past_key_values for _ in range(2)]
        plain = model(**step, past_key_values=caches[0]).logits
        with skipping(model, PLAN):
            inside = model(**step, past_key_values=caches[1]).logits
    assert torch.allclose(plain, inside, atol=1e-6)


def test_a_cache_of_another_plan_is_refused(model):
    batch = batch_for(model)
    with torch.no_grad():
        with skipping(model, PLAN):
            cache = model(**batch, use_cache=True).past_key_values
        with skipping(model, "vision:3-"), pytest.raises(RuntimeError, match="filled under a skip plan"):
            model(**step_after(batch), past_key_values=cache)
        with pytest.raises(RuntimeError, match="filled under a skip plan"):
            model(**step_after(batch), past_key_values=cache)


class QuantisedLayer(DynamicLayer):
    """Stands for any layer that stores something other than the keys themselves."""


@pytest.mark.parametrize(
    ("cache", "name"),
    [
        (lambda config: DynamicCache(config=config, offloading=True), "offloaded"),
        (lambda config: Cache(layers=[QuantisedLayer() for _ in range(5)]), "QuantisedLayer"),
    ],
)
@pytest.mark.parametrize("plan", [PLAN, "mlp:0-2"])
def test_other_caches_are_refused_before_anything_has_run(model, plan, cache, name):
    batch = batch_for(model)
    cache = cache(model.config.get_text_config())
    with torch.no_grad(), skipping(model, plan), probe(model) as record:
        with pytest.raises(NotImplementedError, match=f"{name}.*not supported; use the default dynamic cache"):
            model(**batch, past_key_values=cache)
        assert record.samples == 0


@pytest.mark.parametrize("plan", [PLAN, "mlp:0-2"])
@pytest.mark.parametrize("implementation", ["offloaded"])
def test_generate_with_another_cache_is_refused(model, implementation, plan):
    with torch.no_grad(), skipping(model, plan), pytest.raises(NotImplementedError, match="default dynamic cache"):
        model.generate(**batch_for(model), max_new_tokens=3, cache_implementation=implementation)


def test_nested_plans_are_refused_and_the_outer_one_stays(model):
    batch = batch_for(model)
    with torch.no_grad(), skipping(model, PLAN):
        planned = model(**batch).logits
        with (
            pytest.raises(ValueError, match=r"already active; join plans with \| instead"),
            skipping(model, "text:1-2"),
        ):
            pass
        assert torch.equal(model(**batch).logits, planned)


@pytest.mark.parametrize("first", range(4))
def test_contexts_may_close_in_any_order(model, first):
    batch = batch_for(model)
    with torch.no_grad():
        plain = model(**batch).logits
        contexts = [attention(model), attention(model, token=-2), probe(model), skipping(model, PLAN)]
        records = [context.__enter__() for context in contexts]
        model(**batch)
        order = [(first + i) % 4 for i in range(4)]
        for closed, i in enumerate(order):
            contexts[i].__exit__(None, None, None)
            logits = model(**batch).logits
            assert torch.equal(logits, plain) == (3 in order[: closed + 1])
    assert [len(records[i].ratios()) for i in (0, 1)] == [1 + order.index(0), 1 + order.index(1)]
    assert records[2].samples == 1 + order.index(2)


@pytest.mark.parametrize("plan", [PLAN, "freeze:1-3/prune:3=0.5"])
def test_threads_share_a_plan_and_nothing_else(model, plan):
    batches = [batch_for(model, after=(n,), seed=n) for n in (4, 6, 9)]
    alone, together = [], [[] for _ in batches]
    with torch.no_grad(), skipping(model, plan):
        alone = [model.generate(**batch, max_new_tokens=4, do_sample=False) for batch in batches]

        def work(i):
            with torch.no_grad():
                together[i] += [model.generate(**batches[i], max_new_tokens=4, do_sample=False) for _ in range(4)]

        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(batches))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for expected, found in zip(alone, together, strict=True):
        assert len(found) == 4
        assert all(torch.equal(expected, other) for other in found)


def test_measuring_allows_one_call_at_a_time(model):
    batch = batch_for(model)
    errors, meet, leave = [], threading.Event(), threading.Event()

    def wait(module, args):
        if threading.current_thread() is not threading.main_thread():
            meet.set()
            leave.wait(10)

    def work():
        with torch.no_grad():
            model(**batch)

    handle = model.model.language_model.layers[2].register_forward_pre_hook(wait)
    with probe(model) as record:
        thread = threading.Thread(target=work)
        thread.start()
        assert meet.wait(10)
        with torch.no_grad(), pytest.raises(RuntimeError, match="measure one call at a time") as caught:
            model(**batch)
        errors.append(caught.value)
        leave.set()
        thread.join()
    handle.remove()
    assert len(errors) == record.samples == 1


def test_the_same_plan_from_two_threads_is_a_nested_plan(model):
    found = []

    def work():
        try:
            with skipping(model, PLAN):
                pass
        except ValueError as error:
            found.append(str(error))

    with skipping(model, PLAN):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len(found) == 1
    assert "already active" in found[0]


@pytest.mark.parametrize("began", ["without a context", "under one"])
def test_a_call_under_way_runs_on_without_the_contexts_that_open_meanwhile(model, began):
    """As when one thread opens a context while another generates."""
    batch = batch_for(model)
    plan = "vision:1-3/mlp:3-4/prune:4=0.5"
    with torch.no_grad(), skipping(model, plan):
        planned = model(**batch).logits
    with torch.no_grad(), ExitStack() as around:
        if began == "under one":
            around.enter_context(probe(model))
        plain = model(**batch).logits
        meanwhile, records = ExitStack(), []

        def opens(*_):
            meanwhile.enter_context(skipping(model, plan))
            records.extend(meanwhile.enter_context(one(model)) for one in (probe, attention))

        handle = model.model.language_model.layers[2].register_forward_pre_hook(opens)
        assert torch.equal(model(**batch).logits, plain)
        handle.remove()
        assert not any(record.samples for record in records)
        assert torch.equal(model(**batch).logits, planned)
        assert all(record.samples == 1 for record in records)
        meanwhile.close()
        assert torch.equal(model(**batch).logits, plain)


def test_contexts_opened_by_many_threads_at_once_leave_the_model_as_it_was(model):
    before, errors, interval = traces(model), [], sys.getswitchinterval()

    def work():
        try:
            for _ in range(60):
                with probe(model), attention(model):
                    pass
        except Exception as error:
            errors.append(error)

    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not errors
    assert traces(model) == before
    assert model.config.text_config._attn_implementation == "sdpa"


@pytest.mark.parametrize("name", ["pixel_values", "pixel_values_videos", "image_hidden_states", "mm_encoder_outputs"])
def test_encoded_images_are_recognised(name):
    ids = torch.tensor([[11, 7, 7, 12]])
    given = {"input_ids": ids, name: torch.ones(1, 2, 4)}
    assert read_call(given, frozenset({7})).vision.tolist() == [[False, True, True, False]]
    assert not read_call(given | {name: None}, frozenset({7})).vision.any()


def test_two_models_have_separate_engines():
    one, two = random_model(seed=1), random_model(seed=2)
    batch = batch_for(one)
    with torch.no_grad(), ExitStack() as stack:
        plain = two(**batch).logits
        stack.enter_context(skipping(one, PLAN))
        record = stack.enter_context(probe(two))
        one(**batch)
        assert torch.equal(two(**batch).logits, plain)
    assert record.samples == 1


def test_an_unknown_family_is_searched_and_a_warning_says_what_was_found():
    model = random_model()
    batch = batch_for(model)
    with torch.no_grad(), skipping(model, PLAN):
        known = model(**batch).logits
    model.config.model_type = "brand_new"
    found = r"'brand_new' is not among the tested ones.*inner='model'.*decoder='model.language_model'"
    with torch.no_grad():
        with pytest.warns(UserWarning, match=found), skipping(model, PLAN):
            assert torch.equal(model(**batch).logits, known)
        with skipping(model, PLAN, family=Family("brand_new")):
            assert torch.equal(model(**batch).logits, known)


@pytest.mark.parametrize("family", ["qwen3_vl", "idefics3", "llama4", "gemma3"])
def test_discovery_agrees_with_the_declarations(family):
    model = random_model(family)
    declared = anatomy(model)
    model.config.model_type = "brand_new"
    with pytest.warns(UserWarning, match="brand_new"):
        found = anatomy(model)
    assert (found.inner, found.layers, found.norm) == (declared.inner, declared.layers, declared.norm)


def test_errors_about_wrong_declarations_say_how_to_declare():
    model = random_model()
    with pytest.raises(TypeError, match=r"expected 'model' and 'model.decoder'.*pass a family="):
        anatomy(model, Family("mine", decoder="model.decoder"))
    with pytest.raises(TypeError, match="without a config"):
        anatomy(np.zeros(3))
    model.config.model_type, model.model.language_model.layers = "brand_new", torch.nn.ModuleList([torch.nn.Identity()])
    with pytest.raises(TypeError, match=r"lacks attention in layers 0 .*declare it: family=vlm.Family\(name, inner"):
        anatomy(model)


@pytest.mark.skipif(absent("llama4") is not None, reason=str(absent("llama4")))
def test_llama4_beyond_its_query_scale_is_refused():
    model = random_model("llama4")
    batch = batch_for(model)
    model.config.text_config.floor_scale = batch["input_ids"].shape[1]
    with torch.no_grad():
        # Layer 2 has no rotary embedding.
        with skipping(model, "vision:2-3"), pytest.raises(NotImplementedError, match="row number from 14 tokens on"):
            model(**batch)
        with skipping(model, "vision:0-2"):
            model(**batch)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("compiled", [pytest.param("model", marks=pytest.mark.slow), "layer"])
def test_compiled_models_follow_every_plan_and_forget_it(compiled):
    model, plain = random_model(layers=2), random_model(layers=2)
    batch = batch_for(model)
    torch._dynamo.reset()
    if compiled == "model":
        model = torch.compile(model, backend="eager")
    else:
        model.model.language_model.layers[1].compile(backend="eager")
    with torch.no_grad():
        for plan in ("vision:0-2", "text:1-2", "vision:0-2"):
            with skipping(model, plan), skipping(plain, plan):
                assert torch.allclose(model(**batch).logits, plain(**batch).logits, atol=1e-6), plan
            assert torch.allclose(model(**batch).logits, plain(**batch).logits, atol=1e-6)
    torch._dynamo.reset()
