"""The BROJA decomposition of jointly Gaussian variables: continuous partial information, with a certified accuracy."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from redundancy import checks
from redundancy.array_types import FloatArray
from redundancy.information.sampling_doubts import LARGEST_BIAS
from redundancy.pid.result import Atoms
from redundancy.standard_columns import constant_columns

RANK = 1e-10  # directions with less than this share of the largest variance do not exist


@dataclass(frozen=True, eq=False, repr=False)
class GaussianPID(Atoms):
    """A decomposition of I(Z; X, Y) of jointly Gaussian variables, in nats.

    Parameters
    ----------
    redundant, unique_x, unique_y, synergistic : float
        The atoms; I(Z; X) = redundant + unique_x, I(Z; Y) = redundant + unique_y, and the sum is I(Z; X, Y).
    gap : float
        The minimum over Gaussian couplings is at most this far: the unique atoms lie in [value - gap, value], the
        redundant and the synergistic one in [value, value + gap].
    exact : bool
        Whether the atoms are those over all couplings (a target of one dimension, or one source that is a degraded
        copy of the other); otherwise the minimum is over Gaussian couplings only, and the unique atoms are upper
        bounds on those of D9.
    coupling : ndarray (x, y)
        Correlation of the whitened noises of X and Y under the optimal coupling: a matrix of norm at most 1.
    n : int
        Number of images (or rows) of the sample; 0 for a covariance that was given.

    Attributes
    ----------
    redundant, unique_x, unique_y, synergistic, gap, exact, coupling, n
        As given.

    See Also
    --------
    gaussian_broja, gaussian_broja_from_samples : Return it.
    PID : The same for discrete variables.

    Examples
    --------
    >>> import redundancy as rd
    >>> pid = rd.gaussian_broja([[1.0, 0.6, 0.3], [0.6, 1.0, 0.18], [0.3, 0.18, 1.0]], (1, 1, 1))
    >>> round(pid.redundant, 4), round(pid.unique_x, 4), pid.unique_y, pid.exact
    (0.0472, 0.176, 0.0, True)
    """

    gap: float
    exact: bool
    coupling: FloatArray = field(repr=False)
    n: int = 0


def gaussian_broja(covariance: ArrayLike, dims: tuple[int, int, int], *, tol: float = 1e-7) -> GaussianPID:
    """Decompose I(Z; X, Y) of jointly Gaussian variables into redundant, unique and synergistic information.

    Parameters
    ----------
    covariance : array_like (d, d)
        Covariance of (Z, X, Y), in this order; singular blocks are reduced to their rank.
    dims : (int, int, int)
        Numbers of columns of Z, X and Y; their sum is d.
    tol : float
        The gap, in nats, above which a RuntimeWarning is raised.

    Returns
    -------
    GaussianPID
        Atoms in nats, with a certified gap. For a target of one dimension redundant = min(I(Z; X), I(Z; Y)), exactly.

    Raises
    ------
    ValueError
        A matrix that is not a covariance, dims that do not sum to d, sources that determine a direction of the target
        (infinite information).

    Warns
    -----
    RuntimeWarning
        A gap above tol.

    See Also
    --------
    gaussian_broja_from_samples : From paired rows.
    broja : Discrete variables.

    Notes
    -----
    The unique information of X is the minimum of I_Q(Z; X | Y) over the couplings Q with the (Z, X) and (Z, Y)
    marginals (D9), here over Gaussian Q: with X = H_x Z + N_x, Y = H_y Z + N_y and whitened noises, over their
    correlation W, ||W|| <= 1. I_Q is convex in W, so that f(W) - min f <= <grad f, W> + ||grad f||_* (the nuclear
    norm), which is the gap. Whether a Gaussian Q is optimal among all Q is known where one source is a degraded copy
    of the other, and always for a scalar target (there BROJA is the "minimum mutual information").

    References
    ----------
    Barrett (2015), *Exploration of synergistic and redundant information sharing in static and dynamical Gaussian
    systems*, arXiv:1411.2832; Venkatesh, Bennett, Gale, Ramirez, Heller, Durand, Olsen and Mihalas (2023), *Gaussian
    partial information decomposition: bias correction and application to high-dimensional data*, arXiv:2307.10515.

    Examples
    --------
    X sees the first part of the target, Y the second one and a little of the first:

    >>> import numpy as np
    >>> import redundancy as rd
    >>> a = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [2, 0, 1, 0], [0.5, 1, 0, 1]])
    >>> pid = rd.gaussian_broja(a @ a.T, (2, 1, 1))
    >>> [round(atom, 3) for atom in (pid.redundant, pid.unique_x, pid.unique_y, pid.synergistic)]
    [0.052, 0.753, 0.354, 0.005]
    """
    sigma = checks.matrix(covariance, name="covariance")
    d_z, d_x, _ = sizes = checks.three_sizes(dims, name="dims", meaning="the columns of z, x and y")
    tol = checks.positive(tol, name="tol")
    if sigma.shape[0] != sigma.shape[1] or sum(sizes) != len(sigma):
        raise ValueError(
            f"dims: expected three numbers that sum to the size of the covariance, got {dims} for shape {sigma.shape}"
        )
    scale = np.sqrt(np.maximum(np.diag(sigma), 0.0))
    scale = np.where(scale > 0.0, scale, 1.0)
    sigma = sigma / scale[:, None] / scale
    if np.abs(sigma - sigma.T).max() > 1e-8 or np.linalg.eigvalsh(sigma)[0] < -1e-8 * len(sigma):
        raise ValueError("covariance: expected a symmetric matrix without negative eigenvalues")
    z, x, y = slice(0, d_z), slice(d_z, d_z + d_x), slice(d_z + d_x, None)
    both = slice(d_z, None)
    h_x, h_y = _channel(sigma, z, x, "x"), _channel(sigma, z, y, "y")
    info_x, info_y, info_both = (_information(h) for h in (h_x, h_y, _channel(sigma, z, both, "x and y")))
    coupling, union, gap, exact = _union_information(h_x, h_y, max(info_x, info_y))
    if gap > tol:
        warnings.warn(
            f"the gap of {gap:.1e} nats is above tol = {tol:g}: the noises of the optimum are nearly dependent, "
            "and the atoms are known up to the gap",
            RuntimeWarning,
            stacklevel=2,
        )
    return GaussianPID(
        redundant=info_x + info_y - union,
        unique_x=union - info_y,
        unique_y=union - info_x,
        synergistic=info_both - union,
        gap=gap,
        exact=exact,
        coupling=coupling,
    )


def gaussian_broja_from_samples(
    z: ArrayLike, x: ArrayLike, y: ArrayLike, *, groups: ArrayLike | None = None, tol: float = 1e-7
) -> GaussianPID:
    """Decompose I(Z; X, Y) for the covariance of paired rows, as if the variables were jointly Gaussian.

    Parameters
    ----------
    z, x, y : array_like (n,) or (n, d)
        Target and sources, paired.
    groups : array_like (n,), optional
        Image of each row: every image counts the same, and images are the units of the doubts.
    tol : float
        As in :func:`gaussian_broja`.

    Returns
    -------
    GaussianPID
        As from :func:`gaussian_broja`. Plug-in: I(Z; X, Y) is biased upwards by about d_z (d_x + d_y) / (2 n).

    Raises
    ------
    ValueError
        Unpaired rows, NaN, not more rows than columns, infinite information.

    Warns
    -----
    RuntimeWarning
        A bias above 0.1 nats; a gap above tol.

    See Also
    --------
    gaussian_broja : The covariance is known.
    broja_from_samples : Discrete variables.

    References
    ----------
    As for :func:`gaussian_broja`.

    Examples
    --------
    >>> import numpy as np
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=5000)
    >>> x, y = z + rng.normal(size=5000), z + 2 * rng.normal(size=5000)
    >>> pid = rd.gaussian_broja_from_samples(z, x, y)  # log(2) / 2 and log(1.25) / 2
    >>> round(pid.redundant, 2), round(pid.redundant + pid.unique_x, 2)
    (0.1, 0.35)
    """
    columns = [checks.matrix(a, name=name, min_rows=2) for name, a in (("z", z), ("x", x), ("y", y))]
    if len({len(c) for c in columns}) > 1:
        raise ValueError(f"z, x and y: expected paired rows, got {[len(c) for c in columns]}")
    index, sizes = checks.group_index(groups, len(columns[0]))
    dims = tuple(c.shape[1] for c in columns)
    if sizes.size <= sum(dims) + 1:
        raise ValueError(
            f"z, x and y: expected more images (or rows) than columns, got {sizes.size} and {sum(dims)} columns"
        )
    bias = dims[0] * (dims[1] + dims[2]) / (2.0 * sizes.size)
    if bias > LARGEST_BIAS:
        warnings.warn(
            f"I(Z; X, Y) is biased upwards by about {bias:.2f} nats; use fewer columns or more data",
            RuntimeWarning,
            stacklevel=2,
        )
    rows = np.hstack(columns)
    rows = np.where(constant_columns(rows), 0.0, rows)
    largest = np.abs(rows).max(axis=0)
    rows = rows / np.where(largest > 0.0, largest, 1.0)
    weight = 1.0 / (sizes[index] * sizes.size)
    rows = rows - rows[0]
    rows = rows - weight @ rows
    pid = gaussian_broja((rows * weight[:, None]).T @ rows, (dims[0], dims[1], dims[2]), tol=tol)
    return replace(pid, n=int(sizes.size))


def _reduced(sigma: FloatArray) -> FloatArray:
    """A map (d, rank) that whitens a covariance on its range."""
    values, vectors = np.linalg.eigh(sigma)
    if values[-1] <= 0.0:
        return np.zeros((len(sigma), 0))
    held = values > RANK * values[-1]
    return np.asarray(vectors[:, held] / np.sqrt(values[held]))


def _channel(sigma: FloatArray, z: slice, x: slice, name: str) -> FloatArray:
    """H (x, z) with X = H Z + N for whitened Z and N, whatever the units of X."""
    correlation = _reduced(sigma[x, x]).T @ sigma[x, z] @ _reduced(sigma[z, z])
    left, rho, right = np.linalg.svd(correlation, full_matrices=False)
    if rho.size and rho[0] > 1.0 - 1e-10:
        raise ValueError(f"covariance: expected finite information, but {name} determines a direction of z; add noise")
    return np.asarray((left * (rho / np.sqrt(1.0 - rho**2))) @ right)


def _information(h: FloatArray) -> float:
    return 0.5 * float(np.log1p(np.linalg.svd(h, compute_uv=False) ** 2).sum())


def _union_information(h_x: FloatArray, h_y: FloatArray, least: float) -> tuple[FloatArray, float, float, bool]:
    """The smallest I_Q(Z; X, Y): coupling W, value, gap, and whether it is the minimum over all couplings."""
    if h_x.size == 0 or h_y.size == 0:
        return np.zeros((len(h_x), len(h_y))), least, 0.0, True
    for first, second in ((h_x, h_y), (h_y, h_x)):
        # the second source is a degraded copy of the first: H_2 = W' H_1 with a contraction W'
        back = second @ np.linalg.pinv(first, rcond=1e-12)
        size = np.linalg.norm(second)
        if np.linalg.norm(back @ first - second) <= 1e-10 * size and np.linalg.norm(back, 2) <= 1.0 + 1e-12:
            return (back.T if first is h_x else back), least, 0.0, True
    swap = len(h_y) > len(h_x)
    coupling, value, gap = _minimise(*((h_y, h_x) if swap else (h_x, h_y)))
    value, gap = max(value, least), max(0.0, min(gap, value - least))
    return (coupling.T if swap else coupling), value, gap, False


def _minimise(h_x: FloatArray, h_y: FloatArray) -> tuple[FloatArray, float, float]:
    """Minimise over contractions W = M (1 + M^T M)^(-1/2), which are all those of norm below 1."""
    shape = (len(h_x), len(h_y))
    h = np.vstack([h_x, h_y])
    gram = h @ h.T

    def objective(w: FloatArray) -> tuple[float, FloatArray]:
        noise = np.block([[np.eye(shape[0]), w], [w.T, np.eye(shape[1])]])
        _, log_whole = np.linalg.slogdet(noise + gram)
        sign, log_noise = np.linalg.slogdet(noise)
        if sign <= 0.0:
            return math.inf, np.zeros(shape)
        difference = np.asarray(np.linalg.inv(noise + gram) - np.linalg.inv(noise), dtype=np.float64)
        return 0.5 * float(log_whole - log_noise), difference[: shape[0], shape[0] :]

    def contraction(m: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        values, vectors = np.linalg.eigh(m.T @ m)
        root = np.sqrt(1.0 + np.maximum(values, 0.0))
        return (m @ vectors / root) @ vectors.T, vectors, root

    def of_free(flat: FloatArray) -> tuple[float, FloatArray]:
        m = flat.reshape(shape)
        w, vectors, root = contraction(m)
        value, gradient = objective(w)
        inner = vectors.T @ (m.T @ gradient) @ vectors
        curve = -1.0 / (root[:, None] * root * (root[:, None] + root))
        change = vectors @ (curve * 0.5 * (inner + inner.T)) @ vectors.T
        free = (gradient @ vectors / root) @ vectors.T + 2.0 * m @ change
        return value, np.asarray(free.ravel(), dtype=np.float64)

    best: tuple[FloatArray, float, float] | None = None
    start = np.zeros(shape[0] * shape[1])
    method = "BFGS" if start.size <= 60 else "L-BFGS-B"
    options: dict[str, float] = {"gtol": 1e-11, "maxiter": 5000}
    if method == "L-BFGS-B":
        options |= {"ftol": 0.0, "maxcor": 50, "maxfun": 20_000}
    for _ in range(4):  # restarts forget a bad curvature
        with np.errstate(all="ignore"):
            start = minimize(of_free, start, jac=True, method=method, options=options).x  # type: ignore[call-overload]
        w = contraction(start.reshape(shape))[0]
        value, gradient = objective(w)
        gap = float((gradient * w).sum() + np.linalg.svd(gradient, compute_uv=False).sum())
        if best is None or gap < best[2]:
            best = w, value, max(gap, 0.0)
        if best[2] < 1e-10:
            break
    assert best is not None
    return best
