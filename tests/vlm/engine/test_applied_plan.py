"""A plan that stays: until it is removed, and whoever keeps its handle."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
import transformers

import vlm
from vlm.evaluation.plan_accuracy import prompt_batch
from vlm.models.random_models import random_model
from vlm.models.transformers_internals import registered_attention


@pytest.fixture(scope="module")
def model_and_batch():
    model, processor = vlm.load("tiny")
    return model, prompt_batch(model, processor, vlm.tiny.questions(limit=4, kinds=vlm.tiny.IMAGE_KINDS))


def logits(model, batch):
    with torch.no_grad():
        return model(**batch).logits


def test_applied_is_skipping_without_a_block(model_and_batch):
    model, batch = model_and_batch
    full = logits(model, batch)
    with vlm.skipping(model, "vision:0-4"):
        expected = logits(model, batch)
    vlm.apply(model, "vision:0-4")
    gc.collect()  # the handle is forgotten, the plan is not
    assert torch.equal(logits(model, batch), expected)
    with pytest.raises(ValueError, match="already active"):
        vlm.apply(model, "vision:8-")
    assert torch.equal(logits(model, batch), expected)
    applied = model.__dict__["_skipit_applied"]
    assert (repr(applied), applied.active) == ("Applied('vision:0-4')", True)
    applied.remove()
    applied.remove()
    assert torch.equal(logits(model, batch), full)
    assert not [name for name in model.__dict__ if "skipit" in name]


def test_a_model_under_a_plan_that_stays_is_freed_with_its_last_reference():
    before = registered_attention()
    model = random_model()
    vlm.apply(model, "freeze:1-3/prune:3=0.5")
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
    assert registered_attention() == before


def test_a_refused_plan_leaves_the_model_alone(model_and_batch):
    model, batch = model_and_batch
    full = logits(model, batch)
    for bad, kind in (("vision:0-40", ValueError), (3, TypeError), ("missing.json", FileNotFoundError)):
        with pytest.raises(kind):
            vlm.apply(model, bad)
    assert torch.equal(logits(model, batch), full)
    assert not [name for name in model.__dict__ if "skipit" in name]


@pytest.mark.filterwarnings("ignore")
def test_a_pipeline_answers_under_the_plan_until_it_is_removed():
    model, processor = vlm.load("tiny")
    question = vlm.tiny.questions(limit=1, kinds=("location",))[0]
    answers = transformers.pipeline("image-text-to-text", model=model, processor=processor)
    settings = dict(max_new_tokens=3, do_sample=False)

    def from_pipeline():
        given = dict(images=[question.image], text=question.prompt, return_full_text=False)
        return answers(**given, generate_kwargs=settings)[0]["generated_text"]

    def from_model():
        batch = processor(images=[question.image], text=[question.prompt], return_tensors="pt")
        return processor.decode(model.generate(**batch, **settings)[0, batch["input_ids"].shape[1] :])

    full = from_pipeline()
    applied = vlm.apply(model, "vision:0-")
    assert from_pipeline().strip() == from_model().strip() != full.strip()
    applied.remove()
    assert from_pipeline() == full
