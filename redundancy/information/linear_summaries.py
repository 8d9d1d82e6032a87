"""Mutual information between wide layers through learned summaries of a few numbers.

By data processing, I(f(X); g(Y)) <= I(X; Y) for all f and g: with f and g fitted on other rows, the estimate targets a
lower bound on the information between the layers. It is an estimate of that bound, not a certificate.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import FloatArray, Rng
from redundancy.estimate import Estimate, Quantity
from redundancy.information.knn_checks import OnDoubt, doubt
from redundancy.information.kraskov import ksg
from redundancy.prediction.cross_fitting import fold_of_rows, ridge_predict

SummaryMethod = Literal["ridge", "cca", "pls"]
InformationEstimator = Literal["ksg", "gaussian"]
TRUSTED_COMPONENTS = 3
ROWS_PER_FOLD = 200


def summary_information(
    x: ArrayLike,
    y: ArrayLike,
    *,
    components: int = 1,
    summary: SummaryMethod = "ridge",
    estimator: InformationEstimator = "ksg",
    k: int = 5,
    folds: int = 5,
    groups: ArrayLike | None = None,
    rng: Rng = None,
    on_doubt: OnDoubt = "warn",
) -> Estimate:
    """Estimate a lower bound on I(X; Y) of wide layers: I(f(X); g(Y)) with cross-fitted linear summaries f and g.

    Parameters
    ----------
    x, y : array_like (n, d_x), (n, d_y)
        Paired rows of two layers.
    components : int
        Number of columns that each side is summarised by. More can carry more information and need more rows.
    summary : {"ridge", "cca", "pls"}
        "ridge": the leading components of y predicted from x, and that prediction predicted from y (one round of
        alternating conditional expectations, RidgeCV). "cca", "pls": scikit-learn's CCA (needs many more rows than
        columns) and PLSCanonical.
    estimator : {"ksg", "gaussian"}
        On the summaries of each fold; "gaussian" uses their canonical correlations, right if they are Gaussian.
    k, on_doubt
        As in :func:`ksg`.
    folds, groups, rng
        Cross-fitting; rows of one group (image) stay together.

    Returns
    -------
    Estimate
        Nats, not clipped at 0: the mean over folds, weighted by rows; `details["per_fold"]`. It targets a lower bound
        on I(X; Y).

    Raises
    ------
    ValueError
        As in :func:`ksg`; folds with fewer than k + 2 rows; more components than columns.

    See Also
    --------
    ksg : Few columns.
    gaussian_information : Without summaries, for Gaussian variables.

    Notes
    -----
    Data processing: I(f(X); g(Y)) <= I(X; Y) for all functions f and g that were fitted on other rows.

    References
    ----------
    Breiman and Friedman (1985), *Estimating optimal transformations for multiple regression and correlation*;
    Kraskov, Stoegbauer and Grassberger (2004), arXiv:cond-mat/0305641.

    Examples
    --------
    Two layers of 24 columns that share one Gaussian number; the truth is 1.09 nats:

    >>> import numpy as np
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> shared, direction = rng.normal(size=(1500, 1)), np.full((1, 24), 4 / 24**0.5)
    >>> x, y = (shared @ direction + rng.normal(size=(1500, 24)) for _ in range(2))
    >>> round(rd.summary_information(x, y, rng=0).value, 2)
    1.05
    """
    checks.one_of(summary, get_args(SummaryMethod), name="summary")
    checks.one_of(estimator, get_args(InformationEstimator), name="estimator")
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
    settings: dict[str, object] = {
        "method": f"{summary} + {estimator}",
        "components": components,
        "k": k,
        "folds": folds,
        "bound": "estimates a lower bound",
    }
    details = {"per_fold": per_fold, "n": n, "doubts": tuple(doubts)}
    return Estimate(value=value, quantity=Quantity.MUTUAL_INFORMATION, unit="nats", settings=settings, details=details)


def gaussian_information(x: ArrayLike, y: ArrayLike) -> float:
    """Estimate the mutual information that X and Y would have if they were jointly Gaussian.

    Parameters
    ----------
    x, y : array_like (n,) or (n, d)
        Paired rows, more of them than columns of x and y together.

    Returns
    -------
    float
        Nats; slightly negative values are possible after the bias correction.

    Raises
    ------
    ValueError
        Not more rows than columns, NaN.
    TypeError
        Arrays that do not hold real numbers.

    See Also
    --------
    ksg : Without the assumption.
    summary_information : More columns than rows.

    Notes
    -----
    -sum log(1 - rho^2) / 2 over the sample canonical correlations rho, less its bias under independence, about
    1 / (2 n) for each pair of columns.

    References
    ----------
    Gelfand and Yaglom (1957), *Calculation of the amount of information about a random function contained in another
    such function*.

    Examples
    --------
    Signal and noise of equal variance: log(2) / 2 = 0.347 nats.

    >>> import numpy as np
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=5000)
    >>> round(rd.gaussian_information(x, x + rng.normal(size=5000)), 2)
    0.35
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


def _summaries(
    x: FloatArray, y: FloatArray, x_new: FloatArray, y_new: FloatArray, components: int, summary: SummaryMethod
) -> tuple[FloatArray, FloatArray]:
    """Summaries (m, components) of the new rows of each side, fitted on (x, y)."""
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
