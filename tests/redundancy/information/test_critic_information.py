"""The panel of critics: exact values, invariances, groups, doubts and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest

import redundancy as rd
from redundancy.information.canonical_critic import canonical_critics
from redundancy.information.copula_critics import copula_information, gaussian_copula, student_copula
from redundancy.information.critic_pairs import CriticPairs, Pairs, best_clipping, donsker_varadhan, pair_scores
from redundancy.information.network_critic import network_critic

COPULAS = ("gaussian", "student")


def gaussian_pair(n, columns, rho, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, columns))
    return x, rho * x + math.sqrt(1 - rho**2) * rng.normal(size=(n, columns))


def gaussian_truth(columns, rho):
    return -0.5 * columns * math.log(1 - rho**2)


@pytest.mark.parametrize("columns", [1, 4, 20])
def test_gaussian_information_is_not_biased_by_the_number_of_columns(columns):
    values = [
        copula_information(gaussian_copula(x, y), x, y)
        for x, y in (gaussian_pair(600, columns, 0.3, seed) for seed in range(20))
    ]
    error = np.std(values) / math.sqrt(len(values))
    assert abs(np.mean(values) - gaussian_truth(columns, 0.3)) < 4 * error + 0.01


def test_student_copula_finds_dependence_without_correlation():
    # X and Y of a multivariate t with 2 degrees of freedom, 2 + 2 columns, identity scale: 0.1931 nats
    rng = np.random.default_rng(1)
    z = rng.normal(size=(3000, 4)) / np.sqrt(rng.chisquare(2, size=(3000, 1)) / 2)
    x, y = z[:, :2], z[:, 2:]
    copula = student_copula(x, y)
    assert copula.nu == 2.0
    assert copula_information(copula, x, y) == pytest.approx(0.1931, abs=0.03)
    estimate = rd.critic_information(x, y, members=COPULAS, rng=0)
    assert estimate.details["member"] == "student"
    assert estimate.details["doubts"] == ()


def test_value_depends_on_the_ranks_of_each_column_only():
    x, y = gaussian_pair(800, 2, 0.7)
    first, second = (
        rd.critic_information(a, b, members=COPULAS, rng=3).value for a, b in ((x, y), (np.exp(x) * 1e6 + 5, y**3))
    )
    assert first == pytest.approx(second, rel=1e-9)


def test_copies_and_constants_of_columns_change_nothing():
    x, y = gaussian_pair(1500, 2, 0.7)
    wide = np.hstack([x, x[:, :1], np.full((1500, 1), 1e9)])
    plain, copied = (rd.critic_information(a, y, members=("gaussian",), rng=0).value for a in (x, wide))
    assert plain == pytest.approx(gaussian_truth(2, 0.7), abs=0.06)
    assert copied == pytest.approx(plain, abs=0.01)


def test_rotation_that_depends_on_the_norm_is_found():
    x, y = gaussian_pair(3000, 2, 0.8)
    angle = 0.7 * (x**2).sum(1)
    turned = np.stack(
        [
            np.cos(angle) * x[:, 0] - np.sin(angle) * x[:, 1],
            np.sin(angle) * x[:, 0] + np.cos(angle) * x[:, 1],
        ],
        axis=1,
    )
    with pytest.warns(RuntimeWarning, match="held-out lower bound"):
        estimate = rd.critic_information(turned, y, members=(*COPULAS, "canonical"), rng=0)
    truth = gaussian_truth(2, 0.8)
    members = estimate.details["members"]
    assert estimate.details["member"] == "canonical"
    assert members["gaussian"]["value"] < 0.4 * truth
    assert 0.6 * truth < estimate.value < truth + 0.02


def test_network_starts_at_the_copula_and_learns_what_it_misses():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 1))
    y = np.abs(x) + 0.5 * rng.normal(size=(1000, 1))
    fit, validation, test = np.split(rng.permutation(1000), [500, 700])
    group = np.arange(1000)
    copula = gaussian_copula(x[fit], y[fit])
    judge, held_out = Pairs.of(validation, group, rng), Pairs.of(test, group, rng)
    critic = network_critic(x, y, fit, judge, copula, group=group, rng=rng)
    before, after = (donsker_varadhan(*pair_scores(c, x, y, held_out), held_out) for c in (copula, critic))
    assert before < 0.1
    assert after > before + 0.1


def test_neighbours_where_few_columns_are_dependent_in_a_curve():
    rng = np.random.default_rng(0)
    x = rng.uniform(size=1500)
    y = (3 * x) % 1 + 0.5 * rng.uniform(size=1500)
    estimate = rd.critic_information(x, y, members=(*COPULAS, "neighbours"), rng=0)
    # h(y) of the trapezoid on (0, 1.5) is 1/4, and h(y | x) is log(1/2)
    assert estimate.details["member"] == "neighbours"
    truth = 0.25 + math.log(2)
    assert 0.7 * truth < estimate.value < truth


def test_neighbours_agree_with_the_exact_value_in_two_columns():
    x, y = gaussian_pair(2000, 1, 0.8)
    estimate = rd.critic_information(x, y, members=("neighbours",), rng=0)
    assert estimate.value == pytest.approx(gaussian_truth(1, 0.8), abs=0.05)


def test_independent_layers_share_nothing():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1200, 10)), rng.standard_t(2, size=(1200, 8))
    estimate = rd.critic_information(x, y, members=(*COPULAS, "canonical"), rng=0)
    assert abs(estimate.value) < 0.05


def test_rows_of_one_image_do_not_count_as_evidence():
    rng = np.random.default_rng(0)
    image = np.repeat(np.arange(600), 4)
    x, y = (rng.normal(size=(600, 3))[image] + 0.3 * rng.normal(size=(2400, 3)) for _ in range(2))
    grouped = rd.critic_information(x, y, members=("gaussian", "neighbours"), groups=image, rng=0)
    assert abs(grouped.value) < 0.05
    assert abs(grouped.details["members"]["neighbours"]["value"]) < 0.05
    assert grouped.details["units"] == 600
    assert grouped.details["unit_of_sampling"] == "image"


def test_mismatched_pairs_come_from_different_images():
    group = np.repeat(np.arange(40), 3)
    pairs = Pairs.of(np.arange(120), group, np.random.default_rng(0))
    assert (group[pairs.rows[pairs.left]] != group[pairs.rows[pairs.right]]).all()
    assert pairs.weight.sum() == pytest.approx(1.0)


def test_units_of_the_certificate_are_disjoint_pairs_of_images():
    class Recorder:
        seen: list[tuple[float, float]]

        def log_ratio(self, x, y):
            self.seen.append((x[:, 0], y[:, 0]))
            return np.zeros(len(x))

    recorder = Recorder()
    group = np.repeat(np.arange(31), 4)
    rows = np.arange(124)
    pairs = Pairs.of(rows, group, np.random.default_rng(0))
    clipping = best_clipping(np.zeros(124), np.zeros(len(pairs.left)), pairs, units=15, alpha=0.05)
    recorder.seen = []
    image = group[:, None].astype(float)
    held = CriticPairs.of(
        recorder, clipping, image, image, rows, group, member="constant", rng=np.random.default_rng(1)
    )
    assert held.values == pytest.approx(np.zeros(15), abs=1e-12)
    left, right = recorder.seen[0]
    partners = {frozenset(pair) for pair in zip(left.tolist(), right.tolist(), strict=True)}
    assert len(partners) == 15
    assert len(frozenset().union(*partners)) == 30


def test_same_seed_same_value():
    x, y = gaussian_pair(400, 2, 0.5)
    with pytest.warns(RuntimeWarning, match="only 400"):
        first = rd.critic_information(x, y, rng=7)
    second = rd.critic_information(x, y, rng=7, on_doubt="ignore")
    assert first.value == second.value
    assert (first.details["pairs"][0].values == second.details["pairs"][0].values).all()


def test_a_critic_of_your_own_joins_the_panel():
    class Exact:
        def log_ratio(self, x, y):
            return -0.5 * math.log(1 - 0.64) - ((y - 0.8 * x) ** 2 / 0.36 - y**2)[:, 0] / 2

    x, y = gaussian_pair(1000, 1, 0.8)
    estimate = rd.critic_information(x, y, members=(), critics={"exact": lambda *_: Exact()}, rng=0)
    assert estimate.details["member"] == "exact"
    assert estimate.value == pytest.approx(gaussian_truth(1, 0.8), abs=0.1)


def test_wide_sides_are_reduced_with_a_doubt():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(600, 1))
    x, y = (np.repeat(shared, 100, axis=1) + rng.normal(size=(600, 100)) for _ in range(2))
    with pytest.warns(RuntimeWarning, match="principal components"):
        estimate = rd.critic_information(x, y, members=("gaussian", "canonical"), rng=0)
    # both sides see the shared number with noise 1 / 100: rho = 100 / 101
    assert estimate.value == pytest.approx(-0.5 * math.log(1 - (100 / 101) ** 2), abs=0.3)


def test_canonical_critics_are_no_wider_than_the_narrower_side():
    x, y = gaussian_pair(300, 2, 0.5)
    assert [c.copula.correlation.shape for c in canonical_critics(x, y[:, :1], degree=0)] == [(2, 2)]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"y": np.zeros((99, 1))}, "x and y: expected paired rows"),
        ({"x": np.zeros((100, 2))}, "x: expected a column that varies"),
        ({"x": np.full((100, 1), np.nan)}, "x: expected finite numbers"),
        ({"folds": 1}, "folds: expected an integer >= 2"),
        ({"folds": 50}, "folds: expected at least 20 rows"),
        ({"members": ("gausian",)}, "members: expected one of gaussian"),
        ({"members": ()}, "members: expected at least one critic"),
        ({"k": 0}, "k: expected at least 1 neighbour"),
        ({"groups": np.zeros(100)}, "folds: expected at least 20 rows or images in each"),
        ({"on_doubt": "maybe"}, "on_doubt: expected one of"),
    ],
)
def test_bad_input_is_refused_in_one_line(change, text):
    x, y = gaussian_pair(100, 1, 0.5)
    options = {"x": x, "y": y, "members": ("gaussian",), "rng": 0, **change}
    with pytest.raises(ValueError, match=text) as error:
        rd.critic_information(options.pop("x"), options.pop("y"), **options)
    assert "\n" not in str(error.value)
