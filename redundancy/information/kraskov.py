"""Mutual information of continuous variables from distances to nearest neighbours (KSG)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma

from redundancy import checks
from redundancy.array_types import FloatArray, Rng
from redundancy.estimate import Estimate, Quantity
from redundancy.information.knn_checks import OnDoubt, doubt, neighbor_matrix, refuse_ties
from redundancy.information.knn_search import Norm, backend, neighbor_counts

Variant = Literal[1, 2]
# (total dimensions, rows from which the bias stays near a tenth of the truth), measured by
# tests/benchmarks/bench_information.py; beyond the last entry, no number of rows was found to be enough
ROWS_NEEDED = ((2, 0), (4, 1000), (6, 3000))


def ksg(
    x: ArrayLike,
    y: ArrayLike,
    k: int = 5,
    *,
    variant: Variant = 1,
    norm: Norm = "max",
    jitter: float = 0.0,
    rng: Rng = None,
    on_doubt: OnDoubt = "warn",
    workers: int = 1,
) -> Estimate:
    """Estimate I(X; Y) from nearest-neighbour distances (Kraskov, Stoegbauer and Grassberger, KSG).

    Columns are standardised first (the value is invariant, the estimator is not). The result is an estimate, not a
    bound.

    Parameters
    ----------
    x, y : array_like (n,) or (n, d)
        Paired rows, finite.
    k : int
        Number of neighbours. A small k means less bias and more variance.
    variant : {1, 2}
        Balls (eq. 8 of the paper) or rectangles (eq. 9).
    norm : {"max", "euclidean"}
        Distance within x and within y; the joint distance is the larger of the two. "euclidean" runs on matrix
        products and is the faster one beyond about ten columns.
    jitter : float
        Gaussian noise in units of each column's spread, for data with ties; changes what is estimated.
    rng : Generator, int or None
        For the jitter only.
    on_doubt : {"warn", "raise", "ignore"}
        What to do when the input or the result is outside the range where KSG was shown to work
        (docs/estimators.md): low-precision columns, many dimensions, too much information for n.
    workers : int
        Threads of the tree; -1 for all.

    Returns
    -------
    Estimate
        Nats; I(X; Y) >= 0, but the estimate can be negative and is not clipped. `details["local"]` (n,) are the
        pointwise terms; they are not independent and do not give an interval.

    Raises
    ------
    ValueError
        NaN, unequal lengths, n <= k + 1, constant columns, rows with k or more exact copies, unknown options.
    TypeError
        Arrays that do not hold real numbers.

    Warns
    -----
    RuntimeWarning
        With on_doubt="warn", for every doubt; they are also in `details["doubts"]`.

    See Also
    --------
    summary_information : Wide layers.
    knn_conditional_mutual_information : Given a third variable.
    mutual_information : Discrete variables.

    Notes
    -----
    Variant 1: I = psi(k) + psi(n) - E[psi(n_x + 1) + psi(n_y + 1)], where n_x counts the rows whose x is strictly
    closer than the k-th joint neighbour.

    References
    ----------
    Kraskov, Stoegbauer and Grassberger (2004), *Estimating mutual information*, arXiv:cond-mat/0305641.

    Examples
    --------
    Two Gaussians of correlation 0.6 share -log(1 - 0.36) / 2 = 0.223 nats:

    >>> import numpy as np
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=2000)
    >>> y = 0.6 * x + 0.8 * rng.normal(size=2000)
    >>> round(rd.ksg(x, y).value, 3)
    0.212
    """
    checks.one_of(norm, get_args(Norm), name="norm")
    if variant not in (1, 2):
        raise ValueError(f"variant: expected 1 (balls) or 2 (rectangles), got {variant}")
    blocks, doubts = _blocks({"x": x, "y": y}, k, jitter, rng)
    n = blocks[0].shape[0]
    rectangles = variant == 2
    radius, (near_x, near_y) = neighbor_counts(
        blocks, [(0,), (1,)], k, norm=norm, rectangles=rectangles, workers=workers
    )
    refuse_ties(radius, k)
    if rectangles:
        local = digamma(k) - 1.0 / k + digamma(n) - digamma(near_x) - digamma(near_y)
    else:
        local = digamma(k) + digamma(n) - digamma(near_x + 1.0) - digamma(near_y + 1.0)
    value = float(local.mean())
    doubts += out_of_range(n, blocks[0].shape[1] + blocks[1].shape[1], value)
    doubt(doubts, on_doubt)
    return _estimate(Quantity.MUTUAL_INFORMATION, local, blocks, doubts, _Choices(k, variant, norm, jitter))


def knn_conditional_mutual_information(
    x: ArrayLike,
    y: ArrayLike,
    z: ArrayLike,
    k: int = 5,
    *,
    variant: Variant = 2,
    norm: Norm = "max",
    jitter: float = 0.0,
    rng: Rng = None,
    on_doubt: OnDoubt = "warn",
    workers: int = 1,
) -> Estimate:
    """Estimate I(X; Y | Z) from nearest-neighbour counts.

    Parameters
    ----------
    x, y, z : array_like (n,) or (n, d)
        Paired rows, finite; z is the variable conditioned on.
    k, norm, jitter, rng, on_doubt, workers
        As in :func:`ksg`.
    variant : {1, 2}
        1 counts in balls and is biased towards 0 when Z has many columns; 2 (rectangles, default) is less so, but
        always computes all n^2 distances.

    Returns
    -------
    Estimate
        Nats; not clipped at 0. `details` as in :func:`ksg`.

    Raises
    ------
    ValueError, TypeError
        As in :func:`ksg`.

    See Also
    --------
    ksg : Without a third variable.
    conditional_mutual_information : Discrete variables.

    Notes
    -----
    Variant 1: I = psi(k) + E[psi(n_z + 1) - psi(n_xz + 1) - psi(n_yz + 1)], with counts in balls as in :func:`ksg`.

    References
    ----------
    Frenzel and Pompe (2007), *Partial mutual information for coupling analysis of multivariate time series*; the
    rectangles follow the second variant of Kraskov, Stoegbauer and Grassberger (2004).

    Examples
    --------
    X and Y are related through Z only:

    >>> import numpy as np
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=1000)
    >>> x, y = z + rng.normal(size=1000), z + rng.normal(size=1000)
    >>> round(rd.ksg(x, y).value, 2)
    0.11
    >>> round(rd.knn_conditional_mutual_information(x, y, z).value, 2)
    0.04
    """
    checks.one_of(norm, get_args(Norm), name="norm")
    if variant not in (1, 2):
        raise ValueError(f"variant: expected 1 (balls) or 2 (rectangles), got {variant}")
    blocks, doubts = _blocks({"x": x, "y": y, "z": z}, k, jitter, rng)
    rectangles = variant == 2
    radius, (near_xz, near_yz, near_z) = neighbor_counts(
        blocks, [(0, 2), (1, 2), (2,)], k, norm=norm, rectangles=rectangles, workers=workers
    )
    refuse_ties(radius, k)
    if rectangles:
        correction = 1.0 / near_xz + 1.0 / near_yz - 2.0 / k
        local = digamma(k) + correction + digamma(near_z) - digamma(near_xz) - digamma(near_yz)
    else:
        local = digamma(k) + digamma(near_z + 1.0) - digamma(near_xz + 1.0) - digamma(near_yz + 1.0)
    value = float(local.mean())
    doubts += out_of_range(len(local), sum(b.shape[1] for b in blocks), value)
    doubt(doubts, on_doubt)
    choices = _Choices(k, variant, norm, jitter)
    return _estimate(Quantity.CONDITIONAL_MUTUAL_INFORMATION, local, blocks, doubts, choices)


def out_of_range(n: int, dimensions: int, value: float) -> list[str]:
    """Reasons to distrust a neighbour estimate of this value from so many rows and dimensions."""
    doubts = []
    needed = next((rows for most, rows in ROWS_NEEDED if dimensions <= most), np.inf)
    if n < needed:
        doubts.append(
            f"KSG in {dimensions} dimensions from {n} rows falls short of the truth by more than a tenth (shown to "
            "work up to 4 dimensions from 1,000 rows, 6 from 3,000); summarise first: summary_information"
        )
    if value > 0.5 * np.log(n):
        doubts.append(
            f"{value:.2f} nats from {n} rows: KSG saturates (shown to work up to 0.5 log n = {0.5 * np.log(n):.2f})"
        )
    return doubts


def _blocks(variables: Mapping[str, ArrayLike], k: int, jitter: float, rng: Rng) -> tuple[list[FloatArray], list[str]]:
    generator = np.random.default_rng(rng)
    blocks, doubts = [], []
    for name, variable in variables.items():
        columns, _, reasons = neighbor_matrix(variable, k, name=name, jitter=jitter, rng=generator)
        blocks.append(columns)
        doubts += reasons
    lengths = [b.shape[0] for b in blocks]
    if len(set(lengths)) > 1:
        raise ValueError(f"{', '.join(variables)}: expected paired rows, got {lengths} rows")
    return blocks, doubts


@dataclass(frozen=True)
class _Choices:
    """The options that the settings of a result record."""

    k: int
    variant: Variant
    norm: Norm
    jitter: float


def _estimate(
    quantity: Quantity, local: FloatArray, blocks: list[FloatArray], doubts: list[str], choices: _Choices
) -> Estimate:
    settings = {
        "method": f"ksg{choices.variant}",
        "k": choices.k,
        "norm": choices.norm,
        "jitter": choices.jitter,
    }
    details = {"local": local, "n": len(local), "doubts": tuple(doubts), "backend": backend(blocks, choices.norm)}
    return Estimate(value=float(local.mean()), quantity=quantity, unit="nats", settings=settings, details=details)
