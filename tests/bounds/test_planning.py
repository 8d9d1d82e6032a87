"""Sample-size planning: exact and simulated power, refusals, and the table of lowest certifiable losses."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

import bounds
from bounds import confidence
from bounds.planning import planned_power


@pytest.mark.parametrize(("loss", "rate", "power"), [(0.05, 0.02, 0.8), (0.1, 0.05, 0.9), (0.05, 0.0, 0.8)])
def test_clopper_pearson_needs_exactly_this_many(loss, rate, power):
    n = bounds.images_needed(loss, rate, power=power, method="clopper-pearson")

    def exact(n):
        limits = [float(confidence.clopper_pearson(np.arange(n) < k, alpha=0.05)) for k in range(min(n, 60) + 1)]
        return sum(binom.pmf(k, n, rate) for k, limit in enumerate(limits) if limit <= loss)

    assert exact(n) >= power > exact(n - 1)
    assert planned_power(n, loss, rate, method="clopper-pearson") == pytest.approx(exact(n), rel=1e-9)
    if rate == 0.0:
        assert n == 59  # the rule of three: .95 = 1 - .95^59


def test_simulated_power_of_betting_is_within_5_percent_of_the_asked_power():
    n = bounds.images_needed(0.05, 0.02)
    d = np.random.default_rng(1).random((n, 2000)) < 0.02  # other samples than those that planned
    success = (confidence.betting(d, alpha=0.05) <= 0.05).mean()
    assert success == pytest.approx(0.8, abs=0.05)
    assert (confidence.betting_rejects(d, 0.05, alpha=0.05) == (confidence.betting(d, alpha=0.05) <= 0.05)).all()


def test_paired_losses_have_a_power_within_5_percent_too():
    n = bounds.images_needed(0.1, 0.05, power=0.7, paired=0.5)
    rng = np.random.default_rng(2)
    d = (rng.random((n, 1000)) < 0.05) * np.where(rng.random((n, 1000)) < 0.5, -1.0, 1.0)
    success = (confidence.upper_limit(d, alpha=0.05, support=(-1.0, 1.0)) <= 0.1).mean()
    assert success == pytest.approx(0.7, abs=0.05)


@pytest.mark.parametrize(("n", "lowest"), [(500, 0.0069), (1000, 0.0035), (2000, 0.0017)])
def test_the_table_of_lowest_certifiable_losses_without_discordant_answers(n, lowest):
    got = float(confidence.upper_limit(np.zeros(n), alpha=0.05, support=(-1.0, 1.0)))
    assert got == pytest.approx(lowest, abs=5.1e-5)
    assert planned_power(n, lowest + 1e-4, 0.0, paired=0.5) == 1.0
    assert planned_power(n, lowest - 1e-4, 0.0, paired=0.5) == 0.0
    assert bounds.images_needed(lowest + 1e-4, 0.0, paired=0.5) <= n


def test_promises_that_no_sample_keeps_are_refused():
    with pytest.raises(ValueError, match=r"more than the expected loss 0\.06, got 0\.05"):
        bounds.images_needed(0.05, 0.06)
    with pytest.raises(ValueError, match="no number of images"):
        bounds.images_needed(0.05, 0.05)
    assert bounds.images_needed(0.05, 0.05, paired=0.5) > 0
    with pytest.raises(ValueError, match="1,000,000 images"):
        bounds.images_needed(1e-7, 0.0, method="clopper-pearson")
    with pytest.raises(ValueError, match="paired losses"):
        bounds.images_needed(0.05, 0.02, method="clopper-pearson", paired=0.5)
    for bad in ({"power": 1.0}, {"confidence": 1.0}, {"rate": -0.1}, {"loss": float("nan")}, {"method": "hoeffding"}):
        with pytest.raises(ValueError, match="expected"):
            bounds.images_needed(**{"loss": 0.05, "rate": 0.02, **bad})
