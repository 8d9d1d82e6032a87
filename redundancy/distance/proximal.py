"""Definition 2: two layers are proximally redundant when their states are close with high probability."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import AnyArray, FloatArray, Rng
from redundancy.distance.metrics import DistanceLike, resolve
from redundancy.distance.paired_states import Summary, mean_over_pairs
from redundancy.estimate import Estimate, Quantity


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
        `.value` in [0, 1], a float or an array (k,); `.per_unit` (units,) or (units, k).

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
    distance to this probability in both directions.

    References
    ----------
    *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models* (2025), arXiv:2509.25584.

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

    def close(d: FloatArray) -> FloatArray:
        within = (d[:, None] <= levels).astype(np.float64)
        return within[:, 0] if scalar else within

    summary = Summary(
        of_distances=close,
        quantity=Quantity.PROXIMAL,
        support=(0.0, 1.0),
        unit="1",
        settings={"t": float(levels[0]) if scalar else levels, "distance": measure.name},
    )
    return mean_over_pairs(x, y, measure, groups, summary, baseline=baseline, rng=rng)
