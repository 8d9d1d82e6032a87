"""Intervals for what an Estimate averages over its units: plain, token-weighted, fold by fold, all thresholds."""

from __future__ import annotations

import math

import numpy as np

from bounds import confidence as limits
from bounds.certificates import clustered
from bounds.certificates.certificate import ErrorBudget, Interval
from bounds.confidence.units import ROUNDING
from redundancy import checks
from redundancy.array_types import FloatArray, IntArray
from redundancy.estimate import Estimate

WATCHED = ("betting-anytime",)
RISKS = ("mmse", "functional")


def units(estimate: Estimate) -> FloatArray:
    """The per-unit values of an estimate; an error where there are none to certify."""
    if not isinstance(estimate, Estimate):
        raise TypeError(f"estimate: expected a redundancy Estimate, got {type(estimate).__name__}")
    if estimate.per_unit is None or estimate.n == 0:
        raise ValueError(
            f"certify: the {estimate.quantity} estimate keeps no per-unit values because it is not a mean over "
            "units, and has no distribution-free bound of this kind; certify geometric, proximal or functional, or "
            "use certify_information of a proximal estimate with baseline, or certify_entropy of codewords"
        )
    checks.finite(estimate.per_unit, name="estimate.per_unit")
    return estimate.per_unit


def order(n: int, *, shuffle: bool, method: str = "") -> IntArray:
    """The order in which bets read the units: a fixed pseudo-random one, or as they come.

    Units that may be watched are read as they come: a permutation of n units begins otherwise than one of n + 1.
    """
    return np.random.default_rng(0).permutation(n) if shuffle and method not in WATCHED else np.arange(n)


def support(
    estimate: Estimate, *, d_max: float | None = None, largest_loss: float | None = None
) -> tuple[float, float]:
    """The finite range of a unit, narrowed by what the caller knows; an error where it is infinite."""
    low, high = estimate.support
    risky = estimate.quantity in RISKS
    for name, value, fits in (
        ("d_max", d_max, estimate.quantity == "geometric"),
        ("largest_loss", largest_loss, risky),
    ):
        if value is None:
            continue
        if not fits:
            raise ValueError(f"{name}: makes no sense for a {estimate.quantity} estimate; leave it out")
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name}: expected a finite number > 0, got {value}")
        low, high = max(low, -value), min(high, value)
    if math.isfinite(low) and math.isfinite(high):
        return low, high
    if risky:
        remedy = "give target_range to redundancy.mmse or redundancy.functional, or largest_loss here"
    elif estimate.quantity == "geometric":
        remedy = "use a bounded distance (cosine), or give the largest possible distance as d_max"
    else:
        remedy = "give the range of a unit as Estimate(..., support=(low, high))"
    raise ValueError(
        f"certify: a unit of the {estimate.quantity} estimate can take any value in [{low}, {high}], and the mean "
        f"of an unbounded quantity has no distribution-free bound; {remedy}, if known before seeing the data"
    )


def plain(unit: FloatArray, *, alpha: float, method: limits.Method) -> Interval:
    """Interval for the columns' means, error probability alpha at each end; unit in [0, 1]."""
    return (
        limits.lower_limit(unit, alpha=alpha, method=method),
        limits.upper_limit(unit, alpha=alpha, method=method),
    )


def token_weighted(
    unit: FloatArray, rows: FloatArray, *, max_rows: float, alpha: float, method: clustered.TokenMethod
) -> Interval:
    """Interval for the mean in which every row counts the same; unit in [0, 1]."""
    reflected = clustered.token_weighted(1.0 - unit, rows, max_rows=max_rows, alpha=alpha, method=method)
    return (
        np.maximum(0.0, 1.0 - reflected - ROUNDING),
        clustered.token_weighted(unit, rows, max_rows=max_rows, alpha=alpha, method=method),
    )


def fold_by_fold(unit: FloatArray, fold: IntArray, *, alpha: float, method: limits.Method) -> Interval:
    """Interval for the folds' average risk: given the other folds, a fold's losses are iid; union over the folds."""
    names, counts = np.unique(fold, return_counts=True)
    each = [plain(unit[fold == name], alpha=alpha / names.size, method=method) for name in names]
    share = counts / counts.sum()
    bottom = sum(s * interval[0] for s, interval in zip(share, each, strict=True))
    top = sum(s * interval[1] for s, interval in zip(share, each, strict=True))
    return (
        np.maximum(0.0, np.asarray(bottom) - ROUNDING),
        np.minimum(1.0, np.asarray(top) + ROUNDING),
    )


def all_thresholds(estimate: Estimate, per_unit: FloatArray, *, alpha: float) -> Interval:
    """Interval for P(d <= t) that holds for every t at once: DKW for rows, (9.1) for images of several rows."""
    several = estimate.rows is not None and bool((estimate.rows > 1).any())
    deviation = clustered.dkw_deviation(estimate.n, alpha=alpha, clustered=several)
    mean = per_unit.mean(axis=0)
    return (
        np.maximum(0.0, mean - deviation - ROUNDING),
        np.minimum(1.0, mean + deviation + ROUNDING),
    )


def from_unit(interval: Interval, ends: tuple[float, float], budget: ErrorBudget) -> Interval:
    """Map an interval from [0, 1] to the support, outward, and keep the ends that were asked for.

    Two-sided betting limits of units that drift with their order may cross; their hull is kept.
    """
    a, b = ends
    nudge = ROUNDING * max(abs(a), abs(b))
    low, high = interval
    low, high = np.maximum(a, a + (b - a) * low - nudge), np.minimum(b, a + (b - a) * high + nudge)
    if budget.side == "both":
        low, high = np.minimum(low, high), np.maximum(low, high)
    return budget.sided((low, high), ends)
