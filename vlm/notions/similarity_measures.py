"""Descriptive neighbours of the notions: linear CKA of two layers, and the effective rank of one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

import redundancy as rd
from redundancy import checks
from redundancy.array_types import FloatArray
from redundancy.units import unit_means
from vlm.notions.measures import Measure, estimated

CKA, RANK = "linear CKA, debiased", "participation ratio"


def similarity_measure(x: FloatArray, y: FloatArray, groups: ArrayLike, *, seed: int) -> Measure:
    """Debiased linear CKA of two layers; the baseline pairs each image of one layer with another image of the other.

    Raises
    ------
    ValueError
        Fewer than 4 images, or states that do not vary.
    """
    estimate = rd.cka(x, y, groups=groups)
    index, sizes = checks.group_index(groups, len(x))
    means_x, means_y = unit_means(x, index, sizes), unit_means(y, index, sizes)
    shuffled = np.random.default_rng(seed).permutation(sizes.size)
    unrelated = rd.cka(means_x, means_y[shuffled])
    return estimated("similarity", CKA, estimate, images=int(sizes.size), baseline=float(unrelated), why="descriptive")


def effective_rank(states: FloatArray, groups: ArrayLike) -> Measure:
    """Participation ratio of a layer's covariance, (tr C)^2 / tr C^2; the baseline is the width.

    Every image has the same weight, and the layer's mean is removed.

    Raises
    ------
    ValueError
        Fewer than two images, or states that do not vary.
    """
    rows = checks.matrix(states, name="states")
    index, sizes = checks.group_index(groups, len(rows))
    if sizes.size < 2:
        raise ValueError(f"effective rank: expected at least 2 images, got {sizes.size}")
    rows = rows / max(float(np.abs(rows).max()), 1e-300)
    weight = np.sqrt(1.0 / (sizes[index] * sizes.size))[:, None]
    centre = (weight**2 * rows).sum(axis=0)
    values = np.square(np.linalg.svd(weight * (rows - centre), compute_uv=False))
    if values.sum() <= 1e-24:
        raise ValueError("effective rank: expected states that vary, got equal ones")
    ratio = float(values.sum() ** 2 / np.square(values).sum())
    return Measure(
        "effective rank",
        RANK,
        ratio,
        baseline=float(rows.shape[1]),
        images=int(sizes.size),
        guarantee="exact for these images; descriptive",
    )
