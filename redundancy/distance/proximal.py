"""D3: two layers are proximally redundant when their states are close with high probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import AnyArray, FloatArray, IntArray, Rng
from redundancy.distance.metrics import DistanceLike, resolve
from redundancy.distance.paired_states import Summary, mean_over_pairs
from redundancy.estimate import Estimate, Quantity, unit_of_sampling


def proximal(
    x: AnyArray,
    y: AnyArray,
    t: ArrayLike = 0.05,
    distance: DistanceLike = "cosine",
    groups: ArrayLike | None = None,
    *,
    baseline: bool = False,
    rng: Rng = None,
) -> Estimate:
    """Estimate proximal redundancy: the probability P(d(X, Y) <= t) that paired states are close (D3).

    Parameters
    ----------
    x, y : array (n, d)
        States of the same tokens at two layers, NumPy or torch on any device.
    t : float or array_like (k,)
        Threshold(s), finite and >= 0, in the unit of the distance. "Close" includes d = t.
    distance, groups, rng
        As in :func:`geometric`; with `groups` the estimate is the mean over images of the fraction of the
        image's rows that are close.
    baseline : bool
        Also measure unrelated pairs (rows of different images) and return them as `.baseline`. Where that
        probability is high too, a small distance may only mean that all states point the same way.

    Returns
    -------
    Estimate
        `.value` in [0, 1], a float or an array (k,); `.per_unit` (units,) or (units, k). For several thresholds
        `.per_unit` is made when it is first read: the estimate itself needs memory for the rows alone.

    Raises
    ------
    ValueError
        As in :func:`geometric`; a negative or non-finite threshold.
    TypeError
        As in :func:`geometric`; a threshold that is not a number.

    See Also
    --------
    geometric : The mean distance.
    bounds.certify : Confidence interval of the probability; ``method="dkw"`` for all thresholds at once.
    bounds.image_event : The share of images in which most tokens are close.

    Notes
    -----
    D3 bounds P(d(X, Y) > t) <= delta, the complement of what is estimated here. Proposition 1 relates the mean
    distance to this probability in both directions. Directions that differ only by the rounding of float64 are at
    distance 0, so that x and 3 x are close at t = 0 (see :func:`row_distances`).

    References
    ----------
    Hartman et al. (2025), *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models*,
    arXiv:2509.25584.

    Examples
    --------
    >>> import numpy as np
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 16))
    >>> y = x + 0.3 * rng.normal(size=(200, 16))
    >>> image = np.repeat(np.arange(40), 5)
    >>> estimate = rd.proximal(x, y, t=[0.01, 0.05, 0.1], groups=image, baseline=True, rng=0)
    >>> estimate.value.round(3)
    array([0.005, 0.66 , 0.98 ])
    >>> estimate.baseline.value.round(3)
    array([0., 0., 0.])
    """
    measure = resolve(distance)
    levels, scalar = checks.thresholds(t)
    summary = Summary(
        of_distances=lambda d: (d <= levels[0]).astype(np.float64),
        quantity=Quantity.PROXIMAL,
        support=(0.0, 1.0),
        unit="1",
        settings={"t": float(levels[0]) if scalar else levels, "distance": measure.name},
    )
    if scalar:
        return mean_over_pairs(x, y, measure, groups, summary, baseline=baseline, rng=rng)
    return mean_over_pairs(x, y, measure, groups, summary, baseline=baseline, rng=rng, estimate=_at_all_levels)


@dataclass(frozen=True, eq=False)
class SharesWithin:
    """Share of each unit's rows within each threshold, from the rank of every row's distance among the thresholds."""

    rank: IntArray  # (n,): position of the row's distance in the sorted thresholds
    order: IntArray  # (k,): where each of the sorted thresholds stands in the caller's order
    index: IntArray
    sizes: IntArray

    @property
    def units(self) -> int:
        """Number of units."""
        return int(self.sizes.size)

    def means(self) -> FloatArray:
        """Mean over units of the shares (k,), in memory for the rows alone."""
        k = self.order.size
        weights = np.bincount(self.rank, weights=1.0 / self.sizes[self.index], minlength=k + 1)[:k]
        out = np.empty(k)
        out[self.order] = np.clip(np.cumsum(weights) / self.units, 0.0, 1.0)
        return out

    def values(self) -> FloatArray:
        """The shares of each unit (units, k)."""
        k = self.order.size
        cell = self.index * (k + 1) + self.rank
        counts = np.bincount(cell, minlength=self.units * (k + 1)).reshape(self.units, k + 1)[:, :k]
        out = np.empty((self.units, k))
        out[:, self.order] = np.cumsum(counts, axis=1) / self.sizes[:, None]
        return out


def _at_all_levels(d: FloatArray, groups: ArrayLike | None, summary: Summary, baseline: Estimate | None) -> Estimate:
    levels = summary.settings["t"]
    assert isinstance(levels, np.ndarray)
    order = np.argsort(levels, kind="stable")
    index, sizes = checks.group_index(groups, d.size)
    shares = SharesWithin(np.searchsorted(levels[order], d, side="left"), order, index, sizes)
    return Estimate(
        value=shares.means(),
        quantity=summary.quantity,
        per_unit=cast("FloatArray", shares),
        rows=sizes.astype(np.float64),
        support=summary.support,
        unit_of_sampling=unit_of_sampling(groups),
        unit=summary.unit,
        settings=summary.settings,
        baseline=baseline,
    )
