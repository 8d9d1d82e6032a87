"""One plan per row: a batch gives every row what it gives alone."""

from __future__ import annotations

import pytest
import torch

from vlm import SkipPlan, probe, skipping
from vlm.models.random_batches import batch_for, single_row, with_positions
from vlm.models.random_models import random_model

RAGGED = dict(images=(2, 0, 1), after=(4, 7, 2))
SETS = (
    ("vision:0-2", "none", "vision:3-"),
    ("keep:1-=0-4+7", "text:2-3", "keep:1-=2-5"),
    ("prune:2=0.5", "prune:2=0.3", "prune:1=0.5/prune:3=0.25"),
    ("freeze:1-3", "vision:2-", "keep:2-=1-3/freeze:3-4"),
    ("vision:1-2/text:1-2", "none", "vision:2-4/text:2-4"),
    ("mlp:3-4/vision:0-1", "mlp:3-4", "mlp:3-4/freeze:1-2"),
)


def error(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3"])
def test_rows_are_as_alone_in_prefill_and_in_decoding(family, kind):
    model = random_model(family, kind)
    batch = batch_for(model, **RAGGED)
    settings = dict(max_new_tokens=4, do_sample=False, return_dict_in_generate=True, output_logits=True)
    for plans in SETS:
        with torch.no_grad(), skipping(model, plans) as active:
            together = model(**with_positions(batch)).logits[:, -1]
            out = model.generate(**batch, **settings)
        assert [str(plan) for plan in active.plans] == [str(SkipPlan.parse(p).resolved(5)) for p in plans]
        for row, plan in enumerate(plans):
            one = single_row(model, batch, RAGGED["images"], row)
            with torch.no_grad(), skipping(model, plan):
                assert error(together[row], model(**with_positions(one)).logits[0, -1]) < 1e-4, (plans, row)
                alone = model.generate(**one, **settings)
            found, expected = (torch.stack(x.logits, 1) for x in (out, alone))
            assert error(found[row], expected[0]) < 1e-4, (plans, row)


@pytest.mark.parametrize(
    "plans", [("vision:0-2", "prune:2=0.5"), ("rank:1=0.5/renumber:1-", "merge:0=1~2x0.5,3x0.5/leave:2=0.4")]
)
def test_beams_repeat_the_plan_of_their_prompt(plans):
    model = random_model()
    images = (1, 1)
    batch = batch_for(model, images=images, after=(3, 6))
    settings = dict(num_beams=3, max_new_tokens=4, do_sample=False, return_dict_in_generate=True, output_scores=True)
    with torch.no_grad(), skipping(model, list(plans)):
        out = model.generate(**batch, **settings)
    for row, plan in enumerate(plans):
        with torch.no_grad(), skipping(model, plan):
            alone = model.generate(**single_row(model, batch, images, row), **settings)
        assert abs(out.sequences_scores[row] - alone.sequences_scores[0]) < 1e-4


def test_other_batches_and_plans_are_refused():
    model = random_model()
    batch = batch_for(model, **RAGGED)
    with (
        skipping(model, ["vision:1-", "none"]),
        pytest.raises(ValueError, match=r"batch of 2 rows, one per plan.* got 3"),
    ):
        model(**batch)
    with (
        pytest.raises(
            NotImplementedError, match="rows of one batch differ in whether they drop attention or feed-forward"
        ),
        skipping(model, ["mlp:2-3", "none"]),
    ):
        pass
    for wrong in ([], ["vision:1-", 3], [["vision:1-"]]):
        with pytest.raises(TypeError, match="plan: expected a"), skipping(model, wrong):
            pass
    with torch.no_grad(), skipping(model, ["vision:1-"]), probe(model) as record:
        together = model(**batch).logits
    with torch.no_grad(), skipping(model, "vision:1-"):
        assert torch.equal(model(**batch).logits, together)
    assert record.samples == 3
