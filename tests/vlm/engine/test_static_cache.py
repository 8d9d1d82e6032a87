"""Static caches: the same tokens as with a dynamic one, under every kind of plan."""

from __future__ import annotations

import pytest
import torch
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
)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_generation_equals_that_with_a_dynamic_cache(family, kind):
    model = random_model(family, kind)
    for shape in (dict(images=(1,), after=(6,)), dict(images=(2, 0, 1), after=(4, 7, 2))):
        batch = batch_for(model, **shape)
        settings = dict(max_new_tokens=5, do_sample=False, return_dict_in_generate=True, output_logits=True)
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
