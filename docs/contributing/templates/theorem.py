"""Theorem N: what follows from what, in one line. Copy to bounds/theorems/theorem_n_subject.py."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import OURS
from bounds.framework.symbolic import symbols
from bounds.framework.theorem import theorem
from bounds.worlds import gallery
from bounds.worlds.families import JOINT
from bounds.worlds.finite import FiniteWorld
from redundancy.array_types import FloatArray


def _right() -> Any:
    """The right side again, in sympy; the tests compare it with the function below."""
    information, radius = symbols("information radius")
    return 2 * radius**2 * information


def _sides(world: FiniteWorld, bound: Any) -> Any:
    """Both sides on a finite instance: the truth, and the bound from other truths of the same instance."""
    return world.lost_without_x, bound(world.information_tx_given_y, world.radius)


@theorem(
    label="Theorem N (form)",
    equation="(7.1)",  # the number on the theory page
    left=r"\mathrm{mmse}(T\mid Y)-\mathrm{mmse}(T\mid X,Y)",
    right=r"2B^2\,I(T;X\mid Y)",
    form="consequence",  # or "paper", "sharp"
    source=OURS,
    assumes=(),
    family=JOINT,
    sides=_sides,
    symbolic=_right,
    tight=lambda: gallery.binary_channel(0.49),
)
def gap_from_something(information: ArrayLike, radius: ArrayLike) -> FloatArray:
    """One line: the quantity on the left from the quantities in the parameters.

    Parameters
    ----------
    information : array, >= 0
        I(T; X | Y) in nats, or an upper bound on it.
    radius : array, >= 0
        B with ||T - c|| <= B.

    Returns
    -------
    ndarray
        Upper bound on mmse(T | Y) - mmse(T | X, Y), in units of T squared (7.1).

    Raises
    ------
    ValueError
        A negative or infinite argument.

    Examples
    --------
    >>> import bounds
    >>> float(bounds.functional_from_information_linear(0.1, 1.0))
    0.2
    """
    i = arguments.nonnegative(information, name="information")
    b = arguments.nonnegative(radius, name="radius")
    return arguments.shown(2 * b**2 * i)
