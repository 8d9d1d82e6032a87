"""The command line: help without torch, the version, errors in one line."""

from __future__ import annotations

import pytest

from tests.support.command_line import run_and_list_modules, said
from vlm.__main__ import main


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


def test_the_version_is_that_of_the_distribution(capsys):
    import redundancy

    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"skipit {redundancy.__version__}\n"


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
