"""Right sides evaluated with 400 digits from their symbolic forms."""

from __future__ import annotations

import functools

import mpmath as mp
import sympy

from bounds.framework.symbolic import curve_point


def psi(information):
    """Inverse of zeta by bisection; a series where the closed form would need too many digits."""
    if information >= mp.log(2):
        return mp.mpf(1)
    if information < mp.mpf(10) ** -100:
        return 2 * information - 2 * information**2 / 3

    def zeta(x):
        m = mp.sqrt(x)
        return ((1 + m) * mp.log(1 + m) + (1 - m) * mp.log(1 - m)) / 2

    low, high = information / mp.log(2), min(mp.mpf(1), 2 * information)
    for _ in range(140):
        middle = (low + high) / 2
        low, high = (middle, high) if zeta(middle) < information else (low, middle)
    return (low + high) / 2


def curve(divergence):
    """The tight Pinsker curve: closed forms with hyperbolic functions, no series."""
    return curve_point(divergence, mp)


@functools.cache
def compiled(theorem):
    """The symbolic form as a function of keyword arguments in mpmath numbers."""
    names = sorted(symbol.name for symbol in theorem.expr.free_symbols)
    by_name = {s.name: s for s in theorem.expr.free_symbols}
    function = sympy.lambdify(
        [by_name[n] for n in names], theorem.expr, modules=[{"Psi": psi, "Curve": curve}, "mpmath"]
    )
    return lambda values: function(*(mp.mpf(values[n]) for n in names))


def right_side(theorem, values: dict[str, float]):
    """The symbolic right side at the given values, to 400 digits."""
    with mp.workdps(400):
        return mp.mpf(compiled(theorem)(values))
