"""The promise holds over repeats, whole images count, and the test of it catches a cheat."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

import bounds
from bounds import confidence as limits
from vlm.planner.certification import certification, image_losses, loss_limit
from vlm.planner.evidence import Evidence, Measured
from vlm.planner.frontier import Scored, frontier, thinned
from vlm.planner.optimizing import candidate_plans
from vlm.planner.promise import Promise, least_number, sample_sizes
from vlm.plans.plan import SkipPlan

PLANS = [SkipPlan.freeze(0, k) for k in range(1, 9)]


def evidence(losses, size):
    """Plans with given losses of each question."""

    def measure(plan, start, stop):
        values = losses[str(plan)][start:stop]
        return Measured(values, values == 0, values)

    return Evidence(measure, size, "certification")


def chain(costs=None):
    return [
        Scored(plan, cost, 0.0, 0.0, 64) for plan, cost in zip(PLANS, costs or np.linspace(0.9, 0.2, 8), strict=True)
    ]


def test_testing_stops_at_the_first_that_fails():
    rng = np.random.default_rng(0)
    rates = [0.0, 0.0, 0.4, 0.0, 0.0, 0.0, 0.0, 0.0]
    losses = {str(p): (rng.random(400) < r).astype(float) for p, r in zip(PLANS, rates, strict=True)}
    store = evidence(losses, 400)
    tested = certification(chain(), store, np.arange(400), max_loss=0.05, alpha=0.05, support=(0.0, 1.0))
    assert [t.certified for t in tested] == [True, True, False]
    assert store.forwards == 3 * 400
    assert tested[0].limit == loss_limit(np.zeros(400), 0.05, (0.0, 1.0))


def test_images_count_and_not_questions():
    groups = np.repeat(np.arange(50), 8)
    losses = np.tile([1.0, 0, 0, 0, 0, 0, 0, 0], 50)
    assert image_losses(losses, groups).tolist() == [0.125] * 50
    (tested,) = certification(
        chain()[:1], evidence({str(PLANS[0]): losses}, 400), groups, max_loss=0.3, alpha=0.05, support=(0.0, 1.0)
    )
    assert tested.images == 50
    assert tested.limit == loss_limit(np.full(50, 0.125), 0.05, (0.0, 1.0))


def test_easy_plans_stop_early_and_only_at_whole_images():
    groups = np.repeat(np.arange(200), 3)
    store = evidence({str(p): np.zeros(600) for p in PLANS}, 600)
    (tested,) = certification(
        chain()[:1], store, groups, max_loss=0.1, alpha=0.05, support=(0.0, 1.0), stopping="anytime"
    )
    assert tested.certified
    assert tested.images < 100
    assert store.forwards == 3 * tested.images


def repeats(max_loss, *, cheat=False, number=200, seed=0):
    """Repeats in which the returned plan breaks the promise: 300 plans, searched on 64 images, certified on 300.

    The population has 2,000 images; every repeat draws its own with replacement, so the population's mean is the truth.
    """
    rng = np.random.default_rng(seed)
    plans = [SkipPlan.freeze(0, k) for k in range(1, 301)]
    cost = np.linspace(0.9, 0.1, 300)
    # The first third is mild; all others lose a little more than the promise allows.
    rates = np.where(cost > 0.63, 0.3, 1.15) * max_loss
    population = (rng.random((300, 2000)) < rates[:, None]).astype(float)
    truth = population.mean(axis=1)
    by_name = {str(plan): i for i, plan in enumerate(plans)}
    broken = 0
    for _ in range(number):
        search, certify = rng.integers(2000, size=64), rng.integers(2000, size=300)
        if cheat:  # the cheapest plan that its own test certifies, chosen by the certification images
            certified = np.flatnonzero(limits.betting_rejects(population[:, certify].T, max_loss, alpha=0.05))
            chosen = certified[-1] if len(certified) else None
        else:
            seen = population[:, search].mean(axis=1)
            scored = [Scored(p, c, s, s, 64) for p, c, s in zip(plans, cost, seen, strict=True)]
            candidates = candidate_plans(frontier(scored), max_loss, 4)
            losses = {str(c.plan): population[by_name[str(c.plan)], certify] for c in candidates}
            tested = certification(
                candidates, evidence(losses, 300), np.arange(300), max_loss=max_loss, alpha=0.05, support=(0.0, 1.0)
            )
            good = [t for t in tested if t.certified]
            chosen = by_name[str(good[-1].candidate.plan)] if good else None
        broken += chosen is not None and truth[chosen] > max_loss
    return int(broken)


@pytest.mark.parametrize("max_loss", [0.02, 0.05])
def test_the_promise_holds_in_repeats(max_loss):
    # If the error probability is at most 5%, more than this many of 200 happen with probability below 0.1%.
    assert repeats(max_loss) <= binom.isf(1e-3, 200, 0.05)


def test_choosing_by_the_certification_images_is_caught():
    assert repeats(0.05, cheat=True) > binom.isf(1e-3, 200, 0.05)


def test_candidates_are_the_searchs_own_and_mildest_first():
    found = [Scored(SkipPlan(), 1.0, 0.0, 0.0, 64), *chain()]
    assert [s.cost for s in candidate_plans(found, 0.01, 20)] == sorted((s.cost for s in chain()), reverse=True)
    few = thinned(chain(), 3)
    assert [s.cost for s in few] == [s.cost for s in (chain()[0], chain()[6], chain()[7])]
    bad = [Scored(PLANS[0], 0.5, 0.2, 0.1, 64)]
    assert candidate_plans(bad, 0.1, 20) == []


def test_frontier_keeps_what_nothing_beats():
    a, b, c = (
        Scored(p, cost, loss, kl, 8)
        for p, (cost, loss, kl) in zip(PLANS, [(0.5, 0, 0.1), (0.4, 0, 0.2), (0.6, 0, 0.3)], strict=False)
    )
    assert frontier([a, b, c]) == [a, b]


def test_one_question_per_image_has_the_exact_limit():
    losses = np.random.default_rng(0).permutation(np.arange(400) < 4).astype(float)
    tested = [
        certification(
            chain()[:1],
            evidence({str(PLANS[0]): losses}, 400),
            np.arange(400),
            max_loss=0.05,
            alpha=0.05,
            support=(0.0, 1.0),
            binary=binary,
        )[0]
        for binary in (True, False)
    ]
    # The largest mean with at most 4 losses of 400 in at least 5% of the samples.
    assert binom.cdf(4, 400, tested[0].limit) == pytest.approx(0.05, abs=1e-9)
    assert tested[0].limit < tested[1].limit


def test_no_disagreement_at_all_certifies_the_cheapest_and_still_promises_no_zero():
    store = evidence({str(p): np.zeros(300) for p in PLANS}, 300)
    tested = certification(chain(), store, np.arange(300), max_loss=0.01, alpha=0.05, support=(0, 1), binary=True)
    assert [t.certified for t in tested] == [True] * 8
    # All of 300 agree in at least 5% of the samples as long as the loss is at most this.
    assert tested[-1].limit == pytest.approx(1 - 0.05 ** (1 / 300), abs=1e-9)
    assert (tested[-1].loss, tested[-1].low) == (0.0, 0.0)


@pytest.mark.parametrize("loss", ["disagreement", "accuracy", "kl"])
def test_the_least_number_of_images_is_the_least(loss):
    promise = Promise(0.1, loss=loss, kl_limit=2.0)
    n = least_number(promise)
    assert loss_limit(np.zeros(n), promise.alpha, promise.support) <= 0.1
    assert loss_limit(np.zeros(n - 1), promise.alpha, promise.support) > 0.1
    with pytest.raises(
        ValueError, match=rf"images: {n - 1} certification images cannot promise 0.1, .* at least {n:,}"
    ):
        promise.check_images(n - 1)
    promise.check_images(n)


def test_sample_sizes_are_those_of_bounds():
    text = sample_sizes(Promise(0.05), 300, [0.02])
    assert f"{bounds.images_needed(0.05, 0.02):,} at a loss of 0.02" in text
    assert "no number at a loss of 0.06" in sample_sizes(Promise(0.05), 300, [0.06])
