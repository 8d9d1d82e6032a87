"""The certificate of a BROJA answer: a coupling with the exact pair marginals, and a feasible dual point."""

from __future__ import annotations

import math

import numpy as np

from redundancy.array_types import FloatArray
from redundancy.information.finite_entropy import LEAST

EPS = float(np.finfo(np.float64).eps)
HIGHEST, LOWEST = 600.0, 1e-300  # exponents are lowered to this; a constraint with less counts as having this much
_sum = np.add.reduce


def round_to_marginals(q: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """Move the coupling q (law, x, t, y) to the pair marginals a (law, x, t) and b (law, t, y).

    Rows, then columns are scaled down to their marginals; the missing mass is spread as a product. The
    result is non-negative and has both marginals to the last digits, whatever q was.
    """
    q = q * _fraction(a, _sum(q, 3))[..., None]
    q = q * _fraction(b, _sum(q, 1))[:, None]
    lack_a = np.maximum(a - _sum(q, 3), 0.0)
    lack_b = np.maximum(b - _sum(q, 1), 0.0)
    total = np.maximum(_sum(lack_a, 1), _sum(lack_b, 2))[:, :, None]  # (law, t, 1)
    return np.asarray(q + lack_a[..., None] * (lack_b / np.maximum(total, LEAST))[:, None])


def _fraction(target: FloatArray, present: FloatArray) -> FloatArray:
    """At most 1; 0 where nothing is wanted and nothing is there."""
    return np.asarray(target / np.maximum(np.maximum(present, target), LEAST))


def bound_gap(
    q: FloatArray, u: FloatArray, v: FloatArray, a: FloatArray, b: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Round q, repair (u, v), and bound the duality gap of each distribution by weak duality (theory, section 9.5.1).

    The primal value is -H_Q(T | X, Y), the dual value sum a u + sum b v. Returns q with exact marginals, u
    repaired by a shift, and the gap per distribution.
    The gap contains an allowance for the rounding of both sums (about 1e-14): it is never below the true one.
    """
    laws = len(q)
    q = round_to_marginals(q, a, b)
    ratio = q / np.maximum(_sum(q, 2)[:, :, None], LEAST)
    primal = _sum((q * np.log(np.maximum(ratio, LEAST))).reshape(laws, -1), 1)  # no term is positive
    # a term u + v of -inf (a pair of probability zero) adds nothing to the constraint
    exponent = u[..., None] + v[:, None]
    peak = max(float(np.maximum.reduce(exponent, None)) - HIGHEST, 0.0)
    load = np.log(np.maximum(_largest(_sum(np.exp(exponent - peak if peak > 0 else exponent), 2)), LOWEST)) + peak
    masses = np.concatenate([a.reshape(laws, -1), b.reshape(laws, -1)], 1)
    duals = np.where(masses > 0, np.concatenate([u.reshape(laws, -1), v.reshape(laws, -1)], 1), 0.0)
    # u + v is rounded where its parts are large: shift by a little more than that
    shift = load + 4.0 * EPS * (1.0 + _largest(np.abs(duals)))
    terms, mass = masses * duals, _sum(a.reshape(laws, -1), 1)
    dual = _sum(terms, 1) - shift * mass
    size = _sum(np.abs(terms), 1) + (1.0 + np.abs(shift)) * mass - primal
    gap = primal - dual + EPS * (4.0 + math.log2(q[0].size)) * size
    return q, u - shift[:, None, None], gap


def _largest(values: FloatArray) -> FloatArray:
    """Of each law."""
    return np.asarray(np.maximum.reduce(values.reshape(len(values), -1), 1))
