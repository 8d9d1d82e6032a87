"""The bettor: stakes, and the capital against a candidate mean (theory, sections 9.1 and 16.5)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from redundancy.array_types import FloatArray

# Largest share of the capital that a bet may lose: a single far unit must not bankrupt the bettor.
LARGEST_STAKE = 0.9

# From values and weights (columns, n) and alpha to stakes (columns, n).
Stakes = Callable[[FloatArray, FloatArray, float], FloatArray]


def goal_of_log_capital(alpha: float, n: int) -> float:
    """log(1/alpha) and a margin: a computed log-capital is off by at most a few ulps of each summand."""
    return -math.log(alpha) * (1 + 1e-12) + 1e-14 * n


def fixed_n_stakes(d: FloatArray, w: FloatArray, alpha: float) -> FloatArray:
    """lambda_j = sqrt(2 log(1/alpha) j / (n V_{j-1})), V_{j-1} a regularised sum of squares of the past."""
    n = d.shape[1]
    return np.asarray(np.sqrt(-2.0 * math.log(alpha) * np.arange(1, n + 1) / (n * past_squares(d, w))))


def anytime_stakes(d: FloatArray, w: FloatArray, alpha: float, horizon: int | None) -> FloatArray:
    """Stakes that do not depend on the number of units: tuned to a horizon fixed in advance, or to none."""
    j = np.arange(1, d.shape[1] + 1)
    share = 1.0 / np.log1p(j) if horizon is None else j / np.maximum(j, horizon)
    return np.asarray(np.sqrt(-2.0 * math.log(alpha) * share / past_squares(d, w)))


def past_squares(d: FloatArray, w: FloatArray) -> FloatArray:
    """V_0, ..., V_{n-1}: 1/4 plus the squares of the past units' deviations from their running means."""
    # Half a unit at 1/2 and a variance of 1/4 stand for the first unit's missing past.
    centre = (0.5 + np.cumsum(w * d, axis=1)) / (1.0 + np.cumsum(w, axis=1))
    spread = np.cumsum((w * (d - centre)) ** 2, axis=1)
    return np.asarray(0.25 + np.concatenate([np.zeros((d.shape[0], 1)), spread[:, :-1]], axis=1))


def log_capital(d: FloatArray, w: FloatArray, stake: FloatArray, m: FloatArray) -> FloatArray:
    """log K_1(m), ..., log K_n(m) of each column; d, w, stake (c, n), m (c,)."""
    with np.errstate(divide="ignore"):
        cap = LARGEST_STAKE / (1.0 - m)
    gain = np.minimum(stake, cap[:, None])
    gain *= w
    gain *= m[:, None] - d
    np.log1p(gain, out=gain)
    return np.asarray(np.cumsum(gain, axis=1))
