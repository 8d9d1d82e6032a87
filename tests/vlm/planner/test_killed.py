"""A process that is killed in every stage, again and again, ends with the file of one that was left alone."""

from __future__ import annotations

import json
import signal
import time

import pytest
import torch

import vlm
from tests.support import forked
from vlm.datasets import read


def optimise(folder):
    torch.set_num_threads(1)
    items = [item for number, item in enumerate(read("tiny", limit=300)) if number % 5 == number // 5 % 5]
    vlm.optimize(
        *vlm.load("tiny"),
        items,
        max_loss=0.2,
        actions=["freeze"],
        fractions=[],
        batch_size=8,
        search_images=16,
        forwards=300,
        candidates=4,
        out=folder,
    )


STAGES = [("answer", "search"), ("answer", "certification"), ("measured", "search"), ("measured", "certification")]


def stages(folder):
    """The stage of each record on disk; a line that the kill cut in two does not count."""
    found = []
    for path in folder.glob("*/measured.jsonl"):
        for line in path.read_text().splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                continue
            found.append((record["kind"], record.get("pool")))
    return found


@pytest.mark.slow
def test_kill_9_in_every_stage(tmp_path):
    alone = forked.start(optimise, tmp_path / "alone")
    for stage in STAGES:
        process = forked.start(optimise, tmp_path / "killed")
        # Until the stage has written something.
        while stages(tmp_path / "killed").count(stage) < 1:
            assert process.exitcode is None, f"finished before {stage}"
            time.sleep(0.005)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not list((tmp_path / "killed").glob("*/plan.json"))
    last = forked.start(optimise, tmp_path / "killed")
    for process in (last, alone):
        process.join()
        assert process.exitcode == 0
    ((one,), (other,)) = ([*(tmp_path / name).glob("*/plan.json")] for name in ("alone", "killed"))
    assert one.read_bytes() == other.read_bytes()
    lines = [path.with_name("measured.jsonl").read_text().splitlines() for path in (one, other)]
    # Nothing is lost and nothing measured twice.
    assert sorted(lines[0]) == sorted(lines[1])
