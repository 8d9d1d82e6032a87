"""The paper's numbers: as printed, complete, and their contradictions."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from vlm import published
from vlm.models.families import Family
from vlm.plans.cost import operations
from vlm.reports import prediction

FOLDER = Path(published.__file__).parent
MODELS = {"llava-1.5-7b", "llava-next-7b", "llava-1.5-13b"}
TASKS = {
    "general_vqa",
    "text_doc_vqa",
    "multimodal_reasoning_guessing",
    "multimodal_reasoning_not_guessing",
}


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("late_entry.csv", "d3df517a38d4d1474ccc678360eb74c9d9711b96d08428b41a17a92aacc57b64"),
        ("early_exit.csv", "afdace4dc93f26d09b6464c5f24d56a4ad9a2ec38a94403586ea4d070921df25"),
    ],
)
def test_the_numbers_are_as_printed(name, digest):
    """They are a source: whoever corrects one must do so here too, and say why."""
    assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest


def test_tables_are_complete():
    late, early = published.late_entry(), published.early_exit()
    assert {(r["model"], r["group"], r["layer"]) for r in late.rows()} == {
        (m, g, k) for m in MODELS for g in TASKS for k in (0, 4, 8, 12)
    }
    exits = {"llava-1.5-7b": (20, 24, 28), "llava-next-7b": (20, 24, 28), "llava-1.5-13b": (20, 24, 28, 32, 36)}
    assert {(r["model"], r["group"], r["layer"]) for r in early.rows()} == {
        (m, g, k) for m in MODELS for g in TASKS for k in exits[m]
    }
    unskipped = late["layer"] == 0
    for table, name in ((late, "within_vision"), (early, "within_vision"), (early, "within_text")):
        printed = table[name][~np.isnan(table[name])]
        assert ((printed >= 0) & (printed <= 1)).all()
    assert np.isnan(late["within_vision"][unskipped]).all()
    assert not np.isnan(late["within_vision"][~unskipped]).any()


def test_a_row_of_each_table_read_by_eye():
    late = next(published.late_entry().where(model="llava-next-7b", group="text_doc_vqa", layer=4).rows())
    assert (late["distance_vision"], late["within_vision"], late["accuracy"]) == (0.007, 0.967, 0.54)
    early = next(published.early_exit().where(model="llava-1.5-7b", group="general_vqa", layer=20).rows())
    vision, text = ((early[f"distance_{m}"], early[f"within_{m}"]) for m in ("vision", "text"))
    assert (vision, text, early["accuracy"]) == ((0.038, 0.786), (0.028, 0.939), 0.582)


def test_cells_join_both_tables_to_the_one_unskipped_model():
    cells = published.cells()
    assert len(cells) == 36 + 44
    row = next(cells.where(model="llava-next-7b", dataset="text_doc_vqa", kind="late entry", layer=4).rows())
    assert (row["plan"], row["reference"], row["change"]) == ("vision:0-4", 0.703, -0.163)
    exit_row = next(cells.where(model="llava-1.5-13b", dataset="general_vqa", kind="early exit", layer=36).rows())
    assert (exit_row["plan"], exit_row["reference"], exit_row["change"]) == ("vision:36-", 0.782, 0.005)
    assert np.isnan(cells["attention"]).all()
    own = published.cells(exit_reference="deepest exit").where(kind="early exit")
    assert len(own) == 44 - 12
    lost = [(r["model"], r["dataset"], r["layer"]) for r in own.rows() if r["change"] < -0.02]
    assert lost == [("llava-1.5-13b", "general_vqa", 20)]


def test_the_rule_allows_entry_at_4_and_is_wrong_about_llava_next():
    rows = {(r["model"], r["group"]): r for r in published.decisions().rows()}
    assert {key for key, r in rows.items() if r["late_entry"] == 0} == {
        ("llava-next-7b", "multimodal_reasoning_guessing")
    }
    assert {r["late_entry"] for r in rows.values()} == {0, 4}
    lost = {key: r["change"] for key, r in rows.items() if r["change"] < -0.02}
    assert lost == {
        ("llava-next-7b", "general_vqa"): -0.049,
        ("llava-next-7b", "text_doc_vqa"): -0.163,
        ("llava-next-7b", "multimodal_reasoning_not_guessing"): -0.136,
    }
    loose = {(r["model"], r["group"]): r["late_entry"] for r in published.decisions(delta=0.25).rows()}
    assert loose["llava-next-7b", "text_doc_vqa"] == 8
    assert {r["late_entry"] for r in published.decisions(delta=0.0).rows()} == {0}
    # At layer 12 it is 0.403 again, but layer 8 with 0.273 lies before it.
    stopped = {(r["model"], r["group"]): r["late_entry"] for r in published.decisions(delta=0.6).rows()}
    assert stopped["llava-1.5-13b", "general_vqa"] == 4


def test_prediction_statistics_of_the_published_tables():
    late = prediction(published.cells().where(kind="late entry"), tolerance=0.02, resamples=200)
    assert [(r["count"], r["of"]) for r in late.rates.rows()] == [(8, 11), (23, 25), (8, 10), (23, 26)]
    early = prediction(published.cells().where(kind="early exit"), tolerance=0.02, resamples=200)
    assert [(r["count"], r["of"]) for r in early.rates.rows()] == [(20, 21), (7, 23), (20, 36), (7, 8)]
    auc = next(r for r in late.ranking.rows() if r["statistic"] == "AUC")
    assert auc["value"] == pytest.approx(roc_auc_score(late.cells["degraded"], -late.cells["closeness"]))
    assert auc["units"] == 12


def test_readings_count_cells_as_counted_from_the_files():
    with (FOLDER / "late_entry.csv").open() as file:
        late = list(csv.DictReader(file))
    with (FOLDER / "early_exit.csv").open() as file:
        early = list(csv.DictReader(file))
    full = {(r["model"], r["task"]): float(r["accuracy"]) for r in late if r["entry_layer"] == "0"}
    deepest = {(r["model"], r["task"]): r for r in early}
    unskipped = [r for r in late if r["entry_layer"] != "0"]
    shallower = [r for r in early if r not in deepest.values()]

    def counted(rows, name, reference, at_least=0.95):
        pairs = [(float(r[name]) >= at_least, float(r["accuracy"]) - reference(r) >= -0.02 - 1e-12) for r in rows]
        met, not_met = ([good for m, good in pairs if m == wanted] for wanted in (True, False))
        return len(met), sum(met), len(not_met), len(not_met) - sum(not_met)

    names = ("met", "harmless_when_met", "not_met", "degraded_when_not_met")
    table = {
        (r["kind"], r["reading"]): tuple(r[n] for n in names) for r in published.readings().where(model="all").rows()
    }

    def of_full(r):
        return full[r["model"], r["task"]]

    def of_deepest(r):
        return float(deepest[r["model"], r["task"]]["accuracy"])

    first = "late entry", "P(d <= 0.05) >= 0.95, image tokens, adjacent layers"
    assert table[first] == counted(unskipped, "vision_prob_within_0.05", of_full) == (11, 8, 25, 23)
    exits = {"against the unskipped model": (early, of_full), "against the deepest exit": (shallower, of_deepest)}
    for kind, (rows, reference) in exits.items():
        for token, column in (("image", "prob_within_0.05_a"), ("text", "prob_within_0.05_b")):
            expected = counted(rows, column, reference)
            assert table[f"early exit, {kind}", f"P(d <= 0.05) >= 0.95, {token} tokens"] == expected
    assert published.readings(tolerance=1.0).where(model="all")["degraded_when_not_met"].tolist() == [0] * 9
    with pytest.raises(ValueError, match="tolerance: expected"):
        published.readings(tolerance=-0.1)


def test_contradictions():
    rows = list(published.inconsistencies().rows())
    problems = [row["problem"] for row in rows]
    assert {p: problems.count(p) for p in set(problems)} == {
        "mean above Proposition 1": 1,
        "farther and closer": 8,
        "no common unskipped accuracy": 4,
    }
    assert "llava-next-7b, general_vqa, 28" in rows[0]["where"]
    assert "0.0761 when d <= 1" in rows[0]["detail"]
    assert "not violated" in rows[0]["detail"]


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("llava-1.5-7b", 7.06),
        ("llava-1.5-13b", 13.35),
        ("llava-next-7b", 7.06),
        ("deepseek-vl-7b", 7.34),
        ("qwen2.5-vl-7b", 8.29),
    ],
)
def test_skeletons_have_the_size_of_the_checkpoints(name, billions):
    (model,) = [m for m in published.MODELS if m.name == name]
    body = published.skeleton(model)
    assert sum(p.numel() for p in body.parameters()) / 1e9 == pytest.approx(billions, abs=0.005)
    assert {p.device.type for p in body.parameters()} == {"meta"}
    assert body.config.model_type == model.kind
    count = operations(body, vision=model.vision_tokens, text=80, family=Family(model.kind))
    assert len(count.layers) == model.depth


def test_estimates_follow_the_counts():
    model = published.MODELS[0]
    assert [str(plan) for plan in model.plans()] == [
        *("none", "vision:0-4", "vision:0-8", "vision:0-12"),
        *("vision:20-", "vision:24-", "vision:28-"),
    ]
    assert published.MODELS[-1].exits() == [20, 24]
    one, two, generated = (
        published.estimate(model, generated=g, one_pass=n, new_tokens=16) for g, n in ((0, 1000), (0, 2000), (2000, 0))
    )
    assert two.hours == pytest.approx(2 * one.hours)
    assert generated.hours > two.hours
    assert one.weights == pytest.approx(14.13, abs=0.01)
    # 32 layers x 2 x 4096 numbers of two bytes for 576 + 80 + 16 tokens, eight times
    assert one.memory - one.weights == pytest.approx(8 * 32 * 2 * 4096 * 2 * 672 / 1e9)
    # Early exit at 20 leaves 20 of 32 layers to vision tokens, and so on: about three quarters on average.
    assert one.ratio == pytest.approx(0.78, abs=0.02)


def test_costs_of_all_data_sets():
    small, whole = published.costs(1000), published.costs(None)
    assert small["items"].tolist() == [9665] * 5
    assert whole["items"].tolist() == [270_245] * 5
    assert (whole["hours"] > 10 * small["hours"]).all()


def test_models_and_costs_show_themselves():
    model = published.MODELS[0]
    assert repr(model).startswith("PublishedModel(name=llava-1.5-7b")
    cost = published.Cost(weights=14.1, memory=17.2, ratio=0.78, hours=3.7)
    assert repr(cost) == "Cost(weights=14.1, memory=17.2, ratio=0.78, hours=3.7)"
    for value in (model, cost):
        assert len(repr(value)) <= 240
        assert json.loads(value.to_json()) == value.to_dict()
