"""Whatever may take more than two seconds shows a bar with the time left, where somebody watches."""

from __future__ import annotations

import io
import re
import shutil
import sys
from pathlib import Path

import pytest

from vlm.__main__ import main


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def bars(monkeypatch):
    """The bars, with a number of steps and the time left, that a command shows from its first moment on."""
    monkeypatch.setattr("vlm.progress_bar._SECONDS", 0)

    def shown(*command):
        terminal = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", terminal)
            assert main([str(word) for word in command]) == 0
        return set(re.findall(r"([^\r\n:|]+):\s+\d+%\|[^\r\n]*\[\d\d:\d\d<", terminal.getvalue()))

    return shown


def test_commands_that_need_no_model(bars, made, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    run, measurement = (shutil.copytree(made[n], tmp_path / Path(made[n]).name) for n in ("run", "measurement"))
    assert bars("merge", run) >= {"reading 1-of-1.jsonl", "merging", "reading records.jsonl"}
    assert bars("merge", measurement) >= {"reading 1-of-1.jsonl", "reading records.jsonl"}
    assert bars("score", run) >= {"scoring", "reading 1-of-1.jsonl", "reading records.jsonl"}
    shown = bars("compare", run)
    assert shown & {"comparing", "reading records.jsonl"}, shown
    assert bars("report", run, "--questions") >= {"drawing", "questions of tiny", "reading records.jsonl"}
    assert bars("export", run, "--format", "csv") >= {"reading records.jsonl"}
    assert bars("plan", measurement) >= {"averaging"}


def test_commands_that_run_a_model(bars, spec, made, tmp_path):
    out = made["run"].rsplit("/", 1)[0]
    assert bars("sweep", spec, "--out", out) >= {"comparing tiny", "comparing first", "reading 1-of-1.jsonl"}
    assert bars("sweep", spec, "--out", out, "--dry-run") >= {"counting tiny"}
    assert bars("check", "--plan", "vision:8-", "--rounds", "1") == {"plans", "first calls", "timing"}
    assert bars("exactness", "--family", "llava") == {"families"}
