"""The members of the default panel: seven kinds of regressors, each tuned by inner cross-validation.

Each `fit_...` function takes the features of all training rows, the target, the inner splits and a seed. It returns
the inner held-out predictions and `refit(z)`, which fits all rows with the choices that were made.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from redundancy.array_types import FloatArray, IntArray
from redundancy.prediction import gaussian_process
from redundancy.prediction.gaussian_process import LandmarkFit, LearnedKernel
from redundancy.prediction.ridge_path import STRENGTHS, dual_ridge_path, path_errors, ridge_path

COMPONENTS = 64  # principal components that the members other than ridge see
LANDMARKS = 500  # of the kernel member (Nystroem)
LANDMARK_BUDGET = 8_000_000  # rows times landmarks of a Gaussian process
HIDDEN = 8  # units of the network on the residuals of ridge
NEIGHBOURS = np.array([1, 2, 5, 10, 20, 50, 100])
WIDTHS = (0.3, 1.0, 3.0)  # kernel widths relative to the median squared distance
LOGISTIC_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)

Predict = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Features:
    """What the members see of the rows: every column (ridge), or at most COMPONENTS of them (the others)."""

    wide: FloatArray  # (n, p): standardised columns, or kernel rows against the training rows when d > n
    narrow: FloatArray  # (n, q)
    dual: bool


Splits = list[tuple[IntArray, IntArray]]  # (training rows, held-out rows) of each inner fold
Member = Callable[[Features], FloatArray]


class Tuned(NamedTuple):
    """A member after tuning: its inner held-out predictions, and how to fit it to all rows."""

    held_out: FloatArray
    refit: Callable[[FloatArray], Member]


FitMember = Callable[[Features, FloatArray, Splits, int], Tuned]


def fit_mean(f: Features, z: FloatArray, splits: Splits, seed: int) -> Tuned:
    """The constant predictor: the mean of the target."""
    held_out = [np.broadcast_to(z[train].mean(axis=0), (test.size, z.shape[1])) for train, test in splits]

    def refit(full: FloatArray) -> Member:
        mean = full.mean(axis=0)
        return lambda rows: np.broadcast_to(mean, (rows.narrow.shape[0], mean.size))

    return Tuned(np.concatenate(held_out), refit)


def fit_ridge(f: Features, z: FloatArray, splits: Splits, seed: int) -> Tuned:
    """Ridge regression on all columns, through the smaller of the two moment matrices."""
    paths = []
    for train, test in splits:
        if f.dual:
            path, test_features = dual_ridge_path(f.wide[np.ix_(train, train)], z[train]), f.wide[np.ix_(test, train)]
        else:
            path, test_features = ridge_path(f.wide[train], z[train]), f.wide[test]
        paths.append((path, test_features, path_errors(path, test_features, z[test])))
    strength = float(STRENGTHS[np.argmin(sum(errors for _, _, errors in paths))])
    held_out = [path.predict(test_features, strength) for path, test_features, _ in paths]

    def refit(full: FloatArray) -> Member:
        path = dual_ridge_path(f.wide, full) if f.dual else ridge_path(f.wide, full)
        return lambda rows: path.predict(rows.wide, strength)

    return Tuned(np.concatenate(held_out), refit)


def fit_neighbours(f: Features, z: FloatArray, splits: Splits, seed: int) -> Tuned:
    """Averages over the k nearest neighbours, k chosen from NEIGHBOURS."""
    from sklearn.neighbors import NearestNeighbors

    # Trees lose to matrix products beyond a few dimensions.
    algorithm = "kd_tree" if f.narrow.shape[1] <= 4 else "brute"
    smallest = min(train.size for train, _ in splits)
    sizes = NEIGHBOURS[smallest >= NEIGHBOURS]

    def averages(train: FloatArray, target: FloatArray, rows: FloatArray, counts: IntArray) -> list[FloatArray]:
        search = NearestNeighbors(n_neighbors=int(counts.max()), algorithm=algorithm).fit(train)
        nearest = search.kneighbors(rows, return_distance=False)
        out, total, summed = [], np.zeros((rows.shape[0], target.shape[1])), 0
        for k in counts:
            for j in range(summed, k):
                total += target[nearest[:, j]]
            summed = int(k)
            out.append(total / k)
        return out

    predictions = [averages(f.narrow[train], z[train], f.narrow[test], sizes) for train, test in splits]
    by_size = [np.concatenate([fold[i] for fold in predictions]) for i in range(sizes.size)]
    truth = np.concatenate([z[test] for _, test in splits])
    best = int(np.argmin([np.square(p - truth).sum() for p in by_size]))

    def refit(full: FloatArray) -> Member:
        return lambda rows: averages(f.narrow, full, rows.narrow, sizes[best : best + 1])[0]

    return Tuned(by_size[best], refit)


def fit_kernel(f: Features, z: FloatArray, splits: Splits, seed: int) -> Tuned:
    """Kernel ridge regression with a Gaussian kernel on random landmarks (Nystroem)."""
    rng = np.random.default_rng(seed)
    n = f.narrow.shape[0]
    landmarks = f.narrow[rng.permutation(n)[: min(n, LANDMARKS)]]
    gaps = _squared_distances(landmarks, landmarks)
    median = float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 1.0
    best: tuple[float, float, float, list[FloatArray]] | None = None
    for width in WIDTHS:
        lift = _nystroem(landmarks, gaps, width * median)
        lifted = lift(f.narrow)
        fits = [(ridge_path(lifted[train], z[train]), test) for train, test in splits]
        errors = np.sum([path_errors(path, lifted[test], z[test]) for path, test in fits], axis=0)
        i = int(np.argmin(errors))
        if best is None or errors[i] < best[0]:
            strength = float(STRENGTHS[i])
            best = float(errors[i]), width, strength, [p.predict(lifted[test], strength) for p, test in fits]
    assert best is not None
    _, width, strength, held_out = best
    lift = _nystroem(landmarks, gaps, width * median)

    def refit(full: FloatArray) -> Member:
        path = ridge_path(lift(f.narrow), full)
        return lambda rows: path.predict(lift(rows.narrow), strength)

    return Tuned(np.concatenate(held_out), refit)


def _squared_distances(a: FloatArray, b: FloatArray) -> FloatArray:
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(a, b, "sqeuclidean"))


def _nystroem(landmarks: FloatArray, gaps: FloatArray, width: float) -> Callable[[FloatArray], FloatArray]:
    """Feature map whose inner products are the Gaussian kernel exp(-|a - b|^2 / (2 width)) on the landmarks."""
    values, vectors = np.linalg.eigh(np.exp(-gaps / (2 * width)))
    keep = values > 1e-10 * values[-1]
    whiten = vectors[:, keep] / np.sqrt(values[keep])
    return lambda rows: np.asarray(np.exp(-_squared_distances(rows, landmarks) / (2 * width)) @ whiten)


def process_member(kernel: LearnedKernel) -> FitMember:
    """A Gaussian process with a learned kernel: exact on few rows, on random landmarks beyond."""

    def fit(f: Features, z: FloatArray, splits: Splits, seed: int) -> Tuned:
        n = f.narrow.shape[0]
        if n <= gaussian_process.EXACT_ROWS:
            return _exact_process(kernel, f, z, splits)
        order = np.random.default_rng(seed).permutation(n)
        landmarks = f.narrow[order[: int(np.clip(LANDMARK_BUDGET // n, 400, 800))]]
        centre, spread = z.mean(axis=0), _spread(z)
        fitted = LandmarkFit.of(kernel, f.narrow, (z - centre) / spread, landmarks)
        tests = [test for _, test in splits]
        predictions = fitted.held_out(tests)
        errors = [
            sum(float(np.square(p[i] - fitted.z[test]).sum()) for p, test in zip(predictions, tests, strict=True))
            for i in range(len(gaussian_process.NOISE_FACTORS))
        ]
        best = int(np.argmin(errors))

        def refit(full: FloatArray) -> Member:
            mean, scale = full.mean(axis=0), _spread(full)
            cross = fitted.design.T @ ((full - mean) / scale)
            solution = fitted.solve(fitted.moment, cross, gaussian_process.NOISE_FACTORS[best])

            def predict(rows: Features) -> FloatArray:
                design = gaussian_process.kernel_design(kernel, kernel.features(rows.narrow), fitted.landmarks)
                return np.asarray(design @ solution * scale + mean)

            return predict

        return Tuned(np.concatenate([p[best] for p in predictions]) * spread + centre, refit)

    return fit


def _exact_process(kernel: LearnedKernel, f: Features, z: FloatArray, splits: Splits) -> Tuned:
    scaled = kernel.features(f.narrow)

    def solved(rows: FloatArray, target: FloatArray) -> Predict:
        mean, scale = target.mean(axis=0), _spread(target)
        solution = gaussian_process.exact_solution(kernel, rows, (target - mean) / scale)
        return lambda new: (
            (kernel.smooth(new, rows) @ solution + kernel.linear(new) @ (kernel.linear(rows).T @ solution)) * scale
            + mean
        )

    held_out = [solved(scaled[train], z[train])(scaled[test]) for train, test in splits]

    def refit(full: FloatArray) -> Member:
        predict = solved(scaled, full)
        return lambda rows: predict(kernel.features(rows.narrow))

    return Tuned(np.concatenate(held_out), refit)


def _spread(z: FloatArray) -> FloatArray:
    spread = z.std(axis=0)
    return np.asarray(np.where(spread > 0, spread, 1.0))


def _on_all_rows(fit: Callable[[FloatArray, FloatArray], Predict], f: Features) -> Callable[[FloatArray], Member]:
    """How a member is fitted to all rows by the function that fitted it to the inner folds."""

    def refit(full: FloatArray) -> Member:
        predict = fit(f.narrow, full)
        return lambda rows: predict(rows.narrow)

    return refit


def fit_boosting(f: Features, z: FloatArray, splits: Splits, seed: int) -> Tuned:
    """Gradient-boosted trees, one ensemble per column of the target."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    def fit(rows: FloatArray, target: FloatArray) -> Predict:
        models = [
            HistGradientBoostingRegressor(
                max_iter=60, max_leaf_nodes=15, learning_rate=0.12, early_stopping=False, random_state=seed
            ).fit(rows, column)
            for column in target.T
        ]
        return lambda new: np.column_stack([model.predict(new) for model in models])

    held_out = [fit(f.narrow[train], z[train])(f.narrow[test]) for train, test in splits]

    return Tuned(np.concatenate(held_out), _on_all_rows(fit, f))


def fit_network(f: Features, z: FloatArray, splits: Splits, seed: int) -> Tuned:
    """A small fully connected network on the standardised target."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    def fit(rows: FloatArray, target: FloatArray) -> Predict:
        centre, spread = target.mean(axis=0), np.maximum(target.std(axis=0), 1e-12)
        model = MLPRegressor(
            hidden_layer_sizes=(64, 32),
            learning_rate_init=5e-3,
            alpha=1e-3,
            max_iter=150,
            early_stopping=rows.shape[0] >= 100,
            n_iter_no_change=12,
            random_state=seed,
        )
        with warnings.catch_warnings():
            # Stopping at max_iter is part of the recipe.
            warnings.simplefilter("ignore", ConvergenceWarning)
            scaled = (target - centre) / spread
            model.fit(rows, scaled[:, 0] if target.shape[1] == 1 else scaled)
        return lambda new: model.predict(new).reshape(-1, target.shape[1]) * spread + centre

    held_out = [fit(f.narrow[train], z[train])(f.narrow[test]) for train, test in splits]

    return Tuned(np.concatenate(held_out), _on_all_rows(fit, f))


def fit_residual_network(f: Features, z: FloatArray, splits: Splits, seed: int) -> Tuned:
    """Ridge regression plus a narrow network on what it leaves, by L-BFGS: a few curved directions among many rows."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    def fit(rows: FloatArray, target: FloatArray) -> Predict:
        path = ridge_path(rows, target)
        rest = target - path.predict(rows, 1e-6)
        spread = _spread(rest)
        model = MLPRegressor(
            hidden_layer_sizes=(HIDDEN,),
            activation="tanh",
            solver="lbfgs",
            alpha=10.0,
            max_iter=80,
            random_state=seed,
        )
        with warnings.catch_warnings():
            # Stopping at max_iter is part of the recipe.
            warnings.simplefilter("ignore", ConvergenceWarning)
            scaled = rest / spread
            model.fit(rows, scaled[:, 0] if target.shape[1] == 1 else scaled)
        return lambda new: path.predict(new, 1e-6) + model.predict(new).reshape(-1, target.shape[1]) * spread

    held_out = [fit(f.narrow[train], z[train])(f.narrow[test]) for train, test in splits]

    return Tuned(np.concatenate(held_out), _on_all_rows(fit, f))


def fit_logistic(f: Features, z: FloatArray, splits: Splits, seed: int) -> Tuned:
    """Logistic regression for one-hot targets, with its regularisation chosen from LOGISTIC_STRENGTHS."""
    from sklearn.linear_model import LogisticRegression

    def fit(rows: FloatArray, target: FloatArray, strength: float) -> Predict:
        label = target.argmax(axis=1)
        seen = np.unique(label)
        if seen.size == 1:
            return lambda new: np.broadcast_to(np.eye(target.shape[1])[seen[0]], (new.shape[0], target.shape[1]))
        model = LogisticRegression(C=strength, max_iter=500, tol=1e-3).fit(rows, label)

        def predict(new: FloatArray) -> FloatArray:
            out = np.zeros((new.shape[0], target.shape[1]))
            out[:, seen] = model.predict_proba(new)
            return out

        return predict

    held_out = [
        np.concatenate([fit(f.narrow[train], z[train], c)(f.narrow[test]) for train, test in splits])
        for c in LOGISTIC_STRENGTHS
    ]
    truth = np.concatenate([z[test] for _, test in splits])
    best = int(np.argmin([np.square(p - truth).sum() for p in held_out]))

    return Tuned(held_out[best], _on_all_rows(partial(fit, strength=LOGISTIC_STRENGTHS[best]), f))
