"""Confidence limits of H(X | Y) on finite alphabets: bounded differences (9.2) and cross-entropy."""

from __future__ import annotations

import math

from bounds.confidence import Method, deviation, upper_limit
from redundancy.array_types import FloatArray

_ROUNDING = 1e-12


def plugin_conditional_entropy(joint: FloatArray) -> float:
    """H(X | Y) in nats of a table of weights (size of X, size of Y)."""
    from scipy.special import xlogy

    total = joint.sum()
    return float((xlogy(joint.sum(axis=0), joint.sum(axis=0)).sum() - xlogy(joint, joint).sum()) / total)


def mcdiarmid_entropy(
    plugin: float,
    *,
    shape: tuple[int, int],
    n: int,
    alpha_low: float,
    alpha_high: float,
    rows: FloatArray | None = None,
) -> tuple[float, float]:
    """Confidence limits of H(X | Y) around its plug-in estimate, by bounded differences (9.2).

    Replacing one unit moves the plug-in by at most c; then H - (plug-in) lies between -n c s(alpha_low) and
    log(1 + (K - 1) / n) + n c s(alpha_high), s(a) = sqrt(log(1/a) / (2 n)), K the number of cells. For single
    rows n c = n log n - (n - 1) log(n - 1). An image with several rows replaces a share 1/n of the table, so
    n c = n h_2(1/n) + log |X| by the modulus of continuity (theory, section 9.3.1); with N rows shared equally
    also N log N - (N - 1) log(N - 1).

    Parameters
    ----------
    plugin : float
        Plug-in entropy of the table in which each unit counts the same.
    shape : (int, int)
        Sizes of the alphabets of X and Y, fixed in advance, not the numbers of symbols seen.
    n : int
        Number of independent units.
    alpha_low, alpha_high : float
        Error probabilities of the two ends.
    rows : array (n,), optional
        Rows of each unit; None means one each.

    Returns
    -------
    (float, float)
        In nats, within [0, log |X|].
    """
    size = shape[0]
    change = _replacement(n)
    if rows is not None and (rows != 1).any():
        v = 1.0 / n
        mixing = -math.log(v) - (n - 1) * math.log1p(-v) if n > 1 else 0.0
        change = mixing + math.log(size)
        if (rows == rows[0]).all():
            change = min(change, _replacement(int(rows.sum())))
    low = plugin - change * deviation(n, alpha_low)
    bias = math.log1p((shape[0] * shape[1] - 1) / n)
    high = plugin + bias + change * deviation(n, alpha_high)
    return max(0.0, low - _ROUNDING), min(math.log(size), high + _ROUNDING)


def _replacement(n: int) -> float:
    """n log n - (n - 1) log(n - 1): n times the most that replacing one of n rows can move the plug-in entropy."""
    return n * math.log(n) - (n - 1) * math.log(n - 1) if n > 1 else 0.0


def cross_entropy_upper_limit(
    losses: FloatArray, *, size: int, mix: float, alpha: float, method: Method = "betting"
) -> float:
    """Upper confidence limit of H(X | Y) <= E[-log q(X | Y)] (theory, section 9.3.4).

    Parameters
    ----------
    losses : array (n,)
        Mean of -log q over the rows of each held-out image, q = (1 - mix) q_0 + mix / size with q_0 fitted on
        other data.
    size : int
        Size of the alphabet of X.
    mix : float
        Weight of the uniform distribution in q.
    alpha : float
        Error probability.
    method : str
        As in :func:`bounds.confidence.upper_limit`.
    """
    support = cross_entropy_support(size, mix)
    limit = float(upper_limit(losses, alpha=alpha, method=method, support=support))
    return min(math.log(size), limit + _ROUNDING)


def cross_entropy_support(size: int, mix: float) -> tuple[float, float]:
    """Range of -log((1 - mix) q_0 + mix / size) for q_0 in [0, 1]."""
    return -math.log1p(-mix * (1 - 1 / size)), math.log(size / mix)
