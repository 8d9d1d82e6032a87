"""Rows in boxes, counted on bits, against distances of all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from redundancy.information import box_counts, knn_search
from redundancy.information.box_counts import rows_in_boxes


def slow(columns, sides):
    """For each row, the other rows at most as far as its sides, one pair at a time."""
    inside = (np.abs(columns[:, None] - columns) <= sides[:, None]).all(2)
    np.fill_diagonal(inside, False)
    return inside.sum(1)


@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 200])
@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("part", [50, 2048])
def test_against_all_pairs(monkeypatch, n, d, part):
    monkeypatch.setattr(box_counts, "PART", part)
    monkeypatch.setattr(box_counts, "QUERIES", 7)
    rng = np.random.default_rng(n)
    normal = rng.standard_normal((n, d))
    for columns in (normal, np.round(normal, 1), np.maximum(normal, 0.0), 1e8 + normal, 1e-300 * normal):
        spread = max(np.ptp(columns), 1e-300)
        for sides in (rng.random((n, d)) * spread, np.zeros((n, d)), rng.choice([-1.0, 0.1, 9.0], (n, d)) * spread):
            np.testing.assert_array_equal(rows_in_boxes(columns, sides), slow(columns, sides))


def test_the_border_belongs_to_the_box_to_the_last_digit():
    """The side is a distance of the sample: x -+ side is rounded to either side of the row that it ends at."""
    rng = np.random.default_rng(0)
    columns = rng.standard_normal((400, 3)) + 0.1
    other = rng.permutation(400)
    sides = np.abs(columns - columns[other])
    for limit in (sides, np.nextafter(sides, 0.0)):
        np.testing.assert_array_equal(rows_in_boxes(columns, limit), slow(columns, limit))


def test_bits_are_counted_alike_without_numpy_2(monkeypatch):
    words = np.random.default_rng(0).integers(0, 2**63, (5, 7), dtype=np.uint64)
    counted = box_counts._ones(words)
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    np.testing.assert_array_equal(box_counts._ones(words), counted)
    assert counted[0] == sum(int(word).bit_count() for word in words[0])


def test_a_tree_counts_the_same_balls_in_large_samples(monkeypatch):
    rng = np.random.default_rng(0)
    parts = [np.round(rng.standard_normal((300, 2)), 2), rng.standard_normal((300, 3))]
    limits = np.repeat(rng.random((300, 1)), 2, axis=1) - 0.1
    by_bits = knn_search._tree_counts(parts, limits, same=True)
    monkeypatch.setattr(knn_search, "BOX_ROWS", 0)
    np.testing.assert_array_equal(knn_search._tree_counts(parts, limits, same=True), by_bits)
