"""Exact entropies, informations (nats) and prediction errors of finite joint distributions.

A distribution is an array of probabilities with one axis per variable. Terms are summed so that small results
keep their relative accuracy: a divergence is a sum of non-negative terms, an error is centred first.
"""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy

from redundancy.array_types import FloatArray


def excess_log(u: FloatArray) -> FloatArray:
    """u - log(1 + u) >= 0 for u > -1, with full relative accuracy near 0 (where it is u^2 / 2)."""
    u = np.asarray(u, dtype=np.float64)
    near = np.abs(u) < 0.3
    v = np.where(near, u, 0.0)
    v = v / (2.0 + v)
    square = v * v
    # log(1 + u) = 2 artanh(v) with v = u / (2 + u); what is left after u is subtracted starts at v^2.
    series = np.zeros_like(v)
    for k in range(12, 0, -1):
        series = square * (1.0 / (2 * k + 1) + series)
    close = 2.0 * (square / (1.0 - v) - v * series)
    with np.errstate(divide="ignore"):
        far = u - np.log1p(np.where(near, 0.0, u))
    return np.where(near, close, far)


def relative_entropy(p: FloatArray, q: FloatArray) -> float:
    """D(p || q) of two distributions on the same cells; infinite where q vanishes and p does not."""
    p, q = np.asarray(p, dtype=np.float64), np.asarray(q, dtype=np.float64)
    if bool((q[p > 0] == 0).any()):
        return float(np.inf)
    positive = p > 0
    a, b = p[positive], q[positive]
    # Both distributions have mass one, so sum(q - p) = 0 may be added to every term.
    u = (b - a) / a
    near = np.abs(u) < 0.3
    # Far from 0, u has lost the digits of a ratio b / a that is tiny.
    terms = np.where(near, a * excess_log(np.where(near, u, 0.0)), a * (np.log(a) - np.log(b)) + (b - a))
    return float(terms.sum() + q[~positive].sum())


def entropy(pmf: FloatArray) -> float:
    """H of a distribution with any number of axes."""
    return max(0.0, float(-xlogy(pmf, pmf).sum()))  # a certain symbol may weigh 1 + 1e-16


def conditional_entropy(pmf: FloatArray) -> float:
    """H(A | B) for pmf[a, b]."""
    total = np.broadcast_to(pmf.sum(axis=0), pmf.shape)
    positive = pmf > 0
    return max(0.0, float(-(pmf[positive] * np.log(pmf[positive] / total[positive])).sum()))


def mutual_information(pmf: FloatArray) -> float:
    """I(A; B) for pmf[a, b]."""
    return relative_entropy(pmf, pmf.sum(axis=1, keepdims=True) * pmf.sum(axis=0, keepdims=True))


def conditional_mutual_information(pmf: FloatArray) -> float:
    """I(A; B | C) for pmf[a, b, c]."""
    c = pmf.sum(axis=(0, 1))
    a_c, b_c = pmf.sum(axis=1, keepdims=True), pmf.sum(axis=0, keepdims=True)
    # Divide before multiplying: a product of two tiny probabilities would underflow.
    independent = np.where(c > 0, a_c * (b_c / np.where(c > 0, c, 1.0)), 0.0)
    return relative_entropy(pmf, independent)


def conditional_mean(pmf: FloatArray, values: FloatArray) -> FloatArray:
    """E[Z | A = a] of shape (..., m) for pmf[z, ...] and values (n_z, m); 0 where a has no mass."""
    mass = pmf.sum(axis=0)
    weights = np.where(mass > 0, pmf / np.where(mass > 0, mass, 1.0), 0.0)
    means: FloatArray = (weights.reshape(len(values), -1).T @ values).reshape(*pmf.shape[1:], -1)
    return means


def mmse(pmf: FloatArray, values: FloatArray) -> float:
    """E || Z - E[Z | A] ||^2 for pmf[z, a] and values (n_z, m)."""
    residual = values[:, None, :] - conditional_mean(pmf, values)[None, :, :]
    return float((pmf * (residual**2).sum(axis=-1)).sum())


def variance(pmf: FloatArray, values: FloatArray) -> float:
    """E || Z - E Z ||^2 for weights pmf (n,) and values (n, m)."""
    centred = values - pmf @ values / pmf.sum()
    return float(pmf @ (centred**2).sum(axis=-1))


def bayes_accuracy(pmf: FloatArray) -> float:
    """Largest probability of predicting T from A correctly, for pmf[t, a]."""
    return float(pmf.max(axis=0).sum())


def total_variation(p: FloatArray, q: FloatArray) -> float:
    """Half the sum of absolute differences."""
    return float(0.5 * np.abs(p - q).sum())
