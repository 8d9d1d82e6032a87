"""Doubts about critics that build on a Gaussian copula: raised where there is none, silent where there is one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

import redundancy as rd
from redundancy.information.copula_doubt import gaussian_copula_doubt


def sparse_pairs(n, d, rng):
    """x, y (n, d) whose first two columns are correlated by .8."""
    z = rng.standard_normal((2, n, d))
    z[1, :, :2] = 0.8 * z[0, :, :2] + 0.6 * z[1, :, :2]
    return z[0], z[1]


def turned(x):
    """Each row turned, in its first two columns, by an angle that grows with its square: a one-to-one map."""
    angle = (x**2).sum(1)
    c, s, out = np.cos(angle), np.sin(angle), x.copy()
    out[:, 0], out[:, 1] = c * x[:, 0] - s * x[:, 1], s * x[:, 0] + c * x[:, 1]
    return out


@pytest.mark.parametrize("d", [1, 2, 5, 20])
@pytest.mark.parametrize("n", [400, 3000])
def test_any_margins_with_a_gaussian_copula_are_believed(n, d):
    """Level 1e-4: of eight samples one is doubted with probability below 1e-3."""
    for seed in range(8):
        x, y = sparse_pairs(n, max(d, 2), np.random.default_rng(seed))
        assert gaussian_copula_doubt(np.hstack([np.sinh(2 * x[:, :d]), ndtr(y[:, :d])]), "gaussian") == []


def test_turned_rows_are_doubted_and_their_value_falls_short():
    """The information of sparse_pairs is -log(.36) = 1.02 whatever is done to x and y by one-to-one maps."""
    x, y = sparse_pairs(3000, 3, np.random.default_rng(0))
    straight = rd.critic_information(ndtr(x), ndtr(y), members=("gaussian",), rng=0)
    assert straight.value == pytest.approx(1.02, abs=0.06)
    bent = turned(2 * ndtr(x) - 1), turned(2 * ndtr(y) - 1)
    with pytest.warns(RuntimeWarning, match="do not have a Gaussian copula"):
        estimate = rd.critic_information(*bent, members=("gaussian",), rng=0)
    assert estimate.value < 0.95
    assert len(estimate.details["doubts"]) == 1


def test_a_sum_of_two_columns_is_no_departure():
    x, y = sparse_pairs(2000, 2, np.random.default_rng(0))
    assert gaussian_copula_doubt(np.c_[x, x.sum(1), y, y.sum(1)], "gaussian") == []


def test_heavy_joint_tails_are_doubted():
    """Of a Student copula with three degrees of freedom."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((2000, 4)) / np.sqrt(rng.chisquare(3, (2000, 1)) / 3)
    assert gaussian_copula_doubt(z, "canonical")


def test_rows_of_one_image_are_no_sample():
    """Images of 30 like rows: 1,000 Gaussian images, of which every row shows nearly the same."""
    rng = np.random.default_rng(0)
    x, y = (np.repeat(side, 30, axis=0) for side in sparse_pairs(600, 2, rng))
    x, y = x + 0.01 * rng.standard_normal(x.shape), y + 0.01 * rng.standard_normal(y.shape)
    image = np.repeat(np.arange(600), 30)
    grouped = rd.critic_information(x, y, members=("gaussian",), groups=image, rng=0)
    assert not grouped.details["doubts"]
