"""The sentence of a certificate: what is guaranteed, for which unit of sampling, under which assumptions."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Literal

import numpy as np

from redundancy.array_types import FloatArray


def sentence(
    *,
    what: str,
    drawn: str,
    low: float | FloatArray,
    high: float | FloatArray,
    confidence: float,
    side: Literal["both", "upper", "lower"],
    simultaneous: int,
    assumptions: Sequence[str],
) -> str:
    """The guarantee as one sentence; a single interval appears in it with its ends rounded outward.

    Parameters
    ----------
    what : str
        The certified number in words.
    drawn : str
        The sample in words, for instance "60 images".
    low, high : float or array
        Ends of the interval.
    confidence, side, simultaneous
        As in :func:`bounds.certify_mean`.
    assumptions : sequence of str
        What the guarantee supposes.
    """
    others = simultaneous - 1
    together = f", together with {others} other certificate{'s' if others > 1 else ''}" if others else ""
    return (
        f"With probability at least {probability(confidence)} over the draw of {drawn}, {what} "
        f"{_range(low, high, side)}{together}, provided that {'; '.join(assumptions)}."
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


def outward(value: float, *, up: bool, digits: int = 4) -> str:
    """A number with a few significant digits, rounded up or down: never inside of the exact one."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    context = Context(prec=digits, rounding=ROUND_CEILING if up else ROUND_FLOOR)
    return f"{float(context.create_decimal(repr(float(value)))):.{digits}g}"


def probability(confidence: float) -> str:
    """A probability with twelve significant digits, rounded down; "1" only where it is 1."""
    # 1 - 0.05 - 0.05 is an ulp below 0.9: what rounds to itself within an ulp is printed as meant.
    short = float(f"{confidence:.12g}")
    if confidence < 1.0 and (short >= 1.0 or short - confidence > 4 * sys.float_info.epsilon):
        return digits_below_one(confidence)
    return f"{short:.12g}"


def digits_below_one(confidence: float) -> str:
    """A probability below 1, rounded down, with as many digits as show that it is below 1."""
    digits = max(12, 2 - math.floor(math.log10(1.0 - confidence)))
    return f"{Context(prec=digits, rounding=ROUND_FLOOR).create_decimal(Decimal(confidence)).normalize():f}"


def mean_in_words(quantity: str, settings: Mapping[str, object], *, unit: str, folds: int = 0) -> str:
    """What the mean of an estimate's units estimates.

    Parameters
    ----------
    quantity : str
        `Estimate.quantity`.
    settings : mapping
        `Estimate.settings`; the distance, the threshold and the like are named.
    unit : str
        What counts the same: "image" or "row".
    folds : int
        Number of cross-fitted predictors; 0 for given ones.
    """
    each = f"every {unit} counting the same"
    fitted = f"the {folds} cross-fitted predictors" if folds else "the given predictors"
    texts = {
        "geometric": f"the mean {_distance(settings)} distance ({each})",
        "proximal": _closeness(settings, each, _threshold(settings)),
        "proximal image event": (
            f"the probability that in at least {settings.get('at_least', 1):g} of an image's tokens the "
            f"{_distance(settings)} distance is at most {_threshold(settings)}"
        ),
        "mmse": f"the mean squared error of the best predictor, which is at most the average risk of {fitted},",
        "functional": f"the risk of predicting from y minus that from x, averaged over {fitted},",
        "cross-entropy": (
            "the cross-entropy in nats of the fitted conditional distribution, which is never below the conditional "
            "entropy of the earlier symbol given the later one,"
        ),
        "mean": f"the mean ({each})",
    }
    return texts.get(str(quantity), f"the mean {quantity} ({each})")


def curve_in_words(settings: Mapping[str, object], *, unit: str) -> str:
    """What a curve of the proximal estimate over all thresholds estimates."""
    return _closeness(settings, f"every {unit} counting the same", "t, for all thresholds t at once,")


def _closeness(settings: Mapping[str, object], each: str, threshold: str) -> str:
    return f"the probability ({each}) that the {_distance(settings)} distance is at most {threshold}"


def _threshold(settings: Mapping[str, object]) -> str:
    t = settings.get("t")
    return f"t = {t:g}" if isinstance(t, float) else "t, for all the thresholds measured,"


def _distance(settings: Mapping[str, object]) -> str:
    return str(settings.get("distance", "row"))
