"""Sums of moments without a model: against plain estimators on the rows that were summed."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge

import redundancy as rd
from redundancy.prediction.ridge_path import STRENGTHS
from vlm.hidden_states.moment_exact import ExactSum
from vlm.hidden_states.moment_ridge import STARTS, fitted_map, joined, reconstruction, ridge_paths
from vlm.hidden_states.moment_statistics import (
    canonical_correlations,
    centred_kernel_alignment,
    covariance_x,
    effective_rank,
    gaussian_information,
)
from vlm.hidden_states.moment_sums import MomentSums


def residual_rows(prompts=40, d=6, seed=0, sizes=(2, 9), noise=0.2, shift=0.0):
    """Rows of two layers, y = x A + noise, with a part that a prompt's rows share."""
    rng = np.random.default_rng(seed)
    image = np.repeat(np.arange(prompts), rng.integers(*sizes, prompts))
    x = rng.normal(size=(image.size, d)) + rng.normal(size=(prompts, d))[image] + shift
    a = np.eye(d) + 0.3 * np.random.default_rng(99).normal(size=(d, d))
    return x, x @ a + noise * rng.normal(size=x.shape) + 0.5, image


def folds_of(x, y, image, folds=2, **options):
    return tuple(MomentSums.of_rows(*(v[image % folds == k] for v in (x, y, image)), **options) for k in range(folds))


@pytest.mark.parametrize("shift", [0.0, 3.0])
@pytest.mark.parametrize("project", [None, 4])
def test_sums_about_another_origin_are_the_sums_of_moved_rows(project, shift):
    x, y, image = residual_rows(prompts=12)
    basis = None if project is None else np.linalg.qr(np.random.default_rng(1).normal(size=(6, project)))[0].T
    dx, dy = np.full(6, shift), np.linspace(-2, 2, 6)
    got = MomentSums.of_rows(x, y, image, basis=basis).about(dx, dy)
    expected = MomentSums.of_rows(x, y, image, basis=basis, shift_x=dx, shift_y=dy)
    for name in ("x", "y", "ux", "uy", "vx", "vy", "square_x", "square_y", "square_step"):
        np.testing.assert_allclose(getattr(got, name), getattr(expected, name), rtol=1e-12, atol=1e-10, err_msg=name)
    for side in ("alignment_x", "alignment_y", "alignment"):
        for name in getattr(got, side).__dataclass_fields__:
            a, b = (getattr(getattr(sums, side), name) for sums in (got, expected))
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-8, err_msg=f"{side}.{name}")


def test_reversed_sums_are_those_of_exchanged_layers():
    x, y, image = residual_rows(prompts=9)
    got, expected = MomentSums.of_rows(x, y, image).reversed(), MomentSums.of_rows(y, x, image)
    for name in ("x", "y", "ux", "uy", "vx", "vy", "square_x", "square_y", "square_step"):
        np.testing.assert_allclose(getattr(got, name), getattr(expected, name), rtol=1e-12, err_msg=name)
    for name in got.alignment.__dataclass_fields__:
        a, b = getattr(got.alignment, name), getattr(expected.alignment, name)
        np.testing.assert_allclose(a, b, rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("start", ["identity", "mean"])
@pytest.mark.parametrize("place", [3, 12, 25])
@pytest.mark.parametrize("project", [None, 3])
def test_ridge_errors_are_those_of_scikit_learn(start, place, project):
    x, y, image = residual_rows()
    basis = None if project is None else np.linalg.qr(np.random.default_rng(1).normal(size=(6, project)))[0].T
    train, test = folds_of(x, y, image, basis=basis)
    got = ridge_paths(train)[STARTS.index(start)].errors(test)[place] / test.prompts
    u = x if basis is None else x @ basis.T
    weight = 1.0 / np.bincount(image)[image]
    fit = image % 2 == 0
    centred = u[fit] - np.average(u[fit], axis=0, weights=weight[fit])
    trace = float(weight[fit] @ np.square(centred).sum(axis=1)) / len(set(image[fit]))
    target = y - x if start == "identity" else y
    model = Ridge(alpha=STRENGTHS[place] * trace * len(set(image[fit])), solver="cholesky")
    model.fit(u[fit], target[fit], sample_weight=weight[fit])
    losses = np.square(target[~fit] - model.predict(u[~fit])).sum(axis=1)
    assert got == pytest.approx(float(weight[~fit] @ losses) / len(set(image[~fit])), rel=1e-9)


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_the_chosen_strength_is_the_best_of_cross_validation(folds):
    x, y, image = residual_rows(prompts=60, d=20, noise=1.0, sizes=(1, 3))
    parts = folds_of(x, y, image, folds)
    result = reconstruction(parts)
    table = []
    for k in range(folds):
        train = joined(parts[:k] + parts[k + 1 :])
        table.append([path.errors(parts[k]) for path in ridge_paths(train)])
    table = np.array(table)
    if folds == 2:
        assert result.error == pytest.approx(table.sum(axis=0).min() / 60)
    else:
        assert table.min(axis=(1, 2)).sum() / 60 <= result.error <= 1.2 * table.sum(axis=0).min() / 60
    assert sum(e * p.prompts for e, p in zip(result.fold_errors, parts, strict=True)) / 60 == pytest.approx(
        result.error
    )


def test_a_fold_is_never_tested_by_a_map_that_saw_it():
    """Noise that a fitted map would explain in its own fold: the cross-fitted error is above the variance."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 40, 30))
    image = np.arange(40)
    result = reconstruction(folds_of(x, y, image))
    assert 0.97 < result.relative < 1.2
    assert result.relative_identity == pytest.approx(2.0, rel=0.1)


def test_reconstruction_of_a_linear_gaussian_layer_reaches_its_noise():
    x, y, image = residual_rows(prompts=3000, noise=0.3)
    parts = folds_of(x, y, image)
    result = reconstruction(parts)
    assert result.error == pytest.approx(6 * 0.3**2, rel=0.02)
    assert result.error < result.identity
    backward = reconstruction(tuple(part.reversed() for part in parts))
    cov = np.cov(np.c_[x, y].T)
    schur = cov[:6, :6] - cov[:6, 6:] @ np.linalg.solve(cov[6:, 6:], cov[6:, :6])
    assert backward.error == pytest.approx(np.trace(schur), rel=0.02)


def test_the_fitted_map_gives_the_error_that_the_sums_predict():
    x, y, image = residual_rows()
    parts = folds_of(x, y, image)
    fit = fitted_map(parts)
    new = residual_rows(seed=5)
    weight = 1.0 / np.bincount(new[2])[new[2]] / 40
    direct = float(weight @ np.square(new[1] - fit(new[0])).sum(axis=1))
    path = ridge_paths(joined(parts))[0 if fit.scale else 1]
    place = int(np.argmin(abs(STRENGTHS - fit.strength)))
    assert path.errors(MomentSums.of_rows(*new))[place] / 40 == pytest.approx(direct, rel=1e-10)


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("sizes", [(1, 2), (5, 6), (1, 9)])
def test_alignment_equals_the_estimator_on_the_rows(debiased, sizes):
    x, y, image = residual_rows(sizes=sizes, shift=4.0)
    got = centred_kernel_alignment(MomentSums.of_rows(x, y, image), debiased=debiased)
    assert got == pytest.approx(rd.cka(x, y, debiased=debiased, groups=image).value, rel=1e-10, abs=1e-11)
    independent = np.random.default_rng(3).normal(size=x.shape)
    got = centred_kernel_alignment(MomentSums.of_rows(x, independent, image), debiased=debiased)
    assert got == pytest.approx(rd.cka(x, independent, debiased=debiased, groups=image).value, rel=1e-9, abs=1e-11)


def test_alignment_of_too_few_prompts_or_of_a_constant_layer_is_undefined():
    x, y, image = residual_rows(prompts=3)
    sums = MomentSums.of_rows(x, y, image)
    assert math.isnan(centred_kernel_alignment(sums))
    assert centred_kernel_alignment(sums, debiased=False) > 0.5
    assert math.isnan(centred_kernel_alignment(MomentSums.of_rows(x, np.ones_like(y), image), debiased=False))


def test_canonical_correlations_and_information_equal_the_estimators_on_the_rows():
    x, y, _ = residual_rows(prompts=400, noise=1.0)
    sums = MomentSums.of_rows(x, y)
    correlations = canonical_correlations(sums)
    np.testing.assert_allclose(correlations.values, np.cos(rd.subspace_angles(x, y).value), rtol=1e-9)
    expected = rd.gaussian_information(x, y).value
    assert gaussian_information(sums) == pytest.approx(expected, rel=1e-9)


def test_constant_and_duplicated_columns_change_nothing():
    x, y, image = residual_rows(prompts=200, noise=0.5)
    plain = MomentSums.of_rows(x, y, image)
    wide_x, wide_y = (np.c_[v, v[:, 0], np.full(len(v), 1e3), np.zeros(len(v))] for v in (x, y))
    wide = MomentSums.of_rows(wide_x, wide_y, image, shift_x=wide_x[0], shift_y=wide_y[0])
    assert canonical_correlations(wide).rank_x == 6
    np.testing.assert_allclose(canonical_correlations(wide).values, canonical_correlations(plain).values, rtol=1e-7)
    assert gaussian_information(wide) == pytest.approx(gaussian_information(plain), rel=1e-7)


def test_information_of_known_gaussian_layers():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 3))
    y = x + rng.normal(size=x.shape)
    prompt = np.repeat(np.arange(100), 40)
    assert gaussian_information(MomentSums.of_rows(x, y, prompt)) == pytest.approx(1.5 * math.log(2.0), rel=0.05)
    assert gaussian_information(MomentSums.of_rows(x, 2 * x, prompt)) == math.inf
    assert math.isnan(gaussian_information(MomentSums.of_rows(x[:7], y[:7])))


def test_effective_rank_counts_equal_directions():
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.normal(size=(1000, 4)) - 0.0)[0]
    x = np.c_[q - q.mean(0), np.zeros(1000)]
    x[:, :4] = np.linalg.qr(x[:, :4])[0]
    assert effective_rank(covariance_x(MomentSums.of_rows(x, x))) == pytest.approx(4.0, rel=1e-9)


def test_massive_activations_lose_no_digits():
    """Columns 1000 times larger than the rest, and a step that is small beside the states."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 8)).astype(np.float32).astype(np.float64)
    x[:, 0] += 2000.0
    x[::50, 1] *= 1000.0
    y = x + 0.01 * rng.normal(size=x.shape)
    image = np.repeat(np.arange(60), 10)
    pilots = dict(shift_x=x[:10].mean(0), shift_y=y[:10].mean(0))
    parts = folds_of(x, y, image, **pilots)
    result = reconstruction(parts)
    a, b = x - x.mean(0), y - y.mean(0)
    errors = []
    for k in (0, 1):
        fit = image % 2 != k
        u = a[fit] - a[fit].mean(0)
        gram, step = u.T @ u / len(u), (b - a)[fit]
        shrunk = gram + result.strengths[k] * np.trace(gram) * np.eye(8)
        w = np.linalg.solve(shrunk, u.T @ (step - step.mean(0)) / len(u))
        left = (b - a)[~fit] - step.mean(0) - (a[~fit] - a[fit].mean(0)) @ w
        errors.append(np.square(left).sum(1).mean())
    assert result.start == "identity"
    assert result.error == pytest.approx(np.mean(errors), rel=1e-6)


def test_exact_sums_do_not_depend_on_order_or_grouping():
    rng = np.random.default_rng(0)
    terms = [ExactSum.of(rng.normal(size=50) * 10.0 ** rng.integers(-8, 8, 50)) for _ in range(60)]
    plain = set()
    exact = []
    for seed, shards in itertools.product(range(4), (1, 2, 7)):
        order = np.random.default_rng(seed).permutation(60)
        parts = [sum_of([terms[i] for i in order[s::shards]]) for s in range(shards)]
        exact.append(sum_of(parts).value)
        plain.add(sum((terms[i].high for i in order[1:]), start=terms[order[0]].high).tobytes())
    assert len(plain) > 1, "the order matters to ordinary sums"
    assert len({value.tobytes() for value in exact}) == 1
    expected = [math.fsum(term.high[i] for term in terms) for i in range(50)]
    assert exact[0].tolist() == expected


def sum_of(terms):
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def test_bad_folds_are_refused():
    x, y, image = residual_rows(prompts=4)
    whole = MomentSums.of_rows(x, y, image)
    with pytest.raises(ValueError, match="at least 2 for cross-fitting, got 1"):
        reconstruction((whole,))
    with pytest.raises(ValueError, match="one shift"):
        _ = whole + whole.about(np.ones(6), np.ones(6))
    with pytest.raises(ValueError, match="one projection"):
        _ = whole + MomentSums.of_rows(x, y, image, basis=np.eye(6)[:2])
    nobody = replace(whole, prompts=0, tokens=0)
    with pytest.raises(ValueError, match=r"in each of the 2 folds, got \[4, 0\]; record more images"):
        reconstruction((whole, nobody))
