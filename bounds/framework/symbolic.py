"""Symbols and special functions for the statements' sympy forms; sympy is loaded on first use.

They are written independently of the numeric code: a test compares the two.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from redundancy.optional_imports import optional_import

# A sympy expression, symbol or module, or an mpmath number: neither package has type information.
Expression: TypeAlias = Any


def sp() -> Expression:
    """The sympy module."""
    return optional_import("sympy", extra="symbolic", purpose="the symbolic form of a theorem")


def symbols(names: str) -> Expression:
    """Positive symbols named after the numeric function's parameters; `a_0:3` makes a vector's entries."""
    return sp().symbols(names, positive=True)


def h2(p: Expression) -> Expression:
    """Binary entropy."""
    s = sp()
    return -p * s.log(p) - (1 - p) * s.log(1 - p)


def divergence(r: Expression, q: Expression) -> Expression:
    """Binary relative entropy."""
    s = sp()
    return r * s.log(r / q) + (1 - r) * s.log((1 - r) / (1 - q))


def kappa(e: Expression) -> Expression:
    """1 - ((1 - e)_+)^2."""
    s = sp()
    return 1 - s.Max(0, 1 - e) ** 2


def chi(p: Expression) -> Expression:
    """4 p (1 - p), cut at p = 1/2."""
    s = sp()
    return 1 - (1 - 2 * s.Min(p, s.Rational(1, 2))) ** 2


def eta(m: Expression) -> Expression:
    """log 2 - h_2((1 + m) / 2)."""
    s = sp()
    return s.log(2) - h2((1 + m) / 2)


def psi(information: Expression) -> Expression:
    """The inverse of zeta, evaluated by mpmath: (1 - 2 q)^2 with q <= 1/2 and h_2(q) = log 2 - information."""
    s = sp()

    class Psi(s.Function):  # type: ignore[misc, name-defined]
        nargs = 1

        def _eval_evalf(self, prec: int) -> Expression:
            import mpmath

            with mpmath.workprec(2 * prec + 60):
                value = mpmath.mpf(self.args[0]._to_mpmath(2 * prec + 60))
                if value >= mpmath.log(2):
                    return s.Float(1, precision=prec)
                root = _bisect(value, mpmath)
            return s.Float(root, precision=prec)

    return Psi(information)


def total_variation_curve(d: Expression) -> Expression:
    """The largest p - q with d(p || q) <= d, evaluated by mpmath from hyperbolic functions."""
    s = sp()

    class Curve(s.Function):  # type: ignore[misc, name-defined]
        nargs = 1

        def _eval_evalf(self, prec: int) -> Expression:
            import mpmath

            with mpmath.workprec(2 * prec + 60):
                root = curve_point(mpmath.mpf(self.args[0]._to_mpmath(2 * prec + 60)), mpmath)
            return s.Float(root, precision=prec)

    return Curve(d)


def curve_point(value: Expression, mpmath: Expression) -> Expression:
    """The total variation on the tight Pinsker curve at a divergence, by bisection in the curve's parameter."""
    if value < mpmath.mpf(10) ** -40:
        return mpmath.sqrt(value / 2) * (1 - value / 18)
    if value > 80:
        return 1 - mpmath.exp(-value)

    def divergence_at(u: Expression) -> Expression:
        return mpmath.log(u / mpmath.sinh(u)) + u * mpmath.coth(u) - (u / mpmath.sinh(u)) ** 2

    low, high = mpmath.sqrt(2 * value), mpmath.sqrt(2 * value) * mpmath.exp(value + 1)
    for _ in range(200):
        middle = mpmath.sqrt(low * high)
        low, high = (middle, high) if divergence_at(middle) < value else (low, middle)
    return low * (1 - (mpmath.coth(low) - 1 / low) ** 2) / 2


def _bisect(value: Expression, mpmath: Expression) -> Expression:
    def zeta(x: Expression) -> Expression:
        m = mpmath.sqrt(x)
        return ((1 + m) * mpmath.log(1 + m) + (1 - m) * mpmath.log(1 - m)) / 2

    low, high = value / mpmath.log(2), min(mpmath.mpf(1), 2 * value)
    for _ in range(mpmath.mp.prec):
        middle = (low + high) / 2
        low, high = (middle, high) if zeta(middle) < value else (low, middle)
    return low
