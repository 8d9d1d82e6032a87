"""Gaussian BROJA against closed forms, a grid over all couplings, and its own accounting."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import redundancy as rd


def information(sigma, a, b):
    def logdet(i):
        return np.linalg.slogdet(sigma[np.ix_(i, i)])[1]

    return 0.5 * (logdet(a) + logdet(b) - logdet(a + b))


def parts(dims):
    z, x, y = np.split(np.arange(sum(dims)), np.cumsum(dims)[:2])
    return list(z), list(x), list(y)


def random_covariance(seed, dims):
    a = np.random.default_rng(seed).normal(size=(sum(dims), sum(dims) + 2))
    return a @ a.T


def smallest_on_a_grid(sigma, d_z):
    """min over Cov(X, Y) of I(Z; X, Y) for one column of X and of Y, refined three times."""
    z, both = list(range(d_z)), [d_z, d_z + 1]
    limit = np.sqrt(sigma[d_z, d_z] * sigma[d_z + 1, d_z + 1])
    low, high, best = -limit, limit, np.inf
    for _ in range(4):
        grid, values = np.linspace(low, high, 2001), []
        for c in grid:
            q = sigma.copy()
            q[d_z, d_z + 1] = q[d_z + 1, d_z] = c
            values.append(information(q, z, both) if np.linalg.eigvalsh(q)[0] > 1e-12 else np.inf)
        place = int(np.argmin(values))
        best = min(best, values[place])
        low, high = grid[max(place - 1, 0)], grid[min(place + 1, 2000)]
    return best


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("d_z", [1, 2])
def test_against_a_grid_over_all_gaussian_couplings(d_z, seed):
    sigma = random_covariance(seed, (d_z, 1, 1))
    pid = rd.gaussian_broja(sigma, (d_z, 1, 1))
    assert pid.total - pid.synergistic == pytest.approx(smallest_on_a_grid(sigma, d_z), abs=1e-7)
    assert pid.exact or d_z == 2


@given(st.integers(0, 10_000), st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4)))
@settings(max_examples=40, deadline=None)
def test_accounting_units_and_roles(seed, dims):
    """Atoms sum to the three informations, are >= 0, follow X and Y when they swap, and ignore invertible maps."""
    sigma = random_covariance(seed, dims)
    z, x, y = parts(dims)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        pid = rd.gaussian_broja(sigma, dims)
        swapped = rd.gaussian_broja(sigma[np.ix_(z + y + x, z + y + x)], (dims[0], dims[2], dims[1]))
        scale = np.exp(np.random.default_rng(seed).normal(size=len(sigma)) * 3)
        scaled = rd.gaussian_broja(sigma * scale[:, None] * scale, dims)
    near = {"abs": 1e-9 + 2 * max(pid.gap, swapped.gap, scaled.gap)}
    assert pid.redundant + pid.unique_x == pytest.approx(information(sigma, z, x), abs=1e-9)
    assert pid.redundant + pid.unique_y == pytest.approx(information(sigma, z, y), abs=1e-9)
    assert pid.total == pytest.approx(information(sigma, z, x + y), abs=1e-9)
    assert min(pid.redundant, pid.unique_x, pid.unique_y, pid.synergistic) >= -1e-9 - pid.gap
    assert swapped.unique_y == pytest.approx(pid.unique_x, **near)
    assert scaled.redundant == pytest.approx(pid.redundant, **near)
    assert np.linalg.norm(pid.coupling, 2) <= 1 + 1e-12


def test_a_scalar_target_has_the_minimum_as_redundancy():
    sigma = random_covariance(7, (1, 3, 2))
    pid = rd.gaussian_broja(sigma, (1, 3, 2))
    z, x, y = parts((1, 3, 2))
    assert pid.redundant == pytest.approx(min(information(sigma, z, x), information(sigma, z, y)), abs=1e-12)
    assert (pid.exact, pid.gap) == (True, 0.0)


def test_separate_channels_are_unique_and_copies_are_redundant():
    identity = np.eye(2)
    cov = np.block([[identity, identity], [identity, 2 * identity]])  # X_i = Z_i + N_i, one part each
    pid = rd.gaussian_broja(cov, (2, 1, 1))
    half = 0.5 * np.log(2)
    for atom, value in zip(
        (pid.unique_x, pid.unique_y, pid.redundant, pid.synergistic), (half, half, 0, 0), strict=True
    ):
        assert atom == pytest.approx(value, abs=1e-7)
    rows = np.random.default_rng(0).normal(size=(500, 2))
    copied = rd.gaussian_broja_from_samples(rows @ [1, 1] + np.random.default_rng(1).normal(size=500), rows, rows)
    assert [copied.unique_x, copied.unique_y] == pytest.approx([0.0, 0.0], abs=1e-12)
    assert copied.synergistic == pytest.approx(0.0, abs=1e-9)


def test_constant_and_repeated_columns_change_nothing():
    rng = np.random.default_rng(3)
    z, x, y = (rng.normal(size=(400, 2)) for _ in range(3))
    x, y = x + z, y + z[:, ::-1] * 0.5
    plain = rd.gaussian_broja_from_samples(z, x, y)
    wide = rd.gaussian_broja_from_samples(
        np.c_[z, z.sum(1)], np.c_[x, x[:, 0], np.full(400, 0.3)], np.c_[y * 1e160, np.zeros(400)]
    )
    assert wide.redundant == pytest.approx(plain.redundant, abs=1e-7)
    assert wide.synergistic == pytest.approx(plain.synergistic, abs=1e-7)


def test_groups_of_one_row_are_no_groups_and_images_count_the_same():
    rng = np.random.default_rng(4)
    z = rng.normal(size=300)
    x, y = z + rng.normal(size=300), z + rng.normal(size=300)
    plain = rd.gaussian_broja_from_samples(z, x, y)
    single = rd.gaussian_broja_from_samples(z, x, y, groups=rng.permutation(300))
    assert single.redundant == pytest.approx(plain.redundant, abs=1e-12)
    copies = np.repeat(np.arange(300), rng.integers(1, 6, size=300))
    repeated = rd.gaussian_broja_from_samples(z[copies], x[copies], y[copies], groups=copies)
    assert repeated.redundant == pytest.approx(plain.redundant, abs=1e-12)
    assert repeated.n == 300


def test_bad_input():
    with pytest.raises(ValueError, match="dims: expected three numbers"):
        rd.gaussian_broja(np.eye(3), (1, 1, 2))
    with pytest.raises(ValueError, match="negative eigenvalues"):
        rd.gaussian_broja([[1, 2, 0], [2, 1, 0], [0, 0, 1]], (1, 1, 1))
    with pytest.raises(ValueError, match="x determines a direction of z"):
        rd.gaussian_broja([[1, 1, 0], [1, 1, 0], [0, 0, 1]], (1, 1, 1))
    with pytest.raises(ValueError, match="more images"):
        rd.gaussian_broja_from_samples([1, 2, 3], [1, 3, 2], [3, 1, 2])
    rows = np.random.default_rng(5).normal(size=(60, 18))
    with pytest.warns(RuntimeWarning, match="biased upwards by about"):
        rd.gaussian_broja_from_samples(rows[:, :6], rows[:, 6:12], rows[:, 12:], tol=1.0)
