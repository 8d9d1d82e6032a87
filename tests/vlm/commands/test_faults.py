"""What the fault file lists of the commands: mistakes in one line, nothing scored, texts alone, signals, dry runs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.command_line import directory, run_and_list_modules, said


def test_lists_scores_and_comparisons_need_no_torch(made, tmp_path):
    for command in (("list",), ("score", made["run"], "--scorer", "exact"), ("compare", made["run"])):
        loaded = run_and_list_modules(*command, cwd=tmp_path)
        assert loaded.startswith("loaded 0 ")
        assert "torch" not in loaded
        assert "transformers" not in loaded
    for command in ("score", "compare", "export"):
        assert run_and_list_modules(command, "nowhere", cwd=tmp_path) == "loaded 1 []"


def test_a_run_is_exported_for_other_programs(capsys, made, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    assert said(capsys, "export", made["run"], "--out", tmp_path)[0] == 0
    rows = parquet.read_table(tmp_path / "records.parquet").to_pylist()
    kept = [json.loads(line) for line in (Path(made["run"]) / "merged" / "records.jsonl").read_text().splitlines()]
    assert [(r["item"], r["plan"], r["score"]) for r in rows] == [(r["item"], r["plan"], r["score"]) for r in kept]
    assert all(r["vision_tokens"] == (k["tokens"] or {}).get("vision") for r, k in zip(rows, kept, strict=True))
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["summary"]["tiny/none/items"] == sum(r["dataset"] == "tiny" and r["plan"] == "none" for r in kept)
    assert content["config"]["model"] == "tiny"
    assert said(capsys, "export", made["run"], "--out", tmp_path, "--format", "csv")[0] == 0
    assert (tmp_path / "records.csv").read_text().count("\n") >= len(kept)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--model ./nofolder", "name_or_path: no folder './nofolder'"),
        ("--device banana", "device: expected one that this machine has, such as cpu or cuda:0, got 'banana'"),
        (
            "--device-map banana",
            "device_map: expected one of auto, balanced, balanced_low_0, sequential, or a device: ",
        ),
        ("--protocol a\0b", "protocol: expected text without a NUL character, got 'a"),
        (f"--data tiny --seed {10**23}", "seed: expected a whole number from 0 to"),
        (f"--data {'x' * 300}:tiny", "data: expected a label that can name a file"),
        ("--data jsonl=latin.jsonl", "expected UTF-8 in latin.jsonl, got byte 0xe9 in line 1"),
        ("--data jsonl=twice.jsonl", "expected ids that differ, got 'a' more than once"),
        ("--model nonmodel", "model: expected tiny, a folder or a hub id with a configuration, got 'nonmodel'"),
    ],
)
def test_row_14_a_mistake_is_one_line(capsys, tmp_path, monkeypatch, flags, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "latin.jsonl").write_bytes('{"question": "caf\u00e9"}'.encode("latin-1"))
    (tmp_path / "twice.jsonl").write_text('{"id": "a"}\n{"id": "a"}\n')
    (tmp_path / "nonmodel").mkdir()
    status, _, error = said(capsys, "sweep", *flags.split(), "--limit", "2", "--quiet")
    assert status == 1
    assert error.startswith("python -m vlm sweep: error: ")
    assert words in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_row_14_nothing_scored_is_a_failure(capsys, tmp_path):
    rows = [{"question": "What?", "answer": "x", "image": "gone.png", "id": str(i)} for i in range(4)]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = ("--data", f"jsonl={tmp_path}/mine.jsonl", "--out", tmp_path / "runs", "--quiet")
    status, out, error = said(capsys, "sweep", *data)
    assert status == 1
    assert error.splitlines()[-1].startswith("error: nothing could be scored in")
    assert "gone.png" in error
    run = directory(out, "run")
    assert said(capsys, "merge", run)[0] == 1
    assert said(capsys, "sweep", *data, "--shard", "1/1")[0] == 1
    status, _, error = said(capsys, "measure", *data)
    assert status == 1
    assert "measure: nothing could be measured in" in error


def test_row_12_a_run_of_texts_alone_is_reported(capsys, tmp_path):
    pytest.importorskip("matplotlib")
    rows = [{"question": "is there a 8?", "answer": "yes", "id": str(i)} for i in range(4)]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    data = ("--data", f"jsonl={tmp_path}/mine.jsonl", "--out", tmp_path / "runs", "--quiet")
    status, out, _ = said(capsys, "measure", *data)
    assert status == 0
    measurement = directory(out, "measurement")
    status, out, _ = said(capsys, "sweep", *data, "--early-exit", "8")
    assert status == 0
    run = directory(out, "run")
    status, out, _ = said(capsys, "report", run)
    assert status == 0
    assert "has no prompt with a picture, so the conditions are not judged" in out
    status, _, error = said(capsys, "report", run, "--measurement", measurement)
    assert status == 1
    assert error.startswith("python -m vlm report: error: measurement: ")
    assert error.count("\n") == 1


def test_the_items_have_a_seed_of_their_own(capsys, tmp_path):
    folders = []
    for flags in (("--seed", "1"), ("--data-seed", "1"), ()):
        status, out, _ = said(capsys, "sweep", "--data", "tiny", "--limit", "3", *flags, "--out", tmp_path, "--quiet")
        assert status == 0
        folders.append(Path(directory(out, "run")))
    items = [json.loads((folder / "items" / "tiny.json").read_text())["items"] for folder in folders]
    assert items[0] == items[2] != items[1]


def test_a_dry_run_says_what_it_would_take_and_writes_nothing(capsys, tmp_path):
    flags = ("--data", "tiny", "gqa", "--limit", "30", "--late-entry", "2", "--out", tmp_path / "runs", "--dry-run")
    status, out, _ = said(capsys, "sweep", *flags)
    assert status == 0
    assert "120 records in" in out
    assert "hours on one accelerator" in out
    assert "declared sizes" in out
    status, out, _ = said(capsys, "measure", *flags[:5], *flags[7:])
    assert "60 records in" in out
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_row_14_a_signal_ends_a_command_in_one_line(tmp_path, number):
    command = [
        sys.executable,
        "-m",
        "vlm",
        "sweep",
        "--data",
        "tiny",
        "--limit",
        "5000",
        "--out",
        str(tmp_path),
        "--quiet",
    ]
    root = Path(__file__).resolve().parents[3]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child inherits signals that are ignored
    try:
        process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    while process.poll() is None and not list(tmp_path.glob("*/records/*.jsonl")):
        time.sleep(0.05)
    process.send_signal(number)
    _, error = process.communicate()
    assert process.returncode == 128 + number
    assert error.strip() == "stopped; completed records are kept, and the same command continues"


def test_a_reader_that_has_seen_enough_is_no_error():
    root = Path(__file__).resolve().parents[3]
    command = f"{sys.executable} -m vlm list | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=root, capture_output=True, text=True)
    assert done.stdout.splitlines()[0] == "datasets:"
    assert done.stdout.splitlines()[1] in ("0", "141")
    assert done.stderr == ""


def test_an_interrupt_while_python_makes_a_class_has_the_same_status(tmp_path):
    # Python ends `-m` by the signal itself after a plain KeyboardInterrupt inside exec, caught or not.
    (tmp_path / "interrupted.py").write_text(
        "import signal, sys\nfrom vlm import __main__ as command\n"
        "def interrupt(options):\n    exec('signal.raise_signal(signal.SIGINT)', {'signal': signal})\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "command._ADD_COMMANDS = (lambda commands: commands.add_parser('interrupt').set_defaults(run=interrupt),)\n"
        "sys.exit(command.main(['interrupt']))\n"
    )
    root = Path(__file__).resolve().parents[3]
    path = os.pathsep.join([str(root), str(tmp_path)])
    command, environment = [sys.executable, "-m", "interrupted"], {**os.environ, "PYTHONPATH": path}
    assert subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, cwd=tmp_path).returncode == 130
