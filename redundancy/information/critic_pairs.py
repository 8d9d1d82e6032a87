"""Matched and mismatched pairs of held-out rows, and what a critic's scores of them say about the information."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from redundancy.array_types import FloatArray, IntArray

SHIFTS = 16
CROSSINGS = 64  # mismatched pairs of rows scored between two images, at most
CEILINGS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0)
TEMPERATURES = (0.5, 0.75, 1.0)


class Critic(Protocol):
    """A score of pairs, fitted on other rows; any function is allowed, the log density ratio is the best one."""

    def log_ratio(self, x: FloatArray, y: FloatArray, /) -> FloatArray:
        """Score (m,) of paired rows x (m, d_x), y (m, d_y)."""


@runtime_checkable
class TwoSidedCritic(Protocol):
    """A critic that reads a few numbers of each side, so that a row that is in many pairs is read once."""

    def scores(self, x: FloatArray, y: FloatArray, /) -> tuple[FloatArray, FloatArray]:
        """What each side contributes (m, p), (m, q)."""

    def of_scores(self, f: FloatArray, g: FloatArray, /) -> FloatArray:
        """Score (m,) of pairs of such contributions."""


class CriticFitter(Protocol):
    """Fits a critic of your own, for instance a torch network."""

    def __call__(
        self,
        x: FloatArray,
        y: FloatArray,
        x_validation: FloatArray,
        y_validation: FloatArray,
        rng: np.random.Generator,
        /,
    ) -> Critic:
        """Fit on paired rows; stop or choose by the validation rows."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Rows of held-out matched pairs, and mismatched pairs of these rows from different images, with their weights.

    Every image counts the same, and every row of an image. `left` and `right` are places in `rows`.
    """

    rows: IntArray
    weight: FloatArray
    left: IntArray
    right: IntArray
    cross_weight: FloatArray

    def weights_of(self, mismatched: FloatArray) -> FloatArray:
        """Weights of the mismatched pairs scored: of all, or of the first so many."""
        w = self.cross_weight[: len(mismatched)]
        return np.asarray(w / w.sum())

    @classmethod
    def of(cls, rows: IntArray, group: IntArray, rng: np.random.Generator) -> Pairs:
        """All matched pairs of `rows`, and their mismatched pairs at a few random cyclic shifts."""
        rows = rng.permutation(rows)
        _, index, sizes = np.unique(group[rows], return_inverse=True, return_counts=True)
        weight = 1.0 / (sizes[index] * sizes.size)
        n = len(rows)
        shifts = 1 + rng.permutation(n - 1)[:SHIFTS]
        left = np.tile(np.arange(n), len(shifts))
        right = np.concatenate([np.roll(np.arange(n), s) for s in shifts])
        different = group[rows[left]] != group[rows[right]]
        left, right = left[different], right[different]
        cross = weight[left] * weight[right]
        return cls(rows, weight, left, right, cross)


def pair_scores(critic: Critic, x: FloatArray, y: FloatArray, pairs: Pairs) -> tuple[FloatArray, FloatArray]:
    """Scores of the matched pairs and of the mismatched ones; a quarter of these where a critic reads whole rows."""
    a, b = x[pairs.rows], y[pairs.rows]
    if isinstance(critic, TwoSidedCritic):
        f, g = critic.scores(a, b)
        return critic.of_scores(f, g), critic.of_scores(f[pairs.left], g[pairs.right])
    left, right = (side[: max(1, len(side) // 4)] for side in (pairs.left, pairs.right))
    return critic.log_ratio(a, b), critic.log_ratio(a[left], b[right])


def donsker_varadhan(matched: FloatArray, mismatched: FloatArray, pairs: Pairs) -> float:
    """E_P f - log E_Q exp f, at most I(X; Y) in the limit of many pairs, for scores f fitted on other rows."""
    top = float(mismatched.max())
    return float(pairs.weight @ matched) - top - float(np.log(pairs.weights_of(mismatched) @ np.exp(mismatched - top)))


@dataclass(frozen=True)
class Clipping:
    """g = clip(temperature * f, -ceiling - 2, ceiling) - constant, fixed before the certified pairs are scored."""

    temperature: float
    ceiling: float
    constant: float
    promise: float

    @property
    def ends(self) -> tuple[float, float]:
        """Smallest and largest g."""
        return -self.ceiling - 2.0 - self.constant, self.ceiling - self.constant

    @property
    def support(self) -> tuple[float, float]:
        """Range of 1 + g - exp(g') for any two values g and g'."""
        low, high = self.ends
        return 1.0 + low - float(np.exp(high)), 1.0 + high - float(np.exp(low))

    def of(self, scores: FloatArray) -> FloatArray:
        """g of scores f."""
        low, high = self.ends
        return np.clip(self.temperature * scores - self.constant, low, high)


def best_clipping(matched: FloatArray, mismatched: FloatArray, pairs: Pairs, *, units: int, alpha: float) -> Clipping:
    """The clipping that promises the highest lower limit from so many units, judged on validation pairs."""
    best = None
    log = -float(np.log(alpha))
    for temperature in TEMPERATURES:
        for ceiling in CEILINGS:
            start = Clipping(temperature, ceiling, 0.0, 0.0)
            constant = float(np.log(pairs.weights_of(mismatched) @ np.exp(start.of(mismatched))))
            choice = Clipping(temperature, ceiling, constant, 0.0)
            g, ratio = choice.of(matched), np.exp(choice.of(mismatched))
            mean = float(pairs.weight @ g)
            # Two matched and two mismatched rows per unit.
            variance = (
                float(pairs.weight @ (g - mean) ** 2) + float(pairs.weights_of(mismatched) @ (ratio - 1.0) ** 2)
            ) / 2
            low, high = choice.support
            promise = mean - float(np.sqrt(2 * log * variance / units)) - (high - low) * log / (3 * units)
            if best is None or promise > best.promise:
                best = Clipping(temperature, ceiling, constant, promise)
    assert best is not None
    return best


@dataclass(frozen=True, eq=False)
class CriticPairs:
    """One number per disjoint pair of held-out images, whose expectation is at most I(X; Y).

    Attributes
    ----------
    values : ndarray (units,)
        1 + the mean score of both images' matched rows - the mean exp(score) of their mismatched rows.
    support : (float, float)
        Range of a value, fixed on training rows.
    member : str
        The critic.
    """

    values: FloatArray
    support: tuple[float, float]
    member: str

    @classmethod
    def of(
        cls,
        critic: Critic,
        clipping: Clipping,
        x: FloatArray,
        y: FloatArray,
        rows: IntArray,
        group: IntArray,
        *,
        member: str,
        rng: np.random.Generator,
    ) -> CriticPairs:
        """Pair off the images of held-out rows at random."""
        images, index = np.unique(group[rows], return_inverse=True)
        order = np.argsort(index, kind="stable")
        of_image = np.split(rows[order], np.cumsum(np.bincount(index))[:-1])
        shuffled = rng.permutation(len(images))
        half = len(images) // 2
        first, second = shuffled[:half], shuffled[half : 2 * half]
        left, right, unit = [], [], []
        for number, (i, j) in enumerate(zip(first, second, strict=True)):
            a, b = _crossings(of_image[i], of_image[j], rng)
            left += [a, b]
            right += [b, a]
            unit.append(np.full(2 * len(a), number))
        crossed = np.exp(clipping.of(critic.log_ratio(x[np.concatenate(left)], y[np.concatenate(right)])))
        matched = clipping.of(critic.log_ratio(x[rows], y[rows]))
        per_image = np.bincount(index, matched) / np.bincount(index)
        units = np.concatenate(unit)
        mismatched = np.bincount(units, crossed, minlength=half) / np.bincount(units, minlength=half)
        low, high = clipping.support
        values = 1.0 + (per_image[first] + per_image[second]) / 2 - mismatched
        return cls(np.clip(values, low, high), (low, high), member)


def _crossings(a: IntArray, b: IntArray, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Rows of the first image crossed with rows of the second: all pairs, or random ones where these are many."""
    if len(a) * len(b) <= CROSSINGS:
        return np.repeat(a, len(b)), np.tile(b, len(a))
    return rng.choice(a, CROSSINGS), rng.choice(b, CROSSINGS)
