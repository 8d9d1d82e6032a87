"""An append-only file of records that survives `kill -9`: a JSON object per line, locked, synced, mended on opening."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Log:
    """A file opened by :func:`appending`, and the records that it held then."""

    path: Path
    descriptor: int
    records: tuple[Record, ...]

    def append(self, records: Sequence[Record]) -> None:
        """Write records and wait until they are on disk: all of them, or none that a reader would take for whole.

        Raises
        ------
        OSError
            The disk is full or gone; everything written before is kept.
        """
        start = os.fstat(self.descriptor).st_size
        data = "".join(line(record) for record in records).encode()
        try:
            while data:
                data = data[os.write(self.descriptor, data) :]
            os.fsync(self.descriptor)
        except OSError as error:
            _cut(self.descriptor, start)
            raise _explained(error, self.path) from error


def line(record: Record) -> str:
    """A record as one line: keys sorted, ASCII only, so that equal records are equal bytes."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"


@contextmanager
def appending(path: str | Path) -> Iterator[Log]:
    """Open a file of records for this process alone.

    A line that was cut off by a crash is removed, so that its record is made again. The lock belongs to the
    process and ends with it, however it ends.

    Raises
    ------
    RuntimeError
        Another process is writing to this file.
    ValueError
        The file is damaged before its last line.
    OSError
        The folder cannot be made or written to.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError as error:
        raise _explained(error, path) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RuntimeError(
                f"records: another process is writing to {path}; wait for it, or give each worker its own --shard k/n"
            ) from error
        records, size = _whole(path)
        os.ftruncate(descriptor, size)
        _sync_folder(path.parent)
        yield Log(path, descriptor, records)
    finally:
        os.close(descriptor)


def read(path: str | Path) -> tuple[Record, ...]:
    """The whole records of a file, without waiting for its writer; a line cut off at the end is left out."""
    return _whole(Path(path))[0]


def busy(path: str | Path) -> bool:
    """Whether a process has the file open with :func:`appending`."""
    with Path(path).open("rb+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def write_whole(path: str | Path, text: str) -> Path:
    """Write a file so that a reader, or a crash, never leaves half of it."""
    path = Path(path)
    # Not the process id: in containers, workers on different machines share one.
    half = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with half.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(half, path)
        _sync_folder(path.parent)
    except OSError as error:
        half.unlink(missing_ok=True) if half.parent.is_dir() else None
        raise _explained(error, path) from error
    return path


def _whole(path: Path) -> tuple[tuple[Record, ...], int]:
    """Records up to the first line that is none, and where that line starts."""
    data = path.read_bytes()
    records: list[Record] = []
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        record = _parsed(data[start:end])
        if record is None:
            break
        records.append(record)
        start = end + 1
    # A crash leaves at most one tail of rubbish; a good line after a bad one means that the file was altered.
    if any(_parsed(piece) is not None for piece in data[start:].split(b"\n")[1:]):
        raise ValueError(
            f"records: line {len(records) + 1} of {path} is no JSON object, but later lines are; restore the file, or "
            "delete that line to have its record made again"
        )
    return tuple(records), start


def _parsed(piece: bytes) -> Record | None:
    try:
        value = json.loads(piece)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _cut(descriptor: int, size: int) -> None:
    """Take back half a write; if even that fails, opening the file again does it."""
    try:
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
    except OSError:
        pass


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _explained(error: OSError, path: Path) -> OSError:
    remedy = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else "choose another --out"
    return OSError(
        error.errno,
        f"records: cannot write {path}: {os.strerror(error.errno or 0)}; {remedy} and start the same command again, "
        "which continues where this one stopped",
    )
