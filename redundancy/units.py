"""From rows to units of sampling: averages over the rows of an image, and pairs of unrelated images."""

from __future__ import annotations

import numpy as np

from redundancy.array_types import FloatArray, IntArray


def unit_means(values: FloatArray, index: IntArray, sizes: IntArray) -> FloatArray:
    """Mean of each unit's rows: values (n,) or (n, k) -> (units,) or (units, k); never outside the values' range."""
    if values.ndim == 1:
        means = np.bincount(index, weights=values, minlength=sizes.size) / sizes
        return np.asarray(np.clip(means, values.min(), values.max()))  # rounding moves a mean by an ulp
    return np.column_stack([unit_means(column, index, sizes) for column in values.T])


def unrelated_pairs(index: IntArray, sizes: IntArray, rng: np.random.Generator) -> tuple[IntArray, IntArray, IntArray]:
    """Disjoint pairs of units, row against row: (rows of the first unit, rows of the second, pair number).

    Units are shuffled and paired off, so the floor(units / 2) pairs are independent of each other. Within a
    pair, the rows of the smaller unit are matched with randomly chosen rows of the larger one.
    """
    if sizes.size < 2:
        raise ValueError(f"baseline: expected at least 2 units to form an unrelated pair, got {sizes.size}")
    start = np.concatenate([[0], np.cumsum(sizes)])
    by_unit = np.argsort(index, kind="stable")
    order = rng.permutation(sizes.size)
    left, right, pair = [], [], []
    for number in range(sizes.size // 2):
        a, b = (by_unit[start[u] : start[u + 1]] for u in order[2 * number : 2 * number + 2])
        m = min(a.size, b.size)
        left.append(rng.permutation(a)[:m])
        right.append(rng.permutation(b)[:m])
        pair.append(np.full(m, number))
    return np.concatenate(left), np.concatenate(right), np.concatenate(pair)
