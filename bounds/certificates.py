"""From an estimate to a statement that holds with a stated probability."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bounds import clusters
from bounds import confidence as limits
from redundancy import checks
from redundancy.results import Estimate

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Certificate:
    """An interval [low, high] that covers the true value with probability at least `confidence`.

    Both ends are rounded outward. `guarantee` says in one sentence what is guaranteed, for which unit of
    sampling, under which assumption. A one-sided certificate has the end of the range on its other side.
    """

    low: float | FloatArray
    high: float | FloatArray
    confidence: float
    method: str
    guarantee: str
    quantity: str
    estimate: float | FloatArray
    n: int
    unit_of_sampling: str = "row"
    unit: str = "1"

    def __repr__(self) -> str:
        interval = f"{self.quantity} in [{self.low}, {self.high}]"
        return f"{interval} at confidence {self.confidence:g} ({self.method}, n = {self.n})"


def certify(
    estimate: Estimate,
    confidence: float = 0.95,
    *,
    method: str = "betting",
    target: str = "image",
    side: str = "both",
    family: int = 1,
    d_max: float | None = None,
    max_rows: float | None = None,
    shuffle: bool = True,
) -> Certificate:
    """Interval that covers what `estimate` estimates, with a finite-sample guarantee (section 9.1).

    Parameters
    ----------
    estimate : Estimate
        A mean over units of sampling: `redundancy.geometric`, `redundancy.proximal`, ...
    confidence : float
        1 - alpha, in (0, 1). Two-sided limits split alpha; so do several thresholds (they hold together).
    method : str
        "betting" (default: valid for every bounded law and shortest or close to it in the coverage study),
        "hoeffding", "chernoff-kl", "anderson-dkw", "empirical-bernstein", "hoeffding-bentkus",
        "clopper-pearson" (units that are 0 or 1 only), or "dkw" (proximal only: holds for all thresholds at
        once, so that t may be chosen after seeing the data).
    target : {"image", "token"}
        "image": the mean over units, each unit counting the same. "token": every row counting the same,
        E[sum over the image's rows] / E[rows per image]; needs `max_rows`, methods betting or hoeffding.
    side : {"both", "upper", "lower"}
        A one-sided limit spends all of alpha on one end.
    family : int
        Number of certificates (layers, modalities, ...) that shall hold together: alpha is divided by it,
        and `.confidence` is then that of the whole family.
    d_max : float, optional
        Largest possible distance, where the distance itself has no limit (Euclidean, a callable).
    max_rows : float, optional
        Largest possible number of rows of an image, known before seeing the data (target="token").
    shuffle : bool
        Read the units in a fixed pseudo-random order (betting only), so that a file sorted by class does no
        harm. False keeps the order of `estimate.per_unit`, which must then not depend on the values.

    Returns
    -------
    Certificate
        `.low`, `.high` float, or (k,) for k thresholds; `.guarantee` in one sentence.

    Raises
    ------
    ValueError
        What cannot be certified: an estimate that keeps no units, an unbounded range without `d_max`,
        Clopper-Pearson on fractions, "dkw" on anything but proximal.
    """
    checks.probability(confidence, name="confidence", open_ends=True)
    checks.one_of(method, (*limits.METHODS, "dkw"), name="method")
    checks.one_of(target, ("image", "token"), name="target")
    checks.one_of(side, ("both", "upper", "lower"), name="side")
    if family < 1:
        raise ValueError(f"family: expected the number of certificates made together, >= 1, got {family}")
    per_unit = _units(estimate)
    support = _support(estimate, d_max)
    columns = per_unit[0].size
    alpha = (1.0 - confidence) / family / (2 if side == "both" else 1)
    if method == "dkw":
        low, high = _all_thresholds(estimate, per_unit, alpha)
    else:
        order = np.random.default_rng(0).permutation(estimate.n) if shuffle else np.arange(estimate.n)
        unit = limits.to_unit(per_unit[order], support)
        rows = None if estimate.rows is None else estimate.rows[order]
        alpha /= columns
        if target == "token":
            low, high = (
                _token_limit(u, rows, max_rows=max_rows, alpha=alpha, method=method) for u in (1.0 - unit, unit)
            )
            low = 1.0 - low
        else:
            low = limits.lower_limit(unit, alpha=alpha, method=method)
            high = limits.upper_limit(unit, alpha=alpha, method=method)
        low, high = _from_unit(low, high, support)
    low = low if side != "upper" else np.full_like(low, support[0])
    high = high if side != "lower" else np.full_like(high, support[1])
    value = _token_mean(estimate, per_unit) if target == "token" else estimate.value
    scalar = per_unit.ndim == 1
    return Certificate(
        low=float(low) if scalar else low,
        high=float(high) if scalar else high,
        confidence=confidence,
        method=method,
        guarantee=_sentence(estimate, confidence, method, target, side, family, d_max, max_rows, columns),
        quantity=estimate.quantity,
        estimate=value,
        n=estimate.n,
        unit_of_sampling=estimate.unit_of_sampling,
        unit=estimate.unit,
    )


def _units(estimate: Estimate) -> FloatArray:
    if not isinstance(estimate, Estimate):
        raise TypeError(f"estimate: expected a redundancy Estimate, got {type(estimate).__name__}")
    if estimate.per_unit is None or estimate.n == 0:
        raise ValueError(
            f"certify: the {estimate.quantity} estimate keeps no per-unit values because it is not a mean "
            "over units; certify a quantity that is one (geometric, proximal, functional)"
        )
    checks.finite(estimate.per_unit, name="estimate.per_unit")
    return estimate.per_unit


def _support(estimate: Estimate, d_max: float | None) -> tuple[float, float]:
    low, high = estimate.support
    if d_max is not None:
        if not (math.isfinite(d_max) and d_max > 0):
            raise ValueError(f"d_max: expected a finite number > 0, got {d_max}")
        if estimate.quantity != "geometric":
            raise ValueError(f"d_max: expected only with a geometric estimate, got {estimate.quantity!r}")
        high = min(high, d_max)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(
            f"certify: the {estimate.quantity} estimate can take any value in [{low}, {high}], and the mean of "
            "an unbounded quantity has no distribution-free limit; use a bounded distance (cosine), or give the "
            "largest possible distance as d_max if it is known before seeing the data"
        )
    return low, high


def _all_thresholds(estimate: Estimate, per_unit: FloatArray, alpha: float) -> tuple[FloatArray, FloatArray]:
    if estimate.quantity != "proximal":
        raise ValueError(
            f"method 'dkw': expected a proximal estimate (a distribution function in t), got "
            f"{estimate.quantity!r}; use method='anderson-dkw' for a mean"
        )
    clustered = estimate.rows is not None and bool((estimate.rows > 1).any())
    s = clusters.dkw_deviation(estimate.n, alpha=alpha, clustered=clustered) + limits.ROUNDING
    mean = per_unit.mean(axis=0)
    return np.maximum(0.0, mean - s), np.minimum(1.0, mean + s)


def _token_limit(
    unit: FloatArray, rows: FloatArray | None, *, max_rows: float | None, alpha: float, method: str
) -> FloatArray:
    if rows is None or max_rows is None:
        raise ValueError(
            "target='token': expected an estimate with rows per image and max_rows (the largest possible "
            "number of rows of an image, known in advance); give max_rows, or use target='image'"
        )
    return clusters.token_weighted(unit, rows, max_rows=max_rows, alpha=alpha, method=method)


def _token_mean(estimate: Estimate, per_unit: FloatArray) -> float | FloatArray:
    mean = np.average(per_unit, axis=0, weights=estimate.rows)
    return float(mean) if per_unit.ndim == 1 else np.asarray(mean)


def _from_unit(low: FloatArray, high: FloatArray, support: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    a, b = support
    nudge = limits.ROUNDING * max(abs(a), abs(b))
    return (
        np.maximum(a, a + (b - a) * low - nudge),
        np.minimum(b, a + (b - a) * high + nudge),
    )


def _sentence(
    estimate: Estimate,
    confidence: float,
    method: str,
    target: str,
    side: str,
    family: int,
    d_max: float | None,
    max_rows: float | None,
    columns: int,
) -> str:
    unit = estimate.unit_of_sampling
    distance = estimate.settings.get("distance", "")
    each = "every row counting the same" if target == "token" else f"every {unit} counting the same"
    what = {
        "geometric": f"the mean {distance} distance ({each})",
        "proximal": f"the probability that the {distance} distance is at most t ({each})",
        "proximal image event": "the probability that an image has at least the stated share of close tokens",
    }.get(estimate.quantity, f"the mean {estimate.quantity} ({each})")
    if method == "dkw":
        what += ", for all thresholds t at once,"
    elif columns > 1:
        what += f", for all {columns} columns at once,"
    where = {
        "both": "lies in [low, high]",
        "upper": "is at most `high`",
        "lower": "is at least `low`",
    }[side]
    assumptions = [f"the {unit}s are independent draws from one law"]
    if unit == "row" and method != "dkw":
        assumptions[0] += " (no two rows from one image)"
    if d_max is not None:
        assumptions.append(f"no distance exceeds {d_max:g}")
    if target == "token":
        assumptions.append(f"no image has more than {max_rows:g} rows")
    together = f", together with the other {family - 1} of its family" if family > 1 else ""
    return (
        f"With probability at least {confidence:g} over the draw of {estimate.n} {unit}s, {what} {where}"
        f"{together}, provided that {' and '.join(assumptions)}."
    )
