"""The command `merge`: all workers' records, or what is missing."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.command_line import directory, run_and_list_modules, said


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


def test_merge_runs_without_torch(made, tmp_path):
    for folder in made.values():
        assert run_and_list_modules("merge", folder, cwd=tmp_path) == "loaded 0 []"
