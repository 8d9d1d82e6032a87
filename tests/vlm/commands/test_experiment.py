"""The commands `measure` and `sweep`: flags, files, shards, what goes wrong."""

from __future__ import annotations

import csv

import pytest

from tests.support.command_line import said
from tests.support.fixture_sets import PLANS
from vlm.__main__ import main


@pytest.mark.parametrize("command", ["measure", "sweep"])
def test_help_shows_shards_and_torchrun(capsys, command):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = capsys.readouterr().out
    assert f"torchrun --nproc-per-node 8 -m vlm {command}" in text
    assert "--shard 2/8" in text


@pytest.mark.parametrize("text", ["mine.jsonl", "jsonl", "mine:jsonl"])
def test_a_file_of_ones_own_without_its_name_is_explained(capsys, tmp_path, text):
    status, _, error = said(capsys, "sweep", "--data", text, "--out", tmp_path)
    assert status == 1
    assert error.startswith("python -m vlm sweep: error: --data: a file of your own is jsonl=mine.jsonl")


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


def test_a_sweep_covers_the_plans_and_none(made):
    with open(f"{made['run']}/merged/summary.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["plan"] for row in rows} == {"none", *PLANS[:2]}
