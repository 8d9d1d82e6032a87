"""A theorem is a function that states itself, evaluates itself and checks itself on a world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from redundancy.array_types import FloatArray

if TYPE_CHECKING:
    from bounds.worlds.families import Family

P = ParamSpec("P")
R = TypeVar("R")
Sides = tuple[ArrayLike, ArrayLike]

# Sides below this are rounding; a ratio of two of them says nothing.
ROUNDING = 1e-8
TOLERANCE = 1e-7


@dataclass(frozen=True)
class Assumption:
    """A hypothesis defined once, in words, with a test that a world can be put to."""

    name: str
    words: str
    holds: Callable[[Any], bool] = field(repr=False, compare=False)

    def __str__(self) -> str:
        return self.words


class AssumptionError(ValueError):
    """A world was put before a theorem whose assumption it does not meet."""


@dataclass(frozen=True, eq=False)
class Check:
    """Both sides of a statement on one world; several inequalities at once when it has several."""

    theorem: str
    left: FloatArray
    right: FloatArray
    relation: str

    @property
    def slack(self) -> float:
        """Smallest amount to spare (of an identity: minus the largest difference); negative if false."""
        if self.relation == "=":
            return float(-np.abs(self.right - self.left).max())
        small, large = self._ordered()
        return float((large - small).min())

    @property
    def ratio(self) -> float:
        """Largest smaller side / larger side; 1 means attained. An identity gives 1 + relative residual.

        A smaller side below 1e-8 counts as zero: it is rounding.
        """
        if self.relation == "=":
            size = np.maximum(np.maximum(np.abs(self.left), np.abs(self.right)), 1e-6)
            return float(1.0 + (np.abs(self.left - self.right) / size).max())
        small, large = self._ordered()
        counts = small > ROUNDING
        if not counts.any():
            return 0.0
        small, large = small[counts], large[counts]
        return float(np.where(large > 0, small / np.where(large > 0, large, 1.0), np.inf).max())

    def _ordered(self) -> tuple[FloatArray, FloatArray]:
        return (self.left, self.right) if self.relation == "<=" else (self.right, self.left)

    @property
    def holds(self) -> bool:
        """Whether the statement is true here, up to a relative 1e-7."""
        return self.ratio <= 1.0 + TOLERANCE

    def __repr__(self) -> str:
        left, right = (np.array2string(np.squeeze(s), precision=6) for s in (self.left, self.right))
        return f"{self.theorem}: {left} {self.relation} {right} (slack {self.slack:.3g}, ratio {self.ratio:.6g})"


@dataclass(frozen=True, eq=False)
class Theorem(Generic[P, R]):
    """A statement `left <= function(...)`, `>=` or `=`; call it to evaluate the right side.

    Attributes
    ----------
    name : str
        Name by content: `bounds.<name>`.
    label : str
        The paper's number, and in brackets which form this is.
    equation : str
        Number in docs/theory.
    form : str
        "paper" for the form as published (or its likeliest reading), "sharp" for the best constant or
        strongest form known, "consequence" for the rest.
    assumes : tuple of Assumption
        Frozen hypotheses; `check` refuses a world that does not meet them.
    source : str
        Where it comes from.
    relation : str
        "<=", ">=" or "=".
    family : Family
        The worlds it speaks about, drawn at random or searched for a counterexample.
    unattained : str
        Why no world attains it, where there is no tight example.
    """

    function: Callable[P, R]
    name: str
    label: str
    equation: str
    left: str
    form: str
    source: str
    assumes: tuple[Assumption, ...]
    family: Family
    sides: Callable[[Any, Callable[..., Any]], Sides] = field(repr=False)
    symbolic: Callable[[], Any] = field(repr=False)
    right: str | None = None
    relation: str = "<="
    tight: Callable[[], Any] | None = field(default=None, repr=False)
    unattained: str = ""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    @property
    def expr(self) -> Any:
        """The right side as a sympy expression in the function's parameters (vectors as name_0, name_1)."""
        return self.symbolic()

    @property
    def latex(self) -> str:
        """The statement in LaTeX; the right side is printed from `expr` unless it is a mean over a law."""
        from bounds.framework.symbolic import latex

        sign = {"<=": r"\le", ">=": r"\ge", "=": "="}[self.relation]
        return f"{self.left} {sign} {self.right or latex(self.expr)}"

    def check(self, world: Any) -> Check:
        """Both sides on a world that meets the assumptions.

        Raises
        ------
        TypeError
            If the statement is about another kind of world.
        AssumptionError
            If the world does not meet an assumption; the message names it.
        """
        if not isinstance(world, self.family.kind):
            raise TypeError(
                f"{self.name}: expected a world of kind {self.family.kind.__name__}, "
                f"got {type(world).__name__}; draw one with .family.random(rng)"
            )
        for assumption in self.assumes:
            if not assumption.holds(world):
                raise AssumptionError(
                    f"{self.name}: expected a world with {assumption.words}; this one does not meet it"
                )
        left, right = self.sides(world, self.function)
        pair = np.broadcast_arrays(
            np.atleast_1d(np.asarray(left, dtype=np.float64)),
            np.atleast_1d(np.asarray(right, dtype=np.float64)),
        )
        return Check(self.name, pair[0], pair[1], self.relation)

    def __repr__(self) -> str:
        return f"<{self.label} {self.equation}: bounds.{self.name}>"


def theorem(**statement: Any) -> Callable[[Callable[P, R]], Theorem[P, R]]:
    """Turn a numeric function into a theorem object; its fields are those of `Theorem`."""

    def wrap(function: Callable[P, R]) -> Theorem[P, R]:
        made = Theorem(function=function, name=function.__name__, **statement)
        # A function's name, signature and docstring are the theorem's too.
        for attribute in ("__doc__", "__module__", "__qualname__", "__name__"):
            object.__setattr__(made, attribute, getattr(function, attribute))
        object.__setattr__(made, "__wrapped__", function)
        return made

    return wrap
