"""Losses of predicting a target from each layer's states, fitted once per layer and compared pair by pair."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

import redundancy as rd
from redundancy.array_types import FloatArray, IntArray
from redundancy.information.finite_entropy import log_loss_range
from redundancy.prediction.cross_fitting import LOG_LOSS_MIX, RIDGE_STRENGTHS, Regressor, losses
from redundancy.prediction.inputs import fold_of_units, paired_inputs
from redundancy.units import unit_means
from vlm.notions.measures import Confidence, Measure, certified

Predictor = Literal["ridge", "panel"]
LossName = Literal["squared error", "Brier score", "log-loss", "0-1 error"]


@cache
def regressor_of(predictor: Predictor) -> Regressor | None:
    """The regressor of a name; None is the default panel of `redundancy.functional`."""
    if predictor == "panel":
        return None
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    ridge: Regressor = make_pipeline(StandardScaler(), RidgeCV(alphas=RIDGE_STRENGTHS))
    return ridge


@dataclass(frozen=True, eq=False)
class TaskLosses:
    """Losses of one layer's cross-fitted predictor, image by image.

    Attributes
    ----------
    per_image : mapping of loss name -> ndarray (images,)
        Mean loss of each image's rows.
    largest : mapping of loss name -> (float, float)
        Range of a loss; infinite where nothing bounds it.
    constant : mapping of loss name -> float
        Mean loss of a predictor that sees no state, where it is known.
    fold_of_unit : ndarray (images,)
        Fold of each image, the same for all layers.
    """

    per_image: dict[LossName, FloatArray]
    ranges: dict[LossName, tuple[float, float]]
    constant: dict[LossName, float]
    fold_of_unit: IntArray


def task_losses(
    target: ArrayLike,
    states: FloatArray,
    groups: ArrayLike,
    *,
    predictor: Predictor,
    folds: int,
    seed: int,
    target_range: tuple[float, float] | None = None,
) -> TaskLosses:
    """Cross-fitted losses of predicting a target from one layer.

    With equal `seed` the folds and seeds are those of ``redundancy.functional(target, x, y, ..., rng=seed)``, so that
    differences of two layers are its values.

    Parameters
    ----------
    target : array_like (rows,)
        Class labels, or floats.
    states : ndarray (rows, d)
        States of one layer.
    groups : array_like (rows,)
        Image of each row.
    predictor : {"ridge", "panel"}
        Ridge regression tuned inside each fold, or the default panel of `redundancy.mmse`.
    folds, seed
        Cross-fitting.
    target_range : (float, float), optional
        Range of a target of floats, without which nothing is certified.

    Returns
    -------
    TaskLosses

    Raises
    ------
    ValueError
        One class, a constant target, fewer images than folds, NaN.
    """
    regressor = regressor_of(predictor)
    wanted, (rows,), index, sizes = paired_inputs(
        target, (("x", states),), groups, None, target_range, (regressor,), folds
    )
    generator = np.random.default_rng(seed)
    fold = fold_of_units(sizes.size, folds, generator, "groups", panel=regressor is None)
    assert fold is not None
    inner = np.random.default_rng(int(generator.integers(2**31)))
    side = losses(rows, wanted, unit=index, fold_of_unit=fold, regressor=regressor, rng=inner)
    name: LossName = "squared error" if wanted.labels is None else "Brier score"
    largest = wanted.largest_loss
    per_image: dict[LossName, FloatArray] = {name: np.minimum(unit_means(side.squared, index, sizes), largest)}
    ranges: dict[LossName, tuple[float, float]] = {name: (0.0, largest)}
    constant: dict[LossName, float] = {name: float(unit_means(side.constant, index, sizes).mean())}
    if wanted.labels is not None and side.log is not None and side.correct is not None:
        ranges |= {"log-loss": log_loss_range(len(wanted.labels), LOG_LOSS_MIX), "0-1 error": (0.0, 1.0)}
        per_image["log-loss"] = unit_means(np.clip(side.log, *ranges["log-loss"]), index, sizes)
        per_image["0-1 error"] = unit_means(1.0 - side.correct, index, sizes)
        constant |= _without_states(wanted.columns, fold[index], index, sizes)
    return TaskLosses(per_image, ranges, constant, fold)


def _without_states(one_hot: FloatArray, fold: IntArray, index: IntArray, sizes: IntArray) -> dict[LossName, float]:
    """Mean log-loss and 0-1 error of the class frequencies of the training folds."""
    log, wrong = np.empty(len(fold)), np.empty(len(fold))
    for number in range(int(fold.max()) + 1):
        test = fold == number
        share = one_hot[~test].mean(axis=0)
        given = one_hot[test] @ share
        log[test] = -np.log((1.0 - LOG_LOSS_MIX) * given + LOG_LOSS_MIX / share.size)
        wrong[test] = 1.0 - one_hot[test][:, share.argmax()]
    return {
        "log-loss": float(unit_means(log, index, sizes).mean()),
        "0-1 error": float(unit_means(wrong, index, sizes).mean()),
    }


def functional_measures(
    earlier: TaskLosses, later: TaskLosses, *, predictor: Predictor, confidence: Confidence
) -> list[Measure]:
    """What a target loses between two layers: the risk from the later one minus that from the earlier one (D4).

    Parameters
    ----------
    earlier, later : TaskLosses
        Of the two layers, with equal folds.
    predictor : str
        Name of the predictor.
    confidence : Confidence
        Of each interval.

    Returns
    -------
    list of Measure
        One per loss. The baseline is the difference if the later layer told nothing: the risk of a predictor that
        sees no state, minus the risk from the earlier layer.
    """
    rows: list[Measure] = []
    for name, loss in earlier.per_image.items():
        low, high = earlier.ranges[name]
        difference = later.per_image[name] - loss
        unit = "nats" if name == "log-loss" else "1" if high < np.inf else "z²"
        estimate = rd.Estimate(
            value=float(difference.mean()),
            quantity=rd.Quantity.FUNCTIONAL,
            per_unit=difference,
            support=(low - high, high - low),
            unit_of_sampling="image",
            unit=unit,
            details={"fold_of_unit": earlier.fold_of_unit},
        )
        method, baseline = f"{predictor}: {name}", earlier.constant[name] - float(loss.mean())
        if not np.isfinite(high):
            why = "certified only with target_range, the range of the target"
            rows.append(
                Measure(
                    "functional",
                    method,
                    float(estimate),
                    baseline=baseline,
                    images=estimate.n,
                    unit=unit,
                    guarantee=f"estimate, no interval: {why}",
                )
            )
            continue
        says = f"mean difference of the {name} of {int(earlier.fold_of_unit.max()) + 1} cross-fitted predictors"
        rows.append(certified("functional", method, confidence.certify(estimate), says, baseline=baseline))
    return rows
