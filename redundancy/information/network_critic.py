"""A two-tower network as a critic, trained to tell matched pairs from mismatched ones (InfoNCE).

The score of a pair is the log ratio of a copula plus a(x) + b(y) + f(x) . g(y), with (f, a) and (g, b) the outputs of
two small networks. It starts at the copula and stops at the best validation score, so that it does not fall behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from redundancy.array_types import FloatArray, IntArray
from redundancy.information.canonical_critic import CanonicalCritic
from redundancy.information.copula_critics import Copula
from redundancy.information.critic_pairs import Pairs, donsker_varadhan, pair_scores
from redundancy.information.normal_scores import RankScale, quantiles

Small = NDArray[np.float32]
HIDDEN, OUTPUTS, BATCH, RATE, DECAY = 64, 16, 400, 2e-3, 1e-4
EPOCHS, PATIENCE = 60, 6


@dataclass(frozen=True, eq=False)
class NetworkCritic:
    """The copula's log ratio plus what the towers add."""

    copula: Copula | CanonicalCritic
    towers: tuple[Tower, Tower]

    def log_ratio(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Score of paired rows (m,), an approximation of log p(x, y) / (p(x) p(y))."""
        return self.of_scores(*self.scores(x, y))

    def scores(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Outputs of each side's tower beside the scores of the copula."""
        f, g = (tower.outputs(rows).astype(np.float64) for tower, rows in zip(self.towers, (x, y), strict=True))
        zx, zy = self.copula.scores(x, y)
        return np.hstack([f, zx]), np.hstack([g, zy])

    def of_scores(self, f: FloatArray, g: FloatArray) -> FloatArray:
        """Score of paired rows of scores (m,)."""
        added = (f[:, :OUTPUTS] * g[:, :OUTPUTS]).sum(1) + f[:, OUTPUTS] + g[:, OUTPUTS]
        return np.asarray(self.copula.of_scores(f[:, OUTPUTS + 1 :], g[:, OUTPUTS + 1 :]) + added)


@dataclass(frozen=True, eq=False)
class Tower:
    """Features of one side and the weights of its network (two hidden layers)."""

    features: Features
    weights: list[Small]

    def outputs(self, rows: FloatArray) -> Small:
        """Outputs (m, OUTPUTS + 1) for rows of the layer."""
        return _forward(self.weights, self.features.of(rows))[-1]


@dataclass(frozen=True, eq=False)
class Features:
    """Normal scores, standardised columns and the squared norms of both."""

    scale: RankScale
    centre: FloatArray
    spread: FloatArray
    norms: FloatArray

    @classmethod
    def fit(cls, x: FloatArray) -> Features:
        """Learn the features' scales from rows x (n, d)."""
        low, centre, high = np.quantile(x, [0.16, 0.5, 0.84], axis=0)
        spread = (high - low) / 2
        spread = np.where(spread > 0, spread, x.std(0) + 1e-300)
        start = cls(RankScale.fit(x), centre, spread, np.array([0.0, 0.0, 1.0, 1.0]))
        norm = start._columns(x)[:, -2:]
        return cls(start.scale, centre, spread, np.concatenate([norm.mean(0), norm.std(0) + 1e-12]))

    def of(self, x: FloatArray) -> Small:
        """Features (m, 2 d + 2) of rows x (m, d)."""
        columns = self._columns(x)
        columns[:, -2:] = (columns[:, -2:] - self.norms[:2]) / self.norms[2:]
        return columns.astype(np.float32)

    def _columns(self, x: FloatArray) -> FloatArray:
        z = quantiles(self.scale.uniform(x), np.inf)
        raw = np.clip((x - self.centre) / self.spread, -4.0, 4.0)
        return np.hstack([z, raw, (z**2).sum(1, keepdims=True), (raw**2).sum(1, keepdims=True)])


def network_critic(
    x: FloatArray,
    y: FloatArray,
    fit: IntArray,
    judge: Pairs,
    copula: Copula | CanonicalCritic,
    *,
    group: IntArray,
    rng: np.random.Generator,
) -> NetworkCritic:
    """Train on rows `fit` of (x, y), and keep the weights with the highest bound on the validation pairs.

    Parameters
    ----------
    x, y : ndarray (n, d_x), (n, d_y)
        Paired rows.
    fit : ndarray of int
        Rows to train on.
    judge : Pairs
        Validation pairs to stop by.
    copula : Copula
        Where the score starts.
    group : ndarray (n,)
        Rows of one group never form a mismatched pair.
    rng : Generator
        Starting weights and batches.
    """
    sides = [Features.fit(x[fit]), Features.fit(y[fit])]
    inputs = [side.of(rows[fit]) for side, rows in zip(sides, (x, y), strict=True)]
    weights = [_start(f.shape[1], rng) for f in inputs]
    flat = [w for tower in weights for w in tower]
    moments = [(np.zeros_like(w), np.zeros_like(w)) for w in flat]
    zx, zy = copula.scores(x[fit], y[fit])
    group = group[fit]

    def critic() -> NetworkCritic:
        towers = (Tower(sides[0], [w.copy() for w in weights[0]]), Tower(sides[1], [w.copy() for w in weights[1]]))
        return NetworkCritic(copula, towers)

    judged = [side.of(rows[judge.rows]) for side, rows in zip(sides, (x, y), strict=True)]
    offsets = pair_scores(copula, x, y, judge)

    def bound() -> float:
        f, g = (_forward(w, rows)[-1].astype(np.float64) for w, rows in zip(weights, judged, strict=True))
        alone, products = f[:, -1:] + g[:, -1:].T, f[:, :-1] @ g[:, :-1].T
        added = alone + products
        return donsker_varadhan(offsets[0] + np.diag(added), offsets[1] + added[judge.left, judge.right], judge)

    best = critic()
    best_score, since, step = bound(), 0, 0
    for _ in range(EPOCHS):
        order = rng.permutation(len(fit))
        for rows in np.array_split(order, max(1, round(len(fit) / BATCH))):
            step += 1
            offset = copula.matrix(zx[rows], zy[rows]).astype(np.float32)
            same = group[rows][:, None] == group[rows][None, :]
            np.fill_diagonal(same, False)
            offset[same] = -np.inf
            gradient = _gradient(weights, [side[rows] for side in inputs], offset)
            _adam(flat, gradient, moments, step)
        value = bound()
        since += 1
        if value > best_score:
            best, best_score, since = critic(), value, 0
        if since >= PATIENCE:
            break
    return best


def _start(inputs: int, rng: np.random.Generator) -> list[Small]:
    """Weights and biases of three layers; the last one starts near 0."""
    sizes = (inputs, HIDDEN, HIDDEN, OUTPUTS + 1)
    out: list[Small] = []
    for number, (a, b) in enumerate(pairwise(sizes)):
        gain = 0.1 if number == 2 else 1.0
        out.append((rng.standard_normal((a, b)) * gain * np.sqrt(2.0 / a)).astype(np.float32))
        out.append(np.zeros(b, dtype=np.float32))
    return out


def _forward(w: list[Small], x: Small) -> list[Small]:
    """Inputs and activations of every layer."""
    first = np.maximum(x @ w[0] + w[1], 0)
    second = np.maximum(first @ w[2] + w[3], 0)
    return [x, first, second, second @ w[4] + w[5]]


def _gradient(weights: list[list[Small]], inputs: list[Small], offset: Small) -> list[Small]:
    """Gradient of the symmetric InfoNCE loss of one batch, in the order of the weights."""
    left, right = (_forward(w, x) for w, x in zip(weights, inputs, strict=True))
    f, g = left[-1], right[-1]
    score = offset + f[:, :-1] @ g[:, :-1].T + f[:, -1:] + g[:, -1:].T
    n = len(score)
    by_row = np.exp(score - score.max(1, keepdims=True))
    by_row /= by_row.sum(1, keepdims=True)
    by_column = np.exp(score - score.max(0, keepdims=True))
    by_column /= by_column.sum(0, keepdims=True)
    d = (by_row + by_column) / (2 * n)
    d[np.arange(n), np.arange(n)] -= 1.0 / n
    df = np.hstack([d @ g[:, :-1], d.sum(1, keepdims=True)])
    dg = np.hstack([d.T @ f[:, :-1], d.sum(0)[:, None]])
    return [*_backward(weights[0], left, df), *_backward(weights[1], right, dg)]


def _backward(w: list[Small], layers: list[Small], d: Small) -> list[Small]:
    out: list[Small] = []
    for number in (2, 1, 0):
        out = [layers[number].T @ d, d.sum(0), *out]
        if number:
            d = (d @ w[2 * number].T) * (layers[number] > 0)
    return out


def _adam(weights: list[Small], gradient: list[Small], moments: list[tuple[Small, Small]], step: int) -> None:
    """One step of Adam with decoupled weight decay, in place."""
    rate = RATE * np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
    for w, g, (m, v) in zip(weights, gradient, moments, strict=True):
        m += 0.1 * (g - m)
        v += 0.001 * (g * g - v)
        w -= (rate * m / (np.sqrt(v) + 1e-8) + (RATE * DECAY * w if w.ndim == 2 else 0.0)).astype(np.float32)
