"""The default regressor: a small panel of different kinds, weighted by inner cross-validation.

The panel is scale-aware (columns are standardised inside the fold), takes any dimension (ridge by the Gram
matrix when d > n; the other members see the leading principal components), and is a deterministic function
of its rng. Weights are the convex combination with the smallest inner out-of-fold squared error (stacking).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from redundancy.array_types import FloatArray, IntArray
from redundancy.prediction.ridge_path import STRENGTHS, dual_ridge_path, path_errors, ridge_path

Predict = Callable[[FloatArray], FloatArray]

COMPONENTS = 64  # principal components that the members other than ridge see
LANDMARKS = 500  # of the kernel member (Nystroem)
NEIGHBOURS = np.array([1, 2, 5, 10, 20, 50, 100])
WIDTHS = (0.3, 1.0, 3.0)  # kernel widths relative to the median distance
BOOSTED_COLUMNS = 10  # boosting fits one forest per target column; beyond this many it is left out
TUNED_COLUMNS = 64  # wider targets are tuned on this many random combinations of their columns
LARGE = 5_000  # rows beyond which one inner hold-out replaces inner cross-validation


@dataclass(frozen=True)
class Features:
    """What the members see of the rows: all of it (ridge) and at most COMPONENTS columns (the others)."""

    wide: FloatArray  # (n, p): standardised columns, or kernel rows against the training rows when d > n
    narrow: FloatArray  # (n, q)
    dual: bool


@dataclass(frozen=True)
class FittedPanel:
    """Fitted members and their weights."""

    featurise: Callable[[FloatArray], Features]
    members: Mapping[str, Callable[[Features], FloatArray]]
    weights: Mapping[str, float]
    finish: Predict

    def predict_each(self, x: FloatArray) -> dict[str, FloatArray]:
        """Predictions (t, m) of every member."""
        features = self.featurise(x)
        return {name: self.finish(predict(features)) for name, predict in self.members.items()}

    def combine(self, each: Mapping[str, FloatArray]) -> FloatArray:
        """The weighted prediction from those of the members."""
        return np.asarray(sum(weight * each[name] for name, weight in self.weights.items()))


def fit_panel(
    x: FloatArray, z: FloatArray, unit: IntArray, *, rng: np.random.Generator, probabilities: bool = False
) -> FittedPanel:
    """Fit the panel to rows x (n, d), targets z (n, m), units (n,) kept together by the inner folds.

    With `probabilities` z holds one-hot rows; every member's prediction is projected onto the simplex, and
    logistic regression joins.
    """
    featurise = _featuriser(x)
    features = featurise(x)
    tuned = z
    if z.shape[1] > TUNED_COLUMNS:
        tuned = z @ rng.normal(size=(z.shape[1], TUNED_COLUMNS)) / np.sqrt(TUNED_COLUMNS)
    splits = _inner_splits(unit, rng)
    seed = int(rng.integers(2**31))
    makers = {
        "mean": _fit_mean,
        "ridge": _fit_ridge,
        "neighbours": _fit_neighbours,
        "kernel": _fit_kernel,
        "boosting": _fit_boosting,
        "network": _fit_network,
    }
    if z.shape[1] > BOOSTED_COLUMNS:
        del makers["boosting"]
    if probabilities:
        makers["logistic"] = _fit_logistic
        tuned = z
    finish = project_to_simplex if probabilities else np.asarray
    members: dict[str, Callable[[Features], FloatArray]] = {}
    held_out: dict[str, FloatArray] = {}
    truth = np.concatenate([tuned[test] for _, test in splits])
    for name, maker in makers.items():
        inner, refit = maker(features, tuned, splits, seed)
        held_out[name] = finish(inner)
        members[name] = refit(z)
    weights = dict(zip(held_out, _stack(held_out, truth), strict=True))
    return FittedPanel(featurise, members, weights, finish)


def project_to_simplex(p: FloatArray) -> FloatArray:
    """Nearest probability vector of each row (Duchi et al. 2008); never further from any probability vector."""
    k = np.arange(1, p.shape[1] + 1)
    ordered = -np.sort(-p, axis=1)
    excess = (np.cumsum(ordered, axis=1) - 1.0) / k
    last = (ordered > excess).sum(axis=1) - 1
    return np.asarray(np.maximum(p - np.take_along_axis(excess, last[:, None], axis=1), 0.0))


def _featuriser(x: FloatArray) -> Callable[[FloatArray], Features]:
    centre, spread = x.mean(axis=0), x.std(axis=0)
    # A column whose spread is rounding noise of its mean carries nothing.
    alive = spread > 1e-12 * np.abs(centre)
    spread = np.where(alive, spread, 1.0)

    def standard(rows: FloatArray) -> FloatArray:
        return np.asarray(np.where(alive, (rows - centre) / spread, 0.0))

    train = standard(x)
    n, d = train.shape
    dual = d > n
    if d <= COMPONENTS and not dual:
        return lambda rows: Features(s := standard(rows), s, dual=False)
    moment = train @ train.T if dual else train.T @ train
    values, vectors = np.linalg.eigh(moment)
    q = min(COMPONENTS, n, d)
    top = values[::-1][:q]
    keep = top > 1e-12 * max(top[0], 1e-300)
    # Unit-variance scores: a principal component is a new column, and columns are standardised.
    scaled = vectors[:, ::-1][:, :q][:, keep] * (np.sqrt(n) / (top[keep] if dual else np.sqrt(top[keep])))

    def featurise(rows: FloatArray) -> Features:
        s = standard(rows)
        wide = s @ train.T if dual else s
        return Features(wide, wide @ scaled, dual=dual)

    return featurise


def _inner_splits(unit: IntArray, rng: np.random.Generator) -> list[tuple[IntArray, IntArray]]:
    labels, row_unit = np.unique(unit, return_inverse=True)
    folds = min(3, labels.size)
    if unit.size > LARGE and labels.size >= 5:
        folds = 5
    fold = np.empty(labels.size, dtype=np.int64)
    fold[rng.permutation(labels.size)] = np.arange(labels.size) % folds
    row_fold = fold[row_unit]
    used = 1 if folds == 5 else folds
    return [(np.nonzero(row_fold != k)[0], np.nonzero(row_fold == k)[0]) for k in range(used)]


# Each maker returns (inner held-out predictions, refit), where refit(z) fits all rows with what was chosen.
Splits = list[tuple[IntArray, IntArray]]
Made = tuple[FloatArray, Callable[[FloatArray], Callable[[Features], FloatArray]]]


def _fit_mean(f: Features, z: FloatArray, splits: Splits, seed: int) -> Made:
    held_out = [np.broadcast_to(z[train].mean(axis=0), (test.size, z.shape[1])) for train, test in splits]

    def refit(full: FloatArray) -> Callable[[Features], FloatArray]:
        mean = full.mean(axis=0)
        return lambda rows: np.broadcast_to(mean, (rows.narrow.shape[0], mean.size))

    return np.concatenate(held_out), refit


def _fit_ridge(f: Features, z: FloatArray, splits: Splits, seed: int) -> Made:
    paths = []
    for train, test in splits:
        if f.dual:
            path, test_features = dual_ridge_path(f.wide[np.ix_(train, train)], z[train]), f.wide[np.ix_(test, train)]
        else:
            path, test_features = ridge_path(f.wide[train], z[train]), f.wide[test]
        paths.append((path, test_features, path_errors(path, test_features, z[test])))
    strength = float(STRENGTHS[np.argmin(sum(errors for _, _, errors in paths))])
    held_out = [path.predict(test_features, strength) for path, test_features, _ in paths]

    def refit(full: FloatArray) -> Callable[[Features], FloatArray]:
        path = dual_ridge_path(f.wide, full) if f.dual else ridge_path(f.wide, full)
        return lambda rows: path.predict(rows.wide, strength)

    return np.concatenate(held_out), refit


def _fit_neighbours(f: Features, z: FloatArray, splits: Splits, seed: int) -> Made:
    from sklearn.neighbors import NearestNeighbors

    # Trees lose to matrix products beyond a few dimensions.
    algorithm = "kd_tree" if f.narrow.shape[1] <= 4 else "brute"
    smallest = min(train.size for train, _ in splits)
    sizes = NEIGHBOURS[smallest >= NEIGHBOURS]

    def averages(train: FloatArray, target: FloatArray, rows: FloatArray, wanted: IntArray) -> list[FloatArray]:
        search = NearestNeighbors(n_neighbors=int(wanted.max()), algorithm=algorithm).fit(train)
        nearest = search.kneighbors(rows, return_distance=False)
        out, total, taken = [], np.zeros((rows.shape[0], target.shape[1])), 0
        for k in wanted:
            for j in range(taken, k):
                total += target[nearest[:, j]]
            taken = int(k)
            out.append(total / k)
        return out

    predictions = [averages(f.narrow[train], z[train], f.narrow[test], sizes) for train, test in splits]
    by_size = [np.concatenate([fold[i] for fold in predictions]) for i in range(sizes.size)]
    truth = np.concatenate([z[test] for _, test in splits])
    best = int(np.argmin([np.square(p - truth).sum() for p in by_size]))

    def refit(full: FloatArray) -> Callable[[Features], FloatArray]:
        return lambda rows: averages(f.narrow, full, rows.narrow, sizes[best : best + 1])[0]

    return by_size[best], refit


def _fit_kernel(f: Features, z: FloatArray, splits: Splits, seed: int) -> Made:
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

    def refit(full: FloatArray) -> Callable[[Features], FloatArray]:
        path = ridge_path(lift(f.narrow), full)
        return lambda rows: path.predict(lift(rows.narrow), strength)

    return np.concatenate(held_out), refit


def _squared_distances(a: FloatArray, b: FloatArray) -> FloatArray:
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(a, b, "sqeuclidean"))


def _nystroem(landmarks: FloatArray, gaps: FloatArray, width: float) -> Callable[[FloatArray], FloatArray]:
    """Feature map whose inner products are the Gaussian kernel exp(-|a - b|^2 / (2 width)) on the landmarks."""
    values, vectors = np.linalg.eigh(np.exp(-gaps / (2 * width)))
    keep = values > 1e-10 * values[-1]
    whiten = vectors[:, keep] / np.sqrt(values[keep])
    return lambda rows: np.asarray(np.exp(-_squared_distances(rows, landmarks) / (2 * width)) @ whiten)


def _fit_boosting(f: Features, z: FloatArray, splits: Splits, seed: int) -> Made:
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

    def refit(full: FloatArray) -> Callable[[Features], FloatArray]:
        predict = fit(f.narrow, full)
        return lambda rows: predict(rows.narrow)

    return np.concatenate(held_out), refit


def _fit_network(f: Features, z: FloatArray, splits: Splits, seed: int) -> Made:
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

    def refit(full: FloatArray) -> Callable[[Features], FloatArray]:
        predict = fit(f.narrow, full)
        return lambda rows: predict(rows.narrow)

    return np.concatenate(held_out), refit


def _fit_logistic(f: Features, z: FloatArray, splits: Splits, seed: int) -> Made:
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

    strengths = (1e-3, 1e-2, 1e-1, 1.0)
    held_out = [
        np.concatenate([fit(f.narrow[train], z[train], c)(f.narrow[test]) for train, test in splits]) for c in strengths
    ]
    truth = np.concatenate([z[test] for _, test in splits])
    best = int(np.argmin([np.square(p - truth).sum() for p in held_out]))

    def refit(full: FloatArray) -> Callable[[Features], FloatArray]:
        predict = fit(f.narrow, full, strengths[best])
        return lambda rows: predict(rows.narrow)

    return held_out[best], refit


def _stack(held_out: Mapping[str, FloatArray], truth: FloatArray) -> FloatArray:
    """Weights >= 0 of sum 1 with the smallest held-out squared error."""
    from scipy.optimize import nnls

    residuals = np.stack([(p - truth).ravel() for p in held_out.values()], axis=1)
    # min |R w| over the simplex: append a heavy row for sum(w) = 1, then normalise what rounding leaves.
    moment = np.linalg.cholesky(
        residuals.T @ residuals + 1e-12 * np.square(residuals).sum() * np.eye(residuals.shape[1])
    ).T
    heavy = 1e4 * np.abs(moment).max()
    system = np.vstack([moment, np.full(residuals.shape[1], heavy)])
    weights, _ = nnls(system, np.append(np.zeros(moment.shape[0]), heavy))
    return np.asarray(weights / weights.sum())
