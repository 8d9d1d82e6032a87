"""Spreads by images against known standard errors."""

from __future__ import annotations

import numpy as np
import pytest

import redundancy as rd


@pytest.mark.parametrize("method", ["jackknife", "subsample"])
def test_the_spread_of_a_mean_is_its_standard_error(method):
    x = np.random.default_rng(0).normal(size=90)
    spread = rd.image_spread(np.mean, x, method=method, replicates=4000, rng=0)
    expected = x.std(ddof=1) / np.sqrt(90)
    # leave-one-out is the textbook formula itself; 4,000 random halves know a standard deviation to 1.1%
    assert spread.value == pytest.approx(expected, rel=1e-12 if method == "jackknife" else 0.045)
    assert (spread.n, spread.unit_of_sampling, spread.estimate) == (90, "row", pytest.approx(x.mean()))


def test_rows_of_an_image_are_left_out_together():
    rng = np.random.default_rng(1)
    image = np.repeat(np.arange(200), 10)
    x = rng.normal(size=200)[image] + 0.1 * rng.normal(size=2000)
    spread = rd.image_spread(np.mean, x, groups=image, replicates=200)
    means = x.reshape(200, 10).mean(1)
    assert spread.value == pytest.approx(means.std(ddof=1) / np.sqrt(200), rel=1e-12)
    assert spread.value > 2.5 * rd.image_spread(np.mean, x, replicates=200, rng=0).value
    assert spread.unit_of_sampling == "image"


@pytest.mark.parametrize("method", ["jackknife", "subsample"])
def test_the_spread_of_gaussian_information_matches_its_standard_error(method):
    """I = -log(1 - r^2) / 2 has the standard error r / sqrt(n); 30 spreads average to it within four of their own."""
    rng, n, r = np.random.default_rng(2), 400, 0.6
    spreads = []
    for _ in range(30):
        x = rng.normal(size=n)
        y = r * x + np.sqrt(1 - r**2) * rng.normal(size=n)
        spreads.append(rd.image_spread(rd.gaussian_information, x, y, method=method, replicates=50, rng=rng).value)
    allowed = 4 * np.std(spreads, ddof=1) / np.sqrt(30)
    assert abs(np.mean(spreads) - r / np.sqrt(n)) < allowed + 0.02 * r / np.sqrt(n)


def test_groups_are_passed_to_estimators_that_take_them():
    seen = []

    def estimator(x, groups=None, scale=1.0):
        seen.append(groups)
        return scale * x.mean()

    spread = rd.image_spread(estimator, np.arange(12.0), groups=np.repeat(list("abcd"), 3), scale=2.0)
    assert spread.estimate == 11.0
    assert [g.size for g in seen] == [12, 9, 9, 9, 9]


def test_vectors_tensors_and_estimates_are_accepted():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(3).normal(size=(60, 4))
    both = rd.image_spread(lambda a: a.mean(0), x)
    np.testing.assert_allclose(both.value, x.std(0, ddof=1) / np.sqrt(60))
    state = torch.tensor(x, requires_grad=True)
    assert rd.image_spread(rd.geometric, state, 2 * state + 1).value > 0
    assert "interval" not in repr(both)


def test_an_estimate_of_few_images_has_no_spread():
    with pytest.raises(ValueError, match="groups: expected at least 3 images"):
        rd.image_spread(np.mean, np.arange(6.0), groups=[0, 0, 0, 1, 1, 1])
    with pytest.raises(ValueError, match="arrays: expected arrays with one row"):
        rd.image_spread(np.mean, np.arange(6.0), np.arange(5.0))
    with pytest.raises(TypeError, match="arrays: expected at least one"):
        rd.image_spread(np.mean)
    with pytest.raises(ValueError, match="estimator: expected a finite"):
        rd.image_spread(lambda x: np.nan, np.arange(6.0))
    with pytest.raises(TypeError, match="replicates"):
        rd.image_spread(np.mean, np.arange(6.0), replicates=True)
