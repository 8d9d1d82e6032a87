"""Borders: every statement gives its limit, or one clear refusal, at zero, one, infinity and a few ulps beside them."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bounds
from bounds.framework import arguments
from bounds.theorems.catalogue import THEOREMS
from tests.support import strategies

ULP = float(np.finfo(np.float64).eps)
BORDERS = {
    "p": [0.0, -ULP, 1e-300, ULP, 0.3, 0.5, 1.0 - ULP, 1.0, 1.0 + ULP],
    "+": [0.0, -1e-17, 1e-300, 1e-200, 0.3, 1.0 - ULP, 1.0, 1.0 + ULP, 2.0, 1e200, math.inf],
    "++": [1e-300, 1e-200, 0.5, 1.0, 1e200, math.inf],
    "real": [-math.inf, -1e200, -1.0, 0.0, 1e-300, 1.0, 1e200, math.inf],
}
COSINE = {"epsilons", "thresholds"}
# Differences and lower ends that may be negative by their nature.
SIGNED = {"entropy_difference", "squared_sum_gap", "entropy_from_proximity", "plan_change", "plan_margin"}


@st.composite
def bordering(draw, theorem):
    """Valid arguments, most of which are at a border."""
    out = strategies.draw_arguments(theorem, np.random.default_rng(draw(st.integers(0, 99))))
    for name in strategies.parameters(theorem):
        kind = strategies.kind(theorem, name)
        if kind not in BORDERS or name in {"thresholds", "p_min", "p_max"} or draw(st.integers(0, 3)) == 0:
            continue
        places = BORDERS[kind]
        if name in COSINE:
            places = [0.0, 1e-300, 1.0, 2.0, 2.0 * (1.0 + ULP)]
        shape = np.shape(out[name])
        cells = [draw(st.sampled_from(places)) for _ in range(math.prod(shape))]
        out[name] = np.array(cells).reshape(shape) if shape else cells[0]
    return out


@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda t: t.name)
def test_a_border_gives_a_limit_or_a_refusal(theorem):
    @settings(max_examples=40, database=None, deadline=None)
    @given(bordering(theorem))
    def at_borders(values):
        try:
            result = theorem(**values)
        except ValueError as error:
            assert "expected" in str(error)  # noqa: PT017
            return
        ends = result if isinstance(result, tuple) else (result,)
        assert not any(np.isnan(end).any() for end in ends)
        if theorem.name not in SIGNED:
            assert (np.asarray(ends[-1]) >= -1e-15).all()

    at_borders()


# What may only enlarge an upper bound: larger distances, errors, informations, constants, radii.
GROWING = {
    "epsilon",
    "epsilons",
    "lipschitz",
    "lipschitz_x",
    "lipschitz_y",
    "delta_x",
    "delta_y",
    "variance",
    "variance_x",
    "variance_y",
    "radius",
    "information",
    "entropy",
    "unique",
    "p_far_upper",
    "decoding_error",
    "squared_distance",
    "near_squared_distance",
    "error",
    "diameter",
    "sigma",
    "spread",
    "deficiency",
    "entropy_x_given_y",
    "entropy_y_given_x",
    "divergence",
    "disagreement",
    "deviations",
    "up",
    "omega",
    "distance",
    "steps",
    "norms",
    "beta",
    "text_lipschitz",
    "image_error",
    "blocks",
    "q_upper",
}
# Identities, and parameters that stand for an exact value.
NOT_MONOTONE = {("normalisation", "norm_x"), ("functional_from_decoding_per_point", "error")}


@pytest.mark.parametrize("theorem", [t for t in THEOREMS if t.relation == "<="], ids=lambda t: t.name)
def test_an_upper_bound_never_falls_when_what_it_reads_grows(theorem):
    rng = np.random.default_rng(11)
    for name in set(strategies.parameters(theorem)) & GROWING:
        places = np.array([p for p in BORDERS[strategies.kind(theorem, name)] if not (name in COSINE and p > 2)])
        for _ in range(3):
            values = strategies.draw_arguments(theorem, rng)
            shape = np.shape(values[name])
            ends = []
            for place in np.sort(places):
                try:
                    result = theorem(**{**values, name: np.full(shape, place) if shape else float(place)})
                except ValueError:
                    continue
                ends.append(np.max(result[-1] if isinstance(result, tuple) else result))
            assert all(b >= a * (1.0 - 1e-12) for a, b in pairwise(ends)), (name, ends)


def test_zero_times_anything_is_zero():
    assert bounds.functional_from_geometric(0.0, 1e200) == 0.0
    assert bounds.functional_from_geometric(0.0, math.inf) == 0.0
    assert bounds.functional_from_geometric(1.0, 0.0) == 0.0
    assert bounds.functional_from_information(0.0, math.inf) == 0.0
    assert bounds.functional_from_information(math.inf, 0.0) == 0.0
    assert bounds.attention_removal_from_norm(0.0, math.inf) == 0.0
    assert bounds.functional_from_squared_distance(1e-300, 1e200) == pytest.approx(1e100, rel=1e-12)


def test_a_product_is_the_limit_and_does_not_overflow_on_the_way():
    np.testing.assert_array_equal(arguments.product([0.0, 1.0, 3.0], [math.inf, math.inf, 5.0]), [0.0, math.inf, 15.0])
    assert arguments.product(1e200, 1e200, 1e-300) == pytest.approx(1e100, rel=1e-15)


def test_what_no_limit_determines_is_refused():
    with pytest.raises(ValueError, match="squared_distance_from_norms: expected arguments that determine"):
        bounds.squared_distance_from_norms(0.5, math.inf, math.inf)
    with pytest.raises(ValueError, match="infinities"):
        bounds.entropy_difference(math.inf, math.inf)


@pytest.mark.parametrize(
    ("gaps", "terms"), [([math.inf, 1.0], [[-math.inf, 0.0]]), ([1.0, 1.0], [[math.inf, 0.0], [-math.inf, 0.0]])]
)
def test_a_margin_with_infinities_of_both_signs_is_refused(gaps, terms):
    with pytest.raises(ValueError, match="infinities of both signs"):
        bounds.plan_margin(gaps, terms)
    assert bounds.plan_margin([1.0, 2.0], [[math.inf, 0.0]]) == 2.0
    assert bounds.plan_margin([1.0, 2.0], [[-math.inf, 0.0]]) == -math.inf


def test_runs_of_no_layers():
    blocks = [[[1.1, 0.2], [0.0, 1.3]]]
    np.testing.assert_allclose(bounds.late_entry_propagation([], [], 0.5, blocks), [0.1, 0.65])
    np.testing.assert_allclose(bounds.late_entry_propagation([0.1], [1.2], 0.5, []), [0.1, 0.5])
    np.testing.assert_allclose(bounds.late_entry_propagation([], [], 0.5, np.zeros((0, 2, 2))), [0.0, 0.5])
    assert bounds.early_exit_propagation([], []) == 0.0
    assert bounds.skip_set_propagation([], [], []) == 0.0


@pytest.mark.parametrize("value", [1.0 + ULP, 1.0 + 8 * ULP, -ULP])
def test_rounding_beside_a_probability_counts_as_the_end(value):
    end = float(value > 0.5)
    assert bounds.fano_monotone(value, 10, 1, 1) == bounds.fano_monotone(end, 10, 1, 1)
    assert bounds.accuracy_from_decoding(value) == end
    with pytest.raises(ValueError, match="p_far_upper"):
        bounds.fano_monotone(value + math.copysign(1e-9, value - 0.5), 10, 1, 1)


def test_a_distance_or_an_entropy_just_below_zero_is_zero():
    assert bounds.functional_from_entropy(-1e-16, 1.0) == 0.0
    assert bounds.geometric_chain([2.0 + 4e-16, 0.0]) == pytest.approx(2.0)
