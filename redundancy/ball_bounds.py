"""Bounds of H(X | Y) from who is close to whom, for a joint law on a codebook: Theorems 3 and 4.

They are exact statements about the law they are given; given sample frequencies, about those.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def ball_bounds(joint: FloatArray, near: BoolArray) -> dict[str, float]:
    """Upper bounds of H(X | Y) in nats for joint[x, y] and near[x, y] = (d(x, y) <= t).

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
    close = np.minimum((joint[:, held] * near[:, held]).sum(0) / p_y, 1.0)
    ball = np.minimum(p_x @ near[:, held], 1.0)  # p(y) of D7
    far = 1.0 - close
    entropy = float(-xlogy(p_x, p_x).sum())
    inside, outside = _times_log(close, count), _times_log(far, size - count)
    r, smallest, largest = float(p_y @ close), float(ball.min()), float(ball.max())
    # an event of product probability 0 or 1 has the same joint probability: 0 log(0/0) = 0
    published = _from_zero(r, largest) + _from_zero(1.0 - r, 1.0 - smallest) - float(_h2(np.array(r)))
    return {
        "fano per point": float(p_y @ (_h2(far) + inside + outside)),
        "fano averaged": float(_h2(p_y @ far) + p_y @ (inside + outside)),
        "fano": float(
            _h2(p_y @ far)
            + _times_log(p_y @ far, np.array(size - count.min()))
            + _times_log(p_y @ close, np.array(count.max()))
        ),
        "data processing": entropy - float(p_y @ _relative(close, ball)),
        "braun-pokutta": entropy - max(0.0, published),
        "marginal": entropy,
        "alphabet": float(np.log(size)),
    }


def _h2(p: FloatArray) -> FloatArray:
    return np.asarray(-xlogy(p, p) - xlogy(1.0 - p, 1.0 - p))


def _times_log(weight: FloatArray, count: FloatArray) -> FloatArray:
    """weight log count, 0 where the set is empty: then it has no mass either."""
    return np.asarray(np.where(count > 0, weight * np.log(np.maximum(count, 1.0)), 0.0))


def _relative(r: FloatArray, q: FloatArray) -> FloatArray:
    """Binary relative entropy d(r || q); r is absolutely continuous with respect to q here."""
    return np.asarray(
        xlogy(r, r)
        - xlogy(r, np.where(r > 0, q, 1.0))
        + xlogy(1 - r, 1 - r)
        - xlogy(1 - r, np.where(r < 1, 1 - q, 1.0))
    )


def _from_zero(weight: float, p: float) -> float:
    """weight log(1 / p) with 0 log(1 / 0) = 0."""
    return 0.0 if weight <= 0.0 or p <= 0.0 else -weight * float(np.log(p))
