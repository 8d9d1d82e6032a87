"""Invalid input to every statement: the error names the argument, what was expected and the remedy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import bounds
import redundancy as rd
from bounds.framework import arguments, assumptions
from bounds.framework.theorem import AssumptionError
from bounds.theorems.catalogue import THEOREMS
from bounds.worlds import families, gallery, layered, network_families
from bounds.worlds.with_predictors import PredictedWorld
from tests.support import strategies


def ids(theorem):
    return theorem.name


def spoilt(theorem, name, value):
    """Valid arguments, except for one entry of one of them."""
    good = strategies.draw_arguments(theorem, np.random.default_rng(5))
    bad = np.array(good[name], dtype=float)
    bad.flat[0] = value
    return {**good, name: bad}


@pytest.mark.parametrize("theorem", THEOREMS, ids=ids)
def test_nan_is_refused_by_name(theorem):
    for name in strategies.parameters(theorem):
        with pytest.raises(ValueError, match=name):
            theorem(**spoilt(theorem, name, math.nan))


@pytest.mark.parametrize("theorem", THEOREMS, ids=ids)
def test_numbers_out_of_range_are_refused_by_name(theorem):
    for name in strategies.parameters(theorem):
        kind = strategies.kind(theorem, name)
        if kind == "real":
            continue
        with pytest.raises(ValueError, match=name):
            theorem(**spoilt(theorem, name, -0.5))
        if kind in ("p", "distribution"):
            with pytest.raises(ValueError, match=name):
                theorem(**spoilt(theorem, name, 1.5))
        if kind == "++":
            with pytest.raises(ValueError, match=name):
                theorem(**spoilt(theorem, name, 0.0))
        if kind == "count":
            with pytest.raises(ValueError, match=name):
                theorem(**spoilt(theorem, name, 2.5))


@pytest.mark.parametrize("theorem", [t for t in THEOREMS if len(strategies.parameters(t)) > 1], ids=ids)
def test_shapes_that_do_not_broadcast_are_refused(theorem):
    names = strategies.parameters(theorem)
    good = strategies.draw_arguments(theorem, np.random.default_rng(5))
    first, second = names[:2]
    bad = {
        **good,
        first: np.stack([np.asarray(good[first])] * 2),
        second: np.stack([np.asarray(good[second])] * 3),
    }
    with pytest.raises(ValueError, match="expected"):
        theorem(**bad)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bounds.fano(0.1, 0, 0, 0), "size: expected whole numbers >= 1, got 0"),
        (lambda: bounds.fano(0.1, 5, 3, 2), "n_min <= n_max"),
        (lambda: bounds.fano(0.1, 5, 3, 6), "n_max <= size"),
        (lambda: bounds.fano(1.1, 5, 1, 1), r"p_far: expected probabilities in \[0, 1\], got 1.1"),
        (lambda: bounds.fano_monotone(math.nan, 5, 1, 1), "p_far_upper: expected numbers, got NaN"),
        (lambda: bounds.functional_from_geometric(-1e-9, 1.0), "epsilon: expected numbers >= 0"),
        (lambda: bounds.functional_from_geometric(2.1, 1.0, exact=True), r"epsilon: .* \[0, 2\]"),
        (lambda: bounds.geometric_from_proximal([0.1, 0.2], [0.1, 0.2, 0.3]), r"t \(2,\), p_far \(3,\)"),
        (lambda: bounds.braun_pokutta(0.5, 0.6, 0.4), "p_min <= p_max"),
        (lambda: bounds.fano_per_point([0.5, 0.4], [0.1, 0.1], 5, [1, 1]), "sum to one"),
        (lambda: bounds.fano_per_point([1.0], [0.1], 5, [5]), "0 where a ball holds every codeword"),
        (lambda: bounds.fano_per_point([0.5, 0.5], [0.1], 5, [1, 1]), "one common length"),
        (lambda: bounds.geometric_from_thresholds([0.2, 0.1], [0.1, 0.1]), "ascending"),
        (lambda: bounds.geometric_from_thresholds([0.2], [0.1]), "at least two"),
        (lambda: bounds.geometric_chain([0.1, 2.5]), r"\[0, 2\]"),
        (lambda: bounds.skip_set_propagation([1.0], [1.0], [1]), "skipped: expected booleans"),
        (lambda: bounds.late_entry_propagation([1.0], [1.0], 0.1, [1.0]), r"blocks: .*\(..., layers, 2, 2\)"),
        (lambda: bounds.normalisation(1.0, 0.0, 0.0), "non-zero norm"),
        (lambda: bounds.attention_removal(0.1, np.ones((2, 3)), np.ones((2, 4))), "one dimension d"),
        (lambda: bounds.attention_removal(0.1, np.ones((0, 3)), np.ones((2, 3))), "value vectors"),
        (lambda: arguments.distribution(0.5, name="distribution"), "along the last axis"),
    ],
)
def test_the_message_says_what_was_expected(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def coinciding():
    """Two symbols at one point with different conditional means: no Lipschitz constant."""
    point = np.ones((2, 1))
    return gallery.FiniteWorld(0.5 * np.eye(2)[:, :, None], gallery.SIGNS, point, point[:1])


def only_far():
    """The ball of the only y that occurs holds no codeword."""
    x, y = np.array([[1.0, 0.0]]), np.array([[-1.0, 0.0]])
    return gallery.FiniteWorld(np.ones((1, 1, 1)), np.zeros((1, 1)), x, y, 0.3)


def one_point_two_predictions():
    world = gallery.noisy_copy(0.0, 1.0)
    return PredictedWorld(world, np.zeros((1, 1)), np.array([[0.0], [1.0]]))


def growing_norms():
    points = (np.ones((1, 1)), 2.0 * np.ones((1, 1)))
    return layered.LayeredWorld(np.ones((1, 1, 1)), np.zeros((1, 1)), points)


def layers_at_zero():
    return layered.LayeredWorld(np.ones((1, 1, 1)), np.zeros((1, 1)), (np.ones((1, 1)), np.zeros((1, 1))))


OUTSIDE = {
    "functional_from_geometric": gallery.fork(0.3),  # states off the sphere
    "functional_from_variance": coinciding().reversed(),
    "functional_gap_from_variance": coinciding(),
    "functional_from_local_constants": coinciding().reversed(),
    "functional_of_label": gallery.sign_flip(0.5),
    "functional_of_later_target": gallery.binary_channel(0.2),
    "unique_information_of_copy": gallery.binary_channel(0.2),
    "fano_covered": only_far(),
    "decoding_from_proximal": gallery.cyclic_codebook(7, 1, 0.2),
    "brier_from_information": gallery.binary_channel(0.2),
    "functional_from_subgaussian": gallery.erased_bit(0.3),
    "functional_from_range": gallery.rotated_or_reflected(0.3, 0.1, 6),
    "information_from_means": gallery.binary_channel(0.2, 2.0),
    "frozen_head": one_point_two_predictions(),
    "information_chain": families.LAYERS.random(0),
    "entropy_chain_of_maps": families.MARKOV_LAYERS.random(0),
    "geometric_chain": growing_norms(),
    "proximal_chain": layers_at_zero(),
    "divergence_from_losses": gallery.binary_channel(0.2),
    "sharp_hybrid": coinciding(),
    "late_entry_propagation": network_families.EARLY_EXIT.random(0),
    "early_exit_propagation": network_families.LATE_ENTRY.random(0),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_world_that_violates_an_assumption_is_refused(name):
    with pytest.raises(AssumptionError, match=r"expected a world with .*does not meet it"):
        getattr(bounds, name).check(OUTSIDE[name])


def test_every_assumption_is_refused_somewhere():
    covered = {a.name for name in OUTSIDE for a in getattr(bounds, name).assumes}
    everything = {a.name for a in vars(assumptions).values() if isinstance(a, bounds.Assumption) and not a.standing}
    assert everything <= covered


def test_a_world_of_another_kind_is_refused():
    with pytest.raises(TypeError, match="expected a world of kind FiniteWorld, got LayeredWorld"):
        bounds.fano.check(families.LAYERS.random(0))


def test_a_missing_extra_is_one_clear_line():
    from redundancy.optional_imports import optional_import

    with pytest.raises(ImportError, match=r"^a map needs nowhere_to_be_found: pip install 'skipit\[plot\]'$"):
        optional_import("nowhere_to_be_found.pyplot", extra="plot", purpose="a map")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (bounds.fano(0.0, 9, 2, 3), math.log(3)),
        (bounds.fano(1.0, 9, 2, 3), math.log(7)),
        (bounds.fano(0.3, 9, 9, 9), math.log(9)),  # t beyond the diameter
        (bounds.fano(0.3, 9, 0, 0), math.log(9)),  # all balls empty
        (bounds.fano(0.3, 1, 1, 1), 0.0),
        (bounds.fano_monotone(1.0, 9, 1, 1), math.log(9)),
        (bounds.fano_monotone(0.3, 9, 9, 9), math.log(9)),
        (bounds.geometric_from_proximal(0.1, 1.0), 2.0),
        (bounds.geometric_from_proximal(5.0, 0.0), 2.0),
        (bounds.geometric_from_proximal(0.1, 0.0), 0.1),
        (bounds.proximal_from_geometric(0.5, 0.1), 1.0),
        (bounds.information_from_proximity(0.0, 0.0), 0.0),
        (bounds.information_from_proximity(1.0, 1.0), 0.0),
        (bounds.information_from_proximity(0.5, 0.0), math.inf),
        (bounds.information_from_proximity(1.0, 0.25), math.log(4)),
        (bounds.information_from_ball_range(0.3, 0.2, 0.4), 0.0),
        (bounds.functional_from_information(5.0, 2.0), 4.0),
        (bounds.functional_from_information(0.0, 2.0), 0.0),
        (bounds.functional_from_decoding(0.9, 1.0), 1.0),
        (bounds.entropy_continuity(3.0, 4), math.log(4)),
        (bounds.geometric_chain([2.0, 0.5]), 2.0),
        (bounds.functional_from_geometric(1.5, 1.0), 1.0),
        (bounds.functional_from_geometric(1.5, 1.0, exact=True), 0.75),
    ],
)
def test_edge_cases(value, expected):
    assert value == pytest.approx(expected, rel=1e-15)


def test_the_trap_of_theorem_4_is_avoided():
    # X, Y independent with uneven balls: I = 0 although r < p_max.
    assert bounds.information_from_ball_range(0.5, 0.1, 0.9) == 0.0
    assert bounds.information_from_limits(0.5, 0.9) == 0.0


def test_the_sum_of_distances_is_not_a_bound():
    # Two turns of 60 degrees: 0.5 + 0.5 < 1.5.
    world = layered.rotations(np.array([math.pi / 3, math.pi / 3]))
    assert world.ends.geometric == pytest.approx(1.5)
    assert bounds.geometric_chain([0.5, 0.5]) == pytest.approx(1.5)


@pytest.mark.parametrize("seed", range(10))
def test_codewords_within_an_angle_stay_proximal(seed):
    rng = np.random.default_rng(seed)
    states = families.away_from_zero(rng.normal(size=(2, 400, 3)))
    angle = 0.15
    shift = families.away_from_zero(states + 0.07 * rng.normal(size=states.shape))
    near = np.arccos(np.clip((states * shift).sum(-1), -1, 1)) <= angle
    codewords = np.where(near[..., None], shift, states)
    t = rng.uniform(0.01, 1.0)
    far = (1 - (states[0] * states[1]).sum(-1) > t).mean()
    far_codewords = (1 - (codewords[0] * codewords[1]).sum(-1) > bounds.code_threshold(t, angle)).mean()
    assert far_codewords <= far


def test_chain_threshold_adds_angles():
    t = 1 - np.cos([0.2, 0.5])
    assert bounds.chain_threshold(t) == pytest.approx(1 - math.cos(0.7))


def test_what_is_not_a_number_is_refused_by_name():
    with pytest.raises(ValueError, match=r"^t: expected numbers of one shape, got 'x'; convert them to floats$"):
        bounds.geometric_from_proximal("x", 0.1)
    with pytest.raises(ValueError, match=r"^p_far: expected numbers of one shape, got \[\[0\.1\], \[0\.2, 0\.3\]\]"):
        bounds.geometric_from_proximal(0.1, [[0.1], [0.2, 0.3]])
    with pytest.raises(ValueError, match=r"^epsilon: expected numbers"):
        bounds.squared_distance_from_geometric({"a": 1})


def test_thresholds_are_refused_under_their_own_name():
    with pytest.raises(ValueError, match=r"^t: expected cosine distances in \[0, 2\], got 3\.0$"):
        bounds.chain_threshold([3.0])
    with pytest.raises(ValueError, match=r"^t: expected cosine distances in \[0, 2\], got 3\.0$"):
        bounds.code_threshold(3.0, 0.1)


@pytest.fixture(scope="module")
def measured():
    states = np.random.default_rng(0).normal(size=(20, 3))
    estimate = rd.proximal(states, states[::-1], 0.1)
    return (estimate, "value"), (bounds.certify(estimate), "high")


@pytest.mark.parametrize("theorem", THEOREMS, ids=ids)
def test_estimates_and_certificates_are_not_read_as_numbers(theorem, measured):
    for value, part in measured:
        alone = np.empty((), dtype=object)
        alone[()] = value
        for name, given in itertools.product(strategies.parameters(theorem), (value, [value], ((0.1, value),), alone)):
            good = strategies.draw_arguments(theorem, np.random.default_rng(5))
            with pytest.raises(TypeError, match=rf"{name}: expected numbers, got an? \w+ of proximal; .*{part}"):
                theorem(**{**good, name: given})
