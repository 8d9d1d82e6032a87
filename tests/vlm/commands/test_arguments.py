"""What all commands have in common: help with defaults, and examples that can be copied."""

from __future__ import annotations

import pytest

from bounds.__main__ import main as bounds_main
from vlm.__main__ import main as vlm_main

VLM = (
    "demo",
    "measure",
    "plan",
    "sweep",
    "merge",
    "report",
    "exactness",
    "export",
    "check",
    "notions",
    "states",
    "compare",
    "compare-methods",
    "list",
    "optimize",
    "score",
)
COMMANDS = [(vlm_main, name) for name in VLM] + [
    (bounds_main, name) for name in ("list", "verify", "table", "coverage")
]


def help_text(capsys, monkeypatch, main, command, width):
    monkeypatch.setenv("COLUMNS", str(width))
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(("main", "command"), COMMANDS, ids=[name for _, name in COMMANDS])
def test_examples_of_every_command_stay_on_one_line(capsys, monkeypatch, main, command):
    wide, narrow = (help_text(capsys, monkeypatch, main, command, width) for width in (300, 50))
    examples = wide[wide.rindex("\nexample") + 1 :]
    assert examples.startswith(("example: ", "examples:\n  "))
    assert narrow.endswith(examples)


def test_lists_fit_the_terminal(capsys, monkeypatch):
    for width in (40, 80, 300):
        monkeypatch.setenv("COLUMNS", str(width))
        assert vlm_main(["list"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= width
        assert any("lmms-lab-encoder/GQA" in line for line in lines)


def test_help_says_defaults_where_there_are_any(capsys, monkeypatch):
    text = help_text(capsys, monkeypatch, vlm_main, "plan", 200)
    assert "attention is small (default: 0.1)" in text
    assert "None" not in text
    assert "False" not in text
    assert "--seed SEED           seed of the images and questions (default: 0)" in help_text(
        capsys, monkeypatch, vlm_main, "demo", 200
    )
