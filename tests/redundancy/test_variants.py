"""Every variant of an estimator, not its default alone: shifts, scales, constants, copies, few images, ties, ranks."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

import redundancy as rd

N = 120
RNG = np.random.default_rng(0)
SHARED = RNG.standard_normal((N, 1))
X = np.hstack([SHARED + 0.6 * RNG.standard_normal((N, 1)), RNG.standard_normal((N, 1))])
Y = np.hstack([SHARED + 0.6 * RNG.standard_normal((N, 1)), RNG.standard_normal((N, 1))])
Z = SHARED[:, 0] + 0.3 * X[:, 1] + 0.3 * RNG.standard_normal(N)
LABEL = (Z > 0).astype(int)
QUIET = {"on_doubt": "ignore"}


def _summary(summary, estimator, components):
    settings = {"summary": summary, "estimator": estimator, "components": components, "folds": 2, "rng": 0}
    return lambda x, y: rd.summary_information(x, y, **settings, **QUIET)


def _critic(member):
    return lambda x, y: rd.critic_information(x, y, members=(member,), folds=2, rng=0, **QUIET)


VARIANTS = {
    "cka, plain": lambda x, y: rd.cka(x, y, debiased=False),
    "conditional, rank": lambda x, y: rd.knn_conditional_mutual_information(
        x, y, Z, variant=1, scale="rank", norm="euclidean", **QUIET
    ),
    "gaussian_broja, wide target": lambda x, y: rd.gaussian_broja_from_samples(np.c_[Z, LABEL], x, y).synergistic,
    "ksg, euclidean": lambda x, y: rd.ksg(x, y, norm="euclidean", **QUIET),
    "ksg, rank": lambda x, y: rd.ksg(x, y, scale="rank", **QUIET),
    "ksg, rectangles": lambda x, y: rd.ksg(x, y, variant=2, **QUIET),
    "mixed, given a label": lambda x, y: rd.mixed_information(x, y, LABEL, **QUIET),
    "residual": lambda x, y: rd.residual_entropy(Z, y, folds=2, rng=0, **QUIET),
    "usable": lambda x, y: rd.usable_information(LABEL, y, folds=2, rng=0),
    **{f"critic, {member}": _critic(member) for member in ("gaussian", "student", "canonical", "neighbours")},
    **{
        f"summary, {summary}, {estimator}, {components}": _summary(summary, estimator, components)
        for summary in ("ridge", "cca", "pls")
        for estimator, components in (("gaussian", 1), ("gaussian", "cv"), ("ksg", 2))
    },
}
BIT = 1e9 * (0.3 + np.spacing(0.3) * RNG.integers(2, size=(N, 1)))
MOVES = {
    "shift": lambda a: a + 1e3,
    "small": lambda a: 1e-300 * a,
    "large": lambda a: 1e300 * a,
    "largest": lambda a: 3e307 * a,
    "constant": lambda a: np.c_[np.full(N, 1e300), a],
    "rounding": lambda a: np.c_[a, BIT],
}


def value(result):
    return float(getattr(result, "value", result))


@pytest.mark.parametrize("name", VARIANTS)
def test_scales_shifts_and_constants_change_no_variant(name):
    plain = value(VARIANTS[name](X, Y))
    for move, moved in MOVES.items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert value(VARIANTS[name](moved(X), moved(Y))) == pytest.approx(plain, rel=1e-5, abs=1e-6), move


@pytest.mark.parametrize("name", [name for name in VARIANTS if name.startswith(("critic", "summary", "usable"))])
def test_degenerate_layers_give_a_number_or_one_line(name):
    """One-hot codes, one row that differs, rank 2 in many columns, an outlier, whole numbers: no leak, no traceback."""
    one_hot = [np.eye(3)[RNG.integers(3, size=N)] for _ in "xy"]
    low = [RNG.standard_normal((N, 2)) @ RNG.standard_normal((2, 30)) for _ in "xy"]
    one_row = np.r_[np.zeros((N - 1, 2)), np.ones((1, 2))]
    far = np.r_[X[1:], [[1e200, 1e200]]]
    whole = [RNG.integers(3, size=(N, 2)) for _ in "xy"]
    copies = [np.c_[a, a, a.sum(1)] for a in (RNG.standard_normal((N, 2)), RNG.standard_normal((N, 2)))]
    refusals = []
    for x, y in (one_hot, low, (one_row, Y), (X, one_row), (far, Y), whole, copies):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                found = value(VARIANTS[name](x, y))
            except ValueError as error:
                refusals.append(str(error))
                continue
        assert found < 0.4, (name, found)  # x and y are independent
    assert all("expected" in text for text in refusals), refusals


def test_canonical_summaries_are_those_of_scikit_learn():
    from sklearn.cross_decomposition import CCA, PLSCanonical

    from redundancy.information.summary_directions import summaries

    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 5)) * [1, 10, 0.1, 3, 1]
    y = x @ rng.standard_normal((5, 4)) + rng.standard_normal((300, 4))
    for summary, peer in (("cca", CCA), ("pls", PLSCanonical)):
        ours = summaries(x[:200], y[:200], x[200:], y[200:], 3, summary)
        theirs = peer(n_components=3, max_iter=10_000, tol=1e-12).fit(x[:200], y[:200]).transform(x[200:], y[200:])
        for a, b in zip(ours, theirs, strict=True):
            for i in range(3):
                assert abs(np.corrcoef(a[:, i], b[:, i])[0, 1]) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("summary", ["cca", "pls"])
def test_copies_of_columns_change_no_canonical_summary(summary):
    settings = {
        "summary": summary,
        "estimator": "gaussian",
        "components": 1,
        "folds": 2,
        "rng": 0,
        "on_doubt": "ignore",
    }
    plain = value(rd.summary_information(X, Y, **settings))
    wide = np.c_[X, X], np.c_[Y, 1e9 * Y + 3]
    assert value(rd.summary_information(*wide, **settings)) == pytest.approx(plain, rel=1e-6)


def test_critics_of_one_hot_codes():
    """Exactly dependent columns and ties: 0 where the codes are independent, their entropy where they agree."""
    rng = np.random.default_rng(0)
    x, y = (np.eye(3)[rng.integers(3, size=1200)] for _ in "xy")
    for member in ("gaussian", "student", "canonical", "neighbours"):
        options = {"members": (member,), "folds": 2, "rng": 0, "on_doubt": "ignore"}
        assert value(rd.critic_information(x, y, **options)) == pytest.approx(0.0, abs=0.1), member
        assert value(rd.critic_information(x, x, **options)) == pytest.approx(math.log(3), abs=0.1), member


def test_principal_components_do_not_depend_on_the_scales_of_columns():
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((800, 1))
    x, y = (np.c_[1e6 * rng.standard_normal((800, 60)), shared + 2 * rng.standard_normal((800, 25))] for _ in "xy")
    truth = 0.5 * math.log(7.25**2 / (7.25**2 - 6.25**2))  # 25 columns of signal 1 and noise 4
    estimate = rd.critic_information(x, y, members=("gaussian",), folds=2, rng=0, on_doubt="ignore")
    assert "principal components" in " ".join(estimate.details["doubts"])
    assert estimate.value == pytest.approx(truth, abs=0.15)


def test_a_linear_function_has_no_residual_however_few_the_rows():
    rng = np.random.default_rng(0)
    for n in (40, 400):
        y = rng.standard_normal((n, 2))
        for x in (y, y @ [[1.0], [3.0]], y[:, :1] + 1e-9 * rng.standard_normal((n, 1))):
            with pytest.raises(ValueError, match="a linear function of y"):
                rd.residual_entropy(x, y, folds=2, rng=0)
        rd.residual_entropy(y[:, :1] + 1e-3 * rng.standard_normal((n, 1)), y, folds=2, rng=0, on_doubt="ignore")


def test_one_image_is_refused_and_few_are_doubted():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 90, 1))
    with pytest.raises(ValueError, match="groups: expected at least 2 images, got 1"):
        rd.gaussian_information(x, y, groups=np.zeros(90))
    with pytest.warns(RuntimeWarning, match="only 3 images"):
        rd.gaussian_information(x, y, groups=np.arange(90) // 30)
    same = (np.tile([[1.0], [-1.0], [2.0], [-2.0]], (4, 1)), np.tile([[1.0], [1.0], [-1.0], [-1.0]], (4, 1)))
    estimate = rd.gaussian_information(*same, groups=np.arange(16) // 4, on_doubt="ignore")
    assert estimate.details["independent_rows"] == 16  # images that do not differ at all


def test_images_of_very_unequal_sizes_are_doubted():
    """Neighbour counts weigh rows: one image with half of them pulls the others' estimate down, by 0.9 nats here."""
    rng = np.random.default_rng(0)
    image = np.repeat(np.arange(401), np.r_[400, np.ones(400, dtype=int)])
    x, y, z = (3 * rng.standard_normal((401, 1))[image] + rng.standard_normal((800, 1)) for _ in "xyz")
    for estimate in (
        rd.ksg(x, y, groups=image, **QUIET),
        rd.mixed_information(x, y, groups=image, **QUIET),
        rd.knn_conditional_mutual_information(x, y, z, groups=image, **QUIET),
        rd.knn_entropy(x, groups=image, **QUIET),
        rd.residual_entropy(x, y, groups=image, rng=0, **QUIET),
        rd.summary_information(x, y, groups=image, rng=0, **QUIET),
    ):
        assert "worth 4 images of one size" in " ".join(estimate.details["doubts"])
    for image in (np.arange(800) // 2, np.arange(800) // 80, np.repeat(np.arange(20), 30 + 2 * np.arange(20))[:800]):
        doubts = rd.ksg(x, y, groups=image, **QUIET).details["doubts"]
        assert "of one size" not in " ".join(doubts)


def test_gaussian_information_knows_what_it_is_not_for():
    rng = np.random.default_rng(0)
    coin = rng.integers(2, size=300)
    with pytest.warns(RuntimeWarning, match=r"takes 2 values only and carries at most 0\.69 nats"):
        rd.gaussian_information(coin, 100 * coin + rng.standard_normal(300))
    with pytest.warns(RuntimeWarning, match="interquartile"):
        rd.gaussian_information(np.exp(8 * rng.standard_normal(300)), rng.standard_normal(300))
    rectified = np.maximum(rng.standard_normal(300), 0)
    with pytest.warns(RuntimeWarning, match="copies of one value"):
        rd.gaussian_information(rectified, rectified + 0.3 * rng.standard_normal(300))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rd.gaussian_information(coin, rng.standard_normal(300))
        x = rng.standard_normal(300)
        assert value(rd.gaussian_information(x, x + 1e-9 * rng.standard_normal(300))) > 10


def test_a_target_that_is_constant_in_a_training_fold():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 2))
    labels, numbers = np.r_[np.zeros(11, dtype=int), 1], np.r_[np.zeros(11), 1.0]
    for z in (labels, numbers):
        assert math.isfinite(rd.mmse(z, x, folds=2, rng=0).value)


def test_a_large_alphabet_needs_memory_for_the_codewords_seen():
    x, y = RNG.integers(10**9, 10**9 + 3, size=(2, 200))
    small = (x - 10**9, y - 10**9)
    plain = rd.informational(x, y, size=2**31)
    assert plain.value == rd.informational(*small, size=3).value
    size, mix = 2**31, 0.01
    estimate = rd.informational(x, y, size=size, method="cross-entropy", rng=0)
    held_out = np.isin(np.arange(200), estimate.details["held_out_units"])
    fit_x, fit_y = x[~held_out], y[~held_out]
    losses = []
    for a, b in zip(x[held_out], y[held_out], strict=True):
        marginal = ((fit_x == a).sum() + 0.5) / (fit_x.size + 0.5 * size)
        q = (((fit_x == a) & (fit_y == b)).sum() + marginal) / ((fit_y == b).sum() + 1.0)
        losses.append(-math.log((1 - mix) * q + mix / size))
    assert estimate.value == pytest.approx(np.mean(losses), rel=1e-14)
