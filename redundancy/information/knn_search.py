"""Exact neighbour distances and counts, by trees in few dimensions and by blocks of rows in many.

A space is a list of blocks of columns; its distance is the largest of the blocks' distances. The distance within a
block is the maximum norm or the Euclidean one. Rows of the row's own image are neither neighbours nor counted, and the
k-th neighbour is the first row of the k-th nearest image. Memory is bounded by `BLOCK` distances at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from redundancy.array_types import BoolArray, FloatArray, IntArray
from redundancy.information.box_counts import rows_in_boxes

BLOCK = 4_000_000  # distances held at once (32 MB)
TREE_DIMENSIONS = 16  # beyond this a tree looks at nearly everything
BOX_ROWS = 200_000  # beyond this a tree counts balls faster than rows_in_boxes, whose time is quadratic
CLUMP_SAMPLE = 256  # rows from which the clumping of the counts is measured
Norm = Literal["max", "euclidean"]
Subset = tuple[int, ...]


@dataclass(frozen=True)
class Images:
    """The image (n,) of each row as a number 0..m-1, the images' sizes (m,) and how many others each row has."""

    index: IntArray
    sizes: IntArray

    @property
    def single(self) -> bool:
        """Whether every row is an image of its own."""
        return self.sizes.size == self.index.size

    @property
    def others(self) -> IntArray:
        """Rows of other images, for each row (n,)."""
        return np.asarray(self.index.size - self.sizes[self.index], dtype=np.int64)


@dataclass(frozen=True)
class Neighborhoods:
    """What the formulas need of each row's neighbourhood.

    `radius` (n,) is the distance to the k-th neighbour; `counts` holds, for each subspace, the rows (n,) of other
    images that are as close; `extents` (n, blocks) are the sides of the smallest box (None for balls); `crowd` (n,) is
    the logarithm of the number of rows that an image in the ball has there; `clumps` is, for each subspace, how many
    counted rows carry the information of one.
    """

    radius: FloatArray
    counts: list[IntArray]
    extents: FloatArray | None
    crowd: FloatArray
    clumps: list[float] = field(default_factory=list)


def backend(blocks: Sequence[FloatArray], norm: Norm) -> Literal["tree", "blocked"]:
    """Whether a k-d tree computes this very distance and is the faster way ("tree"), or not ("blocked")."""
    tree_can = norm == "max" or all(b.shape[1] == 1 for b in blocks) or len(blocks) == 1
    return "tree" if tree_can and sum(b.shape[1] for b in blocks) <= TREE_DIMENSIONS else "blocked"


def neighborhoods(
    blocks: Sequence[FloatArray],
    subsets: Sequence[Subset],
    k: int,
    *,
    norm: Norm,
    images: Images,
    rectangles: bool = False,
    atoms: bool = False,
    workers: int = 1,
) -> Neighborhoods:
    """Distance to the k-th neighbour in the whole space, and for each subspace how many rows are as close.

    A subspace is a tuple of block numbers. With balls, rows strictly closer than the k-th neighbour are counted; with
    rectangles, rows within the smallest box around the k neighbours, its border included. The row itself and its image
    are never counted. With `atoms`, balls of radius 0 hold the row's exact copies; else they are empty.
    """
    if images.single:
        return _search(blocks, subsets, k, norm, images, rectangles, atoms, workers)
    order = np.argsort(images.index, kind="stable")  # images in one piece each
    ordered = [np.ascontiguousarray(b[order]) for b in blocks]
    arranged = Images(images.index[order], images.sizes)
    near = _search(ordered, subsets, k, norm, arranged, rectangles, atoms, workers)
    clumps = _clumps(ordered, subsets, near, norm, arranged, atoms)
    back = np.empty_like(order)
    back[order] = np.arange(order.size)
    extents = None if near.extents is None else near.extents[back]
    return Neighborhoods(near.radius[back], [c[back] for c in near.counts], extents, near.crowd[back], clumps)


def _search(
    blocks: Sequence[FloatArray],
    subsets: Sequence[Subset],
    k: int,
    norm: Norm,
    images: Images,
    rectangles: bool,
    atoms: bool,
    workers: int,
) -> Neighborhoods:
    if backend(blocks, norm) != "tree":
        return _by_blocks(blocks, subsets, k, norm, images, rectangles, atoms)
    radius, index, crowd = _tree_neighbors(blocks, k, norm, images, workers)
    limits = _extents(blocks, index) if rectangles else _strict(radius, len(blocks), atoms)
    counts = [_tree_counts([blocks[i] for i in s], limits[:, list(s)], same=not rectangles) for s in subsets]
    if not images.single:
        counts = _of_other_images(counts, blocks, subsets, limits, images, norm)
        if not rectangles:
            counts = _without_border(counts, blocks, subsets, radius, index[:, -1], images, norm)
    return Neighborhoods(radius, counts, limits if rectangles else None, crowd, [1.0] * len(subsets))


def _strict(radius: FloatArray, blocks: int, atoms: bool) -> FloatArray:
    """Largest distances (n, blocks) that count in a ball: the number below the radius; at radius 0, 0 or nothing."""
    limit = np.where(radius > 0, np.nextafter(radius, 0.0), 0.0 if atoms else -1.0)
    return np.repeat(limit[:, None], blocks, axis=1)


def _extents(blocks: Sequence[FloatArray], index: IntArray) -> FloatArray:
    """Sides (n, blocks) of the smallest boxes around each row that hold its neighbours (n, k)."""
    sides = [np.abs(b[index] - b[:, None]).max((1, 2)) for b in blocks]
    return np.column_stack(sides)


def _tree_neighbors(
    blocks: Sequence[FloatArray], k: int, norm: Norm, images: Images, workers: int
) -> tuple[FloatArray, IntArray, FloatArray]:
    """Radius (n,), neighbours (n, k) and crowd (n,) from a k-d tree."""
    from scipy.spatial import cKDTree

    points = np.hstack(list(blocks))
    n = points.shape[0]
    p = 2.0 if norm == "euclidean" and len(blocks) == 1 and points.shape[1] > 1 else np.inf
    tree = cKDTree(points, leafsize=32)
    order = np.asarray(tree.indices)  # rows that are close together are asked for together
    radius, index, crowd = np.empty(n), np.empty((n, k), dtype=np.int64), np.zeros(n)
    if images.single:
        gaps, near = tree.query(points[order], k=k + 1, p=p, workers=workers)
        radius[order] = np.asarray(gaps)[:, k]
        index[order] = _without_self(np.asarray(near), order)
        return radius, index, crowd
    asked = int(min(n, k * np.ceil(n / images.sizes.size) + images.sizes.max()))
    waiting = order
    while waiting.size:
        unresolved = []
        step = max(1, BLOCK // asked)
        for start in range(0, waiting.size, step):
            rows = waiting[start : start + step]
            gaps, near = tree.query(points[rows], k=asked, p=p, workers=workers)
            found = _first_rows(np.reshape(gaps, (len(rows), -1)), np.reshape(near, (len(rows), -1)), rows, k, images)
            done = rows[found.resolved]
            radius[done], index[done], crowd[done] = found.radius, found.index, found.crowd
            unresolved.append(rows[~found.resolved])
        waiting = np.concatenate(unresolved)
        asked = min(n, 2 * asked)
    return radius, index, crowd


def _without_self(near: IntArray, rows: IntArray) -> IntArray:
    """The neighbours (m, k) of `near` (m, k + 1) that are not the row itself; of k + 1 copies, drop the last."""
    own = near == rows[:, None]
    own[:, -1] |= ~own.any(1)
    return np.asarray(near[~own].reshape(len(rows), -1), dtype=np.int64)


@dataclass(frozen=True)
class _FirstRows:
    """For the resolved rows: radius, the first row of each of the k nearest images, and crowd."""

    resolved: BoolArray
    radius: FloatArray
    index: IntArray
    crowd: FloatArray


def _first_rows(gaps: FloatArray, near: IntArray, rows: IntArray, k: int, images: Images) -> _FirstRows:
    image = images.index[near]
    own = image == images.index[rows][:, None]
    by_image = np.argsort(image, axis=1, kind="stable")
    ordered = np.take_along_axis(image, by_image, 1)
    starts = np.ones_like(own)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.empty_like(own)
    np.put_along_axis(first, by_image, starts, 1)
    first &= ~own
    number = np.cumsum(first, axis=1)
    resolved = number[:, -1] >= k
    chosen = (first & (number <= k))[resolved]
    index = near[resolved][chosen].reshape(-1, k)
    radius = gaps[resolved][chosen].reshape(-1, k)[:, -1]
    inside = np.zeros_like(own)
    inside[resolved] = (gaps[resolved] < radius[:, None]) & ~own[resolved]
    run = np.cumsum(starts.ravel()) - 1
    rows_of_run = np.asarray(np.bincount(run, np.take_along_axis(inside, by_image, 1).ravel()), dtype=np.float64)
    row_of_run = np.repeat(np.arange(len(rows)), starts.sum(1))
    sums = [np.bincount(row_of_run, rows_of_run**power, len(rows))[resolved] for power in (1, 2)]
    distinct = np.bincount(row_of_run, rows_of_run > 0, len(rows))[resolved]
    crowd = _crowd(*(np.asarray(a, dtype=np.float64) for a in (distinct, *sums)))
    return _FirstRows(resolved, radius, np.asarray(index, dtype=np.int64), crowd)


def _crowd(images: FloatArray, total: FloatArray, squares: FloatArray) -> FloatArray:
    """log E S of the rows S >= 1 that an image has in a ball, from the images inside: number, sum S, sum S^2.

    The logarithm of a mean of m numbers is too small by var / (2 m mean^2), which is added.
    """
    m = np.maximum(images, 1.0)
    mean = np.maximum(total / m, 1.0)
    variance = np.maximum(squares - m * mean**2, 0.0) / np.maximum(m - 1.0, 1.0)
    return np.asarray(np.log(mean) + np.where(images > 1, variance / (2.0 * m * mean**2), 0.0))


def _tree_counts(parts: Sequence[FloatArray], limits: FloatArray, *, same: bool) -> IntArray:
    """Rows (n,) other than the row itself that are at most as far as the limit in each part."""
    columns = np.hstack(list(parts))
    n, width = columns.shape
    if n > BOX_ROWS and width > 1 and (same or len(parts) == 1):
        return _count_balls(columns, limits[:, 0])
    return rows_in_boxes(columns, np.repeat(limits, [p.shape[1] for p in parts], axis=1))


def _count_balls(columns: FloatArray, limit: FloatArray) -> IntArray:
    from sklearn.neighbors import KDTree

    tree = KDTree(columns, leaf_size=60, metric="chebyshev")
    order = np.asarray(tree.get_arrays()[1])
    count = np.empty(len(columns), dtype=np.int64)
    count[order] = tree.query_radius(columns[order], np.maximum(limit[order], 0.0), count_only=True)
    return np.where(limit >= 0, count - 1, 0)


def _of_other_images(
    counts: list[IntArray],
    blocks: Sequence[FloatArray],
    subsets: Sequence[Subset],
    limits: FloatArray,
    images: Images,
    norm: Norm,
) -> list[IntArray]:
    """The counts without rows of the row's own image; the rows of an image are in one piece."""
    ends = np.cumsum(images.sizes)
    counts = [count.copy() for count in counts]
    for start, end in zip(ends - images.sizes, ends, strict=True):
        if end - start == 1:
            continue
        step = max(1, BLOCK // (end - start))
        for begin in range(start, end, step):
            rows = slice(begin, min(begin + step, end))
            gaps = [_gaps(b[rows, None], b[None, start:end], norm) for b in blocks]
            for count, subset in zip(counts, subsets, strict=True):
                inside = np.logical_and.reduce([gaps[i] <= limits[rows, i, None] for i in subset])
                count[rows] -= inside.sum(1) - inside[:, begin - start :].diagonal()
    return counts


def _without_border(
    counts: list[IntArray],
    blocks: Sequence[FloatArray],
    subsets: Sequence[Subset],
    radius: FloatArray,
    border: IntArray,
    images: Images,
    norm: Norm,
) -> list[IntArray]:
    """The counts in balls without the rows of the k-th image, in the subspaces on whose border its first row lies.

    There the k-th image is the first that does not count, as the k-th neighbour is for independent rows.
    """
    starts = np.cumsum(images.sizes) - images.sizes
    image = images.index[border]
    on_border = [_gaps(b, b[border], norm) >= radius * (1.0 - 1e-9) for b in blocks]
    concerned = [np.logical_or.reduce([on_border[i] for i in subset]) for subset in subsets]
    counts = [count.copy() for count in counts]
    for place in range(int(images.sizes.max())):
        rows = np.flatnonzero(images.sizes[image] > place)
        other = starts[image[rows]] + place
        closer = [_gaps(b[rows], b[other], norm) < radius[rows] for b in blocks]
        for count, subset, border_of in zip(counts, subsets, concerned, strict=True):
            count[rows] -= np.logical_and.reduce([closer[i] for i in subset]) & border_of[rows]
    return counts


def _by_blocks(
    blocks: Sequence[FloatArray],
    subsets: Sequence[Subset],
    k: int,
    norm: Norm,
    images: Images,
    rectangles: bool,
    atoms: bool,
) -> Neighborhoods:
    n = blocks[0].shape[0]
    radius, crowd, border = np.empty(n), np.zeros(n), np.empty(n, dtype=np.int64)
    counts = [np.empty(n, dtype=np.int64) for _ in subsets]
    limits = np.empty((n, len(blocks)))
    starts = np.cumsum(images.sizes) - images.sizes
    for rows, parts in distances(blocks, norm):
        whole = np.max(parts, axis=0)
        here = np.arange(rows.start, rows.stop)
        if images.single:
            whole[here - rows.start, here] = np.inf
            near = np.argpartition(whole, k - 1, axis=1)[:, :k]
            radius[rows] = np.take_along_axis(whole, near, 1).max(1)
        else:
            whole[images.index[rows, None] == images.index] = np.inf
            nearest = np.minimum.reduceat(whole, starts, axis=1)
            chosen = np.argpartition(nearest, k - 1, axis=1)[:, :k]
            radius[rows] = np.take_along_axis(nearest, chosen, 1).max(1)
            closer = np.add.reduceat(whole < radius[rows, None], starts, axis=1, dtype=np.float64)
            crowd[rows] = _crowd((closer > 0).sum(1), closer.sum(1), (closer**2).sum(1))
            near = _first_of_images(whole, chosen, starts, images)
            last = np.take_along_axis(nearest, chosen, 1).argmax(1)
            border[rows] = near[np.arange(len(near)), last]
        if rectangles:
            limits[rows] = np.column_stack([np.take_along_axis(p, near, 1).max(1) for p in parts])
        else:
            limits[rows] = _strict(radius[rows], len(parts), atoms)
        inside = [p <= limits[rows, i, None] for i, p in enumerate(parts)]
        for count, subset in zip(counts, subsets, strict=True):
            counted = np.logical_and.reduce([inside[i] for i in subset])
            counted[here - rows.start, here] = False
            count[rows] = counted.sum(1)
    if not images.single:
        counts = _of_other_images(counts, blocks, subsets, limits, images, norm)
        if not rectangles:
            counts = _without_border(counts, blocks, subsets, radius, border, images, norm)
    return Neighborhoods(radius, counts, limits if rectangles else None, crowd, [1.0] * len(subsets))


def _first_of_images(whole: FloatArray, chosen: IntArray, starts: IntArray, images: Images) -> IntArray:
    """The nearest row (m, k) of each chosen image (m, k)."""
    first = np.empty_like(chosen)
    for row in range(len(whole)):
        for place, image in enumerate(chosen[row]):
            start = starts[image]
            first[row, place] = start + whole[row, start : start + images.sizes[image]].argmin()
    return first


def _clumps(
    blocks: Sequence[FloatArray],
    subsets: Sequence[Subset],
    near: Neighborhoods,
    norm: Norm,
    images: Images,
    atoms: bool,
) -> list[float]:
    """sum S^2 / sum S over the rows S that each image has in a subspace, measured on evenly spaced rows."""
    n = len(near.radius)
    sample = np.unique(np.linspace(0, n - 1, min(n, CLUMP_SAMPLE)).astype(np.int64))
    limits = _strict(near.radius, len(blocks), atoms) if near.extents is None else near.extents
    starts = np.cumsum(images.sizes) - images.sizes
    sums = np.zeros((len(subsets), 2))
    for row in sample:
        inside = [_gaps(b, b[row], norm) <= limits[row, i] for i, b in enumerate(blocks)]
        other = images.index != images.index[row]
        for number, subset in enumerate(subsets):
            counted = np.logical_and.reduce([inside[i] for i in subset]) & other
            rows = np.add.reduceat(counted, starts, dtype=np.float64)
            sums[number] += rows.sum(), (rows**2).sum()
    return [float(square / total) if total else 1.0 for total, square in sums]


def _gaps(here: FloatArray, there: FloatArray, norm: Norm) -> FloatArray:
    difference = here - there
    if norm == "euclidean" and difference.shape[-1] > 1:
        return np.asarray(np.sqrt(np.einsum("...j,...j->...", difference, difference)))
    return np.asarray(np.abs(difference).max(-1))


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
