"""CKA, Procrustes distance and principal angles against definitions, closed forms and SciPy."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import scipy.linalg
import scipy.spatial
from hypothesis import given
from hypothesis import strategies as st

import redundancy as rd
from redundancy.similarity.kernel_alignment import centred_on_images, cka, unbiased_hsic
from redundancy.similarity.principal_angles import subspace_angles
from redundancy.similarity.procrustes_distance import procrustes

RNG = np.random.default_rng(7)


def hsic_by_enumeration(a, b, index):
    """Average over ordered tuples of distinct images of the kernel of HSIC, rows averaged within images."""
    images = range(index.max() + 1)
    rows = [np.flatnonzero(index == i) for i in images]
    mean_a, mean_b = (np.stack([m[r].mean(0) for r in rows]) for m in (a, b))
    pairs = [
        np.mean([(a[r] @ a[s]) * (b[r] @ b[s]) for r in rows[i] for s in rows[j]]) for i, j in permutations(images, 2)
    ]
    triples = [
        np.mean([(a[r] @ mean_a[j]) * (b[r] @ mean_b[k]) for r in rows[i]]) for i, j, k in permutations(images, 3)
    ]
    fours = [(mean_a[i] @ mean_a[j]) * (mean_b[k] @ mean_b[m]) for i, j, k, m in permutations(images, 4)]
    return np.mean(pairs) - 2 * np.mean(triples) + np.mean(fours)


@pytest.mark.parametrize("sizes", [[1] * 6, [3, 1, 2, 4, 1]])
def test_the_sums_are_those_of_the_enumeration(sizes):
    index = RNG.permutation(np.repeat(np.arange(len(sizes)), sizes))
    n = index.size
    a, b = RNG.normal(size=(n, 3)), RNG.normal(size=(n, 2)) + 5
    expected = hsic_by_enumeration(a, b, index)
    assert unbiased_hsic(a, b, index, np.array(sizes)) == pytest.approx(expected, rel=1e-10)
    # Shifts leave the kernel of HSIC alone.
    assert unbiased_hsic(a + 3, b - 1, index, np.array(sizes)) == pytest.approx(expected, rel=1e-9)


def test_plain_cka_is_the_gram_matrix_formula():
    a, b = RNG.normal(size=(40, 5)), RNG.normal(size=(40, 9))
    centring = np.eye(40) - 1 / 40
    k, m = centring @ a @ a.T @ centring, centring @ b @ b.T @ centring
    expected = np.sum(k * m) / np.sqrt(np.sum(k * k) * np.sum(m * m))
    assert cka(a, b, debiased=False).value == pytest.approx(expected, rel=1e-12)


@given(st.integers(0, 2**32 - 1), st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_shifts_scales_and_rotations_do_not_matter(seed, shift, scale):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(30, 4)), rng.normal(size=(30, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    moved = scale * (x @ turn) + shift * scale
    for measure in (cka, procrustes):
        assert measure(moved, y).value == pytest.approx(measure(x, y).value, abs=1e-7)
    assert np.allclose(subspace_angles(moved, y).value, subspace_angles(x, y).value, atol=1e-6)


def test_debiased_cka_of_independent_images_averages_to_zero_and_the_plain_one_does_not():
    rng = np.random.default_rng(0)
    image = np.repeat(np.arange(30), 6)
    values, plain, by_row = [], [], []
    for _ in range(200):
        a, b = (np.repeat(rng.normal(size=(30, 5)), 6, axis=0) + 0.3 * rng.normal(size=(180, 5)) for _ in range(2))
        values.append(cka(a, b, groups=image).value)
        plain.append(cka(a, b, debiased=False, groups=image).value)
        by_row.append(cka(a, b).value)
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * error < 0.02
    assert np.mean(plain) > 0.1
    # Rows of one image taken for independent rows look like dependence.
    assert np.mean(by_row) > 10 * error


def test_procrustes_is_what_scipy_finds():
    a, b = RNG.normal(size=(50, 4)), RNG.normal(size=(50, 4))
    # SciPy's disparity also fits the scale: 1 - nuclear^2.
    _, _, disparity = scipy.spatial.procrustes(a, b)
    nuclear = 1 - procrustes(a, b).value / 2
    assert 1 - nuclear**2 == pytest.approx(disparity, rel=1e-10)


def test_angles_are_those_of_scipy_and_of_canonical_correlations():
    x = RNG.normal(size=(500, 3))
    y = x @ RNG.normal(size=(3, 2)) + RNG.normal(size=(500, 2))
    centred = [m - m.mean(0) for m in (x, y)]
    assert np.allclose(subspace_angles(x, y).value, np.sort(scipy.linalg.subspace_angles(*centred)), atol=1e-9)
    from sklearn.cross_decomposition import CCA

    scores = CCA(n_components=2, tol=1e-12, max_iter=5000).fit(x, y).transform(x, y)
    correlations = [np.corrcoef(scores[0][:, i], scores[1][:, i])[0, 1] for i in range(2)]
    assert np.allclose(np.cos(subspace_angles(x, y).value), sorted(correlations, reverse=True), atol=1e-5)


@pytest.mark.parametrize("constant", [0.0, 0.3, 1e300, -7.1])
def test_constant_and_repeated_columns_change_nothing(constant):
    x, y = RNG.normal(size=(60, 3)), RNG.normal(size=(60, 2))
    more = np.c_[x, np.full(60, constant), x[:, 0]]
    assert subspace_angles(more, y).details["rank"] == (3, 2)
    assert np.allclose(subspace_angles(more, y).value, subspace_angles(x, y).value, atol=1e-8)
    assert cka(np.c_[x, np.full(60, constant)], y).value == pytest.approx(cka(x, y).value, abs=1e-12)


@pytest.mark.parametrize("measure", [cka, procrustes, subspace_angles])
def test_bad_input_is_one_clear_line(measure):
    x = RNG.normal(size=(20, 2))
    with pytest.raises(ValueError, match=r"x and y: expected paired rows, got 20 and 19"):
        measure(x, x[:-1])
    with pytest.raises(ValueError, match=r"y: expected states that vary"):
        measure(x, np.full((20, 3), 0.3))
    with pytest.raises(ValueError, match=r"x: expected finite numbers"):
        measure(np.where(x > 0, np.nan, x), x)
    assert measure(x, x[:, :1], groups=np.arange(20)).unit_of_sampling == "image"


def test_too_few_rows_are_refused():
    with pytest.raises(ValueError, match="at least 4 images for the debiased form, got 3"):
        cka(RNG.normal(size=(9, 2)), RNG.normal(size=(9, 2)), groups=np.repeat([0, 1, 2], 3))
    with pytest.raises(ValueError, match=r"10 rows and ranks 5 \+ 6"):
        subspace_angles(RNG.normal(size=(10, 5)), RNG.normal(size=(10, 6)))
    with pytest.raises(ValueError, match="rank_tolerance: expected a number in"):
        subspace_angles(RNG.normal(size=(10, 2)), RNG.normal(size=(10, 2)), rank_tolerance=float("nan"))


def test_offsets_of_activations_do_not_cost_digits():
    x = RNG.normal(size=(100, 4))
    y = x[:, :2] + RNG.normal(size=(100, 2))
    for offset in (1e3, 1e6):
        assert cka(x + offset, y).value == pytest.approx(cka(x, y).value, abs=1e-9)
    assert np.abs(centred_on_images(np.full((5, 2), 0.1), np.arange(5), np.ones(5, dtype=int))).max() == 0.0


def test_they_are_public():
    assert rd.cka is cka
    assert rd.procrustes is procrustes
    assert rd.subspace_angles is subspace_angles


def test_equal_layers_are_never_at_a_negative_distance():
    rng = np.random.default_rng(0)
    for rows in (2, 3, 5, 40):
        for seed in range(20):
            x = rng.standard_normal((rows, 3)) + seed
            assert 0.0 <= rd.procrustes(x, 3.0 * x).value < 1e-12
