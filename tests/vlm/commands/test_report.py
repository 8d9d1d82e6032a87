"""The command `report`."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.support.command_line import run_and_list_modules, said
from vlm.experiments.predicted_damage import run_damage
from vlm.table import Table


def test_report_writes_a_page_and_finds_the_measurement_beside_the_run(capsys, made):
    pytest.importorskip("matplotlib")
    run = made["run"]
    status, out, _ = said(capsys, "report", run)
    assert status == 0
    assert f"wrote {run}/report/index.html" in out
    assert f"wrote {run}/report/conditions.csv" in out


def test_report_runs_without_torch(made, tmp_path):
    pytest.importorskip("matplotlib")
    assert run_and_list_modules("report", made["run"], cwd=tmp_path) == "loaded 0 ['matplotlib']"


def test_report_predicts_the_damage_of_the_runs_plans_with_its_own_model(capsys, made, tmp_path):
    pytest.importorskip("matplotlib")
    run = made["run"]
    status, out, _ = said(capsys, "report", run, "--damage", "surrogate", "--out", tmp_path)
    assert status == 0
    assert f"wrote {tmp_path}/calibration.csv" in out
    damages = Table.load(tmp_path / "conditions.csv")["damage"].astype(float)
    assert (damages > 0).all()


def test_a_damage_needs_the_weights_of_the_run(made, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(made["run"], copy)
    spec = json.loads((copy / "spec.json").read_text())
    spec["versions"]["model"] = "0" * 16
    (copy / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(ValueError, match=r"damage: expected the weights that .* was made with"):
        run_damage(copy)
