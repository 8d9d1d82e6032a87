"""The arrows of the implication map: which theorem leads from which intervals to which.

A rule reads ends of intervals ("p_far.high") and gives one end of another. Every function here is monotone
in the ends it reads, so that bounds may stand for exact values; the published Fano bound, which is not,
reads "p_far.exact" and is therefore never fed with a bound.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import SupportsFloat

import numpy as np

from bounds.framework.assumptions import (
    DISCRETE_X,
    LABEL_CHAIN,
    LATER_CHAIN,
    LIPSCHITZ_X,
    LIPSCHITZ_Y,
    ONE_CODE_PER_BALL,
    UNIT_NORM,
)
from bounds.theorems.catalogue import THEOREMS
from bounds.theorems.lemma_2_chord import squared_distance_from_geometric
from bounds.theorems.lemma_4_target_entropy import entropy_difference_bound
from bounds.theorems.lemma_5_unique_information import unique_information_from_entropy
from bounds.theorems.proposition_1_proximal_geometric import geometric_from_proximal, proximal_from_geometric
from bounds.theorems.theorem_1_frozen_head import frozen_head, frozen_head_log_loss
from bounds.theorems.theorem_1_geometric import functional_from_geometric, functional_from_squared_distance
from bounds.theorems.theorem_2_fitted_predictors import (
    empirical_functional_from_geometric,
    prediction_gap_from_geometric,
)
from bounds.theorems.theorem_3_fano import fano, fano_monotone
from bounds.theorems.theorem_4_braun_pokutta import information_from_limits
from bounds.theorems.theorem_5_accuracy import accuracy_from_entropy, accuracy_from_information
from bounds.theorems.theorem_5_informational import functional_from_entropy, functional_from_information
from bounds.theorems.theorem_5_unique_information import (
    accuracy_from_unique_information,
    functional_from_unique_information,
)
from bounds.theorems.theorem_6_decoding import accuracy_from_decoding, decoding_from_proximal, functional_from_decoding
from redundancy.information.finite_entropy import binary_entropy_of


@dataclass(frozen=True)
class Rule:
    """One step from intervals to an interval, by one theorem.

    Attributes
    ----------
    theorem : str
        Its name in `bounds`.
    reads : tuple of str
        Ends of quantities, "name.high", "name.low" or "name.exact", passed to `function` in this order.
    gives : str
        The end that it bounds.
    function : callable
        The theorem in numbers.
    chain : str
        The Markov chain it needs: "T-X-Y", "X-Y-T" or "" for none.
    unit_norm : bool
        Whether it needs states of norm one.
    elementary : bool
        Whether `theorem` is an inequality of elementary information theory instead of a name in `bounds`.
    assumes : tuple of str
        What the theorem supposes beyond `chain`, `unit_norm` and what is read.
    """

    theorem: str
    reads: tuple[str, ...]
    gives: str
    function: Callable[..., SupportsFloat]
    chain: str = ""
    unit_norm: bool = False
    elementary: bool = False
    assumes: tuple[str, ...] = ()


def _minus(function: Callable[..., SupportsFloat]) -> Callable[..., float]:
    return lambda *args: 0.0 - float(function(*args))


def _single_codeword(p_far: float, n_max: float) -> float:
    return float(decoding_from_proximal(p_far)) if n_max <= 1 else math.inf


def _risk(side: int) -> Callable[..., float]:
    return lambda *args: float(empirical_functional_from_geometric(*args)[side])


def _markov(geometric: float, t: float) -> float:
    """Markov's inequality and its limit at t = 0, where only a mean distance of 0 says anything."""
    if t == 0.0:
        return 0.0 if geometric == 0.0 else math.inf
    return float(proximal_from_geometric(geometric, t))


def _difference(a: float, b: float, *, up: bool) -> float:
    """a - b, moved up or down by more than its rounding and that of its inputs."""
    if not (math.isfinite(a) and math.isfinite(b)):
        return math.nan
    return a - b + (1.0 if up else -1.0) * 32 * sys.float_info.epsilon * (abs(a) + abs(b))


def _upper_difference(a: float, b: float) -> float:
    return _difference(a, b, up=True)


def _lower_difference(a: float, b: float) -> float:
    return _difference(a, b, up=False)


def _same(value: float) -> float:
    return value


def _logarithm(size: float) -> float:
    return math.log(size)


def _fano(error: float, size: float) -> float:
    """h(P) + P log(size - 1), which grows up to P = 1 - 1/size; a little above its rounding."""
    if error >= 1.0 - 1.0 / size:
        return math.log(size)
    value = float(binary_entropy_of(np.asarray(error), np.asarray(1.0 - error))) + error * math.log(
        max(size - 1.0, 1.0)
    )
    return value * (1.0 + 32 * sys.float_info.epsilon)


def _zero_at_zero(error: float) -> float:
    return 0.0 if error == 0.0 else math.inf


def _constant(value: float) -> Callable[..., float]:
    return lambda *_: value


GEO, SQ, FAR = "geometric.high", "squared_distance.high", "p_far.high"
L1, L2, B = "lipschitz_x.high", "lipschitz_y.high", "radius.high"
BALLS = ("size.exact", "n_min.exact", "n_max.exact")
HXY, HYX = "entropy_x_given_y.high", "entropy_y_given_x.high"
FITTED = (L1, L2, "delta_x.high", "delta_y.high")

_RULES: tuple[Rule, ...] = (
    # Proximal and geometric.
    Rule("geometric_from_proximal", ("t.exact", FAR), GEO, geometric_from_proximal),
    Rule("proximal_from_geometric", (GEO, "t.exact"), FAR, _markov),
    Rule("squared_distance_from_geometric", (GEO,), SQ, squared_distance_from_geometric, unit_norm=True),
    Rule("squared_distance_from_geometric", (SQ,), GEO, lambda rho: 0.5 * rho, unit_norm=True),
    # Geometric to functional: mmse(T | Y) - mmse(T | X) above by L_1, below by L_2.
    Rule("functional_from_geometric", (GEO, L1), "functional.high", functional_from_geometric, unit_norm=True),
    Rule("functional_from_geometric", (GEO, L2), "functional.low", _minus(functional_from_geometric), unit_norm=True),
    Rule("functional_from_squared_distance", (SQ, L1), "functional.high", functional_from_squared_distance),
    Rule("functional_from_squared_distance", (SQ, L2), "functional.low", _minus(functional_from_squared_distance)),
    Rule("functional_of_label", (), "functional.low", _constant(0.0), chain="T-X-Y"),
    Rule("functional_of_later_target", (), "functional.high", _constant(0.0), chain="X-Y-T"),
    # Fitted and frozen predictors.
    Rule("empirical_functional_from_geometric", (GEO, *FITTED), "risk_gap.low", _risk(0), unit_norm=True),
    Rule("empirical_functional_from_geometric", (GEO, *FITTED), "risk_gap.high", _risk(1), unit_norm=True),
    Rule(
        "prediction_gap_from_geometric",
        (GEO, *FITTED),
        "prediction_gap.high",
        prediction_gap_from_geometric,
        unit_norm=True,
    ),
    Rule("frozen_head", (SQ, "lipschitz_head.high"), "root_risk_gap.high", frozen_head),
    Rule(
        "frozen_head_log_loss",
        (SQ, "lipschitz_logits.high"),
        "head_log_loss_gap.high",
        lambda rho, slope: float(frozen_head_log_loss(math.sqrt(rho), slope)),
    ),
    # Proximal to informational.
    Rule("fano", ("p_far.exact", *BALLS), HXY, fano),
    Rule("fano_monotone", (FAR, *BALLS), HXY, fano_monotone),
    Rule(
        "information_from_limits",
        (FAR, "independent_close.high"),
        "information_xy.low",
        lambda far, q: float(information_from_limits(1.0 - far, q)),
    ),
    Rule(
        "entropy_from_proximity",
        ("entropy_x.high", "information_xy.low"),
        HXY,
        lambda entropy, information: _difference(entropy, information, up=True),
    ),
    # Informational to functional; whatever the entropy, a gap is at most B^2.
    Rule("functional_from_entropy", (B,), "functional.high", lambda b: b * b),
    Rule("functional_from_entropy", (B,), "functional.low", lambda b: -b * b),
    Rule("entropy_difference_of_chain", (HXY,), "information_tx_given_y.high", lambda h: h),
    Rule("unique_information_from_entropy", (HXY,), "unique_x.high", unique_information_from_entropy),
    Rule("unique_information_from_entropy", (HYX,), "unique_y.high", unique_information_from_entropy),
    Rule("unique_information_upper", ("information_tx_given_y.high",), "unique_x.high", lambda i: i),
    Rule("functional_from_entropy", (HXY, B), "functional.high", functional_from_entropy),
    Rule("functional_from_entropy", (HYX, B), "functional.low", _minus(functional_from_entropy)),
    Rule(
        "functional_from_information",
        ("information_tx_given_y.high", B),
        "functional.high",
        functional_from_information,
    ),
    Rule(
        "functional_from_unique_information",
        ("unique_x.high", B),
        "functional.high",
        functional_from_unique_information,
    ),
    Rule(
        "functional_from_unique_information",
        ("unique_y.high", B),
        "functional.low",
        _minus(functional_from_unique_information),
    ),
    Rule("decoding_from_proximal", (FAR, "n_max.exact"), "decoding_error.high", _single_codeword),
    Rule("functional_from_decoding", ("decoding_error.high", B), "functional.high", functional_from_decoding),
    # Other losses: acc(X) - acc(Y) and H(T | Y) - H(T | X).
    Rule("accuracy_from_decoding", ("decoding_error.high",), "accuracy_gap.high", accuracy_from_decoding),
    Rule("accuracy_from_entropy", (HXY,), "accuracy_gap.high", accuracy_from_entropy),
    Rule("accuracy_from_entropy", (HYX,), "accuracy_gap.low", _minus(accuracy_from_entropy)),
    Rule(
        "accuracy_from_information",
        ("information_tx_given_y.high",),
        "accuracy_gap.high",
        accuracy_from_information,
    ),
    Rule("accuracy_from_unique_information", ("unique_x.high",), "accuracy_gap.high", accuracy_from_unique_information),
    Rule(
        "accuracy_from_unique_information",
        ("unique_y.high",),
        "accuracy_gap.low",
        _minus(accuracy_from_unique_information),
    ),
    Rule("functional_of_label", (), "accuracy_gap.low", _constant(0.0), chain="T-X-Y"),
    Rule("entropy_difference_bound", (HXY,), "log_loss_gap.high", entropy_difference_bound),
    Rule("entropy_difference_bound", (HYX,), "log_loss_gap.low", _minus(entropy_difference_bound)),
    Rule("entropy_difference_of_chain", (), "log_loss_gap.low", _constant(0.0), chain="T-X-Y"),
)

# What a rule reads says these already: finite Lipschitz constants, at most one codeword within t. Chain and norm are
# fields.
STATED_BY_RULE = (LIPSCHITZ_X, LIPSCHITZ_Y, ONE_CODE_PER_BALL, LABEL_CHAIN, LATER_CHAIN, UNIT_NORM)


def _with_assumptions(rule: Rule) -> Rule:
    (theorem,) = (theorem for theorem in THEOREMS if theorem.name == rule.theorem)
    stated = {assumption.name for assumption in STATED_BY_RULE}
    if rule.reads == (B,):  # whatever X is, a gap is at most B^2
        stated.add(DISCRETE_X.name)
    return replace(rule, assumes=tuple(a.words for a in theorem.assumes if a.name not in stated))


RULES = tuple(_with_assumptions(rule) for rule in _RULES)

H, INFO, I_TX, U_X, U_Y = "entropy_x", "information_xy", "information_tx_given_y", "unique_x", "unique_y"
H_XY, H_YX, GAP = "entropy_x_given_y", "entropy_y_given_x", "log_loss_gap"


def _elementary(
    statement: str, reads: tuple[str, ...], gives: str, function: Callable[..., float] = _same, *, chain: str = ""
) -> Rule:
    return Rule(statement, reads, gives, function, chain, elementary=True)


# Inequalities and identities between the quantities themselves: what they exclude is a contradiction.
ELEMENTARY_RULES: tuple[Rule, ...] = (
    _elementary("H(X) <= log size", ("size.high",), f"{H}.high", _logarithm),
    _elementary("H(X | Y) <= H(X)", (f"{H}.high",), f"{H_XY}.high"),
    _elementary("I(X; Y) <= min(H(X), H(Y))", (f"{H}.high",), f"{INFO}.high"),
    _elementary("I(X; Y) = H(X) - H(X | Y)", (f"{H}.high", f"{H_XY}.low"), f"{INFO}.high", _upper_difference),
    _elementary("I(X; Y) = H(X) - H(X | Y)", (f"{H}.low", f"{H_XY}.high"), f"{INFO}.low", _lower_difference),
    _elementary("H(X | Y) = H(X) - I(X; Y)", (f"{H}.low", f"{INFO}.high"), f"{H_XY}.low", _lower_difference),
    # Fano's inequality, for any decoder.
    _elementary("H(X | Y) <= h(P_e) + P_e log(|V| - 1)", ("decoding_error.high", "size.high"), f"{H_XY}.high", _fano),
    _elementary("H(X | Y) = 0 without errors", ("decoding_error.high",), f"{H_XY}.high", _zero_at_zero),
    _elementary("I(T; X | Y) <= H(X | Y)", (f"{I_TX}.low",), f"{H_XY}.low"),
    _elementary("U(T: X without Y) <= I(T; X | Y)", (f"{U_X}.low",), f"{I_TX}.low"),
    _elementary("U(T: Y without X) <= H(Y | X)", (f"{U_Y}.low",), f"{H_YX}.low"),
    # H(T | Y) - H(T | X) = I(T; X) - I(T; Y) = U(T: X without Y) - U(T: Y without X).
    _elementary("H(T | Y) - H(T | X) <= I(T; X | Y)", (f"{I_TX}.high",), f"{GAP}.high"),
    _elementary("H(T | Y) - H(T | X) <= U(T: X without Y)", (f"{U_X}.high",), f"{GAP}.high"),
    _elementary("H(T | X) - H(T | Y) <= U(T: Y without X)", (f"{U_Y}.high",), f"{GAP}.low", _minus(_same)),
    _elementary("H(T | Y) - H(T | X) = U_X - U_Y", (f"{U_X}.high", f"{U_Y}.low"), f"{GAP}.high", _upper_difference),
    _elementary("H(T | Y) - H(T | X) = U_X - U_Y", (f"{U_X}.low", f"{U_Y}.high"), f"{GAP}.low", _lower_difference),
    _elementary("H(T | Y) - H(T | X) <= U(T: X without Y)", (f"{GAP}.low",), f"{U_X}.low"),
    _elementary("H(T | X) - H(T | Y) <= U(T: Y without X)", (f"{GAP}.high",), f"{U_Y}.low", _minus(_same)),
    _elementary("I(T; Y | X) = 0", (), f"{U_Y}.high", _constant(0.0), chain="T-X-Y"),
    _elementary("I(T; X | Y) = 0", (), f"{I_TX}.high", _constant(0.0), chain="X-Y-T"),
    # Between codewords.
    _elementary("N_min <= N_max", ("n_max.high", "n_min.low"), "n_min.high", lambda n_max, _: n_max),
    _elementary("N_min <= |V|", ("size.high", "n_min.low"), "n_min.high", lambda size, _: size),
    _elementary("N_max <= |V|", ("size.high", "n_max.low"), "n_max.high", lambda size, _: size),
    Rule(
        "E ||X - Y||^2 = 2 E d(X, Y)",
        ("squared_distance.low",),
        "geometric.low",
        lambda rho: 0.5 * rho,
        unit_norm=True,
        elementary=True,
    ),
)
