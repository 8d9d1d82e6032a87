"""One row of a profile: a number, its interval, what it is compared with, and what is guaranteed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import bounds
from bounds.certificates.certificate import Certificate
from redundancy.display import Displayed
from redundancy.estimate import Estimate

Notion = Literal[
    "geometric",
    "proximal",
    "functional",
    "next state",
    "informational",
    "mutual information",
    "usable information",
    "pid",
    "similarity",
    "effective rank",
]
NOTIONS: tuple[Notion, ...] = get_args(Notion)
NO_INTERVAL = "estimate, no interval"


@dataclass(frozen=True, repr=False)
class Measure(Displayed):
    """A number about one or two layers, by one method.

    Attributes
    ----------
    notion, method : str
        What was measured, and how.
    value : float
        The estimate; NaN only where `guarantee` begins with "absent", and says why.
    low, high : float
        Ends of the interval; NaN where there is none.
    baseline : float
        What the value is compared with; NaN where there is nothing.
    images : int
        Independent images behind the number.
    unit : str
        "1", "nats", ...
    guarantee : str
        What the interval promises, in a few words: it begins with "certified", "bootstrap", "estimate", "exact" or
        "absent".
    """

    notion: Notion
    method: str
    value: float
    low: float = math.nan
    high: float = math.nan
    baseline: float = math.nan
    images: int = 0
    unit: str = "1"
    guarantee: str = NO_INTERVAL


def absent(notion: Notion, method: str, reason: str, *, images: int = 0) -> Measure:
    """A row that says why a number is missing."""
    return Measure(notion, method, math.nan, images=images, unit="", guarantee=f"absent: {' '.join(reason.split())}")


def certified(
    notion: Notion, method: str, certificate: Certificate, says: str, *, baseline: float = math.nan
) -> Measure:
    """A row from a certificate of one number; `says` names the number that the limits are about."""
    ends = {"both": "both limits", "upper": "upper limit", "lower": "lower limit"}[certificate.side]
    return Measure(
        notion,
        method,
        float(certificate.estimate),
        float(certificate.low),
        float(certificate.high),
        baseline,
        certificate.n,
        certificate.unit,
        f"certified, {ends}: {says}",
    )


def estimated(
    notion: Notion, method: str, estimate: Estimate, *, images: int, baseline: float = math.nan, why: str = ""
) -> Measure:
    """A row without an interval, with the estimator's doubts where it has some."""
    doubts = [why, *estimate.details.get("doubts", ())]
    told = "; ".join(text for text in doubts if text)
    return Measure(
        notion,
        method,
        float(estimate),
        baseline=baseline,
        images=images,
        unit=estimate.unit,
        guarantee=NO_INTERVAL + (f": {told}" if told else ""),
    )


@dataclass(frozen=True)
class Confidence:
    """What every interval of a profile promises.

    Attributes
    ----------
    level : float
        Confidence, in (0, 1).
    simultaneous : int
        Number of intervals of one notion, method and view that hold together.
    """

    level: float = 0.95
    simultaneous: int = 1

    @property
    def alpha(self) -> float:
        """Error probability of one interval."""
        return (1.0 - self.level) / self.simultaneous

    def certify(
        self, estimate: Estimate, *, side: Literal["both", "upper", "lower"] = "both", share: int = 1
    ) -> Certificate:
        """Certificate of an estimate that spends one `share`-th of an interval's error probability."""
        return bounds.certify(estimate, self.level, side=side, simultaneous=self.simultaneous * share)


def measured(
    notion: Notion, methods: tuple[str, ...], images: int, compute: Callable[[], list[Measure]]
) -> list[Measure]:
    """The measures that `compute` makes, or one row for each method that says why there is none."""
    try:
        return compute()
    except ValueError as reason:  # the estimators' refusals, each of which says what was expected
        return [absent(notion, method, str(reason), images=images) for method in methods]
