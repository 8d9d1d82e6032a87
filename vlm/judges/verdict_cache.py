"""A file of verdicts that several processes and threads append to, and that stays intact if one of them crashes."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from vlm.file_locks import locked
from vlm.record_log import Log, Record, refuse_link


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
        """Read the records that other processes have written since the last call."""
        if self.path.is_file():
            with self._one_thread, self.path.open("rb") as file:
                self._read_new_lines(file)

    def remember(self, key: str, record: Record) -> Record:
        """Store a verdict, unless the case has one already, and return the stored record.

        Raises
        ------
        OSError
            The disk is full or cannot be written; everything written before is kept.
        """
        with self._one_thread:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            refuse_link(self.path)
            with locked(self.path, wait=True), self.path.open("a+b", buffering=0) as file:
                self._read_new_lines(file)
                if key not in self._records:
                    file.truncate(self._read_up_to)  # under the lock, an incomplete last line is left from a crash
                    Log(self.path, file.fileno()).append([{**record, "key": key}])
                    self._read_new_lines(file)
            return self._records[key]

    def _read_new_lines(self, file: IO[bytes]) -> None:
        """Read the complete lines that follow those read before."""
        file.seek(self._read_up_to)
        data = file.read()
        complete = data.rfind(b"\n") + 1
        self._read_up_to += complete
        for line in data[:complete].split(b"\n"):
            record = _record(line)
            if record is not None:
                self._records.setdefault(record["key"], record)


def cache_file(folder: str | Path, model: str, prompt: str, parameters: Mapping[str, object]) -> Path:
    """The file of a judge's verdicts: one per model, prompt version and parameters."""
    content = json.dumps([model, prompt, dict(parameters)], sort_keys=True)
    name = re.sub(r"[^\w.-]+", "-", model, flags=re.ASCII).strip("-.")[:80] or "judge"
    if re.match(r"(?:con|prn|aux|nul|com\d|lpt\d)\.", name, flags=re.IGNORECASE):  # devices of Windows
        name = f"judge-{name}"
    return Path(folder) / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:8]}.jsonl"


def _record(line: bytes) -> Record | None:
    """The record on a line; None if the line is damaged."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    good = isinstance(record, dict) and isinstance(record.get("key"), str) and record.get("score") in (0.0, 1.0)
    return record if good and isinstance(record.get("raw"), str) else None
