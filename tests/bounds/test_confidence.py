"""Each confidence limit against a reference, published tables, its valid side, and the hypotheses behind it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bounds import confidence
from bounds.confidence import betting_limits
from bounds.confidence.capital import anytime_stakes, fixed_n_stakes, log_capital
from tests.oracles import limits_reference

GENERAL = [name for name in confidence.METHODS if name != "clopper-pearson"]
EVERY = list(confidence.METHODS)


def reference_of(name):
    return getattr(limits_reference, name.replace("-", "_"))


def column(seed, n, kind):
    rng = np.random.default_rng(seed)
    return {
        "beta": lambda: rng.beta(0.5, 4.0, n),
        "binary": lambda: (rng.random(n) < 0.2).astype(float),
        "fractions": lambda: rng.integers(0, 7, n) / 6,
        "near one": lambda: 1.0 - rng.beta(0.3, 9.0, n),
    }[kind]()


PAIRS = [(name, kind) for name in GENERAL for kind in ("beta", "binary", "fractions", "near one")]


@pytest.mark.parametrize(("name", "kind"), [*PAIRS, ("clopper-pearson", "binary")])
@pytest.mark.parametrize(("n", "alpha"), [(1, 0.05), (2, 0.3), (13, 0.05), (40, 1e-4), (25, 1e-40)])
def test_agrees_with_its_reference_on_the_valid_side(name, kind, n, alpha):
    d = column(n, n, kind)
    got = float(confidence.METHODS[name](d, alpha=alpha))
    exact = reference_of(name)([float(v) for v in d], alpha)
    assert got >= exact - (0 if name != "hoeffding-bentkus" else 1e-15)
    assert got <= min(1.0, float(exact) + 1e-11)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    # Exact 95% two-sided intervals as printed in Clopper and Pearson's table and in standard tables since.
    [(0, 20, 0.0, 0.1684), (2, 10, 0.0252, 0.5561), (5, 50, 0.0333, 0.2181), (10, 10, 0.6915, 1.0)],
)
def test_clopper_pearson_matches_the_printed_tables(k, n, low, high):
    d = np.arange(n) < k
    got = confidence.interval(d, alpha=0.05, method="clopper-pearson")
    np.testing.assert_allclose(got, (low, high), atol=5.1e-5)


def test_worked_example_of_a_constant_small_distance():
    # n = 200 images, all at cosine distance .02 of 2, alpha = .05: theory, section 9.1 prints .193, .107, .076, .051.
    d = np.full(200, 0.02)
    got = {name: float(confidence.upper_limit(d, alpha=0.05, method=name, support=(0.0, 2.0))) for name in GENERAL}
    assert got["hoeffding"] == pytest.approx(0.193, abs=5e-4)
    assert got["empirical-bernstein"] == pytest.approx(0.107, abs=5e-4)
    assert got["chernoff-kl"] == pytest.approx(0.076, abs=5e-4)
    assert got["betting"] == pytest.approx(0.053, abs=5e-4)  # .051 if a bet may lose everything
    assert "betting" in min(got, key=got.__getitem__)


units = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=30)
levels = st.floats(1e-9, 0.9)


@given(units, levels)
def test_order_of_the_methods(d, alpha):
    upper = {name: float(confidence.METHODS[name](d, alpha=alpha)) for name in GENERAL}
    assert upper["chernoff-kl"] <= upper["hoeffding"] + 1e-12
    assert upper["hoeffding-bentkus"] <= upper["chernoff-kl"] + 1e-12
    if alpha <= 0.5:
        assert upper["anderson-dkw"] <= upper["hoeffding"] + 1e-12
    # Except for betting, whose limit may fall below the mean of a sample that drifts.
    assert all(limit >= np.mean(d) for name, limit in upper.items() if alpha <= 0.5 and "betting" not in name)


@given(units, levels, st.sampled_from(GENERAL))
def test_limits_stay_in_the_support_and_order_themselves(d, alpha, name):
    low, high = confidence.interval(d, alpha=alpha, method=name)
    assert 0.0 <= low <= high <= 1.0


# The stakes of betting move with alpha, so it promises no order.
@given(units, st.sampled_from([m for m in GENERAL if "betting" not in m]), st.floats(1e-6, 0.4), st.floats(1, 2))
def test_less_error_means_a_wider_limit(d, name, alpha, factor):
    strict = confidence.upper_limit(d, alpha=alpha, method=name)
    assert strict >= confidence.upper_limit(d, alpha=min(0.5, alpha * factor), method=name) - 1e-12


# The limit of betting-star is a point of a grid, which rounding may move by a step.
@given(units, levels, st.sampled_from([m for m in GENERAL if m != "betting-star"]), st.floats(-3, 3), st.floats(0.1, 5))
def test_lower_limit_is_the_reflected_upper_limit(d, alpha, name, shift, width):
    support = (shift, shift + width)
    x = np.clip(shift + width * np.asarray(d), *support)
    mirrored = np.clip(2 * shift + width - x, *support)
    low = confidence.lower_limit(x, alpha=alpha, method=name, support=support)
    high = confidence.upper_limit(mirrored, alpha=alpha, method=name, support=support)
    assert low == pytest.approx(2 * shift + width - high, abs=1e-9)


@pytest.mark.parametrize("name", EVERY)
def test_vectorised_over_layers_equals_one_column_at_a_time(name):
    rng = np.random.default_rng(0)
    d = (rng.random((50, 4, 3)) < rng.random((4, 3))).astype(float)
    together = confidence.upper_limit(d, alpha=0.01, method=name)
    alone = [[confidence.upper_limit(d[:, i, j], alpha=0.01, method=name) for j in range(3)] for i in range(4)]
    assert together.shape == (4, 3)
    np.testing.assert_array_equal(together, alone)


def test_blocks_of_columns_do_not_change_betting(monkeypatch):
    d = np.random.default_rng(1).random((40, 9))
    whole = confidence.betting(d, alpha=0.05)
    monkeypatch.setattr(betting_limits, "COLUMN_BLOCK", 100)
    np.testing.assert_array_equal(confidence.betting(d, alpha=0.05), whole)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("alpha", [0.4, 0.05, 1e-300])
def test_one_unit_and_all_equal_units(name, value, alpha):
    for n in (1, 30):
        low, high = confidence.interval(np.full(n, value), alpha=alpha, method=name)
        assert low <= value <= high
        # With one unit 0, any mean up to 1 - alpha/2 gives it with probability at least alpha/2.
        exact = -math.expm1(math.log(alpha / 2) / n)
        assert (high >= exact) if value == 0.0 else (low <= 1 - exact)


def test_capital_is_a_martingale_of_mean_one_so_that_no_bet_looks_ahead():
    # All 2^7 binary histories, each weighted by its probability.
    n, alpha = 7, 0.05
    histories = np.array(list(itertools.product([0.0, 1.0], repeat=n)))
    ones = np.ones_like(histories)
    for mu in (0.1, 0.5, 0.8):
        weight = np.prod(np.where(histories == 1, mu, 1 - mu), axis=1)
        stake = fixed_n_stakes(histories, ones, alpha)
        capital = np.exp(log_capital(histories, ones, stake, np.full(len(histories), mu)))
        np.testing.assert_allclose(weight @ capital, 1.0, rtol=1e-12)
        # Ville, and the limit that follows from it: exact error of the whole procedure.
        assert weight @ (capital.max(axis=1) >= 1 / alpha) <= alpha
        assert weight @ (confidence.betting(histories.T, alpha=alpha) < mu) <= alpha


def test_weighted_capital_is_a_martingale_when_size_and_value_depend():
    # Three kinds of image: (weight, value); long images are far. theta = E[w d] / E[w].
    kinds = [(0.2, 0.0, 0.5), (1.0, 0.9, 0.3), (0.5, 0.3, 0.2)]
    theta = sum(p * w * d for w, d, p in kinds) / sum(p * w for w, d, p in kinds)
    rows = list(itertools.product(kinds, repeat=6))
    w, d, p = (np.array([[unit[i] for unit in row] for row in rows]) for i in range(3))
    stake = fixed_n_stakes(d, w, 0.05)
    capital = np.exp(log_capital(d, w, stake, np.full(len(rows), theta)))
    np.testing.assert_allclose(p.prod(axis=1) @ capital, 1.0, rtol=1e-12)


def test_capital_grows_with_the_candidate_mean():
    rng = np.random.default_rng(2)
    d, w = rng.random((1, 30)), rng.random((1, 30))
    stake = fixed_n_stakes(d, w, 0.05)
    grid = np.linspace(0, 1, 200)
    capital = [log_capital(d, w, stake, np.array([m])).max() for m in grid]
    assert (np.diff(capital) >= -1e-12).all()


@given(units, st.integers(0, 29), st.floats(0, 1))
def test_running_minimum_only_improves_with_a_longer_sample_of_the_same_bets(d, cut, last):
    # What was rejected after i units stays rejected whatever comes: K is a running maximum.
    d = np.asarray(d)
    base = d.copy()
    base[min(cut, d.size - 1) :] = 1.0  # the worst possible continuation
    mixed = base.copy()
    mixed[min(cut, d.size - 1) :] = last
    assert confidence.betting(mixed, alpha=0.05) <= confidence.betting(base, alpha=0.05) + 1e-12


@given(units, levels, st.one_of(st.none(), st.integers(1, 40)))
def test_more_units_never_raise_the_anytime_limit(d, alpha, horizon):
    # One martingale for all lengths: what was rejected stays rejected, so the last limit is the least of all looks.
    limits = [float(confidence.betting_anytime(d[:n], alpha=alpha, horizon=horizon)) for n in range(1, len(d) + 1)]
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(limits))


def test_the_anytime_capital_is_a_martingale_and_knows_no_length():
    n, alpha = 7, 0.05
    histories = np.array(list(itertools.product([0.0, 1.0], repeat=n)))
    ones = np.ones_like(histories)
    for horizon in (None, 3, 20):
        stake = anytime_stakes(histories, ones, alpha, horizon)
        short = anytime_stakes(histories[:, :4], ones[:, :4], alpha, horizon)
        np.testing.assert_array_equal(stake[:, :4], short)
        for mu in (0.1, 0.5, 0.8):
            weight = np.prod(np.where(histories == 1, mu, 1 - mu), axis=1)
            capital = np.exp(log_capital(histories, ones, stake, np.full(len(histories), mu)))
            np.testing.assert_allclose(weight @ capital, 1.0, rtol=1e-12)
            assert weight @ (capital.max(axis=1) >= 1 / alpha) <= alpha


def test_the_star_bets_miss_at_most_alpha_over_all_histories():
    n, alpha = 8, 0.2
    histories = np.array(list(itertools.product([0.0, 1.0], repeat=n)))
    limit = confidence.betting_star(histories.T, alpha=alpha)
    for mu in np.linspace(0.02, 0.98, 49):
        weight = np.prod(np.where(histories == 1, mu, 1 - mu), axis=1)
        assert weight @ (limit < mu) <= alpha
    assert (limit < 1).mean() > 0.9


def test_the_star_bets_are_narrower_where_the_variance_is_large():
    rng = np.random.default_rng(5)
    coins = (rng.random((300, 40)) < 0.5).astype(float)
    excess = [f(coins, alpha=0.05).mean() - 0.5 for f in (confidence.betting, confidence.betting_star)]
    assert excess[1] < 0.9 * excess[0]


def test_a_horizon_equal_to_n_gives_the_fixed_n_limit():
    d = column(0, 60, "fractions")
    assert confidence.betting_anytime(d, alpha=0.05, horizon=60) == confidence.betting(d, alpha=0.05)
    with pytest.raises(ValueError, match="horizon: expected an integer >= 1, got 0"):
        confidence.betting_anytime(d, alpha=0.05, horizon=0)


def test_crossing_betting_limits_become_their_hull():
    drifting = np.repeat([0.0, 1.0], 500)
    low = confidence.lower_limit(drifting, alpha=0.025)
    high = confidence.upper_limit(drifting, alpha=0.025)
    assert low > high
    assert confidence.interval(drifting, alpha=0.05) == (high, low)


@pytest.mark.parametrize("name", GENERAL)
def test_limits_are_not_trivially_wide(name):
    d = np.random.default_rng(3).beta(2, 20, 1000)
    low, high = confidence.interval(d, alpha=0.05, method=name)
    assert high - low < 0.09


def test_bad_input_is_refused_in_words():
    ok = [0.1, 0.2]
    with pytest.raises(ValueError, match=r"clopper-pearson: expected units that are 0 or 1"):
        confidence.clopper_pearson(ok, alpha=0.05)
    with pytest.raises(ValueError, match="alpha"):
        confidence.hoeffding(ok, alpha=0.0)
    with pytest.raises(ValueError, match="alpha"):
        confidence.betting(ok, alpha=1.0)
    with pytest.raises(ValueError, match="method: expected one of"):
        confidence.upper_limit(ok, alpha=0.05, method="wald")
    with pytest.raises(ValueError, match=r"expected numbers in \[0, 1\]"):
        confidence.chernoff_kl([0.1, 1.2], alpha=0.05)
    with pytest.raises(ValueError, match=r"expected numbers in \[0.0, 1.0\]"):
        confidence.upper_limit([0.1, 1.2], alpha=0.05)
    with pytest.raises(ValueError, match="NaN"):
        confidence.upper_limit([0.1, math.nan], alpha=0.05)
    with pytest.raises(ValueError, match="NaN"):
        confidence.hoeffding([0.1, math.nan], alpha=0.05)
    with pytest.raises(ValueError, match="n >= 1"):
        confidence.upper_limit([], alpha=0.05)
    with pytest.raises(ValueError, match="n >= 1"):
        confidence.betting(0.3, alpha=0.05)
    with pytest.raises(ValueError, match="unbounded"):
        confidence.upper_limit(ok, alpha=0.05, support=(0.0, math.inf))
    with pytest.raises(ValueError, match="low <= high of a finite width"):
        confidence.upper_limit(ok, alpha=0.05, support=(1.0, 0.0))
    with pytest.raises(ValueError, match="one weight per value"):
        confidence.betting(ok, alpha=0.05, weights=[0.1])


@pytest.mark.parametrize("method", confidence.METHODS)
def test_a_support_of_one_number_is_the_limit(method):
    values = np.full(3, 0.3)
    assert confidence.interval(values, alpha=0.05, method=method, support=(0.3, 0.3)) == (0.3, 0.3)
    with pytest.raises(ValueError, match="widen the support"):
        confidence.interval(values, alpha=0.05, method=method, support=(0.4, 0.4))
    with pytest.raises(ValueError, match="of a finite width"):
        confidence.interval(values, alpha=0.05, method=method, support=(-1e308, 1e308))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda v: confidence.betting(np.ma.array(v, mask=[1, 0]), alpha=0.1), ValueError, "^values: .*masked"),
        (lambda v: confidence.upper_limit(np.ma.array(v, mask=[1, 0]), alpha=0.1), ValueError, "^values: .*masked"),
        (lambda v: confidence.hoeffding(["a", "b"], alpha=0.1), TypeError, "^values: expected real numbers"),
        (lambda v: confidence.hoeffding(np.asarray(v) + 0j, alpha=0.1), TypeError, "^values: expected real numbers"),
        (lambda v: confidence.betting(v, alpha=0.1, weights=[2.0, 1.0]), ValueError, "^weights: expected numbers in"),
        (lambda v: confidence.betting(v, alpha=0.1, weights=[math.nan, 1.0]), ValueError, "^weights: expected finite"),
        (lambda v: confidence.betting_rejects(v, 2.0, alpha=0.1), ValueError, "^candidate: expected a number in"),
        (lambda v: confidence.betting_rejects(v, math.nan, alpha=0.1), ValueError, "^candidate: expected a number in"),
        (lambda v: confidence.betting_anytime(v, alpha=0.1, horizon=1.5), ValueError, "^horizon: expected an integer"),
    ],
)
def test_what_the_limits_cannot_read_is_refused_under_its_own_name(call, error, words):
    with pytest.raises(error, match=words):
        call([0.2, 0.4])
