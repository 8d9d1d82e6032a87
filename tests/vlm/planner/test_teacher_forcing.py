"""One forward over prompt and answer says exactly what greedy decoding under the plan would: for every kind of plan."""

from __future__ import annotations

import pytest
import torch
import transformers

from vlm.engine.skipping import skipping
from vlm.evaluation.generation import lengths
from vlm.models.random_batches import batch_for
from vlm.models.random_models import random_model
from vlm.planner.answered_batch import NO_TOKEN, answered_batch
from vlm.planner.teacher_forcing import answer_logits, divergences, same_answers
from vlm.plans.plan import SkipPlan

FULL = SkipPlan()
PLANS = ["vision:0-2", "freeze:1-4", "prune:2=0.5", "attention:1-2", "mlp:2-4", "vision:2-3/text:2-3", "keep:1-=0-3"]


@pytest.fixture(autouse=True)
def quiet():
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    yield
    transformers.logging.set_verbosity(before)


def greedy(model, batch, plan, tokens=5):
    with torch.inference_mode(), skipping(model, plan):
        out = model.generate(**batch, max_new_tokens=tokens, do_sample=False, pad_token_id=0)
    new = out[:, batch["input_ids"].shape[1] :]
    return [row[:n].tolist() for row, n in zip(new, lengths(model, new), strict=True)]


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3", "paligemma", "idefics3"])
def test_same_answer_is_equality_of_greedy_answers(family):
    model = random_model(family, "sdpa")
    batch = batch_for(model, (1, 1, 1), (6, 3, 1))
    # Answers of different lengths: a beginning of a greedy answer is the greedy answer of that length.
    full = [answer[: 5 - row] for row, answer in enumerate(greedy(model, batch, FULL))]
    answered = answered_batch(model, batch, full)
    assert same_answers(model, answered, answer_logits(model, answered, FULL)).all()
    seen = set()
    for text in PLANS:
        plan = SkipPlan.parse(text)
        found = same_answers(model, answered, answer_logits(model, answered, plan)).tolist()
        expected = [a[: len(b)] == b for a, b in zip(greedy(model, batch, plan), full, strict=True)]
        assert found == expected, text
        seen.update(found)
    assert False in seen


def test_the_divergence_is_the_mean_over_the_answers_own_positions():
    model = random_model("llava", "sdpa")
    batch = batch_for(model, (1, 1), (6, 3))
    full = [answer[: 4 - 2 * row] for row, answer in enumerate(greedy(model, batch, FULL))]
    answered, plan = answered_batch(model, batch, full), SkipPlan.parse("vision:0-3")
    assert (answered.answers == NO_TOKEN).sum() == 2
    reference, under = (answer_logits(model, answered, p) for p in (FULL, plan))
    together = divergences(reference, under, answered)
    for row, answer in enumerate(full):
        # By hand: the prompt of one row alone, one token more at a time.
        real = batch["attention_mask"][row].bool()
        total = 0.0
        for place in range(len(answer)):
            ids = torch.cat([batch["input_ids"][row, real], torch.tensor(answer[:place], dtype=torch.long)])[None]
            inputs = {"input_ids": ids, "pixel_values": batch["pixel_values"][row : row + 1]}
            with torch.no_grad():
                p = model(**inputs, use_cache=False).logits[0, -1].double().log_softmax(-1)
                with skipping(model, plan):
                    q = model(**inputs, use_cache=False).logits[0, -1].double().log_softmax(-1)
            total += float((p.exp() * (p - q)).sum())
        assert float(together[row]) == pytest.approx(total / len(answer), rel=1e-3)
    assert (divergences(reference, reference, answered) == 0).all()


def test_rules_of_the_generation_configuration_are_obeyed():
    model = random_model("llava", "sdpa")
    model.generation_config.repetition_penalty = 1.8
    batch = batch_for(model, (1, 1), (6, 3))
    full = greedy(model, batch, FULL)
    answered = answered_batch(model, batch, full)
    assert same_answers(model, answered, answer_logits(model, answered, FULL)).all()
    model.generation_config.repetition_penalty = 1.0
    assert greedy(model, batch, FULL) != full
    assert not same_answers(model, answered, answer_logits(model, answered, FULL)).all()
    model.generation_config.min_new_tokens = 3
    with pytest.raises(NotImplementedError, match=r"generation_config\.min_new_tokens: expected 0, got 3"):
        same_answers(model, answered, answer_logits(model, answered, FULL))
