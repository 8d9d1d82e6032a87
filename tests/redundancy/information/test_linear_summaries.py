"""Information between wide layers through cross-fitted summaries."""

from __future__ import annotations

import math

import numpy as np
import pytest

import redundancy as rd


def one_signal(n, d, seed=0):
    """Two layers of width d that share one Gaussian number; the truth from its two signal-to-noise ratios."""
    rng = np.random.default_rng(seed)
    s = rng.standard_normal(n)
    wx, wy = (4.0 * w / np.linalg.norm(w) for w in rng.standard_normal((2, d)))
    x, y = (s[:, None] * w + rng.standard_normal((n, d)) for w in (wx, wy))
    rho_squared = (16.0 / 17.0) ** 2
    return x, y, -0.5 * math.log(1 - rho_squared)


@pytest.mark.parametrize("summary", ["ridge", "cca", "pls"])
@pytest.mark.parametrize("estimator", ["ksg", "gaussian"])
def test_recovers_what_plain_ksg_loses(summary, estimator):
    x, y, truth = one_signal(1500, 24)
    estimate = rd.summary_information(x, y, summary=summary, estimator=estimator, rng=0)
    assert truth - 0.3 < estimate.value < truth + 0.1
    assert estimate.settings["bound"] == "estimates a lower bound"
    assert estimate.details["per_fold"].shape == (5,)


def test_plain_ksg_does_lose_it():
    x, y, truth = one_signal(1500, 24)
    assert rd.ksg(x, y, norm="euclidean", on_doubt="ignore").value < truth - 0.3


def test_unrelated_layers_have_none():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 1500, 30))
    assert rd.summary_information(x, y, rng=0).value == pytest.approx(0.0, abs=0.06)


def test_summaries_never_see_the_rows_they_describe():
    """Two wide unrelated layers: summaries fitted on their own rows would agree by chance."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 600, 100))
    estimate = rd.summary_information(x, y, summary="cca", estimator="gaussian", folds=2, rng=0)
    assert abs(estimate.value) < 0.05


def test_several_components_and_groups():
    rng = np.random.default_rng(0)
    s = rng.standard_normal((1500, 2))
    x, y = (np.hstack([2 * s, s[:, ::-1]]) + rng.standard_normal((1500, 4)) for _ in range(2))
    groups = np.arange(1500) // 5
    with pytest.warns(RuntimeWarning, match="60 images in a fold"):
        one, two = (rd.summary_information(x, y, components=c, groups=groups, rng=0).value for c in (1, 2))
    assert two > one + 0.2


def test_gaussian_information():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 2))
    y = x + rng.standard_normal((2000, 2))
    assert float(rd.gaussian_information(x, y)) == pytest.approx(math.log(2), abs=0.06)
    assert float(rd.gaussian_information(x, rng.standard_normal((2000, 2)))) == pytest.approx(0.0, abs=0.005)
    with pytest.raises(ValueError, match="more rows than columns"):
        rd.gaussian_information(x[:4], y[:4])


def test_doubts_are_reported():
    x, y, _ = one_signal(300, 5)
    with pytest.warns(RuntimeWarning, match="rows in a fold"):
        rd.summary_information(x, y, rng=0)
    x, y, _ = one_signal(1200, 5)
    with pytest.warns(RuntimeWarning, match="2 x 4 summaries"):
        rd.summary_information(x, y, components=4, rng=0)
    close = x + 1e-5 * y
    with pytest.warns(RuntimeWarning, match="saturates"):
        rd.summary_information(x, close, rng=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"components": 0}, "components"),
        ({"components": 6}, "components"),
        ({"components": "all"}, "components"),
        ({"estimator": "gaussian", "k": 3}, "k: expected no"),
        ({"summary": "pca"}, "summary: expected"),
        ({"estimator": "infonce"}, "estimator: expected"),
        ({"folds": 1}, "folds"),
    ],
)
def test_bad_options(options, message):
    x, y, _ = one_signal(100, 5)
    with pytest.raises(ValueError, match=message):
        rd.summary_information(x, y, **options)


def test_unpaired_rows():
    x, y, _ = one_signal(100, 5)
    with pytest.raises(ValueError, match="paired rows"):
        rd.summary_information(x, y[:-1])
