"""A plan as draft of the full model: the same answers, whatever the plan."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

import vlm
from vlm import probe, skipping, speculative
from vlm.models.random_batches import batch_for
from vlm.models.random_models import random_model
from vlm.tiny import questions

PLANS = ("vision:2-4/text:2-4", "vision:0-", "mlp:1-3/attention:2-4", "freeze:1-3/prune:3=0.5", "text:0-3/vision:0-3")


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3"])
def test_greedy_answers_are_those_of_the_full_model(family):
    model = random_model(family)
    batch = batch_for(model)
    plain = model.generate(**batch, max_new_tokens=10, do_sample=False)
    for plan in PLANS:
        with speculative(model, plan) as draft, probe(model) as record:
            fast = model.generate(**batch, max_new_tokens=10, do_sample=False, assistant_model=draft)
        assert torch.equal(fast, plain), plan
        assert record.samples == 1
    with torch.no_grad(), skipping(draft, "none"):
        assert torch.equal(draft(**batch).logits, model(**batch).logits)


def test_descriptions_of_the_embedded_model_come_in_fewer_steps():
    model, processor = vlm.load("tiny")
    steps = []
    # The draft is a copy with the same hooks.
    handle = model.register_forward_pre_hook(lambda module, _: steps.append(1) if module is model else None)
    counts = []
    for question in questions(limit=4, kinds=("location",)):
        batch = processor(images=[question.image], text=["<image> describe answer:"], return_tensors="pt")
        plain = model.generate(**batch, max_new_tokens=20, do_sample=False)
        counts.append([len(steps)])
        steps.clear()
        with speculative(model, "vision:4-5/text:4-5") as draft:
            fast = model.generate(**batch, max_new_tokens=20, do_sample=False, assistant_model=draft)
        counts[-1].append(len(steps))
        steps.clear()
        assert torch.equal(fast, plain)
    handle.remove()
    assert all(fast < 0.6 * full for full, fast in counts)


@pytest.mark.slow
def test_sampled_answers_are_distributed_as_the_full_models():
    """The first token of 40, each at a level of 1e-3 over all tests, seeded."""
    model = random_model(layers=3)
    batch = batch_for(model)
    torch.manual_seed(0)
    draws = 600
    with torch.no_grad():
        logits = model(**batch).logits[0, -1].clone()
    logits[model.generation_config.suppress_tokens] = -torch.inf
    first = logits.softmax(-1)
    counts = torch.zeros(len(first))
    with speculative(model, "vision:1-2/text:1-2") as draft:
        for _ in range(draws):
            out = model.generate(**batch, max_new_tokens=2, do_sample=True, top_k=0, assistant_model=draft)
            counts[out[0, batch["input_ids"].shape[1]]] += 1
    level = 1e-3 / len(first)
    for count, probability in zip(counts.tolist(), first.tolist(), strict=True):
        assert stats.binomtest(int(count), draws, min(probability, 1.0)).pvalue > level


def test_weights_are_shared():
    model = random_model()
    with speculative(model, "vision:1-2/text:1-2") as draft:
        pairs = zip(draft.parameters(), model.parameters(), strict=True)
        assert all(one.data_ptr() == other.data_ptr() for one, other in pairs)
    with pytest.raises(ValueError, match="decoder layers"), speculative(model, "vision:7-9"):
        pass


@pytest.mark.parametrize(("family", "why"), [("qwen3_5", "recurrent state"), ("blip-2", "gives a draft no image")])
def test_models_whose_generation_takes_no_draft_are_refused_at_once(family, why):
    with (
        pytest.raises(NotImplementedError, match=f"speculative: .*{why}"),
        speculative(random_model(family), "mlp:1-2"),
    ):
        pass
