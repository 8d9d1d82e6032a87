"""The whole comparison on the embedded model: resumed without new work, and every question under its own plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vlm import SkipPlan, load
from vlm.comparison import calibration, comparing
from vlm.comparison.comparing import compare_methods
from vlm.comparison.method_names import LAYER_METHODS, TOKEN_METHODS
from vlm.datasets import read
from vlm.evaluation.answering import Answerer
from vlm.evaluation.protocols import PROTOCOLS
from vlm.item import Failure
from vlm.planner.answered_questions import generating
from vlm.planner.image_split import split_images
from vlm.scoring import score

SETTINGS = dict(budgets=[0.6], draws=2, layer_draws=2, calibration_images=2, batch_size=10, max_new_tokens=1)


def test_a_comparison_is_resumed_and_agrees_with_each_plan_alone(tmp_path, monkeypatch):
    model, processor = load("tiny")
    items = list(read("tiny", limit=20))
    own = {"mine": SkipPlan.freeze(6, None)}
    told = []
    done = lambda *stage: told.append(stage)  # noqa: E731
    # What cannot be read, or shows nothing, is said and not asked.
    unread, bare = Failure("tiny", "x", "unreadable"), replace(items[0], id="bare", images=())
    given = [*items[:3], unread, bare, *items[3:]]
    first = compare_methods(model, processor, given, out=tmp_path, plans=own, done=done, **SETTINGS)
    assert [(one.id, one.reason.split(":")[0]) for one in first.failures] == [("x", "unreadable"), ("bare", "no image")]
    # Each stage says how far it is, to its end.
    ends = {stage: (number, total) for stage, number, total in told}
    assert all(number == total for number, total in ends.values())
    stages = {f"calibration, {what}" for what in ("layers", "contributions", "withdrawals", "tokens")}
    assert set(ends) == {*stages, "questions"}
    methods = set(first.table()["method"])
    # Every method has a row, or is said to have none.
    missing = set(first.left_out()["method"])
    assert methods == {"mine", *LAYER_METHODS, *TOKEN_METHODS} - missing
    assert missing == {"LLM-Drop (mlp)", "PruMerge+", "PruMerge+ (choice)"}
    assert first.labelled
    assert (abs(first.table().where(budget=0.6)["operations_ratio"] - 0.6) <= 0.021).all()
    # The user's own plan, as it is judged alone.
    mine = next(o for o in first.outcomes if o.method == "mine")
    answerer = Answerer(model, processor, generating(PROTOCOLS["skip-it"], 1), 0)
    asked = split_images(items, 2, 0).certification[: len(mine.places)]
    alone = answerer.answers(answerer.questions(asked), own["mine"])
    rule = answerer.protocol.scorer
    right = [score(i, a.prediction, scorer=rule(i)).value for i, a in zip(asked, alone, strict=True)]
    assert list(mine.scores) == right
    # Nothing is run again.
    monkeypatch.setattr(comparing, "_Judge", None)
    monkeypatch.setattr(calibration, "layer_rankings", None)
    again = compare_methods(model, processor, items, out=tmp_path, plans=own, **SETTINGS)
    assert again.table().text() == first.table().text()
    monkeypatch.undo()
    # The last records lost: what was learnt from the calibration images is read, not measured again.
    path = tmp_path / "outcomes.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-2]))
    monkeypatch.setattr(calibration, "layer_rankings", None)
    monkeypatch.setattr(calibration.selectors, "attention_statistics", None)
    third = compare_methods(model, processor, items, out=tmp_path, plans=own, **SETTINGS)
    assert third.table().text() == first.table().text()
    with pytest.raises(ValueError, match="other draws"):
        compare_methods(model, processor, items, out=tmp_path, plans=own, **{**SETTINGS, "draws": 3})
    # A corrected reference is another comparison, not the old table again.
    corrected = [replace(items[0], answers=("corrected",)), *items[1:]]
    with pytest.raises(ValueError, match="other references"):
        compare_methods(model, processor, corrected, out=tmp_path, plans=own, **SETTINGS)
    assert np.isfinite(first.table()["accuracy"]).all()


class Killed(BaseException):
    pass


def test_a_kill_loses_a_few_seconds_of_a_batch(tmp_path, monkeypatch):
    model, processor = load("tiny")
    items = [item for item in read("tiny", limit=25) if "which digit is at" in item.question]
    settings = dict(budgets=[0.6], layer_draws=6, kinds=["layers"], calibration_images=2, max_new_tokens=1)
    whole = compare_methods(model, processor, items, out=tmp_path / "whole", **settings)
    judged, calls, alive = comparing.outcomes, [], [30]

    def outcomes(*given, **named):
        if len(calls) == alive[0]:
            raise Killed
        calls.append(given[3])
        return judged(*given, **named)

    monkeypatch.setattr(comparing, "outcomes", outcomes)
    monkeypatch.setattr(comparing, "KEEP_SECONDS", 0.0)
    with pytest.raises(Killed):
        compare_methods(model, processor, items, out=tmp_path / "killed", **settings)
    before, alive[0] = set(calls), -1
    calls.clear()
    again = compare_methods(model, processor, items, out=tmp_path / "killed", **settings)
    assert len(before) == 30
    assert not before & set(calls)  # not one plan is judged twice on the same questions
    assert again.table().text() == whole.table().text()
    assert again.controls().text() == whole.controls().text()


def test_bad_settings_are_refused_before_anything_runs(tmp_path):
    model, processor = load("tiny")
    items = list(read("tiny", limit=10))
    for settings in ({"budgets": [1.5]}, {"draws": 0}, {"protocol": "x"}):
        with pytest.raises(ValueError, match=next(iter(settings))):
            compare_methods(model, processor, items, out=tmp_path, **settings)
