"""Every theorem that speaks of a finite joint distribution, evaluated on the empirical one of answers and codewords.

On that distribution each theorem holds exactly. What is read is how close its two sides are, and whether the bound
says more than what is true without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

import bounds
from bounds.framework.theorem import AnyTheorem, AssumptionError
from bounds.worlds import exact_quantities
from bounds.worlds.finite import FiniteWorld
from redundancy.array_types import FloatArray
from vlm.notions.codes import PairCodes

Verdict = Literal["attained", "bites", "vacuous", "does not apply"]
LABELS = ("Lemma 4", "Lemma 5", "Proposition 1", "Theorem 1", "Theorem 3", "Theorem 4", "Theorem 5", "Theorem 6")
_ATTAINED = 1e-6


@dataclass(frozen=True)
class Checked:
    """One theorem on the codewords of two layers.

    Attributes
    ----------
    theorem, label, equation : str
        Which statement: `bounds.<theorem>`.
    quantity : str
        What the left side is.
    left, right : float
        Its two sides, of the inequality with the largest ratio; NaN where it does not apply.
    relation : str
        How they compare.
    ratio : float
        Smaller side over larger side; 1 where it is attained.
    trivial : float
        What bounds the left side without the theorem; NaN where nothing is known.
    verdict : {"attained", "bites", "vacuous", "does not apply"}
        "bites": the bound is better than the trivial one. "attained": its sides agree.
    says : str
        For "does not apply" the assumption that is not met.
    """

    theorem: str
    label: str
    equation: str
    quantity: str
    left: float
    right: float
    relation: str
    ratio: float
    trivial: float
    verdict: Verdict
    says: str


def world_of(joint: FloatArray, codes: PairCodes) -> FiniteWorld:
    """The finite world of answers (one-hot) and of both layers' codewords at their centres on the sphere.

    Parameters
    ----------
    joint : ndarray (classes, size, size)
        Joint probabilities of answer, earlier and later codeword.
    codes : PairCodes
        The alphabet; its radius is the threshold.
    """
    classes, size, _ = joint.shape
    centres = codes.book.decode(np.arange(size))
    return FiniteWorld(joint, np.eye(classes), centres, centres, threshold=codes.radius)


def check_theorems(world: FiniteWorld) -> list[Checked]:
    """Both sides of every theorem of lemmas 4 and 5, proposition 1 and theorems 1 and 3 to 6 on a finite world.

    Parameters
    ----------
    world : FiniteWorld
        From :func:`world_of`.

    Returns
    -------
    list of Checked
        In the order of `bounds.THEOREMS`.

    Raises
    ------
    RuntimeError
        A theorem is violated, which is a fault of this library.
    """
    applicable = [t for t in bounds.THEOREMS if t.label.startswith(LABELS) and t.family.kind is FiniteWorld]
    return [_checked(theorem, world) for theorem in applicable]


def _checked(theorem: AnyTheorem, world: FiniteWorld) -> Checked:
    quantity, trivial_of = _about(theorem)
    head = (theorem.name, theorem.label, theorem.equation, quantity)
    try:
        check = theorem.check(world)
    except AssumptionError as error:
        reason = str(error).partition("expected a world with ")[2].partition(";")[0]
        return Checked(*head, np.nan, np.nan, theorem.relation, np.nan, np.nan, "does not apply", f"needs {reason}")
    if not check.holds:
        raise RuntimeError(f"{theorem.name}: violated on the codewords ({check}); please report it")
    left, right, ratio = _tightest(check)
    trivial = trivial_of(world)
    if check.relation == "=":
        return Checked(*head, left, right, "=", 1.0, np.nan, "attained", "an identity")
    lower = check.relation == ">="
    trivial = 0.0 if lower else trivial
    better = right > 1e-12 if lower else right < trivial * (1.0 - 1e-9)
    verdict: Verdict = "vacuous" if not better else "attained" if ratio > 1.0 - _ATTAINED else "bites"
    return Checked(*head, left, right, check.relation, ratio, trivial, verdict, "")


def _tightest(check: bounds.Check) -> tuple[float, float, float]:
    """The sides of the inequality with the largest ratio, and the ratio."""
    small, large = (check.right, check.left) if check.relation == ">=" else (check.left, check.right)
    ratio = np.where(large > 0, np.maximum(small, 0.0) / np.where(large > 0, large, 1.0), 0.0)
    place = int(np.argmax(ratio))
    return float(check.left.flat[place]), float(check.right.flat[place]), float(ratio.flat[place])


def _about(theorem: AnyTheorem) -> tuple[str, Callable[[FiniteWorld], float]]:
    """The left side in words, and what bounds it without the theorem."""
    for start, words, trivial in _QUANTITIES:
        if theorem.left.startswith(start):
            return words, trivial
    raise LookupError(f"{theorem.name}: no words for {theorem.left}; add them to vlm/notions/chain_check.py")


def _zero(_: FiniteWorld) -> float:
    return 0.0


def _entropy_t(world: FiniteWorld) -> float:
    return exact_quantities.entropy(world.t)


def _variance(world: FiniteWorld) -> float:
    return exact_quantities.variance(world.t, world.values)


def _accuracy(world: FiniteWorld) -> float:
    return 1.0 - float(world.t.max())


# Start of a theorem's left side in LaTeX, its words, and a bound on it that knows only one variable's distribution.
_QUANTITIES: tuple[tuple[str, str, Callable[[FiniteWorld], float]], ...] = (
    (r"H(T\mid Y)-H", "log-loss gap H(T|Y) - H(T|X)", _entropy_t),
    (r"0\le H(T\mid Y)-H", "log-loss gap H(T|Y) - H(T|X)", _entropy_t),
    (r"-H(Y\mid X)\le", "log-loss gap H(T|Y) - H(T|X)", _entropy_t),
    (r"U(", "unique information of X", _entropy_t),
    (r"E\,d(X,Y)", "mean cosine distance", lambda _: 2.0),
    (r"P(d(X,Y)", "probability of far codewords", lambda _: 1.0),
    (r"\mathrm{mmse}(Z\mid X)-", "what Y adds: mmse(T|X) - mmse(T|X,Y)", _variance),
    (r"\mathrm{mmse}(T\mid Y)-", "what X adds: mmse(T|Y) - mmse(T|X,Y)", _variance),
    (r"\pm\left(\mathrm{mmse}", "functional gap", _variance),
    (r"\left\lvert\mathrm{mmse}", "functional gap", _variance),
    (r"\lvert\mathrm{mmse}", "functional gap", _variance),
    (r"H(X\mid Y)", "H(X|Y)", lambda world: exact_quantities.entropy(world.x)),
    (r"I(X;Y)", "I(X;Y)", _zero),
    (r"I(T;X)", "I(T;X)", _zero),
    (r"\mathrm{acc}(X,Y)-", "what X adds: acc(X,Y) - acc(Y)", _accuracy),
    (r"\lvert\mathrm{acc}", "accuracy gap", _accuracy),
    (r"P_e", "decoding error", lambda world: 1.0 - float(world.x.max())),
)
