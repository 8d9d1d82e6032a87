"""Agreement of rankings: planted agreement and disagreement, chance, intervals, and published lists."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from vlm import SkipPlan
from vlm.selectors import Ranking, late_insertion, random_order, withdrawal
from vlm.selectors.published_choices import PUBLISHED, published_orders, published_regions
from vlm.selectors.rank_agreement import agreement, token_agreement
from vlm.selectors.ranking import by_layer, lowest
from vlm.selectors.smooth_orders import holm, smooth_p_values, smooth_scores

DEPTH = 8


def ranking(mean, samples=40, noise=0.0, rng=0, method="planted"):
    """Layer scores around a mean, with independent noise per sample."""
    draws = np.random.default_rng(rng).normal(size=(samples, len(mean)))
    return by_layer(method, "drop layers", np.asarray(mean, dtype=float) + noise * draws, SkipPlan.drop, usual=0.5)


def row_of(theory, other, **settings):
    (row,) = agreement(theory, [other], **{"draws": 200, **settings}).rows()
    return row


def test_the_same_order_agrees_and_the_reverse_disagrees():
    theory = ranking(np.arange(DEPTH))
    same, reverse = row_of(theory, ranking(np.arange(DEPTH) ** 2)), row_of(theory, ranking(-np.arange(DEPTH)))
    assert (same["shared"], same["jaccard"], same["spearman"]) == (4, 1.0, pytest.approx(1.0))
    assert (reverse["shared"], reverse["jaccard"], reverse["spearman"]) == (0, 0.0, pytest.approx(-1.0))
    assert same["kendall"] == pytest.approx(1.0)
    assert same["layers"] == "0 1 2 3"
    assert reverse["layers"] == "4 5 6 7"
    assert 1 / 4001 <= same["p_kendall"] < 0.05
    assert same["spearman_low"] == same["spearman_high"] == pytest.approx(1.0)


def test_chance_is_that_of_a_random_choice():
    theory = ranking(np.arange(DEPTH))
    other = ranking([0, 1, 9, 9, 2, 8, 7, 6])
    row = row_of(theory, other, number=3)
    assert row["layers"] == "0 1 4"
    chosen = list(itertools.combinations(range(DEPTH), 3))
    counts = np.array([len({0, 1, 2} & set(c)) for c in chosen])
    assert row["shared"] == 2
    assert row["p_shared"] >= np.mean(counts >= 2) - 0.03  # exchangeable layers are one of the nulls
    assert row["shared_by_chance"] == pytest.approx(counts.mean())
    assert row["jaccard"] == pytest.approx(2 / 4)


def test_correlations_are_scipy_s_also_with_ties():
    rng = np.random.default_rng(3)
    for _ in range(20):
        a, b = rng.integers(0, 5, size=DEPTH), rng.integers(0, 5, size=DEPTH)
        row = row_of(ranking(a), ranking(b), draws=2)
        assert row["spearman"] == pytest.approx(stats.spearmanr(a, b).statistic)
        assert row["kendall"] == pytest.approx(stats.kendalltau(a, b).statistic)


def test_intervals_redraw_images_not_samples():
    # Ten images of eight identical prompts each: as much information as ten prompts.
    once = ranking(np.zeros(DEPTH), samples=10, noise=1.0)
    theory = ranking(np.arange(DEPTH), samples=10)
    many = by_layer("planted", "drop layers", np.repeat(once.scores, 8, axis=0), SkipPlan.drop, usual=0.5)
    theory8 = by_layer("planted", "drop layers", np.repeat(theory.scores, 8, axis=0), SkipPlan.drop, usual=0.5)
    alone = row_of(theory, once)
    grouped = row_of(theory8, many, groups=np.repeat(np.arange(10), 8))
    wrong = row_of(theory8, many)
    width = {
        name: row["spearman_high"] - row["spearman_low"]
        for name, row in [("alone", alone), ("grouped", grouped), ("wrong", wrong)]
    }
    assert grouped["spearman"] == pytest.approx(alone["spearman"])
    assert width["grouped"] == pytest.approx(width["alone"])
    assert width["wrong"] < 0.8 * width["grouped"]
    assert alone["spearman_low"] < alone["spearman"] < alone["spearman_high"]


def test_both_sides_are_redrawn_together():
    # The other ranking is the theory's own noisy scores: redrawn from the same images they always agree.
    theory = ranking(np.zeros(DEPTH), samples=12, noise=1.0)
    row = row_of(theory, theory)
    assert (row["shared_low"], row["shared_high"]) == (4, 4)
    assert row["spearman_low"] == pytest.approx(1.0)


def test_rules_with_a_shape_of_their_own_choose_by_it():
    theory = ranking(-np.arange(DEPTH))
    flat = np.tile([5.0, 0.0, 4.0, 3.0, 2.0, 1.0, 0.5, 0.1], (40, 1))
    assert row_of(theory, withdrawal(flat), number=3)["layers"] == "5 6 7"  # although layer 1 has the least score
    row = row_of(theory, late_insertion(DEPTH), number=3)
    assert (row["layers"], row["shared"]) == ("0 1 2", 0)
    assert np.isfinite(row_of(theory, random_order(DEPTH, rng=1))["spearman"])


def test_correlation_without_the_last_layer():
    theory = ranking([1, 2, 3, 4, 5, 6, 7, 99])
    other = ranking([1, 2, 3, 4, 5, 6, 7, 0])
    row = row_of(theory, other)
    assert row["spearman"] < 0.5
    assert row["below_last"] == row["below_last_low"] == pytest.approx(1.0)


def test_constant_scores_have_no_correlation():
    row = row_of(ranking(np.zeros(DEPTH)), ranking(np.arange(DEPTH)))
    assert np.isnan([row["spearman"], row["spearman_low"], row["kendall"], row["p_kendall"]]).all()
    assert row["shared"] == 4  # equal scores are taken in order of depth


def test_tokens_that_a_method_removes_against_tokens_that_move_least():
    rng = np.random.default_rng(0)
    moved = [rng.random(n) for n in (10, 12, 9)]
    same = token_agreement(moved, moved, ["a", "b", "c"])
    assert same["spearman"].value == pytest.approx(1.0)
    assert same["shared"].value == 1.0
    assert same["shared"].images == 3
    opposite = token_agreement([-m for m in moved[:2]], moved[:2], [0, 1])
    assert opposite["spearman"].value == pytest.approx(-1.0)
    assert opposite["shared"].value == 0.0
    with pytest.raises(ValueError, match="equal shapes"):
        token_agreement(moved, moved[:2], [0, 1, 2])


def test_other_prompts_or_numbers_are_refused():
    theory = ranking(np.arange(DEPTH))
    with pytest.raises(ValueError, match="same prompts"):
        agreement(theory, [ranking(np.arange(DEPTH), samples=39)])
    with pytest.raises(ValueError, match="same prompts"):
        agreement(theory, [ranking(np.arange(DEPTH + 1))])
    with pytest.raises(ValueError, match="1 to 8 layers"):
        agreement(theory, [theory], number=0)
    with pytest.raises(ValueError, match="one label"):
        agreement(theory, [theory], groups=[1, 2])


def test_a_ranking_says_what_it_skips():
    result = ranking([3.0, 1.0, 2.0, 1.0])
    assert isinstance(result, Ranking)
    assert result.order == (1, 3, 2, 0)
    assert str(result.plan(2)) == "vision:1-2+3-4/text:1-2+3-4"
    assert result.plan() == result.plan(2)
    assert not result.plan(0)


def test_published_lists_are_as_printed():
    by_name = {(c.method, c.model): c for c in PUBLISHED}
    small = by_name["ShortV", "llava-1.5-7b"]
    assert (len(small.layers), len(set(small.layers)), small.layers[0], small.layers[-1]) == (19, 19, 31, 19)
    large = by_name["ShortV", "llava-1.5-13b"]
    assert (len(set(large.layers)), large.layers[:3], large.layers[-2:]) == (24, (39, 32, 28), (20, 17))
    assert len(PUBLISHED) == 8
    next_small, next_large = by_name["ShortV", "llava-next-7b"], by_name["ShortV", "llava-next-13b"]
    assert (len(set(next_small.layers)), next_small.layers[:3], next_small.layers[-2:]) == (19, (31, 29, 30), (0, 2))
    assert (len(set(next_large.layers)), next_large.layers[:3], next_large.layers[-2:]) == (24, (39, 32, 29), (1, 17))
    blocks = {"llama-2-7b": (21, 30), "llama-2-13b": (26, 36), "baichuan2-7b": (22, 31), "baichuan2-13b": (26, 36)}
    for model, block in blocks.items():
        assert sorted(by_name["ShortGPT (text model)", model].layers) == list(range(*block))
    assert all(0 <= layer < c.depth for c in PUBLISHED for layer in c.layers)


def test_published_layers_against_published_redundancy():
    row = next(published_regions().rows())
    # Early: 0, 2, 3; late: 24 to 31.
    assert (row["region"], row["inside"]) == (12, 11)
    inside = [math.comb(12, k) * math.comb(20, 19 - k) for k in (11, 12)]
    assert row["p_inside"] == pytest.approx(sum(inside) / math.comb(32, 19))
    regions = published_regions()
    assert regions["inside"].tolist() == [11, 13, 10, 12, 6, 6, 7, 6]
    # Neighbours that behave alike make chance luckier: no row is beyond it, where independent layers gave 0.002.
    assert (regions["p_smooth"] > regions["p_inside"]).all()
    assert min(regions["p_inside"]) < 0.002
    assert min(regions["p_smooth"]) > 0.15
    assert (regions["p_corrected"] == 1).all()
    small, large, later = published_orders().rows()
    assert (later["model"], later["layers"], later["place"]) == ("llava-next-7b", small["layers"], "19 19 16 11 7 3")
    assert small["layers"] == "4 8 12 20 24 28"
    assert small["place"] == "19 19 17 14 8 3"
    assert small["kendall"] == pytest.approx(
        stats.kendalltau([0.979, 0.361, 0.338, 0.845, 0.971, 0.997], [0, 0, 2, 5, 11, 16]).statistic
    )
    assert large["layers"].endswith("28 32 36")


def test_row_9_unrelated_smooth_orders_agree_no_more_often_than_is_said():
    rng = np.random.default_rng(0)
    theory, trials, smooth, naive = np.arange(10.0), 400, 0, 0
    others = list(smooth_scores(10, 2.0, trials, rng))
    picks = [lowest(other, 5) for other in others]
    for p, other in zip(smooth_p_values(theory, others, range(5), picks, draws=1000, rng=1), others, strict=True):
        smooth += p.kendall < 0.05
        naive += stats.kendalltau(theory, other, alternative="greater").pvalue < 0.05
    # At level 0.001 each: the naive p-values are far too small, those against smooth orders are not.
    assert stats.binomtest(naive, trials, 0.05, alternative="greater").pvalue < 0.001
    assert stats.binomtest(smooth, trials, 0.05, alternative="greater").pvalue > 0.001


def test_row_9_exchangeable_layers_keep_their_exact_p_value():
    theory, other = np.arange(8.0), np.array([0, 1, 3, 2, 4, 5, 7, 6.0])
    (p,) = smooth_p_values(theory, [other], range(4), [lowest(other, 4)])
    assert p.kendall >= stats.kendalltau(theory, other, alternative="greater").pvalue / 2
    assert p.shared >= stats.hypergeom.sf(3, 8, 4, 4) / 2
    reverse = smooth_p_values(theory, [-theory], range(4), [lowest(-theory, 4)])[0]
    assert (reverse.shared, reverse.kendall) == (1.0, 1.0)


def test_row_9_holm():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, np.nan, 0.9])[0] == 1.0
    assert np.isnan(holm([np.nan])[0])
