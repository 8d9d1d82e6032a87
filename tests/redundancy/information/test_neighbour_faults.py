"""Inputs on which neighbour and Gaussian estimates were wrong in silence, each with its value or a refusal."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

import redundancy as rd
from redundancy.standard_columns import constant_columns

IMAGES, TOKENS = 150, 12
NORMAL = 0.5 * math.log(2 * math.pi * math.e)  # entropy of a standard normal variable


def quietly(function, *data, **options):
    """The value whatever the doubts."""
    return float(function(*data, on_doubt="ignore", **options))


def doubts(function, *data, **options):
    return function(*data, on_doubt="ignore", **options).details["doubts"]


def clustered(rng, columns, share):
    """Rows of images with this share of the variance between images; independent of every other draw."""
    image = np.arange(IMAGES).repeat(TOKENS)
    between = rng.standard_normal((IMAGES, columns))[image]
    return math.sqrt(share) * between + math.sqrt(1 - share) * rng.standard_normal((IMAGES * TOKENS, columns))


# 1: the rank


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0, 1e6, 1e300, -1e-300])
def test_constant_and_dependent_columns_add_no_gaussian_information(value):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 500, 2))
    alone = float(rd.gaussian_information(a, b))
    assert abs(alone) < 0.02
    constant = np.full((500, 5), value)
    wide = np.c_[constant, a, a.sum(1), 3 * a[:, 0] + 1e6, a[:, 0] * 1e-200]
    assert float(rd.gaussian_information(wide, np.c_[constant, b])) == pytest.approx(alone, abs=1e-6)
    assert float(rd.gaussian_information(constant, constant)) == 0.0


@pytest.mark.parametrize(("n", "columns"), [(60, 25), (200, 64)])
def test_few_rows_per_column_are_a_doubt_and_the_bias_is_removed(n, columns):
    errors = []
    for seed in range(20):
        x, y = np.random.default_rng(seed).standard_normal((2, n, columns))
        estimate = rd.gaussian_information(x, y, on_doubt="ignore")
        assert "rows per column" in estimate.details["doubts"][0]
        errors.append(estimate.value / estimate.details["standard_error"])
    assert abs(np.mean(errors)) < 3 / math.sqrt(20)
    assert 0.6 < np.std(errors) < 1.5  # the stated standard error is that of the estimate


def test_gaussian_information_of_a_function_is_infinite_and_doubted():
    x = np.random.default_rng(0).standard_normal((200, 2))
    with pytest.warns(RuntimeWarning, match="linear combination"):
        assert rd.gaussian_information(x, x[:, :1] - x[:, 1:]).value == math.inf


# 2: what is constant


def test_a_constant_is_constant_whatever_its_value():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1000, 1))
    y = x + 0.5 * rng.standard_normal((1000, 1))
    for estimator, tolerance in (("gaussian", 0.06), ("ksg", 0.09)):
        alone = float(rd.summary_information(x, y, estimator=estimator, rng=0))
        assert alone == pytest.approx(0.5 * math.log(5), abs=tolerance)
        for value in (0.3, 1e300):
            wide = np.c_[y, np.full((1000, 1), value)]
            assert float(rd.summary_information(x, wide, estimator=estimator, rng=0)) == pytest.approx(alone, abs=1e-9)
    columns = np.c_[np.full(50, 0.3), np.full(50, 1e300), 1e6 + 1e-3 * np.arange(50), 1e-300 * np.arange(50)]
    assert constant_columns(columns).tolist() == [True, True, False, False]


# 3: rows of one image


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_independent_images_share_nothing(share):
    estimators = {
        "ksg": lambda x, y, z, g: quietly(rd.ksg, x, y, groups=g),
        "rectangles": lambda x, y, z, g: quietly(rd.ksg, x, y, variant=2, groups=g),
        "conditional": lambda x, y, z, g: quietly(rd.knn_conditional_mutual_information, x, y, z, groups=g),
        "mixed": lambda x, y, z, g: quietly(rd.mixed_information, x, y, groups=g),
        "gaussian": lambda x, y, z, g: quietly(rd.gaussian_information, x, y, groups=g),
    }
    groups = np.arange(IMAGES).repeat(TOKENS)
    values = {name: [] for name in estimators}
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x, y, z = (clustered(rng, 1, share) for _ in range(3))
        for name, estimate in estimators.items():
            values[name].append(estimate(x, y, z, groups))
    for name, found in values.items():
        # one standard error of a single estimate, from 150 independent images, is .01 to .05
        assert abs(np.mean(found)) < 0.05, (name, found)
        assert np.abs(found).max() < 4 * 0.05, (name, found)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_entropy_of_clustered_rows(share):
    groups = np.arange(IMAGES).repeat(TOKENS)
    values = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x, y = clustered(rng, 4, share), clustered(rng, 3, share)
        values.append([quietly(rd.knn_entropy, x, groups=groups), quietly(rd.residual_entropy, x, y, groups=groups)])
    assert np.mean(values, axis=0) == pytest.approx([4 * NORMAL] * 2, abs=0.2)  # two standard errors of 150 images


def test_summaries_of_clustered_rows():
    groups = np.arange(IMAGES).repeat(TOKENS)
    for share in (0.9, 0.99):
        rng = np.random.default_rng(0)
        x, y = clustered(rng, 2, share), clustered(rng, 3, share)
        with pytest.warns(RuntimeWarning, match="30 images in a fold"):
            assert abs(float(rd.summary_information(x, y, groups=groups, rng=0))) < 0.15


def test_related_images_keep_their_information():
    """Every image has one pair of numbers of correlation 0.9, its rows copies with a little noise."""
    rng = np.random.default_rng(0)
    image = np.arange(600).repeat(4)
    x = rng.standard_normal(600)
    y = 0.9 * x + math.sqrt(0.19) * rng.standard_normal(600)
    x, y = (a[image] + 0.01 * rng.standard_normal(image.size) for a in (x, y))
    assert float(rd.ksg(x, y, groups=image)) == pytest.approx(-0.5 * math.log(0.19), abs=0.15)


# 4: ties


def test_an_atom_against_noise_shares_nothing():
    values = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        x, y = np.maximum(rng.standard_normal(4000) + 0.1257, 0), rng.standard_normal(4000)
        values.append([float(rd.ksg(x, y)), float(rd.mixed_information(x, y))])
    assert np.abs(np.mean(values, axis=0)).max() < 0.025
    assert any("variant 2" in text for text in doubts(rd.ksg, x, y, variant=2))
    assert abs(quietly(rd.ksg, x, y, variant=2)) < 0.06


def relu_truth(noise):
    """I(max(Z, 0); max(Z, 0) + noise) by quadrature."""

    def density(y):
        part, _ = quad(
            lambda x: norm.pdf(x) * norm.pdf(y - x, scale=noise), max(0, y - 8 * noise), max(0.1, y + 8 * noise)
        )
        return 0.5 * norm.pdf(y, scale=noise) + part

    entropy, _ = quad(lambda y: -density(y) * math.log(density(y)), -6 * noise, 5, limit=200)
    return entropy - 0.5 * math.log(2 * math.pi * math.e * noise**2)


def test_relu_plus_noise():
    truth = relu_truth(0.3)
    values = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x = np.maximum(rng.standard_normal(4000), 0)
        y = x + 0.3 * rng.standard_normal(4000)
        values.append([float(rd.ksg(x, y)), quietly(rd.ksg, x, y, variant=2), float(rd.mixed_information(x, y))])
    assert np.mean(values, axis=0) == pytest.approx([truth] * 3, abs=0.03)


def test_an_atom_beside_a_condition():
    rng = np.random.default_rng(0)
    z = rng.standard_normal(4000)
    x, y = np.maximum(z + rng.standard_normal(4000), 0), z + rng.standard_normal(4000)
    for variant in (1, 2):
        estimate = quietly(rd.knn_conditional_mutual_information, x, y, z, variant=variant)
        assert estimate == pytest.approx(0.0, abs=0.05)


# 5 and 6: shifts, scales and degenerate supports


def test_entropy_does_not_depend_on_the_origin():
    x = np.random.default_rng(0).standard_normal((2000, 3))
    centred = float(rd.knn_entropy(x))
    assert centred == pytest.approx(3 * NORMAL, abs=0.08)
    for offset in (100, 1e6):
        assert float(rd.knn_entropy(x + offset)) == pytest.approx(centred, abs=1e-6)
    assert float(rd.knn_entropy(1e-200 * x)) == pytest.approx(centred - 600 * math.log(10), abs=1e-8)
    with pytest.raises(ValueError, match="rows of one norm"):
        rd.knn_entropy(x + 100, surface="sphere")


def test_degenerate_supports_are_refused():
    rng = np.random.default_rng(0)
    a, u = rng.standard_normal((2000, 2)), rng.standard_normal(2000)
    with pytest.raises(ValueError, match="linearly dependent"):
        rd.knn_entropy(np.c_[a, a.sum(1)])
    for curve in (np.c_[u, u**2], np.c_[u, u**2, u**3], np.c_[np.cos(u), np.sin(2 * u)], np.c_[a, a[:, 0] ** 2]):
        with pytest.raises(ValueError, match="-infinity"):
            rd.knn_entropy(curve)
    with pytest.raises(ValueError, match="clusters"):
        rd.knn_entropy(clustered(rng, 4, 0.9999))


@pytest.mark.parametrize("move", [lambda x: x, lambda x: 5 * x + 7, lambda x: x.astype(np.float16)])
def test_normalised_rows_lie_on_a_smaller_sphere(move):
    x = np.random.default_rng(0).standard_normal((2000, 4))
    x -= x.mean(1, keepdims=True)
    x /= x.std(1, keepdims=True)
    estimate = rd.knn_entropy(move(x), surface="sphere")
    assert float(estimate) == pytest.approx(math.log(4 * math.pi), abs=0.06)
    assert estimate.details["dimension"] == 2
    with pytest.raises(ValueError, match="-infinity"):
        rd.knn_entropy(move(x))


@pytest.mark.parametrize("law", ["normal", "uniform", "exponential", "standard_cauchy"])
@pytest.mark.parametrize("columns", [2, 3, 5])
def test_full_supports_are_not_refused(law, columns):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        quietly(rd.knn_entropy, getattr(rng, law)(size=(400, columns)))


# 7: outside the range


@pytest.mark.parametrize("n", [7, 10, 15, 20])
def test_few_rows_are_a_doubt(n):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(n)
    assert any("falls short" in text for text in doubts(rd.ksg, x, x + rng.standard_normal(n)))


def test_ranks_see_through_heavy_tails():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(2000)
    y = 0.8 * x + 0.6 * rng.standard_normal(2000)
    plain = float(rd.ksg(x, y, scale="rank"))
    assert plain == pytest.approx(0.511, abs=0.05)
    assert float(rd.ksg(np.exp(8 * x), np.exp(8 * y), scale="rank")) == pytest.approx(plain, abs=1e-12)
    with pytest.raises(ValueError, match="rank"):
        rd.ksg(np.exp(8 * x), np.exp(8 * y), on_doubt="raise")
    with pytest.raises(ValueError, match="rank"):
        rd.ksg(np.exp(3 * x), np.exp(3 * y), on_doubt="raise")


def test_nearly_dependent_columns_are_a_doubt():
    rng = np.random.default_rng(0)
    a, e = rng.standard_normal((2, 2000))
    assert any("nearly dependent" in text for text in doubts(rd.ksg, np.c_[a, a + 0.001 * e], e))
    assert not doubts(rd.ksg, np.c_[a, 2 * a + 1], e)


# 11 and 21: options


@pytest.mark.parametrize(
    "options",
    [
        {"jitter": -1},
        {"jitter": 0.1},
        {"on_doubt": "nonsense"},
        {"whiten": True},
        {"calibrate": True},
        {"norm": "euclidean"},
    ],
)
def test_options_are_not_ignored_on_the_sphere(options):
    x = np.random.default_rng(0).standard_normal((100, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    with pytest.raises(ValueError, match=r"jitter|on_doubt|surface"):
        rd.knn_entropy(x, surface="sphere", **options)


@pytest.mark.parametrize("k", [2.5, True, "3"])
@pytest.mark.parametrize("function", [rd.ksg, rd.mixed_information, rd.residual_entropy, rd.summary_information])
def test_k_is_a_whole_number(function, k):
    x, y = np.random.default_rng(0).standard_normal((2, 60))
    with pytest.raises(TypeError, match="k: expected a whole number"):
        function(x, y, k=k)


# 19: the number of components


def test_components_are_chosen():
    """Five pairs of correlation .8: one component holds a fifth."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 5))
    y = 0.8 * x + 0.6 * rng.standard_normal((2000, 5))
    truth = -2.5 * math.log(0.36)
    chosen = rd.summary_information(x, y, rng=0, on_doubt="ignore")
    one = rd.summary_information(x, y, components=1, rng=0)
    assert max(chosen.details["components"]) == 5
    assert abs(chosen.value - truth) < 0.65 * abs(one.value - truth)


# what must not matter


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    offset=st.sampled_from([0.0, -3.0, 100.0, 1e6]),
    factor=st.sampled_from([1e-150, 1e-3, 1.0, 1e3, 1e160]),
    groups_of=st.sampled_from([None, 1, 3]),
)
def test_what_must_not_matter(seed, offset, factor, groups_of):
    """Shift, scale, the order of columns and rows, constant and duplicated columns, images of one row."""
    rng = np.random.default_rng(seed)
    n = 90
    x = rng.standard_normal((n, 2))
    y = x[:, :1] + rng.standard_normal((n, 1))
    groups = None if groups_of in (None, 1) else np.arange(n) // groups_of
    given = np.arange(n) if groups_of == 1 else groups
    order = rng.permutation(n)
    moved = factor * (x + offset)
    for function in (rd.ksg, rd.mixed_information, rd.gaussian_information):
        value = quietly(function, x, y, groups=groups)
        same = {
            "groups of one": quietly(function, x, y, groups=given),
            "moved": quietly(function, moved, y, groups=given),
            "columns": quietly(function, x[:, ::-1], y, groups=given),
            "rows": quietly(function, x[order], y[order], groups=None if given is None else given[order]),
            "constant": quietly(function, np.c_[x, np.full(n, offset)], y, groups=given),
            "twice": quietly(function, np.c_[x, x[:, :1]], y, groups=given),
        }
        if function is rd.ksg and groups is not None:  # clumping is measured on evenly spaced rows
            del same["rows"]
        for name, other in same.items():
            assert other == pytest.approx(value, abs=1e-6), (function.__name__, name)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), offset=st.sampled_from([0.0, 100.0, 1e5]), factor=st.sampled_from([1e-3, 1.0, 1e3]))
def test_entropy_moves_as_it_should(seed, offset, factor):
    x = np.random.default_rng(seed).standard_normal((120, 2))
    value = quietly(rd.knn_entropy, x)
    expected = pytest.approx(value + 2 * math.log(factor), abs=1e-6)
    assert quietly(rd.knn_entropy, factor * (x + offset), groups=np.arange(120)) == expected


def test_no_warning_without_a_doubt():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rd.ksg(x, x + rng.standard_normal(300), groups=np.arange(300))


@pytest.mark.parametrize("value", [0.0, 0.3, 1e8 + 0.1, 1e-320])
@pytest.mark.parametrize("columns", [1, 2, 3])
def test_a_constant_shares_nothing_whatever_its_columns_and_groups(value, columns):
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(30), rng.integers(1, 8, 30))
    y, constant = rng.standard_normal((len(groups), 2)), np.full((len(groups), columns), value)
    kinds = groups % 2
    for options in ({}, {"groups": groups}, {"z": kinds}):
        assert rd.mixed_information(constant, y, **options).value == 0.0
        assert rd.mixed_information(y, constant, **options).value == 0.0
    # Constant within each value of the condition, not over all rows.
    assert rd.mixed_information(np.repeat(kinds[:, None], columns, 1), y, z=kinds).value == 0.0
    with pytest.raises(ValueError, match="x: every column is constant"):
        rd.ksg(constant, y)


@pytest.mark.parametrize("value", [0.0, 0.3, -1e8])
def test_constant_columns_do_not_choose_the_variant_of_conditional_information(value):
    rng = np.random.default_rng(0)
    x, noise, z = rng.standard_normal((3, 200, 2))
    y, constant = x + noise, np.full((200, 1), value)
    alone = rd.knn_conditional_mutual_information(x, y, z, on_doubt="ignore")
    beside = rd.knn_conditional_mutual_information(np.c_[x, constant], np.c_[constant, y], z, on_doubt="ignore")
    assert beside.value == alone.value
    assert beside.settings == alone.settings
