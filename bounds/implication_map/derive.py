"""Derive everything that follows from given quantities, by the tightest route."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from bounds.certificates import guarantee_text
from bounds.certificates.certificate import Certificate
from bounds.framework.assumptions import LABEL_CHAIN, LATER_CHAIN, UNIT_NORM
from bounds.implication_map.meaning import Provenance, common_provenance, usable_ends
from bounds.implication_map.result import QUANTITIES, Derived, ImplicationMap
from bounds.implication_map.rules import ELEMENTARY_RULES, RULES, Rule
from redundancy.array_types import FloatArray

if TYPE_CHECKING:
    from typing_extensions import TypeIs

Chain = Literal["T-X-Y", "X-Y-T"]
# Rounding that given numbers and computed ends may carry, in units of their size.
FEW_ULPS = 64 * sys.float_info.epsilon
STATED = (Certificate, Derived)
COUNTS = ("size", "n_min", "n_max")
HUGE = 1e100  # squares of larger numbers overflow


class Certified(Protocol):
    """An interval with its confidence: a `Certificate` or a `Derived`."""

    @property
    def low(self) -> float | FloatArray: ...
    @property
    def high(self) -> float | FloatArray: ...
    @property
    def confidence(self) -> float: ...
    @property
    def quantity(self) -> str: ...
    @property
    def guarantee(self) -> str: ...


Known = float | np.integer | Certified


@dataclass(frozen=True)
class _End:
    """One end of an interval: its value, the theorems and inputs behind it, whether the value is exact.

    `used` names the certificates behind it, `needs` the assumptions, `behind` the ends that led to it.
    """

    value: float
    route: tuple[str, ...] = ()
    used: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    exact: bool = False
    behind: frozenset[str] = frozenset()


def implications(
    *, chain: Chain | None = None, unit_norm: bool = True, proximal: Known | None = None, **known: Known | None
) -> ImplicationMap:
    """Derive every notion of redundancy that follows from known quantities, each by the tightest route.

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
        Known quantities by name (listed below). A plain number is exact. A certificate stands for its interval: each
        theorem gets the end that keeps it valid, error probabilities add up, and its assumptions stay with everything
        that is derived from it. A certificate of P(d(X, Y) <= t) brings its threshold `t` along.

    Returns
    -------
    ImplicationMap
        A mapping from quantity to `Derived`; print it, or draw it with `.plot()`.

    Raises
    ------
    ValueError
        An unknown name or chain, numbers outside their range, arrays, intervals that contradict each other; a
        certificate of something else: another quantity, threshold, distance or unit of sampling than the name or the
        other certificates say, or a one-sided certificate whose side no theorem reads.
    TypeError
        A value that is neither a number nor a certificate.

    See Also
    --------
    certify : Turns a measured redundancy into a certificate.

    Notes
    -----
    Quantities, with T the target, X the earlier and Y the later state:

    * distances: `geometric` (mean cosine distance), `squared_distance` E ||X - Y||^2, `p_far` P(d > t) at the
      threshold `t`, `independent_close` P(d <= t) of independent pairs;
    * informations in nats: `entropy_x` H(X), `entropy_x_given_y`, `entropy_y_given_x`, `information_xy`,
      `information_tx_given_y` I(T; X | Y), `unique_x`, `unique_y`;
    * codewords: `size` of the alphabet, `n_min` and `n_max` codewords within t of one, `decoding_error`;
    * prediction: `functional` mmse(T | Y) - mmse(T | X), `accuracy_gap`, `log_loss_gap`, `radius` of T,
      `lipschitz_x` and `lipschitz_y` of E[T | x, y];
    * fitted and frozen predictors: `delta_x`, `delta_y`, `risk_gap`, `prediction_gap`, `lipschitz_head`,
      `root_risk_gap`, `lipschitz_logits`, `head_log_loss_gap`.

    Which notion implies which: theory, section 10. An upper bound on P(d > t) reaches Theorem 3 only through its
    monotone form (5.1). Lipschitz constants of a regression function cannot be verified from data: they are
    assumptions.

    References
    ----------
    Hartman et al. (2025), *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models*,
    arXiv:2509.25584; Theory, section 10 (docs/explanation/theory).

    Examples
    --------
    >>> import bounds
    >>> found = bounds.implications(t=0.05, p_far=0.028, lipschitz_x=1.0, radius=1.0, size=10_000, n_min=1, n_max=1)
    >>> f"{found['functional'].high:.4f}"
    '0.1089'
    >>> f"{found['entropy_x_given_y']:.4f}"
    '[0.0000, 0.3856]'

    A certificate in place of a number:

    >>> import numpy as np
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(500, 8))
    >>> distance = bounds.certify(rd.geometric(x, x + 0.1 * rng.normal(size=x.shape)), side="upper")
    >>> bounds.implications(geometric=distance, lipschitz_x=1.0, lipschitz_y=1.0)["functional"]
    mmse(T | Y) - mmse(T | X) in [-0.0388759, 0.0388759] at confidence 0.95 (functional_from_geometric)
    """
    if chain not in (None, "T-X-Y", "X-Y-T"):
        raise ValueError(f"chain: expected None, 'T-X-Y' or 'X-Y-T', got {chain!r}")
    if proximal is not None and known.get("p_far") is not None:
        raise ValueError("proximal and p_far: expected one of them, got both; they are complements")
    given_values = {"proximal": proximal, **known}
    for name, value in given_values.items():
        if name not in QUANTITIES and name != "proximal" and value is not None:
            raise ValueError(f"{name}: expected one of {', '.join(QUANTITIES)}")
    stated = {name: value for name, value in given_values.items() if isinstance(value, STATED)}
    t = given_values.get("t")
    provenance = common_provenance(stated, t=float(t) if t is not None and _is_number(t) else None)
    if t is None and provenance.t is not None:
        known["t"] = provenance.t
    if proximal is not None:
        known["p_far"] = _complement(proximal)
    ends: dict[str, _End] = {}
    alphas: dict[str, float] = {}  # error probability of each given certificate
    sentences: dict[str, str] = {}
    for name, value in known.items():
        if value is not None:
            sides = usable_ends("proximal" if name == "p_far" and proximal is not None else name, stated)
            _enter(name, value, ends, alphas, sentences, sides)
    if not ends:
        raise ValueError("implications: expected at least one known quantity, for instance geometric=0.02")
    given = tuple(name for name in QUANTITIES if f"{name}.high" in ends)
    candidates: dict[str, frozenset[str]] = {name: end.used for name, end in ends.items()}
    arrows: dict[tuple[str, str, str], None] = {}
    rules = [
        rule
        for rule in (*ELEMENTARY_RULES, *RULES)
        if (not rule.chain or rule.chain == chain)
        and (unit_norm or not rule.unit_norm)
        and (provenance.distance in ("", "cosine") or not _between_cosine_and_threshold(rule))
    ]
    for _ in range(len(QUANTITIES)):  # no route visits a quantity twice
        if not _pass(rules, ends, candidates, arrows):
            break
    derived = {
        name: _derived(name, ends, candidates, alphas, sentences, provenance)
        for name in QUANTITIES
        if f"{name}.low" in ends or f"{name}.high" in ends
    }
    return ImplicationMap(given, derived, tuple(arrows))


def _between_cosine_and_threshold(rule: Rule) -> bool:
    """Whether a rule reads the mean cosine distance and P(d > t) as statements about one distance."""
    return rule.theorem in ("geometric_from_proximal", "proximal_from_geometric")


def _pass(
    rules: Sequence[Rule],
    ends: dict[str, _End],
    candidates: dict[str, frozenset[str]],
    arrows: dict[tuple[str, str, str], None],
) -> bool:
    """Apply every rule once; whether an end or its dependence on certificates changed.

    `candidates` maps each end to all certificates that a route to it used, whether or not the route won.
    """
    changed = False
    for rule in rules:
        inputs = [end for end in (_read(ends, name) for name in rule.reads) if end is not None]
        if len(inputs) < len(rule.reads):
            continue
        behind = frozenset(_key(name) for name in rule.reads).union(*(end.behind for end in inputs))
        if rule.gives in behind:  # a route back to where it came from cannot be tighter
            continue
        upper = rule.gives.endswith(".high")
        value = _outward(_value(rule, inputs), upper=upper)
        if math.isnan(value) or value == (math.inf if upper else -math.inf):
            continue
        quantity = rule.gives.partition(".")[0]
        value = min(value, QUANTITIES[quantity].high) if upper else max(value, QUANTITIES[quantity].low)
        if not rule.elementary:
            for name in rule.reads:
                arrows[(name.partition(".")[0], quantity, rule.theorem)] = None
        used = frozenset().union(*(end.used for end in inputs))
        union = candidates.get(rule.gives, frozenset()) | used
        # The choice of this end also depends on everything that the choice of its inputs depended on.
        union = union.union(*(candidates.get(_key(name), frozenset()) for name in rule.reads))
        if union != candidates.get(rule.gives):
            candidates[rule.gives], changed = union, True
        old = ends.get(rule.gives)
        if old is None or (value < old.value if upper else value > old.value):
            end = _End(value, _route(inputs, rule), used, _needs(inputs, rule), behind=behind)
            ends[rule.gives] = _consistent(quantity, end, ends, upper=upper)
            changed = True
    return changed


def _consistent(quantity: str, end: _End, ends: dict[str, _End], *, upper: bool) -> _End:
    """The new end, an error where it contradicts the other one, and the other's value where only rounding does."""
    _, bottom, top = QUANTITIES[quantity]
    other = ends.get(f"{quantity}.{'low' if upper else 'high'}", _End(bottom if upper else top))
    low, high = (other, end) if upper else (end, other)
    if low.value <= high.value:
        return end
    allowance = FEW_ULPS * max(abs(low.value), abs(high.value)) if math.isfinite(low.value - high.value) else 0.0
    if low.value <= high.value + allowance:
        return replace(end, value=other.value)
    supposed = sorted(low.needs | high.needs)
    raise ValueError(
        f"{quantity}: the inputs contradict each other: they give at least {low.value:g} "
        f"({' -> '.join(low.route) or 'given'}) and at most {high.value:g} "
        f"({' -> '.join(high.route) or 'given'})"
        + (f", supposing {'; '.join(supposed)}" if supposed else "")
        + ("; give unit_norm=False for states of other norms" if UNIT_NORM.words in supposed else "")
    )


def _value(rule: Rule, inputs: list[_End]) -> float:
    """What a rule says; NaN, which is nothing, where an infinite or overflowing input leaves it without a value."""
    values = [end.value for end in inputs]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        try:
            return float(rule.function(*values))
        except (ValueError, OverflowError, ZeroDivisionError):
            if all(math.isfinite(value) and abs(value) < HUGE for value in values):
                raise
            return math.nan


def _key(name: str) -> str:
    return name.replace(".exact", ".high")


def _read(ends: dict[str, _End], name: str) -> _End | None:
    """An end by its name; "quantity.exact" is there only where the quantity is known exactly."""
    end = ends.get(_key(name))
    if name.endswith(".exact") and end is not None and not end.exact:
        return None
    return end


def _route(inputs: list[_End], rule: Rule) -> tuple[str, ...]:
    steps = [step for end in inputs for step in end.route]
    return tuple(dict.fromkeys([*steps, rule.theorem]))


def _needs(inputs: list[_End], rule: Rule) -> frozenset[str]:
    own = {"T-X-Y": {LABEL_CHAIN.words}, "X-Y-T": {LATER_CHAIN.words}}.get(rule.chain, set()) | set(rule.assumes)
    if rule.unit_norm:
        own = own | {UNIT_NORM.words}
    if any("lipschitz" in name for name in rule.reads):
        own = own | {"the stated Lipschitz constants"}
    return frozenset(own).union(*(end.needs for end in inputs))


def _outward(value: float, *, upper: bool) -> float:
    # A theorem's right side is computed to 1e-12 at worst; round to the valid side by more than that.
    if value == 0.0 or not math.isfinite(value):
        return value
    return value + abs(value) * 2e-12 * (1.0 if upper else -1.0)


def _is_number(value: Known) -> TypeIs[float | np.integer]:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _complement(proximal: Known) -> Known:
    """P(d > t) from P(d <= t), rounded outward."""
    if _is_number(proximal):
        return 1.0 - float(proximal)
    low, high = _interval("proximal", proximal)
    return Derived(
        "p_far",
        float(np.nextafter(1.0 - high, -1.0)) if high < 1.0 else 0.0,
        float(np.nextafter(1.0 - low, 2.0)) if low > 0.0 else 1.0,
        float(proximal.confidence),
        (),
        tuple(getattr(proximal, "assumptions", ())),
        proximal.guarantee,
    )


def _interval(name: str, value: Certified) -> tuple[float, float]:
    if not all(hasattr(value, field) for field in ("low", "high", "confidence", "guarantee", "quantity")):
        raise TypeError(
            f"{name}: expected a number or a certificate, got {type(value).__name__}; "
            "turn an estimate into a certificate with bounds.certify"
        )
    if np.ndim(value.low) or np.ndim(value.high):
        raise ValueError(f"{name}: expected one value, got an array; choose one threshold or layer")
    return float(value.low), float(value.high)


def _enter(
    name: str,
    value: Known,
    ends: dict[str, _End],
    alphas: dict[str, float],
    sentences: dict[str, str],
    sides: Collection[str],
) -> None:
    """Put a given quantity among the ends, and its error probability and guarantee where it has them.

    Only the certified `sides` ("low", "high") depend on the certificate; the others are the ends of the range.
    """
    _, bottom, top = QUANTITIES[name]
    exact = _is_number(value)
    needs: frozenset[str] = frozenset()
    if _is_number(value):
        low = high = float(value)
    else:
        low, high = _interval(name, value)
        if name == "p_far" and value.quantity == "proximal":
            raise ValueError("p_far: expected P(d > t), got a certificate of P(d <= t); give it as proximal=")
        if not 0.0 <= float(value.confidence) <= 1.0:
            raise ValueError(f"{name}: expected a confidence in [0, 1], got {value.confidence}")
        alphas[name], sentences[name] = 1.0 - float(value.confidence), value.guarantee
        needs = frozenset(getattr(value, "assumptions", ()))
    if math.isnan(low) or math.isnan(high) or low > high:
        raise ValueError(f"{name}: expected low <= high without NaN, got [{low}, {high}]")
    above, below = top + FEW_ULPS * max(1.0, abs(top)), bottom - FEW_ULPS * max(1.0, abs(bottom))
    if high < below or low > above or (exact and not below <= low <= above):
        raise ValueError(f"{name}: expected a value in [{bottom:g}, {top:g}], got [{low:g}, {high:g}]")
    if exact and name in COUNTS and math.isfinite(low) and low != math.floor(low):
        raise ValueError(f"{name}: expected a whole number of codewords, got {low}")
    used = frozenset() if exact else frozenset({name})
    for side, end, limit in (("low", min(max(low, bottom), top), bottom), ("high", max(min(high, top), bottom), top)):
        certified = side in sides
        ends[f"{name}.{side}"] = _End(end, used=used, needs=needs, exact=exact) if certified else _End(limit)


def _derived(
    name: str,
    ends: dict[str, _End],
    candidates: dict[str, frozenset[str]],
    alphas: dict[str, float],
    sentences: dict[str, str],
    provenance: Provenance,
) -> Derived:
    """What is known about a quantity once no rule changes anything."""
    words, bottom, top = QUANTITIES[name]
    low, high = (ends.get(f"{name}.{side}", _End(end)) for side, end in (("low", bottom), ("high", top)))
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
        provenance.distance or ("cosine" if name == "geometric" else ""),
        provenance.weighting,
        provenance.unit_of_sampling,
        (ends["t.high"].value,) if name == "p_far" and "t.high" in ends and ends["t.high"].exact else (),
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
    sure = f"With probability at least {guarantee_text.probability(confidence)}, " if sources else ""
    ends = f"[{guarantee_text.outward(low, up=False, digits=6)}, {guarantee_text.outward(high, up=True, digits=6)}]"
    how = f", by {' and '.join(route)}" if route else ""
    given = f", given {'; '.join(assumptions)}" if assumptions else ""
    basis = f", from: {' / '.join(s.rstrip('.') for s in sources)}" if sources else ""
    return f"{sure}{words} lies in {ends}{how}{given}{basis}."
