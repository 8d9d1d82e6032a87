"""The part that D2 and D3 share: distances of paired rows, averaged over images, beside unrelated pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import AnyArray, FloatArray, Rng
from redundancy.distance.metrics import Distance, row_distances
from redundancy.estimate import Estimate, Quantity
from redundancy.units import unrelated_pairs


@dataclass(frozen=True)
class Summary:
    """What is averaged: a function of the distances (n,) of the rows, and how the result is labelled."""

    of_distances: Callable[[FloatArray], FloatArray]
    quantity: Quantity
    support: tuple[float, float]
    unit: str
    settings: Mapping[str, object]


def mean_over_pairs(
    x: AnyArray,
    y: AnyArray,
    distance: Distance,
    groups: ArrayLike | None,
    summary: Summary,
    *,
    baseline: bool,
    rng: Rng,
    estimate: Callable[[FloatArray, ArrayLike | None, Summary, Estimate | None], Estimate] | None = None,
) -> Estimate:
    """The mean of the summary over paired rows and, with `baseline`, over rows of unrelated units.

    `estimate` makes the result from the distances where it is not the mean of the summary.
    """
    baseline, generator = checks.flag(baseline, name="baseline"), checks.generator(rng)
    d = row_distances(x, y, distance=distance)
    unrelated = None
    if baseline:
        index, sizes = checks.group_index(groups, d.size)
        left, right, pair = unrelated_pairs(index, sizes, generator)
        _, x, y = checks.paired_rows(x, y)
        unrelated = mean_over_pairs(
            x[left], y[right], distance, pair, summary, baseline=False, rng=None, estimate=estimate
        )
    if estimate is not None:
        return estimate(d, groups, summary, unrelated)
    return Estimate.over_units(
        summary.of_distances(d),
        groups,
        quantity=summary.quantity,
        support=summary.support,
        unit=summary.unit,
        settings=summary.settings,
        baseline=unrelated,
    )
