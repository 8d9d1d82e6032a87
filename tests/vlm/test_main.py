"""The command line: from a measurement to a report, help with examples, errors in one line."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fixture_sets import PLANS, write_spec
from vlm.__main__ import main

COMMANDS = ("demo", "measure", "plan", "sweep", "merge", "report", "exactness")


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    return write_spec(tmp_path_factory.mktemp("sets"), items=9, plans=PLANS[:2])


HEAVY = ("torch", "transformers", "matplotlib", "sklearn", "sympy")


def said(capsys, *command):
    status = main([str(word) for word in command])
    told = capsys.readouterr()
    return status, told.out, told.err


def directory(out, word):
    return next(line.split(": ", 1)[1] for line in out.splitlines() if line.startswith(f"{word}: "))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_explains_every_command(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "example" in text
    if command in ("measure", "sweep"):
        assert f"torchrun --nproc-per-node 8 -m vlm {command}" in text
        assert "--shard 2/8" in text


def run_and_list_modules(*command, cwd):
    """Exit status of a command in a fresh interpreter, and which heavy packages it imported."""
    code = (
        "import sys; from vlm.__main__ import main\n"
        "try: status = main(sys.argv[1:])\n"
        "except SystemExit as stop: status = stop.code\n"
        f"print('loaded', status, [m for m in {HEAVY!r} if m in sys.modules])"
    )
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    words = [str(word) for word in command]
    run = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, cwd=cwd, env=environment
    )
    return run.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("--help",), 0),
        (("--version",), 0),
        (("plan", "--help"), 0),
        (("report", "--help"), 0),
        (("sweep", "--limt", "3"), 2),
        (("swep",), 2),
        (("merge", "nowhere"), 1),
        (("report", "nowhere"), 1),
        (("plan", "nowhere"), 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_help_and_mistakes_load_nothing_heavy(tmp_path, command, status):
    assert run_and_list_modules(*command, cwd=tmp_path) == f"loaded {status} []"


def test_plan_and_merge_run_without_torch(capsys, spec, tmp_path):
    for command, word in (("measure", "measurement"), ("sweep", "run")):
        _, out, _ = said(capsys, command, spec, "--out", tmp_path, "--quiet")
        folder = directory(out, word)
        assert run_and_list_modules("merge", folder, cwd=tmp_path) == "loaded 0 []"
        if command == "measure":
            assert run_and_list_modules("plan", folder, cwd=tmp_path) == "loaded 0 []"
        else:
            pytest.importorskip("matplotlib")
            assert run_and_list_modules("report", folder, cwd=tmp_path) == "loaded 0 ['matplotlib']"


def test_the_version_is_that_of_the_distribution(capsys):
    import redundancy

    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"skipit {redundancy.__version__}\n"


@pytest.mark.parametrize("text", ["mine.jsonl", "jsonl", "mine:jsonl"])
def test_a_file_of_ones_own_without_its_name_is_explained(capsys, tmp_path, text):
    status, _, error = said(capsys, "sweep", "--data", text, "--out", tmp_path)
    assert status == 1
    assert error.startswith("python -m vlm sweep: error: --data: a file of your own is jsonl=mine.jsonl")


def test_measure_plan_sweep_report(capsys, spec, tmp_path):
    pytest.importorskip("matplotlib")
    status, out, _ = said(capsys, "measure", spec, "--out", tmp_path, "--quiet")
    assert status == 0
    measurement = directory(out, "measurement")
    status, out, _ = said(capsys, "plan", measurement)
    assert status == 0
    assert "layer 9: keep; redundancy" in out
    assert out.splitlines()[-1].startswith("plan by the conditions: ")
    table = tmp_path / "layers.csv"
    generous = ("--t", "0.1", "--delta", "0.95", "--attention-limit", "0.9", "--out", table)
    status, out, _ = said(capsys, "plan", measurement, "--group", "first", *generous)
    assert status == 0
    assert "images: " in out
    with table.open(newline="") as file:
        assert [int(row["layer"]) for row in csv.DictReader(file)] == list(range(10))
    status, out, _ = said(capsys, "plan", measurement, "--regimes", *generous)
    assert status == 0
    assert "regime" in table.read_text().splitlines()[0].split(",")
    assert re.search(r"^layer 0: (remove|freeze|exit|keep) \(", out, re.MULTILINE)
    status, out, _ = said(capsys, "sweep", spec, "--out", tmp_path, "--quiet")
    assert status == 0
    run = directory(out, "run")
    with open(f"{run}/merged/summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["plan"] for row in rows} == {"none", *PLANS[:2]}
    status, _, err = said(capsys, "plan", run)
    assert status == 1
    assert err.startswith("python -m vlm plan: error: measurement: expected a directory made by `measure`")
    status, out, _ = said(capsys, "report", run)
    assert status == 0
    assert f"wrote {run}/report/index.html" in out
    assert f"wrote {run}/report/conditions.csv" in out  # found the measurement beside the run


def test_parts_say_how_to_go_on_and_merging_says_what_is_missing(capsys, spec, tmp_path):
    status, out, _ = said(capsys, "sweep", spec, "--out", tmp_path, "--quiet", "--shard", "1/2")
    run = Path(directory(out, "run"))
    assert status == 0
    assert f"when all parts are: python -m vlm merge {run}" in out
    status, _, err = said(capsys, "merge", run)
    assert status == 1
    assert "records are missing" in err
    assert "Traceback" not in err
    assert said(capsys, "merge", run, "--partial")[0] == 0
    assert said(capsys, "report", run)[0] == 0
    records = run / "merged" / "records.jsonl"
    some = len(records.read_text().splitlines())
    plans = json.loads((run / "spec.json").read_text())["content"]["plans"]
    total = len(plans) * sum(len(json.loads(path.read_text())["items"]) for path in (run / "items").iterdir())
    part = f"partial: {some} of {total} records"
    for name in ("index.html", "results.md", "results.tex"):
        assert part in (run / "report" / name).read_text()
    assert said(capsys, "sweep", spec, "--out", tmp_path, "--quiet", "--shard", "2/2")[0] == 0
    assert said(capsys, "report", run)[0] == 0  # the merge there is old
    assert len(records.read_text().splitlines()) == total > some
    for name in ("index.html", "results.md", "results.tex"):
        assert "partial" not in (run / "report" / name).read_text()
    summary = (run / "merged" / "summary.csv").read_bytes()
    status, out, _ = said(capsys, "merge", run)
    assert status == 0
    assert "vision:0-2" in out
    assert (run / "merged" / "summary.csv").read_bytes() == summary


def test_flags_describe_what_a_file_describes(capsys, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "vlm.experiments.sweep_run.sweep", lambda spec, out, **how: seen.append((spec, how)) or tmp_path
    )
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "3")
    command = "sweep --model tiny-scaled --data tiny mine:jsonl=a=b.jsonl --limit 7 --late-entry 2 4 --early-exit 8"
    assert main([*command.split(), "--plan", "vision:3-4", "--batch-size", "3", "--judge", "rule"]) == 0
    ((spec, how),) = seen
    assert [(c.label, c.name, c.source, c.limit) for c in spec.data] == [
        ("tiny", "tiny", None, 7),
        ("mine", "jsonl", "a=b.jsonl", 7),
    ]
    assert spec.plans == ("none", "vision:0-2", "vision:0-4", "vision:3-4", "vision:8-")
    assert (spec.model, spec.batch_size) == ("tiny-scaled", 3)
    assert (how["part"].number, how["part"].count) == (2, 3)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("sweep --data tiny --plan vision:0-99", "the model has 10 decoder layers"),
        ("sweep --data tiny --shard 3/2", "such as 1/4, got 3/2"),
        ("sweep nowhere.toml", "no file at nowhere.toml"),
        ("measure --data nothing", "nothing"),
        ("merge nowhere", "no spec.json in nowhere"),
        ("report nowhere", "no spec.json in nowhere"),
        ("plan nowhere", "no spec.json in nowhere"),
    ],
)
def test_mistakes_are_one_line(capsys, tmp_path, monkeypatch, command, words):
    monkeypatch.chdir(tmp_path)
    status, _, err = said(capsys, *command.split())
    assert status == 1
    assert len(err.splitlines()) == 1
    assert err.startswith(f"python -m vlm {command.split()[0]}: error: ")
    assert words in err
    assert not list(tmp_path.iterdir())


def test_what_is_not_ours_keeps_its_traceback(capsys, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr("vlm.experiments.sweep_run.sweep", broken)
    assert said(capsys, "sweep", "--out", tmp_path)[2].count("Traceback") == 1

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("vlm.experiments.sweep_run.sweep", stopped)
    status, _, err = said(capsys, "sweep", "--out", tmp_path)
    assert status == 130
    assert "the same command continues" in err
