"""How many rows lie in a box around each row, counted on bits.

In a sorted column the rows of an interval are those of one prefix less those of another, so that a table of prefixes,
one bit per row, gives an interval by one exclusive or, and a box is the intersection of its columns' intervals. The
tables hold `PART` rows at a time: n^2 d / 64 words are read in all, out of tables that stay in a processor's cache.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from redundancy.array_types import FloatArray, IntArray

PART = 2048  # rows in a table of prefixes (0.5 MB a column)
QUERIES = 512  # rows whose boxes are intersected at once
Words = NDArray[np.uint64]


def rows_in_boxes(columns: FloatArray, sides: FloatArray) -> IntArray:
    """Rows (n,) other than the row itself at most `sides` (n, d) away from it in every column (n, d).

    A negative side holds nothing.
    """
    n, width = columns.shape
    lines = [_Line.of(column, side) for column, side in zip(columns.T, sides.T, strict=True)]
    if width == 1:
        count = lines[0].high - lines[0].low
    else:
        count = np.zeros(n, dtype=np.int64)
        # Equal parts: a short last one would cost as many calls as a whole one.
        for part in np.array_split(np.arange(n), -(-n // PART)):
            tables = [line.table(part[0], part[-1] + 1) for line in lines]
            for start in range(0, n, QUERIES):
                rows = slice(start, start + QUERIES)
                inside = tables[0].intervals(rows)
                for table in tables[1:]:
                    inside &= table.intervals(rows)
                count[rows] += _ones(inside)
    return np.where((sides >= 0).all(1), np.maximum(count, 1) - 1, 0)


class _Line:
    """One column's rows in order, and the places (n,) between which each row's interval lies."""

    def __init__(self, order: IntArray, low: IntArray, high: IntArray) -> None:
        self.order, self.low, self.high = order, low, high

    @classmethod
    def of(cls, x: FloatArray, limit: FloatArray) -> _Line:
        order = np.argsort(x)
        return cls(order, *_interval_ends(x[order], x, np.maximum(limit, 0.0)))

    def table(self, start: int, stop: int) -> _Table:
        """The prefixes of the rows from `start` to `stop`, and each row's places among them."""
        member = (self.order >= start) & (self.order < stop)
        place = np.concatenate([[0], np.cumsum(member)])
        return _Table(_prefixes(self.order[member] - start), place[self.low], place[self.high])


class _Table:
    """Prefixes (m + 1, words) of m sorted rows, and between which two of them each row's interval lies (n,)."""

    def __init__(self, prefixes: Words, low: IntArray, high: IntArray) -> None:
        self.prefixes, self.low, self.high = prefixes, low, high

    def intervals(self, rows: slice) -> Words:
        """One bit (q, words) for each of the m rows: whether it lies in the interval of each of the q rows."""
        bits = self.prefixes[self.low[rows]]
        bits ^= self.prefixes[self.high[rows]]
        return bits


def _interval_ends(ordered: FloatArray, x: FloatArray, reach: FloatArray) -> tuple[IntArray, IntArray]:
    """Places low, high (n,) with |x - ordered[i]| <= reach for low <= i < high; the distance itself decides."""
    low = np.searchsorted(ordered, x - reach)
    high = np.searchsorted(ordered, x + reach, side="right")
    padded = np.concatenate([[-np.inf], ordered, [np.inf]])  # padded[i + 1] is ordered[i]
    while True:  # rounding of x -+ reach moves an end by one or two places
        out_low = (x - padded[low + 1] > reach) & (low < x.size)
        in_low = x - padded[low] <= reach
        out_high = padded[high] - x > reach
        in_high = padded[high + 1] - x <= reach
        move_low, move_high = out_low.astype(int) - in_low, in_high.astype(int) - out_high
        if not (move_low.any() or move_high.any()):
            return np.asarray(low, dtype=np.int64), np.asarray(high, dtype=np.int64)
        low, high = low + move_low, high + move_high


def _prefixes(order: IntArray) -> Words:
    """Row i has the bits of the first i rows of `order` (m,), numbers 0 to m - 1."""
    m, one = order.size, np.uint64(1)
    bits = np.zeros((m + 1, -(-m // 64)), dtype=np.uint64)
    bits[np.arange(1, m + 1), order >> 6] = np.left_shift(one, (order & 63).astype(np.uint64))
    return np.asarray(np.bitwise_or.accumulate(bits, axis=0), dtype=np.uint64)


def _ones(words: Words) -> IntArray:
    """Number of bits that are set, for each row of words."""
    if hasattr(np, "bitwise_count"):  # NumPy 2
        return np.asarray(np.bitwise_count(words).sum(1, dtype=np.int64))
    return np.asarray(np.unpackbits(words.view(np.uint8), axis=1).sum(1, dtype=np.int64))
