"""Definition 1: two layers are geometrically redundant when the mean distance of their states is small."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.distance.metrics import Distance, resolve, row_distances
from redundancy.estimate import Estimate
from redundancy.units import unit_means, unrelated_pairs


def geometric(
    x: Any,
    y: Any,
    distance: str | Distance | Callable[[Any, Any], Any] = "cosine",
    groups: ArrayLike | None = None,
    *,
    baseline: bool = False,
    rng: np.random.Generator | int | None = None,
) -> Estimate:
    """Mean distance E d(X, Y) between paired rows (Definition 1).

    Parameters
    ----------
    x, y : array (n, d)
        States of the same tokens at two layers, NumPy or torch on any device.
    distance : str, callable or Distance
        "cosine" (range [0, 2]), "angular" (radians), "chordal", "euclidean", or a function of rows.
    groups : array (n,), optional
        Image of each row. The estimate is then the mean over images of the image's mean distance, and the
        image is the unit of sampling. Without it every row counts as an independent unit.
    baseline : bool
        Also measure unrelated pairs (rows of different images): `.baseline`.
    rng : Generator, int or None
        Pairs the unrelated images.

    Returns
    -------
    Estimate
        `.value` in the unit of the distance; `.per_unit` (units,).

    Raises
    ------
    ValueError, TypeError
        Unequal shapes, NaN, zero vectors under a directional distance, wrong groups.
    """
    measure = resolve(distance)
    d = row_distances(x, y, distance=measure)
    index, sizes = checks.group_index(groups, d.size)
    per_unit = unit_means(d, index, sizes)
    unrelated = None
    if baseline:
        left, right, pair = unrelated_pairs(index, sizes, np.random.default_rng(rng))
        _, x, y = checks.paired_rows(x, y)
        unrelated = geometric(x[left], y[right], measure, groups=pair)
    return Estimate(
        value=float(per_unit.mean()),
        quantity="geometric",
        per_unit=per_unit,
        rows=sizes.astype(np.float64),
        support=(0.0, measure.d_max),
        unit_of_sampling="row" if groups is None else "image",
        unit=measure.unit,
        settings={"distance": measure.name},
        baseline=unrelated,
    )
