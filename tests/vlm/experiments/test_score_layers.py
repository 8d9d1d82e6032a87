"""Kept answers are scored again without a model, and compared on the same items."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from tests.support.fixture_sets import PLANS, write_spec
from vlm.__main__ import main
from vlm.evaluation.accuracy import paired_difference
from vlm.experiments.merging import merge, merged
from vlm.experiments.score_layers import rescore
from vlm.experiments.spec import read_spec
from vlm.experiments.sweep_run import sweep
from vlm.judges import Verdict
from vlm.record_log import line, read
from vlm.reports.accuracy_table import summary
from vlm.reports.answer_columns import AnswerColumns
from vlm.reports.run_comparison import compare
from vlm.reports.score_layer_tables import score_layers


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished sweep, and the spec file with its data."""
    folder = tmp_path_factory.mktemp("made")
    path = write_spec(folder / "sets", items=12, plans=PLANS[:2])
    return sweep(read_spec(path), folder / "runs", progress=False), path


@pytest.fixture
def run(made, tmp_path):
    shutil.copytree(made[0], tmp_path / made[0].name)
    return tmp_path / made[0].name


def test_the_same_rule_gives_the_same_scores(run, monkeypatch):
    monkeypatch.setattr("vlm.engine.planned_loading.load", None)
    layer = rescore(run)
    assert layer.parent == run / "scores"
    kept = [{**r, "thought": None} for r in merged(run)]
    assert [{**r, "thought": None} for r in read(layer / "records.jsonl")] == kept
    assert json.loads((layer / "layer.json").read_text())["protocol"] == "skip-it 2"


def test_row_5_letters_without_enough_probability_are_unparsed_in_sweeps_and_in_layers(tmp_path):
    """No labels together have all of the probability, so with 1 as the least every answer of one pass is unparsed."""
    spec = read_spec(data=["tiny"], limit=10, least_label_mass=1.0)
    strict = sweep(spec, tmp_path, progress=False)
    usual = sweep(replace(spec, least_label_mass=0.0), tmp_path, progress=False)
    records = {name: merged(folder) for name, folder in {"strict": strict, "usual": usual}.items()}
    records["layer"] = list(read(rescore(strict) / "records.jsonl"))
    one_pass = [r["letter_probabilities"] is not None for r in records["usual"]]
    assert {True, False} == set(one_pass)
    for name in ("strict", "layer"):
        for record, usual_record, letters in zip(records[name], records["usual"], one_pass, strict=True):
            expected = (None, 0.0) if letters else (usual_record["parsed"], usual_record["score"])
            assert (record["parsed"], record["score"]) == expected
            assert record["prediction"] == usual_record["prediction"]
    assert sum(r["score"] for r in records["usual"]) > sum(r["score"] for r in records["strict"])
    assert summary(records["strict"])["unparsed"].tolist() == [sum(one_pass)]


def test_another_rule_is_a_layer_of_its_own_and_the_first_scores_stay(run):
    before = [line(r) for r in merged(run)]
    layers = [rescore(run, scorer="ocrbench"), rescore(run, protocol="lmms-eval"), rescore(run)]
    assert len({layer.name for layer in layers}) == 3
    assert [line(r) for r in merged(run)] == before
    generated = [r for r in read(layers[0] / "records.jsonl") if r["prediction"] and not r["letter_probabilities"]]
    assert generated
    assert all(r["parsed"] == r["prediction"].strip() for r in generated)
    for mistake in (dict(scorer="bleu"), dict(protocol="x"), dict(judge="nobody")):
        with pytest.raises(ValueError, match="expected"):
            rescore(run, **mistake)


def test_a_judge_scores_kept_answers(run, monkeypatch):
    asked = []

    def judge(requests):
        asked.extend(requests)
        return [Verdict(0.25, "ok", "chat", "raw", "") for _ in requests]

    given = []

    def from_name(name, **options):
        given.append(options)
        return judge

    monkeypatch.setattr("vlm.experiments.score_layers.from_name", from_name)
    layer = rescore(run, judge="chat:some-model")
    records = list(read(layer / "records.jsonl"))
    judged = [r for r in records if r["judge"]]
    assert len(judged) == len(asked) > 0
    assert {r["score"] for r in judged} == {0.25}
    assert all(r["letter_probabilities"] is None and r["dataset"] != "tiny" for r in judged)
    # From the command line a judge may be given more time, which makes no other layer.
    assert main(["score", str(run), "--judge", "chat:some-model", "--judge-timeout", "7"]) == 0
    assert [options["timeout"] for options in given] == [60.0, 7.0]
    assert given[1]["retries"] == given[0]["retries"]
    assert list((run / "scores").iterdir()) == [layer]


def test_the_report_shows_layers_beside_the_first_scores(run):
    merge(run)
    layer = rescore(run)
    records = list(read(layer / "records.jsonl"))
    first = next(r for r in records if r["score"] is not None and r["plan"] == "none")
    first["score"] = 1 - first["score"]
    (layer / "records.jsonl").write_text("".join(map(line, records[:-1])))  # one score is another, one is missing
    with pytest.raises(ValueError, match="is not as it was written; delete"):
        score_layers(run, AnswerColumns.of(read(run / "merged" / "records.jsonl")), None, confidence=0.95)
    content = json.loads((layer / "layer.json").read_text())
    (layer / "layer.json").write_text(json.dumps({k: v for k, v in content.items() if k != "size"}))  # as it once was
    columns = AnswerColumns.of(read(run / "merged" / "records.jsonl"))
    (shown,) = score_layers(run, columns, summary(columns), confidence=0.95)
    assert shown.name == layer.name
    assert "protocol skip-it 2" in shown.rule
    differing = {(row["data"], row["plan"]): row["scores that differ"].split("/")[0] for row in shown.table.rows()}
    assert differing.pop((first["dataset"], "none")) == "1"
    assert differing.pop((records[-1]["dataset"], records[-1]["plan"])) == "1"
    assert set(differing.values()) == {"0"}
    row = next(row for row in shown.table.rows() if (row["data"], row["plan"]) == (first["dataset"], "none"))
    assert row["accuracy"] != row["accuracy again"]


def test_answers_to_other_questions_are_not_scored(run, made, monkeypatch):
    source = made[1].parent / "first.jsonl"
    text = source.read_text()
    try:
        source.write_text(text.replace('"question": "', '"question": "now ', 1))
        with pytest.raises(ValueError, match=r"of first is not what it was .* bring the old data back"):
            rescore(run)
        source.write_text(text.partition("\n")[2])
        with pytest.raises(ValueError, match="no longer has item"):
            rescore(run)
    finally:
        source.write_text(text)


def test_plans_are_compared_on_the_same_items_and_together(run):
    found = compare(run)
    assert len(found.table) == 3 * 2
    records = {(r["dataset"], r["item"], r["plan"]): r for r in merged(run)}
    for row in found.table.rows():
        names = [name for dataset, name, plan in records if dataset == row["dataset"] and plan == "none"]
        pairs = [(records[row["dataset"], n, row["second"]], records[row["dataset"], n, "none"]) for n in names]
        both = [(a, b) for a, b in pairs if a["score"] is not None and b["score"] is not None]
        assert (row["items"], row["of"]) == (len(both), len(names))
        mine, theirs = (np.array([pair[i]["score"] for pair in both]) for i in (0, 1))
        expected = paired_difference(mine, theirs, [a["image_id"] for a, _ in both], confidence=1 - 0.05 / 6)
        assert row["difference"] == pytest.approx(expected.value)
        assert (row["difference_low"], row["difference_high"]) == pytest.approx((expected.low, expected.high))
        assert row["lowest"] <= row["difference"] <= row["highest"]
    assert all("together with 5 other certificates" in sentence for sentence in found.guarantees)
    one = compare(run, plans=["vision:6-"], reference="vision:0-2", confidence=0.9)
    assert {(row["first"], row["second"]) for row in one.table.rows()} == {("vision:0-2", "vision:6-")}
    with pytest.raises(ValueError, match="has no answers under vision:1-2"):
        compare(run, plans=["vision:1-2"])


def test_two_runs_are_compared_item_by_item(made, run, tmp_path):
    other = sweep(replace(read_spec(made[1]), seed=1), tmp_path / "more", progress=False)
    found = compare(run, other)
    assert len(found.table) == 9
    assert found.notes == ()
    layer = rescore(run, scorer="ocrbench")
    assert "scorers: " in compare(run, layer).notes[0]
    with pytest.raises(ValueError, match="score both by one rule"):
        compare(other, layer)
    items = other / "items" / "first.json"
    content = json.loads(items.read_text())
    content["items"][0][1] = "0" * 16
    items.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="of first differs between"):
        compare(run, other)


def test_the_commands_print_tables_and_certificates(run, capsys):
    assert main(["score", str(run), "--scorer", "exact"]) == 0
    assert "compare them with" in capsys.readouterr().out
    assert main(["compare", str(run), "--out", str(run / "comparison.csv")]) == 0
    printed = capsys.readouterr().out
    assert "With probability at least 0.95 over the draw of" in printed
    assert (run / "comparison.csv").is_file()
