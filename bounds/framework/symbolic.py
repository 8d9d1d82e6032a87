"""Symbols and special functions for the statements' sympy forms; sympy is loaded on first use.

These are written apart from the numeric code on purpose: a test compares the two.
"""

from __future__ import annotations

import re
from typing import Any

from redundancy.optional_imports import optional_import

_PRETTY = {
    "epsilon": r"\varepsilon",
    "t": "t",
    "p_far": "P_t",
    "p_far_upper": r"\bar p",
    "d_max": r"d_{\max}",
    "lipschitz": "L",
    "lipschitz_x": "L_1",
    "lipschitz_y": "L_2",
    "delta_x": r"\delta_X",
    "delta_y": r"\delta_Y",
    "radius": "B",
    "diameter": r"\mathsf{D}",
    "information": "I",
    "entropy": "H",
    "size": r"\lvert V\rvert",
    "n_min": r"N_{\min}",
    "n_max": r"N_{\max}",
    "p_min": r"p_{\min}",
    "p_max": r"p_{\max}",
    "omega": r"\omega",
    "mass": r"\alpha",
    "sigma": r"\sigma",
    "tv": "v",
    "variance": r"\mathrm{mmse}(Y\mid X)",
    "variance_y": r"\mathrm{mmse}(Y\mid X)",
    "variance_x": r"\mathrm{mmse}(X\mid Y)",
    "squared_distance": r"E\lVert X-Y\rVert^2",
    "distance": r"E\lVert X-Y\rVert",
    "error": r"E\lVert Y-h(X)\rVert^2",
    "share": "s",
    "d_xy": "d(x,y)",
    "d_yz": "d(y,z)",
    "norm_x": r"\lVert x\rVert",
    "norm_y": r"\lVert y\rVert",
    "inner": r"\langle x,y\rangle",
    "cosine": r"d_{\cos}",
    "steps": "d",
    "epsilons": r"\varepsilon",
    "beta": r"\beta",
    "largest": "M",
    "largest_image": r"\max_{\mathcal I}\lVert v_i\rVert",
    "tv_tx": "a",
    "tv_ty": "b",
    "norm_gap": r"E(\lVert X\rVert-\lVert Y\rVert)^2",
    "information_tx": "I(T;X)",
    "information_ty": "I(T;Y)",
    "information_tx_given_y": r"I(T;X\mid Y)",
    "information_ty_given_x": r"I(T;Y\mid X)",
    "entropy_x": r"H(X)",
    "entropy_x_given_y": r"H(X\mid Y)",
    "entropy_y_given_x": r"H(Y\mid X)",
    "entropy_t_given_y": r"H(T\mid Y)",
    "unique": "U",
    "deficiency": r"\delta",
    "classes": "K",
    "spread": r"(\beta-\alpha)",
    "decoding_error": "P_e",
}


def sp() -> Any:
    """The sympy module."""
    return optional_import("sympy", extra="symbolic", purpose="the symbolic form of a theorem")


def symbols(names: str) -> Any:
    """Positive symbols named after the numeric function's parameters; `a_0:3` makes a vector's entries."""
    return sp().symbols(names, positive=True)


def latex(expr: Any) -> str:
    """LaTeX with the field's letters for parameters."""
    sympy = sp()
    shown = {}
    for symbol in expr.free_symbols:
        stem, index = re.findall(r"^(.*?)((?:_\d+)*)$", symbol.name)[0]
        letter = _PRETTY.get(stem, stem.replace("_", r"\_") if "_" in stem else stem)
        places = index.replace("_", "")
        shown[symbol] = f"{{{letter}}}_{{{places}}}" if places else letter
    text: str = sympy.latex(expr, symbol_names=shown)
    return text


def h2(p: Any) -> Any:
    """Binary entropy."""
    s = sp()
    return -p * s.log(p) - (1 - p) * s.log(1 - p)


def divergence(r: Any, q: Any) -> Any:
    """Binary relative entropy."""
    s = sp()
    return r * s.log(r / q) + (1 - r) * s.log((1 - r) / (1 - q))


def kappa(e: Any) -> Any:
    """1 - ((1 - e)_+)^2."""
    s = sp()
    return 1 - s.Max(0, 1 - e) ** 2


def chi(p: Any) -> Any:
    """4 p (1 - p), cut at p = 1/2."""
    s = sp()
    return 1 - (1 - 2 * s.Min(p, s.Rational(1, 2))) ** 2


def eta(m: Any) -> Any:
    """log 2 - h_2((1 + m) / 2)."""
    s = sp()
    return s.log(2) - h2((1 + m) / 2)


def psi(information: Any) -> Any:
    """The inverse of zeta, evaluated by mpmath: (1 - 2 q)^2 with q <= 1/2 and h_2(q) = log 2 - information."""
    s = sp()

    class Psi(s.Function):  # type: ignore[misc, name-defined]
        nargs = 1

        def _latex(self, printer: Any, exp: Any = None) -> str:
            inside = rf"\psi\left({printer._print(self.args[0])}\right)"
            return inside if exp is None else f"{inside}^{{{exp}}}"

        def _eval_evalf(self, prec: int) -> Any:
            import mpmath

            with mpmath.workprec(2 * prec + 60):
                value = mpmath.mpf(self.args[0]._to_mpmath(2 * prec + 60))
                if value >= mpmath.log(2):
                    return s.Float(1, precision=prec)
                root = _bisect(value, mpmath)
            return s.Float(root, precision=prec)

    return Psi(information)


def _bisect(value: Any, mpmath: Any) -> Any:
    def zeta(x: Any) -> Any:
        m = mpmath.sqrt(x)
        return ((1 + m) * mpmath.log(1 + m) + (1 - m) * mpmath.log(1 - m)) / 2

    low, high = value / mpmath.log(2), min(mpmath.mpf(1), 2 * value)
    for _ in range(mpmath.mp.prec):
        middle = (low + high) / 2
        low, high = (middle, high) if zeta(middle) < value else (low, middle)
    return low
