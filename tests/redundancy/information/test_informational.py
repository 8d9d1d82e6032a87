"""D5 on codewords: direction, bounds, held-out losses; BROJA from samples and its stability."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import redundancy as rd
from redundancy.information.code_bounds import ball_bounds
from redundancy.information.finite_entropy import entropy_modulus
from redundancy.pid.stability import unique_modulus, variation_radius


def channel(n=4000, size=8, flip=0.2, seed=0):
    """A uniform symbol, replaced by a uniform one with probability flip; H(X | Y) in nats."""
    rng = np.random.default_rng(seed)
    x = rng.integers(size, size=n)
    y = np.where(rng.random(n) < flip, rng.integers(size, size=n), x)
    law = np.full((size, size), flip / size**2) + np.eye(size) * (1 - flip) / size
    return x, y, rd.conditional_entropy(law, kind="pmf").value


@pytest.mark.parametrize("method", ["plugin", "miller-madow", "jackknife", "grassberger", "chao-wang-jost"])
def test_estimates_the_channel(method):
    x, y, truth = channel()
    estimate = rd.informational(x, y, size=8, method=method)
    assert estimate.value == pytest.approx(truth, abs=0.06)
    assert estimate.quantity == "informational"
    assert estimate.settings["size"] == 8
    assert estimate.details["n"] == 4000
    assert estimate.per_unit is None


def test_the_direction_is_earlier_given_later():
    """A later layer that is a function of the earlier one: nothing is lost only if the function is one to one."""
    x = np.random.default_rng(0).integers(8, size=2000)
    later = x // 2
    assert rd.informational(x, later, size=8).value == pytest.approx(math.log(2), abs=0.01)
    assert rd.informational(later, x, size=8).value == 0.0
    assert rd.informational(x, 7 - x, size=8).value == 0.0


def test_plugin_agrees_with_the_discrete_estimators():
    x, y, _ = channel(500)
    for method in ("plugin", "chao-shen"):
        expected = rd.conditional_entropy(x, y, method).value
        assert rd.informational(x, y, size=8, method=method).value == pytest.approx(expected, abs=1e-12)


def test_images_have_the_same_weight():
    """Ten rows of one image count as one row of another."""
    x, y = np.array([0] * 10 + [1, 0]), np.array([0] * 10 + [0, 1])
    groups = np.array([0] * 10 + [1, 2])
    estimate = rd.informational(x, y, size=2, groups=groups)
    assert estimate.value == pytest.approx(rd.conditional_entropy([0, 1, 0], [0, 0, 1]).value)
    assert estimate.details["n"] == 3
    np.testing.assert_array_equal(estimate.rows, [10, 1, 1])


def test_cross_entropy_bounds_from_above_and_keeps_its_units():
    x, y, truth = channel()
    groups = np.arange(4000) // 4
    estimate = rd.informational(x, y, size=8, method="cross-entropy", groups=groups, rng=1)
    assert truth - 0.05 < estimate.value < truth + 0.15
    assert estimate.quantity == "cross-entropy"
    assert estimate.n == 500
    assert estimate.unit_of_sampling == "image"
    low, high = estimate.support
    assert low <= estimate.per_unit.min()
    assert estimate.per_unit.max() <= high
    assert high == pytest.approx(math.log(8 / 0.01))
    assert estimate.value == pytest.approx(estimate.per_unit.mean())
    repeated = rd.informational(x, y, size=8, method="cross-entropy", groups=groups, rng=1)
    assert repeated.value == estimate.value


def test_held_out_losses_by_loops():
    x, y, _ = channel(60, size=3)
    estimate = rd.informational(x, y, size=3, method="cross-entropy", mix=0.1, rng=0)
    held = set(estimate.details["held_out_units"].tolist())
    fit = [i for i in range(60) if i not in held]
    for value, i in zip(estimate.per_unit, sorted(held), strict=True):
        joint = sum(x[j] == x[i] and y[j] == y[i] for j in fit)
        later = sum(y[j] == y[i] for j in fit)
        marginal = (sum(x[j] == x[i] for j in fit) + 0.5) / (len(fit) + 1.5)
        assert value == pytest.approx(-math.log(0.9 * (joint + marginal) / (later + 1) + 0.1 / 3))


def test_bounds_by_distance_are_named():
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    book = rd.Codebook.from_centres(np.column_stack([np.cos(angles), np.sin(angles)]))
    rng = np.random.default_rng(0)
    x = rng.integers(12, size=3000)
    y = np.where(rng.random(3000) < 0.1, rng.integers(12, size=3000), (x + rng.integers(-1, 2, size=3000)) % 12)
    estimate = rd.informational(x, y, codebook=book, radius=0.6, distance="angular", method="cross-entropy")
    bounds = estimate.details["bounds"]
    plugin = estimate.details["plugin"]
    for name in ("fano per point", "fano averaged", "fano", "data processing", "braun-pokutta", "marginal"):
        assert plugin <= bounds[name] + 1e-12
    assert bounds["fano per point"] <= bounds["fano averaged"] <= bounds["fano"] + 1e-12
    assert estimate.details["smallest_bound"] == min(bounds, key=bounds.get)


laws_with_balls = st.tuples(st.integers(0, 10_000), st.integers(1, 6), st.sampled_from([0.1, 1.0]))


@given(laws_with_balls)
def test_every_bound_holds_for_every_distribution(case):
    """Theorems 3 and 4 for any joint distribution and any notion of closeness."""
    seed, size, concentration = case
    rng = np.random.default_rng(seed)
    joint = rng.gamma(concentration, size=(size, size)) + 1e-300
    joint /= joint.sum()
    near = rng.random((size, size)) < rng.random()
    truth = rd.conditional_entropy(joint, kind="pmf").value
    bounds = ball_bounds(joint, near)
    assert all(value >= truth - 1e-12 for value in bounds.values())
    assert bounds["data processing"] <= bounds["braun-pokutta"] + 1e-12
    assert bounds["fano per point"] <= bounds["fano averaged"] + 1e-12
    assert bounds["fano averaged"] <= bounds["fano"] + 1e-12


def test_fano_is_attained_on_a_cycle():
    """Uniform inside and outside balls of one size: F0, F1 and F2 are equalities (theory, section 5)."""
    size, reach, far = 9, 1, 0.3
    gap = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
    near = np.minimum(gap, size - gap) <= reach
    joint = np.where(near, (1 - far) / 3, far / 6) / size
    bounds = ball_bounds(joint, near)
    truth = rd.conditional_entropy(joint, kind="pmf").value
    for name in ("fano per point", "fano averaged", "fano", "data processing"):
        assert bounds[name] == pytest.approx(truth, abs=1e-12)


def test_published_fano_on_the_edges():
    uniform = np.full((4, 4), 1 / 16)
    everything = ball_bounds(uniform, np.ones((4, 4), bool))
    nothing = ball_bounds(uniform, np.zeros((4, 4), bool))
    for bounds in (everything, nothing):
        assert bounds["fano"] == pytest.approx(math.log(4))
        assert bounds["braun-pokutta"] == pytest.approx(math.log(4))
    assert ball_bounds(np.ones((1, 1)), np.ones((1, 1), bool))["fano"] == 0.0


@pytest.mark.parametrize(
    ("x", "y", "options", "error", "message"),
    [
        ([0, 1], [0, 1], {}, ValueError, "number of codewords"),
        ([0, 1], [0, 1], {"size": 0}, ValueError, "integer >= 1"),
        ([0, 2], [0, 1], {"size": 2}, ValueError, r"x_codes: expected codewords in 0\.\.1"),
        ([0, 1], [0, -1], {"size": 2}, ValueError, r"y_codes: expected codewords in 0\.\.1"),
        ([0.0, 1.0], [0, 1], {"size": 2}, TypeError, "integer codewords"),
        ([], [], {"size": 2}, ValueError, "non-empty"),
        ([0, 1], [0], {"size": 2}, ValueError, "same rows"),
        ([0, 1], [0, 1], {"size": 2, "radius": 0.1}, ValueError, "both"),
        ([0, 1], [0, 1], {"size": 2, "method": "guess"}, ValueError, "method: expected"),
        ([0, 1], [0, 1], {"size": 2, "method": "chao-shen", "groups": [0, 1]}, ValueError, "independent rows"),
        ([0], [0], {"size": 2, "method": "cross-entropy"}, ValueError, "at least two"),
        ([0, 1], [0, 1], {"size": 2, "method": "cross-entropy", "mix": 0.0}, ValueError, "mix"),
    ],
)
def test_bad_input(x, y, options, error, message):
    with pytest.raises(error, match=message):
        rd.informational(x, y, **options)


def test_size_must_be_the_codebooks():
    book = rd.Codebook.from_centres(np.eye(2))
    with pytest.raises(ValueError, match="codebook's 2"):
        rd.informational([0, 1], [0, 1], size=3, codebook=book, radius=0.1)


def test_unique_information_is_at_most_the_conditional_entropy():
    rng = np.random.default_rng(0)
    z = rng.integers(3, size=2000)
    x = (z + (rng.random(2000) < 0.1)) % 3
    y = np.where(rng.random(2000) < 0.3, rng.integers(3, size=2000), x)
    estimate = rd.unique_information(z, x, y)
    assert 0.1 < estimate.value <= rd.informational(x, y, size=3).value
    assert estimate.details["pid"].converged
    assert rd.unique_information(z, x, x).value == pytest.approx(0.0, abs=1e-9)
    assert rd.unique_information(x, x, y).value == pytest.approx(rd.conditional_entropy(x, y).value, abs=1e-12)


def test_broja_from_samples_is_broja_of_the_frequencies():
    rng = np.random.default_rng(1)
    t, x, y = rng.integers(3, size=(3, 400))
    pmf = np.zeros((3, 3, 3))
    np.add.at(pmf, (t, x, y), 1 / 400)
    one, other = rd.broja_from_samples(t, x, y), rd.broja(pmf / pmf.sum())
    assert one.unique_x == pytest.approx(other.unique_x, abs=one.gap + other.gap)
    assert one.stability is None
    wide = rd.broja_from_samples(t, x, y, sizes=(4, 3, 5))
    assert wide.q.shape == (4, 3, 5)
    assert wide.unique_x == pytest.approx(one.unique_x, abs=one.gap + wide.gap)
    words = rd.broja_from_samples(np.array(list("abc"))[t], x, y)
    assert words.unique_x == one.unique_x


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([0, 1], [0, 1], [0]), {}, ValueError, "one length"),
        (([0, 1], [0, 1], [0]), {"sizes": (2, 2, 2)}, ValueError, "one length"),
        (([0.0, 1.0], [0, 1], [0, 1]), {}, TypeError, "Codebook"),
        (([], [], []), {}, ValueError, "non-empty"),
        (([0, 1], [0, 1], [0, 1]), {"confidence": 0.9}, ValueError, "sizes"),
        (([0, 1], [0, 1], [0, 1]), {"confidence": 1.0, "sizes": (2, 2, 2)}, ValueError, "confidence"),
        (([0, 1], [0, 1], [0, 2]), {"sizes": (2, 2, 2)}, ValueError, r"0\.\.1"),
        (([0, 1], [0, 1], [0, 1]), {"sizes": (2, 2)}, ValueError, "sizes: expected"),
    ],
)
def test_broja_from_samples_bad_input(arguments, options, error, message):
    with pytest.raises(error, match=message):
        rd.broja_from_samples(*arguments, **options)


@given(st.integers(0, 10_000), st.floats(1e-4, 0.3))
def test_unique_information_moves_no_faster_than_its_modulus(seed, amount):
    """(9.3) between a distribution and its mixture with another one."""
    rng = np.random.default_rng(seed)
    shape = rng.integers(2, 4, size=3)
    p, r = (z / z.sum() for z in rng.gamma(0.5, size=(2, *shape)))
    other = (1 - amount) * p + amount * r
    one, two = rd.broja(p), rd.broja(other)
    a, b = (0.5 * np.abs(p.sum(i) - other.sum(i)).sum() for i in (2, 1))
    size = int(shape[0])
    assert abs(one.unique_x - two.unique_x) <= unique_modulus(a, b, size) + one.gap + two.gap
    assert abs(one.unique_y - two.unique_y) <= unique_modulus(b, a, size) + one.gap + two.gap


def test_entropy_modulus():
    assert entropy_modulus(0.0, 5) == 0.0
    assert entropy_modulus(2.0, 5) == math.log(5)
    values = [entropy_modulus(v, 3) for v in np.linspace(0, 1, 101)]
    assert (np.diff(values) >= -1e-15).all()
    assert unique_modulus(0.0, 0.0, 4) == 0.0
    assert variation_radius(1, 10, 0.1) == 0.0
    assert variation_radius(4, 100, 0.1) == pytest.approx(math.sqrt(math.log(14 / 0.1) / 200))


def test_stability_limits_cover():
    """All four atoms of a known distribution at 90%, in 40 samples.

    A miss has probability at most 0.1 each, so more than 10 misses would refute the limits at level 0.001.
    """
    rng = np.random.default_rng(0)
    p = rng.gamma(1.0, size=(2, 2, 2))
    p /= p.sum()
    truth = rd.broja(p)
    misses, width = 0, []
    for _ in range(40):
        t, x, y = np.unravel_index(rng.choice(8, size=20_000, p=p.ravel()), p.shape)
        pid = rd.broja_from_samples(t, x, y, sizes=(2, 2, 2), confidence=0.9)
        inside = [
            low - truth.gap <= getattr(truth, atom) <= high + truth.gap for atom, (low, high) in pid.stability.items()
        ]
        misses += not all(inside)
        width.append(pid.stability["unique_x"][1] - pid.unique_x)
    assert misses <= 10
    assert max(width) < 0.3 < math.log(2)
