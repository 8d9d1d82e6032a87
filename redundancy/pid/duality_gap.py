"""The certificate of a BROJA answer: a coupling with the exact pair marginals, and a feasible dual point."""

from __future__ import annotations

import numpy as np

from redundancy.array_types import FloatArray

EPS = float(np.finfo(np.float64).eps)


def round_to_marginals(q: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """Move the coupling q (law, x, t, y) to the pair marginals a (law, x, t) and b (law, t, y).

    Rows, then columns are scaled down to their marginals; the missing mass is spread as a product. The
    result is non-negative and has both marginals to the last digits, whatever q was.
    """
    q = q * _fraction(a, q.sum(3))[..., None]
    q = q * _fraction(b, q.sum(1))[:, None]
    lack_a = np.maximum(a - q.sum(3), 0.0)
    lack_b = np.maximum(b - q.sum(1), 0.0)
    total = np.maximum(lack_a.sum(1), lack_b.sum(2))[:, :, None]  # (law, t, 1)
    share = np.divide(lack_b, total, out=np.zeros_like(lack_b), where=total > 0)
    return np.asarray(q + lack_a[..., None] * share[:, None])


def _fraction(target: FloatArray, present: FloatArray) -> FloatArray:
    return np.divide(target, present, out=np.ones_like(present), where=present > target)


def bound_gap(
    q: FloatArray, u: FloatArray, v: FloatArray, a: FloatArray, b: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Round q, repair (u, v), and bound the duality gap of each distribution by weak duality (theory, section 9.5.1).

    The primal value is -H_Q(T | X, Y), the dual value sum a u + sum b v. Returns q with exact marginals, u
    repaired by a shift, and the gap per distribution.
    The gap contains an allowance for the rounding of both sums (about 1e-14): it is never below the true one.
    """
    q = round_to_marginals(q, a, b)
    total = q.sum(2, keepdims=True)
    ratio = np.divide(q, total, out=np.ones_like(q), where=q > 0)
    terms = q * np.log(ratio)
    primal = terms.sum((1, 2, 3))
    # a term u + v of -inf (a pair of probability zero) adds nothing to the constraint
    exponent = u[..., None] + v[:, None]
    peak = np.maximum(exponent.max((1, 2, 3)), -700.0)[:, None, None]
    load = np.log(np.exp(exponent - peak[..., None]).sum(2).max((1, 2))) + peak[:, 0, 0]
    mass = a.sum((1, 2))
    # u + v is rounded where its parts are large: shift by a little more than that
    reach = np.where(a > 0, np.abs(u), 0.0).max((1, 2)) + np.where(b > 0, np.abs(v), 0.0).max((1, 2))
    u = u - (load + 2.0 * EPS * (2.0 + reach))[:, None, None]
    au = np.multiply(a, u, out=np.zeros_like(a), where=a > 0)
    bv = np.multiply(b, v, out=np.zeros_like(b), where=b > 0)
    dual = au.sum((1, 2)) + bv.sum((1, 2))
    size = np.abs(terms).sum((1, 2, 3)) + np.abs(au).sum((1, 2)) + np.abs(bv).sum((1, 2)) + mass
    gap = primal - dual + EPS * (4.0 + np.log2(q[0].size)) * size
    return q, u, gap
