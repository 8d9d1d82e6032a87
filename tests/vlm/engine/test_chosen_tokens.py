"""Tokens chosen by a layer's own attention, tokens that leave before the feed-forward, merged tokens."""

from __future__ import annotations

import pytest
import torch

from vlm import SkipPlan, skipping
from vlm.engine.masked_reference import planned_logits
from vlm.models.random_batches import batch_for, lengthened, single_row, with_positions
from vlm.models.random_models import absent, random_model

PLANS = (
    "rank:0=0.5",
    "rank:1=0.6/rank:3=0.3/renumber:0-",
    "keep:1-=0-7/rank:2=0.4/freeze:2-4",
    "leave:0=0.5",
    "leave:1=0.7/leave:2=0.4/leave:4=0.2",
    "prune:1=0.8/rank:2=0.6/leave:2=0.4/vision:4-",
    "merge:0=1~1x0.5,3x0.25,5x0.25/merge:0=3~1x1.0/merge:2=2~4x-1.0,2x2.0/keep:1-=0-5",
    "merge:1=2~40x1.0,0x0.5/rank:1=0.5/leave:3=0.3",
)
SINGLE = dict(images=(1,), after=(6,))
RAGGED = dict(images=(2, 0, 1), after=(4, 7, 2))


def error(a, b, real=slice(None)):
    return float((a[real] - b[real]).norm() / b[real].norm())


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llava", "gemma3"])
def test_prefill_equals_the_full_length_reference(family, kind):
    model = random_model(family, kind)
    for shape in (SINGLE, RAGGED):
        batch = with_positions(batch_for(model, **shape))
        for text in PLANS:
            if family == "gemma3" and "renumber" in text:
                continue
            with torch.no_grad(), skipping(model, text):
                fast = model(**batch).logits
            slow = planned_logits(model, batch, text)
            assert error(fast, slow, batch["attention_mask"].bool()) < 1e-4, (text, shape)
