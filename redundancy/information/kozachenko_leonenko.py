"""Differential entropy from nearest-neighbour distances (Kozachenko-Leonenko), on flat space or on the sphere."""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, digamma, gammaln

from redundancy import checks
from redundancy.array_types import FloatArray, Rng
from redundancy.estimate import Estimate, Quantity, unit_of_sampling
from redundancy.information.knn_checks import (
    doubt,
    fitted_sphere,
    images_of,
    largest_atom,
    neighbor_columns,
    neighbors,
    noise,
    refuse_ties,
    thin_directions,
    threads,
    unequal_images,
)
from redundancy.information.knn_search import Images, Neighborhoods, Norm, neighborhoods
from redundancy.information.kraskov import total_term
from redundancy.information.sampling_doubts import OnDoubt
from redundancy.prediction.cross_fitting import fold_of_rows, ridge_predict
from redundancy.standard_columns import independent_basis, largest_exponents

Surface = Literal["flat", "sphere"]
FARTHER = 4  # the local dimension is read between the k-th and the (FARTHER k)-th neighbour
FLAT = 0.7  # in 2 or 3 columns, local dimensions below d - FLAT are refused
ENOUGH_FOR_DIMENSION = 100  # rows (or images) from which a local dimension is believed
UNRESOLVED = 1e-5  # of its spread: a residual that is not told from none
SUSPECT = 1e-2  # of its spread: a residual that may be what the ridge penalty leaves of none
ATOM = 0.02  # share of copies of one value beyond which a column has no density


def knn_entropy(
    x: ArrayLike,
    k: int = 5,
    *,
    norm: Norm = "max",
    whiten: bool = False,
    calibrate: bool = False,
    surface: Surface = "flat",
    groups: ArrayLike | None = None,
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
        "sphere": rows on a sphere of any centre and radius, perhaps within a flat (the rows of a LayerNorm); entropy
        with respect to the area of that sphere at radius 1, `details["dimension"]` its dimension. whiten, calibrate,
        jitter and norm belong to "flat" and are refused.
    groups : array_like (n,), optional
        Image of each row, as in :func:`ksg`.
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
        As in :func:`ksg`; constant or linearly dependent columns, rows on a sphere or another curve or surface (the
        entropy is -infinity) with surface="flat"; rows on no sphere with surface="sphere"; whiten with n <= d.

    See Also
    --------
    residual_entropy : H(X | Y) for wide Y.
    entropy : Discrete variables.

    Notes
    -----
    h = psi(n) - psi(k) + log c_d + d E log r_k, where r_k is the distance to the k-th neighbour and c_d the volume of
    the unit ball. With groups of s rows and N images: h = psi(N) + log s - psi(k) - E log S + log c_d + d E log r_k,
    where r_k is the distance to the k-th nearest image and S its mean number of rows within r_k (see :func:`ksg`).

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
    neighbors(k)
    noise(jitter)
    threads(workers)
    checks.one_of(norm, get_args(Norm), name="norm")
    checks.one_of(surface, get_args(Surface), name="surface")
    checks.one_of(on_doubt, get_args(OnDoubt), name="on_doubt")
    whiten, calibrate = checks.flag(whiten, name="whiten"), checks.flag(calibrate, name="calibrate")
    generator = checks.generator(rng)
    a = checks.matrix(x, name="x", min_rows=2)
    images = images_of(groups, len(a), k, name="x")
    if surface == "sphere":
        if whiten or calibrate or jitter != 0 or norm != "max":
            raise ValueError("surface='sphere': expected no whiten, calibrate, jitter or norm; they are for 'flat'")
        return _on_sphere(a, k, images, groups is not None, on_doubt, workers)
    columns = neighbor_columns(a, name="x", jitter=jitter, rng=generator)
    z, doubts = columns.z, [*unequal_images(images.sizes), *columns.doubts]
    constant = np.flatnonzero(columns.standard.constant)
    if constant.size:
        raise ValueError(f"x: column(s) {constant[:8].tolist()} are constant: the entropy is -infinity; drop them")
    if jitter == 0:
        _refuse_flat(a, z, columns.standard.rank_tolerance)
        copies = largest_atom(z)
        if copies > max(k, ATOM * len(z)):
            doubts.append(
                f"x: a column has {copies} copies of one value in {len(z)} rows; if its distribution has an atom "
                "there, the entropy is -infinity"
            )
    shift = float(columns.standard.log_scale.sum())
    if whiten:
        z, log_volume = _whiten(z)
        shift += log_volume
    n, d = z.shape
    near = neighborhoods([z], [], k, norm=norm, images=images, workers=workers)
    refuse_ties(near.radius, k)
    local = _terms(near, k, d, norm, images) + shift
    value = float(local.mean())
    if jitter == 0:
        doubts += _local_dimension(a, k, norm, images, workers)
        doubts += thin_directions(z, near.radius, 0.0, "x")
    if calibrate:
        gaussian = generator.standard_normal((n, d))
        alone = Images(np.arange(n), np.ones(n, dtype=np.int64))
        reference = neighborhoods([gaussian], [], k, norm=norm, images=alone, workers=workers)
        error = float(_terms(reference, k, d, norm, alone).mean()) - 0.5 * d * math.log(2.0 * math.pi * math.e)
        value -= error
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
    details = {"local": local, "n": n, "units": images.sizes.size, "doubts": tuple(doubts)}
    return Estimate(
        value=value,
        quantity=Quantity.ENTROPY,
        unit_of_sampling=unit_of_sampling(groups),
        unit="nats",
        settings=settings,
        details=details,
    )


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
    folds = checks.integer(folds, name="folds", least=2)
    fold = fold_of_rows(a.shape[0], folds, groups, rng)
    unit = largest_exponents(a)
    a, residual = np.ldexp(a, -unit), np.empty_like(a)  # the squares of huge and tiny columns leave the range of floats
    for number in range(folds):
        train, test = fold != number, fold == number
        residual[test] = a[test] - ridge_predict(b[train], a[train], b[test])
    if _is_linear(a, b, residual):
        raise ValueError(
            "x: a linear function of y up to 1e-5 of its spread; h(X | Y) is -infinity or cannot be resolved"
        )
    entropy = knn_entropy(np.ldexp(residual, unit), k, groups=groups, on_doubt=on_doubt)
    return Estimate(
        value=entropy.value,
        quantity=Quantity.CONDITIONAL_ENTROPY,
        unit_of_sampling=entropy.unit_of_sampling,
        unit="nats",
        settings={"method": "ridge residual", "k": k, "folds": folds},
        details=entropy.details,
    )


def _is_linear(x: FloatArray, y: FloatArray, residual: FloatArray) -> bool:
    """Whether a column of x is a linear function of y: ridge leaves a residual that hides it on few rows."""
    spread = x.std(0)
    suspect = np.flatnonzero(residual.std(0) <= SUSPECT * spread)
    if not suspect.size:
        return False
    basis, _ = independent_basis(y)
    if basis.shape[1] >= len(x) - 1:  # any column is
        return bool((residual.std(0) <= UNRESOLVED * spread).any())
    centred = x[:, suspect] - x[:, suspect].mean(0)
    rest = centred - basis @ (basis.T @ centred)
    return bool((rest.std(0) <= UNRESOLVED * spread[suspect]).any())


def _terms(near: Neighborhoods, k: int, d: int, norm: Norm, images: Images) -> FloatArray:
    """Terms (n,) whose mean is the entropy: minus the logarithm of the mass of each ball, plus that of its volume."""
    unit_ball = d * math.log(2.0) if norm == "max" else 0.5 * d * math.log(math.pi) - float(gammaln(0.5 * d + 1.0))
    return np.asarray(total_term(images) - digamma(k) - near.crowd + unit_ball + d * np.log(near.radius))


def _refuse_flat(x: FloatArray, z: FloatArray, tolerance: float) -> None:
    """ValueError for rows on a plane or a sphere: their entropy in space is -infinity."""
    n, d = z.shape
    if d < 2:
        return
    if n > d:
        values = np.linalg.svd(z, compute_uv=False)
        rank = int((values > tolerance * values[0]).sum())
        if rank < d:
            raise ValueError(
                f"x: {d} linearly dependent columns (rank {rank}): the entropy is -infinity; drop some, or pass "
                "surface='sphere' for rows on a sphere in their flat"
            )
    if fitted_sphere(x) is not None:
        raise ValueError("x: the rows lie on a sphere, and the entropy in space is -infinity; pass surface='sphere'")


def _local_dimension(x: FloatArray, k: int, norm: Norm, images: Images, workers: int) -> list[str]:
    """Refuse rows whose neighbourhoods fill fewer dimensions than there are columns; doubt a near miss.

    The mass of a ball grows like radius^d. Columns become normal scores and are whitened first, so that neither tails
    nor correlations count.
    """
    d, units = x.shape[1], images.sizes.size
    more = min(FARTHER * k, units - 1)
    if d < 2 or more < 2 * k or len(x) <= d:
        return []
    scores = neighbor_columns(x, name="x", scale="rank").z
    left, values, _ = np.linalg.svd(scores - scores.mean(0), full_matrices=False)
    if values[-1] <= 1e-9 * values[0]:
        raise ValueError(f"x: the {d} columns are monotone functions of fewer: the entropy is -infinity; drop some")
    white = left * math.sqrt(len(x))
    near, far = (neighborhoods([white], [], m, norm=norm, images=images, workers=workers) for m in (k, more))
    growth = np.log(far.radius / np.maximum(near.radius, np.finfo(np.float64).tiny)).mean()
    mass = float((digamma(more) + far.crowd - digamma(k) - near.crowd).mean())
    dimension = mass / growth if growth > 0 else math.inf
    low = d - FLAT if d <= 3 else 0.4 * d
    if dimension >= (low if d <= 3 else 0.6 * d):
        return []
    text = (
        f"x: neighbourhoods fill {dimension:.1f} dimensions, not {d}: the rows lie near a curve or surface (the "
        "entropy is -infinity or cannot be resolved), or in clusters (pass groups=)"
    )
    if dimension < low and units >= ENOUGH_FOR_DIMENSION:
        raise ValueError(text)
    return [text]


def _whiten(z: FloatArray) -> tuple[FloatArray, float]:
    """Uncorrelated columns of unit variance, and the log determinant to be added back."""
    n, d = z.shape
    if n <= d:
        raise ValueError(f"whiten: expected more rows than columns, got {n} rows and {d} columns")
    values, vectors = np.linalg.eigh(z.T @ z / n)
    if values[0] <= 1e-12 * values[-1]:
        raise ValueError("whiten: columns are linearly dependent (the entropy is -infinity); drop some")
    return (z @ vectors) / np.sqrt(values), 0.5 * float(np.log(values).sum())


def _on_sphere(x: FloatArray, k: int, images: Images, grouped: bool, on_doubt: OnDoubt, workers: int) -> Estimate:
    """Entropy on the unit sphere, from caps instead of balls.

    A cap of angle r covers I(sin^2 r; (d-1)/2, 1/2) / 2 of the sphere in d dimensions, r <= pi / 2.
    """
    sphere = fitted_sphere(x) if x.shape[1] > 1 else None
    if sphere is None:
        raise ValueError("surface='sphere': expected rows of one norm in at least 2 columns; normalise the rows first")
    d = sphere.dimension + 1
    near = neighborhoods([sphere.unit], [], k, norm="euclidean", images=images, workers=workers)
    chord = near.radius
    refuse_ties(chord, k, jitter_helps=False)
    sine_squared = chord**2 * (1.0 - 0.25 * chord**2)  # of the angle, from the chord
    share = 0.5 * betainc(0.5 * (d - 1), 0.5, np.clip(sine_squared, 0.0, 1.0))
    share = np.where(chord <= math.sqrt(2.0), share, 1.0 - share)
    area = math.log(2.0) + 0.5 * d * math.log(math.pi) - float(gammaln(0.5 * d))
    local = total_term(images) - digamma(k) - near.crowd + area + np.log(share)
    doubts = unequal_images(images.sizes)
    if d > 10:
        doubts.append(f"x: a sphere of dimension {d - 1}; the bias of neighbour entropies grows with the dimension")
    doubt(doubts, on_doubt)
    return Estimate(
        value=float(local.mean()),
        quantity=Quantity.ENTROPY,
        unit_of_sampling="image" if grouped else "row",
        unit="nats",
        settings={"method": "kozachenko-leonenko", "k": k, "surface": "sphere"},
        details={
            "local": local,
            "n": len(x),
            "units": images.sizes.size,
            "dimension": sphere.dimension,
            "radius": sphere.radius,
            "doubts": tuple(doubts),
        },
    )
