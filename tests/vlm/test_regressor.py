"""The torch regressor meets the scikit-learn contract and works inside mmse."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from sklearn.utils.estimator_checks import parametrize_with_checks

import redundancy as rd
from vlm.regressor import TorchMLPRegressor


@parametrize_with_checks([TorchMLPRegressor(hidden=(32,), epochs=60, learning_rate=1e-2, random_state=0)])
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def test_mmse_with_the_network_is_near_the_exact_value():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, (900, 1))
    z = np.column_stack([np.sin(3 * x[:, 0]), x[:, 0]]) + 0.3 * rng.normal(size=(900, 2))
    estimate = rd.mmse(z, x, TorchMLPRegressor(epochs=40), folds=2, rng=0)
    assert estimate.value == pytest.approx(0.18, abs=0.06)  # the constant's risk is 1.8
    again = rd.mmse(z, x, TorchMLPRegressor(epochs=40), folds=2, rng=0)
    np.testing.assert_array_equal(estimate.per_unit, again.per_unit)


def test_training_stops_early_and_keeps_the_best_weights():
    rng = np.random.default_rng(1)
    x, z = rng.normal(size=(200, 30)), rng.normal(size=200)
    model = TorchMLPRegressor(epochs=500, patience=5, random_state=0).fit(x, z)
    assert model.n_iter_ < 100
    # Nothing can be learned: the kept weights are not worse than the constant by much.
    assert model.validation_error_ < 1.5


def test_dropout_is_off_when_predicting():
    rng = np.random.default_rng(2)
    x, z = rng.normal(size=(50, 3)), rng.normal(size=50)
    model = TorchMLPRegressor(epochs=3, dropout=0.5, random_state=0).fit(x, z)
    np.testing.assert_array_equal(model.predict(x), model.predict(x))


@pytest.mark.parametrize("bad", [{"validation": 1.0}, {"epochs": 0}, {"batch_size": 0}, {"patience": 0}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match="expected"):
        TorchMLPRegressor(**bad).fit(np.zeros((3, 1)), np.arange(3.0))
