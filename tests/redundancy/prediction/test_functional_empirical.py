"""Theorem 2 on fitted predictors: exact risks and regression errors of a finite instance against (4.1)."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor

import bounds
import redundancy as rd

POINTS, STEP, NOISE, LIPSCHITZ = 24, 2, 0.3, 1.7
ANGLES = 2 * np.pi * np.arange(POINTS) / POINTS
CIRCLE = np.column_stack([np.cos(ANGLES), np.sin(ANGLES)])
COSINE = np.cos(ANGLES[STEP])
# X uniform on a circle, Y the point STEP to the left or right, Z = LIPSCHITZ * Y + noise: E[Z | X, Y] is constant in
# X and LIPSCHITZ-Lipschitz in Y, E[Z | X] = LIPSCHITZ * cos(step) * X, and E distance = 1 - cos(step).
EXACT_X = 2 * NOISE**2 + LIPSCHITZ**2 * (1 - COSINE**2)
EXACT_Y = 2 * NOISE**2


def sample(rng, n):
    i = rng.integers(POINTS, size=n)
    j = (i + rng.choice([-STEP, STEP], size=n)) % POINTS
    return CIRCLE[i], CIRCLE[j], LIPSCHITZ * CIRCLE[j] + NOISE * rng.normal(size=(n, 2))


class Recording:
    """A regressor that remembers what was fitted, so that its exact error can be computed afterwards."""

    def __init__(self, make):
        self.make, self.models = make, []

    def fit(self, x, z):
        self.models.append(self.make().fit(x, z))
        return self

    def predict(self, x):
        return self.models[-1].predict(x)

    def __deepcopy__(self, memo):
        return self

    def errors(self, truth):
        """delta = E |f - E[Z | .]|^2 of each fitted model, exactly: the points are uniform."""
        return np.array([np.square(m.predict(CIRCLE) - truth).sum(axis=1).mean() for m in self.models])


@pytest.mark.parametrize(
    "make",
    [lambda: Ridge(1e-6), lambda: Ridge(3000.0), DecisionTreeRegressor, lambda: KNeighborsRegressor(300)],
    ids=["ridge", "shrunken ridge", "tree", "neighbours"],
)
def test_cross_fitted_risks_obey_theorem_2(make):
    x, y, z = sample(np.random.default_rng(0), 2000)
    for_x, for_y = Recording(make), Recording(make)
    gap = rd.functional(z, x, y, (for_x, for_y), rng=0)
    delta_x, delta_y = (
        for_x.errors(LIPSCHITZ * COSINE * CIRCLE),
        for_y.errors(LIPSCHITZ * CIRCLE),
    )
    # (0.1): the risk of what was fitted is mmse + delta; the cross-fitted estimate is its sample mean.
    for side, exact, delta in (("x", EXACT_X, delta_x), ("y", EXACT_Y, delta_y)):
        error = 4 * gap.details[f"loss_{side}"].std() / np.sqrt(2000)
        assert gap.details[side]["risk"] == pytest.approx(exact + delta.mean(), abs=error)
    difference = EXACT_X + delta_x - EXACT_Y - delta_y
    low, high = bounds.empirical_functional_from_geometric(1 - COSINE, 0.0, LIPSCHITZ, delta_x, delta_y)
    assert (low <= difference + 1e-12).all()
    assert (difference <= high + 1e-12).all()
    # The rotation attains the theorem: what is left is delta_y exactly.
    np.testing.assert_allclose(high - difference, delta_y, atol=1e-12)
    error = 4 * gap.per_unit.std() / np.sqrt(2000)
    assert low.mean() - error <= -gap.value <= high.mean() + error


def test_leaving_the_regression_error_out_would_be_noticed():
    x, y, z = sample(np.random.default_rng(1), 2000)
    for_x = Recording(lambda: KNeighborsRegressor(1500))
    gap = rd.functional(z, x, y, (for_x, Ridge(1e-6)), rng=0)
    _, high = bounds.empirical_functional_from_geometric(1 - COSINE, 0.0, LIPSCHITZ, 0.0, 0.0)
    assert -gap.value > high + 4 * gap.per_unit.std() / np.sqrt(2000)
