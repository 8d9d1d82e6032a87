"""Sets of non-negative integers as sorted, disjoint, half-open ranges; a stop of None means "to the last"."""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import inf
from operator import index

Interval = tuple[int, int | None]
Intervals = tuple[Interval, ...]
EVERYTHING: Intervals = ((0, None),)


def merged(ranges: Iterable[Interval], noun: str = "layer") -> Intervals:
    """The union of ranges in any order; `noun` is what an error message calls the numbers.

    Examples
    --------
    >>> merged([(4, None), (0, 2), (1, 3)])
    ((0, 3), (4, None))
    """
    out: list[tuple[int, float]] = []
    whole = [(_whole(a, noun), inf if b is None else _whole(b, noun)) for a, b in ranges]
    for a, b in sorted(whole):
        if b < a:
            raise ValueError(f"plan: expected START <= STOP, got {a}-{b}")
        if b == a:
            continue
        if out and a <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], b))
        else:
            out.append((a, b))
    return tuple((a, None if b == inf else int(b)) for a, b in out)


def intersection(one: Intervals, other: Intervals) -> Intervals:
    """Numbers in both sets."""
    pairs = ((max(a, c), min(_end(b), _end(d))) for a, b in one for c, d in other)
    return merged((a, None if b == inf else int(b)) for a, b in pairs if a < b)


def without(one: Intervals, other: Intervals) -> Intervals:
    """Numbers in the first set but not in the second."""
    gaps: list[Interval] = []
    start = 0
    for a, b in other:
        gaps.append((start, a))
        if b is None:
            return intersection(one, merged(gaps))
        start = b
    return intersection(one, merged([*gaps, (start, None)]))


def contains(ranges: Intervals, number: int) -> bool:
    """Whether a number is in the set."""
    return any(a <= number < _end(b) for a, b in ranges)


def size_below(ranges: Intervals, stop: int) -> int:
    """How many numbers of the set are below `stop`."""
    return sum(max(0, int(min(_end(b), stop)) - a) for a, b in ranges)


def written(ranges: Intervals, *, short: bool = False) -> str:
    """Text form such as "0-4+24-"; with `short`, a range of one number is written as that number."""
    return "+".join(str(a) if short and b == a + 1 else f"{a}-{'' if b is None else b}" for a, b in ranges)


def read(text: str, *, short: bool = False) -> Intervals | None:
    """Read a text form as it stands, without merging; None if the text is not one."""
    item = r"\d+(?:-\d*)?" if short else r"\d+-\d*"
    if re.fullmatch(rf"{item}(?:\+{item})*", text, re.ASCII) is None:
        return None
    pairs = (part.partition("-") for part in text.split("+"))
    return tuple((int(a), int(b) if b else None if dash else int(a) + 1) for a, dash, b in pairs)


def _end(stop: int | None) -> float:
    return inf if stop is None else stop


def _whole(number: object, noun: str) -> int:
    """A number as a Python int; NumPy integers are accepted, booleans and fractions are not."""
    try:
        value = -1 if isinstance(number, bool) else index(number)  # type: ignore[arg-type]
    except TypeError:
        value = -1
    if value < 0:
        raise ValueError(f"plan: expected whole {noun} numbers >= 0, got {number!r}")
    return value
