"""D2: two layers are geometrically redundant when the mean distance of their states is small."""

from __future__ import annotations

from numpy.typing import ArrayLike

from redundancy.array_types import AnyArray, Rng
from redundancy.distance.metrics import DistanceLike, resolve
from redundancy.distance.paired_states import Summary, mean_over_pairs
from redundancy.estimate import Estimate, Quantity


def geometric(
    x: AnyArray,
    y: AnyArray,
    distance: DistanceLike = "cosine",
    groups: ArrayLike | None = None,
    *,
    baseline: bool = False,
    rng: Rng = None,
) -> Estimate:
    """Estimate geometric redundancy: the mean distance E d(X, Y) of paired states (D2).

    Parameters
    ----------
    x, y : array (n, d)
        States of the same tokens at two layers, NumPy or torch on any device.
    distance : {"cosine", "angular", "chordal", "euclidean"}, callable or Distance
        A named distance, or a function of two float64 arrays (n, d) that returns (n,).
    groups : array_like (n,), optional
        Image of each row. The estimate is then the mean over images of each image's mean distance, and the
        image is the unit of sampling. Without it, every row counts as an independent unit.
    baseline : bool
        Also measure unrelated pairs (rows of different images) and return them as `.baseline`.
    rng : Generator, int or None
        Pairs the unrelated images.

    Returns
    -------
    Estimate
        `.value` in the unit of the distance, in [0, d_max] (cosine: [0, 2], angular: [0, pi] radians); `.per_unit`
        (units,).

    Raises
    ------
    ValueError
        Unequal shapes, NaN, zero vectors under a directional distance, wrong groups.
    TypeError
        States that are not real numbers or come from two array libraries; a distance of another type.

    See Also
    --------
    proximal : Probability that the states are close.
    row_distances : The distances themselves.
    bounds.certify : Confidence interval of the mean.

    Notes
    -----
    D2 calls X and Y geometrically redundant at level eps if E d(X, Y) <= eps. By Theorem 1 this bounds the
    difference of the mean squared errors with which X and Y predict a target. The cosine distance is computed as half
    the squared chord (Lemma 2), which keeps its digits near zero.

    References
    ----------
    Hartman et al. (2025), *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models*,
    arXiv:2509.25584.

    Examples
    --------
    Two rows of image "a" and one of image "b"; images count the same:

    >>> import redundancy as rd
    >>> x = [[1.0, 0.0], [1.0, 0.0], [0.0, 2.0]]
    >>> y = [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]
    >>> estimate = rd.geometric(x, y, groups=["a", "a", "b"])
    >>> estimate
    geometric 0.25 (n = 2 images; distance=cosine)
    >>> estimate.per_unit
    array([0.5, 0. ])
    """
    measure = resolve(distance)
    summary = Summary(
        of_distances=lambda d: d,
        quantity=Quantity.GEOMETRIC,
        support=(0.0, measure.d_max),
        unit=measure.unit,
        settings={"distance": measure.name},
    )
    return mean_over_pairs(x, y, measure, groups, summary, baseline=baseline, rng=rng)
