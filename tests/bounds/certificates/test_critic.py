"""The certified lower bound of `critic_information` holds for good critics and for bad ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

import bounds
import redundancy as rd

RHO = 0.8
TRUTH = -0.5 * math.log(1 - RHO**2)


class LogRatio:
    """The log density ratio of a Gaussian pair of correlation RHO, times a factor: the best critic has factor 1."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def log_ratio(self, x, y):
        exact = TRUTH - ((y - RHO * x) ** 2 / (1 - RHO**2) - y**2)[:, 0] / 2
        return self.factor * exact


def pair(n, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 1))
    return x, RHO * x + math.sqrt(1 - RHO**2) * rng.normal(size=(n, 1))


def estimate(n, seed, critic, **options):
    x, y = pair(n, seed)
    return rd.critic_information(
        x, y, members=(), critics={"given": lambda *_: critic}, folds=2, rng=seed, on_doubt="ignore", **options
    )


@pytest.mark.parametrize(("factor", "repeats"), [(1.0, 200), (3.0, 50)])
def test_limit_exceeds_the_truth_no_more_often_than_stated(factor, repeats):
    alpha = 0.2
    above = sum(
        bounds.certify(estimate(120, seed, LogRatio(factor)), 1 - alpha, side="lower").low > TRUTH
        for seed in range(repeats)
    )
    assert above <= binom.ppf(1 - 1e-4, repeats, alpha)


def test_limit_of_fitted_copulas_holds_and_says_something():
    lows = []
    for seed in range(20):
        x, y = pair(1000, seed)
        fitted = rd.critic_information(x, y, members=("gaussian",), rng=seed)
        lows.append(bounds.certify(fitted, side="lower").low)
    assert sum(low > TRUTH for low in lows) <= binom.ppf(1 - 1e-4, 20, 0.05)
    assert np.median(lows) > TRUTH / 2


def test_limit_holds_for_grouped_rows():
    above = 0
    for seed in range(30):
        x, y = pair(480, seed)
        image = np.repeat(np.arange(120), 4)
        # rows of one image share everything: 120 units, not 480
        x, y = x[image], y[image]
        grouped = rd.critic_information(x, y, members=("gaussian",), groups=image, folds=2, rng=seed, on_doubt="ignore")
        certificate = bounds.certify(grouped, 0.8, side="lower")
        above += certificate.low > TRUTH
    assert certificate.n == 120
    assert "random row of a random image" in certificate.guarantee
    assert above <= binom.ppf(1 - 1e-4, 30, 0.2)


def test_a_useless_critic_certifies_nothing():
    certificate = bounds.certify(estimate(400, 0, LogRatio(-1.0)), side="lower")
    assert certificate.low == 0.0
    assert certificate.high == math.inf


def test_independent_layers_are_rarely_certified_to_share():
    rng = np.random.default_rng(0)
    lows = [
        bounds.certify(
            rd.critic_information(
                rng.normal(size=(200, 3)), rng.normal(size=(200, 3)), members=("gaussian",), rng=0, on_doubt="ignore"
            ),
            0.8,
        ).low
        for _ in range(30)
    ]
    assert sum(low > 0 for low in lows) <= binom.ppf(1 - 1e-4, 30, 0.2)


@given(st.integers(0, 10_000), st.floats(0.1, 20.0))
def test_every_function_of_a_pair_bounds_the_information_from_below(seed, size):
    rng = np.random.default_rng(seed)
    joint = rng.dirichlet(np.full(12, 0.3)).reshape(3, 4) + 1e-12
    joint /= joint.sum()
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    information = float((joint * np.log(joint / product)).sum())
    g = size * rng.normal(size=joint.shape)
    assert 1 + (joint * g).sum() - (product * np.exp(g)).sum() <= information + 1e-9


def test_certificates_that_hold_together_are_wider():
    fitted = estimate(1000, 0, LogRatio())
    alone, together = (bounds.certify(fitted, side="lower", simultaneous=m).low for m in (1, 20))
    assert 0 < together < alone < TRUTH


@pytest.mark.parametrize("side", ["both", "upper"])
def test_other_sides_are_refused(side):
    with pytest.raises(ValueError, match=r"side: expected 'lower', got .*no distribution-free upper bound"):
        bounds.certify(estimate(100, 0, LogRatio()), side=side)


def test_an_estimate_without_pairs_is_refused():
    x, y = pair(200, 0)
    with pytest.raises(ValueError, match="critic_information, whose held-out pairs are certified"):
        bounds.certify_critic_information(rd.ksg(x, y))
