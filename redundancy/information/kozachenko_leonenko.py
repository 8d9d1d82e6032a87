"""Differential entropy from nearest-neighbour distances (Kozachenko-Leonenko), on flat space or on the sphere."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, digamma, gammaln

from redundancy import checks
from redundancy.array_types import FloatArray
from redundancy.estimate import Estimate
from redundancy.information.knn_checks import SPHERE_SPREAD, doubt, neighbor_matrix, on_sphere, refuse_ties
from redundancy.information.knn_search import NORMS, neighbor_counts

SURFACES = ("flat", "sphere")


def knn_entropy(
    x: ArrayLike,
    k: int = 5,
    *,
    norm: str = "max",
    whiten: bool = False,
    calibrate: bool = False,
    surface: str = "flat",
    jitter: float = 0.0,
    rng: np.random.Generator | int | None = None,
    on_doubt: str = "warn",
    workers: int = 1,
) -> Estimate:
    """h(X) in nats by Kozachenko and Leonenko (1987): psi(n) - psi(k) + log c_d + d E log(distance).

    Parameters
    ----------
    x : array_like (n,) or (n, d)
        Independent rows, finite. Columns are standardised first and their scales added back.
    k : int
        Neighbours.
    norm : {"max", "euclidean"}
        Of the distances.
    whiten : bool
        Also rotate to uncorrelated columns (and add the log determinant back); needs n > d. Removes much of the
        bias of correlated columns.
    calibrate : bool
        Subtract the error made on a standard Gaussian sample of the same n, d, k and norm. Worth it from about
        ten columns; exact only in so far as the law is as smooth as a Gaussian.
    surface : {"flat", "sphere"}
        "sphere": rows of one norm; entropy with respect to the area of the unit sphere (caps of dimension d - 1).
    jitter, rng, on_doubt, workers
        As in `ksg`; rng also draws the calibration sample.

    Returns
    -------
    Estimate
        `details["local"]` (n,): terms whose mean is the value (before calibration).

    Raises
    ------
    ValueError
        As `ksg`; rows on a sphere with surface="flat" (the entropy is -infinity) and the reverse; whiten with
        n <= d or linearly dependent columns.
    """
    checks.one_of(norm, NORMS, name="norm")
    checks.one_of(surface, SURFACES, name="surface")
    if surface == "sphere":
        return _on_sphere(x, k, workers=workers)
    generator = np.random.default_rng(rng)
    z, log_scale, doubts = neighbor_matrix(x, k, name="x", jitter=jitter, rng=generator)
    n, d = z.shape
    if on_sphere(x) and jitter == 0:
        raise ValueError(
            f"x: the rows have one norm (relative spread below {SPHERE_SPREAD:g}), so they lie on a sphere and the "
            "entropy in space is -infinity; pass surface='sphere'"
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
    return Estimate(value=value, quantity="entropy", unit="nats", settings=settings, details=details)


def residual_entropy(
    x: ArrayLike,
    y: ArrayLike,
    k: int = 5,
    *,
    folds: int = 5,
    groups: ArrayLike | None = None,
    rng: np.random.Generator | int | None = None,
    on_doubt: str = "warn",
) -> Estimate:
    """h(X | Y) through the entropy of X - f(Y), f a ridge regression fitted without the row's fold.

    Since h(X | Y) = h(X - f(Y) | Y) <= h(X - f(Y)), it targets an upper bound, met when the residual is independent
    of Y. A difference of neighbour entropies h(X, Y) - h(Y) is useless beyond a few columns of Y; this is not.

    Parameters
    ----------
    x, y : array_like (n,) or (n, d)
        Paired rows.
    folds, groups, rng
        Cross-fitting; rows of one group (image) stay together.
    k, on_doubt
        As `knn_entropy`, which estimates the entropy of the residual.

    Raises
    ------
    ValueError
        As `knn_entropy`; a residual below 1e-5 of the spread (X is a linear function of Y).
    """
    from redundancy.information.linear_summaries import fold_of_rows, ridge_predict

    a, b = checks.matrix(x, name="x", min_rows=2), checks.matrix(y, name="y", min_rows=2)
    if a.shape[0] != b.shape[0]:
        raise ValueError(f"x and y: expected paired rows, got {a.shape[0]} and {b.shape[0]}")
    fold = fold_of_rows(a.shape[0], folds, groups, rng)
    residual = np.empty_like(a)
    for number in range(folds):
        train, test = fold != number, fold == number
        residual[test] = a[test] - ridge_predict(b[train], a[train], b[test])
    if (residual.std(0) <= 1e-5 * a.std(0)).any():
        raise ValueError("x: a linear function of y up to 1e-5 of its spread; h(X | Y) is -infinity or not resolved")
    found = knn_entropy(residual, k, on_doubt=on_doubt)
    return Estimate(
        value=found.value,
        quantity="conditional entropy",
        unit="nats",
        settings={"method": "ridge residual", "k": k, "folds": folds},
        details=found.details,
    )


def _terms(z: FloatArray, k: int, norm: str, workers: int) -> FloatArray:
    n, d = z.shape
    radius, _ = neighbor_counts([z], [], k, norm=norm, workers=workers)
    refuse_ties(radius, k)
    unit_ball = d * math.log(2.0) if norm == "max" else 0.5 * d * math.log(math.pi) - float(gammaln(0.5 * d + 1.0))
    return np.asarray(digamma(n) - digamma(k) + unit_ball + d * np.log(radius))


def _whiten(z: FloatArray) -> tuple[FloatArray, float]:
    n, d = z.shape
    if n <= d:
        raise ValueError(f"whiten: expected more rows than columns, got {n} rows and {d} columns")
    values, vectors = np.linalg.eigh(z.T @ z / n)
    if values[0] <= 1e-12 * values[-1]:
        raise ValueError("whiten: columns are linearly dependent (the entropy is -infinity); drop some")
    return (z @ vectors) / np.sqrt(values), 0.5 * float(np.log(values).sum())


def _on_sphere(x: ArrayLike, k: int, *, workers: int) -> Estimate:
    """Caps instead of balls: a cap of angle r covers I(sin^2 r; (d-1)/2, 1/2) / 2 of the sphere, r <= pi / 2."""
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
        quantity="entropy",
        unit="nats",
        settings={"method": "kozachenko-leonenko", "k": k, "surface": "sphere"},
        details={"local": local, "n": n, "doubts": ()},
    )
