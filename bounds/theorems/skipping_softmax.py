"""A softmax with perturbed scores: change of attention, and from a hidden error to the prediction.

`omega` is the range of the change of the scores, maximum minus minimum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import AFTER_FINAL_NORM, OURS, SAME_ANSWER_RULE
from bounds.framework.symbolic import sp, symbols
from bounds.framework.theorem import theorem
from bounds.worlds import exact_quantities
from bounds.worlds.attention import SoftmaxWorld
from bounds.worlds.network_families import SOFTMAX
from bounds.worlds.networks import norm
from bounds.worlds.points import lengths
from redundancy.array_types import FloatArray


def _even(omega: float) -> SoftmaxWorld:
    """Two keys with opposite values; the odds move from exp(-omega / 2) to exp(omega / 2)."""
    half = 0.25 * omega
    return SoftmaxWorld(np.array([-half, half]), np.array([2 * half, -2 * half]), np.array([[1.0], [-1.0]]))


@theorem(
    label="Changed scores (total variation)",
    equation="(9.7a)",
    left=r"\mathrm{TV}(a,a')",
    right=r"\tanh(\omega/4)",
    form="sharp",
    source=OURS,
    assumes=(),
    family=SOFTMAX,
    sides=lambda w, bound: (exact_quantities.total_variation(w.before, w.after), bound(w.omega)),
    symbolic=lambda: sp().tanh(symbols("omega") / 4),
    tight=lambda: _even(1.5),
)
def softmax_total_variation(omega: ArrayLike) -> FloatArray:
    """Total variation between two softmax distributions whose scores differ by a range omega: tanh(omega / 4).

    Parameters
    ----------
    omega : array, >= 0
        max - min of the change of the scores (or logits).

    Returns
    -------
    ndarray in [0, 1]
        Upper bound on the total variation.

    See Also
    --------
    softmax_average : Changed scores (output).
    softmax_divergence : Changed scores (divergence).

    Examples
    --------
    Nearly omega / 4 for small changes, one for large ones:

    >>> import bounds
    >>> print(bounds.softmax_total_variation([0.1, 1.5, 40.0]).round(4))
    [0.025  0.3584 1.    ]
    """
    return arguments.shown(np.tanh(0.25 * arguments.nonnegative(omega, name="omega")))


@theorem(
    label="Changed scores (output)",
    equation="(9.7b)",
    left=r"\left\lVert\sum_i(a_i-a'_i)v_i\right\rVert",
    right=r"\tanh(\omega/4)\,\mathsf{D}",
    form="sharp",
    source=OURS,
    assumes=(),
    family=SOFTMAX,
    sides=lambda w, bound: (
        norm((w.before - w.after) @ w.values),
        bound(w.omega, lengths(w.values, w.values).max()),
    ),
    symbolic=lambda: sp().tanh(symbols("omega") / 4) * symbols("diameter"),
    tight=lambda: _even(0.7),
)
def softmax_average(omega: ArrayLike, diameter: ArrayLike) -> FloatArray:
    """Change of an attention output when its scores change by a range omega: tanh(omega / 4) diameter.

    Parameters
    ----------
    omega : array, >= 0
        max - min of the change of the scores.
    diameter : array, >= 0
        Largest distance between two value vectors.

    Returns
    -------
    ndarray
        Upper bound on the norm of the change.

    See Also
    --------
    softmax_total_variation : Changed scores (total variation).
    attention_removal : Attention removal.

    Examples
    --------
    Scores that move by 0.4 in range, values at most 2 apart:

    >>> import bounds
    >>> print(bounds.softmax_average(0.4, 2.0).round(4))
    0.1993
    """
    w, d = arguments.nonnegative(omega, name="omega"), arguments.nonnegative(diameter, name="diameter")
    arguments.together(omega=w, diameter=d)
    return arguments.shown(arguments.product(np.tanh(0.25 * w), d))


@theorem(
    label="Changed scores (divergence)",
    equation="(9.7c)",
    left=r"D(a\Vert a')",
    right=r"\omega^2/8",
    form="sharp",
    source=f"{OURS}; Hoeffding's lemma",
    assumes=(),
    family=SOFTMAX,
    sides=lambda w, bound: (exact_quantities.relative_entropy(w.before, w.after), bound(w.omega)),
    symbolic=lambda: symbols("omega") ** 2 / 8,
    tight=lambda: SoftmaxWorld(np.zeros(2), np.array([0.005, -0.005]), np.eye(2)),
    reached="limit",
)
def softmax_divergence(omega: ArrayLike) -> FloatArray:
    """Relative entropy between two softmax distributions whose scores differ by a range omega: omega^2 / 8.

    Parameters
    ----------
    omega : array, >= 0
        max - min of the change of the scores (or logits).

    Returns
    -------
    ndarray
        Upper bound in nats; sharp as omega -> 0.

    See Also
    --------
    softmax_total_variation : Changed scores (total variation).
    logit_range : From hidden error to logits.

    Examples
    --------
    Quadratic in the range:

    >>> import bounds
    >>> print(bounds.softmax_divergence([0.1, 1.0]).round(4))
    [0.0013 0.125 ]
    """
    w = arguments.nonnegative(omega, name="omega")
    return arguments.shown(arguments.product(0.125, w, w))


@theorem(
    label="From hidden error to logits",
    equation="(9.8a)",
    left=r"\omega",
    right=r"\mathsf{D}\,\lVert\Delta h\rVert",
    form="sharp",
    source=OURS,
    assumes=(AFTER_FINAL_NORM,),
    family=SOFTMAX,
    # The rows of `values` are an unembedding, `direction` a hidden error.
    sides=lambda w, bound: (
        np.ptp(w.values @ _direction(w)),
        bound(lengths(w.values, w.values).max(), norm(_direction(w))),
    ),
    symbolic=lambda: symbols("diameter") * symbols("distance"),
    tight=lambda: SoftmaxWorld(np.zeros(2), np.ones(2), np.array([[1.0, 0.0], [-1.0, 0.0]])),
)
def logit_range(diameter: ArrayLike, distance: ArrayLike) -> FloatArray:
    """Range of the change of the logits: diameter of the unembedding rows times the norm of the hidden error.

    Parameters
    ----------
    diameter : array, >= 0
        Largest distance between two rows of the unembedding.
    distance : array, >= 0
        Norm of the error of the last hidden state, after the final norm.

    Returns
    -------
    ndarray
        Upper bound on omega.

    See Also
    --------
    prediction_may_change : From logits to the prediction.
    softmax_divergence : Changed scores (divergence).

    Examples
    --------
    Unembedding rows at most 3 apart, a hidden error of 0.1:

    >>> import bounds
    >>> print(bounds.logit_range(3.0, 0.1).round(4))
    0.3
    """
    d, e = arguments.nonnegative(diameter, name="diameter"), arguments.nonnegative(distance, name="distance")
    arguments.together(diameter=d, distance=e)
    return arguments.shown(arguments.product(d, e))


def _direction(w: SoftmaxWorld) -> FloatArray:
    out: FloatArray = w.values[0] - w.values[-1]
    return out


def _margin(w: SoftmaxWorld) -> float:
    first, second = np.sort(w.scores)[::-1][:2]
    return float(first - second)


@theorem(
    label="From logits to the prediction",
    equation="(9.8b)",
    left=r"1_{\text{the arg max changes}}",
    right=r"1_{\text{margin}\le\omega}",
    form="sharp",
    source=OURS,
    assumes=(SAME_ANSWER_RULE,),
    family=SOFTMAX,
    sides=lambda w, bound: (
        float(w.scores.argmax() != (w.scores + w.change).argmax()),
        bound(_margin(w), w.omega),
    ),
    symbolic=lambda: sp().Piecewise((1, symbols("margin") <= symbols("omega")), (0, True)),
    tight=lambda: SoftmaxWorld(np.array([1.0, 0.0]), np.array([0.0, 1.5]), np.eye(2)),
)
def prediction_may_change(margin: ArrayLike, omega: ArrayLike) -> FloatArray:
    """1 where a change of the logits by a range omega may change the prediction, else 0.

    Its mean over samples is an upper bound on the share of changed predictions.

    Parameters
    ----------
    margin : array, >= 0
        Largest logit minus the second largest.
    omega : array, >= 0
        max - min of the change of the logits, or an upper bound on it.

    Returns
    -------
    ndarray of 0 and 1
        An upper bound on the indicator of a changed prediction.

    See Also
    --------
    logit_range : From hidden error to logits.

    Examples
    --------
    The first of three predictions is safe, the others are not:

    >>> import bounds
    >>> print(bounds.prediction_may_change([2.0, 0.5, 0.0], 0.5).round(4))
    [0. 1. 1.]

    At most two thirds of these predictions change:

    >>> print(bounds.prediction_may_change([2.0, 0.5, 0.0], 0.5).mean().round(4))
    0.6667
    """
    m, w = arguments.nonnegative(margin, name="margin"), arguments.nonnegative(omega, name="omega")
    arguments.together(margin=m, omega=w)
    return arguments.shown((m <= w).astype(np.float64))
