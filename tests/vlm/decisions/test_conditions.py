"""The decision rule on constructed measurements whose verdict is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tests.vlm.hidden_states.test_moment_losses import measured, prompts
from tests.vlm.hidden_states.test_moment_recording import recorded
from vlm import SkipPlan, attention, decide, functional_bounds, probe, regimes
from vlm.experiments.image_means import ImageMeans
from vlm.experiments.image_measurement import ImageMeasurement
from vlm.measure.attention_ratio import AttentionRecord
from vlm.measure.distances import ProbeRecord
from vlm.measure.records import AttentionMeasurement, DistanceMeasurement
from vlm.models.random_batches import batch_for
from vlm.models.random_models import random_model


def made(close, ratio, samples=400, entry=None, seed=0):
    """Records in which layer l has that fraction of close vision tokens and that attention to the image."""
    rng = np.random.default_rng(seed)
    depth = len(close)
    record = ProbeRecord((0.05,), depth)
    tokens = 100
    near = rng.binomial(tokens, close, size=(samples, depth)).T
    far_from_entry = near if entry is None else rng.binomial(tokens, entry, size=(samples, depth)).T
    sums = torch.zeros(depth, samples, 2, 9, dtype=torch.float64)
    sums[..., 0] = tokens
    sums[:, :, 0, 7] = torch.from_numpy(near).double()
    sums[:, :, 0, 8] = torch.from_numpy(far_from_entry).double()
    record._done.append(sums)
    seen = AttentionRecord(depth, -1)
    noise = rng.uniform(-0.02, 0.02, size=(depth, samples, 4))
    by_head = torch.from_numpy(np.clip(np.array(ratio)[:, None, None] + noise, 0, 1))
    seen._done.append(by_head)
    seen._all.append((by_head, by_head.mean(dim=2), by_head))
    return record, seen


def test_both_conditions_allow_late_entry_up_to_the_first_layer_that_fails():
    record, seen = made([1.0, 1.0, 0.5, 1.0, 1.0], [0.02, 0.03, 0.02, 0.4, 0.02])
    decision = decide(record, seen)
    assert decision.late_entry == 2
    assert decision.early_exit == 4
    assert decision.plan == SkipPlan.parse("vision:0-2+4-5")
    assert decision.layers["redundant"].tolist() == ["holds", "holds", "fails", "holds", "holds"]
    assert decision.layers["attention_small"].tolist() == ["holds", "holds", "holds", "fails", "holds"]


def test_redundancy_alone_does_not_allow_late_entry():
    record, seen = made([1.0, 1.0, 1.0], [0.4, 0.4, 0.4])
    assert decide(record, seen).plan == SkipPlan()


def test_small_attention_alone_allows_early_exit_but_not_late_entry():
    record, seen = made([0.1, 0.1, 0.1], [0.4, 0.02, 0.02])
    decision = decide(record, seen)
    assert (decision.late_entry, decision.early_exit) == (0, 1)


def test_too_few_images_leave_the_conditions_undecided():
    record, seen = made([1.0, 1.0], [0.05, 0.05], samples=4)
    decision = decide(record, seen)
    assert not decision.plan
    assert set(decision.layers["redundant"]) == {"undecided"}


def test_repeating_an_image_is_no_evidence():
    record, seen = made([1.0, 1.0], [0.05, 0.05], samples=400)
    assert decide(record, seen).plan
    assert not decide(record, seen, groups=np.zeros(400)).plan


def test_accumulated_distance_is_judged_when_asked():
    record, seen = made([1.0, 1.0, 1.0], [0.02, 0.02, 0.5], entry=[1.0, 0.3, 0.1])
    assert decide(record, seen).late_entry == 2
    assert decide(record, seen, accumulated=True).late_entry == 1


def test_the_interval_decides_and_not_the_estimate():
    record, seen = made([0.96], [0.02], samples=60, seed=3)
    row = next(decide(record, seen, delta=0.05).layers.rows())
    assert row["close"] > 0.95 > row["close_low"]
    assert row["redundant"] == "undecided"


def test_every_token_and_head_counts_unless_the_paper_is_asked():
    record, seen = made([1.0, 1.0], [0.02, 0.02])
    largest, joined, mean = (part.clone() for part in seen._all[0])
    largest[1, :, 2] = 0.5  # one head of one token reads the image in layer 1
    seen._all[0] = (largest, joined, mean)
    assert decide(record, seen).plan == SkipPlan.parse("vision:0-1")
    assert decide(record, seen, heads="mean").plan == SkipPlan.parse("vision:0-2")
    joined[1] = 0.3
    assert decide(record, seen, heads="mean").plan == SkipPlan.parse("vision:0-1")
    paper = decide(record, seen, tokens="answer", heads="mean")
    assert paper.plan == SkipPlan.parse("vision:0-2")
    assert (paper.settings["tokens"], paper.settings["heads"]) == ("answer", "mean")
    seen._done[0][0, :, 1] = 0.5
    assert decide(record, seen, tokens="answer").layers["attention_small"].tolist() == ["fails", "holds"]
    with pytest.raises(ValueError, match="tokens: expected 'all' or 'answer', got 'last'"):
        decide(record, seen, tokens="last")


def test_a_record_of_the_answer_token_says_how_to_get_the_others():
    record, seen = made([1.0], [0.02])
    alone = AttentionRecord(1, -1, "answer")
    alone._done.extend(seen._done)
    with pytest.raises(ValueError, match=r"got one of the answer token alone; measure with vlm.attention\(model\)"):
        decide(record, alone)
    assert decide(record, alone, tokens="answer").plan


class Effects:
    """Removal effects as decide reads them."""

    def __init__(self, values):
        self.values = values

    def effects(self, *, tokens):
        return self.values[tokens]


def test_the_effect_stands_beside_attention_and_decides_when_asked():
    record, seen = made([1.0, 1.0], [0.4, 0.02])
    small = Effects({"all": np.tile([0.01, 0.3], (400, 1)), "answer": np.tile([0.01, 0.01], (400, 1))})
    beside = decide(record, seen, removal=small)
    assert beside.plan == decide(record, seen).plan == SkipPlan.parse("vision:1-2")
    assert beside.layers["effect_small"].tolist() == ["holds", "fails"]
    assert "small effect fails (P(effect <= 0.1) in [0.000" in beside.reasons()[1]
    judged = decide(record, seen, removal=small, condition="effect")
    assert judged.plan == SkipPlan.parse("vision:0-1")
    assert repr(judged).endswith("judged by removal effect, all text tokens)")
    assert decide(record, seen, removal=small, condition="effect", tokens="answer").late_entry == 2
    # Three families of intervals share the error probability.
    assert (beside.layers["ratio_high"] > decide(record, seen).layers["ratio_high"]).all()
    with pytest.raises(ValueError, match=r"condition='effect' needs the record of vlm\.removal"):
        decide(record, seen, condition="effect")
    with pytest.raises(ValueError, match="record, removal: expected the same calls, got 400 and 3 samples"):
        decide(record, seen, removal=Effects({"all": np.zeros((3, 2))}))
    with pytest.raises(TypeError, match="removal: expected effects of removing the image"):
        decide(record, seen, removal=seen)
    with pytest.raises(ValueError, match="effect_limit: expected a number >= 0"):
        decide(record, seen, removal=small, effect_limit=float("nan"))


def test_reasons_name_both_conditions_and_the_thresholds():
    record, seen = made([1.0, 0.2], [0.02, 0.4])
    first, second = decide(record, seen, delta=0.1, attention_limit=0.2).reasons()
    assert first.startswith("layer 0: skip (late entry); redundancy holds")
    assert "needs >= 0.9" in first
    assert "needs <= 0.2" in first
    assert second.startswith("layer 1: keep; redundancy fails")


def test_on_a_random_model_nothing_is_redundant():
    model = random_model()
    with torch.no_grad(), probe(model) as record, attention(model) as seen:
        for seed in range(12):
            model(**batch_for(model, images=(1, 0), after=(6, 5), seed=seed))
    decision = decide(record, seen)
    assert decision.settings["images"] == 12
    assert decision.late_entry == 0


def test_errors_say_what_to_do():
    record, seen = made([1.0], [0.1])
    with pytest.raises(ValueError, match="probed thresholds"):
        decide(record, seen, t=0.07)
    with pytest.raises(ValueError, match="one label per sample"):
        decide(record, seen, groups=[1, 2])
    with pytest.raises(ValueError, match=r"delta: expected a number in \[0, 1\]"):
        decide(record, seen, delta=-0.1)
    other = made([1.0], [0.1], samples=3)[1]
    with pytest.raises(ValueError, match="the same calls"):
        decide(record, other)
    model = random_model()
    with torch.no_grad(), probe(model) as record, attention(model) as seen:
        model(**batch_for(model, images=(0,)))
    with pytest.raises(ValueError, match="with image tokens, got none"):
        decide(record, seen)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("seen, record", r"record: expected distances .* got AttentionRecord; attention ratios are another argument"),
        ("record, record", r"attention: expected visual attention ratios .* got ProbeRecord; distances are another"),
        ("table, seen", r"record: expected distances .* got Table; pass the record itself"),
        ("record, None", r"attention: expected visual attention ratios .* got NoneType"),
    ],
)
def test_swapped_or_wrong_arguments_are_named(arguments, message):
    record, seen = made([1.0], [0.1])
    values = {"record": record, "seen": seen, "table": record.table(), "None": None}
    with pytest.raises(TypeError, match=message):
        decide(*(values[name] for name in arguments.split(", ")))


def measured_on_disk(images, answer_only=0):
    """Records of prompts whose tokens do not move and which nobody reads."""
    vision = {name: [1.0, 1.0] for name in ("within_0.05", "entry_within_0.05")}
    vision |= {name: [0.0, 0.0] for name in ("distance", "distance_from_entry")}
    heads, mean = [[0.0] * 3] * 2, [0.0, 0.0]
    for number in range(images):
        record = {"dataset": "d", "group": "g", "image_id": str(number), "failure": None, "attention": heads}
        record |= {"tokens": {"vision": 4, "text": 2}, "vision": vision, "text": vision}
        if number >= answer_only:
            record |= {"attention_largest": heads, "attention_largest_mean": mean, "attention_mean": heads}
        yield record


def test_the_record_of_a_measurement_on_disk_is_accepted_too():
    with ImageMeans(measured_on_disk(200)) as means:
        measured = ImageMeasurement(means)
        assert isinstance(measured, DistanceMeasurement)
        assert isinstance(measured, AttentionMeasurement)
        assert measured.ratios().shape == (200, 2, 3)
        assert decide(measured, measured).late_entry == 2


def test_a_record_of_the_answer_token_alone_is_not_read_as_one_of_all_tokens():
    with ImageMeans(measured_on_disk(200, answer_only=199)) as means:
        measured = ImageMeasurement(means)
        with pytest.raises(ValueError, match=r"got 199 of 200 records of the answer token alone.*measure again"):
            decide(measured, measured)
        decision = decide(measured, measured, tokens="answer", heads="mean")
        assert decision.late_entry == 2
        assert "judged by answer token, mean over heads" in repr(decision)


def test_a_decision_shows_itself():
    decision = decide(*made([1.0, 0.2], [0.02, 0.4]))
    assert repr(decision) == (
        "Decision(plan vision:0-1: late entry at 1, no early exit; judged by all text tokens, largest head)"
    )
    assert "late_entry" in decision._repr_html_()
    saved = json.loads(decision.to_json())
    assert saved["settings"]["images"] == 400
    assert saved["early_exit"] == 2
    assert f"{decision}" == repr(decision)


def test_both_forms_of_theorem_1_stand_beside_the_conditions_and_decide_nothing():
    model, new = random_model(width=16), prompts(range(40, 60))
    for accumulated, pairs in ((False, "adjacent"), (True, "entry")):
        fitted = recorded(model, prompts(range(24)), normalise=True, pairs=pairs, modality="vision").moments()
        with torch.no_grad(), probe(model) as record, attention(model) as seen:
            losses = measured(model, fitted, new, direction="forward")
        plain = decide(record, seen, accumulated=accumulated)
        both = decide(record, seen, accumulated=accumulated, losses=losses)
        assert both.plan == plain.plan
        names = set(plain.layers.columns)
        assert {name: both.layers[name].tolist() for name in names} == {n: plain.layers[n].tolist() for n in names}
        distance = plain.layers["distance_from_entry" if accumulated else "distance"]
        np.testing.assert_allclose(both.layers["gap_cosine"], distance * (2 - distance), rtol=1e-9)
        table = functional_bounds(losses)
        np.testing.assert_array_equal(both.layers["gap_rebuilt"], table["reconstruction_bound"])
        np.testing.assert_array_equal(both.layers["gap_rebuilt_high"], table["reconstruction_limit"])
        assert (both.layers["gap_cosine_high"] > both.layers["gap_cosine"]).all()
        for said in (both.reasons(), regimes(both).reasons()):
            assert all("L² by reconstruction, " in line and "L² by cosine distance" in line for line in said)
            top = float(said[1].split("functional gap at most ")[1].split(" L²")[0])
            assert 0 <= top - both.layers["gap_rebuilt_high"][1] <= 0.001
        with pytest.raises(ValueError, match=r"losses: expected forward maps of image tokens for all pairs"):
            decide(record, seen, accumulated=not accumulated, losses=losses)
