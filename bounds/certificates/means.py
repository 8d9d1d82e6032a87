"""Limits of what an Estimate averages over its units: plain, token-weighted, fold by fold, all thresholds."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from bounds import confidence as limits
from bounds.certificates import clustered
from redundancy import checks
from redundancy.array_types import FloatArray
from redundancy.estimate import Estimate

Interval = tuple[FloatArray, FloatArray]


def units(estimate: Estimate) -> FloatArray:
    """The per-unit values, or why there are none to certify."""
    if not isinstance(estimate, Estimate):
        raise TypeError(f"estimate: expected a redundancy Estimate, got {type(estimate).__name__}")
    if estimate.per_unit is None or estimate.n == 0:
        raise ValueError(
            f"certify: the {estimate.quantity} estimate keeps no per-unit values because it is not a mean over "
            "units, and has no distribution-free limit of this kind; certify geometric, proximal or functional, "
            "target='information' of a proximal estimate with baseline, or certify_entropy of codes"
        )
    checks.finite(estimate.per_unit, name="estimate.per_unit")
    return estimate.per_unit


def support(
    estimate: Estimate, *, d_max: float | None = None, largest_loss: float | None = None
) -> tuple[float, float]:
    """The finite range of a unit, narrowed by what the caller knows, or why there is none."""
    low, high = estimate.support
    risky = estimate.quantity in ("mmse", "functional")
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
    else:
        remedy = "use a bounded distance (cosine), or give the largest possible distance as d_max"
    raise ValueError(
        f"certify: a unit of the {estimate.quantity} estimate can take any value in [{low}, {high}], and the mean "
        f"of an unbounded quantity has no distribution-free limit; {remedy}, if known before seeing the data"
    )


def plain(unit: FloatArray, *, low: float, high: float, method: str) -> Interval:
    """Limits of the columns' means at error probabilities low and high; unit in [0, 1]."""
    return (
        limits.lower_limit(unit, alpha=low, method=method),
        limits.upper_limit(unit, alpha=high, method=method),
    )


def token_weighted(
    unit: FloatArray, rows: FloatArray | None, *, max_rows: float | None, low: float, high: float, method: str
) -> Interval:
    """Limits of the mean in which every row counts the same; unit in [0, 1]."""
    if rows is None or max_rows is None:
        raise ValueError(
            "target='token': expected an estimate with rows per image and max_rows (the largest possible "
            "number of rows of an image, known in advance); give max_rows, or use target='image'"
        )
    reflected = clustered.token_weighted(1.0 - unit, rows, max_rows=max_rows, alpha=low, method=method)
    return (
        np.maximum(0.0, 1.0 - reflected - limits.ROUNDING),
        clustered.token_weighted(unit, rows, max_rows=max_rows, alpha=high, method=method),
    )


def fold_by_fold(unit: FloatArray, fold: NDArray[np.int64], *, low: float, high: float, method: str) -> Interval:
    """Limits of the folds' average risk: given the rest, a fold's losses are iid; union over the folds."""
    names, counts = np.unique(fold, return_counts=True)
    each = [plain(unit[fold == name], low=low / names.size, high=high / names.size, method=method) for name in names]
    share = counts / counts.sum()
    bottom = sum(s * interval[0] for s, interval in zip(share, each, strict=True))
    top = sum(s * interval[1] for s, interval in zip(share, each, strict=True))
    return (
        np.maximum(0.0, np.asarray(bottom) - limits.ROUNDING),
        np.minimum(1.0, np.asarray(top) + limits.ROUNDING),
    )


def all_thresholds(estimate: Estimate, per_unit: FloatArray, *, low: float, high: float) -> Interval:
    """Limits of P(d <= t) that hold for every t at once: DKW for rows, (9.1) for images of several rows."""
    if estimate.quantity != "proximal":
        raise ValueError(
            f"method 'dkw': expected a proximal estimate (a distribution function in t), got "
            f"{estimate.quantity!r}; use method='anderson-dkw' for a mean"
        )
    several = estimate.rows is not None and bool((estimate.rows > 1).any())
    down, up = (clustered.dkw_deviation(estimate.n, alpha=a, clustered=several) for a in (low, high))
    mean = per_unit.mean(axis=0)
    return (
        np.maximum(0.0, mean - down - limits.ROUNDING),
        np.minimum(1.0, mean + up + limits.ROUNDING),
    )


def from_unit(interval: Interval, ends: tuple[float, float]) -> Interval:
    """Map limits from [0, 1] to the support, outward."""
    a, b = ends
    nudge = limits.ROUNDING * max(abs(a), abs(b))
    low, high = interval
    return np.maximum(a, a + (b - a) * low - nudge), np.minimum(b, a + (b - a) * high + nudge)
