"""Cross-fitting: folds that keep images whole, seeded regressors, and losses on rows they were not fitted on."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeGuard, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import AnyArray, FloatArray, IntArray, Rng
from redundancy.prediction.panel import fit_panel, project_to_simplex
from redundancy.standard_columns import constant_columns, largest_exponents

# The log-loss of a forecast with probability 0 is infinite: this much of the uniform distribution is mixed in.
LOG_LOSS_MIX = 0.01
RIDGE_STRENGTHS: FloatArray = np.logspace(-3, 6, 19)

SEEDS = ("random_state", "random_seed", "seed")

ModelT = TypeVar("ModelT")
Label = int | float | bool | str


class Regressor(Protocol):
    """What is asked of a scikit-learn regressor."""

    def fit(self, x: FloatArray, z: FloatArray, /) -> object:
        """Fit to rows x (n, d) and targets z (n,) or (n, m)."""

    def predict(self, x: FloatArray, /) -> ArrayLike:
        """Predictions (t,) or (t, m)."""


class Classifier(Protocol):
    """What is asked of a scikit-learn classifier."""

    @property
    def classes_(self) -> Sequence[Label]:
        """Labels in the order of the columns of `predict_proba`, after fitting."""

    def fit(self, x: FloatArray, z: IntArray, /) -> object:
        """Fit to rows x (n, d) and class numbers z (n,)."""

    def predict_proba(self, x: FloatArray, /) -> FloatArray:
        """Class probabilities (t, classes)."""


def forecasts_classes(model: object) -> TypeGuard[Classifier]:
    """Whether a model predicts class probabilities."""
    return hasattr(model, "predict_proba")


@dataclass(frozen=True)
class Target:
    """What is predicted: columns (n, m), with class labels if the rows are one-hot, or with a range (box)."""

    columns: FloatArray
    labels: tuple[Label, ...] | None = None
    box: tuple[float, float] | None = None

    @property
    def largest_loss(self) -> float:
        """Largest squared error of a prediction in the target's range."""
        if self.labels is not None:
            return 2.0
        if self.box is None:
            return float("inf")
        return float(self.columns.shape[1] * (self.box[1] - self.box[0]) ** 2)


@dataclass
class Losses:
    """Per-row losses (n,) of the chosen prediction, and of each member of the panel beside it."""

    squared: FloatArray
    constant: FloatArray
    log: FloatArray | None = None
    correct: FloatArray | None = None
    members: dict[str, FloatArray] = field(default_factory=dict)
    weights: list[dict[str, float]] = field(default_factory=list)


def assign_folds(units: int, folds: int, rng: np.random.Generator) -> IntArray:
    """Fold of each unit, random and as equal in size as possible."""
    fold = np.empty(units, dtype=np.int64)
    fold[rng.permutation(units)] = np.arange(units) % folds
    return fold


def fold_of_rows(n: int, folds: int, groups: ArrayLike | None, rng: Rng) -> IntArray:
    """Random fold of each row (n,); the rows of a group share one."""
    index, sizes = checks.group_index(groups, n)
    folds = checks.integer(folds, name="folds", least=2)
    if folds > sizes.size:
        raise ValueError(f"folds: expected 2 to {sizes.size} (the number of rows or groups), got {folds}")
    return assign_folds(sizes.size, folds, checks.generator(rng))[index]


def seeded_clone(model: ModelT, rng: np.random.Generator) -> ModelT:
    """An unfitted copy of a model in which every unset `random_state` is drawn from rng.

    Reached are parameters of nested models, cross-validation splitters, lists, dictionaries and plain attributes.
    """
    from sklearn.base import clone

    copied: ModelT = clone(model) if hasattr(model, "get_params") else copy.deepcopy(model)
    if copied is not model:
        _seed(copied, rng, set())
    return copied


def _seed(part: object, rng: np.random.Generator, visited: set[int]) -> None:
    if id(part) in visited or isinstance(part, (str, bytes, np.ndarray, type)) or callable(part):
        return
    visited.add(id(part))
    if type(part).__name__ == "FrozenEstimator":  # keeps the caller's own model
        return
    if isinstance(part, dict):
        for key in sorted(part, key=str):
            _seed(part[key], rng, visited)
    elif isinstance(part, (list, tuple)):
        for each in part:
            _seed(each, rng, visited)
    elif hasattr(part, "get_params") and hasattr(part, "set_params"):
        for key, value in sorted(part.get_params(deep=False).items()):
            if key in SEEDS and _unset(value):
                part.set_params(**{key: int(rng.integers(2**31))})
            else:
                _seed(value, rng, visited)
    elif hasattr(part, "__dict__"):
        for key, value in sorted(vars(part).items()):
            if key in SEEDS and _unset(value):
                if getattr(part, "shuffle", True):
                    setattr(part, key, int(rng.integers(2**31)))
            else:
                _seed(value, rng, visited)


def _unset(seed: object) -> bool:
    """Whether a seed stands for NumPy's global state."""
    return seed is None or seed is np.random or seed is np.random.mtrand._rand


@contextmanager
def _own_global_state(rng: np.random.Generator) -> Iterator[None]:
    """Seed the global states of NumPy and Python from rng, and put them back afterwards."""
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    seed = int(rng.integers(2**31))
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(numpy_state)  # noqa: NPY002
        random.setstate(python_state)


def ridge_predict(features: FloatArray, target: FloatArray, new: FloatArray) -> FloatArray:
    """Predictions (m, columns of target) of a ridge regression on standardised features, tuned by leave-one-out.

    Features and targets of any scale: they are taken times powers of two first, which changes no digit.
    """
    from sklearn.linear_model import RidgeCV

    alive = ~constant_columns(features)
    if not alive.any():
        return np.broadcast_to(target.mean(0), (len(new), target.shape[1]))
    exponent, unit = largest_exponents(features[:, alive]), largest_exponents(target)
    inside, outside = (np.ldexp(rows[:, alive], -exponent) for rows in (features, new))
    centre, scale = inside.mean(0), inside.std(0)
    model = RidgeCV(alphas=RIDGE_STRENGTHS).fit((inside - centre) / scale, np.ldexp(target, -unit))
    predicted = np.asarray(model.predict((outside - centre) / scale)).reshape(len(new), -1)
    return np.asarray(np.ldexp(predicted, unit))


def losses(
    x: FloatArray,
    target: Target,
    *,
    unit: IntArray,
    fold_of_unit: IntArray | None,
    regressor: Regressor | None,
    rng: np.random.Generator,
) -> Losses:
    """Losses of predicting the target from x (n, d), fitted without the row's fold (or fitted beforehand)."""
    n = x.shape[0]
    classes = target.labels is not None
    out = Losses(np.empty(n), np.empty(n), np.empty(n) if classes else None, np.empty(n) if classes else None)
    fold_of_row = np.zeros(n, dtype=np.int64) if fold_of_unit is None else fold_of_unit[unit]
    for fold in range(int(fold_of_row.max()) + 1):
        test = np.nonzero(fold_of_row == fold)[0]
        train = np.nonzero(fold_of_row != fold)[0]
        z = target.columns[test]
        if fold_of_unit is None and regressor is not None:
            prediction = _bounded(
                _predict(_raw_prediction(regressor, x[test], target), regressor, target, codes=False), target
            )
            out.constant[test] = np.square(z - target.columns.mean(axis=0)).sum(axis=1)
        elif regressor is None:
            panel = fit_panel(x[train], target.columns[train], unit[train], rng=rng, probabilities=classes)
            each = {name: _bounded(p, target) for name, p in panel.predict_each(x[test]).items()}
            prediction = panel.combine(each)
            for name, p in each.items():
                out.members.setdefault(name, np.full(n, np.nan))[test] = np.square(z - p).sum(axis=1)
            out.weights.append(dict(panel.weights))
            out.constant[test] = np.square(z - target.columns[train].mean(axis=0)).sum(axis=1)
        else:
            fitted = _fit(regressor, x[train], target, train, rng)
            with _own_global_state(rng), _one_line(fitted, train.size):
                raw = _raw_prediction(fitted, x[test], target)
            prediction = _bounded(_predict(raw, fitted, target, codes=True), target)
            out.constant[test] = np.square(z - target.columns[train].mean(axis=0)).sum(axis=1)
        out.squared[test] = np.square(z - prediction).sum(axis=1)
        if out.log is not None and out.correct is not None:
            truth = z.argmax(axis=1)
            given = np.take_along_axis(prediction, truth[:, None], axis=1)[:, 0]
            out.log[test] = -np.log((1 - LOG_LOSS_MIX) * given + LOG_LOSS_MIX / z.shape[1])
            out.correct[test] = prediction.argmax(axis=1) == truth
    return out


def _bounded(prediction: FloatArray, target: Target) -> FloatArray:
    """Project onto the convex range of the target, which never raises the squared error."""
    if target.labels is not None:
        return project_to_simplex(prediction)
    return prediction if target.box is None else np.clip(prediction, *target.box)


def _fit(
    regressor: Regressor, x: FloatArray, target: Target, train: IntArray, rng: np.random.Generator
) -> Regressor | Classifier:
    model = seeded_clone(regressor, rng)
    columns = target.columns[train]
    z: FloatArray | AnyArray = columns
    if target.labels is not None and forecasts_classes(model):
        z = columns.argmax(axis=1)
        if (z == z[0]).all():
            from sklearn.dummy import DummyClassifier

            model = DummyClassifier()  # most classifiers refuse a single class
        elif _weighs_classes(model):
            z = np.array(target.labels)[z]
    elif columns.shape[1] == 1:
        z = columns[:, 0]
    elif not _takes_many_columns(model):
        from sklearn.multioutput import MultiOutputRegressor

        model = MultiOutputRegressor(model)
    with _own_global_state(rng), _one_line(model, train.size):
        model.fit(x, z)
    return model


@contextmanager
def _one_line(model: object, rows: int) -> Iterator[None]:
    """Say which regressor failed, and on how many rows."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            f"regressor: {type(model).__name__} failed with the {rows} training rows of a fold "
            f"({str(error).splitlines()[0]}); use more rows, fewer folds or another regressor"
        ) from error


def _weighs_classes(model: object) -> bool:
    """Whether a parameter names class labels, so that the classes must keep theirs."""
    parameters = model.get_params(deep=True) if hasattr(model, "get_params") else {}
    return any(key.endswith("class_weight") and isinstance(value, dict) for key, value in parameters.items())


def _takes_many_columns(model: object) -> bool:
    from sklearn.utils import get_tags

    return not hasattr(model, "__sklearn_tags__") or bool(get_tags(model).target_tags.multi_output)


def _raw_prediction(model: Regressor | Classifier, x: FloatArray, target: Target) -> FloatArray:
    if target.labels is not None and forecasts_classes(model):
        return np.asarray(model.predict_proba(x), dtype=np.float64)
    return np.asarray(model.predict(x), dtype=np.float64)  # type: ignore[union-attr]


def _predict(raw: FloatArray, model: Regressor | Classifier, target: Target, *, codes: bool) -> FloatArray:
    """Predictions (t, m); a classifier's classes are numbers 0..m-1 if it was fitted to them, else labels."""
    m = target.columns.shape[1]
    prediction = raw
    if target.labels is not None and forecasts_classes(model):
        seen = np.asarray(model.classes_).tolist()
        numbered = codes and not _weighs_classes(model)
        columns = np.array(seen if numbered else [target.labels.index(label) for label in seen])
        prediction = np.zeros((raw.shape[0], m))
        prediction[:, columns] = raw
    elif raw.ndim == 1 and m == 1:
        prediction = raw.reshape(-1, 1)
    if prediction.ndim != 2 or prediction.shape[1] != m or not np.isfinite(prediction).all():
        raise ValueError(
            f"regressor: expected finite predictions of shape (rows, {m}), got shape {prediction.shape}"
            f"{'' if np.isfinite(prediction).all() else ' with NaN or infinity'} from {type(model).__name__}"
        )
    return prediction
