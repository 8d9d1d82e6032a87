"""Definition 3: two layers are functionally redundant when they predict a target equally well."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import FloatArray, IntArray
from redundancy.estimate import Estimate
from redundancy.prediction.cross_fitting import Losses, Target, losses
from redundancy.prediction.inputs import check_regressor, fold_of_units, paired_inputs
from redundancy.units import unit_means


def mmse(
    z: ArrayLike,
    x: Any,
    regressor: Any = None,
    folds: int | None = 5,
    groups: ArrayLike | None = None,
    rng: np.random.Generator | int | None = None,
    *,
    task: str | None = None,
    target_range: tuple[float, float] | None = None,
) -> Estimate:
    """Cross-fitted squared error of predicting Z from X, an upward estimate of mmse(Z | X) (eq. 0.1).

    In expectation it is mmse(Z | X) plus the regression error of the fitted predictors, so it lies above the
    mmse however the regressor is chosen; how close depends on the regressor and on n.

    Parameters
    ----------
    z : array (n,) or (n, m)
        Target. Floats are regressed on (squared error summed over the m columns); a vector of strings,
        booleans or integers holds classes, predicted as one-hot rows (Brier score).
    x : array (n, d)
        States, NumPy or torch.
    regressor : estimator, optional
        Any scikit-learn regressor (for classes also a classifier with `predict_proba`); cloned for every fold,
        and seeded from `rng` where its `random_state` is None. None means the panel: constant, ridge,
        nearest neighbours, kernel ridge, gradient boosting, a small network (and logistic regression for
        classes), weighted by inner cross-validation.
    folds : int or None
        Number of folds. None means that `regressor` is already fitted on other data and only predicts.
    groups : array (n,), optional
        Image of each row: an image is never split between folds, and is the unit of sampling.
    rng : Generator, int or None
        Folds and regressors; the result is a deterministic function of it.
    task : {"regression", "classification"}, optional
        Overrides how z is read.
    target_range : (float, float), optional
        Range of every column of z. Predictions are projected onto it, which never raises the error, and the
        loss becomes bounded: needed for a certificate.

    Returns
    -------
    Estimate
        `.value` in squared units of z (Brier: in [0, 2]); `.per_unit` mean loss of each image. `.details`:
        "constant" (risk of predicting the mean), "r2", "chosen", "regressors" (risk and mean weight of each
        member), "fold_of_unit", and for classes "log_loss" (nats; forecasts mixed with 1% of the uniform
        law) and "accuracy".

    Raises
    ------
    ValueError
        Mismatched lengths, NaN, a constant target, fewer units than folds, an unfitted regressor with
        folds=None, z outside target_range.
    TypeError
        A regressor that is a class, cannot fit and predict, or is a classifier for a continuous target.
    """
    target, rows, index, sizes = paired_inputs(z, (("x", x),), groups, task, target_range)
    check_regressor(regressor, target, folds)
    generator = np.random.default_rng(rng)
    fold = fold_of_units(sizes.size, folds, generator, "groups" if groups is not None else "rows")
    found = losses(rows[0], target, unit=index, fold_of_unit=fold, regressor=regressor, rng=generator)
    per_unit = unit_means(found.squared, index, sizes)
    return Estimate(
        value=float(per_unit.mean()),
        quantity="mmse",
        per_unit=per_unit,
        rows=sizes.astype(np.float64),
        support=(0.0, target.largest_loss),
        unit_of_sampling="row" if groups is None else "image",
        unit="1" if target.labels is not None else "z²",
        settings=_settings(regressor, folds, target),
        details={"fold_of_unit": fold, **_summary(found, per_unit, index, sizes)},
    )


def functional(
    z: ArrayLike,
    x: Any,
    y: Any,
    regressor: Any = None,
    folds: int | None = 5,
    groups: ArrayLike | None = None,
    rng: np.random.Generator | int | None = None,
    *,
    task: str | None = None,
    target_range: tuple[float, float] | None = None,
) -> Estimate:
    """Paired difference of cross-fitted risks, an estimate of mmse(Z | Y) - mmse(Z | X) (Definition 3).

    Both sides use the same folds and the same kind of regressor, and every image contributes the difference
    of its two losses: where the predictors agree the differences are small, whatever the noise of Z.

    Parameters
    ----------
    z, groups, folds, rng, task, target_range
        As in :func:`mmse`.
    x, y : array (n, d), (n, d')
        The earlier and the later layer's states of the same rows.
    regressor : estimator or pair of estimators, optional
        One for both sides, or (for x, for y).

    Returns
    -------
    Estimate
        `.value` = risk from y minus risk from x; `.per_unit` the same per image. `.details`: "x" and "y"
        (what :func:`mmse` reports for each), "loss_x", "loss_y" (per image), "fold_of_unit".

    Raises
    ------
    ValueError, TypeError
        As in :func:`mmse`.
    """
    target, (rows_x, rows_y), index, sizes = paired_inputs(z, (("x", x), ("y", y)), groups, task, target_range)
    for_x, for_y = regressor if isinstance(regressor, tuple) else (regressor, regressor)
    for one in (for_x, for_y):
        check_regressor(one, target, folds)
    generator = np.random.default_rng(rng)
    fold = fold_of_units(sizes.size, folds, generator, "groups" if groups is not None else "rows")
    # One seed for both sides: equal states get equal predictions, and a difference of exactly 0.
    seed = int(generator.integers(2**31))
    sides = [
        losses(
            rows,
            target,
            unit=index,
            fold_of_unit=fold,
            regressor=one,
            rng=np.random.default_rng(seed),
        )
        for rows, one in ((rows_x, for_x), (rows_y, for_y))
    ]
    loss_x, loss_y = (unit_means(side.squared, index, sizes) for side in sides)
    per_unit = loss_y - loss_x
    return Estimate(
        value=float(per_unit.mean()),
        quantity="functional",
        per_unit=per_unit,
        rows=sizes.astype(np.float64),
        support=(-target.largest_loss, target.largest_loss),
        unit_of_sampling="row" if groups is None else "image",
        unit="1" if target.labels is not None else "z²",
        settings=_settings(regressor, folds, target),
        details={
            "fold_of_unit": fold,
            "x": _summary(sides[0], loss_x, index, sizes),
            "y": _summary(sides[1], loss_y, index, sizes),
            "loss_x": loss_x,
            "loss_y": loss_y,
        },
    )


def risk_difference(
    loss_x: ArrayLike,
    loss_y: ArrayLike,
    *,
    largest_loss: float,
    groups: ArrayLike | None = None,
) -> Estimate:
    """Paired difference of two losses measured on data that neither predictor was fitted on (section 9.2).

    The case a user needs: `loss_x` of the full network and `loss_y` of the skipped one, both frozen.

    Parameters
    ----------
    loss_x, loss_y : array (n,)
        Losses of the same rows, in [0, largest_loss]: 0-1 errors, Brier scores, bounded log-losses.
    largest_loss : float
        Largest possible loss.
    groups : array (n,), optional
        Image of each row.

    Returns
    -------
    Estimate
        `.value` = mean of loss_y - loss_x, "functional", in [-largest_loss, largest_loss].
    """
    a, b = (checks.matrix(loss, name=name) for loss, name in ((loss_x, "loss_x"), (loss_y, "loss_y")))
    if a.shape != b.shape or a.shape[1] != 1:
        raise ValueError(f"loss_x and loss_y: expected two vectors of one length, got {a.shape} and {b.shape}")
    both = np.concatenate([a, b])
    if both.min() < 0 or both.max() > largest_loss:
        raise ValueError(
            f"loss_x and loss_y: expected losses in [0, {largest_loss}], got a range {both.min()} to {both.max()}"
        )
    index, sizes = checks.group_index(groups, a.shape[0])
    means = [unit_means(loss[:, 0], index, sizes) for loss in (a, b)]
    per_unit = means[1] - means[0]
    return Estimate(
        value=float(per_unit.mean()),
        quantity="functional",
        per_unit=per_unit,
        rows=sizes.astype(np.float64),
        support=(-float(largest_loss), float(largest_loss)),
        unit_of_sampling="row" if groups is None else "image",
        settings={"predictors": "frozen"},
        details={"fold_of_unit": None, "loss_x": means[0], "loss_y": means[1]},
    )


def _settings(regressor: Any, folds: int | None, target: Target) -> dict[str, Any]:
    name = "panel" if regressor is None else _name(regressor)
    out: dict[str, Any] = {"regressor": name, "folds": "none (already fitted)" if folds is None else folds}
    if target.labels is not None:
        out["classes"] = len(target.labels)
    if target.box is not None:
        out["target_range"] = target.box
    return out


def _name(regressor: Any) -> str:
    if isinstance(regressor, tuple):
        return " / ".join(_name(one) for one in regressor)
    return "panel" if regressor is None else type(regressor).__name__


def _summary(found: Losses, per_unit: FloatArray, index: IntArray, sizes: IntArray) -> dict[str, Any]:
    """What is worth reading of one side: the constant's risk, r2, the panel's table, scores of classes."""

    def mean(values: FloatArray) -> float:
        return float(unit_means(values, index, sizes).mean())

    constant = mean(found.constant)
    out: dict[str, Any] = {
        "risk": float(per_unit.mean()),
        "constant": constant,
        "r2": 1.0 - float(per_unit.mean()) / constant,
    }
    if found.weights:
        weight = {name: float(np.mean([w[name] for w in found.weights])) for name in found.members}
        out["regressors"] = {
            name: {"risk": mean(values), "weight": weight[name]} for name, values in found.members.items()
        }
        out["chosen"] = max(weight, key=weight.__getitem__)
    if found.log is not None and found.correct is not None:
        out["log_loss"] = mean(found.log)
        out["accuracy"] = mean(found.correct)
    return out
