"""A theorem is a function that states itself, evaluates itself and checks itself on a finite instance (world)."""

from __future__ import annotations

import html
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.docstrings import completed
from redundancy.array_types import FloatArray
from redundancy.display import Displayed

if TYPE_CHECKING:
    from bounds.framework.symbolic import Expression
    from bounds.worlds.families import Family

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)

Form: TypeAlias = Literal["paper", "sharp", "consequence"]
Reached: TypeAlias = Literal["attained", "limit", "trivial"]
Relation: TypeAlias = Literal["<=", ">=", "="]
World: TypeAlias = Any  # an instance of the class that the theorem's family names, tested at run time
Sides: TypeAlias = tuple[ArrayLike, ArrayLike]
Evaluate: TypeAlias = Callable[..., Any]  # the theorem's function: an array, or a tuple of arrays

# Sides below this are rounding; a ratio of two of them says nothing.
ROUNDING = 1e-8
TOLERANCE = 1e-7

_SIGNS = {"<=": r"\le", ">=": r"\ge", "=": "="}


@dataclass(frozen=True, repr=False)
class Assumption(Displayed):
    """A hypothesis of a theorem: defined once, in words, with a test that a world can be put to.

    Attributes
    ----------
    name : str
        Short name.
    words : str
        The hypothesis as a noun phrase, for sentences such as "expected a world with ...".
    holds : callable(world) -> bool
        Whether a world meets the hypothesis.
    standing : bool
        Whether every finite instance meets it by construction, so that it only needs to be stated.

    See Also
    --------
    Theorem : Lists its assumptions as `.assumes`.

    Examples
    --------
    >>> import bounds
    >>> bounds.functional_from_geometric.assumes[0]
    Assumption(name=unit norm, words=states of norm one)
    >>> print(bounds.functional_from_geometric.assumes[0])
    states of norm one
    """

    name: str
    words: str
    holds: Callable[[World], bool] = field(repr=False, compare=False)
    standing: bool = field(default=False, repr=False, compare=False)

    def __str__(self) -> str:
        return self.words

    def to_dict(self) -> dict[str, Any]:
        """Name and words, as plain text."""
        return {"name": self.name, "words": self.words}


class AssumptionError(ValueError):
    """Raised by `Theorem.check` when a world violates one of the theorem's assumptions.

    See Also
    --------
    Assumption : A hypothesis, in words and with its test.

    Examples
    --------
    >>> import bounds
    >>> from bounds.worlds import gallery
    >>> try:
    ...     bounds.unique_information_of_copy.check(gallery.sign_flip(0.2))
    ... except bounds.AssumptionError as error:
    ...     print(error)
    unique_information_of_copy: expected a world with T and X in bijection (T = X); this one does not meet it
    """


@dataclass(frozen=True, eq=False, repr=False)
class Check(Displayed):
    """Both sides of a statement on one world, as arrays: a statement may hold several inequalities.

    Attributes
    ----------
    theorem : str
        Name of the theorem.
    left, right : ndarray
        The two sides.
    relation : {"<=", ">=", "="}
        How they ought to compare.

    See Also
    --------
    Theorem : Its method `check` returns one.
    bounds.verify : Checks every statement.

    Examples
    --------
    >>> import bounds
    >>> from bounds.worlds import gallery
    >>> bounds.unique_information_lower.check(gallery.binary_channel(0.2))
    unique_information_lower: [0.192745 0. ] >= [0.192745 0. ] (slack 0, ratio 1)
    """

    theorem: str
    left: FloatArray
    right: FloatArray
    relation: Relation

    @property
    def slack(self) -> float:
        """Smallest difference between the larger and the smaller side; negative if the statement is false.

        For an identity: minus the largest absolute difference.
        """
        if self.relation == "=":
            return float(-np.abs(self.right - self.left).max())
        small, large = self._ordered()
        return float((large - small).min())

    @property
    def ratio(self) -> float:
        """Largest quotient smaller side / larger side; 1 means attained. An identity gives 1 + relative residual.

        A smaller side below 1e-8 counts as zero, because it is rounding.
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
        """Whether the statement is true on this world, up to a relative 1e-7."""
        return self.ratio <= 1.0 + TOLERANCE

    def to_dict(self) -> dict[str, Any]:
        """The fields with `slack`, `ratio` and `holds`, as plain values."""
        return {**super().to_dict(), "slack": self.slack, "ratio": self.ratio, "holds": self.holds}

    def __repr__(self) -> str:
        left, right = (
            " ".join(np.array2string(np.squeeze(side), precision=6, threshold=8, edgeitems=2).split())
            for side in (self.left, self.right)
        )
        return f"{self.theorem}: {left} {self.relation} {right} (slack {self.slack:.3g}, ratio {self.ratio:.6g})"


@dataclass(frozen=True, eq=False, repr=False)
class Theorem(Displayed, Generic[P, R_co]):
    """A statement `left <= function(...)`, `>=` or `=`; call it to evaluate the right side.

    Attributes
    ----------
    function : callable
        The numeric right side; calling the theorem calls it.
    name : str
        Name by content: `bounds.<name>`.
    label : str
        The paper's number, followed by the form in brackets.
    equation : str
        Number in docs/explanation/theory.
    left, right : str
        The two sides in LaTeX.
    form : {"paper", "sharp", "consequence"}
        "paper" for the form as published (or its likeliest reading), "sharp" for the best constant or
        strongest form known, "consequence" for the rest.
    source : str
        Where it comes from.
    assumes : tuple of Assumption
        Hypotheses; `check` refuses a world that does not meet them.
    family : Family
        The worlds it speaks about, drawn at random or searched for a counterexample.
    sides : callable(world, function) -> (left, right)
        Both sides on a world.
    symbolic : callable() -> sympy expression
        Builds `expr`, independently of the numeric function.
    relation : {"<=", ">=", "="}
        How the left side compares with the right side.
    tight : callable() -> world, or None
        A world on which the two sides agree, exactly or in the limit.
    unattained : str
        Why no world attains it, where there is no tight example.
    reached : {"attained", "limit", "trivial"}
        What the tight example shows, set by hand: equality, equality as a number of the example goes to its limit, or
        equality of two trivial sides.

    See Also
    --------
    bounds.find : Theorems by name, label or equation.
    bounds.verify : Search for counterexamples.

    Examples
    --------
    >>> import bounds
    >>> bounds.functional_from_geometric
    <Theorem 1 (3.3): bounds.functional_from_geometric(epsilon, lipschitz, *, exact=False)>
    >>> print(bounds.functional_from_geometric.latex)
    \\lvert\\mathrm{mmse}(Z\\mid X)-\\mathrm{mmse}(Z\\mid Y)\\rvert \\le L^2\\kappa(\\varepsilon)
    >>> world = bounds.functional_from_geometric.family.random(0)
    >>> bounds.functional_from_geometric.check(world).holds
    True
    """

    function: Callable[P, R_co]
    name: str
    label: str
    equation: str
    left: str
    right: str
    form: Form
    source: str
    assumes: tuple[Assumption, ...]
    family: Family
    sides: Callable[[World, Evaluate], Sides] = field(repr=False)
    symbolic: Callable[[], Expression] = field(repr=False)
    relation: Relation = "<="
    tight: Callable[[], World] | None = field(default=None, repr=False)
    unattained: str = ""
    reached: Reached = "attained"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        # Infinite arguments and results are fine: bounds are limits there. NaN is refused below.
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            result = self.function(*args, **kwargs)
        arguments.determined(result, name=self.name)
        return result

    @property
    def expr(self) -> Expression:
        """The right side as a sympy expression in the function's parameters (vectors as name_0, name_1)."""
        return self.symbolic()

    @property
    def latex(self) -> str:
        """The statement in LaTeX."""
        return f"{self.left} {_SIGNS[self.relation]} {self.right}"

    @property
    def hypotheses(self) -> str:
        """The assumptions in words, separated by semicolons; where there are none, a phrase that says so."""
        return "; ".join(a.words for a in self.assumes) or "nothing beyond what is said of the parameters"

    def check(self, world: World) -> Check:
        """Both sides on a world that meets the assumptions.

        Parameters
        ----------
        world : instance of `family.kind`
            For instance from `family.random(rng)` or from `bounds.worlds.gallery`.

        Returns
        -------
        Check
            Both sides, with `slack`, `ratio` and `holds`.

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

    def to_dict(self) -> dict[str, Any]:
        """What the theorem states, as plain text: no functions, no worlds."""
        return {
            "name": self.name,
            "label": self.label,
            "equation": self.equation,
            "form": self.form,
            "statement": self.latex,
            "assumes": [a.words for a in self.assumes],
            "source": self.source,
            "unattained": self.unattained,
            "reached": self.reached if self.tight else "",
        }

    def _call(self) -> str:
        names = [
            p.replace(annotation=inspect.Parameter.empty) for p in inspect.signature(self.function).parameters.values()
        ]
        return f"bounds.{self.name}{inspect.Signature(names)}"

    def __repr__(self) -> str:
        return f"<{self.label} {self.equation}: {self._call()}>"

    def _repr_html_(self) -> str:
        """The statement in LaTeX with its label, form and assumptions, for notebooks."""
        label, call, assumed = (
            html.escape(text) for text in (f"{self.label} {self.equation}", self._call(), self.hypotheses)
        )
        return (
            f"<p><strong>{label}</strong> ({self.form}): <code>{call}</code></p>"
            f"$${html.escape(self.latex, quote=False)}$$<p>Assumes {assumed}.</p>"
        )


AnyTheorem: TypeAlias = Theorem[..., object]


def theorem(
    *,
    label: str,
    equation: str,
    left: str,
    right: str,
    form: Form,
    source: str,
    assumes: tuple[Assumption, ...],
    family: Family,
    sides: Callable[[World, Evaluate], Sides],
    symbolic: Callable[[], Expression],
    relation: Relation = "<=",
    tight: Callable[[], World] | None = None,
    unattained: str = "",
    reached: Reached = "attained",
) -> Callable[[Callable[P, R_co]], Theorem[P, R_co]]:
    """Turn a numeric function into a theorem object; the arguments are the fields of `Theorem`.

    The function's docstring holds what is particular to it; errors, statement, assumptions and source are added.
    """

    def wrap(function: Callable[P, R_co]) -> Theorem[P, R_co]:
        statement = Theorem(
            function=function,
            name=function.__name__,
            label=label,
            equation=equation,
            left=left,
            right=right,
            form=form,
            source=source,
            assumes=assumes,
            family=family,
            sides=sides,
            symbolic=symbolic,
            relation=relation,
            tight=tight,
            unattained=unattained,
            reached=reached,
        )
        # A function's name, signature and module are the theorem's too; __wrapped__ lets inspect and doctest see it.
        for attribute in ("__module__", "__qualname__", "__name__"):
            object.__setattr__(statement, attribute, getattr(function, attribute))
        object.__setattr__(statement, "__wrapped__", function)
        object.__setattr__(statement, "__doc__", completed(function.__doc__ or "", statement))
        return statement

    return wrap
