"""The command `report`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.command_line import run_and_list_modules, said
from vlm.experiments.predicted_damage import run_damage
from vlm.notions.measures import Measure
from vlm.notions.profile_page import read_profile, write_profile
from vlm.notions.profile_result import Place, Profile, chain_table, profile_table
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


def test_the_page_shows_the_four_notions_where_they_were_measured(capsys, made, tmp_path):
    pytest.importorskip("matplotlib")
    place, unit = Place(0, 1, "vision"), {"images": 40, "unit": "1", "guarantee": "certified, both limits: x"}
    rows = [
        (place, Measure("geometric", "cosine distance", 0.2, 0.1, 0.3, **unit)),
        (place, Measure("proximal", "within 0.05", 0.4, 0.2, 0.6, **unit)),
        (place, Measure("next state", "ridge: later from earlier, not divided", 0.1, 0.05, 0.2, **unit)),
    ]
    settings = {"confidence": 0.95, "simultaneous": 1}
    profile = Profile(profile_table(rows), chain_table([]), settings, ("item 7: no image",))
    write_profile(profile, tmp_path / "notions")
    back = read_profile(tmp_path / "notions")
    assert back.to_dict() == {**profile.to_dict(), "chain": back.chain.to_dict()}
    status, _, _ = said(capsys, "report", made["run"], "--notions", tmp_path / "notions", "--out", tmp_path / "report")
    assert status == 0
    page = (tmp_path / "report" / "index.html").read_text()
    assert "What two layers share" in page
    assert page.count("data:image/png") == 1 + len(list((tmp_path / "report").glob("*.png")))
    # Theorem 1 by both forms: 0.2 (2 - 0.2) with 0.3 (2 - 0.3) above it, and the reconstruction error.
    assert "<td>0.360 [0.000, 0.510]</td><td>0.100 [0.000, 0.200]</td>" in page
    assert "item 7: no image" in page
    status, _, error = said(capsys, "report", made["run"], "--notions", tmp_path)
    assert status == 1
    assert f"no profile.json in {tmp_path}" in error


def test_notions_of_other_weights_or_of_none_that_are_named_are_no_part_of_the_page_in_silence(capsys, made, tmp_path):
    pytest.importorskip("matplotlib")
    place, unit = Place(0, 1, "vision"), {"images": 40, "unit": "1", "guarantee": "certified, both limits: x"}
    rows = [(place, Measure("geometric", "cosine distance", 0.2, 0.1, 0.3, **unit))]
    weights = json.loads((Path(made["run"]) / "spec.json").read_text())["versions"]["model"]
    for name, settings in {"ours": {"model": weights}, "theirs": {"model": "0" * 16}, "unnamed": {}}.items():
        settings = {"confidence": 0.95, "simultaneous": 1, **settings}
        write_profile(Profile(profile_table(rows), chain_table([]), settings, ()), tmp_path / name)
    out = ("--out", tmp_path / "report")
    status, _, error = said(capsys, "report", made["run"], "--notions", tmp_path / "theirs", *out)
    assert status == 1
    assert "expected a profile of the weights of" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "report").exists()
    status, told, _ = said(capsys, "report", made["run"], "--notions", tmp_path / "unnamed", *out)
    assert (status, "does not say which weights it is about" in told) == (0, True)
    status, told, _ = said(capsys, "report", made["run"], "--notions", tmp_path / "ours", *out)
    assert (status, "note:" in told) == (0, False)


def test_report_predicts_the_damage_of_the_runs_plans_with_its_own_model(capsys, made, tmp_path):
    pytest.importorskip("matplotlib")
    run = made["run"]
    status, out, _ = said(capsys, "report", run, "--damage", "surrogate", "--out", tmp_path)
    assert status == 0
    assert f"wrote {tmp_path}/calibration.csv" in out
    damages = Table.load(tmp_path / "conditions.csv")["damage"].astype(float)
    assert (damages > 0).all()


def test_a_damage_needs_the_data_of_the_run(made, tmp_path):
    copy = shutil.copytree(made["run"], tmp_path / "run")
    items = json.loads((copy / "items" / "tiny.json").read_text())
    items["items"][0][1] = "0" * 16
    (copy / "items" / "tiny.json").write_text(json.dumps(items))
    with pytest.raises(ValueError, match=r"data: item .* of tiny is not what it was when .* was begun"):
        run_damage(copy)


def test_a_damage_needs_the_weights_of_the_run(made, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(made["run"], copy)
    spec = json.loads((copy / "spec.json").read_text())
    spec["versions"]["model"] = "0" * 16
    (copy / "spec.json").write_text(json.dumps(spec))
    with pytest.raises(ValueError, match=r"damage: expected the weights that .* was made with"):
        run_damage(copy)
