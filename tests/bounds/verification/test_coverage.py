"""Every interval covers: seeded binomial tests at a family-wise level, and one invalid method that they catch."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import bounds
import redundancy as rd
from bounds import confidence
from bounds.__main__ import main
from bounds.certificates import clustered
from bounds.confidence import limits
from bounds.confidence.capital import fixed_n_stakes, log_capital
from bounds.verification import coverage
from bounds.worlds.clustered_images import MAX_TOKENS, draw_images, exact_mean, exact_survival
from bounds.worlds.distributions import DISTRIBUTIONS
from redundancy.estimate import Estimate

ALPHA = coverage.ALPHA


def assert_covers(misses, runs, tests, alpha=ALPHA):
    assert not coverage.suspicious(misses, runs, alpha=alpha, tests=tests), (
        f"{misses} misses in {runs} runs at nominal {alpha:g}"
    )


# Every method over ten distributions (theory, section 9.1)


def page():
    """The page that holds the generated tables."""
    docs = Path(__file__).parents[3] / "docs"
    (text,) = (t for t in (p.read_text(encoding="utf-8") for p in docs.rglob("*.md")) if coverage.BEGIN in t)
    return text


def named(name):
    """A distribution of the study by its name."""
    return next(d for d in DISTRIBUTIONS if d.name == name)


def test_no_method_misses_too_often_in_the_reduced_study():
    cells = list(coverage.study(250, sizes=(30, 100)))
    assert len({c.distribution for c in cells}) >= 8
    assert {c.method for c in cells} == set(confidence.METHODS)
    assert not coverage.alarms(cells)


@pytest.mark.slow
def test_no_method_misses_too_often_in_the_full_study():
    # Limits that bet take nearly all of the time at the largest size: fewer runs there, which the page does not print.
    bets = [m for m in confidence.METHODS if m.startswith("betting")]
    rest, large = [m for m in confidence.METHODS if m not in bets], coverage.SIZES[2:]
    cells = [*coverage.study(2000, sizes=coverage.SIZES[:2]), *coverage.study(2000, sizes=large, methods=rest)]
    assert not coverage.alarms([*cells, *coverage.study(100, sizes=large, methods=bets)])
    # The page prints exactly this study.
    misses, widths = printed(page())
    for cell in cells:
        place = coverage.SIZES.index(cell.n)
        assert misses[cell.distribution, cell.method][place] == coverage.number(cell, "miss")
        assert widths[cell.distribution, cell.method][place] == coverage.number(cell, "width")


def printed(text):
    """The entries of the page's two tables of methods, by distribution and method."""
    found = []
    tables = text[text.index(coverage.BEGIN) :].split("| distribution |")[1:3]
    for table in tables:
        methods, _, *lines = [line.strip("| ").split(" | ") for line in table.split("\n\n")[0].splitlines()]
        found.append(
            {
                (row[0], method): entry.split(" / ")
                for row in lines
                for method, entry in zip(methods, row[1:], strict=True)
            }
        )
    return found


# Watching (theory, section 16.5)


def test_row_1_the_anytime_limit_withstands_a_watcher_at_every_n():
    cells = [
        coverage.watch(named(name), "betting-anytime", 300, 0, lengths=range(1, 121))
        for name in ("0 or 1, P(1) = 0.5", "0 or 1, P(1) = 0.97", "thirds, skewed")
    ]
    assert all(cell.looks == 120 for cell in cells)
    assert not coverage.caught(cells)
    assert max(cell.missed_above for cell in cells) > 0  # it is not valid because it is trivially wide


def test_row_1_the_watcher_of_the_limit_that_is_tuned_to_n_is_caught():
    # The fault: 1,000 fair coins watched at 57 prefixes missed 20.6% at nominal 10%.
    coin = named("0 or 1, P(1) = 0.5")
    fixed, anytime = (coverage.watch(coin, method, 300, 0) for method in ("betting", "betting-anytime"))
    assert coverage.caught([fixed]) == [fixed]
    assert min(fixed.missed_above, fixed.missed_below) > 0.15 * fixed.runs
    assert coverage.caught([anytime]) == []
    assert anytime.missed_above <= 0.1 * anytime.runs


def test_the_watching_table_names_who_is_caught(monkeypatch):
    monkeypatch.setattr(coverage, "DISTRIBUTIONS", DISTRIBUTIONS[3:4])
    monkeypatch.setattr(coverage, "SIZES", (30,))
    monkeypatch.setattr(coverage, "WATCHED", 200)
    monkeypatch.setattr(coverage, "LOOKS", 20)
    cells, watches = list(coverage.study(20)), list(coverage.watching_study(200))
    text = coverage.report(cells, watches)
    assert text.startswith(coverage.report(cells))
    assert "clopper-pearson" in text.split("binomial tests: ")[-1]
    assert {w.method for w in coverage.caught(watches)}.isdisjoint(coverage.VALID_AT_EVERY_LOOK)
    assert coverage.prefixes(3, 10) == [3]


def test_the_page_keeps_the_place_of_the_generated_tables():
    between = page().split(coverage.BEGIN)[1].split(coverage.END)[0]
    for name in [d.name for d in DISTRIBUTIONS] + list(confidence.METHODS):
        assert name in between
    assert "tests: none." in between
    assert "Methods that miss too often when watched" in between


def test_the_command_prints_the_study_or_writes_it_into_a_page(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(coverage, "SIZES", (30,))
    monkeypatch.setattr(coverage, "DISTRIBUTIONS", DISTRIBUTIONS[:3])
    assert main(["coverage", "--runs", "20"]) == 0
    text = capsys.readouterr().out.rstrip("\n")
    assert text.startswith("Miscoverage in % of 20 runs")
    target = tmp_path / "page.md"
    target.write_text(f"before\n{coverage.BEGIN}\nold\n{coverage.END}\nafter\n", encoding="utf-8")
    assert main(["coverage", "--runs", "20", "--write", str(target)]) == 0
    assert target.read_text(encoding="utf-8") == f"before\n{coverage.BEGIN}\n\n{text}\n\n{coverage.END}\nafter\n"


def test_the_command_refuses_in_words(tmp_path, capsys):
    assert main(["coverage", "--runs", "0"]) == 2
    assert "--runs: expected at least 1, got 0" in capsys.readouterr().err
    page = tmp_path / "page.md"
    page.write_text("no markers", encoding="utf-8")
    with pytest.raises(ValueError, match="expected a page with the lines"):
        coverage.write_report("text", page)


def test_the_study_catches_a_method_that_is_not_valid(monkeypatch):
    # The normal approximation, a common choice, misses rare large distances.
    from scipy.stats import norm

    def wald(values, *, alpha):
        d = np.asarray(values)
        return np.clip(d.mean(axis=0) + norm.isf(alpha) * d.std(axis=0) / np.sqrt(len(d)), 0, 1)

    monkeypatch.setattr(limits, "METHODS", {**confidence.METHODS, "wald": wald})
    cells = [coverage.cell(d, "wald", 30, 250, 0) for d in DISTRIBUTIONS]
    assert "0 or 1, P(1) = 0.01" in {c.distribution for c in coverage.alarms(cells)}


def test_intervals_are_not_trivially_wide():
    # A valid interval may be useless; at n = 1000 each method must locate a mean of 1/31.
    distribution = named("Beta(1, 30)")
    widths = {
        m: coverage.cell(distribution, m, 1000, 50, 1).width for m in confidence.METHODS if m != "clopper-pearson"
    }
    assert max(widths.values()) < 0.1
    assert widths["betting"] < 0.25 * widths["hoeffding"]


# Images of unequal size with dependent tokens

THRESHOLD = 0.2
GRID = np.linspace(0.0, 1.0, 101)


def upper_limits(method, images, rng):
    """Upper limit of a procedure, and the mean it is for: (limit, quantity, 0 image-averaged or 1 token-weighted)."""
    far = (images.distances > THRESHOLD).astype(float)
    if method == "token-level clopper-pearson":  # the planted, invalid one
        return confidence.clopper_pearson(far, alpha=ALPHA), "survival", 1
    if method == "one token per image, clopper-pearson":
        rows = clustered.one_row_per_group(images.image, rng=rng)
        return confidence.clopper_pearson(far[rows], alpha=ALPHA), "survival", 0
    if method.startswith("token-weighted"):
        limit = clustered.token_weighted(
            images.means(far), images.sizes, max_rows=MAX_TOKENS, alpha=ALPHA, method=method.split()[-1]
        )
        return limit, "survival", 1
    name, quantity = method.split(" of ")
    if quantity == "mean distance":
        return confidence.upper_limit(images.means(images.distances), alpha=ALPHA, method=name), "mean", 0
    return confidence.upper_limit(images.means(far), alpha=ALPHA, method=name), "survival", 0


PLANTED = "token-level clopper-pearson"
PROCEDURES = [
    "one token per image, clopper-pearson",
    "token-weighted betting",
    "token-weighted hoeffding",
    *[f"{m} of mean distance" for m in confidence.METHODS if m != "clopper-pearson"],
    *[f"{m} of far tokens" for m in confidence.METHODS if m != "clopper-pearson"],
]


def cluster_misses(method, n, runs, seed=0):
    exact = {"survival": exact_survival(THRESHOLD), "mean": exact_mean()}
    rng = np.random.default_rng([seed, n])
    misses = 0
    for _ in range(runs):
        limit, quantity, weighting = upper_limits(method, draw_images(rng, n), rng)
        misses += float(limit) < exact[quantity][weighting]
    return misses


def test_exact_means_of_the_images():
    images = draw_images(np.random.default_rng(0), 40_000)
    far = (images.distances > THRESHOLD).astype(float)
    for exact, values in ((exact_survival(THRESHOLD), far), (exact_mean(), images.distances)):
        assert images.means(values).mean() == pytest.approx(exact[0], abs=0.01)
        assert values.mean() == pytest.approx(exact[1], abs=0.01)


def test_token_level_clopper_pearson_is_caught():
    misses = cluster_misses(PLANTED, 100, 200)
    assert coverage.suspicious(misses, 200, alpha=ALPHA, tests=len(PROCEDURES))
    assert misses / 200 > 0.3
    with pytest.raises(AssertionError, match="misses in 200 runs"):
        assert_covers(misses, 200, len(PROCEDURES))


@pytest.mark.parametrize("method", PROCEDURES)
def test_cluster_limits_cover_in_the_reduced_study(method):
    assert_covers(cluster_misses(method, 60, 100), 100, len(PROCEDURES))


@pytest.mark.slow
@pytest.mark.parametrize("n", coverage.SIZES)
@pytest.mark.parametrize("method", PROCEDURES)
def test_cluster_limits_cover_in_the_full_study(method, n):
    runs = 500 if n < 1000 else 150
    misses = cluster_misses(method, n, runs)
    print(f"{method}, n = {n}: {100 * misses / runs:.1f}%")
    assert_covers(misses, runs, 3 * len(PROCEDURES))


def uniform_misses(n, runs):
    exact = np.array([exact_survival(t)[0] for t in GRID])
    s = clustered.dkw_deviation(n, alpha=ALPHA)
    rng = np.random.default_rng([1, n])
    misses = 0
    for _ in range(runs):
        images = draw_images(rng, n)
        far = (images.distances[:, None] > GRID).astype(float)
        share = np.column_stack([images.means(column) for column in far.T]).mean(axis=0)
        misses += bool((exact > share + s).any())
    return misses


def test_cluster_deviation_covers_all_thresholds_at_once():
    assert_covers(uniform_misses(40, 60), 60, 1)


@pytest.mark.slow
@pytest.mark.parametrize("n", coverage.SIZES)
def test_cluster_deviation_covers_all_thresholds_at_once_in_the_full_study(n):
    assert_covers(uniform_misses(n, 300), 300, 3)


# Certificates


@pytest.mark.slow
@pytest.mark.parametrize("weighting", ["image", "token"])
def test_simultaneous_certificates_cover_together(weighting):
    # Eight "layers" certified together, two-sided: no more than ALPHA of the families have any miss.
    exact = exact_mean()[0 if weighting == "image" else 1]
    rng = np.random.default_rng(2)
    token_mean = partial(bounds.certify_token_mean, max_rows=MAX_TOKENS)
    misses = 0
    for _ in range(300):
        wrong = False
        for _ in range(8):
            images = draw_images(rng, 40)
            estimate = Estimate(
                0.0,
                "geometric",
                per_unit=images.means(images.distances),
                rows=images.sizes.astype(float),
                support=(0.0, 1.0),
                unit_of_sampling="image",
            )
            certify = bounds.certify_mean if weighting == "image" else token_mean
            certificate = certify(estimate, 1 - ALPHA, simultaneous=8)
            wrong |= not certificate.low <= exact <= certificate.high
        misses += wrong
    assert_covers(misses, 300, 2)


@pytest.mark.parametrize(("runs", "n"), [(60, 40), pytest.param(500, 150, marks=pytest.mark.slow)])
@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_information_bound_covers(correlation, runs, n):
    # Images of three rows that share a common part; a random row's two states are jointly Gaussian.
    rng = np.random.default_rng([3, n])
    exact = -np.log1p(-(correlation**2))  # two dimensions of -log(1 - c^2) / 2 each
    groups = np.repeat(np.arange(n), 3)
    misses = 0
    for _ in range(runs):
        shared = np.repeat(rng.normal(size=(n, 2)), 3, axis=0)
        x = np.sqrt(0.5) * (shared + rng.normal(size=(3 * n, 2)))
        y = correlation * x + np.sqrt(1 - correlation**2) * rng.normal(size=x.shape)
        close = rd.proximal(x, y, t=[0.5, 1.0], distance="euclidean", groups=groups, baseline=True, rng=rng)
        certificate = bounds.certify_information(close, 1 - ALPHA)
        misses += certificate.low > exact
    assert_covers(misses, runs, 4)


@pytest.mark.parametrize(("runs", "n"), [(60, 40), pytest.param(1000, 200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", ["mcdiarmid", "cross-entropy"])
@pytest.mark.parametrize("clustered", [False, True])
def test_entropy_bounds_cover(method, clustered, runs, n):
    rng = np.random.default_rng([4, n])
    joint = np.array([[8, 1, 0], [1, 5, 1], [0, 2, 4], [1, 0, 1.0]])
    joint /= joint.sum()
    marginal = joint.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = -np.nansum(joint * np.log(joint / marginal))
    groups = np.repeat(np.arange(n), 4) if clustered else None
    misses = 0
    for _ in range(runs):
        # All four rows of an image are the same row: the worst dependence.
        cell = rng.choice(12, size=n, p=joint.ravel())
        cell = np.repeat(cell, 4) if clustered else cell
        certificate = bounds.certify_entropy(
            cell // 3, cell % 3, 1 - ALPHA, size=(4, 3), method=method, groups=groups, rng=rng
        )
        misses += not certificate.low <= exact <= certificate.high
    assert_covers(misses, runs, 8)


class CellMeans:
    """Predicts the training mean of each of four cells; remembers every table it fitted."""

    fitted: ClassVar[list] = []

    def fit(self, x, z):
        self.table = np.array([z[x[:, 0] == k].mean() if (x[:, 0] == k).any() else z.mean() for k in range(4)])
        CellMeans.fitted.append(self.table)
        return self

    def predict(self, x):
        return self.table[x[:, 0].astype(int)]


@pytest.mark.parametrize(("runs", "n"), [(30, 40), pytest.param(400, 90, marks=pytest.mark.slow)])
def test_cross_fitted_risk_difference_covers_the_risk_of_what_was_fitted(runs, n):
    # X uniform on 4 cells, Y = X // 2, Z binary with P(Z = 1 | x) = p[x]: risks of any table are exact.
    rng = np.random.default_rng([5, n])
    p = np.array([0.1, 0.5, 0.6, 0.95])
    misses = 0
    for _ in range(runs):
        x = rng.integers(0, 4, n)
        z = (rng.random(n) < p[x]).astype(float)
        CellMeans.fitted = []
        gap = rd.functional(z, x[:, None], x[:, None] // 2, CellMeans(), folds=3, rng=rng, target_range=(0, 1))
        certificate = bounds.certify(gap, 1 - ALPHA)
        f, g = np.array(CellMeans.fitted[:3]), np.array(CellMeans.fitted[3:])
        risk = (p * (1 - f) ** 2 + (1 - p) * f**2).mean(axis=1)
        later = g[:, np.arange(4) // 2]
        later_risk = (p * (1 - later) ** 2 + (1 - p) * later**2).mean(axis=1)
        share = np.bincount(gap.details["fold_of_unit"]) / n
        misses += not certificate.low <= share @ (later_risk - risk) <= certificate.high
    assert_covers(misses, runs, 2)


def test_betting_may_be_watched_while_the_data_come_in():
    # Stopping at the most flattering moment is allowed: K is compared with 1/alpha at every unit.
    distribution = named("0 or 1, P(1) = 0.5")
    rng = np.random.default_rng(6)
    d = distribution.draw(rng, (100, 400))
    ones = np.ones_like(d.T)
    stake = fixed_n_stakes(d.T, ones, ALPHA)
    capital = log_capital(d.T, ones, stake, np.full(400, distribution.mean))
    ever = int((capital.max(axis=1) >= np.log(1 / ALPHA)).sum())
    assert_covers(ever, 400, 1)
    assert ever > (capital[:, -1] >= np.log(1 / ALPHA)).sum()  # watching does find more
