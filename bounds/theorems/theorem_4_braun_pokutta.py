"""Theorem 4: the probability of being close bounds I(X; Y) from below (Braun and Pokutta).

r = P(d <= t) for the matched pair, q = P(d <= t) for an independent pair with the same marginals, and
p(y) = P(d(X, y) <= t) for X alone, between p_min and p_max over the support of Y.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import DISCRETE_X, OURS
from bounds.framework.special_functions import binary_divergence, divergence_term
from bounds.framework.symbolic import Expression, divergence, h2, sp, symbols
from bounds.framework.theorem import theorem
from bounds.worlds import exact_quantities, gallery
from bounds.worlds.families import CODES
from bounds.worlds.finite import FiniteWorld
from redundancy.array_types import FloatArray

PUBLISHED = "Braun and Pokutta, arXiv:1504.05556"


def _cycle() -> FiniteWorld:
    return gallery.cyclic_codebook(9, 1, 0.3)


def _close(w: FiniteWorld) -> tuple[FloatArray, FloatArray, FloatArray]:
    """p(y), r(y) = P(close | y) and p(y) = P_X(ball of y) for every y that occurs."""
    held = w.y > 0
    r = np.clip((w.xy * ~w.far).sum(axis=0)[held] / w.y[held], 0.0, 1.0)
    near, occurs = ~w.far[:, held], w.x > 0
    ball = np.clip(w.x @ near / w.x.sum(), 0.0, 1.0)
    # Certain events get probability exactly 1, whatever the rounding of the sum.
    ball = np.where(near[occurs].all(axis=0), 1.0, np.where(near[occurs].any(axis=0), ball, 0.0))
    return w.y[held] / w.y[held].sum(), r, ball


def _pair(w: FiniteWorld) -> tuple[float, float, dict[str, float]]:
    # Complements are summed separately, so that r and q near one keep their digits.
    independent = w.x[:, None] * w.y
    far_joint, far_product = float(w.xy[w.far].sum()), float(independent[w.far].sum())
    r = 1.0 if far_joint == 0 else min(1.0, float(w.xy[~w.far].sum()))
    q = 1.0 if far_product == 0 else min(1.0, float(independent[~w.far].sum()))
    return r, q, {"r_complement": min(1.0, far_joint), "q_complement": min(1.0, far_product)}


def _distance_laws(w: FiniteWorld) -> tuple[FloatArray, FloatArray]:
    _, which = np.unique(np.round(w.distances.ravel(), 9), return_inverse=True)
    joint = np.bincount(which, weights=w.xy.ravel())
    product = np.bincount(which, weights=(w.x[:, None] * w.y).ravel())
    return joint / joint.sum(), product / product.sum()


def _laws() -> Expression:
    a, b = symbols("joint_0:3"), symbols("product_0:3")
    return sum(a[i] * sp().log(a[i] / b[i]) for i in range(3))


@theorem(
    label="Theorem 4 (any partition)",
    equation="(6.2)",
    left=r"I(X;Y)",
    right=r"D\left(P_{d(X,Y)}\,\Vert\,P_{d(X,Y')}\right),\quad Y'\text{ an independent copy of }Y",
    relation=">=",
    form="sharp",
    source=OURS,
    assumes=(),
    family=CODES,
    sides=lambda w, bound: (w.information_xy, bound(*_distance_laws(w))),
    symbolic=_laws,
    tight=lambda: gallery.cyclic_codebook(9, 0, 0.25),
)
def information_from_distance_laws(joint: ArrayLike, product: ArrayLike) -> FloatArray:
    """I(X; Y) from the distribution of the distance of matched and of independent pairs, in nats.

    Dominates every threshold at once; any finite partition of the pairs will do in place of the distance.

    Parameters
    ----------
    joint, product : array (..., k)
        Probabilities of the k cells for matched and for independent pairs, each summing to one.

    Returns
    -------
    ndarray (...)
        Lower bound on I(X; Y); infinite if a cell is impossible for independent pairs only.

    Raises
    ------
    ValueError
        If `joint` or `product` does not sum to one.

    See Also
    --------
    information_from_proximity : Theorem 4 (data processing).
    information_per_point : Theorem 4 (per point).

    Examples
    --------
    Matched pairs are close more often than independent ones:

    >>> import bounds
    >>> print(bounds.information_from_distance_laws([0.7, 0.2, 0.1], [0.1, 0.3, 0.6]).round(4))
    1.1019

    A single threshold after the first cell sees less of it:

    >>> print(bounds.information_from_proximity(0.7, 0.1).round(4))
    1.0326
    """
    p, q = arguments.distribution(joint, name="joint"), arguments.distribution(product, name="product")
    arguments.same_last_axis(joint=p, product=q)
    arguments.together(joint=p, product=q)
    return arguments.shown(divergence_term(p, q, q - p).sum(axis=-1))


def _per_point() -> Expression:
    distribution, r, ball = symbols("distribution_0:3"), symbols("r_0:3"), symbols("p_ball_0:3")
    return sum(distribution[i] * divergence(r[i], ball[i]) for i in range(3))


@theorem(
    label="Theorem 4 (per point)",
    equation="(6.1), first step",
    left=r"I(X;Y)",
    right=r"E\,d\left(r_Y\Vert p(Y)\right)",
    relation=">=",
    form="sharp",
    source=OURS,
    assumes=(),
    family=CODES,
    sides=lambda w, bound: (w.information_xy, bound(*_close(w))),
    symbolic=_per_point,
    tight=_cycle,
)
def information_per_point(distribution: ArrayLike, r: ArrayLike, p_ball: ArrayLike) -> FloatArray:
    """I(X; Y) from the chance of being close around every y, in nats.

    Parameters
    ----------
    distribution : array (..., n)
        p(y), summing to one along the last axis.
    r : array (..., n) in [0, 1]
        P(d <= t | Y = y).
    p_ball : array (..., n) in [0, 1]
        P(d(X, y) <= t) for X alone.

    Returns
    -------
    ndarray (...)
        Lower bound on I(X; Y).

    Raises
    ------
    ValueError
        If `distribution` does not sum to one.

    See Also
    --------
    information_from_proximity : Theorem 4 (data processing).
    information_from_distance_laws : Theorem 4 (any partition).

    Examples
    --------
    Two later states whose balls hold 10 % and 40 % of the earlier states:

    >>> import bounds
    >>> print(bounds.information_per_point([0.5, 0.5], [0.9, 0.9], [0.1, 0.4]).round(4))
    1.1542
    """
    p, close = arguments.distribution(distribution, name="distribution"), arguments.probability(r, name="r")
    ball = arguments.probability(p_ball, name="p_ball")
    arguments.same_last_axis(distribution=p, r=close, p_ball=ball)
    arguments.together(distribution=p, r=close, p_ball=ball)
    terms = binary_divergence(close, ball)
    return arguments.shown((p * np.where(p > 0, terms, 0.0)).sum(axis=-1))


@theorem(
    label="Theorem 4 (data processing)",
    equation="(6.1), second step",
    left=r"I(X;Y)",
    right=r"d(r\Vert q)",
    relation=">=",
    form="sharp",
    source=OURS,
    assumes=(),
    family=CODES,
    sides=lambda w, bound: (w.information_xy, bound(*_pair(w)[:2], **_pair(w)[2])),
    symbolic=lambda: divergence(*symbols("r q")),
    tight=_cycle,
)
def information_from_proximity(
    r: ArrayLike,
    q: ArrayLike,
    *,
    r_complement: ArrayLike | None = None,
    q_complement: ArrayLike | None = None,
) -> FloatArray:
    """I(X; Y) from how often matched and independent pairs are close: d(r || q) in nats.

    Parameters
    ----------
    r : array in [0, 1]
        P(d <= t) for matched pairs.
    q : array in [0, 1]
        P(d <= t) for independent pairs with the same marginals.
    r_complement, q_complement : array in [0, 1], optional
        1 - r and 1 - q, where they are known better than by subtraction.

    Returns
    -------
    ndarray
        Lower bound on I(X; Y); infinite if q is 0 or 1 and r is not.

    See Also
    --------
    information_per_point : Theorem 4 (per point).
    information_from_ball_range : Theorem 4 (clamped).
    information_from_limits : Theorem 4 (limits).

    Examples
    --------
    90 % of matched and 10 % of independent pairs are close:

    >>> import bounds
    >>> print(bounds.information_from_proximity(0.9, 0.1).round(4))
    1.7578

    Independent states have r = q and share nothing:

    >>> print(bounds.information_from_proximity(0.3, 0.3).round(4))
    0.0
    """
    close, base = arguments.probability(r, name="r"), arguments.probability(q, name="q")
    far = None if r_complement is None else arguments.probability(r_complement, name="r_complement")
    off = None if q_complement is None else arguments.probability(q_complement, name="q_complement")
    arguments.together(
        r=close,
        q=base,
        r_complement=close if far is None else far,
        q_complement=base if off is None else off,
    )
    return arguments.shown(binary_divergence(close, base, far, off))


def _clamped() -> Expression:
    r, low, high = symbols("r p_min p_max")
    s = sp()
    return s.Piecewise((divergence(r, high), r > high), (divergence(r, low), r < low), (0, True))


@theorem(
    label="Theorem 4 (clamped)",
    equation="(6.1), third step",
    left=r"I(X;Y)",
    right=r"\min_{p_{\min}\le q'\le p_{\max}}d(r\Vert q')",
    relation=">=",
    form="sharp",
    source=OURS,
    assumes=(),
    family=CODES,
    sides=lambda w, bound: (w.information_xy, bound(_pair(w)[0], _close(w)[2].min(), _close(w)[2].max())),
    symbolic=_clamped,
    tight=_cycle,
)
def information_from_ball_range(r: ArrayLike, p_min: ArrayLike, p_max: ArrayLike) -> FloatArray:
    """I(X; Y) from r and the range of ball probabilities, in nats; 0 when r lies in that range.

    Parameters
    ----------
    r : array in [0, 1]
        P(d <= t).
    p_min, p_max : array in [0, 1]
        Smallest and largest P(d(X, y) <= t) over the support of Y.

    Returns
    -------
    ndarray
        Lower bound on I(X; Y). Without the clamp d(r || p_max) is false
        for r < p_max.

    Raises
    ------
    ValueError
        If p_min exceeds p_max.

    See Also
    --------
    information_from_proximity : Theorem 4 (data processing).
    braun_pokutta : Theorem 4, as in the paper.

    Examples
    --------
    Nothing follows where r lies between the ball probabilities:

    >>> import bounds
    >>> print(bounds.information_from_ball_range([0.9, 0.3], 0.1, 0.4).round(4))
    [0.5507 0.    ]
    """
    close, low, high = _range(r, p_min, p_max)
    return arguments.shown(binary_divergence(close, np.clip(close, low, high)))


def _braun_pokutta() -> Expression:
    r, low, high = symbols("r p_min p_max")
    log = sp().log
    return sp().Max(0, r * log(1 / high) + (1 - r) * log(1 / (1 - low)) - h2(r))


@theorem(
    label="Theorem 4",
    equation="(6.1), last step",
    left=r"I(X;Y)",
    right=r"\max\left\lbrace0,\ r\log\frac1{p_{\max}}+(1-r)\log\frac1{1-p_{\min}}-h_2(r)\right\rbrace",
    relation=">=",
    form="paper",
    source=PUBLISHED,
    assumes=(),
    family=CODES,
    sides=lambda w, bound: (w.information_xy, bound(_pair(w)[0], _close(w)[2].min(), _close(w)[2].max())),
    symbolic=_braun_pokutta,
    tight=_cycle,
)
def braun_pokutta(r: ArrayLike, p_min: ArrayLike, p_max: ArrayLike) -> FloatArray:
    """I(X; Y) from r and the range of ball probabilities, as published, in nats; negative when vacuous.

    Parameters
    ----------
    r : array in [0, 1]
        P(d <= t).
    p_min, p_max : array in [0, 1]
        Smallest and largest P(d(X, y) <= t) over the support of Y.

    Returns
    -------
    ndarray
        Lower bound on I(X; Y).

    Raises
    ------
    ValueError
        If p_min exceeds p_max.

    See Also
    --------
    information_from_ball_range : Theorem 4 (clamped).
    information_from_proximity : Theorem 4 (data processing).
    fano : Theorem 3, as in the paper.

    Examples
    --------
    The paper's form is weaker than the clamped one; where its terms are negative only zero is left:

    >>> import bounds
    >>> print(bounds.braun_pokutta([0.9, 0.3], 0.1, 0.4).round(4))
    [0.5101 0.    ]
    >>> print(bounds.information_from_ball_range([0.9, 0.3], 0.1, 0.4).round(4))
    [0.5507 0.    ]
    """
    close, low, high = _range(r, p_min, p_max)
    far, outside = 1.0 - close, 1.0 - low
    # Both terms r log(r / p) are split into a non-negative part and a difference; the differences add to p_min - p_max.
    terms = divergence_term(close, high, high - close) + divergence_term(far, outside, close - low)
    return arguments.shown(np.maximum(0.0, terms - (high - low)))


@theorem(
    label="Theorem 4 (limits)",
    equation="(6.3)",
    left=r"I(X;Y)",
    right=r"d(\underline r\Vert\bar q)\,1_{\underline r>\bar q}",
    relation=">=",
    form="sharp",
    source=OURS,
    assumes=(),
    family=CODES,
    sides=lambda w, bound: (
        [w.information_xy] * 2,
        [bound(_pair(w)[0], _pair(w)[1]), bound(0.9 * _pair(w)[0], min(1.0, 1.05 * _pair(w)[1]))],
    ),
    symbolic=lambda: sp().Piecewise(
        (divergence(*symbols("r_lower q_upper")), symbols("r_lower") > symbols("q_upper")), (0, True)
    ),
    tight=_cycle,
)
def information_from_limits(r_lower: ArrayLike, q_upper: ArrayLike) -> FloatArray:
    """I(X; Y) from a lower bound on r and an upper bound on q, in nats; accepts confidence limits.

    Parameters
    ----------
    r_lower : array in [0, 1]
        Lower bound on P(d <= t) for matched pairs.
    q_upper : array in [0, 1]
        Upper bound on P(d <= t) for independent pairs.

    Returns
    -------
    ndarray
        d(r_lower || q_upper) if r_lower > q_upper, else 0.

    See Also
    --------
    information_from_proximity : Theorem 4 (data processing).

    Examples
    --------
    Confidence limits that overlap certify nothing:

    >>> import bounds
    >>> print(bounds.information_from_limits([0.8, 0.2], [0.2, 0.3]).round(4))
    [0.8318 0.    ]
    """
    r, q = arguments.probability(r_lower, name="r_lower"), arguments.probability(q_upper, name="q_upper")
    arguments.together(r_lower=r, q_upper=q)
    return arguments.shown(binary_divergence(r, np.minimum(r, q)))


def _entropy_left() -> Expression:
    h, r, q = symbols("entropy_x r q")
    return h - divergence(r, q)


@theorem(
    label="Theorem 4 (conditional entropy)",
    equation="(6.4)",
    left=r"H(X\mid Y)",
    right=r"H(X)-d(r\Vert q)",
    form="consequence",
    source=OURS,
    assumes=(DISCRETE_X,),
    family=CODES,
    sides=lambda w, bound: (w.entropy_x_given_y, bound(exact_quantities.entropy(w.x), *_pair(w)[:2])),
    symbolic=_entropy_left,
    tight=_cycle,
)
def entropy_from_proximity(entropy_x: ArrayLike, r: ArrayLike, q: ArrayLike) -> FloatArray:
    """H(X | Y) = H(X) - I(X; Y) from Theorem 4, in nats; for uniform X the same as Theorem 3.

    Parameters
    ----------
    entropy_x : array, >= 0
        H(X).
    r, q : array in [0, 1]
        As in `information_from_proximity`.

    Returns
    -------
    ndarray
        Upper bound on H(X | Y).

    See Also
    --------
    information_from_proximity : Theorem 4 (data processing).
    fano : Theorem 3, as in the paper.

    Examples
    --------
    Uniform on nine codewords, 70 % of the pairs close, balls of three codewords: Theorem 3 says the same:

    >>> import math
    >>> import bounds
    >>> print(bounds.entropy_from_proximity(math.log(9), 0.7, 1 / 3).round(4))
    1.9174
    >>> print(bounds.fano(0.3, 9, 3, 3).round(4))
    1.9174
    """
    h = arguments.nonnegative(entropy_x, name="entropy_x")
    bound = information_from_proximity(r, q)
    arguments.together(entropy_x=h, r_and_q=bound)
    return arguments.shown(h - bound)


def _range(r: ArrayLike, p_min: ArrayLike, p_max: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    close = arguments.probability(r, name="r")
    low, high = arguments.probability(p_min, name="p_min"), arguments.probability(p_max, name="p_max")
    arguments.together(r=close, p_min=low, p_max=high)
    arguments.ordered(low, high, names=("p_min", "p_max"))
    return close, low, high
