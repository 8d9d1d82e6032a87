"""Counted operations against torch's own counter, and against the closed form."""

from __future__ import annotations

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.vlm.random_models import batch_for, random_model
from vlm import skipping
from vlm.cost import operations, operations_ratio


def counted_decoder(model, batch, plan):
    """Operations inside the decoder and the head by torch's counter (eager attention: every product is seen)."""
    with FlopCounterMode(display=False) as counter, torch.no_grad(), skipping(model, plan):
        model(**batch, use_cache=False)
    counts = counter.get_flop_counts()
    name = type(model).__name__
    tower = sum(
        sum(counts[f"{name}.model.{part}"].values())
        for part in ("vision_tower", "multi_modal_projector")
        if f"{name}.model.{part}" in counts
    )
    return counter.get_total_flops() - tower


@pytest.mark.parametrize("plan", ["none", "vision:0-2", "vision:0-1+3-", "text:1-3", "vision:2-3/text:2-3"])
def test_within_one_percent_of_a_counted_forward(plan):
    model = random_model(attention="eager", width=64)
    batch = batch_for(model, images=(2,), after=(20,))
    vision = int((batch["input_ids"] == 7).sum())
    text = batch["input_ids"].numel() - vision
    ours = operations(model, vision=vision, text=text, plan=plan, head_tokens=vision + text).total
    assert ours == pytest.approx(counted_decoder(model, batch, plan), rel=0.01)


def test_a_worked_example():
    # width 32, 4 heads of 8, 2 key heads, feed-forward 64: 32*32*2 + 32*16*2 + 3*32*64 = 9,216 weights a layer
    model = random_model(layers=2)
    counted = operations(model, vision=9, text=1)
    assert counted.layers.tolist() == [2 * 9216 * 10 + 4 * 32 * 100] * 2
    assert counted.head == 2 * 32 * 50
    half = operations(model, vision=9, text=1, plan="vision:0-1")
    assert half.layers.tolist() == [2 * 9216 + 4 * 32, 2 * 9216 * 10 + 4 * 32 * 100]


def test_ratio_of_nothing_and_everything():
    model = random_model()
    assert operations_ratio(model, "none", vision=9, text=4) == 1.0
    assert operations_ratio(model, "vision:0-5", vision=9, text=4) < 0.35
    with pytest.raises(ValueError, match="not both 0"):
        operations(model, vision=0, text=0)
    with pytest.raises(ValueError, match="decoder layers"):
        operations(model, vision=1, text=1, plan="vision:0-9")
