"""A bar with the time left, on a terminal only; needs no further package."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
_SECONDS = 2


def bar(clock: Callable[[], float] = time.monotonic) -> Callable[[int, int], None]:
    """A function of the number of tasks done and their total; what they took so far says how long the rest will take.

    Examples
    --------
    >>> from bounds.verification.time_left import bar
    >>> told = bar()
    >>> told(1, 8)  # nothing is shown in the first two seconds, nor where nobody watches
    """
    started = clock()

    def told(done: int, total: int) -> None:
        taken = clock() - started
        if sys.stderr.isatty() and taken >= _SECONDS:
            filled = 40 * done // total
            left = f"about {_readable(taken * (total - done) / done)} left" if 0 < done < total else " " * 20
            end = "\n" if done == total else ""
            print(
                f"\r[{'#' * filled}{'.' * (40 - filled)}] {done}/{total} {left:<20}",
                end=end,
                file=sys.stderr,
                flush=True,
            )

    return told


def counted(things: Iterable[T], total: int, told: Callable[[int, int], None]) -> Iterator[T]:
    """Pass on things, and tell how many of them are done."""
    for number, thing in enumerate(things, 1):
        yield thing
        told(number, total)


def _readable(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
