"""Upper bounds on H(X | Y) from which codewords are close, for a joint distribution on a codebook: Theorems 3 and 4.

They are exact statements about the distribution that is passed; given sample frequencies, about those.
"""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy

from redundancy.array_types import BoolArray, FloatArray
from redundancy.information.finite_entropy import binary_entropy_of, entropy_of


def ball_bounds(joint: FloatArray, near: BoolArray) -> dict[str, float]:
    """Upper bounds on H(X | Y) in nats for joint[x, y] and near[x, y] = (d(x, y) <= t).

    Returns
    -------
    dict
        "fano per point" (F0), "fano averaged" (F1), "fano" (F2, as published), "data processing"
        (H(X) - E d(r_Y || p(Y))) and "braun-pokutta" (H(X) less the last form of (6.1), never less than 0),
        "marginal" (H(X)) and "alphabet" (log |V|).
    """
    size = joint.shape[0]
    p_x, p_y = joint.sum(1), joint.sum(0)
    held = p_y > 0
    p_y, count = p_y[held], near[:, held].sum(0).astype(np.float64)
    inner, outer = near[:, held], ~near[:, held]
    # complements are summed, not subtracted: 1 - p loses a small p
    close, far = (joint[:, held] * inner).sum(0) / p_y, (joint[:, held] * outer).sum(0) / p_y
    ball, rest = p_x @ inner, p_x @ outer  # p(y) of D7 and 1 - p(y)
    entropy = entropy_of(p_x)
    inside, outside = _times_log(close, count), _times_log(far, size - count)
    r, not_r = p_y @ close, p_y @ far
    # an event of product probability 0 or 1 has the same joint probability: 0 log(0/0) = 0
    published = _surprise(r, ball.max()) + _surprise(not_r, rest.max()) - float(binary_entropy_of(r, not_r))
    return {
        "fano per point": float(p_y @ (binary_entropy_of(far, close) + inside + outside)),
        "fano averaged": float(binary_entropy_of(not_r, r) + p_y @ (inside + outside)),
        "fano": float(
            binary_entropy_of(not_r, r)
            + _times_log(not_r, np.array(size - count.min()))
            + _times_log(r, np.array(count.max()))
        ),
        "data processing": entropy - float(p_y @ (_part(close, ball) + _part(far, rest))),
        "braun-pokutta": entropy - max(0.0, published),
        "marginal": entropy,
        "alphabet": float(np.log(size)),
    }


def _times_log(weight: FloatArray, count: FloatArray) -> FloatArray:
    """weight log count, 0 where the set is empty (it then has no mass either)."""
    return np.asarray(np.where(count > 0, weight * np.log(np.maximum(count, 1.0)), 0.0))


def _part(r: FloatArray, q: FloatArray) -> FloatArray:
    """r log(r / q), one of the two terms of d(r || q); q = 0 only where r = 0."""
    return np.asarray(xlogy(r, r) - xlogy(r, np.where(r > 0, q, 1.0)))


def _surprise(weight: FloatArray, p: FloatArray) -> float:
    """weight log(1 / p) with 0 log(1 / 0) = 0."""
    return 0.0 if weight <= 0.0 or p <= 0.0 else float(-weight * np.log(p))
