"""What is made cheap: measured times end to end, wishes that can and cannot be met."""

from __future__ import annotations

import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

import vlm
from vlm.datasets import read
from vlm.planner.cost_objective import CostModel, Seconds, calibrated, time_ratios
from vlm.planner.layer_actions import plan_from_actions
from vlm.planner.model_card import model_card
from vlm.planner.wishes import say_wish, wish_outcome
from vlm.plans.plan import SkipPlan

DEPTH = 10


@pytest.fixture(scope="module")
def tiny():
    torch.set_num_threads(1)
    return vlm.load("tiny")


def timed(objective, answer_length, model):
    """A cost model whose layers take 1 s of prefill and 0.5 s a token; frozen ones 0.2 s, and as long a token."""
    return CostModel(
        model,
        objective,
        36,
        10,
        answer_length,
        layer_times={
            "run": Seconds(1.0, 0.5),
            "freeze": Seconds(0.2, 0.5),
            "remove": Seconds(0.1, 0.4),
            "drop": Seconds(0.0, 0.0),
        },
        rest=Seconds(2.0, 0.1),
    )


def test_times_add_up_over_layers(tiny):
    model, _ = tiny
    plan = SkipPlan.parse("freeze:0-4/vision:8-10")
    assert timed("prefill", 1.0, model)(plan) == pytest.approx((2 + 4 * 0.2 + 4 + 2 * 0.1) / 12)
    token = 9 * (0.1 + 8 * 0.5 + 2 * 0.4)
    assert timed("time", 10.0, model)(plan) == pytest.approx((7.0 + token) / (12 + 9 * 5.1))
    # After a pruning by half a layer lies in the middle between all image tokens and none.
    assert timed("prefill", 1.0, model)(SkipPlan.prune(5, 0.5)) == pytest.approx((2 + 5 + 5 * 0.55) / 12)
    assert time_ratios([Seconds(2.0, 1.0), Seconds(1.0, 1.0)], 3.0).tolist() == [1.0, 0.75]


def test_layer_times_come_from_plans_that_do_the_same_everywhere(tiny):
    model, _ = tiny
    asked = []

    def clock(model, batch, plans):
        asked.extend(plans)
        return [Seconds(12.0, 5.1), Seconds(4.0, 5.1), Seconds(2.0, 0.1)]

    costs = calibrated(CostModel(model, "time", 36, 10, 3.0), {}, ["run", "freeze", "drop"], time_plans=clock)
    assert asked == [plan_from_actions([action] * DEPTH) for action in ("run", "freeze", "drop")]
    assert costs.layer_times["run"] == Seconds(1.0, 0.5)
    assert costs.layer_times["freeze"].prefill == pytest.approx(0.2)
    assert costs.rest == Seconds(2.0, 0.1)
    assert costs.full_seconds() == Seconds(12.0, 5.1)


def test_a_wish_that_decoding_forbids_is_said_before_the_search(tiny):
    model, _ = tiny
    said = []
    say_wish(timed("time", 1000.0, model), ("run", "freeze"), 0.2, said.append)
    assert "decoding 100% of the total" in said[0]
    assert "at least 20% less time cannot be met: even the cheapest plan of these actions saves only 0%" in said[1]
    assert "since the rest is decoding and image encoding" in said[1]
    said.clear()
    # Answers of one token are prefill: freezing everything saves two thirds.
    say_wish(timed("time", 1.0, model), ("run", "freeze"), 0.2, said.append)
    assert len(said) == 1
    assert "decoding 0%" in said[0]
    assert "is met" in wish_outcome(0.2, 0.75, "time", [Seconds(4.0, 0.1), Seconds(3.0, 0.1)])
    assert "is NOT met: the certified plan saves 10.0%" in wish_outcome(0.2, 0.9, "time", [])


@pytest.mark.parametrize(("objective", "length"), [("prefill", None), ("time", 3.0)])
def test_times_are_measured_on_the_model(tiny, objective, length):
    items = [item for number, item in enumerate(read("tiny", limit=200)) if number % 5 == number // 5 % 5]
    found = vlm.optimize(
        *tiny,
        items,
        max_loss=0.3,
        actions=["freeze"],
        fractions=[],
        batch_size=32,
        search_images=16,
        forwards=60,
        candidates=2,
        objective=objective,
        answer_length=length,
        at_least_faster=0.99,
    )
    cost = found.file.cost
    assert min(cost[f"{what}_seconds{which}"] for what in ("prefill", "token") for which in ("", "_full")) > 0
    times = {
        which: Seconds(cost[f"prefill_seconds{which}"], cost[f"token_seconds{which}"]).total(length or 1.0)
        for which in ("", "_full")
    }
    assert found.cost == pytest.approx(times[""] / times["_full"])
    assert sum("cannot be met: even the cheapest plan" in message for message in found.messages) == 1
    assert any("NOT met" in message and "measured: prefill" in message for message in found.messages)
    assert any(message.startswith("time of an answer of 3 tokens") for message in found.messages) == (length == 3.0)
    assert "of the measured prefill time" in model_card(found.file)


def test_one_question_of_llava_costs_what_the_how_to_says():
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )
    text = LlamaConfig(
        hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32, vocab_size=32064
    )
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(
            LlavaConfig(text_config=text, vision_config=vision, image_token_index=32000)
        )
    one = vlm.plan_cost(model, vision=576, text=64).prefill.total
    assert one == pytest.approx(8.5e12, rel=0.01)
    # 1,000 answers, 20,000 forwards of the search, 20 candidates on 800 images.
    assert (1000 + 20_000 + 20 * 800) * one < 0.32e18
    assert vlm.operations_ratio(model, "freeze:0-32", vision=576, text=64) < 0.25
