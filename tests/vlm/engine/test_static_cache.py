"""Static caches: the same tokens as with a dynamic one, under every kind of plan."""

from __future__ import annotations

import pytest
import torch
from transformers import CompileConfig
from transformers.cache_utils import StaticCache

from vlm import attention, probe, skipping
from vlm.models.random_batches import batch_for
from vlm.models.random_models import random_model

PLANS = (
    "none",
    "vision:0-2",
    "freeze:1-3/text:3-4",
    "keep:1-=1-3",
    "prune:2=0.5",
    "attention:1-2/mlp:3-4",
    "vision:0-",
    "merge:1=2~1x1.0,0x0.5/rank:1=0.6/leave:3=0.3",
)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_generation_equals_that_with_a_dynamic_cache(family, kind):
    model = random_model(family, kind)
    shapes = (dict(images=(2, 0, 1), after=(4, 7, 2)), dict(images=(1,), after=(6,)))
    for shape in shapes if kind == "sdpa" else shapes[:1]:  # without padding, sdpa takes no mask
        batch = batch_for(model, **shape)
        settings = dict(max_new_tokens=4, do_sample=False, return_dict_in_generate=True, output_logits=True)
        for plan in PLANS:
            with torch.no_grad(), skipping(model, plan), probe(model) as record, attention(model) as seen:
                dynamic = model.generate(**batch, **settings)
                static = model.generate(**batch, **settings, cache_implementation="static")
            assert torch.equal(static.sequences, dynamic.sequences), plan
            a, b = torch.stack(static.logits), torch.stack(dynamic.logits)
            assert float((a - b).norm() / b.norm()) < 1e-5, plan
            assert record.samples == len(seen.ratios()) == 2 * len(batch["input_ids"])
            table = record.table()
            half = len(table["tokens"]) // 2
            assert (table["tokens"][:half] == table["tokens"][half:]).all()


def test_a_static_cache_of_ones_own_and_its_limit():
    model = random_model()
    batch = batch_for(model)
    length = batch["input_ids"].shape[1]
    cache = StaticCache(model.config.get_text_config(), max_cache_len=length + 1)
    step = {"input_ids": torch.tensor([[11]])}
    with torch.no_grad(), skipping(model, "vision:0-2"):
        expected = model(**batch, use_cache=True)
        found = model(**batch, past_key_values=cache)
        assert torch.allclose(found.logits, expected.logits, atol=1e-5)
        a = model(**step, past_key_values=cache).logits
        b = model(**step, past_key_values=expected.past_key_values).logits
        assert torch.allclose(a, b, atol=1e-5)
        with pytest.raises(ValueError, match=f"{length + 2} tokens exceed the {length + 1} of this static cache"):
            model(**step, past_key_values=cache)


def test_static_sliding_windows_are_refused():
    model = random_model("gemma3")
    with (
        torch.no_grad(),
        skipping(model, "vision:0-2"),
        pytest.raises(NotImplementedError, match="StaticSlidingWindowLayer is not supported"),
    ):
        model.generate(**batch_for(model), max_new_tokens=2, cache_implementation="static")


def compiled_step(**how):
    """Settings under which `generate` compiles its decoding step, on the processor too."""
    settings = CompileConfig(mode=None, backend="eager", **how)
    settings._compile_all_devices = True
    return dict(max_new_tokens=5, do_sample=False, cache_implementation="static", compile_config=settings)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "plan",
    [
        "vision:0-1/freeze:1-3",
        "keep:1-=1-3/prune:3=0.5",
        "attention:1-2/mlp:3-4",
        "merge:1=2~1x1.0,0x0.5/rank:1=0.6/leave:2=0.3",
    ],
)
def test_a_compiled_decoding_step_is_one_graph_and_is_compiled_once(plan):
    model = random_model(layers=4)
    batch = batch_for(model, images=(2, 1), after=(4, 7))
    torch._dynamo.reset()
    with torch.no_grad(), skipping(model, plan):
        expected = model.generate(**batch, max_new_tokens=5, do_sample=False)
        torch._dynamo.utils.counters.clear()
        # Any break of the graph is an error.
        found = model.generate(**batch, **compiled_step(fullgraph=True))
    assert torch.equal(found, expected)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_step_follows_the_plans_that_come_and_go():
    model = random_model(layers=3)
    batch = batch_for(model)
    torch._dynamo.reset()
    plain = model.generate(**batch, max_new_tokens=5, do_sample=False)
    with torch.no_grad():
        # Text that skips and positions numbered anew break the graph, and are followed all the same.
        for plan in ("none", "vision:0-", "rank:1=0.6/renumber:1-/text:2-3/vision:2-"):
            with skipping(model, plan):
                expected = model.generate(**batch, max_new_tokens=5, do_sample=False)
                assert torch.equal(model.generate(**batch, **compiled_step()), expected), plan
            assert torch.equal(model.generate(**batch, **compiled_step()), plain), plan
        assert not torch.equal(expected, plain)
    torch._dynamo.reset()


def test_places_of_a_static_cache_are_taken_and_given_back():
    """Several tokens at once, cropping and reordering after steps that wrote in place."""
    model = random_model()
    batch = batch_for(model, images=(1, 0), after=(6, 9))
    length = batch["input_ids"].shape[1]
    fixed = StaticCache(model.config.get_text_config(), max_cache_len=length + 8)
    more = torch.tensor([[11, 12, 13, 14, 15, 16], [21, 22, 23, 24, 25, 26]])
    ones = torch.ones_like(more)
    with torch.no_grad(), skipping(model, "vision:0-2"):
        free = model(**batch, use_cache=True).past_key_values
        model(**batch, past_key_values=fixed)
        for start, stop in ((0, 1), (1, 2), (2, 5)):
            mask = torch.cat([batch["attention_mask"], ones[:, :stop]], dim=1)
            a, b = (
                model(input_ids=more[:, start:stop], attention_mask=mask, past_key_values=cache).logits
                for cache in (fixed, free)
            )
            assert torch.allclose(a, b, atol=1e-5)
        for cache in (fixed, free):
            for layer in cache.layers[:2]:
                layer.reorder_cache(torch.tensor([1, 0]))
                layer.crop(-2)
                assert layer.get_seq_length() == length + 3
    for one, other in zip(fixed.layers[:2], free.layers[:2], strict=True):
        assert torch.equal(one.positions, other.positions)
        assert torch.allclose(one.keys, other.keys, atol=1e-5)
