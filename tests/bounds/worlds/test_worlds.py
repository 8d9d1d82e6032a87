"""Exact quantities of finite instances against a reference implementation, closed forms and samples."""

from __future__ import annotations

import math

import numpy as np
import pytest

import bounds
from bounds.worlds import exact_quantities, gallery, layered
from bounds.worlds.families import FREE_POINTS, JOINT, MARKOV_LAYERS
from bounds.worlds.finite import FiniteWorld, normalised
from bounds.worlds.gaussian_chain import GaussianChain
from bounds.worlds.pair import PairWorld
from bounds.worlds.points import on_sphere
from tests.oracles import worlds_reference as reference

SEEDS = range(25)


@pytest.mark.parametrize("seed", SEEDS)
def test_quantities_against_the_reference(seed):
    w = JOINT.random(seed)
    pairs = {
        "entropy_x_given_y": reference.entropy(w, (1, 2)) - reference.entropy(w, (2,)),
        "entropy_t_given_x": reference.entropy(w, (0, 1)) - reference.entropy(w, (1,)),
        "information_xy": reference.entropy(w, (1,)) + reference.entropy(w, (2,)) - reference.entropy(w, (1, 2)),
        "information_tx": reference.entropy(w, (0,)) + reference.entropy(w, (1,)) - reference.entropy(w, (0, 1)),
        "information_tx_given_y": reference.entropy(w, (0, 2))
        + reference.entropy(w, (1, 2))
        - reference.entropy(w, (2,))
        - reference.entropy(w, (0, 1, 2)),
        "mmse_x": reference.mmse(w, (1,)),
        "mmse_y": reference.mmse(w, (2,)),
        "lost_without_x": reference.mmse(w, (2,)) - reference.mmse(w, (1, 2)),
        "gap": reference.mmse(w, (1,)) - reference.mmse(w, (2,)),
        "geometric": reference.geometric(w),
        "squared_distance": 2 * reference.geometric(w),
        "lipschitz_y": reference.lipschitz_y(w),
    }
    for name, value in pairs.items():
        assert getattr(w, name) == pytest.approx(value, rel=1e-8, abs=1e-12), name
    assert exact_quantities.bayes_accuracy(w.ty) == pytest.approx(reference.accuracy(w, (2,)))
    assert w.reversed().lipschitz_x == pytest.approx(w.lipschitz_y)


@pytest.mark.parametrize("seed", range(8))
def test_theorem_1_with_reference_quantities_alone(seed):
    # geometric redundancy and Lipschitz regressions imply functional redundancy
    w = JOINT.random(seed)
    loss = reference.mmse(w, (1,)) - reference.mmse(w, (2,))
    assert loss <= reference.lipschitz_y(w) ** 2 * bounds.functional_from_geometric(reference.geometric(w), 1.0) + 1e-12


@pytest.mark.parametrize("seed", range(8))
def test_theorem_5_with_reference_quantities_alone(seed):
    # informational redundancy and a bounded target imply functional redundancy
    w = FREE_POINTS.random(seed)
    h = reference.entropy(w, (1, 2)) - reference.entropy(w, (2,))
    gain = reference.mmse(w, (2,)) - reference.mmse(w, (1, 2))
    assert gain <= bounds.functional_from_entropy(max(h, 0.0), w.radius) + 1e-12


QUANTITIES = ["entropy_x_given_y", "information_tx_given_y", "mmse_x", "mmse_y", "geometric", "squared_distance", "gap"]


@pytest.mark.parametrize("seed", range(6))
def test_transformations_keep_all_quantities(seed):
    rng = np.random.default_rng(seed)
    w = JOINT.random(seed)
    d = w.x_points.shape[1]
    turned = w.rotated(np.linalg.qr(rng.normal(size=(d, d)))[0])
    mixed = w.relabelled(*(rng.permutation(n) for n in w.pmf.shape))
    for name in QUANTITIES:
        assert getattr(turned, name) == pytest.approx(getattr(w, name), rel=1e-9, abs=1e-12)
        assert getattr(mixed, name) == pytest.approx(getattr(w, name), rel=1e-9, abs=1e-12)
    split = w.with_split_x(0.3)
    for name in QUANTITIES[1:]:
        assert getattr(split, name) == pytest.approx(getattr(w, name), rel=1e-9, abs=1e-12)
    coin = -0.3 * math.log(0.3) - 0.7 * math.log(0.7)
    assert split.entropy_x_given_y == pytest.approx(w.entropy_x_given_y + coin)


def test_samples_follow_the_distribution():
    w = JOINT.random(4)
    t, x, y = w.sample_codes(200_000, rng=0)
    frequency = np.zeros(w.pmf.shape)
    np.add.at(frequency, (t, x, y), 1 / 200_000)
    assert exact_quantities.total_variation(frequency, w.pmf) < 0.01
    values, a, b = w.sample(10, rng=1)
    assert values.shape == (10, w.values.shape[1])
    assert a.shape == b.shape == (10, w.x_points.shape[1])


def test_gaussian_chain_against_samples():
    w = GaussianChain(0.8, 0.6, dim=2)
    t, x, y = w.sample(200_000, rng=0)
    assert ((t - 0.8 * x) ** 2).sum(1).mean() == pytest.approx(w.mmse_x, rel=0.02)
    assert ((t - 0.48 * y) ** 2).sum(1).mean() == pytest.approx(w.mmse_y, rel=0.02)
    assert ((x - y) ** 2).sum(1).mean() == pytest.approx(w.squared_distance, rel=0.02)
    assert w.information_xy == pytest.approx(-math.log(1 - 0.36))
    assert w.information_tx_given_y == pytest.approx(w.information_tx - w.information_ty)
    assert w.entropy_x == pytest.approx(math.log(2 * math.pi * math.e))
    assert GaussianChain(1.0, 0.5).information_tx == math.inf
    # Theorem 1 with the exact constants of a continuous world: mmse(T | Y) - mmse(T | X) = L_1^2 mmse(X | Y).
    assert w.mmse_y - w.mmse_x == pytest.approx(bounds.functional_of_label(w.variance_x_given_y, w.lipschitz_x))


def test_layers_compose():
    w = MARKOV_LAYERS.random(2)
    assert w.markov
    assert w.ends.pmf == pytest.approx(w.between(0, w.layers - 1).pmf)
    codes = w.sample_codes(50_000, rng=0)
    assert len(codes) == w.layers + 1
    maps = layered.from_maps(
        np.full((1, 4), 0.25), np.zeros((1, 1)), (np.array([0, 0, 1, 1]),), (np.ones((4, 1)), np.ones((2, 1)))
    )
    assert maps.deterministic
    assert maps.ends.entropy_x_given_y == pytest.approx(math.log(2))


def test_named_gates():
    assert exact_quantities.mutual_information(gallery.gate("xor").sum(axis=2)) == pytest.approx(0.0)
    assert exact_quantities.mutual_information(gallery.gate("rdn").sum(axis=2)) == pytest.approx(math.log(2))
    for name in gallery.GATES:
        assert gallery.gate(name).sum() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="name: expected one of rdn"):
        gallery.gate("nand")


def test_small_divergences_keep_their_digits():
    import mpmath as mp

    p, q = np.array([0.5, 0.5]), np.array([0.5 + 1e-9, 0.5 - 1e-9])
    with mp.workdps(50):
        truth = sum(mp.mpf(a) * mp.log(mp.mpf(a) / mp.mpf(b)) for a, b in zip(p, q, strict=True))
    assert exact_quantities.relative_entropy(p, q) == pytest.approx(float(truth), rel=1e-6)
    assert exact_quantities.relative_entropy(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == math.inf
    assert exact_quantities.relative_entropy(np.array([0.0, 1.0]), np.array([0.5, 0.5])) == pytest.approx(math.log(2))


def test_large_ratios_stay_finite():
    # q / p = 3e-17 rounds (q - p) / p to -1.
    p, q = np.array([1e-17, 1.0]), np.array([3e-34, 1.0])
    assert exact_quantities.relative_entropy(p, q) == pytest.approx(1e-17 * (math.log(1e17 / 3) - 1), rel=1e-9)


def test_deficiency():
    assert gallery.binary_channel(0.0).deficiency == pytest.approx(0.5)
    w = JOINT.random(1)
    assert FiniteWorld(w.pmf, w.values, w.x_points, w.y_points).deficiency >= 0
    # X = Y can be simulated perfectly.
    same = gallery.sign_flip(0.0)
    assert same.deficiency == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FiniteWorld(np.ones((1, 1, 2)), *[np.ones((1, 1))] * 3), "expected shape"),
        (lambda: FiniteWorld(np.full((1, 1, 1), 0.5), *[np.ones((1, 1))] * 3), "sum to one"),
        (lambda: FiniteWorld(np.full((1, 1, 1), np.nan), *[np.ones((1, 1))] * 3), "sum to one"),
        (lambda: JOINT.random(0).sample(0), "at least one draw"),
        (lambda: JOINT.random(0).rotated(2 * np.eye(JOINT.random(0).x_points.shape[1])), "orthogonal"),
        (lambda: on_sphere(np.zeros((2, 2))), "non-zero rows"),
        (lambda: GaussianChain(1.2, 0.0), "label: expected a correlation"),
        (lambda: GaussianChain(0.2, 0.0, dim=0), "at least one coordinate"),
        (lambda: gallery.alternating_polygon(3, 1.0), "even number"),
        (lambda: layered.LayeredWorld(np.ones((1, 1)), np.ones((1, 1)), (np.ones((1, 1)),)), "two or more layers"),
        (lambda: layered.LayeredWorld(np.zeros((1, 1, 1)), np.ones((1, 1)), (np.ones((1, 1)),) * 2), "sum to one"),
        (
            lambda: PairWorld(gallery.sign_flip(0.1), gallery.erased_bit(0.1)),
            "second: expected a distribution of shape",
        ),
    ],
)
def test_bad_worlds(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_worlds_print_as_one_short_line():
    from bounds.worlds.families import LAYERS, PAIRS, PREDICTED
    from bounds.worlds.network_families import HEADS, LATE_ENTRY, PATHS, RESIDUAL, SOFTMAX

    for family in (JOINT, LAYERS, PAIRS, PREDICTED, HEADS, LATE_ENTRY, PATHS, RESIDUAL, SOFTMAX):
        world = family.random(0)
        assert repr(world).startswith(f"{family.kind.__name__}(")
        assert "\n" not in repr(world)
        assert len(repr(world)) < 200
    assert repr(GaussianChain(0.5, 0.2)) == "GaussianChain(label=0.5, layer=0.2, dim=1)"
    assert gallery.sign_flip(0.2).to_dict()["pmf"][0] == [[0.0, 0.05], [0.0, 0.45]]
    assert "<td>array(2, 2, 2)</td>" in gallery.sign_flip(0.2)._repr_html_()


def test_normalised():
    assert normalised([1, 3]).tolist() == [0.25, 0.75]
