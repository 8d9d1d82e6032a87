"""Usable information about the answer in one layer: what a linear reader and a small network can extract."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Literal

from numpy.typing import ArrayLike

import redundancy as rd
from redundancy.array_types import FloatArray
from redundancy.prediction.cross_fitting import Classifier
from vlm.notions.measures import Confidence, Measure, certified

Reader = Literal["linear", "network"]
READERS: tuple[Reader, ...] = ("linear", "network")
_HIDDEN = 64
_ROUNDS = 200


@cache
def classifier_of(reader: Reader) -> Classifier | None:
    """The classifier of a reader; None is the default of `redundancy.usable_information`, logistic regression."""
    if reader == "linear":
        return None
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # "lbfgs" with a ridge penalty needs no held-out rows, of which there are few, and is deterministic.
    network: Classifier = make_pipeline(
        StandardScaler(), MLPClassifier((_HIDDEN,), alpha=3.0, solver="lbfgs", max_iter=_ROUNDS)
    )
    return network


def usable_measures(
    target: ArrayLike,
    states: FloatArray,
    groups: ArrayLike,
    *,
    reader: Reader,
    folds: int,
    confidence: Confidence,
    seed: int,
) -> Measure:
    """Usable information about a target in one layer (theory, section 9.4).

    Parameters
    ----------
    target : array_like (rows,)
        Class labels.
    states : ndarray (rows, d)
        States of one layer.
    groups : array_like (rows,)
        Image of each row.
    reader : {"linear", "network"}
        Logistic regression, or a network with one hidden layer.
    folds, seed
        Cross-fitting.
    confidence : Confidence
        Of the interval.

    Returns
    -------
    Measure
        Nats; the baseline is the log-loss of the class frequencies, the most that there is to extract.

    Raises
    ------
    ValueError
        One class, fewer images than folds, NaN.
    """
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # a fixed number of steps is part of what the network is
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimate = rd.usable_information(
            target, states, classifier=classifier_of(reader), folds=folds, groups=groups, rng=seed
        )
    says = f"log-loss saved by {folds} cross-fitted {reader} readers of the state"
    return certified(
        "usable information", reader, confidence.certify(estimate), says, baseline=estimate.details["null"]
    )
