"""Usable information: what a family of classifiers can extract."""

from __future__ import annotations

import math

import numpy as np
import pytest

import redundancy as rd


def classes(n=1200, noise=1.0, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.integers(3, size=n)
    return z, np.eye(3)[z] * 2 + noise * rng.standard_normal((n, 3))


def test_between_nothing_and_everything():
    z, x = classes()
    estimate = rd.usable_information(z, x, rng=0)
    assert 0.4 < estimate.value < math.log(3)
    assert estimate.value == pytest.approx(estimate.details["null"] - estimate.details["conditional"])
    assert estimate.details["accuracy"] > 0.75
    noise = rd.usable_information(z, np.random.default_rng(1).standard_normal((1200, 3)), rng=0)
    assert noise.value == pytest.approx(0.0, abs=0.02)
    clear = rd.usable_information(z, classes(noise=0.01)[1], rng=0)
    assert clear.value == pytest.approx(math.log(3), abs=0.05)


def test_at_most_the_mutual_information_of_a_discrete_input():
    """Gibbs: with all constants in the family, I_V <= I(X; Z); a one-hot logistic regression attains it."""
    rng = np.random.default_rng(0)
    law = rng.dirichlet(np.ones(3), size=4)
    code = rng.integers(4, size=6000)
    z = np.array([rng.choice(3, p=law[c]) for c in code])
    truth = rd.mutual_information(0.25 * law, kind="pmf").value
    estimate = rd.usable_information(z, np.eye(4)[code], rng=0).value
    assert truth - 0.05 < estimate < truth + 0.03


def test_no_data_processing_inequality():
    """A later layer can be MORE usable: XOR is invisible to a linear family until a layer computes the product."""
    rng = np.random.default_rng(0)
    x = rng.choice([-1.0, 1.0], size=(1000, 2))
    z = (x[:, 0] * x[:, 1] > 0).astype(int)
    early, late = (rd.usable_information(z, layer, rng=0).value for layer in (x, x[:, :1] * x[:, 1:]))
    assert early == pytest.approx(0.0, abs=0.02)
    assert late > 0.6


def test_units_are_images_and_stay_whole():
    z, x = classes()
    groups = np.repeat(np.arange(240), 5)
    estimate = rd.usable_information(z, x, groups=groups, rng=0)
    assert estimate.n == 240
    assert estimate.unit_of_sampling == "image"
    assert estimate.value == pytest.approx(estimate.per_unit.mean())
    low, high = estimate.support
    assert low <= estimate.per_unit.min()
    assert estimate.per_unit.max() <= high
    assert set(estimate.details["fold_of_unit"].tolist()) == set(range(5))


def test_grouping_prevents_leaks():
    """With copies of an image on both sides of a fold, a memorising classifier would look good."""
    from sklearn.neighbors import KNeighborsClassifier

    rng = np.random.default_rng(0)
    x = np.repeat(rng.standard_normal((150, 3)), 4, axis=0)
    z = np.repeat(rng.integers(2, size=150), 4)
    groups = np.repeat(np.arange(150), 4)
    memoriser = KNeighborsClassifier(1)
    leak = rd.usable_information(z, x, classifier=memoriser, rng=0).value
    honest = rd.usable_information(z, x, classifier=memoriser, groups=groups, rng=0).value
    assert leak > 0.5
    assert honest < 0.0


def test_any_classifier_and_reproducible():
    from sklearn.ensemble import RandomForestClassifier

    z, x = classes(300)
    forest = RandomForestClassifier(10)
    one, other = (rd.usable_information(z, x, classifier=forest, rng=1).value for _ in range(2))
    assert one == other
    words = np.array(["cat", "dog", "owl"])[z]
    assert rd.usable_information(words, x, rng=2).details["classes"] == ("cat", "dog", "owl")


@pytest.mark.parametrize(
    ("change", "options", "error", "message"),
    [
        (lambda z, x: (z[:-1], x), {}, ValueError, "one label per row"),
        (lambda z, x: (x, z), {}, ValueError, "the target is the first argument"),
        (lambda z, x: (z.astype(float), x), {}, TypeError, "class labels"),
        (lambda z, x: (np.zeros_like(z), x), {}, ValueError, "at least two classes"),
        (lambda z, x: (z, x), {"classes": [0, 1]}, ValueError, "labels in classes"),
        (lambda z, x: (z, np.where(x > 2, np.nan, x)), {}, ValueError, "NaN"),
        (lambda z, x: (z, x), {"folds": 1}, ValueError, "folds"),
        (lambda z, x: (z, x), {"mix": 1.0}, ValueError, "mix"),
    ],
)
def test_bad_input(change, options, error, message):
    with pytest.raises(error, match=message):
        rd.usable_information(*change(*classes(60)), **options)


def test_a_regressor_is_refused():
    from sklearn.linear_model import Ridge

    with pytest.raises(TypeError, match="predict_proba"):
        rd.usable_information(*classes(60), classifier=Ridge())
