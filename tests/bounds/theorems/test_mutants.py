"""Planted errors are caught: every theorem fails with a wrong constant, a wrong sign or a missing term."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import bounds
from bounds.framework import special_functions
from bounds.theorems.catalogue import THEOREMS
from redundancy.information.finite_entropy import entropy_modulus


def fails(theorem, draws=60) -> bool:
    """Whether the statement is false on its tight example or on a random world."""
    if theorem.tight is not None and not theorem.check(theorem.tight()).holds:
        return True
    rng = np.random.default_rng(1)
    return any(not theorem.check(theorem.family.random(rng)).holds for _ in range(draws))


def scaled(function, factor):
    def wrong(*args, **kwargs):
        value = function(*args, **kwargs)
        return tuple(factor * v for v in value) if isinstance(value, tuple) else factor * value

    return wrong


# No world attains these statements; a constant as wrong as this one is still noticed.
FACTOR = {"squared_prediction_gap_linear": 0.5, "functional_from_entropy_linear": 0.6}


# Equalities, checked as two inequalities with a certified interval.
EQUALITIES = {"unique_information_of_copy", "unique_information_of_chain"}


@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda t: t.name)
def test_a_wrong_constant_is_caught(theorem):
    factor = FACTOR.get(theorem.name, 0.99)
    if theorem.relation == ">=":
        factor = 1.01
    draws = 400 if theorem.name in FACTOR else 60
    assert fails(replace(theorem, function=scaled(theorem.function, factor)), draws)


@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda t: t.name)
def test_a_reversed_inequality_is_caught(theorem):
    if theorem.relation == "=" or theorem.name in EQUALITIES:
        wrong = replace(theorem, function=scaled(theorem.function, -1.0))
    else:
        wrong = replace(theorem, relation={"<=": ">=", ">=": "<="}[theorem.relation])
    assert fails(wrong)


def h2(p):
    return special_functions.binary_entropy(np.asarray(p, dtype=float))


# Missing terms, wrong arguments, wrong logarithms: at least one per file.
MUTANTS = {
    "geometric_from_proximal": {
        "distance at most 1": lambda t, p, d_max=2.0: t + (1 - t) * p,
        "first term dropped": lambda t, p, d_max=2.0: (2 - t) * p,
    },
    "proximal_from_geometric": {"squared": lambda e, t: np.minimum(1, (e / t) ** 2)},
    "functional_from_geometric": {
        "kappa without its two": lambda e, slope: slope**2 * e,
        "kappa cut": lambda e, slope: slope**2 * np.minimum(e, 1) * (1 - np.minimum(e, 1)),
        "not squared": lambda e, slope: slope * special_functions.kappa(np.asarray(e)) * 0.5,
    },
    "functional_from_proximal": {"distance at most 1": lambda t, p, s: s**2 * special_functions.kappa(t + (1 - t) * p)},
    "functional_from_variance": {"slope not squared": lambda v, slope: min(slope, 1.0) * v * 0.5},
    "frozen_head": {"linear rate": lambda rho, slope: slope * rho},
    "frozen_head_from_geometric": {"no two": lambda e, slope: slope * np.sqrt(e)},
    "frozen_head_log_loss": {"no root of two": lambda d, slope: slope * d},
    "empirical_functional_from_geometric": {
        "delta dropped": lambda e, a, b, dx, dy: (
            -(a**2) * special_functions.kappa(np.asarray(e)),
            b**2 * special_functions.kappa(np.asarray(e)),
        ),
        "constants exchanged": lambda e, a, b, dx, dy: bounds.empirical_functional_from_geometric(e, b, a, dx, dy),
        "errors exchanged": lambda e, a, b, dx, dy: bounds.empirical_functional_from_geometric(e, a, b, dy, dx),
    },
    "prediction_gap_from_variance": {
        "an error dropped": lambda vx, vy, a, b, dx, dy: np.sqrt(dy) + b * np.sqrt(vy) + a * np.sqrt(vx)
    },
    "prediction_gap_from_geometric": {
        "one constant dropped": lambda e, a, b, dx, dy: (
            np.sqrt(dx) + np.sqrt(dy) + np.maximum(a, b) * np.sqrt(special_functions.kappa(np.asarray(e)))
        )
    },
    "regression_gap_from_geometric": {"sum of squares": lambda e, a, b: 2 * (a**2 + b**2) * e},
    "fano": {
        "binary entropy dropped": lambda p, v, low, high: p * np.log(max(v - low, 1)) + (1 - p) * np.log(max(high, 1)),
        "bits": lambda p, v, low, high: (
            h2(p) / np.log(2) * 0.5 + p * np.log(max(v - low, 1)) + (1 - p) * np.log(max(high, 1))
        ),
        "counts exchanged": lambda p, v, low, high: (
            h2(p) + p * np.log(max(high, 1)) + (1 - p) * np.log(max(v - low, 1))
        ),
    },
    "fano_monotone": {"fed into the published form": lambda p, v, low, high: bounds.fano(p, v, low, high)},
    "information_from_proximity": {"arguments exchanged": lambda r, q, **_: bounds.information_from_proximity(q, r)},
    "information_from_ball_range": {
        "not clamped": lambda r, low, high: special_functions.binary_divergence(r, high),
    },
    "braun_pokutta": {
        "entropy with the other sign": lambda r, low, high: bounds.braun_pokutta(r, low, high) + 2 * h2(r),
        "complement dropped": lambda r, low, high: r * np.log(1 / max(high, 1e-300)),
    },
    "functional_from_information": {
        "linear at one": lambda i, b: b**2 * np.minimum(1, i),
        "bits": lambda i, b: b**2 * special_functions.psi(np.asarray(i) * np.log(2)),
        "radius not squared": lambda i, b: np.minimum(b, 1) * special_functions.psi(np.asarray(i)) * 0.4,
    },
    "functional_from_entropy": {"nats for bits": lambda h, b: b**2 * np.minimum(1, h)},
    "functional_from_two_entropies": {
        "smaller entropy": lambda a, b, r: r**2 * np.minimum(1, np.minimum(a, b) / np.log(2))
    },
    "functional_from_range": {"length for half length": lambda i, s: s**2 / 8 * special_functions.psi(np.asarray(i))},
    "brier_from_information": {
        "classes squared": lambda i, h, k: (1 - 1 / k) ** 2 * special_functions.psi(np.asarray(i))
    },
    "functional_from_decoding": {"linear at one": lambda p, b: b**2 * p},
    "accuracy_from_information": {"Pinsker's root dropped": lambda i: 0.5 * i},
    "functional_hybrid": {"far term dropped": lambda near, s, p, b: s**2 * near},
    "geometric_chain": {"distances added": lambda e: np.sum(e, axis=-1)},
    "geometric_chain_roots": {"not squared back": lambda e: np.sum(e, axis=-1)},
    "entropy_chain": {"largest instead of sum": lambda h: np.max(h, axis=-1)},
    "unique_information_lower": {"sign": lambda a, b: np.maximum(0, b - a)},
    "entropy_difference": {"second term dropped": lambda a, b: a},
    "unique_information_stability": {
        "second term dropped": lambda a, b, k: entropy_modulus(np.asarray(b), np.asarray(k))
    },
    "attention_removal": {"mass squared": lambda a, v, t: a**2 * bounds.cross_diameter(v, t)},
    "attention_removal_from_norm": {"two dropped": lambda a, m: a * m},
    "attention_replacement": {"new tokens dropped": lambda a, d, b, e: a * d},
    "softmax_total_variation": {"tanh(omega / 8)": lambda w: np.tanh(w / 8)},
    "softmax_divergence": {"omega^2 / 16": lambda w: w**2 / 16},
    "skip_set_propagation": {"growth dropped": lambda n, lam, s: np.where(s, n, 0).sum(axis=-1)},
    "late_entry_propagation": {
        "image error dropped": lambda b, lam, f, m: bounds.late_entry_propagation(b, lam, 0.0, m)
    },
    "early_exit_propagation": {"growth dropped": lambda b, lam: np.sum(b, axis=-1)},
    "normalisation": {"two dropped": lambda d, a, b, offset=0.0: d / (np.sqrt(a**2 + offset) + np.sqrt(b**2 + offset))},
    "squared_triangle": {"second factor dropped": lambda a, b, share=1.0: (1 + share) * a**2 + b**2},
    "squared_path": {"number of steps dropped": lambda d: np.sum(np.square(d), axis=-1)},
    "sharp_prediction_gap_from_variance": {
        "an error dropped": lambda vx, vy, a, b, dx, dy: b * np.sqrt(vy) + np.sqrt(dy + a**2 * vx),
        "constants exchanged": lambda vx, vy, a, b, dx, dy: np.sqrt(dx + a**2 * vy) + np.sqrt(dy + b**2 * vx),
        "one root": lambda vx, vy, a, b, dx, dy: np.sqrt(dx + b**2 * vy + dy + a**2 * vx),
    },
    "sharp_prediction_gap_from_geometric": {
        "one root": lambda e, a, b, dx, dy: np.sqrt(dx + dy + (a**2 + b**2) * special_functions.kappa(np.asarray(e))),
        "constants exchanged": lambda e, a, b, dx, dy: bounds.sharp_prediction_gap_from_geometric(e, b, a, dx, dy),
    },
    "sharp_squared_prediction_gap": {
        "coefficients of one": lambda e, a, b, dx, dy, share=1.0: (
            dx + dy + (a**2 + b**2) * special_functions.kappa(np.asarray(e))
        )
    },
    "sharp_hybrid": {
        "far term linear": lambda near, s, p, b: s**2 * near + b**2 * p,
        "chi of the square": lambda near, s, p, b: s**2 * near + b**2 * special_functions.chi(np.asarray(p) ** 2),
    },
    "sharp_hybrid_per_point": {"far term dropped": lambda near, s, q, p, b: s**2 * near},
    "total_variation_from_divergence": {
        "half of the root": lambda d: np.sqrt(d) / 2,
        "Bretagnolle and Huber without the root": lambda d: 1 - np.exp(-d),
    },
    "divergence_from_losses": {
        "difference for every divergence": lambda p, q, kind="kl": np.abs(p - q),
    },
    "loss_from_chi_square": {"spread dropped": lambda c, e: np.maximum(0, e - 0.4 * np.sqrt(c))},
    "plan_change": {
        "a term dropped": lambda t: np.sum(t[..., 1:], axis=-1),
        "absolute terms": lambda t: np.sum(np.abs(t), axis=-1),
    },
    "divergence_from_logit_variance": {
        "signs exchanged": lambda v, w: (
            v * special_functions.exponential_excess(np.asarray(w)),
            v * special_functions.exponential_excess(-np.asarray(w)),
        )
    },
    "divergence_from_centred_logits": {
        "down for up": lambda v, a, b: bounds.divergence_from_centred_logits(v, b, a),
        "half of the variance": lambda v, a, b: (0 * v, np.log1p(v * 0.5)),
    },
    "plan_margin": {
        "a term dropped": lambda g, t: np.min(g + np.sum(t[..., 1:, :], axis=-2), axis=-1),
        "first other answer only": lambda g, t: (g + np.sum(t, axis=-2))[..., 0],
        "largest instead of smallest": lambda g, t: np.max(g + np.sum(t, axis=-2), axis=-1),
        "sign of the terms": lambda g, t: np.min(g - np.sum(t, axis=-2), axis=-1),
    },
    "plan_deviation": {"root of the sum of squares": lambda d: np.sqrt(np.sum(np.square(d), axis=-1))},
    "divergence_of_plan": {"largest instead of sum": lambda d, b: bounds.divergence_of_plan(d[..., :1], b)},
    "accuracy_from_disagreement": {"half": lambda d: 0.5 * d},
    "squared_distance_from_norms": {"norms dropped": lambda c, a, b: 2 * a * b * c},
}


@pytest.mark.parametrize(("name", "mutant"), [(n, m) for n, mutants in MUTANTS.items() for m in mutants])
def test_a_planted_error_is_caught(name, mutant):
    assert fails(replace(getattr(bounds, name), function=MUTANTS[name][mutant]), draws=400)


def test_the_originals_pass():
    assert not any(fails(theorem, draws=3) for theorem in THEOREMS)
