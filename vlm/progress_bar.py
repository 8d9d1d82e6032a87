"""A bar with the time left, for whatever takes more than two seconds; only where somebody watches a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from vlm.record_log import Record, placed

T = TypeVar("T")
_SECONDS = 2


def by_bytes(path: Path, placed: Iterable[tuple[int, T]], words: str) -> Iterator[tuple[int, T]]:
    """Pass on records with their positions in a file, and show how much of the file is read."""
    from tqdm import tqdm

    with tqdm(
        total=path.stat().st_size, unit="B", unit_scale=True, desc=words, delay=_SECONDS, disable=None, leave=False
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

    yield from tqdm(things, total=total, desc=words, delay=_SECONDS, disable=None if shown else True, leave=False)


def line(text: str) -> None:
    """Print a line above the bars."""
    from tqdm import tqdm

    tqdm.write(text)
