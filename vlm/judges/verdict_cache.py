"""A file of verdicts that several processes and threads append to, and that stays whole if one of them crashes."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path

from vlm.record_log import Log, Record


class VerdictCache:
    """Verdicts by the hash of their content, one JSON object per line, each synced to disk at once.

    The first verdict on a case is kept; a second process that asked at the same time receives that one. A line that
    a crash cut off is removed, a damaged line is ignored, and its case is asked again.

    Parameters
    ----------
    path : Path
        The file; created with its folder when the first verdict is written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._records: dict[str, Record] = {}
        self._read_up_to = 0
        self._one_thread = threading.Lock()

    def find(self, key: str) -> Record | None:
        """The record of a case, as of the last `refresh` or `remember`; None if there was none."""
        return self._records.get(key)

    def refresh(self) -> None:
        """Read the records that other processes have written since."""
        if self.path.is_file():
            with self._one_thread, self.path.open("rb") as file:
                self._read_new_lines(file.fileno())

    def remember(self, key: str, record: Record) -> Record:
        """Store a verdict, unless the case has one already, and return the stored record.

        Raises
        ------
        OSError
            The disk is full or cannot be written; what was written before is kept.
        """
        with self._one_thread:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                self._read_new_lines(descriptor)
                if key not in self._records:
                    os.ftruncate(
                        descriptor, self._read_up_to
                    )  # the lock is held, so an incomplete last line is a crashed process's
                    Log(self.path, descriptor).append([{**record, "key": key}])
                    self._read_new_lines(descriptor)
            finally:
                os.close(descriptor)  # releases the lock
            return self._records[key]

    def _read_new_lines(self, descriptor: int) -> None:
        """Read the complete lines that follow those read before."""
        size = os.fstat(descriptor).st_size
        data = os.pread(descriptor, max(0, size - self._read_up_to), self._read_up_to)
        whole = data.rfind(b"\n") + 1
        self._read_up_to += whole
        for piece in data[:whole].split(b"\n"):
            record = _record(piece)
            if record is not None:
                self._records.setdefault(record["key"], record)


def cache_file(folder: str | Path, model: str, prompt: str, parameters: Mapping[str, object]) -> Path:
    """The file of a judge's verdicts: one per model, prompt version and parameters."""
    content = json.dumps([model, prompt, dict(parameters)], sort_keys=True)
    name = re.sub(r"[^\w.-]+", "-", model).strip("-.") or "judge"
    return Path(folder) / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:8]}.jsonl"


def _record(piece: bytes) -> Record | None:
    try:
        record = json.loads(piece)
    except ValueError:
        return None
    good = isinstance(record, dict) and isinstance(record.get("key"), str) and record.get("score") in (0.0, 1.0)
    return record if good and isinstance(record.get("raw"), str) else None
