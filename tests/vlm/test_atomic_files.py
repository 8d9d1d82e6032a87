"""Files appear complete or not at all, however many processes write them at once and whatever the file system lacks."""

from __future__ import annotations

import errno
import os
from threading import Thread

import numpy as np
import pytest

from vlm.atomic_files import sync_folder, write_atomically, writing, writing_bytes
from vlm.table import Table


def test_a_file_that_stays_is_the_first_ones(tmp_path):
    path = tmp_path / "runs" / "spec.json"
    with writing(path, replace=False) as one, writing(path, replace=False) as other:
        one.write("second to finish")
        other.write("first to finish")
    assert path.read_text() == "first to finish"
    assert os.listdir(path.parent) == ["spec.json"]


def test_a_file_that_could_not_be_finished_is_not_there(tmp_path):
    with pytest.raises(KeyboardInterrupt), writing(tmp_path / "records.jsonl") as file:
        file.write("half")
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


def test_complete_files_replace_and_leave_nothing_behind(tmp_path):
    path = write_atomically(tmp_path / "a" / "spec.json", "old")
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["spec.json"]


def test_two_machines_may_write_one_file_at_once(tmp_path, monkeypatch):
    # In containers both may have the same process id.
    replace = os.replace

    def meanwhile(half, path):
        monkeypatch.setattr(os, "replace", replace)
        write_atomically(path, "text")
        replace(half, path)

    monkeypatch.setattr(os, "replace", meanwhile)
    path = write_atomically(tmp_path / "spec.json", "text")
    assert path.read_text() == "text"
    assert os.listdir(tmp_path) == ["spec.json"]


def test_threads_that_save_one_table_at_once_leave_a_complete_one(tmp_path):
    tables = [Table({"a": np.full(2_000, k)}) for k in range(4)]
    errors = []

    def save(table):
        try:
            for _ in range(10):
                table.save(tmp_path / "table.csv")
        except OSError as error:
            errors.append(error)

    threads = [Thread(target=save, args=(table,)) for table in tables]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert os.listdir(tmp_path) == ["table.csv"]
    column = Table.load(tmp_path / "table.csv")["a"]
    assert len(column) == 2_000
    assert len(set(column.tolist())) == 1


def test_a_table_that_cannot_be_saved_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write .*table.csv"):
        Table({"a": np.arange(2)}).save(tmp_path / "file" / "table.csv")


def test_bytes_are_synced_before_they_appear(tmp_path, monkeypatch):
    steps, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: steps.append("sync") or fsync(descriptor))
    monkeypatch.setattr(os, "replace", lambda part, path: steps.append("replace") or replace(part, path))
    with writing_bytes(tmp_path / "table.npz") as file:
        file.write(b"abc")
    assert steps == ["sync", "replace", "sync"]
    assert (tmp_path / "table.npz").read_bytes() == b"abc"


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP])
def test_without_hard_links_the_first_file_stays_too(tmp_path, monkeypatch, number):
    def refuse(*paths):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "spec.json"
    for text in ("first", "second"):
        with writing(path, replace=False) as file:
            file.write(text)
    assert path.read_text() == "first"


def test_a_folder_that_cannot_be_synced_is_no_error_but_a_failing_disk_is(tmp_path, monkeypatch):
    def failing(number):
        def fsync(descriptor):
            raise OSError(number, os.strerror(number))

        return fsync

    monkeypatch.setattr(os, "fsync", failing(errno.EINVAL))
    sync_folder(tmp_path)
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(OSError, match="Input/output"):
        sync_folder(tmp_path)


@pytest.mark.parametrize(("windows", "failures", "written"), [(True, 3, True), (True, 99, False), (False, 1, False)])
def test_a_file_that_a_reader_holds_open_is_replaced_a_little_later(tmp_path, monkeypatch, windows, failures, written):
    """Windows refuses to replace a file while it is open; elsewhere a refusal is final."""
    replace, left = os.replace, [failures]

    def refusing(part, path):
        left[0] -= 1
        if left[0] >= 0:
            raise PermissionError(13, "in use")
        replace(part, path)

    monkeypatch.setattr("vlm.atomic_files._WINDOWS", windows)
    monkeypatch.setattr("vlm.atomic_files._PATIENCE", 0.0)
    monkeypatch.setattr("vlm.atomic_files.os.replace", refusing)
    path = tmp_path / "table.csv"
    path.write_text("old")
    if written:
        write_atomically(path, "new")
    else:
        with pytest.raises(OSError, match="cannot write"):
            write_atomically(path, "new")
    assert path.read_text() == ("new" if written else "old")
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]
