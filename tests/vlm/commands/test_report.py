"""The command `report`."""

from __future__ import annotations

import pytest

from tests.support.command_line import run_and_list_modules, said


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
