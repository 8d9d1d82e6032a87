"""Mutual information of continuous variables from distances to nearest neighbours (KSG)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma

from redundancy import checks
from redundancy.array_types import FloatArray
from redundancy.estimate import Estimate
from redundancy.information.knn_checks import doubt, neighbor_matrix, refuse_ties
from redundancy.information.knn_search import NORMS, backend, neighbor_counts

# (dimensions in all, rows from which the bias stays near a tenth of the truth), measured by
# tests/benchmarks/bench_information.py; beyond the last entry no number of rows was seen to be enough
ROWS_NEEDED = ((2, 0), (4, 1000), (6, 3000))


def ksg(
    x: ArrayLike,
    y: ArrayLike,
    k: int = 5,
    *,
    variant: int = 1,
    norm: str = "max",
    jitter: float = 0.0,
    rng: np.random.Generator | int | None = None,
    on_doubt: str = "warn",
    workers: int = 1,
) -> Estimate:
    """I(X; Y) in nats by Kraskov, Stoegbauer and Grassberger (2004).

    Columns are standardised first (the value is invariant, the estimator is not). An estimate, not a bound; it
    is not clipped at 0.

    Parameters
    ----------
    x, y : array_like (n,) or (n, d)
        Paired rows, finite.
    k : int
        Neighbours. Few: little bias, more variance.
    variant : {1, 2}
        Balls (eq. 8 of the paper) or rectangles (eq. 9).
    norm : {"max", "euclidean"}
        Distance within x and within y; across them the maximum counts. "euclidean" runs on matrix products and
        is the faster one beyond about ten columns.
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
        `details["local"]` (n,) are the pointwise terms; they are not independent and make no interval.

    Raises
    ------
    ValueError
        NaN, unequal lengths, n <= k + 1, constant columns, rows with k or more exact copies, unknown options.
    """
    checks.one_of(norm, NORMS, name="norm")
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
    return _estimate(value, "mutual information", local, k, variant, norm, jitter, blocks, doubts)


def knn_conditional_mutual_information(
    x: ArrayLike,
    y: ArrayLike,
    z: ArrayLike,
    k: int = 5,
    *,
    variant: int = 2,
    norm: str = "max",
    jitter: float = 0.0,
    rng: np.random.Generator | int | None = None,
    on_doubt: str = "warn",
    workers: int = 1,
) -> Estimate:
    """I(X; Y | Z) in nats from neighbour counts (Frenzel and Pompe 2007; rectangles after KSG's second variant).

    variant 1 counts in balls and is biased towards 0 when Z has many columns; variant 2 (default) is less so, but
    always looks at all pairs, n^2 distances. Other parameters, result and errors as `ksg`.
    """
    checks.one_of(norm, NORMS, name="norm")
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
    return _estimate(value, "conditional mutual information", local, k, variant, norm, jitter, blocks, doubts)


def out_of_range(n: int, dimensions: int, value: float) -> list[str]:
    """Why a neighbour estimate of this size, from so many rows and columns, should not be believed."""
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


def _blocks(
    variables: dict[str, ArrayLike], k: int, jitter: float, rng: np.random.Generator | int | None
) -> tuple[list[FloatArray], list[str]]:
    generator = np.random.default_rng(rng)
    blocks, doubts = [], []
    for name, variable in variables.items():
        z, _, found = neighbor_matrix(variable, k, name=name, jitter=jitter, rng=generator)
        blocks.append(z)
        doubts += found
    lengths = [b.shape[0] for b in blocks]
    if len(set(lengths)) > 1:
        raise ValueError(f"{', '.join(variables)}: expected paired rows, got {lengths} rows")
    return blocks, doubts


def _estimate(
    value: float,
    quantity: str,
    local: FloatArray,
    k: int,
    variant: int,
    norm: str,
    jitter: float,
    blocks: list[FloatArray],
    doubts: list[str],
) -> Estimate:
    settings: dict[str, Any] = {"method": f"ksg{variant}", "k": k, "norm": norm, "jitter": jitter}
    details = {"local": local, "n": len(local), "doubts": tuple(doubts), "backend": backend(blocks, norm)}
    return Estimate(value=value, quantity=quantity, unit="nats", settings=settings, details=details)
