"""Which worker a process is: three declarations mean the same, and contradictions are refused."""

from __future__ import annotations

import pytest

from vlm.experiments.shards import Shard, shard


def slurm(task, count, first=0, step=1):
    return {f"SLURM_ARRAY_TASK_{k}": str(v) for k, v in dict(ID=task, COUNT=count, MIN=first, STEP=step).items()}


def torchrun(rank, size):
    return {"RANK": str(rank), "WORLD_SIZE": str(size)}


@pytest.mark.parametrize("count", [2, 7])
def test_three_declarations_mean_the_same(count):
    for k in range(count):
        expected = Shard(k + 1, count)
        assert shard(f"{k + 1}/{count}", {}) == expected
        assert shard(None, slurm(k, count)) == expected
        assert shard(None, slurm(3 + k, count, first=3)) == expected
        assert shard(None, slurm(10 + 5 * k, count, first=10, step=5)) == expected
        assert shard(None, torchrun(k, count)) == expected
        assert shard(f"{k + 1}/{count}", slurm(k, count) | torchrun(k, count)) == expected


def test_every_batch_belongs_to_one_worker():
    for count in (1, 2, 7):
        owners = [[k for k in range(1, count + 1) if Shard(k, count).takes(batch)] for batch in range(50)]
        assert all(len(owner) == 1 for owner in owners)


def test_a_single_task_declares_nothing():
    assert shard(None, {}) == Shard(1, 1)
    assert shard("2/3", torchrun(0, 1) | slurm(5, 1, first=5)) == Shard(2, 3)


@pytest.mark.parametrize(
    ("text", "environment", "words"),
    [
        ("1/2", torchrun(1, 2), "--shard says 1/2, torchrun says 2/2; use only one"),
        (None, torchrun(0, 2) | slurm(0, 4), "Slurm array says 1/4, torchrun says 1/2"),
        ("1/1", slurm(0, 4), "--shard says 1/1"),
        ("0/3", {}, "such as 1/4, got 0/3"),
        ("4/3", {}, "such as 1/4, got 4/3"),
        ("2", {}, "such as 1/4, got '2'"),
        ("1/two", {}, "got '1/two'"),
        (None, {"RANK": "0"}, "RANK and WORLD_SIZE together"),
        (None, torchrun(2, 2), "RANK < WORLD_SIZE"),
        (None, torchrun("x", 2), "whole number >= 0 in RANK, got 'x'"),
        (None, {"SLURM_ARRAY_TASK_ID": "1"}, "without SLURM_ARRAY_TASK_COUNT"),
        (None, slurm(7, 3, first=1), "without gaps"),
        (None, slurm(4, 3, first=1, step=2), "without gaps"),
    ],
)
def test_malformed_declarations_are_refused(text, environment, words):
    with pytest.raises(ValueError, match="shard: ") as error:
        shard(text, environment)
    assert words in str(error.value)
