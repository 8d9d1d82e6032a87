"""Each row function against the plain estimator it calls, and on states that estimators stumble over."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import bounds
import redundancy as rd
from bounds.worlds.finite import FiniteWorld
from vlm.notions.chain_check import check_theorems, world_of
from vlm.notions.codes import pair_codes
from vlm.notions.distance_measures import distance_measures
from vlm.notions.information_measures import information_measures
from vlm.notions.informational_measures import METHODS, informational_measures
from vlm.notions.measures import Confidence, absent, measured
from vlm.notions.pid_measures import joint_distribution, pid_measures
from vlm.notions.reconstruction import EARLIER, LATER, reconstruction_measures
from vlm.notions.similarity_measures import effective_rank, similarity_measure
from vlm.notions.task_losses import functional_measures, task_losses
from vlm.notions.usable_measures import usable_measures

ONE = Confidence(0.95, 1)


@pytest.fixture(scope="module")
def layers():
    """Two layers of 120 images with two rows each, and an answer of three classes that the later layer knows better."""
    rng = np.random.default_rng(0)
    groups = np.repeat([f"i{i:03d}" for i in range(120)], 2)
    answer = rng.integers(3, size=240)
    x = rng.normal(size=(240, 8)) + 1.5 * np.eye(8)[answer]
    y = x + 0.2 * rng.normal(size=(240, 8)) + 1.5 * np.eye(8)[answer]
    return x, y, groups, np.array(["a", "b", "c"])[answer]


def only(rows, method):
    return next(row for row in rows if row.method == method)


def test_distances_are_those_of_the_estimators(layers):
    x, y, groups, _ = layers
    far, close = distance_measures(x, y, groups, t=0.2, confidence=Confidence(0.9, 3), seed=0)
    plain = rd.geometric(x, y, groups=groups, baseline=True, rng=0)
    certificate = bounds.certify(plain, 0.9, simultaneous=3)
    assert (far.value, far.low, far.high) == (plain.value, certificate.low, certificate.high)
    assert (far.baseline, far.images, far.unit) == (plain.baseline.value, 120, "1")
    assert close.value == rd.proximal(x, y, t=0.2, groups=groups).value
    assert close.guarantee == "certified, both limits: probability of a cosine distance of at most 0.2"


@pytest.mark.parametrize("predictor", ["ridge", "panel"])
def test_functional_is_that_of_the_estimator(layers, predictor):
    x, y, groups, answer = layers
    kept = slice(0, 120 if predictor == "panel" else 240)
    x, y, groups, answer = x[kept], y[kept], groups[kept], answer[kept]
    earlier, later = (task_losses(answer, states, groups, predictor=predictor, folds=2, seed=3) for states in (x, y))
    rows = functional_measures(earlier, later, predictor=predictor, confidence=ONE)
    ridge = make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-3, 6, 19)))
    plain = rd.functional(answer, x, y, ridge if predictor == "ridge" else None, 2, groups, 3)
    row = only(rows, f"{predictor}: Brier score")
    certificate = bounds.certify(plain)
    assert (row.value, row.low, row.high) == (plain.value, certificate.low, certificate.high)
    sides = plain.details["x"], plain.details["y"]
    assert only(rows, f"{predictor}: log-loss").value == pytest.approx(sides[1]["log_loss"] - sides[0]["log_loss"])
    assert only(rows, f"{predictor}: 0-1 error").value == pytest.approx(sides[0]["accuracy"] - sides[1]["accuracy"])
    assert row.baseline == pytest.approx(sides[0]["constant"] - sides[0]["risk"])
    assert {row.unit for row in rows} == {"1", "nats"}


def test_a_target_of_floats_is_certified_only_with_its_range(layers):
    x, y, groups, _ = layers
    z = np.clip(x[:, 0] / 5, -1, 1)
    for box in (None, (-1.0, 1.0)):
        sides = [
            task_losses(z, states, groups, predictor="ridge", folds=2, seed=0, target_range=box) for states in (x, y)
        ]
        (row,) = functional_measures(*sides, predictor="ridge", confidence=ONE)
        assert row.method == "ridge: squared error"
        if box is None:
            assert math.isnan(row.low)
            assert "target_range" in row.guarantee
        else:
            assert row.low < row.value < row.high
            assert row.value == rd.functional(z, x, y, _ridge(), 2, groups, 0, target_range=box).value


def _ridge():
    return make_pipeline(StandardScaler(), RidgeCV(alphas=np.logspace(-3, 6, 19)))


def test_reconstruction_of_an_affine_map_is_exact_and_of_noise_is_one():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 5))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    turned, noise = x @ np.linalg.qr(rng.normal(size=(5, 5)))[0], rng.normal(size=(400, 5))
    for y, error in ((turned, 0.0), (noise, 1.0)):
        rows = reconstruction_measures(x, y, np.arange(400), folds=4, confidence=ONE, seed=0)
        for row in rows:
            assert row.value == pytest.approx(error, abs=0.03)
            assert row.low <= row.value <= row.high
    far = rd.geometric(x, turned).value
    rows = reconstruction_measures(x, turned, np.arange(400), folds=4, confidence=ONE, seed=0)
    # the variance of uniform directions is nearly 1, so that the identity costs twice the cosine distance
    assert only(rows, LATER).baseline == pytest.approx(2 * far, rel=0.02)
    assert only(rows, EARLIER).baseline == pytest.approx(2 * far, rel=0.02)


def test_a_wide_layer_is_rebuilt_no_worse_than_by_the_identity():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(60, 200))
    y = x + 0.2 * rng.normal(size=x.shape)
    for row in reconstruction_measures(x, y, np.arange(60), folds=2, confidence=ONE, seed=0):
        assert row.value <= row.baseline * 1.05
        assert row.baseline < 0.1
    for row in reconstruction_measures(x, y[:, :150], np.arange(60), folds=2, confidence=ONE, seed=0):
        assert math.isnan(row.baseline)
        assert 0.5 < row.value < 1.1


def test_the_variance_of_directions_is_half_the_squared_distance_of_unrelated_images():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(60, 4)) + 1.0
    groups = np.repeat(np.arange(20), 3)
    (row, _) = reconstruction_measures(x, np.roll(x, 3, axis=0), groups, folds=2, confidence=ONE, seed=0)
    unit = np.roll(x, 3, axis=0) / np.linalg.norm(np.roll(x, 3, axis=0), axis=1, keepdims=True)
    means = unit.reshape(20, 3, 4).mean(axis=1)
    pairs = [(i, j) for i in range(20) for j in range(20) if i != j]
    variance = np.mean([1.0 - means[i] @ means[j] for i, j in pairs])
    identity = np.mean(np.square(x / np.linalg.norm(x, axis=1, keepdims=True) - unit).sum(axis=1))
    assert row.baseline == pytest.approx(identity / variance)


def test_informational_names_the_smallest_limit_and_all_hold(layers):
    x, y, groups, _ = layers
    fit = np.isin(groups, np.unique(groups)[:60])
    codes = pair_codes((x[fit], y[fit]), (x[~fit], y[~fit]), size=6, radius=None, seed=0)
    book = rd.Codebook.fit(np.vstack([x[fit], y[fit]]), size=6, rng=0)
    assert (codes.x == book.encode(x[~fit])).all()
    assert (codes.y == book.encode(y[~fit])).all()
    rows = informational_measures(codes, groups[~fit], confidence=ONE, seed=0)
    assert [row.method for row in rows] == list(METHODS)
    plain = rd.informational(codes.x, codes.y, size=6, groups=groups[~fit], codebook=book, radius=codes.radius)
    assert only(rows, "plug-in").value == plain.value
    assert only(rows, "Fano").value == plain.details["bounds"]["fano"]
    assert only(rows, "H(X) - Braun-Pokutta").value == plain.details["bounds"]["braun-pokutta"]
    certified = {row.method: row.high for row in rows[1:] if row.guarantee.startswith("certified")}
    name = min(certified, key=certified.__getitem__)
    assert len(certified) == 4
    assert rows[0].high == certified[name]
    assert rows[0].guarantee.endswith(f"the upper one by {name}")
    # each limit spends a quarter of the error probability
    share = bounds.certify(plain, 0.95, simultaneous=4)
    assert certified["plug-in"] == share.high
    assert 0.0 <= rows[0].low <= rows[0].value <= rows[0].high


def test_codes_need_two_directions_and_one_width():
    rng = np.random.default_rng(0)
    constant, other = np.ones((10, 4)), rng.normal(size=(10, 4))
    with pytest.raises(ValueError, match="at least two directions, got one"):
        pair_codes((constant, 3 * constant), (constant, constant), size=4, radius=None, seed=0)
    with pytest.raises(ValueError, match="layers of one width, got 4 and 3"):
        pair_codes((other, other[:, :3]), (other, other[:, :3]), size=4, radius=None, seed=0)
    few = np.repeat(np.eye(4)[:3], 4, axis=0)
    assert pair_codes((few, few), (few, few), size=16, radius=None, seed=0).book.size == 3


def test_information_has_a_certified_lower_limit_and_says_why_a_method_is_missing(layers):
    x, y, groups, _ = layers
    rows = information_measures(x, y, groups, fit=(x[:50], y[:50]), confidence=ONE, seed=0)
    assert [row.method for row in rows] == ["matched pairs", "critic", "summaries", "Gaussian"]
    assert rows[0].value == rows[0].low > 0.5
    assert rows[0].high == math.inf
    assert rows[1].high == math.inf
    assert "only 120 independent units" in rows[1].guarantee
    few = information_measures(x[:20], y[:20], groups[:20], fit=(x[50:], y[50:]), confidence=ONE, seed=0)
    assert few[1].guarantee.startswith(
        "absent: folds: expected at least 20 rows or images in each; got 4 folds of 10 images"
    )
    assert math.isnan(few[1].value)


@pytest.mark.parametrize("reader", ["linear", "network"])
def test_usable_information_is_that_of_the_estimator(layers, reader):
    _, y, groups, answer = layers
    row = usable_measures(answer, y, groups, reader=reader, folds=2, confidence=ONE, seed=0)
    assert 0.3 < row.value < row.baseline < math.log(3) + 0.01
    assert row.low < row.value < row.high
    if reader == "linear":
        assert row.value == rd.usable_information(answer, y, folds=2, groups=groups, rng=0).value


def test_pid_atoms_add_up_and_limits_hold(layers):
    x, y, groups, answer = layers
    codes = pair_codes((x[:80], y[:80]), (x[80:], y[80:]), size=4, radius=None, seed=0)
    target = np.searchsorted(["a", "b", "c"], answer[80:])
    rows = pid_measures(target, codes, groups[80:], classes=3, replicates=8, confidence=ONE, seed=0)
    joint = joint_distribution(target, codes, groups[80:], 3)
    whole = rd.broja(joint)
    assert [row.value for row in rows[:4]] == pytest.approx(
        [whole.redundant, whole.unique_x, whole.unique_y, whole.synergistic], abs=2e-7
    )
    for row in rows[:4]:
        assert row.guarantee.startswith("bootstrap")
        assert row.low <= row.high
        assert row.low < row.value + 1e-9
        assert row.high > row.value - 1e-9
    for row in rows[4:]:
        assert row.guarantee.startswith("certified")
        assert row.low - 1e-9 <= row.value <= row.high + 1e-9
    assert sum(row.baseline for row in rows[:4]) < sum(row.value for row in rows[:4])


def test_similarity_and_rank():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 12))
    assert similarity_measure(x, 2 * x, np.arange(100), seed=0).value == pytest.approx(1.0)
    flat = np.outer(rng.normal(size=100), np.ones(5)) + 7.0
    assert effective_rank(flat, np.arange(100)).value == pytest.approx(1.0)
    values = np.linalg.eigvalsh(np.cov(x.T, bias=True))
    assert effective_rank(x, np.arange(100)).value == pytest.approx(values.sum() ** 2 / np.square(values).sum())
    with pytest.raises(ValueError, match="expected states that vary"):
        effective_rank(np.ones((5, 3)), np.arange(5))


def test_every_theorem_holds_on_codewords_and_verdicts_are_right(layers):
    x, y, groups, answer = layers
    codes = pair_codes((x[:80], y[:80]), (x[80:], y[80:]), size=4, radius=None, seed=0)
    target = np.searchsorted(["a", "b", "c"], answer[80:])
    world = world_of(joint_distribution(target, codes, groups[80:], 3), codes)
    rows = check_theorems(world)
    labels = {row.label.split(" (")[0].split(" after")[0] for row in rows if row.verdict != "does not apply"}
    assert {"Lemma 4", "Lemma 5", "Theorem 1", "Theorem 3", "Theorem 4", "Theorem 5", "Theorem 6"} <= labels
    by_name = {row.theorem: row for row in rows}
    assert by_name["entropy_difference"].verdict == "attained"
    fano = by_name["fano"]
    assert fano.left == pytest.approx(world.entropy_x_given_y)
    assert fano.right == pytest.approx(float(bounds.fano(world.p_far, 4, 1, 1)))
    assert fano.verdict == ("vacuous" if fano.right >= fano.trivial else "bites")
    chain = by_name["entropy_difference_of_chain"]
    assert chain.verdict == "does not apply"
    assert chain.says.startswith("needs T independent of the later state")
    for row in rows:
        if row.verdict in ("bites", "attained", "vacuous") and row.relation != "=":
            small, large = (row.left, row.right) if row.relation == "<=" else (row.right, row.left)
            assert small <= large * (1 + 1e-7) + 1e-9
            assert row.ratio <= 1.0 + 1e-7


def test_a_violated_theorem_is_an_error(layers, monkeypatch):
    x, y, groups, _ = layers
    codes = pair_codes((x, y), (x, y), size=4, radius=None, seed=0)
    world = world_of(joint_distribution(np.zeros(240, dtype=int), codes, groups, 2), codes)
    monkeypatch.setattr(FiniteWorld, "entropy_x_given_y", property(lambda self: 99.0))
    with pytest.raises(RuntimeError, match="violated on the codewords"):
        check_theorems(world)


def test_massive_activations_constant_and_duplicated_columns_change_no_verdict():
    """bf16-like states: one column a thousand times larger, one constant, one twice."""
    rng = np.random.default_rng(0)
    groups, answer = np.arange(120), rng.integers(2, size=120)
    x = rng.normal(size=(120, 6)) + 2.0 * np.eye(6)[answer]
    y = x + 0.1 * rng.normal(size=(120, 6))

    def massive(states):
        spread = 1e3 * (1.0 + 0.01 * np.arange(120) / 120)
        out = np.column_stack([states, states[:, 1], np.full(120, 3.0), spread])
        return out.astype(np.float16).astype(np.float64)

    a, b = massive(x), massive(y)
    rows = [
        *distance_measures(a, b, groups, t=0.05, confidence=ONE, seed=0),
        *reconstruction_measures(a, b, groups, folds=2, confidence=ONE, seed=0),
        *information_measures(a, b, groups, fit=(a[:40], b[:40]), confidence=ONE, seed=0),
        similarity_measure(a, b, groups, seed=0),
        effective_rank(a, groups),
    ]
    for row in rows:
        assert not math.isnan(row.value) or row.guarantee.startswith("absent: ")
        # both layers hold the same column, so that Gaussian states would share infinitely much
        assert math.isfinite(row.value) or (row.method == "Gaussian" and "infinite" in row.guarantee)
    plain, wide = (
        [task_losses(answer, states, groups, predictor="ridge", folds=2, seed=0) for states in pair]
        for pair in ((x, y), (a, b))
    )
    for before, after in zip(plain, wide, strict=True):
        accuracy = 1.0 - after.per_image["0-1 error"].mean()
        assert accuracy > 0.85
        assert abs(before.per_image["0-1 error"].mean() - after.per_image["0-1 error"].mean()) < 0.06
    codes = pair_codes((a[:60], b[:60]), (a[60:], b[60:]), size=8, radius=None, seed=0)
    for row in informational_measures(codes, groups[60:], confidence=ONE, seed=0):
        assert math.isfinite(row.value)


def test_refusals_become_rows():
    def compute():
        raise ValueError("x: expected more,\n got less")

    (row,) = measured("geometric", ("cosine distance",), 3, compute)
    assert (row.guarantee, row.images) == ("absent: x: expected more, got less", 3)
    assert math.isnan(row.value)
    assert absent("pid", "a", "b\nc").guarantee == "absent: b c"
