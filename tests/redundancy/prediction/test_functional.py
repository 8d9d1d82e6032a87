"""mmse and functional: exact values, pairing, grouping, every kind of target, every refusal."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.cluster import KMeans
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeRegressor

import redundancy as rd
from redundancy.prediction import cross_fitting
from tests.oracles.regression_worlds import SUITED, WORLDS

# Standard error of a mean of n = 2000 squared errors, plus what the regressor pays for not knowing E[Z | X].
TOLERANCE = 0.10


def within(estimate, world, tolerance=TOLERANCE):
    error = estimate.per_unit.std(ddof=1) / np.sqrt(estimate.n)
    return abs(estimate.value - world.mmse) <= tolerance * world.mmse + 3 * error


@pytest.mark.parametrize("world", WORLDS, ids=lambda w: w.name)
def test_mmse_is_near_the_exact_value_at_n_2000(world):
    x, z = world.draw(np.random.default_rng(0), 2000)
    assert within(rd.mmse(z, x, SUITED[world.name], rng=0), world)
    # The check can fail: an unsuited predictor is far off.
    constant = rd.mmse(z, x, SUITED[world.name], rng=0).details["constant"]
    assert constant > world.mmse * (1 + TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS[::2], ids=lambda w: w.name)
def test_default_panel_is_near_the_exact_value_at_n_2000(world):
    x, z = world.draw(np.random.default_rng(0), 2000)
    assert within(rd.mmse(z, x, rng=0), world)


@pytest.mark.parametrize("name", ["additive noise on the state", "finite, six points"])
def test_default_panel_in_small_worlds(name):
    world = next(w for w in WORLDS if w.name == name)
    x, z = world.draw(np.random.default_rng(1), 400)
    estimate = rd.mmse(z, x, folds=3, rng=0)
    assert within(estimate, world, 0.15)
    table = estimate.details["regressors"]
    assert set(table) == {
        "mean",
        "ridge",
        "neighbours",
        "kernel",
        "process",
        "warped process",
        "boosting",
        "network",
    }
    assert sum(row["weight"] for row in table.values()) == pytest.approx(1.0)
    assert estimate.details["chosen"] in table
    # Stacking is not far above the best member.
    assert estimate.value <= 1.05 * min(row["risk"] for row in table.values())


def test_panel_takes_more_columns_than_rows_and_any_scale():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(80, 300))
    z = x[:, :3].sum(axis=1)
    estimate = rd.mmse(z, x, folds=2, rng=0)
    scaled = rd.mmse(1e6 * z, x * np.geomspace(1e-9, 1e9, 300) + 5.0, folds=2, rng=0)
    assert 0 < estimate.value < estimate.details["constant"] * 1.1
    assert scaled.value == pytest.approx(1e12 * estimate.value, rel=0.05)


def test_panel_is_a_function_of_rng():
    rng = np.random.default_rng(3)
    x, z = rng.normal(size=(60, 2)), rng.normal(size=60)
    first, again, other = (rd.mmse(z, x, folds=2, rng=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.per_unit, again.per_unit)
    assert first.value != other.value


def test_random_state_of_a_pipeline_is_seeded_from_rng():
    rng = np.random.default_rng(3)
    x, z = rng.normal(size=(80, 6)), rng.normal(size=80)
    tree = make_pipeline(StandardScaler(), DecisionTreeRegressor(max_features=1))
    first, again, other = (rd.mmse(z, x, tree, rng=seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first.per_unit, again.per_unit)
    assert first.value != other.value
    assert tree.get_params()["decisiontreeregressor__random_state"] is None  # the caller's object is untouched


class Memory(RegressorMixin, BaseEstimator):
    """Predicts 0 for a row that it was fitted on and 1 for any other, so that leaks can be counted."""

    def fit(self, x, z):
        self.seen_ = {row.tobytes() for row in x[:, 1:]}
        return self

    def predict(self, x):
        return np.array([0.0 if row.tobytes() in self.seen_ else 1.0 for row in x[:, 1:]])


def test_no_image_is_split_between_folds():
    # Every row of an image has the same last columns, so a shared image would be recognised.
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(10), rng.integers(1, 6, 10))
    x = np.column_stack([rng.normal(size=groups.size), groups, groups])
    z = 1.0 + 1e-9 * rng.normal(size=groups.size)
    assert rd.mmse(z, x, Memory(), folds=5, groups=groups, rng=0).value < 1e-12
    assert rd.mmse(z, x, Memory(), folds=5, rng=0).value > 0.3


def test_images_count_the_same_whatever_their_size():
    rng = np.random.default_rng(5)
    groups = np.repeat([3, 1, 2, 9], [1, 2, 30, 7])
    x, z = rng.normal(size=(40, 2)), rng.normal(size=40)
    estimate = rd.mmse(z, x, Ridge(), folds=2, groups=groups, rng=0)
    assert estimate.n == 4
    assert estimate.unit_of_sampling == "image"
    np.testing.assert_array_equal(estimate.rows, [2, 30, 1, 7])
    assert estimate.value == pytest.approx(estimate.per_unit.mean())


def test_vector_targets_add_up_over_their_columns():
    rng = np.random.default_rng(6)
    x = rng.normal(size=(100, 3))
    z = x @ rng.normal(size=(3, 4)) + rng.normal(size=(100, 4))
    whole = rd.mmse(z, x, Ridge(), rng=0)
    parts = [rd.mmse(column, x, Ridge(), rng=0) for column in z.T]
    assert whole.value == pytest.approx(sum(p.value for p in parts))
    # A regressor of one column at a time is repeated.
    assert rd.mmse(z, x, SVR(kernel="linear"), folds=2, rng=0).value > 0


def test_wide_vector_targets_through_the_panel():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(120, 3))
    z = x @ rng.normal(size=(3, 90)) + 0.1 * rng.normal(size=(120, 90))
    estimate = rd.mmse(z, x, folds=2, rng=0)
    assert "boosting" not in estimate.details["regressors"]
    assert 0.8 < estimate.value / (90 * 0.01) < 1.5


def test_classes_are_scored_by_brier_log_loss_and_accuracy():
    rng = np.random.default_rng(8)
    n = 2000
    z = rng.integers(0, 3, n)
    # X says the class with probability .7 and one of the others else.
    shown = np.where(rng.random(n) < 0.7, z, (z + rng.integers(1, 3, n)) % 3)
    x = np.eye(3)[shown]
    exact = 1 - (0.49 + 2 * 0.0225)
    for regressor in (LogisticRegression(C=100), Ridge()):
        estimate = rd.mmse(z, x, regressor, rng=0)
        assert estimate.value == pytest.approx(exact, abs=0.03)
        assert estimate.details["accuracy"] == pytest.approx(0.7, abs=0.03)
        entropy = -0.7 * np.log(0.7) - 0.3 * np.log(0.15)
        assert estimate.details["log_loss"] == pytest.approx(entropy, abs=0.06)
        assert estimate.support == (0.0, 2.0)
    words = rd.mmse(np.array(["cat", "dog", "owl"])[z], x, LogisticRegression(C=100), rng=0)
    numbers = rd.mmse(z, x, LogisticRegression(C=100), rng=0)
    np.testing.assert_array_equal(words.per_unit, numbers.per_unit)
    assert rd.mmse(z, x, Ridge(), rng=0, task="regression").unit == "z²"


def test_log_loss_mixes_in_a_hundredth_of_the_uniform_distribution():
    z = np.array([0, 0, 0, 1, 2, 2])
    x = np.arange(6.0)[:, None]
    certain = DummyClassifier(strategy="constant", constant=0).fit(x, z)
    estimate = rd.mmse(z, x, certain, folds=None)
    right, wrong = -np.log(0.99 + 0.01 / 3), -np.log(0.01 / 3)
    assert estimate.details["log_loss"] == pytest.approx((right + wrong) / 2, rel=1e-12)


def test_panel_for_classes():
    rng = np.random.default_rng(9)
    x = rng.normal(size=(150, 2))
    z = x[:, 0] + 0.3 * rng.normal(size=150) > 0
    estimate = rd.mmse(z, x, folds=2, rng=0)
    assert "logistic" in estimate.details["regressors"]
    assert estimate.value < 0.25
    assert estimate.details["accuracy"] > 0.8


def test_a_class_missing_from_a_fold_gets_probability_zero():
    rng = np.random.default_rng(10)
    z = np.array([7] * 20 + [9] * 20 + [11])
    x = rng.normal(size=(41, 2)) + z[:, None]
    for regressor in (GaussianNB(), None):
        assert rd.mmse(z, x, regressor, folds=2, rng=0).value < 1.0


def test_project_to_simplex_against_its_definition():
    from redundancy.prediction.panel import project_to_simplex

    rng = np.random.default_rng(11)
    p = project_to_simplex(rng.normal(size=(50, 4)))
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    assert (p >= 0).all()
    np.testing.assert_allclose(project_to_simplex(p), p, atol=1e-15)
    # Optimality: <q - p, raw - p> <= 0 for every vertex q.
    raw = rng.normal(size=(50, 4))
    p = project_to_simplex(raw)
    inner = np.einsum("nk,nk->n", -p, raw - p)[:, None] + (raw - p)
    assert (inner <= 1e-12).all()


def test_functional_is_paired_and_signed():
    rng = np.random.default_rng(12)
    x = rng.normal(size=(600, 2))
    z = x.sum(axis=1) + rng.normal(size=600)
    gap = rd.functional(z, x, x[:, :1], Ridge(), rng=0)
    # The later state lost a unit of variance: mmse(Z | Y) - mmse(Z | X) = 1.
    assert gap.value == pytest.approx(1.0, abs=0.2)
    np.testing.assert_allclose(gap.per_unit, gap.details["loss_y"] - gap.details["loss_x"])
    assert gap.value == pytest.approx(gap.details["y"]["risk"] - gap.details["x"]["risk"])
    back = rd.functional(z, x[:, :1], x, Ridge(), rng=0)
    np.testing.assert_allclose(back.per_unit, -gap.per_unit)


def test_equal_states_have_a_gap_of_exactly_zero():
    rng = np.random.default_rng(13)
    x, z = rng.normal(size=(80, 3)), rng.normal(size=80)
    for regressor in (None, DecisionTreeRegressor(max_features=1)):
        assert (rd.functional(z, x, x.copy(), regressor, folds=2, rng=0).per_unit == 0).all()


def test_pairing_makes_the_spread_small_when_the_predictors_agree():
    rng = np.random.default_rng(14)
    x = rng.normal(size=(500, 3))
    z = x.sum(axis=1) + 3 * rng.normal(size=500)
    gap = rd.functional(z, x, x + 0.05 * rng.normal(size=x.shape), Ridge(), rng=0)
    assert gap.per_unit.std() < 0.1 * gap.details["loss_x"].std()


def test_two_regressors_one_for_each_side():
    rng = np.random.default_rng(15)
    x, z = rng.normal(size=(90, 3)), rng.normal(size=90)
    pair = rd.functional(z, x, x, (Ridge(1.0), Ridge(100.0)), rng=0)
    assert pair.value != 0
    assert pair.settings["regressor"] == "Ridge / Ridge"
    alone = rd.mmse(z, x, Ridge(100.0), rng=np.random.default_rng(15))
    assert alone.value > 0


def test_fitted_regressors_only_predict():
    rng = np.random.default_rng(16)
    x, z = rng.normal(size=(50, 2)), rng.normal(size=50)
    model = Ridge().fit(x, z)
    fresh, truth = rng.normal(size=(30, 2)), rng.normal(size=30)
    estimate = rd.mmse(truth, fresh, model, folds=None)
    np.testing.assert_allclose(estimate.per_unit, (truth - model.predict(fresh)) ** 2)
    assert estimate.details["fold_of_unit"] is None
    classifier = LogisticRegression().fit(x, np.where(z > 0, "yes", "no"))
    answers = np.array(["yes", "no"] * 15)
    scored = rd.mmse(answers, fresh, classifier, folds=None)
    chance = classifier.predict_proba(fresh)[np.arange(30), (answers == "yes").astype(int)]
    np.testing.assert_allclose(scored.per_unit, 2 * (1 - chance) ** 2)
    with pytest.raises(ValueError, match="classifier of the labels"):
        rd.mmse(np.array(["yes", "maybe"] * 15), fresh, classifier, folds=None)


def test_target_range_bounds_the_loss_and_never_raises_it():
    rng = np.random.default_rng(17)
    x = rng.normal(size=(60, 30))
    z = (x[:, 0] > 0).astype(float)
    free, boxed = rd.mmse(z, x, Ridge(0.01), rng=0), rd.mmse(z, x, Ridge(0.01), rng=0, target_range=(0, 1))
    assert boxed.support == (0.0, 1.0)
    assert free.support == (0.0, np.inf)
    assert (boxed.per_unit <= free.per_unit + 1e-15).all()
    assert boxed.value < free.value
    assert rd.functional(z, x, x[:, :5], Ridge(), rng=0, target_range=(0, 1)).support == (-1.0, 1.0)


def test_risk_difference_of_two_frozen_networks():
    wrong_full = np.array([0, 0, 1, 0, 1, 0.0])
    wrong_skip = np.array([0, 1, 1, 0, 0, 1.0])
    groups = np.array([0, 0, 1, 1, 2, 2])
    gap = rd.risk_difference(wrong_full, wrong_skip, largest_loss=1.0, groups=groups)
    np.testing.assert_allclose(gap.per_unit, [0.5, 0.0, 0.0])
    assert gap.quantity == "functional"
    assert gap.support == (-1.0, 1.0)
    with pytest.raises(ValueError, match="two vectors of one length"):
        rd.risk_difference(wrong_full, wrong_skip[:5], largest_loss=1.0)
    with pytest.raises(ValueError, match=r"losses in \[0, 0.5\]"):
        rd.risk_difference(wrong_full, wrong_skip, largest_loss=0.5)


def test_torch_states_are_taken():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(18)
    x, z = rng.normal(size=(40, 2)), rng.normal(size=40)
    plain = rd.mmse(z, x, Ridge(), rng=0)
    tensors = rd.mmse(torch.tensor(z), torch.tensor(x, requires_grad=True), Ridge(), rng=0)
    np.testing.assert_allclose(tensors.per_unit, plain.per_unit)
    assert rd.mmse(z, torch.tensor(x).bfloat16(), Ridge(), rng=0).value > 0
    assert rd.mmse(torch.arange(40) % 2, x, Ridge(), rng=0).settings["classes"] == 2


def test_folds_are_equal_in_size_and_random():
    fold = cross_fitting.assign_folds(23, 5, np.random.default_rng(0))
    assert sorted(np.bincount(fold)) == [4, 4, 5, 5, 5]
    assert (fold != cross_fitting.assign_folds(23, 5, np.random.default_rng(1))).any()


GOOD = np.random.default_rng(19).normal(size=(20, 3))
Z = GOOD.sum(axis=1)
HOLE = GOOD.copy()
HOLE[7, 1] = np.nan


class Broken(RegressorMixin, BaseEstimator):
    def fit(self, x, z):
        return self

    def predict(self, x):
        return np.full(x.shape[0], np.nan)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"groups": np.zeros(20)}, ValueError, "cross-fitting needs at least two"),
        ({"z": np.full(20, 3.0)}, ValueError, "z: expected a target that varies"),
        ({"z": np.array(["a"] * 20)}, ValueError, "at least two classes"),
        ({"z": np.arange(20)}, ValueError, "looks like a continuous target"),
        ({"folds": 21}, ValueError, "21 folds for 20 rows"),
        ({"folds": 5, "groups": np.repeat([0, 1, 2], [5, 5, 10])}, ValueError, "5 folds for 3 groups"),
        ({"folds": 1}, ValueError, "folds: expected an integer >= 2"),
        ({"folds": 2.5}, ValueError, "folds: expected an integer >= 2"),
        ({"folds": True}, ValueError, "folds: expected an integer >= 2"),
        ({"x": HOLE}, ValueError, r"x: expected finite numbers.*first \[7\]"),
        ({"z": np.where(np.arange(20) == 4, np.nan, Z)}, ValueError, r"z: expected finite.*first \[4\]"),
        ({"x": GOOD[:19]}, ValueError, "20 and 19 rows"),
        ({"groups": np.zeros(3)}, ValueError, "groups: expected one label"),
        ({"regressor": Ridge}, TypeError, "got the class Ridge"),
        ({"regressor": KMeans(2)}, TypeError, "expected a regressor.*KMeans, a clusterer"),
        ({"regressor": StandardScaler()}, TypeError, "with fit and predict, got StandardScaler"),
        ({"regressor": "ridge"}, TypeError, "got str"),
        ({"regressor": LogisticRegression()}, TypeError, "LogisticRegression, a classifier"),
        ({"z": Z > 0, "regressor": SVC()}, TypeError, "predict_proba"),
        ({"regressor": Ridge(), "folds": None}, ValueError, "unfitted Ridge"),
        ({"folds": None}, ValueError, "None needs a fitted regressor"),
        ({"regressor": Broken()}, ValueError, "with NaN or infinity from Broken"),
        ({"task": "ranking"}, ValueError, "task: expected one of"),
        ({"z": GOOD, "task": "classification"}, ValueError, "one class label per row"),
        ({"z": np.where(Z > 0, np.nan, 1.0), "task": "classification"}, ValueError, "z: expected finite"),
        ({"target_range": (0.0, 0.1)}, ValueError, "numbers in target_range"),
        ({"target_range": (1.0, 0.0)}, ValueError, "low < high"),
        ({"z": Z > 0, "target_range": (0.0, 1.0)}, ValueError, "with a continuous target only"),
    ],
)
def test_bad_input_is_refused_with_a_clear_message(change, error, words):
    call = {"z": Z, "x": GOOD, "regressor": Ridge(), **change}
    if "folds" in change and change["folds"] is None and "regressor" not in change:
        call["regressor"] = None
    with pytest.raises(error, match=words):
        rd.mmse(call.pop("z"), call.pop("x"), **call)
    call = {"z": Z, "x": GOOD, "regressor": Ridge(), **change, "y": GOOD}
    if "folds" in change and change["folds"] is None and "regressor" not in change:
        call["regressor"] = None
    with pytest.raises(error, match=words):
        rd.functional(call.pop("z"), call.pop("x"), call.pop("y"), **call)
