"""What differs on Windows and macOS, as far as another system shows it: by modules and functions taken away."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import unicodedata
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path, PureWindowsPath

import pytest

from bounds.verification import verify as verification
from vlm import __main__ as command
from vlm import atomic_files
from vlm.atomic_files import write_atomically, writing
from vlm.experiments.run_directory import items_path, log_path
from vlm.experiments.score_layers import _layer_name
from vlm.experiments.shards import Shard
from vlm.experiments.spec import DataChoice, Spec, read_spec
from vlm.judges.verdict_cache import cache_file
from vlm.record_log import appending, read

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = re.compile(r'[<>:"/\\\\|?*\x00-\x1f]|[. ]$|^(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)', re.IGNORECASE)


def run(code, *arguments, **environment):
    """A fresh interpreter in this checkout."""
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def test_without_fcntl_records_are_locked_by_a_file(tmp_path):
    """As on systems without POSIX locks: filelock then keeps a file while the lock is held."""
    code = (
        "import sys; sys.modules['fcntl'] = None\n"
        "from vlm.record_log import appending, busy, read\n"
        "with appending(sys.argv[1]) as log:\n"
        "    log.append([{'a': 1}]); print(busy(sys.argv[1]))\n"
        "    try:\n"
        "        with appending(sys.argv[1]): pass\n"
        "    except RuntimeError as error: print(error)\n"
        "print(busy(sys.argv[1]), list(read(sys.argv[1])))"
    )
    done = run(code, tmp_path / "records.jsonl")
    held, refused, free = done.stdout.splitlines()
    assert (held, free) == ("True", "False [{'a': 1}]")
    assert "another process is writing" in refused
    assert "if no such process exists, delete" in refused


def test_without_the_flags_and_links_of_posix_files_are_written_all_the_same(tmp_path, monkeypatch):
    for name in ("O_NOFOLLOW", "link"):
        monkeypatch.delattr(os, name)
    with appending(tmp_path / "records.jsonl") as log:
        log.append([{"a": 1}])
    assert list(read(tmp_path / "records.jsonl")) == [{"a": 1}]
    for text in ("first", "second"):
        with writing(tmp_path / "spec.json", replace=False) as file:
            file.write(text)
    assert (tmp_path / "spec.json").read_text() == "first"


def test_windows_opens_no_folder_as_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic_files, "_WINDOWS", True)
    opened, before = [], os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: opened.append(Path(path)) or before(path, *rest))
    write_atomically(tmp_path / "a.txt", "text")
    assert tmp_path not in opened


def test_line_ends_are_not_translated(tmp_path):
    assert write_atomically(tmp_path / "a.txt", "one\ntwo\n").read_bytes() == b"one\ntwo\n"
    with appending(tmp_path / "records.jsonl") as log:
        log.append([{"a": 1}])
    assert b"\r" not in (tmp_path / "records.jsonl").read_bytes()


@pytest.mark.parametrize(
    "label", ["con", "NUL.txt", "aux", "COM1", "lpt¹", "a:b", "a\\b", "a/b", "a ", "a.", " a", "a|b", "a?"]
)
def test_a_label_that_windows_cannot_name_is_refused(label):
    with pytest.raises(ValueError, match="label that can name a file on every system"):
        DataChoice("tiny", label=label)


def test_labels_that_one_file_system_takes_for_one_are_refused():
    with pytest.raises(ValueError, match="more than once"):
        Spec(data=(DataChoice("tiny", label="Mine"), DataChoice("tiny", label="mine")))
    composed, apart = "\u00e9", unicodedata.normalize("NFD", "\u00e9")
    with pytest.raises(ValueError, match="more than once"):
        Spec(data=(DataChoice("tiny", label=composed), DataChoice("tiny", label=apart)))


def test_every_name_made_of_settings_is_a_name_on_windows():
    folder = PureWindowsPath("C:/runs")
    spec = read_spec(data=["tiny"], protocol="lmms-eval", judge="rule")
    content = {
        "protocol": "skip-it 2, own instructions, at most 8 tokens",
        "scorer": None,
        "judge": "chat:org/model:7b",
    }
    names = [
        items_path(folder, "Konzil.v2").name,
        log_path(folder, Shard(3, 8)).name,
        spec.digest,
        spec.measurement,
        _layer_name(content),
        *(cache_file(folder, model, "1", {}).name for model in ("org/model:7b", "CON", "a*b?", "nul.x", "LPT1", "..")),
    ]
    assert not [name for name in names if FORBIDDEN.search(name)]
    # Two models that differ in case alone have files of their own where case does not count.
    both = [str(cache_file(folder, model, "1", {})).casefold() for model in ("Model", "model")]
    assert both[0] != both[1]


def test_where_a_system_lacks_sigterm_or_has_sigbreak(monkeypatch):
    before = signal.getsignal(signal.SIGUSR1)
    monkeypatch.setattr(signal, "SIGBREAK", signal.SIGUSR1, raising=False)
    with command._terminable(), pytest.raises(command._Terminated):
        signal.raise_signal(signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) == before
    monkeypatch.delattr(signal, "SIGTERM")
    monkeypatch.delattr(signal, "SIGBREAK")
    with command._terminable():
        pass


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_sign_that_a_terminal_lacks_is_escaped(encoding):
    """A file or a pipe of Windows has an encoding of few signs; an id may hold any."""
    code = (
        "from vlm import __main__ as command\n"
        "def show(options):\n    print('P(d \u2264 0.05) \u732b'); raise ValueError('no \u732b')\n"
        "command._ADD_COMMANDS = (lambda commands: commands.add_parser('show').set_defaults(run=show),)\n"
        "print(command.main(['show']))"
    )
    done = run(code, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert done.stdout.splitlines() == ["P(d \\u2264 0.05) \\u732b", "1"]
    assert "no \\u732b" in done.stderr


def test_the_verification_runs_in_processes_that_are_spawned(monkeypatch):
    """As on Windows and macOS: nothing that a process needs is left to be inherited."""
    pools = []

    def spawned(workers):
        pools.append(workers)
        return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))

    chosen = verification.THEOREMS[:6]
    here = verification.verify(chosen, instances=5, effort=0, jobs=1)
    monkeypatch.setattr(verification, "ProcessPoolExecutor", spawned)
    assert verification.verify(chosen, instances=5, effort=0, jobs=2) == here
    assert pools
