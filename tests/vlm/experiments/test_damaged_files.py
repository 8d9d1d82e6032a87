"""Files of a run that are cut, emptied, gone, of another run or of another form: the same numbers, or one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.benchmarks.bench_runs import write_run
from tests.support.command_line import said
from vlm.experiments.merging import merge
from vlm.experiments.run_directory import log_paths
from vlm.experiments.score_layers import rescore
from vlm.record_log import line, read
from vlm.record_types import RunRecord

FILES = (
    "spec.json",
    "items/jsonl.json",
    "records/1-of-1.jsonl",
    "merged/records.jsonl",
    "merged/times.jsonl",
    "merged/made-of.json",
    "scores/LAYER/layer.json",
    "scores/LAYER/records.jsonl",
)
COMMANDS = (
    ("merge", "RUN"),
    ("compare", "RUN", "--plans", "vision:0-1"),
    ("compare", "RUN", "RUN/scores/LAYER", "--plans", "none"),
    ("export", "RUN", "--format", "csv"),
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two merged runs with a layer of scores each, over files of one's own with the same ids."""
    found = []
    for number, records in enumerate((200, 400)):
        run = write_run(tmp_path_factory.mktemp(f"run-{number}"), records)
        merge(run)
        layer = rescore(run, scorer="exact")
        layer.rename(layer.with_name("LAYER"))
        found.append(run)
    return found


def shown(capsys, run: Path, command: tuple[str, ...]) -> tuple[int, str, str]:
    words = [word.replace("RUN", str(run)) for word in command]
    status, out, error = said(capsys, *words)
    table = run / "export" / "records.csv"
    content = table.read_text() if command[0] == "export" and status == 0 else ""
    return status, out.replace(str(run), "RUN") + content, error


def test_a_damaged_file_gives_the_same_numbers_or_one_line(capsys, runs, tmp_path):
    expected = {}
    for command in COMMANDS:
        whole = shutil.copytree(runs[0], tmp_path / f"whole-{len(expected)}" / runs[0].name)
        expected[command] = shown(capsys, whole, command)
        assert expected[command][0] == 0
    for file in FILES:
        check_damages(capsys, runs, tmp_path / file, file, expected)


def check_damages(capsys, runs, folder, file, expected):
    data = (runs[0] / file).read_bytes()
    foreign = (runs[1] / file).read_bytes()
    damages = {"cut": data[: len(data) // 2], "gone": None, "foreign": foreign, "an object": b"{}\n"}
    for name, damage in damages.items():
        for number, command in enumerate(COMMANDS):
            run = shutil.copytree(runs[0], folder / f"{name}-{number}" / runs[0].name)
            (run / file).unlink()
            if damage is not None:
                (run / file).write_bytes(damage)
            status, out, error = shown(capsys, run, command)
            assert "Traceback" not in error, (file, name, command, error)
            if status == 0:
                assert out == expected[command][1] or "partial" in out, (file, name, command)
            else:
                assert (error.count("\n"), "error: " in error) == (1, True), (file, name, command, error)


def test_merged_records_without_those_of_workers_must_be_whole_and_the_runs_own(capsys, runs, tmp_path):
    for name, data in {
        "cut": (runs[0] / "merged/records.jsonl").read_bytes()[:-300],
        "foreign": (runs[1] / "merged/records.jsonl").read_bytes(),
    }.items():
        run = shutil.copytree(runs[0], tmp_path / name / runs[0].name)
        shutil.rmtree(run / "records")
        (run / "merged" / "records.jsonl").write_bytes(data)
        if name == "foreign":  # a merge of before its size was kept
            (run / "merged" / "made-of.json").unlink()
        for command in COMMANDS[1:4]:
            status, _, error = shown(capsys, run, command)
            assert status == 1, (name, command)
            assert error.count("\n") == 1


CHANGES = (
    lambda r: {k: v for k, v in r.items() if k != "run"},
    lambda r: {k: v for k, v in r.items() if k != "plan"},
    lambda r: {k: v for k, v in r.items() if k != "failure"},
    lambda r: {k: v for k, v in r.items() if k != "parsed"},
    lambda r: {**r, "plan": "vision:0-9"},
    lambda r: {**r, "score": "1"},
    lambda r: {**r, "score": True},
    lambda r: {**r, "score": 7},
    *(
        lambda r, name=name, value=value: {**r, name: value}
        for name, value in {
            "tokens": 5,
            "letter_probabilities": "ab",
            "judge": 5,
            "run": None,
            "item": 5,
            "failure": 5,
            "prediction": 5,
            "image_id": {"a": 1},
            "dataset": None,
            "operations": {"plan": "many"},
        }.items()
    ),
)


@pytest.mark.parametrize("change", CHANGES)
def test_records_of_another_form_are_one_line(capsys, runs, tmp_path, change):
    run = shutil.copytree(runs[0], tmp_path / runs[0].name)
    (path,) = log_paths(run)
    records: list[RunRecord] = list(read(path))
    path.write_text("".join(line(change(r)) for r in records))
    status, _, error = shown(capsys, run, ("merge", "RUN"))
    assert status == 1
    assert "Traceback" not in error
    assert error.count("\n") == 1


def test_records_with_more_keys_or_of_before_some_existed_are_read(capsys, runs, tmp_path):
    late = ("item_digest", "thought", "versions", "spec", "letter_probabilities", "operations", "seed", "protocol")
    run = shutil.copytree(runs[0], tmp_path / runs[0].name)
    (path,) = log_paths(run)
    kept = [{k: v for k, v in r.items() if k not in late} | {"of a later version": 1} for r in read(path)]
    path.write_text("".join(map(line, kept)))
    status, out, _ = shown(capsys, run, ("merge", "RUN"))
    assert status == 0
    assert json.loads((run / "merged" / "made-of.json").read_text())["records"] == 200
    assert "20" in out


def test_a_layer_of_scores_of_another_run_is_refused(capsys, runs, tmp_path):
    run = shutil.copytree(runs[0], tmp_path / runs[0].name)
    shutil.rmtree(run / "scores" / "LAYER")
    shutil.copytree(runs[1] / "scores" / "LAYER", run / "scores" / "LAYER")
    status, _, error = shown(capsys, run, COMMANDS[2])
    assert status == 1
    assert "holds scores of another run" in error


@pytest.mark.parametrize("command", ["merge", "compare", "score", "report", "export", "plan", "sweep"])
def test_row_14_a_name_too_long_is_one_line_and_makes_nothing(capsys, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    status, _, error = said(capsys, command, "x" * 300)
    assert status == 1
    assert error.count("\n") == 1
    assert said(capsys, command, "nowhere")[0] == 1
    assert not list(tmp_path.iterdir())
