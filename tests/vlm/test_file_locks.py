"""Locks between processes: refused, awaited, visible to readers, and never left behind."""

from __future__ import annotations

import os
from threading import Thread

import pytest
from filelock import SoftFileLock

from vlm import file_locks
from vlm.file_locks import LockedError, is_locked, locked


def test_a_second_holder_is_refused_and_a_reader_can_tell(tmp_path):
    path = tmp_path / "records.jsonl"
    assert not is_locked(path)
    assert os.listdir(tmp_path) == []  # asking leaves no file behind
    with locked(path):
        assert is_locked(path)
        with pytest.raises(LockedError, match="another process is writing") as error, locked(path):
            pass
        assert "delete" not in str(error.value)
    assert not is_locked(path)
    with locked(path):
        pass


def test_a_lock_file_that_was_left_over_blocks_no_process(tmp_path):
    (tmp_path / "records.jsonl.lock").write_text("")
    assert not is_locked(tmp_path / "records.jsonl")
    with locked(tmp_path / "records.jsonl"):
        pass


def test_a_waiting_holder_comes_next(tmp_path):
    order = []

    def second():
        with locked(tmp_path / "spec.json", wait=True):
            order.append("second")

    with locked(tmp_path / "spec.json"):
        waiting = Thread(target=second)
        waiting.start()
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]


def test_without_locks_of_the_system_the_error_says_what_to_delete(tmp_path, monkeypatch):
    monkeypatch.setattr(file_locks, "FileLock", SoftFileLock)
    path = tmp_path / "records.jsonl"
    with locked(path), pytest.raises(LockedError, match=r"no such process exists, delete .*records.jsonl.lock"):
        assert is_locked(path)
        with locked(path):
            pass
    assert not is_locked(path)
