"""Mutual information between wide layers through learned summaries of a few numbers.

By data processing, I(f(X); g(Y)) <= I(X; Y) for all f and g: with f and g fitted on other rows, the estimate targets a
lower bound on the information between the layers. It is an estimate of that bound, not a certificate.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma, polygamma

from redundancy import checks
from redundancy.array_types import FloatArray, IntArray, Rng
from redundancy.estimate import Estimate, Quantity, unit_of_sampling
from redundancy.information.knn_checks import doubt, heavy_tails, largest_atom, neighbors, unequal_images
from redundancy.information.kozachenko_leonenko import ATOM
from redundancy.information.kraskov import ksg
from redundancy.information.sampling_doubts import OnDoubt
from redundancy.information.summary_directions import SummaryMethod, summaries
from redundancy.prediction.cross_fitting import fold_of_rows
from redundancy.standard_columns import constant_columns, independent_basis, standard_columns

InformationEstimator = Literal["ksg", "gaussian"]
TRUSTED_COMPONENTS = 3
ROWS_PER_FOLD = 200
CANDIDATES: dict[InformationEstimator, tuple[int, ...]] = {"ksg": (1, 2, 3, 5), "gaussian": (1, 2, 3, 5, 8, 12, 20)}
FEW_IMAGES = 10
ROWS_PER_COLUMN = 3  # fewer independent rows per column: log-determinants are dominated by sampling error


def summary_information(
    x: ArrayLike,
    y: ArrayLike,
    *,
    components: int | Literal["cv"] = "cv",
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
    components : int or "cv"
        Number of columns that each side is summarised by. "cv" chooses among a few by the estimate on held-out rows
        of each training fold; the choices are `details["components"]`.
    summary : {"ridge", "cca", "pls"}
        "ridge": y predicted from x, the directions that are predicted best, and those predicted from y (one round of
        alternating conditional expectations, RidgeCV). "cca", "pls": canonical correlations (they need many more rows
        than columns) and canonical partial least squares.
    estimator : {"ksg", "gaussian"}
        On the summaries of each fold; "gaussian" uses their canonical correlations, right if they are Gaussian.
    k, on_doubt
        As in :func:`ksg`.
    folds, groups, rng
        Cross-fitting; rows of one group (image) stay together and are no neighbours, as in :func:`ksg`.

    Returns
    -------
    Estimate
        Nats, not clipped at 0: the mean over folds, weighted by rows; `details["per_fold"]`. It targets a lower bound
        on I(X; Y).

    Raises
    ------
    ValueError
        As in :func:`ksg`; folds with fewer than k + 2 rows (images); more components than columns that vary; k with
        estimator="gaussian".

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
    checks.one_of(on_doubt, get_args(OnDoubt), name="on_doubt")
    neighbors(k)
    if estimator == "gaussian" and k != 5:
        raise ValueError(f"k: expected no number of neighbours with estimator='gaussian', got {k}")
    a, b = checks.matrix(x, name="x", min_rows=2), checks.matrix(y, name="y", min_rows=2)
    n = a.shape[0]
    if b.shape[0] != n:
        raise ValueError(f"x and y: expected paired rows, got {n} and {b.shape[0]}")
    a, b = _varying(a, "x"), _varying(b, "y")
    widest = min(a.shape[1], b.shape[1])
    cross_validated = isinstance(components, str)
    if cross_validated and components != "cv":
        raise ValueError(f"components: expected a number of columns or 'cv', got {components!r}")
    if not cross_validated:
        if isinstance(components, bool) or not isinstance(components, (int, np.integer)):
            raise TypeError(f"components: expected a whole number or 'cv', got {components!r}")
        if not 1 <= components <= widest:
            raise ValueError(f"components: expected 1 to {widest} (columns that vary), got {components}")
    index, sizes = checks.group_index(groups, n)
    image = np.asarray(index, dtype=np.int64)
    generator = checks.generator(rng)
    folds = checks.integer(folds, name="folds", least=2)
    fold = fold_of_rows(n, folds, groups, generator)
    rows = np.bincount(fold, minlength=folds)
    images = np.array([np.unique(image[fold == number]).size for number in range(folds)])
    fewest = int(images.min())
    if estimator == "ksg" and fewest <= k + 1:
        units = "rows" if groups is None else "images"
        raise ValueError(f"folds: expected more than k + 1 = {k + 1} {units} in each, got {fewest}; use fewer folds")
    per_fold, chosen, doubts = np.empty(folds), [], []
    for number in range(folds):
        train, test = fold != number, fold == number
        columns: int
        if isinstance(components, str):
            columns = _best_components(a[train], b[train], image[train], widest, summary, estimator, k, generator)
        else:
            columns = int(components)
        f, g = summaries(a[train], b[train], a[test], b[test], columns, summary)
        per_fold[number], reasons = _information(f, g, image[test], estimator, k)
        chosen.append(columns)
        doubts += [reason for reason in reasons if reason not in doubts]
    if max(chosen) > TRUSTED_COMPONENTS and estimator == "ksg":
        doubts.append(f"KSG on 2 x {max(chosen)} summaries: shown to work up to 2 x {TRUSTED_COMPONENTS}")
    if fewest < ROWS_PER_FOLD:
        units = "rows" if groups is None else "images"
        doubts.append(f"only {fewest} {units} in a fold: shown to work from {ROWS_PER_FOLD}")
    if estimator == "ksg":
        doubts += unequal_images(sizes)
    value = float(per_fold @ rows / n)
    if estimator == "ksg" and value > 0.5 * np.log(fewest):
        doubts.append(f"{value:.2f} nats from folds of {fewest} rows: KSG saturates; try estimator='gaussian'")
    doubt(doubts, on_doubt)
    settings: dict[str, object] = {
        "method": f"{summary} + {estimator}",
        "components": components,
        "k": k,
        "folds": folds,
        "bound": "estimates a lower bound",
    }
    details = {"per_fold": per_fold, "components": tuple(chosen), "n": n, "doubts": tuple(doubts)}
    return Estimate(
        value=value,
        quantity=Quantity.MUTUAL_INFORMATION,
        unit_of_sampling=unit_of_sampling(groups),
        unit="nats",
        settings=settings,
        details=details,
    )


def _varying(x: FloatArray, name: str) -> FloatArray:
    """The columns of x that are not constant, standardised, so that no scale overflows."""
    standard = standard_columns(x)
    if standard.constant.all():
        raise ValueError(f"{name}: every column is constant; it carries no information")
    return standard.z[:, ~standard.constant]


def _information(
    f: FloatArray, g: FloatArray, image: IntArray, estimator: InformationEstimator, k: int
) -> tuple[float, list[str]]:
    """Information between summaries and the doubts that concern it; constant summaries carry none."""
    if constant_columns(f).all() or constant_columns(g).all():
        return 0.0, []
    groups = None if np.unique(image).size == image.size else image
    if estimator == "gaussian":
        estimate = gaussian_information(f, g, groups=groups, on_doubt="ignore")
        return float(estimate), list(estimate.details["doubts"])
    return float(ksg(f, g, k, groups=groups, on_doubt="ignore")), []


def _best_components(
    x: FloatArray,
    y: FloatArray,
    image: IntArray,
    widest: int,
    summary: SummaryMethod,
    estimator: InformationEstimator,
    k: int,
    rng: np.random.Generator,
) -> int:
    """The number of components with the largest estimate on rows that the summaries were not fitted on.

    Every candidate estimates a lower bound, so the largest is the best; the rows that choose are not used again.
    """
    candidates = [c for c in CANDIDATES[estimator] if c <= widest] or [1]
    if len(candidates) == 1:
        return candidates[0]
    images = np.unique(image)
    parts = fold_of_rows(len(image), min(3, images.size), image, rng)
    scores = np.zeros(len(candidates))
    for part in np.unique(parts):
        test = parts == part
        if np.unique(image[test]).size <= k + 1:
            return candidates[0]
        f, g = summaries(x[~test], y[~test], x[test], y[test], candidates[-1], summary)
        for place, c in enumerate(candidates):
            try:
                scores[place] += test.sum() * _information(f[:, :c], g[:, :c], image[test], estimator, k)[0]
            except ValueError:  # more columns than independent rows
                scores[place] = -np.inf
    best = 0
    for place in range(1, len(candidates)):  # more components only for a gain beyond the noise of the estimate
        if scores[place] / len(x) > scores[best] / len(x) + images.size**-0.5:
            best = place
    return candidates[best]


def gaussian_information(
    x: ArrayLike, y: ArrayLike, *, groups: ArrayLike | None = None, on_doubt: OnDoubt = "warn"
) -> Estimate:
    """Estimate the mutual information that X and Y would have if they were jointly Gaussian.

    Parameters
    ----------
    x, y : array_like (n,) or (n, d)
        Paired rows, more of them than independent columns of x and y together. Constant and linearly dependent columns
        change nothing.
    groups : array_like (n,), optional
        Image of each row. The bias is that of the number of independent rows for which correlations would vary as
        much as they do between images, `details["independent_rows"]`.
    on_doubt : {"warn", "raise", "ignore"}
        What to do with fewer than three independent rows per column, or a linear function of x that is one of y.

    Returns
    -------
    Estimate
        Nats, not clipped at 0; `float(estimate)` is the value. `details["standard_error"]` is approximate;
        `details["ranks"]` are the numbers of independent columns.

    Raises
    ------
    ValueError
        Not more (independent) rows than columns, NaN.
    TypeError
        Arrays that do not hold real numbers.

    See Also
    --------
    ksg : Without the assumption.
    summary_information : More columns than rows.

    Notes
    -----
    -sum log(1 - rho^2) / 2 over the sample canonical correlations rho, less its exact bias for Gaussian rows: with
    g(c) = sum of psi((n - 1 - i) / 2) over i < c, the bias is (g(p) + g(q) - g(p + q)) / 2, whatever the covariance.

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
    >>> round(float(rd.gaussian_information(x, x + rng.normal(size=5000))), 2)
    0.35
    """
    checks.one_of(on_doubt, get_args(OnDoubt), name="on_doubt")
    a, b = checks.matrix(x, name="x", min_rows=2), checks.matrix(y, name="y", min_rows=2)
    n = a.shape[0]
    if b.shape[0] != n:
        raise ValueError(f"x and y: expected paired rows, got {n} and {b.shape[0]}")
    index, sizes = checks.group_index(groups, n)
    (u, tolerance_x), (v, tolerance_y) = independent_basis(a), independent_basis(b)
    p, q = u.shape[1], v.shape[1]
    if n <= p + q + 1:
        raise ValueError(f"x and y: expected more rows than columns, got {n} rows and {p + q} independent columns")
    doubts: list[str] = []
    value, error, independent = 0.0, 0.0, float(n)
    if p and q:
        if sizes.size < 2:
            raise ValueError("groups: expected at least 2 images, got 1; without groups the rows count as independent")
        if sizes.size < n:
            independent = min(float(n), _independent_rows(u, v, np.asarray(index, dtype=np.int64), sizes.size))
            if independent <= p + q + 1:
                raise ValueError(
                    f"groups: expected more independent rows than columns, got images worth {independent:.0f} rows and "
                    f"{p + q} independent columns"
                )
        cosines = u.T @ v
        sines = np.linalg.svd(v - u @ cosines, compute_uv=False)
        if sines[-1] <= max(tolerance_x, tolerance_y):
            value = math.inf
            doubts.append("x and y: a linear combination of x is one of y; for continuous variables that is infinite")
        else:
            value = float(-np.log(sines).sum()) - _log_determinant_bias(independent, p, q)
        error = math.sqrt(_log_determinant_variance(independent, p, q) + float((cosines**2).sum()) / independent)
        if sizes.size < min(n, FEW_IMAGES):
            doubts.append(
                f"only {sizes.size} images: how independent their rows are cannot be told from fewer than {FEW_IMAGES}"
            )
        distinct = min(len(np.unique(side, axis=0)) for side in (a, b))
        if 2 * distinct < n and value > math.log(distinct):
            doubts.append(
                f"x or y takes {distinct} values only and carries at most {math.log(distinct):.2f} nats, which jointly "
                "Gaussian variables would not; use mixed_information or the discrete estimators"
            )
        doubts += heavy_tails(np.hstack([standard_columns(a).z, standard_columns(b).z]), "x and y")
        atom = max(largest_atom(side[:, ~standard_columns(side).constant]) for side in (a, b))
        if not doubts and atom > ATOM * n and value > 2.0 * error:
            doubts.append(
                f"a column has {atom} copies of one value in {n} rows, which no Gaussian variable has: the value may "
                "be too high or too low; use mixed_information or critic_information"
            )
        if independent < ROWS_PER_COLUMN * (p + q):
            doubts.append(
                f"{independent:.0f} independent rows for {p + q} columns: the standard error is {error:.2g}; expected "
                f"{ROWS_PER_COLUMN} rows per column"
            )
    doubt(doubts, on_doubt)
    return Estimate(
        value=value,
        quantity=Quantity.MUTUAL_INFORMATION,
        unit_of_sampling=unit_of_sampling(groups),
        unit="nats",
        settings={"method": "gaussian"},
        details={
            "n": n,
            "ranks": (p, q),
            "independent_rows": independent,
            "standard_error": error,
            "doubts": tuple(doubts),
        },
    )


def _log_determinant_bias(n: float, p: int, q: int) -> float:
    """Bias of log(|S_x| |S_y| / |S|) / 2 from n Gaussian rows; it does not depend on the covariance."""

    def psi(columns: int) -> float:
        return float(digamma(0.5 * (n - 1.0 - np.arange(columns))).sum())

    return 0.5 * (psi(p) + psi(q) - psi(p + q))


def _log_determinant_variance(n: float, p: int, q: int) -> float:
    """Variance of the same for independent X and Y (Wilks' lambda is a product of beta variables)."""
    step = np.arange(p)
    spread = polygamma(1, 0.5 * (n - 1.0 - q - step)) - polygamma(1, 0.5 * (n - 1.0 - step))
    return float(0.25 * spread.sum())


def _independent_rows(u: FloatArray, v: FloatArray, image: IntArray, images: int) -> float:
    """The number of independent rows for which the correlations of two bases would vary as they do between images."""
    order = np.argsort(image, kind="stable")
    ends = np.cumsum(np.bincount(image, minlength=images))
    mean = u.T @ v / len(u)
    squares = 0.0
    for rows in np.split(order, ends[:-1]):
        squares += float(np.square(u[rows].T @ v[rows] - len(rows) * mean).sum())
    return u.shape[1] * v.shape[1] / squares if squares > 0 else math.inf
