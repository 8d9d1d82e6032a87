"""A bar with the time left, for whatever takes more than two seconds; only where somebody watches a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vlm.record_log import Record, placed

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")
SECONDS = 2
_COLUMNS, _LINES = 80, 24
# Called with a stage, how many of its steps are done, and their number.
Staged = Callable[[str, int, int], None]


def place() -> dict[str, int]:
    """Size of a bar on a terminal that says 0 columns or lines, as in some containers; it would not be seen there."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        return {}
    return {} if all(size) else {"ncols": _COLUMNS, "nrows": _LINES}


def by_bytes(path: Path, placed: Iterable[tuple[int, T]], words: str) -> Iterator[tuple[int, T]]:
    """Pass on records with their positions in a file, and show how much of the file is read."""
    from tqdm import tqdm

    size = path.stat().st_size
    with tqdm(
        total=size, unit="B", unit_scale=True, desc=words, delay=SECONDS, disable=None, leave=False, **place()
    ) as bar:
        for start, record in placed:
            bar.update(start - bar.n)
            yield start, record


def records(path: Path) -> Iterator[Record]:
    """The records of a file, one at a time, and how much of the file is read."""
    return (record for _, record in by_bytes(path, placed(path), f"reading {path.name}"))


def by_count(things: Iterable[T], total: int | None, words: str, *, shown: bool = True) -> Iterator[T]:
    """Pass on things, and show how many of them are done."""
    from tqdm import tqdm

    hidden = None if shown else True
    yield from tqdm(things, total=total, desc=words, delay=SECONDS, disable=hidden, leave=False, **place())


@contextmanager
def by_stage(*, shown: bool = True) -> Iterator[Staged]:
    """A function that is told how far a stage is; each stage has a bar of its own."""
    from tqdm import tqdm

    bars: dict[str, tqdm[None]] = {}

    def told(stage: str, done: int, total: int) -> None:
        if stage not in bars:
            close()
            hidden = None if shown else True
            bars[stage] = tqdm(total=total, desc=stage, delay=SECONDS, disable=hidden, leave=False, **place())
        bars[stage].update(done - bars[stage].n)

    def close() -> None:
        while bars:
            bars.popitem()[1].close()

    try:
        yield told
    finally:
        close()


def line(text: str) -> None:
    """Print a line above the bars."""
    from tqdm import tqdm

    tqdm.write(text)
