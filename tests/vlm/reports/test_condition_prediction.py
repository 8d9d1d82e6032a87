"""How well conditions predicted: against scikit-learn, exact binomials, and worlds that know the answer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, kendalltau, spearmanr
from sklearn.metrics import roc_auc_score

from vlm.reports import area_under_curve, bootstrap, prediction, share
from vlm.reports.condition_prediction import RATES
from vlm.table import Table


def cells(closeness, change, *, attention=None, datasets=None, model="m"):
    n = len(change)
    nothing = np.full(n, np.nan)
    return Table(
        {
            "model": np.full(n, model),
            "dataset": np.array(datasets if datasets is not None else [f"d{i}" for i in range(n)]),
            "closeness": np.asarray(closeness, dtype=float),
            "attention": nothing if attention is None else np.asarray(attention, dtype=float),
            "change": np.asarray(change, dtype=float),
            "change_low": np.asarray(change, dtype=float) - 0.01,
            "change_high": np.asarray(change, dtype=float) + 0.01,
        }
    )


def test_a_worked_example():
    found = prediction(
        cells([0.99, 0.96, 0.95, 0.94, 0.5, np.nan], [0.0, -0.02, -0.03, -0.02, -0.4, -0.1]), resamples=50
    )
    counts = {(row["condition"], row["outcome"]): row["count"] for row in found.confusion.rows()}
    assert counts == {
        ("met", "harmless"): 2,
        ("met", "degraded"): 1,
        ("not met", "harmless"): 1,
        ("not met", "degraded"): 1,
    }
    assert [(row["count"], row["of"]) for row in found.rates.rows()] == [(2, 3), (1, 2), (2, 3), (1, 2)]
    assert [row["rate"] for row in found.rates.rows()] == list(RATES)
    assert len(found.cells) == 5  # the last one has nothing measured
    assert "harmless when met: 2 of 3 = 0.67" in found.sentences()[0]


def test_shares_over_units_account_for_dependent_cells():
    """Ten copies of each of twelve units are twelve units, whatever the number of cells."""
    close, change = np.tile([0.99, 0.99, 0.5], 4), np.tile([0.0, -0.1, -0.1], 4)
    names = [f"d{i}" for i in range(12)]
    once, often = (
        prediction(cells(np.repeat(close, n), np.repeat(change, n), datasets=np.repeat(names, n)), resamples=300)
        for n in (1, 10)
    )
    for one, ten in zip(once.rates.rows(), often.rates.rows(), strict=True):
        assert (one["units_low"], one["units_high"]) == (ten["units_low"], ten["units_high"])
        assert 10 * one["count"] == ten["count"]
    first = next(often.rates.rows())
    assert first["units_high"] - first["units_low"] > 2 * (first["high"] - first["low"])
    assert first["units_low"] <= 0.5 <= first["units_high"]
    certain = next(row for row in often.rates.rows() if row["value"] == 1)
    assert (certain["units_low"], certain["units_high"]) == (0.0, 1.0)  # no spread says nothing
    assert "over units [" in often.sentences()[0]


def test_both_conditions_must_hold_and_an_unmeasured_one_is_left_out():
    both = cells([0.99, 0.99, 0.5, np.nan], [0.0] * 4, attention=[0.05, 0.2, 0.05, 0.05])
    assert prediction(both, resamples=20).cells["met"].tolist() == [True, False, False, True]
    predictors = set(prediction(both, resamples=20).ranking["predictor"])
    assert predictors == {"closeness", "attention", "both (smaller slack)"}
    assert set(prediction(cells([0.9, 1.0], [0, 0]), resamples=20).ranking["predictor"]) == {"closeness"}


def test_licences_count_what_each_criterion_allows_and_its_worst_loss():
    table = cells([0.99, 0.99, 0.99, 0.5], [0.0, -0.3, -0.01, 0.0], attention=[0.05, 0.5, 0.05, 0.05])
    named = Table(
        {
            **table.columns,
            "attention_answer": np.full(4, 0.05),
            "reading": np.full(4, "all text tokens, largest head"),
        }
    )
    found = prediction(named, resamples=20)
    rows = {row["criterion"]: (row["licensed"], row["degraded"], row["worst"]) for row in found.licences.rows()}
    assert rows == {
        "conditions (all text tokens, largest head)": (2, 0, -0.01),
        "conditions (answer token, mean over heads)": (3, 1, -0.3),
        "redundancy alone": (3, 1, -0.3),
    }
    assert "conditions (answer token, mean over heads): licenses 3, 1 of them degraded" in found.sentences()[-2]
    nothing = prediction(cells([0.5], [0.0], attention=[0.05]), resamples=20)
    assert np.isnan(nothing.licences["worst"]).all()
    assert len(nothing.calibration) == 0


def test_undecided_cells_are_those_whose_interval_holds_the_tolerance():
    found = prediction(cells([0.99] * 3, [-0.005, -0.015, -0.05]), tolerance=0.02, resamples=20)
    assert found.settings.undecided == 1


@given(count=st.integers(0, 30), extra=st.integers(0, 30))
def test_shares_are_clopper_pearson(count, extra):
    of = count + extra
    value, low, high = share(count, of)
    if not of:
        assert np.isnan(value)
        assert (low, high) == (0.0, 1.0)
        return
    exact = binomtest(count, of).proportion_ci(0.95, method="exact")
    assert value == count / of
    assert low == pytest.approx(exact.low, abs=1e-9)
    assert high == pytest.approx(exact.high, abs=1e-9)
    assert low <= exact.low + 1e-15
    assert high >= exact.high - 1e-15


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_auc_is_that_of_scikit_learn(pairs):
    score, positive = zip(*pairs, strict=True)
    if len(set(positive)) < 2:
        assert np.isnan(area_under_curve(score, positive))
    else:
        assert area_under_curve(score, positive) == pytest.approx(roc_auc_score(positive, score), abs=1e-12)


def test_ranking_is_that_of_scipy_and_more_closeness_means_less_loss():
    rng = np.random.default_rng(1)
    closeness = rng.random(40)
    change = -0.5 * (1 - closeness) + 0.1 * rng.standard_normal(40)
    found = prediction(cells(closeness, change), tolerance=0.2, resamples=300)
    value = {row["statistic"]: row for row in found.ranking.rows()}
    assert value["Spearman"]["value"] == pytest.approx(spearmanr(closeness, change).statistic)
    assert value["Kendall"]["value"] == pytest.approx(kendalltau(closeness, change).statistic)
    assert value["AUC"]["value"] == pytest.approx(roc_auc_score(change < -0.2, -closeness))
    assert all(0 < row["low"] < row["value"] < row["high"] <= 1 for row in value.values())


def test_attention_ranks_the_other_way_round():
    change = np.linspace(-0.4, 0, 12)
    found = prediction(cells(np.full(12, np.nan), change, attention=np.linspace(0.9, 0.0, 12)), resamples=50)
    assert {row["predictor"] for row in found.ranking.rows()} == {"attention"}
    assert all(row["value"] == pytest.approx(1.0) for row in found.ranking.rows())


def test_perfect_order_and_single_units_give_the_whole_range():
    """A bootstrap without spread would claim certainty from a handful of units."""
    found = prediction(cells(np.linspace(0, 1, 12), np.linspace(-0.4, 0, 12)), tolerance=0.2, resamples=100)
    auc = next(row for row in found.ranking.rows() if row["statistic"] == "AUC")
    assert (auc["value"], auc["undefined"]) == (1.0, 0)
    assert (auc["low"], auc["high"]) == (0.0, 1.0)
    alone = prediction(cells([0.1, 0.6, 0.9], [-0.3, -0.4, 0.0], datasets=["d"] * 3), resamples=100)
    assert all(row["low"] in (-1.0, 0.0) and row["high"] == 1.0 for row in alone.ranking.rows())


def test_undefined_resamples_widen_the_interval():
    def statistic(index):
        return np.nan if 0 not in index else float(np.mean(index)) / 10

    low, high, undefined = bootstrap(statistic, np.arange(8), support=(-1.0, 1.0), resamples=500)
    assert undefined > 100
    assert (low, high) == (-1.0, 1.0)


def test_whole_units_are_drawn():
    """Cells of a unit repeat each other: ten copies of six units are six units."""
    rng = np.random.default_rng(0)
    x, noise = rng.random(6), 0.3 * rng.standard_normal(6)

    def correlation(index):
        values = np.repeat(x, 10)[index], np.repeat(x + noise, 10)[index]
        return np.nan if np.ptp(values[0]) == 0 else float(np.corrcoef(*values)[0, 1])

    grouped = bootstrap(correlation, np.repeat(np.arange(6), 10), support=(-1.0, 1.0), resamples=400)
    pretended = bootstrap(correlation, np.arange(60), support=(-1.0, 1.0), resamples=400)
    assert grouped[1] - grouped[0] > 2 * (pretended[1] - pretended[0])


def test_interval_covers_the_truth_about_as_often_as_stated():
    """AUC of shifted normals, 40 units of two dependent cells: 0.760 is the truth at a shift of one."""
    hits = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        degraded = np.repeat(np.arange(40) % 2 == 0, 2)
        score = np.repeat(rng.standard_normal(40), 2) + degraded
        low, high, _ = bootstrap(
            lambda i, s=score, d=degraded: area_under_curve(s[i], d[i]),
            np.repeat(np.arange(40), 2),
            support=(0.0, 1.0),
            resamples=200,
            seed=seed,
        )
        hits += low <= 0.7602 <= high
    assert 50 <= hits <= 60  # binomial(60, 0.95) is below 51 once in 500 times; the percentile interval is a bit short


def test_equal_seeds_give_equal_tables_and_the_order_of_cells_is_free_for_shares():
    rng = np.random.default_rng(2)
    table = cells(rng.random(20), -rng.random(20))
    one, two = (prediction(table, resamples=100, seed=3) for _ in range(2))
    assert one.ranking.text(17) == two.ranking.text(17)
    order = rng.permutation(20)
    shuffled = prediction(Table({n: v[order] for n, v in table.columns.items()}), resamples=100)
    assert shuffled.rates.text(17) == one.rates.text(17)


def test_bad_input():
    with pytest.raises(ValueError, match="measured condition"):
        prediction(cells([np.nan], [0.0]))
    with pytest.raises(ValueError, match="tolerance"):
        prediction(cells([0.9], [0.0]), tolerance=2)
    with pytest.raises(KeyError, match="no column 'closeness'"):
        prediction(Table({"change": np.array([0.1])}))


def test_assumptions_name_the_unit_and_warn_of_few():
    found = prediction(cells([0.9, 0.99, 0.2], [0, 0, -0.5], datasets=["a", "a", "b"]), resamples=20)
    assert "over 2 units" in found.assumptions[1]
    assert "give no information" in found.assumptions[1]
    many = prediction(cells(np.linspace(0, 1, 12), np.linspace(-0.4, 0, 12)), resamples=20)
    assert "rough guide" in many.assumptions[1]
    assert "1 model:" in found.assumptions[1]
    assert "independent" in found.assumptions[0]
