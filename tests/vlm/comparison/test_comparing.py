"""The whole comparison on the embedded model: resumed without new work, and every question under its own plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vlm import SkipPlan, load
from vlm.comparison import comparing
from vlm.comparison.comparing import compare_methods
from vlm.datasets import read
from vlm.evaluation.answering import Answerer
from vlm.evaluation.protocols import PROTOCOLS
from vlm.planner.answered_questions import generating
from vlm.planner.image_split import split_images
from vlm.scoring import score

SETTINGS = dict(budgets=[0.6], draws=2, layer_draws=2, calibration_images=2, batch_size=10)


def test_a_comparison_is_resumed_and_agrees_with_each_plan_alone(tmp_path, monkeypatch):
    model, processor = load("tiny")
    items = list(read("tiny", limit=25))
    own = {"mine": SkipPlan.freeze(6, None)}
    told = []
    done = lambda *stage: told.append(stage)  # noqa: E731
    first = compare_methods(model, processor, items, out=tmp_path, plans=own, done=done, **SETTINGS)
    # Each stage says how far it is, to its end.
    ends = {stage: (number, total) for stage, number, total in told}
    assert all(number == total for number, total in ends.values())
    stages = {f"calibration, {what}" for what in ("layers", "contributions", "withdrawals", "tokens")}
    assert set(ends) == {*stages, "questions"}
    methods = set(first.table()["method"])
    named = {"FastV", "DART", "DivPrune", "SparseVLM (v1)", "PruMerge (choice)", "HoloV", "VisionZip (choice)"}
    assert named | {"mine", "ShortV", "grid tokens from layer 0"} <= methods
    assert first.labelled
    assert (abs(first.table().where(budget=0.6)["operations_ratio"] - 0.6) <= 0.021).all()
    # The user's own plan, as it is judged alone.
    mine = next(o for o in first.outcomes if o.method == "mine")
    answerer = Answerer(model, processor, generating(PROTOCOLS["skip-it"], None), 0)
    asked = split_images(items, 2, 0).certification[: len(mine.places)]
    alone = answerer.answers(answerer.questions(asked), own["mine"])
    rule = answerer.protocol.scorer
    right = [score(i, a.prediction, scorer=rule(i)).value for i, a in zip(asked, alone, strict=True)]
    assert list(mine.scores) == right
    # Nothing is run again.
    monkeypatch.setattr(comparing, "_judged", None)
    monkeypatch.setattr(comparing, "layer_rankings", None)
    again = compare_methods(model, processor, items, out=tmp_path, plans=own, **SETTINGS)
    assert again.table().text() == first.table().text()
    monkeypatch.undo()
    # Killed in the middle: the last batch alone is run again, and gives the same.
    path = tmp_path / "outcomes.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    third = compare_methods(model, processor, items, out=tmp_path, plans=own, **SETTINGS)
    assert third.table().text() == first.table().text()
    with pytest.raises(ValueError, match="other draws"):
        compare_methods(model, processor, items, out=tmp_path, plans=own, **{**SETTINGS, "draws": 3})
    # A corrected reference is another comparison, not the old table again.
    corrected = [replace(items[0], answers=("corrected",)), *items[1:]]
    with pytest.raises(ValueError, match="other references"):
        compare_methods(model, processor, corrected, out=tmp_path, plans=own, **SETTINGS)
    assert np.isfinite(first.table()["accuracy"]).all()


def test_bad_settings_are_refused_before_anything_runs(tmp_path):
    model, processor = load("tiny")
    items = list(read("tiny", limit=10))
    for settings in ({"budgets": [1.5]}, {"draws": 0}, {"protocol": "x"}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            compare_methods(model, processor, items, out=tmp_path, **settings)
