"""A lower limit of mutual information from matched and mismatched pairs (section 6), as a certificate."""

from __future__ import annotations

import numpy as np

from bounds.certificates import means
from bounds.certificates.certificate import Certificate, certificate_of
from bounds.certificates.information_bounds import information_lower_limit
from bounds.theorems.theorem_4_braun_pokutta import information_from_limits
from redundancy.array_types import FloatArray
from redundancy.estimate import Estimate


def certify_information(
    estimate: Estimate, confidence: float, *, method: str, side: str, family: int, shuffle: bool
) -> Certificate:
    """What `certify(..., target="information")` returns; arguments as there."""
    if estimate.quantity != "proximal" or estimate.baseline is None or estimate.baseline.per_unit is None:
        raise ValueError(
            f"target='information': expected redundancy.proximal(..., baseline=True), whose unrelated pairs give the "
            f"probability of being close under independence; got {estimate.quantity!r}"
            + (" without baseline" if estimate.quantity == "proximal" else "")
        )
    if side == "upper":
        raise ValueError(
            "target='information': only a lower limit exists; mutual information of continuous states has no "
            "distribution-free upper limit. Use side='both' or 'lower'"
        )
    if method == "dkw":
        raise ValueError("target='information': method 'dkw' is for the proximal curve; use 'betting'")
    matched, mismatched = (
        part[np.random.default_rng(0).permutation(len(part))] if shuffle else part
        for part in (means.units(estimate), estimate.baseline.per_unit)
    )
    low = information_lower_limit(matched, mismatched, alpha=(1.0 - confidence) / family, method=method)
    plugin = _plugin(estimate)
    best = int(np.argmax(low))
    t = np.atleast_1d(np.asarray(estimate.settings["t"], dtype=np.float64))
    pairs = f"{estimate.baseline.n} disjoint pairs of unrelated {estimate.unit_of_sampling}s"
    return certificate_of(
        estimate,
        low=np.asarray(np.max(low)),
        high=np.asarray(np.inf),
        value=float(np.atleast_1d(plugin)[best]),
        confidence=confidence,
        method=method,
        side="lower",
        family=family,
        assumptions=["the thresholds were fixed before seeing the data"],
        what=(
            f"the mutual information in nats between the two states of a random row, found from the event "
            f"{{distance <= {t[best]:g}}} in matched rows and in {pairs},"
        ),
        quantity="mutual information",
        unit="nats",
    )


def _plugin(estimate: Estimate) -> FloatArray:
    """d(r || q) at the measured r = P(d <= t) and q = P(d <= t) of unrelated pairs, 0 where r <= q."""
    assert estimate.baseline is not None
    return np.asarray(information_from_limits(estimate.value, estimate.baseline.value))
