"""The permutation test keeps its level exactly, for rows and for images, and has power."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

import redundancy as rd


def covariance(x, y):
    return abs(np.sum((x - x.mean()) * (y - y.mean())))


@pytest.mark.parametrize("exchange", ["blocks", "one row"])
def test_the_level_is_exact_for_images(exchange):
    """P(p <= 1/10) = 1/10 under independence, although rows of an image are nearly equal."""
    rng = np.random.default_rng(0)
    sizes = np.repeat([3, 5], 8)
    image = np.repeat(np.arange(16), sizes)
    rejected = 0
    for _ in range(600):
        x, y = (rng.normal(size=16)[image] + 0.1 * rng.normal(size=image.size) for _ in range(2))
        test = rd.permutation_test(covariance, x, y, groups=image, exchange=exchange, permutations=19, rng=rng)
        rejected += test.p_value <= 0.1
    assert binomtest(rejected, 600, 0.1).pvalue > 0.001


def test_rows_as_units_would_reject():
    rng = np.random.default_rng(1)
    image = np.repeat(np.arange(16), 10)
    rejected = 0
    for _ in range(60):
        x, y = (rng.normal(size=16)[image] + 0.1 * rng.normal(size=image.size) for _ in range(2))
        rejected += rd.permutation_test(covariance, x, y, permutations=19, rng=rng).p_value <= 0.05
    assert rejected > 20


def test_dependence_gives_the_smallest_p_value():
    x, noise = np.random.default_rng(2).normal(size=(2, 80, 2))
    y = x + 0.3 * noise
    test = rd.permutation_test(rd.gaussian_information, x, y, permutations=99, rng=0)
    assert (test.p_value, test.n, test.exchanged) == (0.01, 80, 80)
    again = rd.permutation_test(rd.gaussian_information, x, y, permutations=99, rng=0)
    np.testing.assert_array_equal(test.replicates, again.replicates)


def test_ties_count_against_rejection():
    assert rd.permutation_test(lambda x, y: 1.0, np.arange(9.0), np.arange(9.0), permutations=99).p_value == 1.0


def test_only_images_of_one_size_are_exchanged():
    image = np.repeat([0, 1, 2, 3, 4, 5, 6, 7, 8], [2, 2, 2, 2, 3, 3, 3, 3, 4])
    y = np.arange(image.size)

    def check(x, other):
        blocks = [tuple(other[image == i]) for i in range(9)]
        original = [tuple(y[image == i]) for i in range(9)]
        assert set(blocks) == set(original)
        assert blocks[8] == original[8]
        return 0.0

    assert rd.permutation_test(check, y, y, groups=image, permutations=20, rng=0).exchanged == 8


def test_images_without_partners_are_refused_or_doubted():
    x = np.arange(6.0)
    with pytest.raises(ValueError, match="two images with equally many rows"):
        rd.permutation_test(covariance, x, x, groups=[0, 0, 0, 1, 1, 2])
    with pytest.warns(RuntimeWarning, match="only 2 of 6"):
        rd.permutation_test(
            covariance, np.arange(20.0), np.arange(20.0), groups=np.repeat(range(6), [1, 1, 2, 3, 6, 7])
        )
    with pytest.warns(RuntimeWarning, match="fewer than 20"):
        rd.permutation_test(covariance, np.arange(3.0), np.arange(3.0))
