"""Do published rules choose the layers that the theory calls redundant? Overlap and rank correlation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import kendalltau, rankdata

from redundancy import checks
from redundancy.array_types import FloatArray
from vlm.evaluation.accuracy import Score, score_accuracy
from vlm.selectors.ranking import Ranking, Units, lowest
from vlm.selectors.smooth_orders import holm, smooth_p_values
from vlm.table import Table


def agreement(
    theory: Ranking,
    others: Sequence[Ranking],
    *,
    number: int | None = None,
    groups: ArrayLike | None = None,
    draws: int = 1000,
    confidence: float = 0.95,
    rng: np.random.Generator | int | None = 0,
) -> Table:
    """Compare rankings of layers with the theory's: chosen layers at equal number, and rank correlation.

    Intervals are percentiles of a bootstrap over images: all rankings are recomputed from the same resampled
    images. They describe how the measurement varies, not what another model would show. `p_shared` and `p_kendall`
    are p-values against unrelated rankings, which on so few layers may agree by chance. Neighbouring layers behave
    alike, so unrelated rankings are smooth: the null draws orders of stationary Gaussian scores whose correlation
    falls off over none (exchangeable layers), a tenth or a fifth of the layers, and the largest of the three p-values
    counts. `p_kendall_holm` is corrected for the number of rankings.

    Parameters
    ----------
    theory : Ranking
        :func:`vlm.selectors.redundancy`.
    others : sequence of Ranking
        Of the same samples; a ranking of one sample (a rule that does not depend on the data) stays fixed.
    number : int, optional
        How many layers are chosen; half of them by default.
    groups : array (samples,), optional
        Image of each sample, the unit of sampling; by default every sample counts as its own image.
    draws : int
        Bootstrap samples.
    confidence : float
        Of each interval, in (0, 1).
    rng : Generator, int or None
        As in `numpy.random.default_rng`.

    Returns
    -------
    Table
        One row per ranking: method; layers (chosen); shared, with shared_low and shared_high, number of chosen
        layers that the theory chooses too; shared_by_chance (expected of a random choice) and p_shared
        (probability that a smooth random order shares as many or more); jaccard, in [0, 1]; spearman with
        spearman_low and spearman_high, and kendall, in [-1, 1], NaN where one ranking is constant; p_kendall
        (one-sided) and p_kendall_holm; below_last with below_last_low and below_last_high: spearman without the
        last layer, after which image states are not used, so that changes to them there cannot matter.

    Raises
    ------
    ValueError
        Rankings of different samples or depths, a number of layers out of range.
    """
    checks.probability(confidence, name="confidence")
    depth, samples = theory.depth, len(theory.layer_scores)
    number = depth // 2 if number is None else number
    if not 0 < number <= depth:
        raise ValueError(f"number: expected 1 to {depth} layers, got {number}")
    for other in others:
        if other.depth != depth or len(other.layer_scores) not in (1, samples):
            raise ValueError(
                f"{other.method}: expected scores of {samples} samples (or 1) and {depth} layers, got shape "
                f"{other.layer_scores.shape}; measure all rankings on the same prompts"
            )
    _, sizes = checks.group_index(groups, samples)
    images = sizes.size
    generator = np.random.default_rng(rng)
    counts = generator.multinomial(images, np.full(images, 1 / images), size=draws)
    # The first row weights the images as they are, the others are bootstrap samples.
    weights = np.vstack([np.ones(images), counts]) / images
    rankings = [r if groups is None else r.over_images(groups) for r in (theory, *others)]
    resampled = [_resampled(ranking, weights, number) for ranking in rankings]
    tail = (1 - confidence) / 2
    p_values = smooth_p_values(
        resampled[0].scores[0],
        [result.scores[0] for result in resampled[1:]],
        resampled[0].chosen[0],
        [result.chosen[0] for result in resampled[1:]],
        rng=generator,
    )
    corrected = holm([p.kendall for p in p_values])
    rows = [
        {
            "method": other.method,
            **_comparison(resampled[0], result, number, tail),
            "p_shared": p.shared,
            "p_kendall": p.kendall,
            "p_kendall_holm": holm_p,
        }
        for other, result, p, holm_p in zip(others, resampled[1:], p_values, corrected, strict=True)
    ]
    return Table.from_rows(rows)


class _Resampled(NamedTuple):
    """Mean layer scores (draws + 1, depth) and chosen layers: of the images as they are, then of each resample."""

    scores: FloatArray
    chosen: list[frozenset[int]]


def _resampled(ranking: Ranking, weights: FloatArray, number: int) -> _Resampled:
    if len(ranking.scores) == 1:
        chosen = frozenset(_chosen(ranking, ranking.scores[0], ranking.layer_scores[0], number))
        return _Resampled(np.repeat(ranking.layer_scores, len(weights), axis=0), [chosen] * len(weights))
    means, layers = (weights @ part for part in (ranking.scores.reshape(len(ranking.scores), -1), ranking.layer_scores))
    means = means.reshape(-1, *ranking.scores.shape[1:])
    return _Resampled(layers, [frozenset(_chosen(ranking, *both, number)) for both in zip(means, layers, strict=True)])


def _comparison(theory: _Resampled, other: _Resampled, number: int, tail: float) -> dict[str, object]:
    """The columns of one row of `agreement`."""
    depth = theory.scores.shape[1]
    shared = np.array([len(a & b) for a, b in zip(theory.chosen, other.chosen, strict=True)])
    shared_low, shared_high = np.quantile(shared[1:], [tail, 1 - tail], method="inverted_cdf")
    (spearman, low, high), (below, below_low, below_high) = (
        _interval(_spearman(theory.scores[:, :end], other.scores[:, :end]), tail) for end in (depth, depth - 1)
    )
    constant = not np.isfinite(spearman)
    kendall = None if constant else kendalltau(theory.scores[0], other.scores[0], alternative="greater")
    return {
        "layers": " ".join(map(str, sorted(other.chosen[0]))),
        "shared": int(shared[0]),
        "shared_low": int(shared_low),
        "shared_high": int(shared_high),
        "shared_by_chance": number * number / depth,
        "jaccard": float(shared[0] / (2 * number - shared[0])),
        "spearman": spearman,
        "spearman_low": low,
        "spearman_high": high,
        "kendall": float(kendall.statistic) if kendall is not None else np.nan,
        "below_last": below,
        "below_last_low": below_low,
        "below_last_high": below_high,
    }


def token_agreement(
    attention: Sequence[FloatArray], distances: Sequence[FloatArray], groups: ArrayLike, *, confidence: float = 0.95
) -> dict[str, Score]:
    """Do the image tokens that a method would remove move least? Per prompt, then averaged over images.

    Parameters
    ----------
    attention : one (image tokens,) per prompt
        The method's score; the lowest are removed.
    distances : one (image tokens,) per prompt
        How far each token moves, e.g. its mean cosine distance over the layers after the removal.
    groups : array (prompts,)
        Image of each prompt.

    Returns
    -------
    dict
        "spearman": mean rank correlation within a prompt, in [-1, 1]; "shared": fraction of the removed half that is
        also in the half that moves least, in [0, 1]. By chance they are 0 and one half. Certified intervals.
    """
    if len(attention) != len(distances) or any(a.shape != d.shape for a, d in zip(attention, distances, strict=True)):
        raise ValueError("attention, distances: expected one array per prompt each, of equal shapes")
    pairs = list(zip(attention, distances, strict=True))
    correlations = [float(_spearman(a, d)) for a, d in pairs]
    shared = [len(set(lowest(a, len(a) // 2)) & set(lowest(d, len(d) // 2))) / max(1, len(a) // 2) for a, d in pairs]
    return {
        "spearman": score_accuracy(correlations, groups, low=-1.0, high=1.0, confidence=confidence),
        "shared": score_accuracy(shared, groups, confidence=confidence),
    }


def _chosen(ranking: Ranking, mean: FloatArray, layers: FloatArray, number: int) -> Units:
    # Units of a sub-layer method are not layers: its layers are those with the lowest mean over both sub-layers.
    return ranking.choose(mean, number) if ranking.units == ranking.depth else lowest(layers, number)


def _interval(values: FloatArray, tail: float) -> tuple[float, float, float]:
    """The first value and percentiles of the others; NaN if any of them is NaN."""
    low, high = np.quantile(values[1:], [tail, 1 - tail])
    return float(values[0]), float(low), float(high)


def _spearman(a: FloatArray, b: FloatArray) -> FloatArray:
    """Rank correlation along the last axis; NaN where one side is constant."""
    ranks = [rankdata(side, axis=-1) for side in (a, b)]
    x, y = (r - r.mean(axis=-1, keepdims=True) for r in ranks)
    scale = np.sqrt((x * x).sum(axis=-1) * (y * y).sum(axis=-1))
    with np.errstate(invalid="ignore"):
        correlation: FloatArray = (x * y).sum(axis=-1) / scale
    return correlation
