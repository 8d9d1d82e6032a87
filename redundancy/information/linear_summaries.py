"""Mutual information between wide layers through learned summaries of few numbers.

By data processing I(f(X); g(Y)) <= I(X; Y) for any f, g: with f and g fitted on other rows, the estimate targets a
lower bound of the information between the layers. It is an estimate of that bound, not a certificate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import FloatArray, IntArray
from redundancy.estimate import Estimate
from redundancy.information.knn_checks import doubt
from redundancy.information.kraskov import ksg
from redundancy.prediction.cross_fitting import assign_folds

SUMMARIES = ("ridge", "cca", "pls")
RIDGE_STRENGTHS: FloatArray = np.logspace(-3, 6, 19)
TRUSTED_COMPONENTS = 3
ROWS_PER_FOLD = 200


def summary_information(
    x: ArrayLike,
    y: ArrayLike,
    *,
    components: int = 1,
    summary: str = "ridge",
    estimator: str = "ksg",
    k: int = 5,
    folds: int = 5,
    groups: ArrayLike | None = None,
    rng: np.random.Generator | int | None = None,
    on_doubt: str = "warn",
) -> Estimate:
    """I(f(X); g(Y)) in nats with linear summaries f, g fitted without the rows they are used on.

    Parameters
    ----------
    x, y : array_like (n, d_x), (n, d_y)
        Paired rows of two layers.
    components : int
        Numbers each side is summarised by. More can carry more information and need more rows.
    summary : {"ridge", "cca", "pls"}
        "ridge": the leading components of y predicted from x, and that prediction predicted from y (one round of
        alternating conditional expectations, RidgeCV). "cca", "pls": scikit-learn's CCA (needs many more rows than
        columns) and PLSCanonical.
    estimator : {"ksg", "gaussian"}
        On the summaries of each fold; "gaussian" uses their canonical correlations, right if they are Gaussian.
    folds, groups, rng
        Cross-fitting; rows of one group (image) stay together.
    k, on_doubt
        As in `ksg`.

    Returns
    -------
    Estimate
        The mean over folds, weighted by rows; `details["per_fold"]`. Targets a lower bound of I(X; Y).

    Raises
    ------
    ValueError
        As `ksg`; folds with fewer than k + 2 rows; more components than columns.
    """
    checks.one_of(summary, SUMMARIES, name="summary")
    checks.one_of(estimator, ("ksg", "gaussian"), name="estimator")
    a, b = checks.matrix(x, name="x", min_rows=2), checks.matrix(y, name="y", min_rows=2)
    n = a.shape[0]
    if b.shape[0] != n:
        raise ValueError(f"x and y: expected paired rows, got {n} and {b.shape[0]}")
    if not 1 <= components <= min(a.shape[1], b.shape[1]):
        raise ValueError(f"components: expected 1 to {min(a.shape[1], b.shape[1])} (columns), got {components}")
    fold = fold_of_rows(n, folds, groups, rng)
    rows = np.bincount(fold, minlength=folds)
    per_fold = np.empty(folds)
    for number in range(folds):
        train, test = fold != number, fold == number
        f, g = _summaries(a[train], b[train], a[test], b[test], components, summary)
        if estimator == "ksg":
            per_fold[number] = ksg(f, g, k, on_doubt="ignore").value
        else:
            per_fold[number] = gaussian_information(f, g)
    doubts = []
    if components > TRUSTED_COMPONENTS and estimator == "ksg":
        doubts.append(f"KSG on 2 x {components} summaries: shown to work up to 2 x {TRUSTED_COMPONENTS}")
    if rows.min() < ROWS_PER_FOLD:
        doubts.append(f"only {rows.min()} rows in a fold: shown to work from {ROWS_PER_FOLD}")
    value = float(per_fold @ rows / n)
    if estimator == "ksg" and value > 0.5 * np.log(rows.min()):
        doubts.append(f"{value:.2f} nats from folds of {rows.min()} rows: KSG saturates; try estimator='gaussian'")
    doubt(doubts, on_doubt)
    settings: dict[str, Any] = {
        "method": f"{summary} + {estimator}",
        "components": components,
        "k": k,
        "folds": folds,
        "bound": "estimates a lower bound",
    }
    details = {"per_fold": per_fold, "n": n, "doubts": tuple(doubts)}
    return Estimate(value=value, quantity="mutual information", unit="nats", settings=settings, details=details)


def gaussian_information(x: ArrayLike, y: ArrayLike) -> float:
    """I(X; Y) in nats if (X, Y) were Gaussian: -sum log(1 - rho^2) / 2, less its bias under independence.

    rho are the sample canonical correlations; the bias of each independent pair of columns is about 1 / (2 n).
    """
    a, b = checks.matrix(x, name="x", min_rows=2), checks.matrix(y, name="y", min_rows=2)
    n, columns = a.shape[0], a.shape[1] * b.shape[1]
    if n <= a.shape[1] + b.shape[1] + 1:
        raise ValueError(
            f"x and y: expected more rows than columns, got {n} rows and {a.shape[1] + b.shape[1]} columns"
        )
    qa, qb = (np.linalg.qr(z - z.mean(0))[0] for z in (a, b))
    rho = np.linalg.svd(qa.T @ qb, compute_uv=False)
    return float(-0.5 * np.log1p(-np.minimum(rho**2, 1.0 - 1e-15)).sum() - columns / (2.0 * n))


def fold_of_rows(n: int, folds: int, groups: ArrayLike | None, rng: np.random.Generator | int | None) -> IntArray:
    """Random fold of each row (n,); the rows of a group share one."""
    index, sizes = checks.group_index(groups, n)
    if not 2 <= folds <= sizes.size:
        raise ValueError(f"folds: expected 2 to {sizes.size} (the number of rows or groups), got {folds}")
    return assign_folds(sizes.size, folds, np.random.default_rng(rng))[index]


def ridge_predict(features: FloatArray, target: FloatArray, new: FloatArray) -> FloatArray:
    """Standardise, fit RidgeCV with leave-one-out strengths, predict (m, columns of target)."""
    from sklearn.linear_model import RidgeCV

    centre, scale = features.mean(0), features.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    model = RidgeCV(alphas=RIDGE_STRENGTHS).fit((features - centre) / scale, target)
    return np.asarray(model.predict((new - centre) / scale)).reshape(len(new), -1)


def _summaries(
    x: FloatArray, y: FloatArray, x_new: FloatArray, y_new: FloatArray, components: int, summary: str
) -> tuple[FloatArray, FloatArray]:
    """Fit on (x, y), return the summaries of the new rows, (m, components) each."""
    if summary == "ridge":
        standard = (y - y.mean(0)) / np.where(y.std(0) > 0, y.std(0), 1.0)
        left, values, _ = np.linalg.svd(standard, full_matrices=False)
        leading = left[:, :components] * values[:components]
        both = ridge_predict(x, leading, np.vstack([x, x_new]))
        f = both[len(x) :]
        return f, ridge_predict(y, both[: len(x)], y_new)
    from sklearn.cross_decomposition import CCA, PLSCanonical

    model = (CCA if summary == "cca" else PLSCanonical)(n_components=components, max_iter=2000)
    f, g = model.fit(x, y).transform(x_new, y_new)
    return np.asarray(f), np.asarray(g)
