"""Usable information (V-information): how much of a target a chosen family of predictors can extract."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_conversion import AnyNumpy, as_labels
from redundancy.array_types import FloatArray, IntArray, Rng
from redundancy.estimate import Estimate, Quantity, unit_of_sampling
from redundancy.information.finite_entropy import log_loss_range
from redundancy.prediction.cross_fitting import Classifier, forecasts_classes, seeded_clone
from redundancy.standard_columns import in_range
from redundancy.units import unit_means


def usable_information(
    z: ArrayLike,
    x: ArrayLike,
    *,
    classifier: Classifier | None = None,
    folds: int = 5,
    groups: ArrayLike | None = None,
    mix: float = 0.01,
    classes: ArrayLike | None = None,
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
        Cross-fitting folds, stratified: the images of a class are spread over the folds as evenly as possible. A class
        that a training fold lacks is predicted with the uniform part `mix / classes` alone.
    groups : array_like (n,), optional
        Image of each row: never split between folds, and the unit of sampling.
    mix : float
        Weight of the uniform distribution mixed into every prediction, so that no loss is infinite, in (0, 1).
    classes : array_like (k,), optional
        All classes, fixed in advance; by default those that occur in z.
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
        One class, labels outside `classes`, unequal lengths, NaN, fewer images than folds.
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
    observed = as_labels(z, name="z")
    if observed.shape != features.shape[:1]:
        raise ValueError(
            f"z: expected one label per row of x, shape ({features.shape[0]},), got {observed.shape}; the target is "
            "the first argument"
        )
    alphabet, code = _codes_of(checks.labels(observed, name="z"), classes)
    generator = checks.generator(rng)
    model = _default() if classifier is None else classifier
    if isinstance(model, type):
        raise TypeError(f"classifier: expected an instance, got the class {model.__name__}; add ()")
    if not forecasts_classes(model):
        raise TypeError(f"classifier: expected predict_proba, got {type(model).__name__}; wrap it in a calibration")
    index, sizes = checks.group_index(groups, code.size)
    folds = checks.integer(folds, name="folds", least=2)
    if folds > sizes.size:
        raise ValueError(f"folds: expected 2 to {sizes.size} (the number of rows or groups), got {folds}")
    if classifier is None:
        features = in_range(features)
    fold = stratified_folds(code, index, sizes.size, folds, generator)
    forecast, frequencies = _forecasts(model, features, code, alphabet.size, fold, generator)
    row = np.arange(code.size)
    least, most = log_loss_range(alphabet.size, mix)  # attained up to rounding, which must not leave it
    conditional = np.clip(-np.log((1.0 - mix) * forecast[row, code] + mix / alphabet.size), least, most)
    null = np.clip(-np.log((1.0 - mix) * frequencies[fold, code] + mix / alphabet.size), least, most)
    per_unit = unit_means(null - conditional, index, sizes)
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
            "classes": tuple(alphabet.tolist()),
            "fold_of_unit": fold_of_unit,
        },
    )


def _default() -> Classifier:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model: Classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return model


def _codes_of(observed: AnyNumpy, classes: ArrayLike | None) -> tuple[AnyNumpy, IntArray]:
    """All classes in sorted order, and the number of each row's class."""
    alphabet = np.unique(observed if classes is None else checks.labels(classes, name="classes"))
    if alphabet.size < 2:
        raise ValueError(
            f"z: expected at least two classes, got only {alphabet.tolist()[0]!r}; a constant has no information"
        )
    position = np.minimum(np.searchsorted(alphabet, observed), alphabet.size - 1)
    outside = alphabet[position] != observed
    if outside.any():
        raise ValueError(f"z: expected labels in classes, got {observed[outside][0]!r}")
    return alphabet, position


def stratified_folds(code: IntArray, index: IntArray, units: int, folds: int, rng: np.random.Generator) -> IntArray:
    """Fold of each row (n,): rows of an image share one, and a class of two images or more is in two folds or more.

    Images are dealt out in the order of their rarest class; a class that still fell into one fold has an image moved.
    """
    pairs = np.unique(np.column_stack([index, code]), axis=0)
    images_with = np.bincount(pairs[:, 1], minlength=int(code.max()) + 1)
    rarest_first = np.argsort(np.argsort(images_with, kind="stable"), kind="stable")
    rarest = np.full(units, images_with.size)
    np.minimum.at(rarest, pairs[:, 0], rarest_first[pairs[:, 1]])
    shuffled = rng.permutation(units)
    order = shuffled[np.argsort(rarest[shuffled], kind="stable")]
    fold = np.empty(units, dtype=np.int64)
    fold[order] = rng.permutation(folds)[np.arange(units) % folds]
    for wanted in np.argsort(images_with, kind="stable"):
        members = pairs[pairs[:, 1] == wanted, 0] if images_with[wanted] <= folds * 8 else order[:0]
        if members.size > 1 and np.unique(fold[members]).size == 1:
            fold[members[0]] = (fold[members[0]] + 1) % folds
    return fold[index]


def _forecasts(
    model: Classifier, x: FloatArray, code: IntArray, size: int, fold: IntArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Out-of-fold class probabilities (n, classes), and the training frequencies of each fold (folds, classes)."""
    forecast = np.empty((code.size, size))
    frequencies = np.empty((int(fold.max()) + 1, size))
    for number in range(len(frequencies)):
        train, test = fold != number, fold == number
        counts = np.bincount(code[train], minlength=size)
        frequencies[number] = counts / counts.sum()
        seen = np.flatnonzero(counts)
        if seen.size == 1:
            forecast[test] = frequencies[number]
            continue
        fitted = seeded_clone(model, rng)
        fitted.fit(x[train], code[train])
        forecast[test] = 0.0
        forecast[np.ix_(test, np.asarray(fitted.classes_, dtype=np.int64))] = fitted.predict_proba(x[test])
    return forecast, frequencies
