"""The implication map: from what is known to everything that follows, by the tightest route."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bounds.framework.assumptions import LABEL_CHAIN, LATER_CHAIN, UNIT_NORM
from bounds.implication_map.rules import RULES, Rule

# Every quantity: what it is, and the range it cannot leave.
QUANTITIES: dict[str, tuple[str, float, float]] = {
    "geometric": ("mean cosine distance E d(X, Y)", 0.0, 2.0),
    "p_far": ("P(d(X, Y) > t)", 0.0, 1.0),
    "t": ("threshold t", 0.0, math.inf),
    "independent_close": ("P(d <= t) of independent pairs", 0.0, 1.0),
    "squared_distance": ("E ||X - Y||^2", 0.0, math.inf),
    "lipschitz_x": ("L_1, of x -> E[T | x, y]", 0.0, math.inf),
    "lipschitz_y": ("L_2, of y -> E[T | x, y]", 0.0, math.inf),
    "lipschitz_head": ("Lipschitz constant of the frozen predictor", 0.0, math.inf),
    "lipschitz_logits": ("Lipschitz constant of the frozen logits", 0.0, math.inf),
    "delta_x": ("squared regression error from X", 0.0, math.inf),
    "delta_y": ("squared regression error from Y", 0.0, math.inf),
    "radius": ("radius B of T", 0.0, math.inf),
    "size": ("codes |V|", 1.0, math.inf),
    "n_min": ("smallest ball N_min", 0.0, math.inf),
    "n_max": ("largest ball N_max", 0.0, math.inf),
    "entropy_x": ("H(X), nats", 0.0, math.inf),
    "entropy_x_given_y": ("H(earlier | later) = H(X | Y), nats", 0.0, math.inf),
    "entropy_y_given_x": ("H(later | earlier) = H(Y | X), nats", 0.0, math.inf),
    "information_xy": ("I(X; Y), nats", 0.0, math.inf),
    "information_tx_given_y": ("I(T; X | Y), nats", 0.0, math.inf),
    "unique_x": ("U(T: X without Y), nats", 0.0, math.inf),
    "unique_y": ("U(T: Y without X), nats", 0.0, math.inf),
    "decoding_error": ("error of decoding X from Y", 0.0, 1.0),
    "functional": ("mmse(T | Y) - mmse(T | X)", -math.inf, math.inf),
    "risk_gap": ("risk of f(X) - risk of g(Y)", -math.inf, math.inf),
    "prediction_gap": ("root mean square of f(X) - g(Y)", 0.0, math.inf),
    "root_risk_gap": ("|root risk from X - root risk from Y|, frozen head", 0.0, math.inf),
    "head_log_loss_gap": ("|log-loss from X - log-loss from Y|, frozen head, nats", 0.0, math.inf),
    "accuracy_gap": ("accuracy from X - accuracy from Y", -1.0, 1.0),
    "log_loss_gap": ("H(T | Y) - H(T | X), nats", -math.inf, math.inf),
}


@dataclass(frozen=True)
class Derived:
    """What is known of one quantity, and how.

    Attributes
    ----------
    quantity : str
        A key of `QUANTITIES`.
    low, high : float
        The interval, rounded outward; infinite where nothing is known.
    confidence : float
        1 for exact inputs; else 1 minus the added error probabilities of every certificate that a route to
        this quantity used, the routes that lost included, so that choosing the tightest is covered.
    route : tuple of str
        Theorems used, in order; empty for an input.
    assumptions : tuple of str
    guarantee : str
        One sentence.
    """

    quantity: str
    low: float
    high: float
    confidence: float
    route: tuple[str, ...]
    assumptions: tuple[str, ...]
    guarantee: str

    @property
    def method(self) -> str:
        """The route in words."""
        return " -> ".join(self.route) or "given"

    def __repr__(self) -> str:
        sure = "" if self.confidence == 1.0 else f" at confidence {self.confidence:g}"
        return f"{QUANTITIES[self.quantity][0]} in [{self.low:.6g}, {self.high:.6g}]{sure} ({self.method})"


@dataclass(frozen=True)
class _Limit:
    """One end of an interval: its value, the theorems and inputs behind it, whether the value is exact."""

    value: float
    route: tuple[str, ...] = ()
    used: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    exact: bool = False


@dataclass(frozen=True)
class ImplicationMap(Mapping[str, Derived]):
    """Everything that follows; a mapping from quantity to `Derived` that prints and draws itself."""

    given: tuple[str, ...]
    derived: Mapping[str, Derived]
    arrows: tuple[tuple[str, str, str], ...]

    def __getitem__(self, quantity: str) -> Derived:
        if quantity not in QUANTITIES:
            raise KeyError(f"{quantity}: expected one of {', '.join(QUANTITIES)}")
        if quantity not in self.derived:
            raise KeyError(f"{quantity}: nothing follows about it from {', '.join(self.given)}")
        return self.derived[quantity]

    def __iter__(self) -> Iterator[str]:
        return iter(self.derived)

    def __len__(self) -> int:
        return len(self.derived)

    def __str__(self) -> str:
        shown = [d for d in self.derived.values() if d.quantity not in self.given or d.route]
        lines = [f"given: {', '.join(self.given)}"]
        for d in shown:
            lines.append(f"  {d!r}")
            if d.assumptions:
                lines.append(f"      assuming {'; '.join(d.assumptions)}")
        return "\n".join(lines)

    __repr__ = __str__

    def plot(self, ax: Any = None) -> Any:
        """Draw the map (needs matplotlib): what is given, what follows, and by which statement."""
        from bounds.implication_map.plot import draw

        return draw(self, ax)


def implications(
    *, chain: str | None = None, unit_norm: bool = True, proximal: Any = None, **known: Any
) -> ImplicationMap:
    """Derive every notion of redundancy that follows from what is known, by the tightest route.

    Parameters
    ----------
    chain : {None, "T-X-Y", "X-Y-T"}
        A Markov chain that may be assumed: a label behind the earlier state, or a target behind the later.
        X is always the earlier layer. After quantising either state neither chain holds in general.
    unit_norm : bool
        Whether the states have norm one, as cosine distance suggests.
    proximal : number or certificate, optional
        P(d(X, Y) <= t), as `redundancy.proximal` measures it; p_far is its complement.
    **known : number, Certificate or Derived
        Quantities by name, the keys of `QUANTITIES`. A plain number is exact. A certificate stands for its
        interval; each theorem gets the end that keeps it valid, and error probabilities add up.

    Returns
    -------
    ImplicationMap
        A mapping from quantity to `Derived`; print it, or draw it with `.plot()`.

    Raises
    ------
    ValueError
        For an unknown name or chain, numbers outside their range, several values at once, or intervals
        that contradict each other.
    TypeError
        For a value that is neither a number nor a certificate.

    Notes
    -----
    An upper limit of P(d > t) reaches Fano only through its monotone form (5.1). Lipschitz constants of a
    regression function cannot be verified from data: they are assumptions.
    """
    if chain not in (None, "T-X-Y", "X-Y-T"):
        raise ValueError(f"chain: expected None, 'T-X-Y' or 'X-Y-T', got {chain!r}")
    ends: dict[str, _Limit] = {}
    alphas: dict[str, float] = {}
    sentences: dict[str, str] = {}
    if proximal is not None:
        if "p_far" in known:
            raise ValueError("proximal and p_far: expected one of them, got both; they are complements")
        known["p_far"] = _complement(proximal)
    for name, value in known.items():
        if value is None:
            continue
        if name not in QUANTITIES:
            raise ValueError(f"{name}: expected one of {', '.join(QUANTITIES)}")
        _enter(name, value, ends, alphas, sentences)
    if not ends:
        raise ValueError("implications: expected at least one known quantity, for instance geometric=0.02")
    given = tuple(name for name in QUANTITIES if f"{name}.high" in ends)
    candidates: dict[str, frozenset[str]] = {end: limit.used for end, limit in ends.items()}
    arrows: dict[tuple[str, str, str], None] = {}
    for _ in range(len(QUANTITIES)):  # no route visits a quantity twice
        if not _pass(ends, candidates, arrows, chain, unit_norm):
            break
    derived = {
        name: _derived(name, ends, candidates, alphas, sentences)
        for name in QUANTITIES
        if f"{name}.low" in ends or f"{name}.high" in ends
    }
    return ImplicationMap(given, derived, tuple(arrows))


def _pass(
    ends: dict[str, _Limit],
    candidates: dict[str, frozenset[str]],
    arrows: dict[tuple[str, str, str], None],
    chain: str | None,
    unit_norm: bool,
) -> bool:
    changed = False
    for rule in RULES:
        if (rule.chain and rule.chain != chain) or (rule.unit_norm and not unit_norm):
            continue
        inputs = [_read(ends, end) for end in rule.reads]
        if any(limit is None for limit in inputs):
            continue
        limits = [limit for limit in inputs if limit is not None]
        upper = rule.gives.endswith(".high")
        value = _outward(float(rule.function(*(limit.value for limit in limits))), upper=upper)
        if not math.isfinite(value):
            continue
        quantity = rule.gives.partition(".")[0]
        value = min(value, QUANTITIES[quantity][2]) if upper else max(value, QUANTITIES[quantity][1])
        for end in rule.reads:
            arrows[(end.partition(".")[0], quantity, rule.theorem)] = None
        used = frozenset().union(*(limit.used for limit in limits))
        union = candidates.get(rule.gives, frozenset()) | used
        # What a read end's own choice depended on is part of this one's.
        union = union.union(*(candidates.get(_end(end), frozenset()) for end in rule.reads))
        if union != candidates.get(rule.gives):
            candidates[rule.gives], changed = union, True
        old = ends.get(rule.gives)
        if old is None or (value < old.value if upper else value > old.value):
            ends[rule.gives] = _Limit(value, _route(limits, rule), used, _needs(limits, rule))
            changed = True
    return changed


def _end(end: str) -> str:
    return end.replace(".exact", ".high")


def _read(ends: dict[str, _Limit], end: str) -> _Limit | None:
    limit = ends.get(_end(end))
    if end.endswith(".exact") and limit is not None and not limit.exact:
        return None
    return limit


def _route(limits: list[_Limit], rule: Rule) -> tuple[str, ...]:
    steps = [step for limit in limits for step in limit.route]
    return tuple(dict.fromkeys([*steps, rule.theorem]))


def _needs(limits: list[_Limit], rule: Rule) -> frozenset[str]:
    own = {"T-X-Y": {LABEL_CHAIN.words}, "X-Y-T": {LATER_CHAIN.words}}.get(rule.chain, set())
    if rule.unit_norm:
        own = own | {UNIT_NORM.words}
    if any("lipschitz" in end for end in rule.reads):
        own = own | {"the stated Lipschitz constants"}
    return frozenset(own).union(*(limit.needs for limit in limits))


def _outward(value: float, *, upper: bool) -> float:
    # A theorem's right side is computed to 1e-12 at worst; round to the valid side by more than that.
    if value == 0.0 or not math.isfinite(value):
        return value
    return value + abs(value) * 2e-12 * (1.0 if upper else -1.0)


def _complement(proximal: Any) -> Any:
    if isinstance(proximal, (int, float, np.number)):
        return 1.0 - float(proximal)
    low, high = _interval("proximal", proximal)
    return Derived(
        "p_far",
        float(np.nextafter(1.0 - high, -1.0)) if high < 1.0 else 0.0,
        float(np.nextafter(1.0 - low, 2.0)) if low > 0.0 else 1.0,
        float(proximal.confidence),
        (),
        (),
        proximal.guarantee,
    )


def _interval(name: str, value: Any) -> tuple[float, float]:
    needed = ("low", "high", "confidence", "guarantee", "quantity")
    if not all(hasattr(value, field) for field in needed):
        raise TypeError(
            f"{name}: expected a number or a certificate, got {type(value).__name__}; "
            "turn an estimate into a certificate with bounds.certify"
        )
    if np.ndim(value.low) or np.ndim(value.high):
        raise ValueError(f"{name}: expected one value, got an array; choose one threshold or layer")
    return float(value.low), float(value.high)


def _enter(name: str, value: Any, ends: dict[str, _Limit], alphas: dict[str, float], sentences: dict[str, str]) -> None:
    _, bottom, top = QUANTITIES[name]
    exact = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if exact:
        low = high = float(value)
    else:
        low, high = _interval(name, value)
        if name == "p_far" and value.quantity == "proximal":
            raise ValueError("p_far: expected P(d > t), got a certificate of P(d <= t); give it as proximal=")
        alphas[name], sentences[name] = 1.0 - float(value.confidence), value.guarantee
    if math.isnan(low) or math.isnan(high) or low > high:
        raise ValueError(f"{name}: expected low <= high without NaN, got [{low}, {high}]")
    if high < bottom or low > top or (exact and not bottom <= low <= top):
        raise ValueError(f"{name}: expected a value in [{bottom:g}, {top:g}], got [{low:g}, {high:g}]")
    used = frozenset() if exact else frozenset({name})
    ends[f"{name}.low"] = _Limit(max(low, bottom), used=used, exact=exact)
    ends[f"{name}.high"] = _Limit(min(high, top), used=used, exact=exact)


def _derived(
    name: str,
    ends: dict[str, _Limit],
    candidates: dict[str, frozenset[str]],
    alphas: dict[str, float],
    sentences: dict[str, str],
) -> Derived:
    words, bottom, top = QUANTITIES[name]
    low, high = (ends.get(f"{name}.{side}", _Limit(end)) for side, end in (("low", bottom), ("high", top)))
    if low.value > high.value:
        raise ValueError(
            f"{name}: the inputs contradict each other: they give at least {low.value:g} "
            f"({' -> '.join(low.route) or 'given'}) and at most {high.value:g} "
            f"({' -> '.join(high.route) or 'given'})"
        )
    used = candidates.get(f"{name}.low", frozenset()) | candidates.get(f"{name}.high", frozenset())
    confidence = max(0.0, 1.0 - sum(alphas[u] for u in used))
    route = tuple(dict.fromkeys([*low.route, *high.route]))
    assumptions = tuple(sorted(low.needs | high.needs))
    bottom_value, top_value = max(low.value, bottom), min(high.value, top)
    return Derived(
        name,
        bottom_value,
        top_value,
        confidence,
        route,
        assumptions,
        _sentence(words, bottom_value, top_value, confidence, route, assumptions, [sentences[u] for u in sorted(used)]),
    )


def _sentence(
    words: str,
    low: float,
    high: float,
    confidence: float,
    route: tuple[str, ...],
    assumptions: tuple[str, ...],
    sources: list[str],
) -> str:
    sure = f"With probability at least {confidence:.6g}, " if sources else ""
    how = f", by {' and '.join(route)}" if route else ""
    given = f", given {'; '.join(assumptions)}" if assumptions else ""
    basis = f", from: {' / '.join(s.rstrip('.') for s in sources)}" if sources else ""
    return f"{sure}{words} lies in [{low:.6g}, {high:.6g}]{how}{given}{basis}."
