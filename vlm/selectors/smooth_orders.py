"""P-values of agreement against unrelated orders of layers that are smooth, as orders of layers are."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

from redundancy.array_types import FloatArray

# Share of the layers over which the scores of an unrelated order stay alike; 0: layers are exchangeable.
LENGTHS = (0.0, 0.1, 0.2)
DRAWS = 4000


class PValues(NamedTuple):
    """One-sided p-values: as many shared layers, as high a rank correlation."""

    shared: float
    kendall: float


def smooth_scores(depth: int, length: float, draws: int, rng: np.random.Generator) -> FloatArray:
    """Scores (draws, depth) of unrelated orders: Gaussian with correlation exp(-(i - j)^2 / (2 length^2)).

    Parameters
    ----------
    depth : int
        Number of layers.
    length : float
        In layers; 0 gives independent scores.
    draws : int
        Number of orders.
    rng : Generator
        Source of randomness.
    """
    noise = rng.normal(size=(draws, depth))
    if length == 0:
        return noise
    apart = np.subtract.outer(np.arange(depth), np.arange(depth))
    values, vectors = np.linalg.eigh(np.exp(-0.5 * (apart / length) ** 2))
    return np.asarray(noise * np.sqrt(np.clip(values, 0.0, None)) @ vectors.T)


def smooth_p_values(
    theory: FloatArray,
    others: Sequence[FloatArray],
    chosen: Collection[int],
    others_chosen: Sequence[Collection[int]],
    *,
    draws: int = DRAWS,
    rng: np.random.Generator | int | None = 0,
) -> list[PValues]:
    """How often an unrelated smooth order agrees with the theory as well as each of the others does.

    Parameters
    ----------
    theory, others : (depth,) and sequence of (depth,)
        Layer scores, the lowest skipped first.
    chosen, others_chosen
        Layers that each skips, as many in each.
    draws : int
        Orders drawn for each smoothness.
    rng : Generator, int or None
        As in `numpy.random.default_rng`.

    Returns
    -------
    list of PValues
        Largest over `LENGTHS`, hence valid if unrelated orders are as smooth as any of them. With d draws no p-value
        is below 1 / (d + 1). NaN for Kendall where one side is constant.
    """
    generator = np.random.default_rng(rng)
    depth, number = len(theory), len(chosen)
    mine = _signs(theory[None])[0]
    named = np.zeros(depth, dtype=bool)
    named[list(chosen)] = True
    taus = [_concordance(mine, _signs(other[None]))[0] for other in others]
    counts = [len(set(chosen) & set(other)) for other in others_chosen]
    worst = np.zeros((len(others), 2))
    for length in LENGTHS:
        scores = smooth_scores(depth, length * depth, draws, generator)
        random_taus = _concordance(mine, _signs(scores))
        shared = (named & (rankdata(scores, axis=1) <= number)).sum(axis=1)
        for row, (tau, count) in enumerate(zip(taus, counts, strict=True)):
            as_good = (shared >= count).sum(), (random_taus >= tau - 1e-12).sum()
            worst[row] = np.maximum(worst[row], (1 + np.array(as_good)) / (1 + draws))
    constant = [np.ptp(theory) == 0 or np.ptp(other) == 0 for other in others]
    return [
        PValues(float(shared), np.nan if flat else float(kendall))
        for (shared, kendall), flat in zip(worst, constant, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number by Holm's step-down method; NaN stays NaN and does not count."""
    values = np.array(p_values, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    values[order] = np.minimum(1.0, np.maximum.accumulate(steps)) if len(order) else steps
    return [float(value) for value in values]


def _signs(scores: FloatArray) -> FloatArray:
    """Signs (draws, pairs) of the differences of all pairs of layers."""
    first, second = np.triu_indices(scores.shape[1], 1)
    return np.sign(scores[:, first] - scores[:, second])


def _concordance(mine: FloatArray, signs: FloatArray) -> FloatArray:
    """Kendall's tau-b (draws,) up to the factor of `mine`, which is the same for all."""
    untied = np.maximum(1.0, np.abs(signs).sum(axis=1))
    return np.asarray(signs @ mine / np.sqrt(untied))
