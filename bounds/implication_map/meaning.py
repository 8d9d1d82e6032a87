"""What a certificate is about, and whether it may stand for a quantity of the implication map."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from bounds.certificates.certificate import Certificate
from bounds.implication_map.result import QUANTITIES, Derived
from bounds.implication_map.rules import ELEMENTARY_RULES, RULES
from redundancy.estimate import Quantity

# Which certified quantities may stand for which: those of estimates beside the one of the same name.
CERTIFIED_AS: Mapping[str, frozenset[str]] = {
    "geometric": frozenset({"geometric"}),
    "proximal": frozenset({"proximal"}),
    "independent_close": frozenset({"proximal"}),
    "entropy_x": frozenset({"entropy"}),
    "entropy_x_given_y": frozenset({"conditional entropy", "informational", "cross-entropy"}),
    "entropy_y_given_x": frozenset({"conditional entropy", "informational", "cross-entropy"}),
    "information_xy": frozenset({"mutual information"}),
    "information_tx_given_y": frozenset({"conditional mutual information"}),
    "unique_x": frozenset({"unique information"}),
    "unique_y": frozenset({"unique information"}),
}
KNOWN_QUANTITIES = frozenset({*(str(q) for q in Quantity), *QUANTITIES}) - {"mean"}
IN_NATS = frozenset(name for name, meaning in QUANTITIES.items() if "nats" in meaning.words)
WITH_THRESHOLD = ("proximal", "p_far", "independent_close")
FLIPPED = {"low": "high", "high": "low"}


@dataclass(frozen=True)
class Provenance:
    """What all certificates of one derivation have in common; "" and None where none states it."""

    distance: str = ""
    weighting: str = ""
    unit_of_sampling: str = ""
    t: float | None = None


def common_provenance(stated: Mapping[str, Certificate | Derived], *, t: float | None) -> Provenance:
    """What the certificates have in common; an error where one is of something else than its name or the others.

    Parameters
    ----------
    stated : mapping
        The certificates and derived values, by the name under which they are given.
    t : float, optional
        The threshold that the caller states.

    Raises
    ------
    ValueError
        Another quantity, unit, threshold, distance, weighting or unit of sampling.
    """
    for name, value in stated.items():
        _check_quantity(name, value)
    distances = {name: value.distance for name, value in stated.items() if value.distance}
    if "geometric" in stated and distances.get("geometric", "cosine") != "cosine":
        raise ValueError(
            f"geometric: expected a certificate of the cosine distance, got one of the {distances['geometric']} "
            "distance, about which these theorems say nothing"
        )
    return Provenance(
        _common("distance", distances),
        _common("weighting", {name: v.weighting for name, v in stated.items() if v.weighting}),
        _common(
            "unit of sampling",
            {
                name: v.unit_of_sampling
                for name, v in stated.items()
                if (v.weighting or v.distance) and v.unit_of_sampling and name != "independent_close"
            },
        ),
        _threshold(stated, t),
    )


def usable_ends(name: str, stated: Mapping[str, Certificate | Derived]) -> Collection[str]:
    """The ends of a given quantity that its certificate certifies; an error where no theorem reads any of them."""
    value = stated.get(name)
    if isinstance(value, Certificate) and str(value.quantity) == "cross-entropy":  # never below H(X | Y)
        if value.side == "lower":
            raise ValueError(
                f"{name}: got a lower limit of a cross-entropy, which says nothing about the conditional entropy "
                "below it; certify with side='upper' or 'both'"
            )
        return ("high",)
    if not isinstance(value, Certificate) or value.side == "both":
        return ("low", "high")
    end = {"lower": "low", "upper": "high"}[value.side]
    as_named, quantity = (FLIPPED[end], "p_far") if name == "proximal" else (end, name)
    if f"{quantity}.{as_named}" not in READ:
        other = "lower" if value.side == "upper" else "upper"
        raise ValueError(
            f"{name}: got a certificate with side={value.side!r}, whose other side is not certified, and no theorem "
            f"reads the certified one; certify with side={other!r} or 'both'"
        )
    return (as_named,)


READ = frozenset(name.replace(".exact", ".high") for rule in (*RULES, *ELEMENTARY_RULES) for name in rule.reads)


def _check_quantity(name: str, value: Certificate | Derived) -> None:
    quantity, accepted = str(value.quantity), CERTIFIED_AS.get(name, frozenset())
    if name == "p_far" and quantity == "proximal":
        raise ValueError("p_far: expected P(d > t), got a certificate of P(d <= t); give it as proximal=")
    if name == "functional" and quantity == "functional" and isinstance(value, Certificate):
        raise ValueError(
            "functional: expected mmse(T | Y) - mmse(T | X), got a certificate of the difference of the risks of "
            "predictors, which need not be the best ones; no theorem leads from one to the other"
        )
    if quantity in KNOWN_QUANTITIES and quantity != name and quantity not in accepted:
        names = " or ".join(sorted({name, *accepted, "mean"}))
        raise ValueError(f"{name}: expected a certificate of {names}, got one of {quantity!r}, which is something else")
    unit = getattr(value, "unit", "1")
    if unit not in ("1", "nats" if name in IN_NATS else "1"):
        raise ValueError(f"{name}: expected {'nats' if name in IN_NATS else 'a number without unit'}, got {unit}")


def _common(what: str, by_name: Mapping[str, str]) -> str:
    if len(set(by_name.values())) > 1:
        listed = ", ".join(f"{name} ({value})" for name, value in by_name.items())
        raise ValueError(
            f"implications: expected certificates of one {what}, got {listed}; they are about different probabilities"
        )
    return next(iter(by_name.values()), "")


def _threshold(stated: Mapping[str, Certificate | Derived], t: float | None) -> float | None:
    for name in WITH_THRESHOLD:
        value = stated.get(name)
        if value is None or len(value.thresholds) != 1:
            continue
        (certified,) = value.thresholds
        if t is not None and not math.isclose(certified, t, rel_tol=1e-12):
            raise ValueError(
                f"{name}: certified at the threshold t = {certified:g}, got t = {t:g}; a probability at one threshold "
                "says nothing about another: give that t or certify at this one"
            )
        t = certified
    return t
