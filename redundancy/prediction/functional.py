"""D4: two layers are functionally redundant when they predict a target equally well."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import AnyArray, FloatArray, IntArray, Rng
from redundancy.estimate import Estimate, Quantity, unit_of_sampling
from redundancy.prediction.cross_fitting import Losses, Regressor, Target, losses
from redundancy.prediction.inputs import Task, check_regressor, fold_of_units, paired_inputs
from redundancy.units import unit_means


def mmse(
    z: ArrayLike,
    x: AnyArray,
    regressor: Regressor | None = None,
    folds: int | None = 5,
    groups: ArrayLike | None = None,
    rng: Rng = None,
    *,
    task: Task | None = None,
    target_range: tuple[float, float] | None = None,
) -> Estimate:
    """Estimate mmse(Z | X) from above by the cross-fitted squared error of predicting Z from X.

    In expectation the estimate is mmse(Z | X) plus the regression error of the fitted predictors, so it lies above
    the mmse for every choice of regressor; how close it comes depends on the regressor and on n.

    Parameters
    ----------
    z : array (n,) or (n, m)
        Target. Floats, and several columns of any numbers, are regressed on (squared error summed over the m
        columns); a single column of strings, booleans or integers, whether of shape (n,) or (n, 1), holds classes,
        predicted as one-hot rows (Brier score). Counts are integers too: pass ``task="regression"`` for them.
    x : array (n, d)
        States, NumPy or torch.
    regressor : estimator, optional
        Any scikit-learn regressor (for classes also a classifier with `predict_proba`); cloned for every fold,
        and seeded from `rng` wherever a `random_state` is None, in nested models and cross-validation splitters too.
        Its predictions are taken as they are: one far row may carry the error out of any range, as it carries the
        regressor itself; `target_range` holds them to the range of the target.
        None means the panel: constant, ridge, nearest neighbours, kernel ridge, Gaussian processes with one length
        per column, gradient boosting, a small network (and logistic regression for classes); those clearly worse
        on few rows drop out, the others are weighted by inner cross-validation; its predictions stay within half a
        range of the targets. Below about 1,000 rows ``folds=10`` lies nearer to the mmse, at twice the time.
    folds : int or None
        Number of folds. None means that `regressor` is already fitted on other data and only predicts; the classes
        are then those of the classifier, whether or not `z` has rows of each.
    groups : array_like (n,), optional
        Image of each row: an image is never split between folds, and is the unit of sampling.
    rng : Generator, int or None
        Folds and regressors; the result is a deterministic function of it.
    task : {"regression", "classification"}, optional
        How z is read, where its type does not say it: "regression" for counts, "classification" for classes
        that are numbered by floats.
    target_range : (float, float), optional
        Range of every column of z. Predictions are projected onto it, which never raises the error, and the
        loss becomes bounded: needed for a certificate.

    Returns
    -------
    Estimate
        `.value` in squared units of z, >= 0 (Brier: in [0, 2]); `.per_unit` mean loss of each image. `.details`:
        "constant" (risk of predicting the mean), "r2", "chosen", "regressors" (risk and mean weight of each
        member), "fold_of_unit", and for classes "log_loss" (nats; forecasts mixed with 1% of the uniform
        distribution) and "accuracy".

    Raises
    ------
    ValueError
        Mismatched lengths, NaN, a constant target, fewer units than folds, an unfitted regressor with
        folds=None, z outside target_range.
    TypeError
        A regressor that is a class, cannot fit and predict, or is a classifier for a continuous target.

    See Also
    --------
    functional : Paired difference of two such risks.
    bounds.certify : Upper confidence limit; no lower one exists for continuous X (theory, section 9.2).

    Notes
    -----
    By Pythagoras (0.1), E|Z - f(X)|^2 = mmse(Z | X) + E|f(X) - E[Z | X]|^2 for every predictor f.

    References
    ----------
    Chernozhukov et al. (2018), *Double/debiased machine learning*, arXiv:1608.00060 (cross-fitting).

    Examples
    --------
    The noise of Z has variance 0.25, which no predictor can go below:

    >>> import numpy as np
    >>> import redundancy as rd
    >>> from sklearn.linear_model import Ridge
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(2000, 3))
    >>> z = x.sum(axis=1) + 0.5 * rng.normal(size=2000)
    >>> estimate = rd.mmse(z, x, Ridge(), rng=0)
    >>> round(estimate.value, 3)
    0.262
    >>> round(estimate.details["r2"], 3)
    0.92
    """
    target, rows, index, sizes = paired_inputs(z, (("x", x),), groups, task, target_range, (regressor,), folds)
    check_regressor(regressor, target, folds)
    generator = checks.generator(rng)
    fold = fold_of_units(sizes.size, folds, generator, "rows" if groups is None else "groups", panel=regressor is None)
    side = losses(rows[0], target, unit=index, fold_of_unit=fold, regressor=regressor, rng=generator)
    per_unit = np.minimum(unit_means(side.squared, index, sizes), target.largest_loss)
    return Estimate(
        value=float(per_unit.mean()),
        quantity=Quantity.MMSE,
        per_unit=per_unit,
        rows=sizes.astype(np.float64),
        support=(0.0, target.largest_loss),
        unit_of_sampling=unit_of_sampling(groups),
        unit="1" if target.labels is not None else "z²",
        settings=_settings(regressor, folds, target),
        details={"fold_of_unit": fold, **_summary(side, per_unit, index, sizes)},
    )


def functional(
    z: ArrayLike,
    x: AnyArray,
    y: AnyArray,
    regressor: Regressor | tuple[Regressor | None, Regressor | None] | None = None,
    folds: int | None = 5,
    groups: ArrayLike | None = None,
    rng: Rng = None,
    *,
    task: Task | None = None,
    target_range: tuple[float, float] | None = None,
) -> Estimate:
    """Estimate functional redundancy: the difference mmse(Z | Y) - mmse(Z | X) of cross-fitted risks (D4).

    Both sides use the same folds and the same kind of regressor, and every image contributes the difference
    of its two losses: where the predictors agree the differences are small, however noisy Z is.

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
        `.value` is the risk from y minus the risk from x, in squared units of z (Brier: in [-2, 2]); positive if the
        later layer predicts worse. `.per_unit` is the same per image. `.details`: "x" and "y" (what :func:`mmse`
        reports for each), "loss_x", "loss_y" (per image), "fold_of_unit".

    Raises
    ------
    ValueError, TypeError
        As in :func:`mmse`.

    See Also
    --------
    mmse : One side alone.
    risk_difference : For predictors that are already fitted, such as a full and a skipped network.
    bounds.certify : Confidence interval of the difference.

    Notes
    -----
    D4 calls X and Y functionally redundant for Z at level eps if |mmse(Z | X) - mmse(Z | Y)| <= eps. The difference
    of the risks of fitted predictors exceeds the difference of the mmse by that of their regression errors; Theorem 2
    bounds it, see (4.1).

    References
    ----------
    Hartman et al. (2025), *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models*,
    arXiv:2509.25584.

    Examples
    --------
    The later layer has lost a coordinate of variance 1:

    >>> import numpy as np
    >>> import redundancy as rd
    >>> from sklearn.linear_model import Ridge
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(2000, 2))
    >>> z = x.sum(axis=1) + rng.normal(size=2000)
    >>> estimate = rd.functional(z, x, x[:, :1], Ridge(), rng=0)
    >>> round(estimate.value, 2)
    0.99
    >>> round(estimate.details["x"]["risk"], 2), round(estimate.details["y"]["risk"], 2)
    (0.98, 1.97)
    """
    for_x, for_y = regressor if isinstance(regressor, tuple) else (regressor, regressor)
    target, (rows_x, rows_y), index, sizes = paired_inputs(
        z, (("x", x), ("y", y)), groups, task, target_range, (for_x, for_y), folds
    )
    for one in (for_x, for_y):
        check_regressor(one, target, folds)
    generator = checks.generator(rng)
    panel = for_x is None or for_y is None
    fold = fold_of_units(sizes.size, folds, generator, "rows" if groups is None else "groups", panel=panel)
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
    loss_x, loss_y = (np.minimum(unit_means(side.squared, index, sizes), target.largest_loss) for side in sides)
    per_unit = loss_y - loss_x
    return Estimate(
        value=float(per_unit.mean()),
        quantity=Quantity.FUNCTIONAL,
        per_unit=per_unit,
        rows=sizes.astype(np.float64),
        support=(-target.largest_loss, target.largest_loss),
        unit_of_sampling=unit_of_sampling(groups),
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


def _settings(regressor: object, folds: int | None, target: Target) -> dict[str, object]:
    settings: dict[str, object] = {
        "regressor": _name(regressor),
        "folds": "none (already fitted)" if folds is None else folds,
    }
    if target.labels is not None:
        settings["classes"] = len(target.labels)
    if target.box is not None:
        settings["target_range"] = target.box
    return settings


def _name(regressor: object) -> str:
    if isinstance(regressor, tuple):
        return " / ".join(_name(one) for one in regressor)
    return "panel" if regressor is None else type(regressor).__name__


def _summary(side: Losses, per_unit: FloatArray, index: IntArray, sizes: IntArray) -> dict[str, object]:
    """The details of one side: the constant's risk, r2, the panel's table, scores of classes."""

    def mean(values: FloatArray) -> float:
        return float(unit_means(values, index, sizes).mean())

    constant = mean(side.constant)
    summary: dict[str, object] = {
        "risk": float(per_unit.mean()),
        "constant": constant,
        "r2": 1.0 - float(per_unit.mean()) / constant if constant > 0 else float("nan"),
    }
    if side.weights:
        weight = {name: float(np.mean([w.get(name, 0.0) for w in side.weights])) for name in side.members}
        summary["regressors"] = {
            name: {"risk": _risk_where_fitted(values, index, sizes), "weight": weight[name]}
            for name, values in side.members.items()
        }
        summary["chosen"] = max(weight, key=weight.__getitem__)
    if side.log is not None and side.correct is not None:
        summary["log_loss"] = mean(side.log)
        summary["accuracy"] = mean(side.correct)
    return summary


def _risk_where_fitted(values: FloatArray, index: IntArray, sizes: IntArray) -> float:
    """Mean loss of a member over the images of the folds in which it was fitted (NaN elsewhere)."""
    per_unit = unit_means(values, index, sizes)
    fitted = per_unit[np.isfinite(per_unit)]
    return float(fitted.mean()) if fitted.size else float("nan")
