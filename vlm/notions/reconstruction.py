"""How well one layer's states are predicted from another's by an affine map: Theorem 1 with reconstruction error.

Directions are predicted: states are normalised, so that losses are bounded and the identity map costs twice the cosine
distance.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

import redundancy as rd
from redundancy import checks
from redundancy.array_types import FloatArray, IntArray
from redundancy.prediction.cross_fitting import RIDGE_STRENGTHS, assign_folds
from redundancy.prediction.panel import TUNED_COLUMNS
from redundancy.units import unit_means, unrelated_pairs
from vlm.notions.measures import Confidence, Measure, absent

LATER = "ridge: later from earlier"
EARLIER = "ridge: earlier from later"
NOT_DIVIDED = "{}, not divided"
_NOTHING = 1e-12  # a variance of directions below this is rounding


def reconstruction_measures(
    x: FloatArray, y: FloatArray, groups: ArrayLike, *, folds: int, confidence: Confidence, seed: int
) -> list[Measure]:
    r"""Cross-fitted error of an affine map between two layers' directions, over the variance of what is predicted.

    Parameters
    ----------
    x, y : ndarray (rows, d), (rows, d')
        Earlier and later states.
    groups : array_like (rows,)
        Image of each row.
    folds, seed
        Cross-fitting; images stay whole.
    confidence : Confidence
        Of each interval.

    Returns
    -------
    list of Measure
        The later layer from the earlier one, and the earlier from the later one. 0: the map predicts every direction
        exactly; 1: no better than the mean direction. The baseline is the error of the identity map, twice the mean
        cosine distance, over the same variance (layers of one width). Directions that do not vary make an absent row.

    Raises
    ------
    ValueError
        Fewer images than folds, zero states.

    Notes
    -----
    By Corollary 5 of Theorem 1 (theory, section 3), :math:`L^2` times the error bounds the functional gap. The interval
    divides limits of the predictors' average error by limits of the variance, which is half the squared distance of
    directions of independent images.
    """
    unit_x, unit_y = _directions(x, "x"), _directions(y, "y")
    index, sizes = checks.group_index(groups, len(unit_x))
    if sizes.size < max(4, folds):
        raise ValueError(f"next state: expected at least {max(4, folds)} images for {folds} folds, got {sizes.size}")
    fold = assign_folds(sizes.size, folds, np.random.default_rng(seed))
    identity = None
    if unit_x.shape == unit_y.shape:
        identity = float(unit_means(np.square(unit_x - unit_y).sum(axis=1), index, sizes).mean())
    rows = []
    for method, source, wanted in ((LATER, unit_x, unit_y), (EARLIER, unit_y, unit_x)):
        losses = unit_means(_losses(source, wanted, fold[index], seed), index, sizes)
        error = rd.Estimate(
            value=float(losses.mean()),
            quantity=rd.Quantity.FUNCTIONAL,
            per_unit=losses,
            support=(0.0, 4.0),
            unit_of_sampling="image",
            details={"fold_of_unit": fold},
        )
        left, right, pair = unrelated_pairs(index, sizes, np.random.default_rng(seed))
        half = 0.5 * np.square(wanted[left] - wanted[right]).sum(axis=1)
        spread = rd.Estimate.over_units(half, pair, quantity="mean", support=(0.0, 2.0))
        variance = _variance(unit_means(wanted, index, sizes))
        if variance <= _NOTHING:
            reason = "expected directions that vary, got equal ones in the layer that is predicted"
            rows.append(absent("next state", method, reason, images=int(sizes.size)))
            continue
        # The pairs of independent images estimate the same variance; all pairs together do so with less noise.
        risk, total = (confidence.certify(replace(part), share=2) for part in (error, spread))
        low, high = float(risk.low) / float(total.high), _ratio(float(risk.high), float(total.low))
        rows.append(
            Measure(
                "next state",
                method,
                float(error) / variance,
                np.nextafter(low, 0.0),
                np.nextafter(high, np.inf),
                np.nan if identity is None else identity / variance,
                int(sizes.size),
                "1",
                f"certified, both limits: average error of {folds} cross-fitted affine maps of directions over the "
                "variance of directions",
            )
        )
    return rows


def _ratio(top: float, bottom: float) -> float:
    return top / bottom if bottom > 0 else np.inf


def _directions(states: FloatArray, name: str) -> FloatArray:
    rows = checks.matrix(states, name=name)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    if (largest == 0).any():
        raise ValueError(f"{name}: {int((largest == 0).sum())} zero states have no direction; leave those items out")
    rows = rows / largest
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def _losses(source: FloatArray, wanted: FloatArray, fold: IntArray, seed: int) -> FloatArray:
    """Squared error (rows,) of held-out predictions, projected onto the unit ball: at most 4."""
    losses = np.empty(len(wanted))
    for number in range(int(fold.max()) + 1):
        test = fold == number
        predicted = _predicted(source[~test], wanted[~test], source[test], seed)
        predicted /= np.maximum(np.linalg.norm(predicted, axis=1, keepdims=True), 1.0)
        losses[test] = np.square(wanted[test] - predicted).sum(axis=1)
    return np.minimum(losses, 4.0)


def _predicted(source: FloatArray, wanted: FloatArray, new: FloatArray, seed: int) -> FloatArray:
    """Ridge regression, shrunk towards the identity or the mean and tuned by leave-one-out.

    Wide layers have more columns than rows: a map that is shrunk towards the mean would lose to the identity. Wide
    targets are tuned on random combinations of their columns.
    """
    from sklearn.linear_model import Ridge, RidgeCV
    from sklearn.preprocessing import StandardScaler

    scale = StandardScaler().fit(source)
    z, width = scale.transform(source), wanted.shape[1]
    mix = None
    if width > TUNED_COLUMNS:
        mix = np.random.default_rng(seed).standard_normal((width, TUNED_COLUMNS))
    best, strength, identity = -np.inf, 0.0, False
    for from_identity in (True, False)[source.shape[1] != width :]:
        residual = wanted - source if from_identity else wanted
        tuned = RidgeCV(alphas=RIDGE_STRENGTHS).fit(z, residual if mix is None else residual @ mix)
        if tuned.best_score_ > best:
            best, strength, identity = tuned.best_score_, tuned.alpha_, from_identity
    model = Ridge(alpha=strength).fit(z, wanted - source if identity else wanted)
    predicted = np.asarray(model.predict(scale.transform(new)))
    return predicted + new if identity else predicted


def _variance(means: FloatArray) -> float:
    """Half the mean squared distance of unit vectors from two different images, given the images' means."""
    n = len(means)
    together = float(np.square(means.sum(axis=0)).sum() - np.square(means).sum())
    return 1.0 - together / (n * (n - 1))
