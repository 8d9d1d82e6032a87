"""What second moments say about two layers beside reconstruction: alignment, canonical correlations, information."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.special import digamma

from redundancy.array_types import FloatArray
from vlm.hidden_states.moment_alignment import AlignmentSums, plain_hsic, unbiased_hsic
from vlm.hidden_states.moment_sums import MomentSums

# Directions (of columns brought to one variance) that hold less than this share of the largest variance count as
# absent: second moments tell no more apart.
RANK_TOLERANCE = {"float64": 1e-10, "float32": 1e-5}
# A column varies if its variance exceeds what rounding leaves of its mean square.
_ROUNDING = 1e-14


class CanonicalCorrelations(NamedTuple):
    """Canonical correlations, descending, and the ranks of both sides."""

    values: FloatArray
    rank_x: int
    rank_y: int


def centred_kernel_alignment(sums: MomentSums, *, debiased: bool = True) -> float:
    """Linear CKA of u and v, every prompt counting the same; nan where a layer does not vary or prompts are too few.

    Equals `redundancy.cka` of the rows, with `groups` the prompts.
    """
    if not sums.prompts or (debiased and sums.prompts < 4):
        return float("nan")
    centred = sums.centred()
    if not all(
        np.trace(now.product) > _ROUNDING * np.trace(raw.product)
        for now, raw in ((centred.alignment_x, sums.alignment_x), (centred.alignment_y, sums.alignment_y))
    ):
        return float("nan")
    hsic = unbiased_hsic if debiased else plain_hsic
    triple = (centred.alignment, centred.alignment_x, centred.alignment_y)
    both, own_x, own_y = (hsic(_scaled(part, a, b)) for part, (a, b) in zip(triple, _units(centred), strict=True))
    return float(both / np.sqrt(own_x * own_y)) if own_x > 0.0 and own_y > 0.0 else float("nan")


def effective_rank(gram: FloatArray) -> float:
    """Participation ratio (tr C)^2 / tr C^2 of a covariance matrix C, between 1 and its rank; nan for C = 0."""
    square = float(np.sum(gram**2))
    return float(np.trace(gram) ** 2 / square) if square > 0.0 else float("nan")


def covariance_x(sums: MomentSums) -> FloatArray:
    """Covariance (k, k) of u, every prompt counting the same."""
    centred = sums.centred()
    return _symmetric(centred.alignment_x.product / sums.prompts)


def canonical_correlations(
    sums: MomentSums, *, rank_tolerance: float = RANK_TOLERANCE["float64"]
) -> CanonicalCorrelations:
    """Canonical correlations of u and v, in the sample: biased upwards unless tokens are many times k.

    Constant and linearly dependent columns change nothing.
    """
    root_x, root_y, centred = _whitenings(sums, rank_tolerance)
    cross = root_x.T @ (centred.alignment.product / sums.prompts) @ root_y
    values = np.linalg.svd(cross, compute_uv=False) if cross.size else np.zeros(0)
    # Rounding moves a correlation of 1 by about the tolerance's inverse root.
    return CanonicalCorrelations(np.minimum(values, 1.0), root_x.shape[1], root_y.shape[1])


def gaussian_information(
    sums: MomentSums, *, rows: float | None = None, rank_tolerance: float = RANK_TOLERANCE["float64"]
) -> float:
    """Mutual information in nats that u and v would have if they were jointly Gaussian.

    Less the exact bias for `rows` independent Gaussian rows (default: the number of tokens), as in
    `redundancy.gaussian_information`. Tokens of one image depend on each other, so that the bias is larger in truth:
    a description, not a bound. inf where a linear function of u is one of v; nan with too few rows.
    """
    root_x, root_y, centred = _whitenings(sums, rank_tolerance)
    p, q = root_x.shape[1], root_y.shape[1]
    n = float(sums.tokens if rows is None else rows)
    if not (p and q):
        return 0.0
    if n <= p + q + 1:
        return float("nan")
    cross = root_x.T @ (centred.alignment.product / sums.prompts) @ root_y
    # 1 - rho^2 as eigenvalues of I - R R^T: no cancellation beyond that of the sums.
    lost = (
        np.linalg.eigvalsh(np.eye(p) - cross @ cross.T) if p <= q else np.linalg.eigvalsh(np.eye(q) - cross.T @ cross)
    )
    if lost[0] <= rank_tolerance:
        return float("inf")
    return float(-0.5 * np.log(lost).sum()) - _bias(n, p, q)


def _whitenings(sums: MomentSums, tolerance: float) -> tuple[FloatArray, FloatArray, MomentSums]:
    """Matrices that whiten u and v, and the sums about the means."""
    centred = sums.centred()
    return (
        _whitening(centred.alignment_x, sums.projected_x, sums.prompts, tolerance),
        _whitening(centred.alignment_y, sums.projected_y, sums.prompts, tolerance),
        centred,
    )


def _whitening(own: AlignmentSums, sum_of_means: FloatArray, prompts: int, tolerance: float) -> FloatArray:
    """A matrix F (k, rank) with F^T C F = I for the covariance C."""
    covariance = _symmetric(own.product / prompts)
    variance = np.diag(covariance)
    kept = variance > _ROUNDING * (variance + (sum_of_means / prompts) ** 2)
    scale = 1.0 / np.sqrt(variance[kept])
    values, vectors = np.linalg.eigh(covariance[np.ix_(kept, kept)] * np.outer(scale, scale))
    strong = values > tolerance * values.max(initial=0.0)
    out = np.zeros((variance.size, int(strong.sum())))
    out[kept] = scale[:, None] * vectors[:, strong] / np.sqrt(values[strong])
    return out


def _units(centred: MomentSums) -> tuple[tuple[float, float], ...]:
    """Factors that bring u and v to variance 1, for (u, v), (u, u) and (v, v)."""
    spreads = [np.trace(part.product) / centred.prompts for part in (centred.alignment_x, centred.alignment_y)]
    a, b = (1.0 / np.sqrt(s) if s > 0.0 else 1.0 for s in spreads)
    return (a, b), (a, a), (b, b)


def _scaled(sums: AlignmentSums, a: float, b: float) -> AlignmentSums:
    """The sums of a times the left rows and b times the right rows: fourth powers may overflow otherwise."""
    ab = a * b
    return replace(
        sums,
        a=a * sums.a,
        b=b * sums.b,
        product=ab * sums.product,
        between=ab * sums.between,
        mixed_a=a * ab * sums.mixed_a,
        mixed_b=b * ab * sums.mixed_b,
        cubic_a=b * ab * sums.cubic_a,
        cubic_b=a * ab * sums.cubic_b,
        square_a=a * a * sums.square_a,
        square_b=b * b * sums.square_b,
        square_ab=ab * ab * sums.square_ab,
        own=ab * ab * sums.own,
        triple=ab * ab * sums.triple,
    )


def _symmetric(matrix: FloatArray) -> FloatArray:
    return np.asarray((matrix + matrix.T) / 2.0)


def _bias(n: float, p: int, q: int) -> float:
    """Bias of log(|S_x| |S_y| / |S|) / 2 from n Gaussian rows; it does not depend on the covariance."""

    def psi(columns: int) -> float:
        return float(digamma(0.5 * (n - 1.0 - np.arange(columns))).sum())

    return 0.5 * (psi(p) + psi(q) - psi(p + q))
