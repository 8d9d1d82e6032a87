"""Append-only file of records that survives `kill -9`: a JSON object per line, locked, synced, repaired on opening.

Lines that are not valid JSON objects are ignored and their records computed again; a power failure leaves such lines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vlm.atomic_files import explained, sync_folder
from vlm.file_locks import LockedError, is_locked, locked

Record = dict[str, Any]
"""A JSON object as it was read. What a run's records contain is declared in `vlm.record_types`."""

_BLOCK = 2**16  # bytes


@dataclass(frozen=True, eq=False)
class Log:
    """A file opened by :func:`appending`.

    Attributes
    ----------
    path : Path
        The file.
    descriptor : int
        Its file descriptor, opened for appending.
    """

    path: Path
    descriptor: int

    def append(self, records: Sequence[Mapping[str, object]]) -> None:
        """Append records and wait until they are on disk. Either all of them become visible to readers or none do.

        Raises
        ------
        OSError
            The disk is full or no longer there; everything written before is kept.
        """
        start = os.fstat(self.descriptor).st_size
        data = "".join(line(record) for record in records).encode()
        try:
            while data:
                data = data[os.write(self.descriptor, data) :]
            os.fsync(self.descriptor)
        except OSError as error:
            _cut(self.descriptor, start)
            raise explained(error, self.path) from error


def refuse_link(path: Path) -> None:
    """Refuse a symbolic link in place of a file that is about to be written or cut."""
    if path.is_symlink():
        raise RuntimeError(f"records: {path} is a symbolic link; expected a file of its own, so copy it there instead")


def line(record: Mapping[str, object]) -> str:
    """A record as one line of JSON: keys sorted and ASCII only, so that equal records are equal bytes."""
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"


@contextmanager
def appending(path: str | Path) -> Iterator[Log]:
    """Open a file of records for this process alone.

    A line that a crash cut off is removed, so that its record is computed again. The lock ends with its process,
    however that ends; see `vlm.file_locks`.

    Raises
    ------
    RuntimeError
        Another process is writing to this file, or it is a symbolic link.
    OSError
        The folder cannot be made or written to, or its file system has no locks.
    """
    path = Path(path)
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(path))
            # O_BINARY exists on Windows alone, where line ends would be translated without it.
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
            # Opening may cut a line off; never in a file elsewhere that a link points to.
            refuse_link(path)
            descriptor = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except LockedError as error:
            raise RuntimeError(f"records: {error}; wait for it, or give each worker its own --shard k/n") from error
        except OSError as error:
            raise explained(error, path) from error
        stack.callback(os.close, descriptor)
        os.ftruncate(descriptor, _end(descriptor))
        sync_folder(path.parent)
        yield Log(path, descriptor)


def read(path: str | Path) -> Iterator[Record]:
    """The records of a file, one at a time, without waiting for its writer."""
    return (record for _, record in placed(path))


def placed(path: str | Path) -> Iterator[tuple[int, Record]]:
    """The records of a file, each with the position in bytes at which its line starts."""
    start = 0
    with Path(path).open("rb") as file:
        for piece in file:
            record = _parsed(piece) if piece.endswith(b"\n") else None
            if record is not None:
                yield start, record
            start += len(piece)


def busy(path: str | Path) -> bool:
    """Whether a process has the file open with :func:`appending`."""
    return is_locked(path)


def _end(descriptor: int) -> int:
    """Position after the last complete line of a file."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - _BLOCK)
        os.lseek(descriptor, start, os.SEEK_SET)
        place = _read_exactly(descriptor, end - start).rfind(b"\n")
        if place >= 0:
            return start + place + 1
        end = start
    return 0


def _read_exactly(descriptor: int, size: int) -> bytes:
    data = b""
    while len(data) < size and (piece := os.read(descriptor, size - len(data))):
        data += piece
    return data


def _parsed(piece: bytes) -> Record | None:
    try:
        value = json.loads(piece)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _cut(descriptor: int, size: int) -> None:
    """Undo a partial write; if even that fails, the next :func:`appending` does it."""
    try:
        os.ftruncate(descriptor, size)
        os.fsync(descriptor)
    except OSError:
        pass
