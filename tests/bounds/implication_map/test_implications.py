"""The implication map: tightest routes, directions, certified inputs, and what does not follow."""

from __future__ import annotations

import math

import numpy as np
import pytest

import bounds
import redundancy as rd
from bounds.implication_map.rules import RULES, STATED_BY_RULE
from bounds.worlds import exact_quantities, gallery

BY_NAME = {theorem.name: theorem for theorem in bounds.THEOREMS}


def certificate(quantity, low, high, confidence=0.95):
    return bounds.Certificate(
        low, high, confidence, "betting", f"the {quantity} interval covers", quantity, 0.5 * (low + high), 100
    )


def test_every_rule_names_a_theorem():
    names = {t.name for t in bounds.THEOREMS}
    assert {rule.theorem for rule in RULES} <= names


def test_proximal_implies_geometric_implies_functional():
    result = bounds.implications(t=0.05, p_far=0.028, lipschitz_x=2.0, lipschitz_y=1.0)
    assert result["geometric"].high == pytest.approx(bounds.geometric_from_proximal(0.05, 0.028), rel=1e-11)
    exact = bounds.functional_from_proximal(0.05, 0.028, 2.0)
    assert exact <= result["functional"].high <= exact * (1 + 1e-11)
    assert result["functional"].low == pytest.approx(-bounds.functional_from_proximal(0.05, 0.028, 1.0), rel=1e-11)
    assert result["functional"].route == ("geometric_from_proximal", "functional_from_geometric")
    assert "states of norm one" in result["functional"].assumptions
    assert result["functional"].confidence == 1.0


def test_the_tightest_route_wins():
    # Balls of one codeword: decoding beats Fano's entropy (the example of theory, section 8).
    codes = {"t": 0.05, "p_far": 0.028, "size": 10_000, "n_min": 1, "n_max": 1, "radius": 1.0}
    result = bounds.implications(**codes)
    assert result["functional"].high == pytest.approx(4 * 0.028 * 0.972, rel=1e-9)
    assert "functional_from_decoding" in result["functional"].route
    assert result["entropy_x_given_y"].high == pytest.approx(0.3856, abs=1e-4)
    # Balls of several codewords: only the entropy is left, and nothing beats B^2.
    assert bounds.implications(**{**codes, "n_max": 3})["functional"].high <= 1.0 + 1e-11


def test_direction_of_the_entropies():
    # H(earlier | later) bounds what the earlier state adds; H(later | earlier) only the other side.
    forward = bounds.implications(entropy_x_given_y=0.1, radius=1.0)["functional"]
    assert forward.high == pytest.approx(0.1 / math.log(2), rel=1e-9)
    assert forward.low == pytest.approx(-1.0)
    backward = bounds.implications(entropy_y_given_x=0.0, radius=1.0)["functional"]
    assert backward.high == pytest.approx(1.0)
    assert backward.low == 0.0


def test_markov_chains_fix_signs():
    given = {"geometric": 0.1, "lipschitz_x": 1.0, "lipschitz_y": 1.0}
    label = bounds.implications(chain="T-X-Y", **given)["functional"]
    later = bounds.implications(chain="X-Y-T", **given)["functional"]
    assert label.low == 0.0
    assert label.high > 0.1
    assert later.high == 0.0
    assert later.low < -0.1


def test_an_upper_bound_reaches_fano_in_its_monotone_form_only():
    codes = {"size": 10, "n_min": 1, "n_max": 1, "t": 0.05}
    # Past its peak the published form falls: at 1 it would say log 9 although the truth may be log 10.
    result = bounds.implications(p_far=certificate("far", 0.0, 1.0), **codes)["entropy_x_given_y"]
    assert bounds.fano(1.0, 10, 1, 1) < math.log(10)
    assert math.log(10) <= result.high <= math.log(10) * (1 + 1e-11)
    assert result.route == ("fano_monotone",)
    # A number is exact and may use it.
    exact = bounds.implications(p_far=0.95, **codes)["entropy_x_given_y"]
    assert exact.high == pytest.approx(bounds.fano(0.95, 10, 1, 1), rel=1e-11)
    # Markov's inequality gives a bound, even from exact numbers.
    derived = bounds.implications(geometric=0.05, **codes)["entropy_x_given_y"]
    assert derived.high >= math.log(10)


def test_certified_inputs_give_certified_outputs_with_errors_added():
    geometric, proximal = certificate("geometric", 0.01, 0.03), certificate("proximal", 0.9, 0.99, 0.9)
    alone = bounds.implications(geometric=geometric, lipschitz_x=1.0)["functional"]
    assert alone.confidence == pytest.approx(0.95)
    assert alone.high >= bounds.functional_from_geometric(0.03, 1.0)
    assert alone.guarantee.startswith("With probability at least 0.95")
    assert "the geometric interval covers" in alone.guarantee
    both = bounds.implications(geometric=geometric, t=0.05, proximal=proximal, lipschitz_x=1.0)
    # Two routes compete for the functional gap: the tightest is chosen, both certificates are paid for.
    assert both["functional"].confidence == pytest.approx(0.85)
    assert both["p_far"].high >= 1 - 0.9
    assert "0.85" in both["functional"].guarantee


def test_derived_values_may_be_fed_back():
    first = bounds.implications(geometric=certificate("geometric", 0.0, 0.02))["squared_distance"]
    again = bounds.implications(squared_distance=first, lipschitz_head=2.0)["root_risk_gap"]
    assert again.confidence == pytest.approx(0.95)
    assert again.high >= 2.0 * math.sqrt(0.04)


def test_a_certificate_from_data_goes_through():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 8))
    y = x + 0.1 * rng.normal(size=x.shape)
    certified = bounds.certify(rd.geometric(x, y), 0.95)
    result = bounds.implications(geometric=certified, lipschitz_head=1.0)["root_risk_gap"]
    assert result.high >= math.sqrt(2 * certified.high)
    assert result.confidence == pytest.approx(0.95)
    close = bounds.certify(rd.proximal(x, y, t=0.05), 0.95)
    codes = {"size": 64, "n_min": 1, "n_max": 4, "t": 0.05}
    entropy = bounds.implications(proximal=close, **codes)["entropy_x_given_y"]
    assert entropy.high >= bounds.fano_monotone(1 - close.low, 64, 1, 4)


@pytest.mark.parametrize("seed", range(30))
def test_whatever_follows_is_true_of_the_world(seed):
    from bounds.worlds.families import CODES_AND_LABEL

    w = CODES_AND_LABEL.random(seed)
    counts = (~w.far).sum(axis=0)[w.y > 0]
    result = bounds.implications(
        chain="T-X-Y",
        t=w.threshold,
        p_far=w.p_far,
        geometric=w.geometric,
        size=len(w.x_points),
        n_min=counts.min(),
        n_max=counts.max(),
        radius=w.radius,
        lipschitz_x=w.lipschitz_x,
        lipschitz_y=w.lipschitz_y,
    )
    truth = {
        "geometric": w.geometric,
        "p_far": w.p_far,
        "squared_distance": w.squared_distance,
        "entropy_x_given_y": w.entropy_x_given_y,
        "information_tx_given_y": w.information_tx_given_y,
        "unique_x": w.decomposition.unique_x,
        "functional": -w.gap,
        "log_loss_gap": w.entropy_t_given_y - w.entropy_t_given_x,
        "accuracy_gap": exact_quantities.bayes_accuracy(w.tx) - exact_quantities.bayes_accuracy(w.ty),
    }
    for quantity, value in truth.items():
        assert result[quantity].low - 1e-9 <= value <= result[quantity].high + 1e-9, quantity


def test_it_prints_and_draws_itself(tmp_path):
    import matplotlib as mpl

    mpl.use("Agg")
    result = bounds.implications(t=0.05, p_far=0.03, lipschitz_x=1.0, radius=1.0, size=64, n_min=1, n_max=1)
    text = str(result)
    assert text.splitlines()[0] == "given: p_far, t, lipschitz_x, radius, size, n_min, n_max"
    assert "mmse(T | Y) - mmse(T | X)" in text
    result.plot().figure.savefig(tmp_path / "map.png")
    mpl.pyplot.close("all")
    assert (tmp_path / "map.png").stat().st_size > 10_000


def test_results_show_themselves():
    result = bounds.implications(t=0.05, p_far=certificate("far", 0.0, 0.03), lipschitz_x=1.0)
    assert repr(result).startswith("ImplicationMap(given p_far, t, lipschitz_x; ")
    assert "\n" not in repr(result)
    assert repr(result["functional"]) in str(result)
    assert f"{result['p_far']:.2f}" == "[0.00, 0.03]"
    table = result.to_dict()
    assert table["given"] == ["p_far", "t", "lipschitz_x"]
    assert table["derived"]["functional"]["high"] == result["functional"].high
    assert "<td>0.95</td>" in result._repr_html_()


def test_a_truth_value_is_not_a_number():
    with pytest.raises(TypeError, match="expected a number or a certificate, got bool"):
        bounds.implications(geometric=True)


# What does not imply what (theory, section 10).
def test_informational_does_not_imply_geometric():
    w = gallery.opposite()
    assert w.entropy_x_given_y == 0.0
    assert w.geometric == 2.0


def test_geometric_implies_neither_informational_nor_functional():
    w = gallery.tiny_arc(8, 1e-3)
    assert w.geometric < 1e-6
    assert w.entropy_x_given_y == pytest.approx(math.log(8))
    assert -w.gap > 0.4
    assert w.lipschitz_x > 1e3


def test_functional_implies_nothing():
    w = gallery.unrelated(gallery.SIGNS, -gallery.SIGNS)
    assert w.gap == 0.0
    assert w.geometric == 1.0
    assert w.entropy_x_given_y == pytest.approx(math.log(2))


def test_small_mmse_gap_does_not_make_a_frozen_network_work():
    from bounds.worlds.with_predictors import PredictedWorld

    w = PredictedWorld(gallery.opposite(), gallery.SIGNS, -gallery.SIGNS)  # the head read X = T; now it gets Y = -X
    assert w.world.gap == 0.0
    frozen = PredictedWorld(w.world, w.world.x_points, w.world.y_points)
    assert frozen.risk_x == 0.0
    assert frozen.risk_y == 4.0


def test_the_wrong_direction_of_the_entropy_is_vacuous():
    # X constant, Y = T = +-1: H(X | Y) = 0, yet X knows nothing about T.
    w = gallery.binary_channel(0.0).reversed()
    assert w.entropy_x_given_y == 0.0
    assert w.gap == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "at least one"),
        ({"geometrical": 0.1}, "geometrical: expected one of"),
        ({"geometric": -0.1}, r"value in \[0, 2\]"),
        ({"p_far": 1.2}, r"value in \[0, 1\]"),
        ({"geometric": math.nan}, "without NaN"),
        ({"geometric": certificate("geometric", np.zeros(2), np.ones(2))}, "got an array"),
        ({"p_far": certificate("proximal", 0.1, 0.2)}, "give it as proximal"),
        ({"p_far": 0.1, "proximal": 0.9}, "got both"),
        ({"chain": "X-T-Y", "geometric": 0.1}, "chain: expected"),
        ({"geometric": certificate("geometric", 0.5, 0.4)}, "low <= high"),
        ({"t": 0.5, "geometric": 0.1, "p_far": 0.9}, "contradict"),
        ({"size": 2.5, "entropy_x": 0.1}, "size: expected a whole number"),
        ({"n_max": 1.5}, "n_max: expected a whole number"),
    ],
)
def test_bad_input(given, words):
    with pytest.raises(ValueError, match=words):
        bounds.implications(**given)


def test_bad_types_and_names():
    x = np.random.default_rng(0).normal(size=(5, 3))
    with pytest.raises(TypeError, match=r"bounds\.certify"):
        bounds.implications(geometric=rd.geometric(x, x + 1))
    result = bounds.implications(geometric=0.1)
    with pytest.raises(KeyError, match="nothing follows"):
        result["unique_x"]
    with pytest.raises(KeyError, match="expected one of"):
        result["entropy"]


EVERYTHING = {
    "t": 0.05,
    "p_far": 0.02,
    "independent_close": 0.2,
    "size": 1000,
    "n_min": 1,
    "n_max": 1,
    "entropy_x": 3.0,
    "radius": 1.0,
    "lipschitz_x": 1.0,
    "lipschitz_y": 1.0,
    "lipschitz_head": 1.0,
    "lipschitz_logits": 1.0,
    "delta_x": 0.1,
    "delta_y": 0.1,
}


@pytest.mark.parametrize(
    "given",
    [
        EVERYTHING,
        {**EVERYTHING, "size": 100, "n_max": 3, "chain": "T-X-Y"},
        {"entropy_x_given_y": 0.1, "entropy_y_given_x": 0.2, "radius": 1.0, "chain": "X-Y-T"},
        {"information_tx_given_y": 0.1, "radius": 1.0},
        {"unique_x": 0.1, "unique_y": 0.1, "radius": 1.0},
        {"decoding_error": 0.1, "radius": 1.0},
    ],
    ids=["everything", "label chain", "entropies", "information", "unique", "decoding"],
)
def test_every_assumption_of_every_theorem_on_a_route_is_stated(given):
    result = bounds.implications(**given)
    stated = {assumption.words for assumption in STATED_BY_RULE}
    followed = set()
    for name, derived in result.derived.items():
        for theorem in (BY_NAME[step] for step in derived.route if step in BY_NAME):
            followed.add(theorem.name)
            needed = {assumption.words for assumption in theorem.assumes} - stated
            if theorem.name == "functional_from_entropy":  # its limit B^2 holds for any state
                needed.discard("a discrete earlier state X with finite entropy")
            assert needed <= set(derived.assumptions), (name, theorem.name)
    assert followed


def test_a_codebook_fixed_in_advance_is_said_where_fano_is_used():
    derived = bounds.implications(t=0.05, p_far=0.02, size=1000, n_min=1, n_max=3)["entropy_x_given_y"]
    assert "fano" in derived.route[-1]
    assert "X in a finite codebook V fixed in advance" in derived.assumptions
    assert "X in a finite codebook V fixed in advance" in derived.guarantee


def test_a_target_within_its_radius_needs_nothing_of_the_state():
    functional = bounds.implications(radius=1.0)["functional"]
    assert functional.assumptions == ("a target with ||T - c|| <= B for some fixed c",)
