"""A bar with the time left, for whatever takes more than two seconds; only where somebody watches a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vlm.record_log import Record, placed

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")
SECONDS = 2
# Called with a stage, how many of its steps are done, and their number.
Staged = Callable[[str, int, int], None]


def by_bytes(path: Path, placed: Iterable[tuple[int, T]], words: str) -> Iterator[tuple[int, T]]:
    """Pass on records with their positions in a file, and show how much of the file is read."""
    from tqdm import tqdm

    with tqdm(
        total=path.stat().st_size, unit="B", unit_scale=True, desc=words, delay=SECONDS, disable=None, leave=False
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

    yield from tqdm(things, total=total, desc=words, delay=SECONDS, disable=None if shown else True, leave=False)


@contextmanager
def by_stage(*, shown: bool = True) -> Iterator[Staged]:
    """A function that is told how far a stage is; each stage has a bar of its own."""
    from tqdm import tqdm

    bars: dict[str, tqdm[None]] = {}

    def told(stage: str, done: int, total: int) -> None:
        if stage not in bars:
            close()
            hidden = None if shown else True
            bars[stage] = tqdm(total=total, desc=stage, delay=SECONDS, disable=hidden, leave=False)
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
