"""The file of records: any cut is repaired, a second writer is refused, a full disk loses nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from vlm.atomic_files import write_atomically
from vlm.record_log import appending, busy, line, placed, read

PACKAGE = Path(__file__).resolve().parents[2] / "vlm"
# The ground floor without the package's own imports, so that a process that only writes records starts at once.
ALONE = (
    "import sys, types\n"
    "package = sys.modules['vlm'] = types.ModuleType('vlm')\n"
    "package.__path__ = [sys.argv[2]]\n"
    "from vlm import record_log as records\n"
)
ALL = [
    {"item": str(i), "text": t, "score": i / 7} for i, t in enumerate(("plain", "two\nlines", "\u2028é\ud800", '{"}'))
]


def test_equal_records_are_equal_bytes():
    assert line({"b": 1, "a": [0.1]}) == '{"a":[0.1],"b":1}\n' == line({"a": [0.1], "b": 1})
    with pytest.raises(ValueError, match="JSON"):
        line({"score": float("nan")})


def test_a_cut_at_any_byte_loses_only_what_was_cut_and_is_repaired(tmp_path):
    path = tmp_path / "deep" / "records.jsonl"
    with appending(path) as log:
        log.append(ALL)
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        kept = sum(end <= cut for end in ends)
        assert list(read(path)) == ALL[:kept]
        with appending(path) as log:
            assert list(read(path)) == ALL[:kept]
            log.append(ALL[kept:])
        assert path.read_bytes() == whole


@pytest.mark.parametrize("rubbish", [b"\0" * 100, b"\0" * 10 + b"\n" + b"\0" * 10, b"\xff\xfe\n", b'{"a":1', b"17\n"])
def test_rubbish_after_a_power_failure_is_removed(tmp_path, rubbish):
    path = tmp_path / "records.jsonl"
    path.write_bytes(line(ALL[0]).encode() + rubbish)
    with appending(path) as log:
        assert list(read(path)) == [ALL[0]]
        log.append([ALL[1]])
    assert list(read(path)) == [ALL[0], ALL[1]]


def test_a_damaged_line_in_the_middle_is_ignored_and_damages_no_other(tmp_path):
    # A power failure may lose one block of a write and keep the next one.
    path = tmp_path / "records.jsonl"
    text = line(ALL[0]) + "{oops\n" + line(ALL[1]) + "\0" * 70_000 + "\n" + line(ALL[2])
    path.write_text(text + "\0" * 70_000)
    with appending(path) as log:
        assert path.read_text() == text
        log.append([ALL[3]])
    assert list(read(path)) == ALL
    assert [text[start:].startswith(line(record)) for start, record in placed(path)] == [True, True, True, False]


def test_a_second_writer_is_refused_and_readers_do_not_wait(tmp_path):
    path = tmp_path / "records.jsonl"
    with appending(path) as log:
        log.append(ALL[:1])
        with pytest.raises(RuntimeError, match="another process is writing"), appending(path):
            pass
        assert busy(path)
        assert list(read(path)) == [ALL[0]]
    assert not busy(path)


def test_the_lock_ends_with_its_process_even_by_kill_9(tmp_path):
    path = tmp_path / "records.jsonl"
    code = ALONE + (
        "import time\n"
        "with records.appending(sys.argv[1]) as log:\n"
        "    log.append([{'a': 1}]); print('locked', flush=True); time.sleep(60)\n"
    )
    held = subprocess.Popen([sys.executable, "-c", code, str(path), str(PACKAGE)], stdout=subprocess.PIPE, text=True)
    assert held.stdout.readline() == "locked\n"
    with pytest.raises(RuntimeError, match="another process"), appending(path):
        pass
    held.send_signal(signal.SIGKILL)
    held.communicate()
    with appending(path) as log:
        assert list(read(log.path)) == [{"a": 1}]


def test_a_full_disk_says_so_and_keeps_every_complete_record(tmp_path):
    # A limit on the size of files fails in the middle of a write, as a full disk does.
    path = tmp_path / "records.jsonl"
    code = ALONE + (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1100, 1100))\n"
        "with records.appending(sys.argv[1]) as log:\n"
        "    for i in range(100): log.append([{'item': i, 'text': 'x' * 50}, {'item': -i, 'text': 'x' * 50}])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path), str(PACKAGE)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "free some space and start the same command again" in done.stderr
    kept = list(read(path))
    assert path.read_bytes() == "".join(map(line, kept)).encode()
    assert [r["item"] for r in kept] == [i for pair in range(len(kept) // 2) for i in (pair, -pair)]
    assert len(kept) >= 10


def test_a_folder_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    for call in (lambda p: appending(p).__enter__(), lambda p: write_atomically(p, "text")):
        with pytest.raises(OSError, match=r"cannot write .*choose another --out"):
            call(tmp_path / "file" / "runs" / "records.jsonl")


def test_row_14_a_link_in_place_of_a_file_of_records_is_refused_and_its_target_kept(tmp_path):
    target = tmp_path / "elsewhere.txt"
    target.write_text("a line without an end")
    (tmp_path / "records.jsonl").symlink_to(target)
    with (
        pytest.raises(RuntimeError, match="is a symbolic link; expected a file of its own"),
        appending(tmp_path / "records.jsonl"),
    ):
        raise AssertionError
    assert target.read_text() == "a line without an end"
