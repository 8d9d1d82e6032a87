"""Scenes: nine scans of handwritten digits on a 3x3 canvas, and their description in words.

The scans are the 1,797 8x8 images of ``sklearn.datasets.load_digits``. Every scan
belongs to one split: a digit shown in a test scene was never seen in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from redundancy.array_types import FloatArray

CELLS = tuple(row + column for row in "abc" for column in "123")  # row by row from the top left
CELL_SIDE = 8
SIDE = 3 * CELL_SIDE
Split = Literal["train", "validation", "test"]
SPLITS: dict[Split, float] = {"train": 0.7, "validation": 0.1, "test": 0.2}

# How often each distinct digit of a scene appears. Every pattern has digits that appear 0, 1, 2 and 3 times, so
# that counting questions can be balanced within each scene.
_PATTERNS = ((3, 2, 1, 1, 1, 1), (3, 2, 2, 1, 1), (3, 3, 2, 1))


@dataclass(frozen=True)
class Scene:
    """Nine digits and the image of them.

    Attributes
    ----------
    digits : tuple of int
        The digit in each cell, in the order of ``CELLS``.
    canvas : ndarray of uint8, shape (24, 24)
        White ink (255) on black (0).
    """

    digits: tuple[int, ...]
    canvas: NDArray[np.uint8]

    def words(self, rng: np.random.Generator) -> list[str]:
        """The scene in words, cells in random order: ``["b2", "7", "a1", "3", ...]``."""
        return [word for i in rng.permutation(9) for word in (CELLS[i], str(self.digits[i]))]


@lru_cache(maxsize=1)
def _split_indices() -> dict[Split, NDArray[np.intp]]:
    from sklearn.datasets import load_digits

    labels = load_digits().target
    rng = np.random.default_rng(0)  # the split is part of the data set, not of an experiment's seed
    parts: dict[Split, list[NDArray[np.intp]]] = {split: [] for split in SPLITS}
    for digit in range(10):
        order = rng.permutation(np.flatnonzero(labels == digit))
        cuts = np.round(np.cumsum(list(SPLITS.values()))[:-1] * len(order)).astype(int)
        for split, part in zip(SPLITS, np.split(order, cuts), strict=True):
            parts[split].append(part)
    return {split: np.sort(np.concatenate(part)) for split, part in parts.items()}


def scan_indices(split: Split) -> NDArray[np.intp]:
    """Which rows of ``load_digits`` belong to a split, ascending."""
    return _split_indices()[split_named(split)]


def split_named(name: str) -> Split:
    """The split of that name; ValueError if there is none."""
    for split in SPLITS:
        if split == name:
            return split
    raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {name!r}")


@lru_cache(maxsize=3)
def scans(split: Split) -> tuple[FloatArray, ...]:
    """The scans of a split: for each digit 0-9 an array (n, 8, 8) with ink in [0, 1]."""
    from sklearn.datasets import load_digits

    data = load_digits()
    rows = scan_indices(split)
    return tuple(data.images[rows[data.target[rows] == digit]] / 16.0 for digit in range(10))


@lru_cache(maxsize=1)
def distorted_scans(copies: int = 12) -> tuple[FloatArray, ...]:
    """Training scans, each with slightly turned, sheared, scaled and shifted copies: (n * (copies + 1), 8, 8)."""
    from scipy.ndimage import affine_transform

    rng = np.random.default_rng(1)
    pools = []
    for pool in scans("train"):
        images = [pool]
        for _ in range(copies):
            matrices = np.eye(2) + rng.normal(0.0, 0.08, (len(pool), 2, 2))
            shifts = rng.normal(0.0, 0.3, (len(pool), 2))
            centre = np.full(2, (CELL_SIDE - 1) / 2)
            images.append(
                np.stack(
                    [
                        affine_transform(image, matrix, centre - matrix @ centre + shift, order=1)
                        for image, matrix, shift in zip(pool, matrices, shifts, strict=True)
                    ]
                )
            )
        pools.append(np.clip(np.concatenate(images), 0.0, 1.0))
    return tuple(pools)


def draw_scene(rng: np.random.Generator, pools: tuple[FloatArray, ...]) -> Scene:
    """One random scene whose scans come from ``pools`` (one array (n, 8, 8) per digit)."""
    pattern = _PATTERNS[rng.integers(len(_PATTERNS))]
    digits = rng.permutation(np.repeat(rng.permutation(10)[: len(pattern)], pattern))
    canvas = np.zeros((3, CELL_SIDE, 3, CELL_SIDE))
    for cell, digit in enumerate(digits):
        pool = pools[digit]
        canvas[cell // 3, :, cell % 3, :] = pool[rng.integers(len(pool))]
    return Scene(tuple(map(int, digits)), np.round(255 * canvas.reshape(SIDE, SIDE)).astype(np.uint8))
