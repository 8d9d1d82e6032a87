"""Checks of what `mmse` and `functional` accept (targets, states, folds, regressors), before anything is fitted."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_conversion import AnyNumpy, as_labels, as_numpy, is_missing
from redundancy.array_types import AnyArray, FloatArray, IntArray
from redundancy.prediction.cross_fitting import Label, Regressor, Target, assign_folds, forecasts_classes
from redundancy.standard_columns import in_range

Task = Literal["regression", "classification"]

SMALLEST_TARGET = 1e-140  # range of z whose squared errors are still floating-point numbers


def paired_inputs(
    z: ArrayLike,
    states: tuple[tuple[str, AnyArray], ...],
    groups: ArrayLike | None,
    task: Task | None,
    target_range: tuple[float, float] | None,
    regressors: tuple[Regressor | None, ...],
    folds: int | None,
) -> tuple[Target, list[FloatArray], IntArray, IntArray]:
    """The target, the states, the image of each row and the number of rows of each image.

    With folds=None the classes are those of the fitted classifiers, whether or not the sample has rows of each.
    """
    fitted = folds is None
    rows = [checks.matrix(state, name=name) for name, state in states]
    if not fitted:
        rows = [in_range(each) for each in rows]
    alphabet = _fitted_classes(regressors) if fitted and task != "regression" else None
    target = _target(z, task, target_range, alphabet, fitted=fitted)
    for (name, _), state in zip(states, rows, strict=True):
        if state.shape[0] != target.columns.shape[0]:
            raise ValueError(
                f"z and {name}: expected one row of {name} per target, got {target.columns.shape[0]} and "
                f"{state.shape[0]} rows"
            )
    index, sizes = checks.group_index(groups, target.columns.shape[0])
    return target, rows, index, sizes


def _fitted_classes(regressors: tuple[Regressor | None, ...]) -> tuple[Label, ...] | None:
    """Labels of the fitted classifiers, all together; None if there is none."""
    labels: set[Label] = set()
    for each in regressors:
        if forecasts_classes(each) and not isinstance(each, type) and hasattr(each, "classes_"):
            labels.update(np.asarray(each.classes_).tolist())
    if not labels:
        return None
    try:
        return tuple(sorted(labels))
    except TypeError:
        raise ValueError(f"regressor: expected classifiers of one type of labels, got {labels}") from None


def _refuse_missing(a: AnyNumpy) -> None:
    missing = [i for i, value in enumerate(a.ravel()) if is_missing(value)]
    if missing:
        raise ValueError(
            f"z: expected a target in every row, got missing values in {len(missing)} row(s), first {missing[:5]}; "
            "drop these rows"
        )


def _target(
    z: AnyArray,
    task: Task | None,
    target_range: tuple[float, float] | None,
    alphabet: tuple[Label, ...] | None,
    *,
    fitted: bool,
) -> Target:
    if task is not None:
        checks.one_of(task, ("regression", "classification"), name="task")
    a = as_numpy(z, name="z")
    one_column = a.ndim == 1 or (a.ndim == 2 and a.shape[1] == 1)
    if a.dtype.kind == "O" and one_column:
        _refuse_missing(a)
        a = as_labels(a, name="z")  # labels of several types are refused
    explicit = task is not None or fitted
    if task is None:
        # The same rule for (n,) and (n, 1): only the type of the entries counts.
        task = "classification" if one_column and a.dtype.kind in "bUSiu" else "regression"
    if task == "classification":
        if not one_column or a.size == 0:
            raise ValueError(f"z: expected one class label per row, shape (n,), got {a.shape}")
        if target_range is not None:
            raise ValueError("target_range: expected with a continuous target only, got classes; leave it out")
        if a.dtype.kind not in "biufUS":
            raise TypeError(
                f"z: expected class labels (numbers, booleans or strings), got dtype {a.dtype}; convert them"
            )
        if a.dtype.kind == "f":
            checks.finite(a.astype(np.float64), name="z")
        labels, codes = np.unique(a, return_inverse=True)
        names = tuple(labels.tolist())
        if alphabet is not None:
            if not set(names) <= set(alphabet):
                raise ValueError(
                    f"regressor: expected a classifier of the labels {list(names)}, got one of {list(alphabet)}"
                )
            place = {label: i for i, label in enumerate(alphabet)}
            codes = np.array([place[name] for name in names])[codes]
            return Target(np.eye(len(alphabet))[codes.reshape(-1)], labels=alphabet)
        if labels.size == 1 and not fitted:
            raise ValueError(f"z: expected at least two classes, got only {names[0]!r}; its mmse is 0 for every x")
        if 2 * labels.size > a.size and not explicit:
            raise ValueError(
                f"z: {labels.size} classes for {a.size} rows looks like a continuous target; pass floats or "
                "task='regression'"
            )
        return Target(np.eye(labels.size)[codes.reshape(-1)], labels=names)
    columns = checks.matrix(a, name="z")
    if not fitted and (columns == columns[0]).all():
        raise ValueError("z: expected a target that varies, got a constant; its mmse is 0 for every x")
    with np.errstate(over="ignore"):
        width = float((columns.max(axis=0) - columns.min(axis=0)).max())
    if width > 0 and not SMALLEST_TARGET <= width <= 1 / SMALLEST_TARGET:
        raise ValueError(
            f"z: expected a range between {SMALLEST_TARGET:g} and {1 / SMALLEST_TARGET:g}, got {width:g}: its square "
            "is no floating-point number; rescale z"
        )
    if target_range is not None:
        if not isinstance(target_range, (tuple, list, np.ndarray)) or len(target_range) != 2:
            raise TypeError(f"target_range: expected a pair (low, high), got {target_range!r}")
        low, high = (checks.number(end, name="target_range") for end in target_range)
        if not (np.isfinite([low, high]).all() and low < high):
            raise ValueError(f"target_range: expected finite numbers low < high, got ({low}, {high})")
        if columns.min() < low or columns.max() > high:
            raise ValueError(
                f"z: expected numbers in target_range [{low}, {high}], got a range {columns.min()} to {columns.max()}"
            )
        return Target(columns, box=(low, high))
    return Target(columns)


def fold_of_units(
    units: int, folds: int | None, rng: np.random.Generator, what: str, *, panel: bool
) -> IntArray | None:
    """Fold of each independent unit; None for a regressor that was fitted on other data."""
    if folds is None:
        return None
    try:
        whole = not isinstance(folds, (bool, str)) and folds == int(folds) and folds >= 2
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise ValueError(f"folds: expected an integer >= 2 (or None for a fitted regressor), got {folds}")
    if folds > units:
        raise ValueError(
            f"folds: expected at most the number of independent units, got {folds} folds for {units} {what}; "
            "use fewer folds or more images" + (" (cross-fitting needs at least two)" if units < 2 else "")
        )
    if panel and units - -(-units // int(folds)) < 2:
        least = next(n for n in range(2, 5) if n >= folds and n - -(-n // int(folds)) >= 2)
        raise ValueError(
            f"folds: expected at least {least} {what} for {folds} folds of the default panel, which splits the rest of "
            f"each fold again, got {units}; use more {what} or give a regressor"
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
