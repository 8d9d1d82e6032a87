"""Differential entropy from nearest-neighbour distances (Kozachenko-Leonenko), on flat space or on the sphere."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, digamma, gammaln

from redundancy import checks
from redundancy.array_types import FloatArray, Rng
from redundancy.estimate import Estimate, Quantity
from redundancy.information.knn_checks import SPHERE_SPREAD, OnDoubt, doubt, neighbor_matrix, on_sphere, refuse_ties
from redundancy.information.knn_search import Norm, neighbor_counts
from redundancy.prediction.cross_fitting import fold_of_rows, ridge_predict

Surface = Literal["flat", "sphere"]


def knn_entropy(
    x: ArrayLike,
    k: int = 5,
    *,
    norm: Norm = "max",
    whiten: bool = False,
    calibrate: bool = False,
    surface: Surface = "flat",
    jitter: float = 0.0,
    rng: Rng = None,
    on_doubt: OnDoubt = "warn",
    workers: int = 1,
) -> Estimate:
    """Estimate the differential entropy h(X) from nearest-neighbour distances (Kozachenko and Leonenko).

    Parameters
    ----------
    x : array_like (n,) or (n, d)
        Independent rows, finite. Columns are standardised first and their scales added back.
    k : int
        Number of neighbours.
    norm : {"max", "euclidean"}
        Norm of the distances.
    whiten : bool
        Also rotate to uncorrelated columns (and add the log determinant back); needs n > d. Removes much of the
        bias of correlated columns.
    calibrate : bool
        Subtract the error made on a standard Gaussian sample of the same n, d, k and norm. Worthwhile from about
        ten columns; exact only in so far as the distribution is as smooth as a Gaussian.
    surface : {"flat", "sphere"}
        "sphere": rows of the same norm; entropy with respect to the area of the unit sphere (caps of dimension d - 1).
    jitter, rng, on_doubt, workers
        As in :func:`ksg`; rng also draws the calibration sample.

    Returns
    -------
    Estimate
        Nats, any real number; `details["local"]` (n,): terms whose mean is the value (before calibration). No
        per-unit values: the terms are not independent.

    Raises
    ------
    ValueError
        As in :func:`ksg`; rows on a sphere with surface="flat" (the entropy is -infinity) and the reverse; whiten with
        n <= d or linearly dependent columns.

    See Also
    --------
    residual_entropy : h(X | Y) for wide Y.
    entropy : Discrete variables.

    Notes
    -----
    h = psi(n) - psi(k) + log c_d + d E log r_k, where r_k is the distance to the k-th neighbour and c_d the volume of
    the unit ball.

    References
    ----------
    Kozachenko and Leonenko (1987), *Sample estimate of the entropy of a random vector*.

    Examples
    --------
    A uniform variable on [0, 1] has entropy 0, on [0, 2] log 2:

    >>> import numpy as np
    >>> import redundancy as rd
    >>> x = np.random.default_rng(0).uniform(size=2000)
    >>> round(rd.knn_entropy(x).value, 3)
    -0.01
    >>> round(rd.knn_entropy(2 * x).value - rd.knn_entropy(x).value, 3)
    0.693
    """
    checks.one_of(norm, get_args(Norm), name="norm")
    checks.one_of(surface, get_args(Surface), name="surface")
    if surface == "sphere":
        return _on_sphere(x, k, workers=workers)
    generator = np.random.default_rng(rng)
    z, log_scale, doubts = neighbor_matrix(x, k, name="x", jitter=jitter, rng=generator)
    n, d = z.shape
    if on_sphere(x) and jitter == 0:
        raise ValueError(
            f"x: expected rows of different norms, got one norm (relative spread below {SPHERE_SPREAD:g}): they lie on "
            "a sphere, and the entropy in space is -infinity; pass surface='sphere'"
        )
    shift = float(log_scale.sum())
    if whiten:
        z, log_volume = _whiten(z)
        shift += log_volume
    local = _terms(z, k, norm, workers) + shift
    value = float(local.mean())
    if calibrate:
        gaussian = generator.standard_normal((n, d))
        value -= float(_terms(gaussian, k, norm, workers).mean()) - 0.5 * d * math.log(2.0 * math.pi * math.e)
    elif d > 10:
        doubts.append(f"x: {d} columns; the bias of neighbour entropies grows with d, pass whiten and calibrate")
    doubt(doubts, on_doubt)
    settings = {
        "method": "kozachenko-leonenko",
        "k": k,
        "norm": norm,
        "whiten": whiten,
        "calibrate": calibrate,
        "surface": surface,
        "jitter": jitter,
    }
    details = {"local": local, "n": n, "doubts": tuple(doubts)}
    return Estimate(value=value, quantity=Quantity.ENTROPY, unit="nats", settings=settings, details=details)


def residual_entropy(
    x: ArrayLike,
    y: ArrayLike,
    k: int = 5,
    *,
    folds: int = 5,
    groups: ArrayLike | None = None,
    rng: Rng = None,
    on_doubt: OnDoubt = "warn",
) -> Estimate:
    """Estimate an upper bound on h(X | Y): the entropy of X - f(Y), f a cross-fitted ridge regression.

    Parameters
    ----------
    x, y : array_like (n,) or (n, d)
        Paired rows.
    folds, groups, rng
        Cross-fitting; rows of one group (image) stay together.
    k, on_doubt
        As in :func:`knn_entropy`, which estimates the entropy of the residual.

    Returns
    -------
    Estimate
        Nats, any real number; `details` as in :func:`knn_entropy`.

    Raises
    ------
    ValueError
        As in :func:`knn_entropy`; a residual below 1e-5 of the spread (X is a linear function of Y).

    See Also
    --------
    knn_entropy : The entropy of X alone.

    Notes
    -----
    h(X | Y) = h(X - f(Y) | Y) <= h(X - f(Y)), with equality when the residual is independent of Y. A difference of
    neighbour entropies h(X, Y) - h(Y) is useless beyond a few columns of Y; this bound is not.

    References
    ----------
    Kozachenko and Leonenko (1987), *Sample estimate of the entropy of a random vector*.

    Examples
    --------
    Twenty columns of Y determine X up to noise of standard deviation 0.5, whose entropy is 0.726:

    >>> import numpy as np
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> y = rng.normal(size=(1000, 20))
    >>> x = y.sum(axis=1) + 0.5 * rng.normal(size=1000)
    >>> round(rd.residual_entropy(x, y, rng=0).value, 2)
    0.7
    """
    a, b = checks.matrix(x, name="x", min_rows=2), checks.matrix(y, name="y", min_rows=2)
    if a.shape[0] != b.shape[0]:
        raise ValueError(f"x and y: expected paired rows, got {a.shape[0]} and {b.shape[0]}")
    fold = fold_of_rows(a.shape[0], folds, groups, rng)
    residual = np.empty_like(a)
    for number in range(folds):
        train, test = fold != number, fold == number
        residual[test] = a[test] - ridge_predict(b[train], a[train], b[test])
    if (residual.std(0) <= 1e-5 * a.std(0)).any():
        raise ValueError(
            "x: a linear function of y up to 1e-5 of its spread; h(X | Y) is -infinity or cannot be resolved"
        )
    entropy = knn_entropy(residual, k, on_doubt=on_doubt)
    return Estimate(
        value=entropy.value,
        quantity=Quantity.CONDITIONAL_ENTROPY,
        unit="nats",
        settings={"method": "ridge residual", "k": k, "folds": folds},
        details=entropy.details,
    )


def _terms(z: FloatArray, k: int, norm: Norm, workers: int) -> FloatArray:
    """Terms (n,) whose mean is the entropy of the rows z."""
    n, d = z.shape
    radius, _ = neighbor_counts([z], [], k, norm=norm, workers=workers)
    refuse_ties(radius, k)
    unit_ball = d * math.log(2.0) if norm == "max" else 0.5 * d * math.log(math.pi) - float(gammaln(0.5 * d + 1.0))
    return np.asarray(digamma(n) - digamma(k) + unit_ball + d * np.log(radius))


def _whiten(z: FloatArray) -> tuple[FloatArray, float]:
    """Uncorrelated columns of unit variance, and the log determinant to be added back."""
    n, d = z.shape
    if n <= d:
        raise ValueError(f"whiten: expected more rows than columns, got {n} rows and {d} columns")
    values, vectors = np.linalg.eigh(z.T @ z / n)
    if values[0] <= 1e-12 * values[-1]:
        raise ValueError("whiten: columns are linearly dependent (the entropy is -infinity); drop some")
    return (z @ vectors) / np.sqrt(values), 0.5 * float(np.log(values).sum())


def _on_sphere(x: ArrayLike, k: int, *, workers: int) -> Estimate:
    """Entropy on the unit sphere, from caps instead of balls.

    A cap of angle r covers I(sin^2 r; (d-1)/2, 1/2) / 2 of the sphere, r <= pi / 2.
    """
    a = checks.matrix(x, name="x", min_rows=2)
    n, d = a.shape
    if d < 2 or not on_sphere(a):
        raise ValueError("surface='sphere': expected rows of one norm in at least 2 columns; normalise the rows first")
    if n <= k + 1:
        raise ValueError(f"x: expected more than k + 1 = {k + 1} rows, got {n}; lower k or collect more")
    unit = a / np.linalg.norm(a, axis=1, keepdims=True)
    chord, _ = neighbor_counts([unit], [], k, norm="euclidean", workers=workers)
    refuse_ties(chord, k)
    sine_squared = chord**2 * (1.0 - 0.25 * chord**2)  # of the angle, from the chord
    share = 0.5 * betainc(0.5 * (d - 1), 0.5, np.minimum(sine_squared, 1.0))
    share = np.where(chord <= math.sqrt(2.0), share, 1.0 - share)
    area = math.log(2.0) + 0.5 * d * math.log(math.pi) - float(gammaln(0.5 * d))
    local = digamma(n) - digamma(k) + area + np.log(share)
    return Estimate(
        value=float(local.mean()),
        quantity=Quantity.ENTROPY,
        unit="nats",
        settings={"method": "kozachenko-leonenko", "k": k, "surface": "sphere"},
        details={"local": local, "n": n, "doubts": ()},
    )
