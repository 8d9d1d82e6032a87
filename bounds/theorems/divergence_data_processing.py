"""What a divergence says about events and losses: the tight Pinsker curve, and Fano's inequality for bounded losses.

Both are data processing: what is computed from a sample cannot tell P from Q better than the sample.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import LOSS_IN_UNIT_INTERVAL, OURS
from bounds.framework.special_functions import binary_divergence, total_variation_curve
from bounds.framework.symbolic import Expression, divergence, sp, symbols
from bounds.framework.symbolic import total_variation_curve as curve_
from bounds.framework.theorem import Evaluate, Sides, theorem
from bounds.worlds import exact_quantities, gallery
from bounds.worlds.attention import SoftmaxWorld
from bounds.worlds.families import UNIT_LOSS
from bounds.worlds.finite import FiniteWorld
from bounds.worlds.network_families import SOFTMAX
from redundancy.array_types import FloatArray

Divergence: TypeAlias = Literal["kl", "chi2", "hellinger", "tv"]
DIVERGENCES: tuple[Divergence, ...] = ("kl", "chi2", "hellinger", "tv")


def one_third(right: float) -> SoftmaxWorld:
    """Two symbols of probability `right` and 1 - right, against one third and two thirds."""
    before, after = np.log([right, 1.0 - right]), np.log([1.0 / 3.0, 2.0 / 3.0])
    return SoftmaxWorld(before, after - before, np.eye(2))


@theorem(
    label="Pinsker (tight)",
    equation="(7.11)",
    left=r"\mathrm{TV}(P,Q)",
    right=(
        r"\mathsf{v}\left(D(P\Vert Q)\right),"
        r"\quad\mathsf{v}(D)=\max\left\lbrace\lvert p-q\rvert:d(p\Vert q)\le D\right\rbrace"
    ),
    form="sharp",
    source=f"{OURS}; Fedotov, Harremoës and Topsøe (2003), *Refinements of Pinsker's inequality*",
    assumes=(),
    family=SOFTMAX,
    sides=lambda w, bound: (
        exact_quantities.total_variation(w.before, w.after),
        bound(exact_quantities.relative_entropy(w.before, w.after)),
    ),
    symbolic=lambda: curve_(symbols("divergence")),
    tight=lambda: one_third(gallery.RIGHT_OF_THREE),
)
def total_variation_from_divergence(divergence: ArrayLike) -> FloatArray:
    """Total variation of two distributions from their relative entropy: the exact curve, below sqrt(D / 2).

    Parameters
    ----------
    divergence : array, >= 0
        D(P || Q) in nats, or an upper bound on it.

    Returns
    -------
    ndarray in [0, 1]
        Upper bound on the total variation, attained by two distributions on two symbols for every D.

    See Also
    --------
    accuracy_from_information : Theorem 5 (accuracy, information).
    divergence_from_losses : Fano (any divergence, bounded loss).

    Examples
    --------
    Pinsker's inequality gives 0.1, 0.7071 and 1:

    >>> import bounds
    >>> print(bounds.total_variation_from_divergence([0.02, 1.0, 2.0]).round(4))
    [0.0999 0.6644 0.8652]
    """
    return arguments.shown(total_variation_curve(arguments.nonnegative(divergence, name="divergence")))


def _expected_losses(w: FiniteWorld) -> tuple[float, float, FloatArray, FloatArray]:
    """Loss of the guess of T by X under the joint distribution and for independent T and X, and both distributions.

    The loss of guessing the i-th value for t is the first coordinate of the value of t where they differ by one, else
    that of i: any table with entries in [0, 1] will do.
    """
    joint, product = w.tx, w.t[:, None] * w.x[None, :]
    loss = np.abs(w.values[:, :1] - w.values[np.arange(w.tx.shape[1]) % len(w.values), 0][None, :])
    return float((joint * loss).sum()), float((product * loss).sum()), joint, product


def f_divergence(p: FloatArray, q: FloatArray, kind: Divergence) -> float:
    """D_f(P || Q) of two distributions on the same cells, where Q vanishes only where P does."""
    if kind == "kl":
        return exact_quantities.relative_entropy(p, q)
    if kind == "tv":
        return exact_quantities.total_variation(p, q)
    if kind == "hellinger":
        return float(((np.sqrt(p) - np.sqrt(q)) ** 2).sum())
    positive = q > 0
    return float(((p - q)[positive] ** 2 / q[positive]).sum())


def _loss_sides(w: FiniteWorld, bound: Evaluate) -> Sides:
    loss, other, joint, product = _expected_losses(w)
    left = [f_divergence(joint, product, kind) for kind in DIVERGENCES]
    return left, [bound(min(loss, 1.0), min(other, 1.0), kind=kind) for kind in DIVERGENCES]


def guess_of_two(right: float = 0.8) -> FiniteWorld:
    """A fair bit T in {0, 1} and a guess X of it: the 0-1 loss keeps all that they share."""
    world = gallery.symmetric_channel(2, right)
    return FiniteWorld(world.pmf, np.array([[0.0], [1.0]]), world.x_points, world.y_points)


@theorem(
    label="Fano (any divergence, bounded loss)",
    equation="(7.12)",
    left=r"D_f(P\Vert Q)",
    right=r"d_f\left(E_P\ell\Vert E_Q\ell\right),\quad 0\le\ell\le1",
    relation=">=",
    form="sharp",
    source=f"{OURS}; after arXiv:2601.12027",
    assumes=(LOSS_IN_UNIT_INTERVAL,),
    family=UNIT_LOSS,
    sides=_loss_sides,
    symbolic=lambda: divergence(*symbols("loss other_loss")),
    tight=guess_of_two,
)
def divergence_from_losses(loss: ArrayLike, other_loss: ArrayLike, *, kind: Divergence = "kl") -> FloatArray:
    """How far apart P and Q must be if a loss in [0, 1] has these means under them.

    With P the joint distribution of T and X and Q the product of their marginals it is Fano's inequality for any
    decision and any bounded loss: `other_loss` is what the same decision loses when X tells nothing about T.

    Parameters
    ----------
    loss : array in [0, 1]
        E_P of the loss.
    other_loss : array in [0, 1]
        E_Q of the same loss.
    kind : {"kl", "chi2", "hellinger", "tv"}
        Relative entropy (nats), chi-square, squared Hellinger distance sum (sqrt p - sqrt q)^2, or total variation.

    Returns
    -------
    ndarray
        Lower bound on D_f(P || Q); infinite where a loss of 0 or 1 under Q is impossible under P.

    Raises
    ------
    ValueError
        If `kind` is none of the four.

    See Also
    --------
    loss_from_chi_square : Fano (chi-square, bounded loss).
    information_from_proximity : Theorem 4 (data processing).

    Examples
    --------
    A decision loses 0.2 on average and would lose 0.5 without the state: they share at least this many nats:

    >>> import bounds
    >>> print(bounds.divergence_from_losses(0.2, 0.5).round(4))
    0.1927
    >>> print(bounds.divergence_from_losses(0.2, 0.5, kind="chi2").round(4))
    0.36
    """
    p, q = arguments.probability(loss, name="loss"), arguments.probability(other_loss, name="other_loss")
    arguments.together(loss=p, other_loss=q)
    if kind == "kl":
        return arguments.shown(binary_divergence(p, q))
    if kind == "tv":
        return arguments.shown(np.abs(p - q))
    if kind == "hellinger":
        return arguments.shown(_root_gap(p, q) + _root_gap(1.0 - p, 1.0 - q))
    if kind == "chi2":
        spread = q * (1.0 - q)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            ratio = (p - q) ** 2 / spread
        return arguments.shown(np.where(p == q, 0.0, np.where(spread > 0, ratio, np.inf)))
    raise ValueError(f"kind: expected one of {', '.join(DIVERGENCES)}, got {kind!r}")


def _root_gap(a: FloatArray, b: FloatArray) -> FloatArray:
    out: FloatArray = (np.sqrt(a) - np.sqrt(b)) ** 2
    return out


def _constant_loss(w: FiniteWorld) -> tuple[float, float, float]:
    """Chi-square information of T and X, the least 0-1 loss from X, and that of the best constant guess."""
    joint, product = w.tx, w.t[:, None] * w.x[None, :]
    chi_square = f_divergence(joint, product, "chi2")
    return chi_square, 1.0 - exact_quantities.bayes_accuracy(w.tx), 1.0 - float(w.t.max())


def _least() -> Expression:
    c, e = symbols("chi_square constant_loss")
    s = sp()
    return s.Max(0, e - s.sqrt(c * e * (1 - e)))


@theorem(
    label="Fano (chi-square, bounded loss)",
    equation="(7.13)",
    left=r"E\,\ell(T,a(X))",
    right=(
        r"\max\left\lbrace0,\ e^\ast-\sqrt{\chi^2(T;X)\,e^\ast(1-e^\ast)}\right\rbrace,"
        r"\quad e^\ast=\min_aE\,\ell(T,a)"
    ),
    relation=">=",
    form="sharp",
    source=f"{OURS}; after arXiv:2601.12027",
    assumes=(LOSS_IN_UNIT_INTERVAL,),
    family=UNIT_LOSS,
    sides=lambda w, bound: (_constant_loss(w)[1], bound(_constant_loss(w)[0], max(0.0, _constant_loss(w)[2]))),
    symbolic=_least,
    tight=guess_of_two,
)
def loss_from_chi_square(chi_square: ArrayLike, constant_loss: ArrayLike) -> FloatArray:
    """Least mean loss of any decision that sees X, from the chi-square information and the best constant decision.

    Parameters
    ----------
    chi_square : array, >= 0
        D_chi2 of the joint distribution of T and X from the product of their marginals, or an upper bound on it.
    constant_loss : array in [0, 1]
        Mean loss of the best decision that sees nothing, or a lower bound on it; the loss lies in [0, 1].

    Returns
    -------
    ndarray in [0, 1]
        Lower bound on the mean loss of every decision from X.

    See Also
    --------
    divergence_from_losses : Fano (any divergence, bounded loss).

    Examples
    --------
    A fair bit seen through a channel that is right in 80 % of the cases:

    >>> import bounds
    >>> print(bounds.loss_from_chi_square(0.36, 0.5).round(4))
    0.2
    """
    c = arguments.nonnegative(chi_square, name="chi_square")
    e = arguments.probability(constant_loss, name="constant_loss")
    arguments.together(chi_square=c, constant_loss=e)
    return arguments.shown(np.maximum(0.0, e - np.sqrt(arguments.product(c, e, 1.0 - e))))
