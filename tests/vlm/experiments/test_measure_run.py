"""Measuring data sets: equal to a probe, independent of the number of workers, and the resulting decision."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import vlm
from vlm.datasets import read
from vlm.decisions.stored_measurement import decided
from vlm.evaluation.protocols import PROTOCOLS
from vlm.experiments.image_means import ImageMeans
from vlm.experiments.image_measurement import ImageMeasurement
from vlm.experiments.measure_run import measure_run
from vlm.experiments.measurement_tables import attention_ratios, redundancy, write_tables
from vlm.experiments.merging import merged
from vlm.experiments.shards import Shard
from vlm.experiments.spec import DataChoice, Spec
from vlm.models.prompts import inputs, wording
from vlm.table import Table

SPEC = Spec(data=(DataChoice("tiny", limit=30), DataChoice("tiny", seed=3, limit=20, label="other")), batch_size=10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return measure_run(replace(SPEC, plans=("vision:4-",)), tmp_path_factory.mktemp("runs"), progress=False)


@pytest.fixture(scope="module")
def direct():
    """The same prompts under probe and attention, without the runner."""
    model, processor = vlm.load("tiny")
    protocol = PROTOCOLS["skip-it"]
    items = [item for choice in SPEC.data for item in read("tiny", limit=choice.limit, seed=choice.seed)]
    with torch.inference_mode(), vlm.probe(model, thresholds=SPEC.thresholds) as record, vlm.attention(model) as seen:
        for item in items:
            text = wording(processor, protocol.prompt(item), 1)
            model(**inputs(model, processor, [text], item.images))
    return items, record, seen


def test_records_equal_those_of_a_probe(folder, direct):
    items, record, seen = direct
    records = merged(folder)
    assert [r["item"] for r in records] == [item.id for item in items]
    for modality in ("vision", "text"):
        table = record.table().where(modality=modality)
        for name in ("distance", "distance_from_entry", "within_0.05", "entry_within_0.1", "norm_out"):
            expected = np.asarray(table[name]).reshape(len(items), 10)
            np.testing.assert_allclose([r[modality][name] for r in records], expected, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose([r["attention"] for r in records], seen.ratios(), atol=1e-5)
    np.testing.assert_allclose([r["attention_largest"] for r in records], seen.largest(), atol=1e-5)
    np.testing.assert_allclose([r["attention_largest_mean"] for r in records], seen.largest_mean(), atol=1e-5)
    np.testing.assert_allclose([r["attention_mean"] for r in records], seen.mean(), atol=1e-5)
    assert {r["tokens"]["vision"] for r in records} == {36}
    assert folder.name == SPEC.measurement


def test_tables_are_means_over_images_inside_their_intervals(folder):
    records = merged(folder)
    near, small = redundancy(records), attention_ratios(records)
    blocks = [("tiny", "Embedded"), ("other", "Embedded"), ("all", "Embedded"), ("all", "all")]
    assert list(dict.fromkeys((r["dataset"], r["group"]) for r in near.rows())) == blocks
    assert len(near) == 4 * 2 * 10
    assert len(small) == 4 * 10
    for row in near.rows():
        assert row["distance_low"] <= row["distance"] <= row["distance_high"]
        assert row["within_0.05_low"] <= row["within_0.05"] <= row["within_0.05_high"]
        assert row["images"] == {"tiny": 6, "other": 4, "all": 10}[row["dataset"]]
    for row in small.rows():
        assert row["head_least"] <= row["ratio"] <= row["head_most"]
        assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        assert row["largest_low"] <= row["largest"] <= row["largest_high"]
        assert max(row["mean"], row["ratio"]) <= row["largest_mean"] <= row["largest"]
    # Five questions per scene, so the mean over images is the mean over questions.
    mean = np.mean([r["vision"]["distance"] for r in records], axis=0)
    means = [r["distance"] for r in near.rows() if r["group"] == "all" and r["modality"] == "vision"]
    np.testing.assert_allclose(means, mean, rtol=1e-6)


def test_the_plan_is_that_of_the_records(folder, direct):
    items, record, seen = direct
    labels = [f"{'tiny' if i < 30 else 'other'}/{item.image_id}" for i, item in enumerate(items)]
    settings = dict(t=0.1, delta=0.9, attention_limit=1.0)
    expected = vlm.decide(record, seen, groups=labels, **settings)
    decision = decided(folder, **settings)
    assert decision.plan == expected.plan != vlm.SkipPlan()
    assert decision.settings == expected.settings
    for name, column in expected.layers.columns.items():
        if column.dtype.kind == "f":
            np.testing.assert_allclose(decision.layers[name], column, atol=5e-3)
    assert decided(folder, task_group="other", **settings).settings["images"] == 4
    with pytest.raises(ValueError, match="expected a task group or data set that was measured"):
        decided(folder, task_group="nothing")


def test_records_of_an_earlier_version_lack_columns_and_are_not_judged_by_all_tokens(folder):
    names = ("attention_largest", "attention_largest_mean", "attention_mean")
    old = [{k: v for k, v in r.items() if k not in names} for r in merged(folder)]
    assert "largest" not in attention_ratios(old).columns
    assert attention_ratios(old)["ratio"].tolist() == attention_ratios(merged(folder))["ratio"].tolist()
    with ImageMeans(old) as means:
        with pytest.raises(ValueError, match="of the answer token alone, made by an earlier version"):
            ImageMeasurement(means).reading()
        assert ImageMeasurement(means).reading(tokens="answer", heads="mean").shape == (10, 10)


@pytest.mark.parametrize("tokens", ["all", "answer"])
@pytest.mark.parametrize("heads", ["largest", "mean"])
def test_images_on_disk_give_the_decision_of_prompts_in_memory(folder, tokens, heads):
    """The slow twin keeps every prompt and lets `decide` take the means over an image's prompts."""
    records, settings = merged(folder), {"t": 0.1, "tokens": tokens, "heads": heads, "attention_limit": 0.3}
    vision = {name: np.array([r["vision"][name] for r in records]).reshape(-1) for name in records[0]["vision"]}
    samples, depth = len(records), len(records[0]["attention"])
    table = Table({"modality": np.full(samples * depth, "vision"), **vision})
    by_head = np.array([r["attention_largest" if tokens == "all" else "attention"] for r in records])
    joined = np.array([r["attention_largest_mean"] for r in records]) if tokens == "all" else by_head.mean(axis=2)
    ratios = by_head.max(axis=2) if heads == "largest" else joined
    twin = SimpleNamespace(samples=samples, depth=depth, thresholds=(0.01, 0.02, 0.05, 0.1), table=lambda: table)
    twin.ratios, twin.reading = lambda: by_head, lambda **_: ratios
    expected = vlm.decide(twin, twin, groups=[f"{r['dataset']}/{r['image_id']}" for r in records], **settings)
    decision = decided(folder, **settings)
    assert (decision.plan, decision.settings) == (expected.plan, expected.settings)
    for name, column in expected.layers.columns.items():
        if column.dtype.kind == "f":
            np.testing.assert_allclose(decision.layers[name], column, rtol=1e-12, atol=1e-12)
        else:
            assert decision.layers[name].tolist() == column.tolist()


def test_parts_give_the_same_tables(folder, tmp_path):
    for k in (2, 3, 1):
        parts = measure_run(SPEC, tmp_path, part=Shard(k, 3), progress=False)
    for run in (folder, parts):
        write_tables(run)
    assert parts.name == folder.name
    for name in ("redundancy.csv", "attention.csv", "merged/records.jsonl"):
        assert (parts / name).read_bytes() == (folder / name).read_bytes()


def test_no_reference_answer_is_read(tmp_path, monkeypatch):
    spec = Spec(data=(DataChoice("tiny", limit=3),))
    unanswered = [replace(item, answers=()) for item in read("tiny", limit=3)]
    monkeypatch.setattr("vlm.datasets.read", lambda name, **how: unanswered)
    assert not any(r["failure"] for r in merged(measure_run(spec, tmp_path, progress=False)))


def test_prompts_without_an_image_are_left_out_of_vision_tables(folder):
    blind = [{**r, "tokens": {**r["tokens"], "vision": 0}} for r in merged(folder)]
    assert len(attention_ratios(blind)) == 0
    assert {row["modality"] for row in redundancy(blind).rows()} == {"text"}
    with ImageMeans(blind) as means, pytest.raises(ValueError, match="expected records of prompts with an image, got"):
        ImageMeasurement(means)
