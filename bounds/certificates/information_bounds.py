"""Finite-sample lower limit of I(X; Y) for states of any kind (section 6)."""

from __future__ import annotations

import numpy as np

from bounds.confidence import lower_limit, upper_limit
from bounds.theorems.theorem_4_braun_pokutta import information_from_limits
from redundancy.array_types import FloatArray


def information_lower_limit(
    matched: FloatArray, mismatched: FloatArray, *, alpha: float, method: str = "betting"
) -> FloatArray:
    """I(X; Y) >= d(r || q) where r > q: r a lower limit of P(d(X, Y) <= t), q an upper one of (P_X x P_Y)(d <= t).

    Parameters
    ----------
    matched : array (n,) or (n, k)
        Per image, the fraction of its rows whose own pair is within each of k thresholds.
    mismatched : array (m,) or (m, k)
        Per disjoint pair of images, the fraction of crossed rows within each threshold.
    alpha : float
        Error probability of all thresholds together.
    method : str
        For both limits; "clopper-pearson" when every unit is a single row.

    Returns
    -------
    ndarray () or (k,), nats, >= 0, rounded down; all k limits hold at once, so the largest may be taken.
    """
    each = alpha / 2 / matched[0].size
    r = lower_limit(matched, alpha=each, method=method)
    q = upper_limit(mismatched, alpha=each, method=method)
    # The margin covers the rounding of the divergence.
    return np.asarray(information_from_limits(r, q) * (1 - 1e-12))
