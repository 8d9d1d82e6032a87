"""The whole loop on the embedded model, small: files, keys, honesty of the report."""

from __future__ import annotations

import csv
import io
import json
import re
from contextlib import redirect_stdout
from html import escape

import numpy as np
import pytest

from tests.vlm.decisions.test_conditions import made
from vlm import Table, decide, load, tiny
from vlm.__main__ import main
from vlm.demo.certified_accuracy import certified_plan, plan_sequences
from vlm.demo.demo_report import first_line
from vlm.demo.loop import Outcome, bad_plans, measure_losses
from vlm.notions.profile_result import Profile, chain_table, profile_table
from vlm.planner.best_plan import BestPlan
from vlm.plans.plan import SkipPlan
from vlm.plans.plan_file import PlanFile


@pytest.fixture(scope="module")
def printed():
    """What the demo prints, filled in by it."""
    return []


@pytest.fixture(scope="module")
def demo(tmp_path_factory, printed):
    folder = tmp_path_factory.mktemp("demo") / "deep"
    text = io.StringIO()
    with redirect_stdout(text):
        assert main(["demo", "--out", str(folder), "--questions", "100", "--quiet"]) == 0
    printed += text.getvalue().splitlines()
    return folder


def test_the_first_line_is_the_result(demo, printed):
    report = json.loads((demo / "report.json").read_text())
    assert printed[0] == first_line(report)
    assert f"accuracy is {report['accuracy_promised']:.3f} against {report['accuracy_full']:.3f}" in printed[0]
    assert f"at most {report['promise']['max_loss']:.0%} of the answers change" in printed[0]
    assert escape(printed[0]) in (demo / "index.html").read_text()


def test_report_has_every_key_and_intervals_that_hold_their_value(demo):
    report = json.loads((demo / "report.json").read_text())
    for key in ("accuracy_full", "accuracy_blank", "accuracy_plan", "accuracy_promised", "accuracy_rule"):
        low, high = report[f"{key}_interval"]
        assert 0 <= low <= report[key] <= high <= 1
    assert 0 < report["operations_ratio"] <= 1
    assert report["time_ratio"] > 0
    assert str(SkipPlan.parse(report["plan"])) == report["plan"]
    promise = report["promise"]
    assert promise["limit"] <= promise["max_loss"] == 0.05
    assert promise["images"] == 80
    assert report["operations_ratio_promised"] < 1 or report["plan_promised"] == "none"
    assert str(PlanFile.load(demo / "plan.json").plan) == report["plan_promised"]
    assert report["late_entry"] == 0 or report["plan"].startswith("vision:0-")
    four = {"geometric", "proximal", "functional", "informational"}
    assert four < {row["notion"] for row in report["notions"]}
    for row in report["notions"]:
        assert row["low"] <= row["high"]
        assert row["images"] > 0


def test_tables_are_complete(demo):
    with (demo / "sweep.csv").open() as file:
        sweep = list(csv.DictReader(file))
    depth = max(int(row["layer"]) for row in sweep)
    assert sum(row["kind"] == "late entry" for row in sweep) == depth
    assert sum(row["kind"] == "early exit" for row in sweep) == depth
    with (demo / "layers.csv").open() as file:
        assert [int(row["layer"]) for row in csv.DictReader(file)] == list(range(depth))
    with (demo / "comparison.csv").open() as file:
        kinds = [row["kind"] for row in csv.DictReader(file)]
    assert kinds[:5] == ["no skip", "planned", "the paper's rule", "with a promise", "certified by accuracy"]
    assert "vision out of the middle" in kinds


def test_the_page_is_self_contained(demo):
    page = (demo / "index.html").read_text()
    # Six figures, and the pictures of questions whose answers changed.
    assert len(re.findall(r"src=[\"']data:image/png;base64,[A-Za-z0-9+/=]+[\"']", page)) >= 6
    assert "Use this plan" in page
    assert not re.search(r"(src|href)=['\"]http", page)
    assert page.count("<script") == 1  # its own, which copies lines
    report = json.loads((demo / "report.json").read_text())
    assert ("no late entry" in page) == (report["late_entry"] == 0)
    with (demo / "layers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert "at most gap_cosine by their cosine distance and at most gap_rebuilt" in page
    assert all(0 < float(row["gap_rebuilt"]) < float(row["gap_cosine"]) < float(row["gap_cosine_high"]) for row in rows)
    assert ("no plan could be certified" in page) == (report["plan_certified"] == "none")


def test_no_half_written_files_are_left(demo):
    assert not list(demo.glob("*.part"))


def test_without_a_second_image_there_is_nothing_to_rebuild():
    model, processor = load("tiny")
    asked = tiny.questions(limit=3, kinds=("location",))
    one = [q for q in asked if q.image_id == asked[0].image_id]
    assert measure_losses(model, processor, one, batch_size=2, bar=lambda items, name: items) is None


def test_bad_plans_are_never_the_plan_itself():
    middle = SkipPlan.skip("vision", 3, 7)
    assert middle in bad_plans(SkipPlan(), 10).values()
    assert middle not in bad_plans(middle, 10).values()


def test_command_line_errors(capsys):
    with pytest.raises(SystemExit):
        main(["demo", "--questions", "none"])
    assert "whole number >= 1" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([])


def test_an_outcome_shows_itself_in_one_line():
    record, seen = made([1.0, 0.2], [0.02, 0.4], samples=20)
    notions = Profile(profile_table([]), chain_table([]), {})
    file = PlanFile(SkipPlan.early_exit(8), model="tiny", weights="0")
    best = BestPlan(file, 0.9, "operations", (), (), (), Table({}), (), {}, (), ())
    outcome = Outcome(best, decide(record, seen), record, seen, Table({}), Table({}), {"model": "tiny"}, notions)
    line = repr(outcome)
    assert line.startswith("Outcome(best=")
    assert "\n" not in line
    assert len(line) <= 240
    saved = json.loads(outcome.to_json())
    assert saved["report"] == {"model": "tiny"}
    assert saved["record"]["samples"] == 20


class NeedsTheImageOnce:
    """A model that answers rightly as long as image tokens pass at least one of its ten layers."""

    groups = np.arange(600)
    full = np.ones(600)

    def right(self, plan):
        seen = set(range(10))
        for start, stop in plan.resolved(10).vision:
            seen -= set(range(start, 10 if stop is None else stop))
        return np.ones(600) if seen else (np.arange(600) % 10 < 3).astype(float)


def test_row_2_a_certified_plan_was_itself_tested():
    toy = NeedsTheImageOnce()
    plan = certified_plan(toy, 10)
    assert plan != SkipPlan.parse("vision:0-10")
    assert toy.right(plan).mean() == 1.0
    assert any(plan == tested for plans in plan_sequences(10) for tested in plans)
    for plans in plan_sequences(10):
        removed = [sum(stop - start for start, stop in p.vision) for p in plans]
        assert removed == sorted(removed)
        assert removed[-1] < 10


def test_row_2_nothing_is_certified_where_every_layer_is_needed():
    class NeedsAll(NeedsTheImageOnce):
        def right(self, plan):
            return np.zeros(600) if plan else np.ones(600)

    assert certified_plan(NeedsAll(), 10) == SkipPlan()
