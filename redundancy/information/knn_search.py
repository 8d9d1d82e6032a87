"""Exact neighbour distances and strict counts, by trees in few dimensions and by blocks of rows in many.

A space is a list of blocks of columns; its distance is the largest of the blocks' distances. The distance within a
block is the maximum norm or the Euclidean one. Memory is bounded by `BLOCK` distances at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from redundancy.array_types import FloatArray, IntArray

BLOCK = 4_000_000  # distances held at once (32 MB)
TREE_DIMENSIONS = 8  # beyond this a tree looks at nearly everything
Norm = Literal["max", "euclidean"]


def backend(blocks: Sequence[FloatArray], norm: Norm) -> Literal["tree", "blocked"]:
    """Whether a k-d tree computes this very distance and is the faster way ("tree"), or not ("blocked")."""
    tree_can = norm == "max" or all(b.shape[1] == 1 for b in blocks) or len(blocks) == 1
    return "tree" if tree_can and sum(b.shape[1] for b in blocks) <= TREE_DIMENSIONS else "blocked"


def neighbor_counts(
    blocks: Sequence[FloatArray],
    subsets: Sequence[tuple[int, ...]],
    k: int,
    *,
    norm: Norm,
    rectangles: bool = False,
    workers: int = 1,
) -> tuple[FloatArray, list[IntArray]]:
    """Distance to the k-th neighbour in the whole space (n,), and for each subspace how many rows are as close.

    A subspace is a tuple of block numbers. With balls, rows strictly closer than the k-th neighbour are counted; with
    rectangles, rows within the smallest box around the k neighbours, its border included. The row itself is never
    counted.
    """
    single = all(len(subset) == 1 for subset in subsets)
    if backend(blocks, norm) == "tree" and (single or not rectangles):
        return _by_tree(blocks, subsets, k, norm=norm, rectangles=rectangles, workers=workers)
    n = blocks[0].shape[0]
    radius, counts = np.empty(n), [np.empty(n, dtype=np.int64) for _ in subsets]
    for rows, parts in distances(blocks, norm):
        whole = np.max(parts, axis=0)
        if rectangles:
            near = np.argpartition(whole, k, axis=1)[:, : k + 1]  # with the row itself, at distance 0
            radius[rows] = np.take_along_axis(whole, near, 1).max(1)
            inside = [p <= np.take_along_axis(p, near, 1).max(1)[:, None] for p in parts]
        else:
            radius[rows] = np.partition(whole, k, axis=1)[:, k]
            inside = [p < radius[rows, None] for p in parts]
        own = 1 if rectangles else (radius[rows] > 0).astype(np.int64)
        for count, subset in zip(counts, subsets, strict=True):
            count[rows] = np.logical_and.reduce([inside[i] for i in subset]).sum(1) - own
    return radius, counts


def _by_tree(
    blocks: Sequence[FloatArray],
    subsets: Sequence[tuple[int, ...]],
    k: int,
    *,
    norm: Norm,
    rectangles: bool,
    workers: int,
) -> tuple[FloatArray, list[IntArray]]:
    from scipy.spatial import cKDTree

    points = np.hstack(list(blocks))
    euclidean = norm == "euclidean" and len(blocks) == 1 and points.shape[1] > 1
    gaps, index = cKDTree(points).query(points, k=k + 1, p=2.0 if euclidean else np.inf, workers=workers)
    radius, counts = np.asarray(gaps)[:, k], []
    for subset in subsets:
        block = np.hstack([blocks[i] for i in subset])
        limit = radius
        if rectangles:
            gap = np.abs(block[index] - block[:, None]).max((1, 2))
            limit = np.nextafter(gap, np.inf)  # "at most" is "strictly less than the next number"
        if block.shape[1] == 1:
            counts.append(_count_sorted(block[:, 0], limit))
            continue
        inside = cKDTree(block).query_ball_point(
            block, np.nextafter(limit, 0.0), p=np.inf, workers=workers, return_length=True, return_sorted=False
        )
        counts.append(np.asarray(inside, dtype=np.int64) - (limit > 0))
    return radius, counts


def distances(blocks: Sequence[FloatArray], norm: Norm) -> Iterator[tuple[slice, list[FloatArray]]]:
    """Block of rows by block of rows: (slice of rows, their distances to all rows in each block of columns)."""
    n = blocks[0].shape[0]
    step = max(1, BLOCK // n)
    prepared = [_Euclidean(b) if norm == "euclidean" and b.shape[1] > 1 else _Chebyshev(b) for b in blocks]
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        yield rows, [p.rows(rows) for p in prepared]


class _Chebyshev:
    """Maximum-norm distances of a slice of rows to all rows."""

    def __init__(self, block: FloatArray) -> None:
        self.block = np.ascontiguousarray(block)

    def rows(self, rows: slice) -> FloatArray:
        from scipy.spatial.distance import cdist

        return np.asarray(cdist(self.block[rows], self.block, "chebyshev"))


class _Euclidean:
    """|a|^2 + |b|^2 - 2 a.b on centred columns; pairs it cannot resolve are recomputed from differences."""

    def __init__(self, block: FloatArray) -> None:
        self.block = block - block.mean(0)
        self.squares = np.einsum("ij,ij->i", self.block, self.block)

    def rows(self, rows: slice) -> FloatArray:
        here = self.block[rows]
        scale = self.squares[rows, None] + self.squares
        square = scale - 2.0 * (here @ self.block.T)
        # cancellation: fewer than half of the digits are left
        i, j = np.nonzero(square < 1e-8 * scale)
        difference = here[i] - self.block[j]
        square[i, j] = np.einsum("ij,ij->i", difference, difference)
        return np.asarray(np.sqrt(square))


def _count_sorted(x: FloatArray, radius: FloatArray) -> IntArray:
    """Strict counts on the line from sorted values; the distance itself decides about the ends."""
    ordered = np.sort(x)
    low = np.searchsorted(ordered, x - radius)
    high = np.searchsorted(ordered, x + radius)
    padded = np.concatenate([[-np.inf], ordered, [np.inf]])  # padded[i + 1] is ordered[i]
    while True:  # rounding of x -+ radius moves an end by one or two places
        out_low = (x - padded[low + 1] >= radius) & (low < x.size)
        in_low = x - padded[low] < radius
        out_high = padded[high] - x >= radius
        in_high = padded[high + 1] - x < radius
        move_low, move_high = out_low.astype(int) - in_low, in_high.astype(int) - out_high
        if not (move_low.any() or move_high.any()):
            break
        low, high = low + move_low, high + move_high
    return np.asarray(np.maximum(high - low, 0) - (radius > 0), dtype=np.int64)
