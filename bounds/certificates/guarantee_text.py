"""The one sentence of a certificate: what is guaranteed, for which unit of sampling, under which assumption."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from redundancy.array_types import FloatArray


def sentence(
    *,
    confidence: float,
    n: int,
    unit: str,
    what: str,
    low: float | FloatArray,
    high: float | FloatArray,
    side: str,
    assumptions: Sequence[str] = (),
    family: int = 1,
) -> str:
    """The guarantee, with the numbers (rounded outward) where there is a single one."""
    given = [f"the {unit}s are independent draws from one law", *assumptions]
    if unit == "row":
        given[0] += " (so no two rows come from one image)"
    together = f", together with the other {family - 1} statements of its family" if family > 1 else ""
    return (
        f"With probability at least {confidence:.12g} over the draw of {n} {unit}s, {what} "
        f"{_range(low, high, side)}{together}, provided that {'; '.join(given)}."
    )


def _range(low: float | FloatArray, high: float | FloatArray, side: str) -> str:
    scalar = np.ndim(low) == 0
    bottom = outward(float(low), up=False) if scalar else ".low"
    top = outward(float(high), up=True) if scalar else ".high"
    return {
        "both": f"lies in [{bottom}, {top}]" if scalar else "lies between .low and .high",
        "upper": f"is at most {top}",
        "lower": f"is at least {bottom}",
    }[side]


def outward(value: float, *, up: bool) -> str:
    """Four significant digits, rounded up or down."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    scale = 10.0 ** (3 - math.floor(math.log10(abs(value))))
    rounded = (math.ceil if up else math.floor)(value * scale) / scale
    return f"{rounded:.4g}"


def meaning(quantity: str, settings: Mapping[str, Any], *, target: str, unit: str, method: str, folds: int) -> str:
    """The certified quantity in words."""
    each = "every row counting the same" if target == "token" else f"every {unit} counting the same"
    distance = settings.get("distance", "row")
    t = settings.get("t")
    level = f"t = {t:g}" if isinstance(t, float) else "t"
    if method == "dkw":
        level = "t, for all thresholds t at once,"
    elif not isinstance(t, float):
        level = "t, for all the thresholds measured,"
    fitted = f"the {folds} cross-fitted predictors" if folds else "the given predictors"
    return {
        "geometric": f"the mean {distance} distance ({each})",
        "proximal": f"the probability ({each}) that the {distance} distance is at most {level}",
        "proximal image event": (
            f"the probability that in at least {settings.get('at_least', 1):g} of an image's tokens the "
            f"{distance} distance is at most {level}"
        ),
        "mmse": f"the mean squared error of the best predictor, at most the average risk of {fitted},",
        "functional": f"the risk of predicting from y minus that from x, averaged over {fitted},",
        "cross-entropy": (
            "the cross-entropy in nats of the fitted conditional law, which is never below the conditional entropy "
            "of the earlier code given the later one,"
        ),
    }.get(quantity, f"the mean {quantity} ({each})")
