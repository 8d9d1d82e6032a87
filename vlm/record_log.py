"""An append-only file of records that survives `kill -9`: a JSON object per line, locked, synced, mended on opening.

A line that is no JSON object is no record, wherever it stands: after a power failure it is made again.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

Record = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Log:
    """A file opened by :func:`appending`."""

    path: Path
    descriptor: int

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
        os.ftruncate(descriptor, _end(descriptor))
        _sync_folder(path.parent)
        yield Log(path, descriptor)
    finally:
        os.close(descriptor)


def read(path: str | Path) -> Iterator[Record]:
    """The records of a file, one at a time, without waiting for its writer."""
    return (record for _, record in placed(path))


def placed(path: str | Path) -> Iterator[tuple[int, Record]]:
    """The same, each with the place in the file where its line starts."""
    start = 0
    with Path(path).open("rb") as file:
        for piece in file:
            record = _parsed(piece) if piece.endswith(b"\n") else None
            if record is not None:
                yield start, record
            start += len(piece)


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
    with writing(path) as file:
        file.write(text)
    return Path(path)


@contextmanager
def writing(path: str | Path, *, replace: bool = True) -> Iterator[TextIO]:
    """A file to write into that appears under its name when it is whole.

    Parameters
    ----------
    replace : bool
        Otherwise a file that is there stays: of several processes that write one at once, the first one's.

    Raises
    ------
    OSError
        The disk is full or cannot be written.
    """
    path = Path(path)
    # Not the process id: in containers, workers on different machines share one.
    half = path.with_name(f"{path.name}.{uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with half.open("w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(half, path)
        else:
            with suppress(FileExistsError):
                os.link(half, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _explained(error, path) from error
    finally:
        if half.parent.is_dir():
            half.unlink(missing_ok=True)


def _end(descriptor: int) -> int:
    """Where the last whole line of a file ends."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - 2**16)
        place = os.pread(descriptor, end - start, start).rfind(b"\n")
        if place >= 0:
            return start + place + 1
        end = start
    return 0


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
