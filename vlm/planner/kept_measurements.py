"""The folder in which an optimisation keeps what it measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from vlm.record_log import Log, Record, appending, read


@contextmanager
def kept_measurements(
    out: str | Path | None, settings: Mapping[str, str]
) -> Iterator[tuple[Path | None, list[Record], Log | None]]:
    """The folder, what an earlier process measured there, and the file that takes more; None, [], None without one."""
    if out is None:
        yield None, [], None
        return
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
    folder = Path(out) / f"optimize-{digest}"
    with appending(folder / "measured.jsonl") as log:
        known = list(read(log.path))
        if not known:
            log.append([{"kind": "settings", **settings}])
        yield folder, known, log
