"""Mixed information against closed forms and the plug-in."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import entr
from scipy.stats import poisson

import redundancy as rd


def test_discrete_variables_give_the_plug_in():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, 900)
    y = (x + rng.integers(0, 2, 900)) % 3
    plug_in = rd.mutual_information(x, y, method="plugin").value
    assert rd.mixed_information(x, y).value == pytest.approx(plug_in, abs=1e-12)
    assert rd.mixed_information(x, y).details["atoms"] == 1.0


def test_continuous_variables_give_ksg():
    x, y = np.random.default_rng(0).standard_normal((2, 500))
    assert rd.mixed_information(x, x + y).value == pytest.approx(rd.ksg(x, x + y).value, abs=1e-12)
    groups = np.arange(500) // 2
    assert rd.mixed_information(x, x + y, groups=groups).value == pytest.approx(
        rd.ksg(x, x + y, groups=groups).value, abs=1e-12
    )


def test_a_discrete_and_a_uniform_variable():
    """Gao et al., example 1: X uniform on 0..m-1, Y uniform on [X, X + 2]: log m - (m - 1) log(2) / m."""
    m = 5
    values = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x = rng.integers(0, m, 3000)
        values.append(rd.mixed_information(x, x + 2 * rng.random(3000)).value)
    assert np.mean(values) == pytest.approx(math.log(m) - (m - 1) * math.log(2) / m, abs=0.02)


def test_a_zero_inflated_variable():
    """Gao et al., example 3: X exponential, Y = 0 with probability p, else Poisson(X)."""
    p, values = 0.15, []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        x = rng.exponential(size=4000)
        y = rng.poisson(x) * (rng.random(4000) > p)
        values.append(rd.mixed_information(x, y).value)
    k = np.arange(60)
    given = lambda x: (1 - p) * poisson.pmf(k, x) + p * (k == 0)  # noqa: E731
    inside = quad(lambda x: math.exp(-x) * entr(given(x)).sum(), 0, 30, limit=200)[0]
    truth = entr((1 - p) * 0.5 ** (k + 1) + p * (k == 0)).sum() - inside
    assert np.mean(values) == pytest.approx(truth, abs=0.03)


def test_a_discrete_condition_is_a_mean_over_strata():
    rng = np.random.default_rng(0)
    z = rng.integers(0, 2, 3000)
    x = 10 * z + rng.standard_normal(3000)
    y = 10 * z + np.where(z == 1, x - 10, 0) + rng.standard_normal(3000)
    estimate = rd.mixed_information(x, y, z)
    assert estimate.value == pytest.approx(z.mean() * 0.5 * math.log(2), abs=0.04)
    assert estimate.quantity == "conditional mutual information"
    assert rd.mixed_information(x, y, np.where(z == 1, "b", "a")).value == estimate.value
    with pytest.raises(TypeError, match="z"):
        rd.mixed_information(x, y, x)
    with pytest.raises(ValueError, match="one label per row"):
        rd.mixed_information(x, y, z[:-1])
    with pytest.raises(ValueError, match="in each value"):
        rd.mixed_information(x, y, np.r_[np.zeros(2998, int), 1, 1])


def test_images_of_copies_count_once():
    rng = np.random.default_rng(0)
    image = np.arange(200).repeat(6)
    x, y = rng.integers(0, 2, 200)[image], rng.standard_normal(200)[image] + 1e-3 * rng.standard_normal(1200)
    assert rd.mixed_information(x, y, groups=image).value == pytest.approx(0.0, abs=0.12)
    assert rd.mixed_information(x, y).value > 0.4
