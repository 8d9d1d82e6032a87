"""Confidence limits for images with dependent tokens: all thresholds at once, token weighting, binary units."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest

import redundancy as rd
from bounds.certificates import clustered
from tests.oracles import limits_reference


def states(images=40, seed=0):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(images), rng.integers(1, 9, images))
    x = rng.normal(size=(groups.size, 6))
    return x, x + 0.3 * rng.normal(size=x.shape), groups


@pytest.mark.parametrize("n", [1, 30, 200])
@pytest.mark.parametrize("alpha", [0.5, 0.05, 1e-12, 1e-200])
def test_cluster_deviation_is_the_infimum_of_9_1(n, alpha):
    # Reference: minimise s over s_0 in s = s_0 + (integral of exp(-2 n u^2) from s_0) / alpha.
    start = mp.sqrt(mp.log(2) / (2 * n))

    def s(s0):
        return s0 + mp.sqrt(mp.pi / (8 * n)) * mp.erfc(s0 * mp.sqrt(2 * n)) / mp.mpf(alpha)

    end = start + 40 / mp.sqrt(n)
    low, high = start, end
    for _ in range(200):  # s is convex in s_0
        a, b = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, b) if s(a) <= s(b) else (a, high)
    exact = s(low)
    got = clustered.dkw_deviation(n, alpha=alpha)
    assert exact * (1 - mp.mpf("1e-15")) <= got <= exact * (1 + mp.mpf("1e-12"))


def test_cluster_deviation_at_the_printed_example():
    assert clustered.dkw_deviation(200, alpha=0.05) == pytest.approx(0.099, abs=5e-4)
    assert clustered.dkw_deviation(200, alpha=0.05, clustered=False) == pytest.approx(0.087, abs=5e-4)
    assert clustered.dkw_deviation(200, alpha=0.9) == clustered.dkw_deviation(200, alpha=0.5)


def test_token_weighted_limits_against_their_references():
    rng = np.random.default_rng(1)
    m, rows = rng.beta(1, 5, (25, 2)), rng.integers(1, 10, 25)
    got = clustered.token_weighted(m, rows, max_rows=9, alpha=0.05)
    for j in range(2):
        exact = limits_reference.betting(m[:, j].tolist(), 0.05, weights=(rows / 9).tolist())
        assert exact <= got[j] <= float(exact) + 1e-11
    s = np.sqrt(np.log(20) / 50)
    hoeffding = (np.mean(rows[:, None] * m, axis=0) + 9 * s) / rows.mean()
    limit = clustered.token_weighted(m, rows, max_rows=9, alpha=0.05, method="hoeffding")
    np.testing.assert_allclose(limit, np.minimum(1, hoeffding), rtol=1e-12)
    assert (limit >= np.minimum(1, hoeffding)).all()


def test_images_of_equal_size_make_both_weightings_the_same():
    from bounds import confidence

    m = np.random.default_rng(2).beta(1, 5, 30)
    np.testing.assert_allclose(
        clustered.token_weighted(m, np.full(30, 7), max_rows=7, alpha=0.05),
        confidence.betting(m, alpha=0.05),
        rtol=1e-12,
    )


def test_one_row_per_group_draws_each_row_of_an_image_equally_often():
    groups = np.array(["b", "a", "b", "b", "a"])
    rng = np.random.default_rng(0)
    draws = np.array([clustered.one_row_per_group(groups, rng=rng) for _ in range(3000)])
    assert set(draws[:, 0]) == {1, 4}
    assert set(draws[:, 1]) == {0, 2, 3}
    counts = np.bincount(draws[:, 1], minlength=5)[[0, 2, 3]]
    # Chi-square with 2 degrees of freedom; 13.8 is exceeded with probability .001.
    assert ((counts - 1000) ** 2 / 1000).sum() < 13.8


def test_image_event_makes_units_that_clopper_pearson_accepts():
    import bounds

    x, y, groups = states()
    close = rd.proximal(x, y, t=0.05, groups=groups)
    with pytest.raises(ValueError, match="clopper-pearson"):
        bounds.certify(close, method="clopper-pearson")
    event = clustered.image_event(close, at_least=0.5)
    assert set(np.unique(event.per_unit)) <= {0.0, 1.0}
    assert event.value == np.mean(close.per_unit >= 0.5)
    certificate = bounds.certify(event, method="clopper-pearson")
    assert certificate.low <= event.value <= certificate.high
    assert "in at least 0.5 of an image" in certificate.guarantee
    several = clustered.image_event(rd.proximal(x, y, t=[0.02, 0.05], groups=groups), at_least=0.5)
    assert several.value.shape == (2,)


def test_bad_input_is_refused_in_words():
    m, rows = [0.1, 0.2], [3, 4]
    with pytest.raises(ValueError, match="max_rows must hold"):
        clustered.token_weighted(m, rows, max_rows=3, alpha=0.05)
    with pytest.raises(ValueError, match="1 to max_rows"):
        clustered.token_weighted(m, [0, 4], max_rows=4, alpha=0.05)
    with pytest.raises(ValueError, match="one number of tokens per image"):
        clustered.token_weighted(m, [3], max_rows=4, alpha=0.05)
    with pytest.raises(ValueError, match="token-weighted mean: expected one of betting, hoeffding"):
        clustered.token_weighted(m, rows, max_rows=4, alpha=0.05, method="chernoff-kl")
    with pytest.raises(ValueError, match="at least one unit"):
        clustered.dkw_deviation(0, alpha=0.05)
    x, y, groups = states()
    with pytest.raises(ValueError, match="expected a proximal Estimate"):
        clustered.image_event(rd.geometric(x, y, groups=groups), at_least=0.5)
    with pytest.raises(ValueError, match="at_least"):
        clustered.image_event(rd.proximal(x, y, groups=groups), at_least=2)


@pytest.mark.parametrize("rng", [True, "0", -1, 1.5])
def test_a_seed_that_is_none_is_refused_by_name(rng):
    with pytest.raises((TypeError, ValueError), match="rng: expected"):
        clustered.one_row_per_group(["a", "b", "a"], rng=rng)
