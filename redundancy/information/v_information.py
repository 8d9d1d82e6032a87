"""Usable information (V-information): how much of a target a chosen family of predictors can extract."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import FloatArray, IntArray, Rng
from redundancy.estimate import Estimate, Quantity, unit_of_sampling
from redundancy.information.finite_entropy import log_loss_range
from redundancy.prediction.cross_fitting import Classifier, fold_of_rows, forecasts_classes, seeded_clone
from redundancy.units import unit_means


def usable_information(
    z: ArrayLike,
    x: ArrayLike,
    *,
    classifier: Classifier | None = None,
    folds: int = 5,
    groups: ArrayLike | None = None,
    mix: float = 0.01,
    rng: Rng = None,
) -> Estimate:
    """Estimate the usable information I_V(X -> Z): the log-loss that a classifier saves by seeing X.

    Parameters
    ----------
    z : array_like (n,)
        Target, as class labels: integers, booleans or strings.
    x : array_like (n, d)
        States of one layer.
    classifier : estimator, optional
        Any scikit-learn classifier with `predict_proba`: the predictive family V is what it can fit, cloned for every
        fold. None is a standardised logistic regression.
    folds : int
        Cross-fitting folds.
    groups : array_like (n,), optional
        Image of each row: never split between folds, and the unit of sampling.
    mix : float
        Weight of the uniform distribution mixed into every prediction, so that no loss is infinite, in (0, 1).
    rng : Generator, int or None
        Folds, and the classifier where its `random_state` is None.

    Returns
    -------
    Estimate
        Nats, at most log(classes / mix), negative if the classifier loses to the class frequencies; not clipped.
        `.per_unit`: mean over an image's rows of (loss of the class frequencies - loss of the classifier), in the
        finite `support`. `details["conditional"]` = H_V(Z | X), an estimated upper bound on H(Z | X) (Gibbs);
        `details["null"]`; `details["accuracy"]`.

    Raises
    ------
    ValueError
        One class, unequal lengths, NaN, fewer images than folds, a class missing from a training fold.
    TypeError
        Float labels, a classifier without `predict_proba`.

    See Also
    --------
    mmse : Squared error instead of log-loss.
    mutual_information : All information, of discrete variables.

    Notes
    -----
    I_V(X -> Z) = H_V(Z | nothing) - H_V(Z | X) (theory, section 9.4). There is no data-processing inequality: a
    later layer may have MORE usable information than an earlier one, and the value belongs to this family and this n,
    not to the layer alone.

    References
    ----------
    Xu, Zhao, Song, Stewart and Ermon (2020), *A theory of usable information under computational constraints*,
    arXiv:2002.10689.

    Examples
    --------
    The exclusive or of two signs is invisible to a linear classifier until a layer computes their product:

    >>> import numpy as np
    >>> import redundancy as rd
    >>> signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(1000, 2))
    >>> z = signs[:, 0] * signs[:, 1] > 0
    >>> round(rd.usable_information(z, signs, rng=0).value, 2)
    0.0
    >>> round(rd.usable_information(z, signs[:, :1] * signs[:, 1:], rng=0).value, 2)
    0.68
    """
    checks.probability(mix, name="mix", open_ends=True)
    features = checks.matrix(x, name="x", min_rows=2)
    if np.shape(z) != features.shape[:1]:
        raise ValueError(
            f"z: expected one label per row of x, shape ({features.shape[0]},), got {np.shape(z)}; the target is the "
            "first argument"
        )
    classes, code = np.unique(checks.labels(z, name="z"), return_inverse=True)
    code = code.reshape(-1)
    if classes.size < 2:
        raise ValueError(f"z: expected at least two classes, got only {classes[0]!r}; a constant has no information")
    generator = np.random.default_rng(rng)
    model = _default() if classifier is None else classifier
    if not forecasts_classes(model):
        raise TypeError(f"classifier: expected predict_proba, got {type(model).__name__}; wrap it in a calibration")
    index, sizes = checks.group_index(groups, code.size)
    fold = fold_of_rows(code.size, folds, groups, generator)
    forecast, frequencies = _forecasts(model, features, code, classes.size, fold, generator)
    row = np.arange(code.size)
    conditional = -np.log((1.0 - mix) * forecast[row, code] + mix / classes.size)
    null = -np.log((1.0 - mix) * frequencies[fold, code] + mix / classes.size)
    per_unit = unit_means(null - conditional, index, sizes)
    least, most = log_loss_range(classes.size, mix)
    fold_of_unit = np.empty(sizes.size, dtype=np.int64)
    fold_of_unit[index] = fold
    return Estimate(
        value=float(per_unit.mean()),
        quantity=Quantity.USABLE_INFORMATION,
        per_unit=per_unit,
        rows=None if groups is None else sizes.astype(np.float64),
        support=(least - most, most - least),
        unit_of_sampling=unit_of_sampling(groups),
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


def _default() -> Classifier:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model: Classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return model


def _forecasts(
    model: Classifier, x: FloatArray, code: IntArray, size: int, fold: IntArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Out-of-fold class probabilities (n, classes), and the training frequencies of each fold (folds, classes)."""
    forecast = np.empty((code.size, size))
    frequencies = np.empty((int(fold.max()) + 1, size))
    for number in range(len(frequencies)):
        train, test = fold != number, fold == number
        counts = np.bincount(code[train], minlength=size)
        if (counts == 0).any():
            raise ValueError(
                f"z: class number {int(counts.argmin())} never occurs outside fold {number}; use fewer folds, other "
                "groups or fewer classes"
            )
        frequencies[number] = counts / counts.sum()
        fitted = seeded_clone(model, rng)
        fitted.fit(x[train], code[train])
        forecast[test] = fitted.predict_proba(x[test])
    return forecast, frequencies
