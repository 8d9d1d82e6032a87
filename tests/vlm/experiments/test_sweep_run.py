"""Sweeps of the embedded model as a user runs them: killed, resumed, divided, and refused for mistakes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.fixture_sets import PLANS, write_spec
from tests.support.killed_runs import (
    DISTURBANCES,
    Undisturbed,
    check_finished,
    check_refused,
    killed_at,
    tables,
    written,
)
from vlm.__main__ import main
from vlm.experiments.merging import merged, times
from vlm.experiments.run import Run
from vlm.experiments.run_directory import log_paths
from vlm.experiments.shards import Shard
from vlm.experiments.spec import DataChoice, Spec, read_spec
from vlm.experiments.sweep_run import sweep
from vlm.judges import Verdict

ROOT = Path(__file__).resolve().parents[3]
PYTHON = (sys.executable, "-m")


def start(*command):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "RANK", "WORLD_SIZE"))}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    out, err = process.communicate()
    assert process.returncode == 0, err[-3000:]
    return out


def children(pid):
    """Processes whose parent this is."""
    return [int(name) for name in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def check_kills(tmp_path, *, items, plans, kills, seed):
    path = write_spec(tmp_path / "sets", items=items, plans=plans)
    run = Undisturbed.of(path, tmp_path / "undisturbed")
    folder, whole = tmp_path / "killed" / run.spec.digest, written(run.folder)
    chance = random.Random(seed)
    moments = sorted(chance.uniform(0.02, 0.9) * whole for _ in range(kills))
    sizes = []
    for moment in moments:
        assert killed_at(path, tmp_path / "killed", folder, moment, chance.uniform(0, 0.02))
        sizes.append(written(folder))
    assert sizes == sorted(sizes)
    assert sizes[0] > 0
    assert sizes[-1] < whole
    assert check_finished(run, folder) == 3 * items * (len(plans) + 1)
    print(f"killed at {[f'{size / whole:.0%}' for size in sizes]} of the bytes, then identical")


def test_a_sweep_killed_five_times_ends_the_same(tmp_path):
    check_kills(tmp_path, items=12, plans=PLANS[:2], kills=5, seed=2)


@pytest.mark.slow
def test_a_sweep_killed_twenty_times_ends_the_same(tmp_path):
    check_kills(tmp_path, items=24, plans=PLANS, kills=20, seed=1)


def check_divisions(tmp_path, *, items, plans, counts, ranks):
    path = write_spec(tmp_path / "sets", items=items, plans=plans)
    spec = read_spec(path)
    expected = tables(sweep(spec, tmp_path / "one", progress=False))
    assert set(expected) == {"records.jsonl", "summary.csv"}
    for count in counts:
        for k in range(count, 0, -1):
            folder = sweep(spec, tmp_path / str(count), part=Shard(k, count), progress=False)
        assert len(log_paths(folder)) == count
        assert tables(folder) == expected
    command = (f"--nproc-per-node={ranks}", "--master-port=0", "-m", "vlm", "sweep", str(path))
    finish(start(*PYTHON, "torch.distributed.run", *command, "--out", str(tmp_path / "ranks"), "--quiet"))
    folder = tmp_path / "ranks" / spec.digest
    assert sorted(p.name for p in log_paths(folder)) == [f"{k}-of-{ranks}.jsonl" for k in range(1, ranks + 1)]
    assert tables(folder) == expected


def test_two_parts_and_two_ranks_give_the_same_bytes(tmp_path):
    check_divisions(tmp_path, items=14, plans=PLANS[:1], counts=[2], ranks=2)


@pytest.mark.slow
def test_any_division_gives_the_same_bytes(tmp_path):
    check_divisions(tmp_path, items=24, plans=PLANS, counts=[7], ranks=3)


@pytest.mark.slow
def test_ranks_that_were_killed_are_continued_by_one_process(tmp_path):
    path = write_spec(tmp_path / "sets", items=24, plans=PLANS[:3])
    spec = read_spec(path)
    expected = tables(sweep(spec, tmp_path / "one", progress=False))
    folder = tmp_path / "ranks" / spec.digest
    command = ("--nproc-per-node=2", "--master-port=0", "-m", "vlm", "sweep", str(path), "--out", str(folder.parent))
    ranks = start(*PYTHON, "torch.distributed.run", *command, "--quiet")
    while ranks.poll() is None and written(folder) < len(expected["records.jsonl"]) / 3:
        time.sleep(0.001)
    for pid in (ranks.pid, *children(ranks.pid)):  # a rank outlives its launcher
        os.kill(pid, signal.SIGKILL)
    ranks.communicate()
    with pytest.raises(RuntimeError, match="is not complete"):
        merged(folder)
    sweep(spec, folder.parent, progress=False)
    assert {p.name for p in log_paths(folder)} == {"1-of-1.jsonl", "1-of-2.jsonl", "2-of-2.jsonl"}
    assert tables(folder) == expected


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A finished sweep over three data sets."""
    folder = tmp_path_factory.mktemp("small")
    spec = read_spec(write_spec(folder / "sets", items=10, plans=PLANS[:1]))
    return sweep(spec, folder / "runs", progress=False)


def test_a_record_has_the_documented_keys(small):
    records = merged(small)
    assert len(records) == 3 * 10 * 2
    for record in records:
        assert set(record) == {
            *(
                "item_digest",
                "thought",
                "dataset",
                "item",
                "image_id",
                "group",
                "plan",
                "plan_digest",
                "protocol",
                "prediction",
                "parsed",
            ),
            *("letter_probabilities", "score", "failure", "judge", "tokens", "operations", "model", "spec"),
            *("versions", "seed"),
        }
        assert record["spec"] == small.name
        assert record["model"] == "tiny"
        assert record["protocol"] == "skip-it 2"
    (broken,) = {r["item"] for r in records if r["failure"]}
    assert broken == "q5"
    assert all(r["score"] is None and "not read" in r["failure"] for r in records if r["item"] == "q5" and r["failure"])
    full = [r for r in records if r["plan"] == "none" and not r["failure"]]
    assert sum(r["score"] for r in full if r["dataset"] == "tiny") >= 9
    assert {r["group"] for r in records} == {"Embedded", "Your own"}
    assert all(r["operations"]["plan"] == r["operations"]["full"] for r in full)
    cheaper = [
        r["operations"]["plan"] < r["operations"]["full"] for r in records if r["plan"] != "none" and r["tokens"]
    ]
    assert cheaper
    assert all(cheaper)
    assert all(t["run"]["seconds_prefill"] > 0 for t in times(small) if t["item"] != "q5")


def test_a_spec_that_changed_has_another_directory(small, tmp_path):
    spec = Spec(data=(DataChoice("tiny", limit=4),), plans=("vision:6-",))
    other = Spec(data=(DataChoice("tiny", limit=4),), plans=("vision:7-",))
    folders = {sweep(s, tmp_path, progress=False) for s in (spec, other, spec)}
    assert {folder.name for folder in folders} == {spec.digest, other.digest}
    assert {p.name for p in tmp_path.iterdir()} == {spec.digest, other.digest}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (dict(plans=("vision:6-12",)), "plan vision:6-12"),
        (dict(plans=("vision:11-",)), "the model has 10 decoder layers"),
        (dict(protocol="skipit"), "protocol: expected one of skip-it, lmms-eval, got 'skipit'"),
        (dict(dtype="float8"), "dtype: expected one of float32"),
        (dict(attention="flash"), "attention: expected one of sdpa, eager"),
        (dict(data=(DataChoice("tinny"),)), "tinny"),
        (dict(data=(DataChoice("jsonl", source="nowhere.jsonl"),)), "nowhere.jsonl"),
        (dict(data=(DataChoice("jsonl"),)), "expected source="),
    ],
)
def test_mistakes_are_found_before_any_work(tmp_path, monkeypatch, changes, words):
    monkeypatch.setattr("vlm.experiments.run.load", None)
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        sweep(Spec(**changes), tmp_path / "runs")
    assert words in str(error.value)
    assert not (tmp_path / "runs").exists()


def test_depth_is_read_without_loading_weights(monkeypatch):
    monkeypatch.setattr("vlm.experiments.run.load", None)
    run = Run.open(Spec(plans=("vision:0-10", "vision:10-")))
    assert (run.protocol.name, run.depth) == ("skip-it", 10)


def test_checking_opens_a_source_as_the_work_will(monkeypatch):
    asked = []
    monkeypatch.setattr("vlm.datasets.read", lambda **how: asked.append(how))
    Run.open(Spec(data=(DataChoice("gqa", source="folder", split="val", limit=9, streaming=True, label="mine"),)))
    assert asked == [dict(name="gqa", source="folder", split="val", limit=9, seed=0, streaming=True)]


def test_an_item_without_memory_is_listed_as_failed(tmp_path, monkeypatch):
    from vlm.evaluation.answering import Answerer

    generated = Answerer._generated

    def short(self, limit, batch):
        if len(batch["input_ids"]) > 1 or batch["attention_mask"].sum() > 45:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
        return generated(self, limit, batch)

    monkeypatch.setattr(Answerer, "_generated", short)
    monkeypatch.setattr("vlm.evaluation.batch_failures.free", lambda: None)
    spec = Spec(data=(DataChoice("tiny", limit=20),), batch_size=20)
    folder = sweep(spec, tmp_path, progress=False)
    records = merged(folder)
    lost = [r for r in records if r["failure"]]
    assert len(records) == 20
    assert 0 < len(lost) < 8
    assert all(r["failure"].startswith("out of memory with a batch of one") and r["score"] is None for r in lost)
    alone = [t for r, t in zip(records, times(folder), strict=True) if r["tokens"] and r["tokens"]["new"] > 1]
    assert {t["run"]["batch"] for t in alone} == {1}
    assert min(t["run"]["attempt"] for t in alone) > 1


def test_items_without_a_reference_are_failures_not_wrong_answers(tmp_path, monkeypatch):
    from vlm.scoring import score

    def unscored(item, prediction, *, scorer):
        if item.id.endswith("-1"):
            raise ValueError("item: expected at least one reference answer, got none")
        return score(item, prediction, scorer=scorer)

    monkeypatch.setattr("vlm.experiments.sweep_run.score", unscored)
    spec = Spec(data=(DataChoice("tiny", limit=4),))
    lost = [r for r in merged(sweep(spec, tmp_path, progress=False)) if r["failure"]]
    assert [r["item"] for r in lost] == ["test-0-1"]
    assert lost[0]["failure"].startswith("not scored: item")
    assert lost[0]["score"] is None
    assert lost[0]["prediction"]


def test_a_judge_scores_generated_answers_and_its_failures_are_not_zeros(tmp_path, monkeypatch):
    spec = replace(read_spec(write_spec(tmp_path / "sets", items=12, plans=())), judge="chat:some-model")
    answers = {"healthy": False}

    def judge(requests):
        asked.extend(requests)
        good = Verdict(0.25, "ok", "chat", "Score: 0.25", "")
        bad = Verdict(None, "failed", "chat", "", "server said 500")
        return [good if answers["healthy"] or i % 2 else bad for i in range(len(requests))]

    asked = []
    monkeypatch.setattr("vlm.judges.from_name", lambda name, *, cache, **options: judge)
    by_rule = merged(sweep(replace(spec, judge="rule"), tmp_path / "runs", progress=False))
    first = merged(sweep(spec, tmp_path / "runs", progress=False))
    judged = [r for r in first if r["judge"]]
    assert {r["dataset"] for r in judged} == {"first", "second"}
    assert (
        len(judged)
        == len(asked)
        == sum(r["dataset"] != "tiny" and r["letter_probabilities"] is None for r in first) - 1
    )
    assert {r["score"] for r in judged} == {0.25, None}
    assert all(r["failure"] is None for r in judged)
    assert all("source" not in r["judge"] for r in judged)
    assert [r["prediction"] for r in first] == [r["prediction"] for r in by_rule]
    answers["healthy"] = True
    again = merged(sweep(spec, tmp_path / "runs", retry_failed=True, progress=False))
    assert {r["score"] for r in again if r["judge"]} == {0.25}
    assert [r["prediction"] for r in again] == [r["prediction"] for r in by_rule]


def test_row_13_a_judge_that_answers_to_nothing_is_a_failure_of_a_short_run_too(tmp_path, monkeypatch, capsys):
    """Fewer questions than it takes to lose patience; answers from one pass are scored all the same."""
    path, bad = write_spec(tmp_path / "sets", items=6, plans=()), Verdict(None, "failed", "chat", "", "status 403")
    monkeypatch.setattr("vlm.judges.from_name", lambda name, *, cache, **options: lambda asked: [bad for _ in asked])
    command = ["sweep", str(path), "--judge", "chat:m", "--out", str(tmp_path / "runs"), "--quiet"]
    assert main(command) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: the judge answered to none of ")
    assert "status 403" in error
    good = Verdict(1.0, "ok", "chat", "", "")
    monkeypatch.setattr("vlm.judges.from_name", lambda name, *, cache, **options: lambda asked: [good for _ in asked])
    assert main([*command, "--retry-failed"]) == 0


def test_a_folder_that_cannot_be_written_is_named_before_any_work(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("vlm.experiments.run.load", None)
    assert main(["sweep", "--data", "tiny", "--limit", "4", "--out", str(tmp_path / "file" / "runs"), "--quiet"]) == 1
    message = capsys.readouterr().err
    assert "choose another --out" in message
    assert "Traceback" not in message


def test_records_are_json_with_sorted_keys(small):
    lines = log_paths(small)[0].read_text().splitlines()
    assert all(json.dumps(json.loads(text), sort_keys=True, separators=(",", ":")) == text for text in lines)


def test_killed_and_continued_on_changed_data_nothing_is_mixed_or_lost(tmp_path):
    """A process killed by the system; then a corrected reference, overwritten pictures and another run's records."""
    run = Undisturbed.of(write_spec(tmp_path / "sets", items=12, plans=PLANS[:1]), tmp_path / "undisturbed")
    folder = tmp_path / "killed" / run.spec.digest
    assert killed_at(run.path, folder.parent, folder, 0.6 * written(run.folder))
    said = [check_refused(run, folder, disturb) for disturb in DISTURBANCES]
    assert "of first is not what it was" in said[0]
    assert "is not what it was" in said[1]
    assert "1-of-2.jsonl holds records of another run" in said[2]
    assert check_finished(run, folder) == 3 * 12 * 2
