"""What the readings of the conditions license on the embedded models, and what it costs on other images."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import vlm
from vlm import SkipPlan, tiny
from vlm.evaluation.plan_accuracy import prompt_batch


def records(model, processor, scenes):
    """One question about each scene, of each kind in turn."""
    every = tiny.questions(split="validation", limit=5 * scenes, kinds=tiny.IMAGE_KINDS)
    asked = [every[5 * scene + scene % 5] for scene in range(scenes)]
    with torch.inference_mode(), vlm.probe(model) as near, vlm.attention(model) as seen:
        for start in range(0, scenes, 50):
            model(**prompt_batch(model, processor, asked[start : start + 50]), logits_to_keep=1)
    return near, seen


def loss(model, processor, plan, questions):
    full = tiny.correct(model, processor, questions)
    with vlm.skipping(model, plan):
        return float(full.mean() - tiny.correct(model, processor, questions).mean())


# Seeded questions, not a population: no error level is involved.
@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "tiny-scaled", "tiny-priced"])
def test_the_safe_rule_and_its_regimes_license_no_plan_that_fails(name):
    model, processor = vlm.load(name)
    near, seen = records(model, processor, 200)
    asked = tiny.questions(limit=400, kinds=tiny.IMAGE_KINDS)
    decision = vlm.decide(near, seen)
    for plan in {decision.plan, vlm.regimes(decision).plan}:
        assert loss(model, processor, plan, asked) <= 0.02, plan


@pytest.mark.slow
def test_where_only_middle_layers_read_the_image_both_rules_license_late_entry_and_early_exit():
    model, processor = vlm.load("tiny-late")
    near, seen = records(model, processor, 300)
    asked = tiny.questions(limit=300, kinds=tiny.IMAGE_KINDS)
    for reading in ({"tokens": "answer", "heads": "mean"}, {}):
        decision = vlm.decide(near, seen, **reading)
        assert str(decision.plan) == "vision:0-3+7-10", reading
    assert loss(model, processor, decision.plan, asked) <= 0.02
    assert loss(model, processor, vlm.regimes(decision).plan, asked) <= 0.02
    # Neither condition is met one layer further, and both fail there.
    assert loss(model, processor, SkipPlan.late_entry(4), asked) > 0.1
    assert loss(model, processor, SkipPlan.early_exit(6), asked) > 0.1


@pytest.mark.slow
def test_the_papers_rule_fails_where_other_tokens_read_the_image():
    model, processor = vlm.load("tiny-priced")
    near, seen = records(model, processor, 800)
    paper = vlm.decide(near, seen, tokens="answer", heads="mean")
    bypassed = paper.plan.layers("vision", 10)
    assert len(bypassed) >= 8
    asked = tiny.questions(limit=400, kinds=tiny.IMAGE_KINDS)
    assert loss(model, processor, paper.plan, asked) > 0.4
    # The answer token gives little to the image in these layers; some other token gives much in the first.
    answer, everybody = (
        seen.reading(tokens=t, heads=h).mean(axis=0) for t, h in (("answer", "mean"), ("all", "largest"))
    )
    assert answer[sorted(bypassed)].max() < 0.1
    assert everybody[0] > 0.5
    assert not vlm.decide(near, seen).late_entry
    assert np.isfinite(everybody).all()
    assert paper.plan != SkipPlan()
