"""Usable information: how much a chosen family of predictors can extract (Xu, Zhao, Song, Stewart, Ermon 2020)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import FloatArray, IntArray
from redundancy.estimate import Estimate
from redundancy.information.linear_summaries import fold_of_rows
from redundancy.units import unit_means


def usable_information(
    x: ArrayLike,
    t: ArrayLike,
    *,
    classifier: Any = None,
    folds: int = 5,
    groups: ArrayLike | None = None,
    mix: float = 0.01,
    rng: np.random.Generator | int | None = None,
) -> Estimate:
    """I_V(X -> T) = H_V(T | nothing) - H_V(T | X) in nats, by the cross-fitted log-loss of a classifier (9.4).

    Parameters
    ----------
    x : array_like (n, d)
        States of one layer.
    t : array_like (n,)
        Class labels: integers, booleans or strings.
    classifier : estimator, optional
        Any scikit-learn classifier with `predict_proba`: the predictive family V is what it can fit, cloned for every
        fold. None is a standardised logistic regression.
    folds : int
        Cross-fitting folds.
    groups : array_like (n,), optional
        Image of each row: never split between folds, and the unit of sampling.
    mix : float
        Weight of the uniform law mixed into every prediction, so that no loss is infinite, in (0, 1).
    rng : Generator, int or None
        Folds, and the classifier where its `random_state` is None.

    Returns
    -------
    Estimate
        `.per_unit`: mean over an image's rows of (loss of the class frequencies - loss of the classifier), in the
        finite `support`. `details["conditional"]` = H_V(T | X), an estimated upper bound of H(T | X) (Gibbs);
        `details["null"]`; `details["accuracy"]`.

    Raises
    ------
    ValueError, TypeError
        Float labels, one class, unequal lengths, NaN, fewer images than folds, a class missing from a training
        fold, a classifier without `predict_proba`.

    Notes
    -----
    There is no data-processing inequality: a later layer may have MORE usable information than an earlier one, and
    the value is one of this family and this n, never of the layer alone. It can be negative out of sample; it is not
    clipped.
    """
    checks.probability(mix, name="mix", open_ends=True)
    features = checks.matrix(x, name="x", min_rows=2)
    labels = np.asarray(t)
    if labels.ndim != 1 or labels.size != features.shape[0]:
        raise ValueError(f"t: expected one label per row, shape ({features.shape[0]},), got {labels.shape}")
    if labels.dtype.kind not in "biuUS":
        raise TypeError(f"t: expected class labels (integers, booleans, strings), got dtype {labels.dtype}")
    classes, code = np.unique(labels, return_inverse=True)
    code = code.reshape(-1)
    if classes.size < 2:
        raise ValueError(f"t: expected at least two classes, got only {classes[0]!r}; a constant carries nothing")
    generator = np.random.default_rng(rng)
    model = _default() if classifier is None else classifier
    if not hasattr(model, "predict_proba"):
        raise TypeError(f"classifier: expected predict_proba, got {type(model).__name__}; wrap it in a calibration")
    index, sizes = checks.group_index(groups, code.size)
    fold = fold_of_rows(code.size, folds, groups, generator)
    forecast, frequencies = _forecasts(model, features, code, classes.size, fold, generator)
    row = np.arange(code.size)
    conditional = -np.log((1.0 - mix) * forecast[row, code] + mix / classes.size)
    null = -np.log((1.0 - mix) * frequencies[fold, code] + mix / classes.size)
    per_unit = unit_means(null - conditional, index, sizes)
    least = -float(np.log1p(-mix * (1.0 - 1.0 / classes.size)))
    most = float(np.log(classes.size / mix))
    fold_of_unit = np.empty(sizes.size, dtype=np.int64)
    fold_of_unit[index] = fold
    return Estimate(
        value=float(per_unit.mean()),
        quantity="usable information",
        per_unit=per_unit,
        rows=None if groups is None else sizes.astype(np.float64),
        support=(least - most, most - least),
        unit_of_sampling="row" if groups is None else "image",
        unit="nats",
        settings={"classifier": type(model).__name__, "folds": folds, "mix": mix},
        details={
            "conditional": float(unit_means(conditional, index, sizes).mean()),
            "null": float(unit_means(null, index, sizes).mean()),
            "accuracy": float((forecast.argmax(1) == code).mean()),
            "classes": tuple(classes.tolist()),
            "fold_of_unit": fold_of_unit,
        },
    )


def _default() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))


def _forecasts(
    model: Any, x: FloatArray, code: IntArray, size: int, fold: IntArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Out-of-fold class probabilities (n, classes), and the training frequencies of each fold (folds, classes)."""
    from sklearn.base import clone

    forecast = np.empty((code.size, size))
    frequencies = np.empty((int(fold.max()) + 1, size))
    for number in range(len(frequencies)):
        train, test = fold != number, fold == number
        counts = np.bincount(code[train], minlength=size)
        if (counts == 0).any():
            raise ValueError(
                f"t: class number {int(counts.argmin())} never occurs outside fold {number}; use fewer folds, other "
                "groups or fewer classes"
            )
        frequencies[number] = counts / counts.sum()
        fitted = clone(model)
        unset = {name: int(rng.integers(2**31)) for name, value in fitted.get_params().items() if _is_seed(name, value)}
        fitted.set_params(**unset)
        forecast[test] = fitted.fit(x[train], code[train]).predict_proba(x[test])
    return forecast, frequencies


def _is_seed(name: str, value: Any) -> bool:
    return value is None and (name == "random_state" or name.endswith("__random_state"))
