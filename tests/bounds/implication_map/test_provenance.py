"""Certificates that know what they certify, contradictions, borders, and sentences rounded outward."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bounds
import redundancy as rd
from bounds.certificates import guarantee_text
from bounds.implication_map.result import QUANTITIES

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 8))
Y = X + 0.2 * RNG.normal(size=X.shape)
IMAGE = np.repeat(np.arange(100), 4)
CLOSE = bounds.certify(rd.proximal(X, Y, t=0.05), side="lower")
DISTANCE = bounds.certify(rd.geometric(X, Y), side="upper")


# Row 3: provenance


def test_row_3_a_certificate_at_one_threshold_is_refused_at_another():
    # The fault: E d <= .0033 "at confidence 0.95", truth .04.
    with pytest.raises(ValueError, match=r"proximal: certified at the threshold t = 0.05, got t = 0.001"):
        bounds.implications(proximal=CLOSE, t=0.001)
    honest = bounds.implications(proximal=CLOSE, t=0.05)["geometric"]
    assert honest.high >= DISTANCE.estimate


def test_row_3_a_certificate_brings_its_threshold_along():
    assert bounds.implications(proximal=CLOSE)["geometric"] == bounds.implications(proximal=CLOSE, t=0.05)["geometric"]


def test_row_3_certificates_say_what_they_certify():
    token = bounds.certify(rd.geometric(X, Y, groups=IMAGE), weighting="token", max_rows=4, simultaneous=3)
    assert (CLOSE.side, CLOSE.distance, CLOSE.thresholds, CLOSE.weighting) == ("lower", "cosine", (0.05,), "row")
    assert (token.side, token.weighting, token.unit_of_sampling, token.simultaneous) == ("both", "row", "image", 3)
    assert DISTANCE.thresholds == ()
    several = bounds.certify(rd.proximal(X, Y, t=[0.02, 0.05], groups=IMAGE))
    assert several.thresholds == (0.02, 0.05)
    assert several.weighting == "image"
    one = several.at(0.05)
    assert (one.low, one.high, one.thresholds) == (several.low[1], several.high[1], (0.05,))
    assert bounds.implications(proximal=one)["p_far"].thresholds == (0.05,)
    with pytest.raises(ValueError, match="expected one of the certified thresholds"):
        several.at(0.03)
    information = bounds.certify_information(rd.proximal(X, Y, t=[0.02, 0.05], baseline=True, rng=0))
    assert information.side == "lower"
    assert information.thresholds in ((0.02,), (0.05,))


def refused(words, **known):
    with pytest.raises(ValueError, match=words):
        bounds.implications(**known)


def test_row_3_another_quantity_distance_or_unit_is_refused():
    euclidean = {"distance": "euclidean", "t": 1.0}
    refused("geometric: expected a certificate of geometric or mean, got one of 'proximal'", geometric=CLOSE)
    refused("proximal: expected a certificate of mean or proximal, got one of 'geometric'", proximal=DISTANCE)
    refused(
        "expected a certificate of the cosine distance",
        geometric=bounds.certify(rd.geometric(X, Y, distance="euclidean"), d_max=100.0),
    )
    far = bounds.certify(rd.proximal(X, Y, **euclidean))
    refused(
        r"one distance, got .*cosine.*euclidean|one distance, got .*euclidean.*cosine", proximal=far, geometric=DISTANCE
    )
    # Of a distance other than cosine nothing follows about the cosine distance.
    assert "geometric" not in bounds.implications(proximal=far)
    refused("one weighting", proximal=CLOSE, geometric=bounds.certify(rd.geometric(X, Y, groups=IMAGE)))
    entropy = bounds.certify_entropy(np.arange(50) % 4, np.arange(50) % 4, size=4)
    refused("information_xy: expected a certificate of", information_xy=entropy)
    assert bounds.implications(entropy_x_given_y=entropy)["unique_x"].high <= math.log(4) * (1 + 1e-9)
    bits = bounds.Certificate(0.0, 0.1, 0.95, "betting", "", "mutual information", 0.1, 10, unit="bits")
    refused("information_xy: expected nats, got bits", information_xy=bits)
    risk = rd.risk_difference(np.zeros(20), np.ones(20), largest_loss=1.0)
    refused("radius: expected a certificate of mean or radius, got one of 'functional'", radius=bounds.certify(risk))
    refused("risk_gap: expected a certificate of", risk_gap=bounds.certify(risk))


@pytest.mark.parametrize(
    ("name", "certificate", "side"),
    [
        ("geometric", bounds.certify(rd.geometric(X, Y), side="lower"), "upper"),
        ("proximal", bounds.certify(rd.proximal(X, Y, t=0.05), side="upper"), "lower"),
    ],
)
def test_row_3_a_one_sided_certificate_is_refused_on_its_other_side(name, certificate, side):
    refused(f"{name}: got a certificate with side=.*certify with side='{side}'", **{name: certificate})


def test_row_3_assumptions_stay_with_everything_derived_also_when_fed_back():
    independent = DISTANCE.assumptions[0]
    squared = bounds.implications(geometric=DISTANCE)["squared_distance"]
    assert set(squared.assumptions) == {independent, "states of norm one"}
    again = bounds.implications(squared_distance=squared, lipschitz_head=2.0)["root_risk_gap"]
    assert set(again.assumptions) >= {independent, "states of norm one"}
    assert again.confidence == pytest.approx(0.95)
    # A derived value keeps its name, threshold and distance too.
    refused("geometric: expected a certificate of geometric or mean, got one of 'squared_distance'", geometric=squared)
    far = bounds.implications(geometric=DISTANCE, t=0.1)["p_far"]
    refused("certified at the threshold t = 0.1, got t = 0.2", p_far=far, t=0.2)
    assert independent in bounds.implications(p_far=far)["geometric"].assumptions
    token = bounds.certify(rd.geometric(X, Y, groups=IMAGE), weighting="token", max_rows=4, side="upper")
    assert any("more than 4 rows" in a for a in bounds.implications(geometric=token)["squared_distance"].assumptions)


def test_row_3_a_cross_entropy_limits_the_entropy_from_above_only():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 1000)
    x = (y + (rng.random(1000) < 0.1)) % 3
    loose = rd.informational(x, y, size=3, method="cross-entropy", mix=0.9)
    truth = rd.informational(x, y, size=3).value
    for side in ("both", "upper"):
        found = bounds.implications(entropy_x_given_y=bounds.certify(loose, side=side))["entropy_x_given_y"]
        assert found.low == 0.0 < truth < found.high
    assert bounds.certify(loose).low > truth
    with pytest.raises(ValueError, match="lower limit of a cross-entropy"):
        bounds.implications(entropy_x_given_y=bounds.certify(loose, side="lower"))


def test_row_3_the_risks_of_predictors_are_not_read_as_the_mean_square_errors_of_the_best_ones():
    losses = np.random.default_rng(0).random((2, 40))
    measured = bounds.certify(rd.risk_difference(*losses, largest_loss=1.0))
    for name in ("functional", "risk_gap", "accuracy_gap"):
        with pytest.raises(ValueError, match=f"{name}: expected .* got"):
            bounds.implications(radius=1.0, **{name: measured})


# Row 4: contradictions


@pytest.mark.parametrize(
    ("known", "words"),
    [
        ({"entropy_x": 0.1, "information_xy": 0.5}, r"I\(X; Y\) <= min\(H\(X\), H\(Y\)\)"),
        ({"entropy_x": 0.1, "information_xy": math.inf}, r"I\(X; Y\) <= min"),
        ({"entropy_x": 0.1, "entropy_x_given_y": 0.2}, r"H\(X \| Y\) <= H\(X\)|I\(X; Y\)"),
        ({"entropy_x": 1.0, "entropy_x_given_y": 0.2, "information_xy": 0.5}, r"H\(X\) - "),
        ({"entropy_x": 2.0, "size": 4}, r"H\(X\) <= log size"),
        ({"entropy_x_given_y": 2.0, "size": 4}, r"H\(X\) <= log size"),
        ({"information_xy": 2.0, "size": 4}, r"H\(X\) <= log size"),
        ({"entropy_x_given_y": 0.1, "information_tx_given_y": 0.2}, "contradict"),
        ({"information_tx_given_y": 0.1, "unique_x": 0.2}, "contradict"),
        ({"entropy_y_given_x": 0.1, "unique_y": 0.2}, "contradict"),
        ({"unique_x": 0.3, "unique_y": 0.1, "log_loss_gap": 0.5}, r"U_X - U_Y|U\(T"),
        ({"chain": "X-Y-T", "information_tx_given_y": 0.2}, r"I\(T; X \| Y\) = 0"),
        ({"chain": "T-X-Y", "unique_y": 0.2}, "contradict"),
        ({"chain": "T-X-Y", "log_loss_gap": -0.2}, "contradict"),
        ({"squared_distance": 5.0}, "unit_norm=False"),
        ({"geometric": 0.1, "squared_distance": 0.5}, "contradict"),
        ({"functional": 5.0, "radius": 1.0}, "contradict"),
        ({"n_min": 3, "n_max": 2, "size": 9}, "N_min <= N_max"),
        ({"n_min": 1, "n_max": 12, "size": 9}, r"N_max <= \|V\|"),
        ({"n_min": 12, "size": 9}, r"N_min <= \|V\|"),
        ({"decoding_error": 0.1, "size": 4, "entropy_x_given_y": 0.5}, "P_e"),
        ({"decoding_error": 0.0, "entropy_x_given_y": 0.5}, "without errors"),
        # An end at infinity contradicts a finite one.
        ({"t": 0.1, "p_far": 0.5, "independent_close": 0.0, "information_xy": 9.0}, "information_from_limits"),
        ({"t": 0.1, "p_far": 0.5, "independent_close": 0.0, "size": 99}, "information_from_limits"),
        ({"accuracy_gap": -0.5, "unique_y": 0.0}, "accuracy_from_unique_information"),
    ],
)
def test_row_4_a_contradiction_is_refused_and_its_rule_named(known, words):
    with pytest.raises(ValueError, match="contradict each other") as error:
        bounds.implications(**known)
    assert re.search(words, str(error.value))


entropies = st.floats(0, 3)


@given(st.lists(st.floats(0, 1), min_size=12, max_size=12).filter(lambda p: sum(p) > 0.01))
@settings(max_examples=60, deadline=None)
def test_row_4_the_numbers_of_any_joint_distribution_hold_together(p):
    joint = np.reshape(p, (3, 4)) / sum(p)

    def entropy(q):
        q = np.ravel(q)
        return float(-(q[q > 0] * np.log(q[q > 0])).sum())

    h_x, h_y, h = entropy(joint.sum(1)), entropy(joint.sum(0)), entropy(joint)
    known = {
        "entropy_x": h_x,
        "entropy_x_given_y": max(0.0, h - h_y),
        "entropy_y_given_x": max(0.0, h - h_x),
        "information_xy": max(0.0, h_x + h_y - h),
        "size": 3,
    }
    result = bounds.implications(**known)
    for name, value in known.items():
        assert result[name].low <= value + 1e-12
        assert result[name].high >= value - 1e-12
    # Any one of the three determines the others' sum; a change beyond rounding is a contradiction.
    for name in ("entropy_x_given_y", "information_xy"):
        with pytest.raises(ValueError, match="contradict"):
            bounds.implications(**{**known, name: known[name] + 1e-9})


@given(entropies, entropies)
@settings(deadline=None)
def test_row_4_rounding_is_no_contradiction(a, b):
    result = bounds.implications(entropy_x=a + b, entropy_x_given_y=a, information_xy=(a + b) - a)
    assert result["information_xy"].low <= result["information_xy"].high


# Row 6: borders

BORDERS = (0.0, 5e-324, 1e-16, 1.0 - 2**-53, 1.0, 1.0 + 2**-52, 2.0, 2.0000000000000004, 1e200, math.inf, math.nan)


def test_row_6_closed_forms_at_the_border():
    assert (
        bounds.implications(geometric=0.1, t=0.0)["p_far"].high == 1.0
        if "p_far" in bounds.implications(geometric=0.1, t=0.0)
        else True
    )
    assert bounds.implications(geometric=0.0, t=0.0)["p_far"].high == 0.0
    assert bounds.implications(p_far=1.0000000000000002, t=0.1)["p_far"].high == 1.0
    assert bounds.implications(proximal=1.0000000000000002, t=0.1)["p_far"].high == 0.0
    assert bounds.implications(information_tx_given_y=0.0, radius=math.inf)["accuracy_gap"].high == 0.0
    with pytest.raises(ValueError, match=r"p_far: expected a value in \[0, 1\]"):
        bounds.implications(p_far=1.0001)


@given(st.dictionaries(st.sampled_from(sorted(QUANTITIES)), st.sampled_from(BORDERS), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_row_6_implications_at_the_borders_give_a_number_in_range_or_a_clear_error(known):
    try:
        result = bounds.implications(**known)
    except ValueError as error:
        assert "expected" in str(error) or "contradict" in str(error)  # noqa: PT017
        return
    for name, derived in result.items():
        assert not math.isnan(derived.low)
        assert QUANTITIES[name].low <= derived.low <= derived.high <= QUANTITIES[name].high


UNITS = (0.0, 5e-324, 1e-16, 0.5, 1.0 - 2**-53, 1.0, 1.0 + 2**-52, -1e-17, math.inf, math.nan, 2.0)


@given(
    st.lists(st.sampled_from(UNITS[:8]), min_size=1, max_size=3) | st.lists(st.sampled_from(UNITS), max_size=3),
    st.sampled_from((0.0, 1e-300, 0.05, 0.5, 1.0 - 2**-53, 1.0, math.nan)),
    st.sampled_from(tuple(bounds.confidence.METHODS)),
    st.sampled_from(("both", "upper", "lower")),
    st.sampled_from((0, 1, 3, 1.5, math.nan, math.inf)),
)
@settings(max_examples=150, deadline=None)
def test_row_6_every_certifier_of_means_at_the_borders(units, confidence, method, side, simultaneous):
    try:
        estimate = rd.Estimate.over_units(units, None, quantity="mean", support=(0.0, 1.0))
        certificate = bounds.certify_mean(estimate, confidence, method=method, side=side, simultaneous=simultaneous)
    except ValueError as error:
        assert "expected" in str(error)  # noqa: PT017
        return
    assert 0.0 <= certificate.low <= certificate.high <= 1.0
    assert "probability at least 1 " not in certificate.guarantee


@given(
    st.sampled_from((1, 2, 3, 7)),
    st.sampled_from((1.0, 2.0, 0.0, -1.0, 1e300, math.inf, math.nan, None)),
    st.sampled_from((1e-300, 0.05, 1.0 - 2**-53)),
    st.sampled_from(("betting", "hoeffding")),
)
@settings(max_examples=100, deadline=None)
def test_row_6_the_token_weighted_mean_at_the_borders(n, max_rows, confidence, method):
    estimate = rd.Estimate.over_units(np.linspace(0, 1, n), np.arange(n), quantity="mean", support=(0.0, 1.0))
    try:
        certificate = bounds.certify_token_mean(estimate, confidence, max_rows=max_rows, method=method)
    except ValueError as error:
        assert "max_rows" in str(error)  # noqa: PT017
        return
    assert 0.0 <= certificate.low <= certificate.high <= 1.0


@given(st.lists(st.integers(0, 2), min_size=0, max_size=4), st.sampled_from(("cross-entropy", "mcdiarmid")))
@settings(max_examples=60, deadline=None)
def test_row_6_entropies_of_smallest_samples(codes, method):
    try:
        certificate = bounds.certify_entropy(
            np.array(codes, dtype=int), np.array(codes, dtype=int), size=3, method=method
        )
    except ValueError as error:
        assert "expected" in str(error)  # noqa: PT017
        return
    assert 0.0 <= certificate.low <= certificate.high <= math.log(3) * (1 + 1e-12)


def test_row_6_smallest_numbers_of_units():
    for n in (0, math.nan, math.inf):
        with pytest.raises(ValueError, match="at least one unit"):
            bounds.dkw_deviation(n, alpha=0.05)
        with pytest.raises(ValueError, match="at least one unit"):
            bounds.confidence.deviation(n, 0.05)
    assert bounds.image_event(rd.proximal(X, Y, t=0.1), at_least=1.0000000000000002).settings["at_least"] == 1.0


# Row 7: outward


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 8))
def test_row_7_printed_ends_are_never_inside(value, digits):
    assert float(guarantee_text.outward(value, up=True, digits=digits)) >= value
    assert float(guarantee_text.outward(value, up=False, digits=digits)) <= value


@given(st.floats(0, 1, exclude_max=True))
def test_row_7_a_printed_probability_is_below_one_and_never_promises_more(confidence):
    printed = float(guarantee_text.probability(confidence))
    assert printed < 1.0 or confidence >= 1.0 - 2**-53
    assert printed <= confidence + 2**-50


@given(st.floats(1e-6, 1), st.floats(1e-3, 10))
@settings(deadline=None)
def test_row_7_sentences_of_implications_are_rounded_outward(geometric, slope):
    derived = bounds.implications(geometric=geometric, lipschitz_x=slope, lipschitz_y=slope)["functional"]
    for text in (derived.guarantee, repr(derived)):
        low, high = (float(end) for end in re.search(r"in \[(.*?), (.*?)\]", text).groups())
        assert low <= derived.low
        assert high >= derived.high


def test_row_7_no_certificate_promises_probability_one():
    estimate = rd.Estimate.over_units([0.0, 0.5], None, quantity="mean", support=(0.0, 1.0))
    certificate = bounds.certify_mean(estimate, 1 - 1e-15)
    assert "probability at least 0.99999999999999" in certificate.guarantee
    derived = bounds.implications(geometric=bounds.certify(rd.geometric(X, Y), 1 - 1e-9))["squared_distance"]
    assert "probability at least 0.999999999" in derived.guarantee
    assert "at confidence 1 " not in repr(derived)
