"""Checks of what `mmse` and `functional` accept (targets, states, folds, regressors), before anything is fitted."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_conversion import as_numpy, is_tensor
from redundancy.array_types import AnyArray, FloatArray, IntArray
from redundancy.prediction.cross_fitting import Regressor, Target, assign_folds, forecasts_classes

Task = Literal["regression", "classification"]


def paired_inputs(
    z: ArrayLike,
    states: tuple[tuple[str, AnyArray], ...],
    groups: ArrayLike | None,
    task: Task | None,
    target_range: tuple[float, float] | None,
) -> tuple[Target, list[FloatArray], IntArray, IntArray]:
    """The target, the states, the image of each row and the number of rows of each image."""
    rows = [checks.matrix(_on_cpu(state), name=name) for name, state in states]
    target = _target(_on_cpu(z), task, target_range)
    for (name, _), state in zip(states, rows, strict=True):
        if state.shape[0] != target.columns.shape[0]:
            raise ValueError(
                f"z and {name}: expected one row of {name} per target, got {target.columns.shape[0]} and "
                f"{state.shape[0]} rows"
            )
    index, sizes = checks.group_index(groups, target.columns.shape[0])
    return target, rows, index, sizes


def _on_cpu(a: AnyArray) -> AnyArray:
    return as_numpy(a, name="states") if is_tensor(a) else a


def _target(z: ArrayLike, task: Task | None, target_range: tuple[float, float] | None) -> Target:
    if task is not None:
        checks.one_of(task, ("regression", "classification"), name="task")
    a = np.asarray(z)
    if task is None:
        task = "classification" if a.ndim == 1 and a.dtype.kind in "bUSOiu" else "regression"
    if task == "classification":
        if a.ndim != 1 or a.size == 0:
            raise ValueError(f"z: expected one class label per row, shape (n,), got {a.shape}")
        if target_range is not None:
            raise ValueError("target_range: expected with a continuous target only, got classes; leave it out")
        if a.dtype.kind == "f":
            checks.finite(a, name="z")
        labels, codes = np.unique(a, return_inverse=True)
        if labels.size == 1:
            raise ValueError(f"z: expected at least two classes, got only {labels[0]!r}; its mmse is 0 for every x")
        if 2 * labels.size > a.size:
            raise ValueError(
                f"z: {labels.size} classes for {a.size} rows looks like a continuous target; pass floats or "
                "task='regression'"
            )
        return Target(np.eye(labels.size)[codes.reshape(-1)], labels=tuple(labels.tolist()))
    columns = checks.matrix(a, name="z")
    if (columns == columns[0]).all():
        raise ValueError("z: expected a target that varies, got a constant; its mmse is 0 for every x")
    if target_range is not None:
        low, high = (checks.number(end, name="target_range") for end in target_range)
        if not (np.isfinite([low, high]).all() and low < high):
            raise ValueError(f"target_range: expected finite numbers low < high, got ({low}, {high})")
        if columns.min() < low or columns.max() > high:
            raise ValueError(
                f"z: expected numbers in target_range [{low}, {high}], got a range {columns.min()} to {columns.max()}"
            )
        return Target(columns, box=(low, high))
    return Target(columns)


def fold_of_units(units: int, folds: int | None, rng: np.random.Generator, what: str) -> IntArray | None:
    """Fold of each independent unit; None for a regressor that was fitted on other data."""
    if folds is None:
        return None
    if isinstance(folds, bool) or folds != int(folds) or folds < 2:
        raise ValueError(f"folds: expected an integer >= 2 (or None for a fitted regressor), got {folds}")
    if folds > units:
        raise ValueError(
            f"folds: expected at most the number of independent units, got {folds} folds for {units} {what}; "
            "use fewer folds or more images" + (" (cross-fitting needs at least two)" if units < 2 else "")
        )
    return assign_folds(units, int(folds), rng)


def check_regressor(regressor: Regressor | None, target: Target, folds: int | None) -> None:
    """Raise if the regressor cannot predict this target, before anything is fitted."""
    if regressor is None:
        if folds is None:
            raise ValueError("folds: expected a number with the default panel; None needs a fitted regressor")
        return
    if isinstance(regressor, type):
        raise TypeError(f"regressor: expected an instance, got the class {regressor.__name__}; add ()")
    if not (callable(getattr(regressor, "fit", None)) and callable(getattr(regressor, "predict", None))):
        raise TypeError(
            f"regressor: expected a scikit-learn regressor with fit and predict, got {type(regressor).__name__}"
        )
    from sklearn.utils import get_tags

    if hasattr(regressor, "__sklearn_tags__"):
        kind = get_tags(regressor).estimator_type
        allowed = ("regressor",) if target.labels is None else ("regressor", "classifier")
        if kind not in allowed:
            raise TypeError(
                f"regressor: expected a {' or '.join(allowed)} for this target, got {type(regressor).__name__}"
                + (f", a {kind}" if kind else "")
            )
        if kind == "classifier" and not forecasts_classes(regressor):
            raise TypeError(
                f"regressor: expected a classifier with predict_proba, got {type(regressor).__name__}; "
                "wrap it in CalibratedClassifierCV"
            )
    if folds is None:
        from sklearn.exceptions import NotFittedError
        from sklearn.utils.validation import check_is_fitted

        try:
            check_is_fitted(regressor)
        except NotFittedError as error:
            raise ValueError(
                f"regressor: folds=None expects a regressor fitted on other data, got an unfitted "
                f"{type(regressor).__name__}; fit it, or give a number of folds"
            ) from error
