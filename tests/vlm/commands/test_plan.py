"""The command `plan`."""

from __future__ import annotations

import csv
import re

from tests.support.command_line import run_and_list_modules, said


def test_plan_prints_reasons_and_writes_its_table(capsys, made, tmp_path):
    measurement = made["measurement"]
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


def test_plan_wants_a_measurement(capsys, made):
    status, _, err = said(capsys, "plan", made["run"])
    assert status == 1
    assert err.startswith("python -m vlm plan: error: measurement: expected a directory made by `measure`")


def test_plan_says_where_a_directory_comes_from(capsys):
    status, _, err = said(capsys, "plan", "nowhere")
    assert status == 1
    assert "run directory: no spec.json in nowhere; expected a directory made by `python -m vlm measure` or `sw" in err


def test_plan_runs_without_torch(made, tmp_path):
    assert run_and_list_modules("plan", made["measurement"], cwd=tmp_path) == "loaded 0 []"
