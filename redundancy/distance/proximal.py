"""Definition 2: two layers are proximally redundant when their states are close with high probability."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.distance.metrics import Distance, resolve, row_distances
from redundancy.estimate import Estimate
from redundancy.units import unit_means, unrelated_pairs


def proximal(
    x: Any,
    y: Any,
    t: ArrayLike = 0.05,
    distance: str | Distance | Callable[[Any, Any], Any] = "cosine",
    groups: ArrayLike | None = None,
    *,
    baseline: bool = False,
    rng: np.random.Generator | int | None = None,
) -> Estimate:
    """Probability P(d(X, Y) <= t) that paired rows are close (Definition 2).

    Parameters
    ----------
    x, y : array (n, d)
        States of the same tokens at two layers, NumPy or torch on any device.
    t : float or array (k,)
        Threshold(s), finite and >= 0, in the unit of the distance. "Close" includes d = t.
    distance, groups, rng
        As in :func:`geometric`; with `groups` the estimate is the mean over images of the fraction of the
        image's rows that are close.
    baseline : bool
        Also measure unrelated pairs (rows of different images). Where that probability is high too, a small
        distance may only mean that all states point the same way.

    Returns
    -------
    Estimate
        `.value` float or (k,), in [0, 1]; `.per_unit` (units,) or (units, k).

    Raises
    ------
    ValueError, TypeError
        As in :func:`geometric`; a negative or non-finite threshold.
    """
    measure = resolve(distance)
    levels, scalar = checks.thresholds(t)
    d = row_distances(x, y, distance=measure)
    index, sizes = checks.group_index(groups, d.size)
    close = (d[:, None] <= levels).astype(np.float64)
    per_unit = unit_means(close[:, 0] if scalar else close, index, sizes)
    unrelated = None
    if baseline:
        left, right, pair = unrelated_pairs(index, sizes, np.random.default_rng(rng))
        _, x, y = checks.paired_rows(x, y)
        unrelated = proximal(x[left], y[right], t, measure, groups=pair)
    value = per_unit.mean(axis=0)
    return Estimate(
        value=float(value) if scalar else value,
        quantity="proximal",
        per_unit=per_unit,
        rows=sizes.astype(np.float64),
        support=(0.0, 1.0),
        unit_of_sampling="row" if groups is None else "image",
        settings={"t": float(levels[0]) if scalar else levels, "distance": measure.name},
        baseline=unrelated,
    )
