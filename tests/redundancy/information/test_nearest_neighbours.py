"""Neighbour estimators against closed forms, scikit-learn's KSG and slow reference loops; and every refusal."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from scipy.special import digamma

import redundancy as rd
from redundancy.information import knn_search
from redundancy.information.knn_search import Images, distances, neighborhoods


def alone(n):
    """Every row an image of its own."""
    return Images(np.arange(n), np.ones(n, dtype=np.int64))


def gaussian(n, d=1, rho=0.6, seed=0):
    """x, y with d independent pairs of correlation rho; I = -d log(1 - rho^2) / 2."""
    z = np.random.default_rng(seed).standard_normal((2, n, d))
    return z[0], rho * z[0] + math.sqrt(1 - rho**2) * z[1], -0.5 * d * math.log(1 - rho**2)


def slow_ksg(x, y, k, variant):
    """Equations 8 and 9 of the paper, point by point, on standardised columns in the maximum norm."""
    x, y = ((a - a.mean(0)) / a.std(0) for a in (x, y))
    n, total = len(x), 0.0
    for i in range(n):
        dx, dy = np.abs(x - x[i]).max(1), np.abs(y - y[i]).max(1)
        joint = np.maximum(dx, dy)
        joint[i] = np.inf
        near = np.argsort(joint)[:k]
        if variant == 1:
            n_x, n_y = (dx < joint[near[-1]]).sum() - 1, (dy < joint[near[-1]]).sum() - 1
            total += digamma(n_x + 1) + digamma(n_y + 1)
        else:
            n_x, n_y = (dx <= dx[near].max()).sum() - 1, (dy <= dy[near].max()).sum() - 1
            total += digamma(n_x) + digamma(n_y) + 1.0 / k
    return digamma(k) + digamma(n) - total / n


@pytest.mark.parametrize("variant", [1, 2])
@pytest.mark.parametrize("d", [1, 3, 6])
def test_against_the_reference_loops(variant, d):
    x, y, _ = gaussian(80, d)
    estimate = rd.ksg(x, y, 4, variant=variant, on_doubt="ignore").value
    assert estimate == pytest.approx(slow_ksg(x, y, 4, variant), abs=1e-12)


@pytest.mark.parametrize("n", [30, 700])
@pytest.mark.parametrize("k", [3, 7])
def test_scikit_learn_to_the_last_digits(n, k):
    from sklearn.feature_selection._mutual_info import _compute_mi_cc

    x, y, _ = gaussian(n)
    standard = [(a - a.mean()) / a.std() for a in (x[:, 0], y[:, 0])]
    peer = _compute_mi_cc(*standard, k)  # clips at 0
    assert max(0.0, rd.ksg(x, y, k, on_doubt="ignore").value) == pytest.approx(peer, abs=1e-13)


@pytest.mark.parametrize("rectangles", [False, True])
@pytest.mark.parametrize("blocks", [(1, 1), (2, 1), (1, 1, 2)])
def test_tree_and_blocks_agree_exactly(monkeypatch, rectangles, blocks):
    rng = np.random.default_rng(0)
    parts = [rng.standard_normal((300, d)) for d in blocks]
    subsets = [(i,) for i in range(len(blocks))] + [(0, len(blocks) - 1)]
    for images in (
        alone(300),
        Images(np.arange(300) // 4, np.full(75, 4)),
        Images(np.arange(300) % 30, np.full(30, 10)),
    ):
        by_tree = neighborhoods(parts, subsets, 4, norm="max", images=images, rectangles=rectangles)
        with monkeypatch.context() as patch:
            patch.setattr(knn_search, "TREE_DIMENSIONS", 0)
            by_block = neighborhoods(parts, subsets, 4, norm="max", images=images, rectangles=rectangles)
        np.testing.assert_array_equal(by_tree.radius, by_block.radius)
        np.testing.assert_allclose(by_tree.crowd, by_block.crowd, atol=1e-12)
        assert by_tree.clumps == by_block.clumps
        for one, other in zip(by_tree.counts, by_block.counts, strict=True):
            np.testing.assert_array_equal(one, other)


def test_chunks_do_not_matter(monkeypatch):
    x, y, _ = gaussian(200, 6)
    whole = rd.ksg(x, y, norm="euclidean", on_doubt="ignore").value
    monkeypatch.setattr(knn_search, "BLOCK", 1000)
    assert rd.ksg(x, y, norm="euclidean", on_doubt="ignore").value == pytest.approx(whole, abs=1e-12)


def test_strict_counts_with_equal_distances():
    """On a grid many distances tie with the radius; none of them counts as closer."""
    line = np.arange(50.0)[:, None] / 10.0
    near = neighborhoods([line], [(0,)], 2, norm="max", images=alone(50))
    slow = [(np.abs(line[:, 0] - line[i, 0]) < near.radius[i]).sum() - 1 for i in range(50)]
    np.testing.assert_array_equal(near.counts[0], slow)


def test_euclidean_distances_survive_an_offset():
    rng = np.random.default_rng(0)
    x = 1000.0 + 1e-4 * rng.standard_normal((60, 9))
    x[1] = x[0] + 1e-12
    for rows, (block,) in distances([x], "euclidean"):
        exact = np.sqrt(((x[rows, None] - x[None]) ** 2).sum(2))
        np.testing.assert_allclose(block, exact, rtol=1e-7)


@pytest.mark.parametrize(("d", "rho", "tolerance"), [(1, 0.6, 0.06), (1, 0.0, 0.05), (1, 0.95, 0.08), (2, 0.6, 0.1)])
def test_gaussian_information(d, rho, tolerance):
    for seed in range(3):
        x, y, truth = gaussian(1500, d, rho, seed)
        for variant in (1, 2):
            assert rd.ksg(x, y, variant=variant).value == pytest.approx(truth, abs=tolerance)


def test_information_survives_spirals_and_other_one_to_one_maps():
    x, y, truth = gaussian(2000)
    both = np.hstack([x, np.random.default_rng(5).standard_normal(x.shape)])
    angle = np.linalg.norm(both, axis=1)
    spiral = np.column_stack(
        [
            np.cos(angle) * both[:, 0] - np.sin(angle) * both[:, 1],
            np.sin(angle) * both[:, 0] + np.cos(angle) * both[:, 1],
        ]
    )
    assert rd.ksg(spiral, y).value == pytest.approx(truth, abs=0.08)
    assert rd.ksg(np.sinh(x), y**3).value == pytest.approx(truth, abs=0.08)


def test_student_t_information():
    """Bivariate t with 3 degrees of freedom: the Gaussian value plus a constant of the tails."""
    rng = np.random.default_rng(1)
    nu, rho = 3.0, 0.5
    z = rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], size=4000)
    z /= np.sqrt(rng.chisquare(nu, size=(4000, 1)) / nu)
    one = _t_entropy(1, nu)
    truth = 2 * one - (_t_entropy(2, nu) + 0.5 * math.log(1 - rho**2))
    assert rd.ksg(z[:, 0], z[:, 1]).value == pytest.approx(truth, abs=0.06)


def _t_entropy(d, nu):
    """Entropy of the standard d-variate t distribution."""
    from scipy.special import gammaln

    half = 0.5 * (nu + d)
    constant = 0.5 * d * math.log(nu * math.pi) + gammaln(0.5 * nu) - gammaln(half)
    return float(constant + half * (digamma(half) - digamma(0.5 * nu)))


def test_scale_does_not_matter():
    x, y, _ = gaussian(500)
    assert rd.ksg(1e6 * x + 3, y / 1000).value == pytest.approx(rd.ksg(x, y).value, abs=1e-9)


def test_conditional_information():
    rng = np.random.default_rng(2)
    z = rng.standard_normal((1200, 2))
    common = z.sum(1)
    x = common + rng.standard_normal(1200)
    independent = common + rng.standard_normal(1200)
    dependent = x + rng.standard_normal(1200)
    assert rd.knn_conditional_mutual_information(x, independent, z).value == pytest.approx(0.0, abs=0.08)
    for variant in (1, 2):
        estimate = rd.knn_conditional_mutual_information(x, dependent, z, variant=variant).value
        assert estimate == pytest.approx(0.5 * math.log(2), abs=0.15)


@pytest.mark.parametrize(
    ("draw", "truth", "tolerance"),
    [
        (lambda r: r.standard_normal((1000, 3)), 1.5 * math.log(2 * math.pi * math.e), 0.15),
        (lambda r: r.uniform(-2, 5, size=1000), math.log(7), 0.08),
        (lambda r: 3 * r.exponential(size=1000), 1 + math.log(3), 0.12),
        (lambda r: r.standard_t(3, size=1000), _t_entropy(1, 3.0), 0.15),
        (
            lambda r: r.standard_normal((1000, 2)) @ np.array([[1.0, 0.9], [0.0, 0.4]]),
            math.log(2 * math.pi * math.e * 0.4),
            0.2,
        ),
    ],
    ids=["gaussian", "uniform", "exponential", "student", "correlated gaussian"],
)
def test_entropy_of_known_laws(draw, truth, tolerance):
    x = draw(np.random.default_rng(0))
    for options in ({}, {"norm": "euclidean"}, {"k": 3}):
        assert rd.knn_entropy(x, **options).value == pytest.approx(truth, abs=tolerance)
    if np.ndim(x) == 2:
        assert rd.knn_entropy(x, whiten=True, calibrate=True, rng=0).value == pytest.approx(truth, abs=tolerance)


def test_whitening_and_calibration_in_many_dimensions():
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((20, 4)) @ rng.standard_normal((4, 20)) + 0.1 * rng.standard_normal((20, 20))
    truth = 10 * math.log(2 * math.pi * math.e) + np.linalg.slogdet(mixing)[1]
    x = rng.standard_normal((800, 20)) @ mixing.T
    with pytest.warns(RuntimeWarning, match="whiten and calibrate"):
        raw = rd.knn_entropy(x).value
    assert abs(raw - truth) > 5
    assert rd.knn_entropy(x, whiten=True, calibrate=True, rng=1).value == pytest.approx(truth, abs=0.5)


def test_entropy_on_the_sphere():
    rng = np.random.default_rng(0)
    for d, area in [(2, 2 * math.pi), (3, 4 * math.pi), (5, 8 * math.pi**2 / 3)]:
        x = rng.standard_normal((2000, d))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        with pytest.raises(ValueError, match="surface='sphere'"):
            rd.knn_entropy(x)
        assert rd.knn_entropy(x, surface="sphere").value == pytest.approx(math.log(area), abs=0.12)
        half = x * np.sign(x[:, :1])  # one hemisphere: log 2 less
        estimate = rd.knn_entropy(half, surface="sphere").value
        assert estimate == pytest.approx(math.log(area / 2), abs=0.15)


def test_entropy_of_a_regression_residual():
    rng = np.random.default_rng(0)
    y = rng.standard_normal((1000, 20))
    x = y.sum(1) + 0.5 * rng.standard_normal(1000)
    truth = 0.5 * math.log(2 * math.pi * math.e * 0.25)
    assert rd.residual_entropy(x, y, rng=0).value == pytest.approx(truth, abs=0.08)
    groups = np.arange(1000) // 10
    assert rd.residual_entropy(x, y, groups=groups, rng=0).value == pytest.approx(truth, abs=0.08)
    with pytest.raises(ValueError, match="linear function"):
        rd.residual_entropy(y.sum(1), y)
    with pytest.raises(ValueError, match="paired rows"):
        rd.residual_entropy(x, y[:-1])
    with pytest.raises(ValueError, match="folds"):
        rd.residual_entropy(x, y, folds=1)


def test_local_terms_average_to_the_value():
    x, y, _ = gaussian(100)
    estimate = rd.ksg(x, y)
    assert estimate.details["local"].mean() == pytest.approx(estimate.value)
    assert estimate.details["backend"] == "tree"
    assert estimate.per_unit is None
    assert estimate.details["n"] == 100


def test_threads_change_nothing():
    x, y, _ = gaussian(300, 2)
    one, two = (rd.ksg(x, y, workers=w, on_doubt="ignore").value for w in (1, 2))
    assert one == two


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones(100), "constant"),
        (1e8 + np.zeros(100), "constant"),
        (np.r_[np.nan, np.arange(99.0)], "NaN"),
        (np.arange(6.0), "more than k"),
        (np.zeros((100, 0)), "one column"),
        (np.repeat(np.random.default_rng(0).standard_normal(12), 9), "exact copies"),
        (np.zeros((3, 3, 3)), "expected shape"),
    ],
)
def test_refused(x, message):
    other = np.random.default_rng(1).standard_normal(len(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        with pytest.raises(ValueError, match=message):
            rd.knn_entropy(x)
        if message != "exact copies":
            with pytest.raises(ValueError, match=message):
                rd.ksg(x, other)


def test_duplicates_in_both_variables_are_refused_and_jitter_helps():
    x, y, _ = gaussian(40, rho=0.9)
    x, y = np.repeat(x, 10), np.repeat(y, 10)
    with pytest.raises(ValueError, match="exact copies"):
        rd.ksg(x, y, on_doubt="ignore")
    assert np.isfinite(rd.ksg(x, y, jitter=0.1, rng=0).value)


def test_low_precision_is_reported():
    x, y, truth = gaussian(2000)
    coarse = np.round(x * 8) / 8
    with pytest.warns(RuntimeWarning, match="distinct values"):
        estimate = rd.ksg(coarse, y)
    assert estimate.details["doubts"]
    with pytest.raises(ValueError, match="distinct values"):
        rd.ksg(coarse, y, on_doubt="raise")
    assert rd.ksg(coarse, y, jitter=0.05, rng=0).value == pytest.approx(truth, abs=0.08)


def test_too_many_dimensions_and_too_much_information_are_reported():
    x, y, _ = gaussian(200, 8)
    with pytest.warns(RuntimeWarning, match="16 dimensions"):
        rd.ksg(x, y)
    x, y, _ = gaussian(900, 2)
    with pytest.warns(RuntimeWarning, match="4 dimensions from 900 rows"):
        rd.ksg(x, y)
    x, y, _ = gaussian(200, 1, 0.9999)
    with pytest.warns(RuntimeWarning, match="saturates"):
        rd.ksg(x, y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "at least 1 neighbour"),
        ({"scale": "robust"}, "scale: expected one of"),
        ({"workers": 0}, "workers"),
        ({"jitter": float("nan")}, "jitter"),
        ({"variant": 3}, "variant"),
        ({"norm": "manhattan"}, "norm: expected one of"),
        ({"jitter": -1.0}, "jitter"),
        ({"on_doubt": "shrug"}, "on_doubt"),
    ],
)
def test_bad_options(options, message):
    x, y, _ = gaussian(50)
    with pytest.raises(ValueError, match=message):
        rd.ksg(x, y, **options)
    if "variant" in options:
        with pytest.raises(ValueError, match=message):
            rd.knn_conditional_mutual_information(x, y, x, **options)


def test_unpaired_rows():
    x, y, _ = gaussian(50)
    with pytest.raises(ValueError, match="paired rows"):
        rd.ksg(x, y[:-1])


def test_bad_entropy_options():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 40))
    with pytest.raises(ValueError, match="more rows than columns"):
        rd.knn_entropy(x, whiten=True)
    with pytest.raises(ValueError, match="linearly dependent"):
        rd.knn_entropy(np.column_stack([x[:, 0], x[:, 1], x[:, 0] + x[:, 1]]), whiten=True)
    with pytest.raises(ValueError, match="rows of one norm"):
        rd.knn_entropy(x, surface="sphere")
    with pytest.raises(ValueError, match="surface: expected"):
        rd.knn_entropy(x, surface="torus")
    with pytest.raises(ValueError, match="more than k"):
        rd.knn_entropy(x[:4] / np.linalg.norm(x[:4], axis=1, keepdims=True), surface="sphere")
