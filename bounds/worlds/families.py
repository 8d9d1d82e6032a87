"""Families of finite instances (worlds): how to draw one at random, and how a vector of numbers becomes one.

A family turns logits (of a distribution) and free numbers (values, points, ...) into a world that meets a hypothesis
by construction. Random draws are dense, sparse or near-deterministic; an optimiser searches the same
vectors for a counterexample.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from typing import Any, Literal, TypeAlias

import numpy as np

from bounds.worlds.finite import FiniteWorld, Rng
from bounds.worlds.layered import LayeredWorld, from_kernels, from_maps
from bounds.worlds.pair import PairWorld
from bounds.worlds.points import on_sphere
from bounds.worlds.with_predictors import PredictedWorld
from redundancy.array_types import FloatArray

World: TypeAlias = Any  # an instance of the class that the family names as its `kind`
Build = Callable[[FloatArray, FloatArray], World]
TINY = 1e-60  # smaller probabilities are zero: products of a few of them must not underflow
ABSENT = -1e4  # a logit that far down is a probability of exactly zero


@dataclass(frozen=True)
class Variant:
    """One size of a family.

    Attributes
    ----------
    logits, free : int
        Number of logits of the distribution, and of the other numbers.
    build : callable
        `build(logits, free)` returns the world.
    """

    logits: int
    free: int
    build: Build

    @property
    def size(self) -> int:
        """Length of the search vector."""
        return self.logits + self.free

    def world(self, vector: FloatArray) -> World:
        """The world that a search vector describes."""
        return self.build(vector[: self.logits], vector[self.logits :])


@dataclass(frozen=True)
class Family:
    """Worlds of one class that meet one hypothesis by construction.

    Attributes
    ----------
    name : str
        What they are. The random draws of `bounds.verify` are seeded with it: another name, other draws.
    kind : type
        Their class.
    variants : tuple of Variant
        Their sizes, the smallest first.
    effort : int
        Evaluations of a search for a counterexample; fewer where a world is slow to solve.
    decomposed : callable
        The finite worlds inside one of this family whose BROJA decomposition a theorem needs.
    """

    name: str
    kind: type
    variants: tuple[Variant, ...]
    effort: int = 600
    decomposed: Callable[[World], tuple[FiniteWorld, ...]] = lambda _: ()

    def vector(self, rng: np.random.Generator, variant: Variant) -> FloatArray:
        """A random search vector: dense, sparse or near-deterministic."""
        style = rng.integers(3)
        logits = rng.standard_normal(variant.logits) * (1.0, 1.5, 6.0)[style]
        if style == 1:
            logits[rng.random(variant.logits) < 0.4] = ABSENT
        free = rng.standard_normal(variant.free) * (1.0, 0.3)[rng.integers(2)]
        return np.concatenate([logits, free])

    def random(self, rng: Rng = None) -> World:
        """A random world of any variant."""
        generator = np.random.default_rng(rng)
        variant = self.variants[generator.integers(len(self.variants))]
        return variant.world(self.vector(generator, variant))


def softmax_pmf(logits: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """A distribution on all cells; logits that are all absent become uniform."""
    return softmax_rows(logits, (1, logits.size)).reshape(shape)


def softmax_rows(logits: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """One distribution for each row."""
    table = logits.reshape(shape)
    e = np.exp(table - table.max(axis=1, keepdims=True))
    e[e < TINY] = 0.0
    out: FloatArray = e / e.sum(axis=1, keepdims=True)
    return out


def squash(u: float, top: float) -> float:
    """A number in (0, top)."""
    return top / (1.0 + math.exp(-min(max(u, -700.0), 700.0)))


def take(free: FloatArray, *shapes: tuple[int, ...]) -> list[FloatArray]:
    """Cut a vector into arrays of the given shapes."""
    parts, start = [], 0
    for shape in shapes:
        size = int(np.prod(shape))
        parts.append(free[start : start + size].reshape(shape))
        start += size
    return parts


def nonzero(points: FloatArray) -> FloatArray:
    """Rows that have a direction; a row that has none becomes the first axis."""
    zero = np.abs(points).max(axis=-1) < TINY
    if zero.any():
        points = points.copy()
        points[zero] = np.eye(points.shape[-1])[0]
    return points


def away_from_zero(points: FloatArray) -> FloatArray:
    """Rows on the unit sphere."""
    return on_sphere(nonzero(points))


Structure = Literal["joint", "t-x-y", "x-y-t", "t=x"]
# Numbers of symbols of T, X and Y, dimension of T's values, dimension of the points.
SIZES = ((2, 2, 2, 1, 2), (2, 3, 2, 1, 2), (3, 3, 3, 2, 3), (2, 5, 4, 2, 2))


def finite(
    structure: Structure, *, sphere: bool = True, sizes: tuple[tuple[int, ...], ...] = SIZES
) -> tuple[Variant, ...]:
    """Variants of FiniteWorld: any joint distribution, a Markov chain, or T = X; points on the sphere or anywhere."""
    return tuple(_finite(structure, sphere, *size) for size in sizes)


def _finite(structure: Structure, sphere: bool, n_t: int, n_x: int, n_y: int, m: int, d: int) -> Variant:
    if structure == "t=x":
        n_t = n_x
    logits = {
        "joint": n_t * n_x * n_y,
        "t-x-y": n_t * n_x + n_x * n_y,
        "x-y-t": n_t * n_y + n_x * n_y,
        "t=x": n_x * n_y,
    }[structure]

    def build(z: FloatArray, free: FloatArray) -> FiniteWorld:
        values, x, y, t = take(free, (n_t, m), (n_x, d), (n_y, d), (1,))
        if structure == "joint":
            pmf = softmax_pmf(z, (n_t, n_x, n_y))
        elif structure == "t-x-y":
            tx = softmax_pmf(z[: n_t * n_x], (n_t, n_x))
            pmf = tx[:, :, None] * softmax_rows(z[n_t * n_x :], (n_x, n_y))
        elif structure == "x-y-t":
            ty = softmax_pmf(z[: n_t * n_y], (n_t, n_y))
            pmf = ty[:, None, :] * softmax_rows(z[n_t * n_y :], (n_y, n_x)).T
        else:
            pmf = np.eye(n_x)[:, :, None] * softmax_pmf(z, (n_x, n_y))
        x, y = (away_from_zero(x), away_from_zero(y)) if sphere else (nonzero(x), nonzero(y))
        return FiniteWorld(pmf, values, x, y, squash(float(t[0]), 2.0))

    return Variant(logits, n_t * m + (n_x + n_y) * d + 1, build)


JOINT = Family("any joint distribution, points on the sphere", FiniteWorld, finite("joint"))
FREE_POINTS = Family("any joint distribution, points anywhere", FiniteWorld, finite("joint", sphere=False))
LABEL_CHAIN = Family("T - X - Y", FiniteWorld, finite("t-x-y"))
LATER_CHAIN = Family("X - Y - T", FiniteWorld, finite("x-y-t"))
TARGET_IS_X = Family("T = X", FiniteWorld, finite("t=x"))


def predicted(base: tuple[Variant, ...], *, logits: bool = False, head: bool = False) -> tuple[Variant, ...]:
    """Variants of PredictedWorld on given worlds, with free predictions (or free logits of T).

    With `head` the predictions are those of one map: coinciding points share theirs.
    """
    return tuple(_predicted(variant, logits, head) for variant in base)


def _predicted(base: Variant, logits: bool, head: bool) -> Variant:
    probe = base.world(np.zeros(base.size))
    n_x, n_y = len(probe.x_points), len(probe.y_points)
    m = len(probe.values) if logits else probe.values.shape[1]

    def build(z: FloatArray, free: FloatArray) -> PredictedWorld:
        world = base.build(z, free[: base.free])
        outputs = free[base.free :].reshape(n_x + n_y, m)
        if head:
            points = np.round(np.concatenate([world.x_points, world.y_points]), 9)
            _, first, which = np.unique(points, axis=0, return_index=True, return_inverse=True)
            outputs = outputs[first[which.ravel()]]
        return PredictedWorld(world, outputs[:n_x], outputs[n_x:])

    return Variant(base.logits, base.free + (n_x + n_y) * m, build)


PREDICTED = Family("two predictors, points on the sphere", PredictedWorld, predicted(finite("joint")))
FREE_PREDICTED = Family("two predictors, points anywhere", PredictedWorld, predicted(finite("joint", sphere=False)))
SMALL = ((2, 1, 1, 1, 2), (2, 2, 2, 1, 2), (3, 2, 3, 2, 2))
HEAD = Family("one predictor, points on the sphere", PredictedWorld, predicted(finite("joint", sizes=SMALL), head=True))
FREE_HEAD = Family(
    "one predictor, points anywhere",
    PredictedWorld,
    predicted(finite("joint", sphere=False, sizes=SMALL), head=True),
)
LOGITS_HEAD = Family(
    "logits, points on the sphere",
    PredictedWorld,
    predicted(finite("joint", sizes=SMALL), logits=True, head=True),
)
LOGITS_FREE_HEAD = Family(
    "logits, points anywhere",
    PredictedWorld,
    predicted(finite("joint", sphere=False, sizes=SMALL), logits=True, head=True),
)


ANSWERS = Family(
    "answers of two runs", PredictedWorld, predicted(finite("joint", sphere=False, sizes=SMALL), logits=True)
)


def codebook(codes: int) -> Variant:
    """X and Y on one regular polygon of codewords, any joint distribution; the threshold sets the size of a ball."""
    angles = 2.0 * np.pi * np.arange(codes) / codes
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1)

    def build(z: FloatArray, free: FloatArray) -> FiniteWorld:
        return FiniteWorld(
            softmax_pmf(z, (1, codes, codes)), np.zeros((1, 1)), points, points, squash(float(free[0]) - 0.5, 2.0)
        )

    return Variant(codes * codes, 1, build)


NO_TARGET = ((1, 2, 2, 1, 2), (1, 3, 2, 1, 2), (1, 5, 4, 1, 3))
CODES = Family(
    "two states with a codebook",
    FiniteWorld,
    (codebook(3), codebook(5), *finite("joint", sizes=NO_TARGET)),
)
COVERED_CODES = Family("two states on one codebook", FiniteWorld, (codebook(3), codebook(5)))


def retargeted(base: tuple[Variant, ...], change: Callable[[FloatArray], FloatArray]) -> tuple[Variant, ...]:
    """The same worlds with the values of T replaced by a function of them."""
    return tuple(_retargeted(variant, change) for variant in base)


def _retargeted(base: Variant, change: Callable[[FloatArray], FloatArray]) -> Variant:
    def build(z: FloatArray, free: FloatArray) -> FiniteWorld:
        world: FiniteWorld = base.build(z, free)
        return replace(world, values=change(world.values))

    return Variant(base.logits, base.free, build)


def _into_unit_ball(values: FloatArray) -> FloatArray:
    norms = np.sqrt((values**2).sum(axis=1, keepdims=True))
    out: FloatArray = values / np.maximum(norms, 1.0)
    return out


def _into_unit_interval(values: FloatArray) -> FloatArray:
    out: FloatArray = 1.0 / (1.0 + np.exp(-np.clip(values[:, :1], -700.0, 700.0)))
    return out


ONE_HOT_TARGET = Family("T one-hot", FiniteWorld, retargeted(finite("joint"), lambda v: np.eye(len(v))))
SIGN_TARGET = Family("T in the unit ball", FiniteWorld, retargeted(finite("joint"), _into_unit_ball))
UNIT_LOSS = Family("T scalar in [0, 1]", FiniteWorld, retargeted(finite("joint"), _into_unit_interval))
SCALAR_TARGET = Family("T scalar", FiniteWorld, retargeted(finite("joint"), lambda v: v[:, :1]))
TWO_VALUED = Family("T with two values", FiniteWorld, finite("joint", sizes=((2, 2, 2, 1, 2), (2, 3, 3, 1, 2))))


def sparse_codebook(codes: int) -> Variant:
    """As `codebook`, with a threshold so small that every ball holds one codeword or none."""
    base = codebook(codes)
    top = 1.0 - np.cos(2.0 * np.pi / codes)

    def build(z: FloatArray, free: FloatArray) -> FiniteWorld:
        world: FiniteWorld = base.build(z, free)
        return replace(world, threshold=squash(float(free[0]), 0.99 * top))

    return Variant(base.logits, base.free, build)


SPARSE_CODES = Family(
    "two states on one codebook of distant codes", FiniteWorld, (sparse_codebook(3), sparse_codebook(4))
)

# Decompositions are solved numerically: fewer symbols keep thousands of them cheap.
FEW = ((2, 2, 2, 1, 2), (3, 2, 2, 2, 2), (2, 3, 2, 1, 2))
SMALL_JOINT = Family(
    "any small joint distribution", FiniteWorld, finite("joint", sizes=FEW), effort=120, decomposed=lambda w: (w,)
)
SMALL_LABEL_CHAIN = Family(
    "small T - X - Y", FiniteWorld, finite("t-x-y", sizes=FEW), effort=120, decomposed=lambda w: (w,)
)
SMALL_COPIES = Family("small T = X", FiniteWorld, finite("t=x", sizes=FEW), effort=120, decomposed=lambda w: (w,))


def pairs(sizes: tuple[int, ...]) -> Variant:
    """Two distributions on the same symbols; the second moves away from the first by a free amount."""
    base = finite("joint", sizes=(sizes,))[0]

    def build(z: FloatArray, free: FloatArray) -> PairWorld:
        reach = np.exp(2.0 * free[0])
        first = base.build(z[: base.logits], free[1:])
        moved = np.clip(z[: base.logits] + reach * np.clip(z[base.logits :], -50.0, 50.0), -2e4, 2e4)
        return PairWorld(first, base.build(moved, free[1:]))

    return Variant(2 * base.logits, base.free + 1, build)


PAIRS = Family(
    "two distributions",
    PairWorld,
    (pairs((2, 2, 2, 1, 2)), pairs((1, 3, 2, 1, 2)), pairs((3, 2, 2, 1, 2))),
    effort=120,
    decomposed=lambda w: (w.first, w.second),
)


def layers(structure: Literal["joint", "chain", "maps"], states: tuple[int, ...], n_t: int = 2) -> Variant:
    """Worlds of many layers with unit-norm states: any joint distribution, a Markov chain, or deterministic maps."""
    moves = list(pairwise(states))
    logits = {
        "joint": n_t * prod(states),
        "chain": n_t * states[0] + sum(a * b for a, b in moves),
        "maps": n_t * states[0],
    }[structure]
    choices = sum(a * b for a, b in moves) if structure == "maps" else 0

    def build(z: FloatArray, free: FloatArray) -> LayeredWorld:
        values, *points = take(free[choices:], (n_t, 1), *((n, 3) for n in states))
        on_unit = tuple(away_from_zero(p) for p in points)
        if structure == "joint":
            return LayeredWorld(softmax_pmf(z, (n_t, *states)), values, on_unit)
        joint = softmax_pmf(z[: n_t * states[0]], (n_t, states[0]))
        if structure == "chain":
            tables = take(z[n_t * states[0] :], *moves)
            return from_kernels(joint, values, tuple(softmax_rows(k, k.shape) for k in tables), on_unit)
        maps = tuple(k.argmax(axis=1) for k in take(free[:choices], *moves))
        return from_maps(joint, values, maps, on_unit)

    return Variant(logits, choices + n_t + 3 * sum(states), build)


LAYERS = Family("many layers", LayeredWorld, (layers("joint", (2, 2, 2)), layers("joint", (2, 3, 2, 2))))
MARKOV_LAYERS = Family(
    "many layers, a Markov chain", LayeredWorld, (layers("chain", (2, 2, 2)), layers("chain", (3, 2, 2, 2)))
)
MAPPED_LAYERS = Family(
    "many deterministic layers", LayeredWorld, (layers("maps", (4, 3, 2)), layers("maps", (5, 4, 3, 3)))
)


def labelled(base: Variant, codes: int) -> Variant:
    """A codebook world with a binary label of X, so that T - X - Y."""

    def build(z: FloatArray, free: FloatArray) -> FiniteWorld:
        world: FiniteWorld = base.build(z[: base.logits], free)
        label = softmax_rows(z[base.logits :], (codes, 2)).T
        return replace(world, pmf=label[:, :, None] * world.pmf, values=np.array([[1.0], [-1.0]]))

    return Variant(base.logits + 2 * codes, base.free, build)


CODES_AND_LABEL = Family("T - X - Y on one codebook", FiniteWorld, (labelled(codebook(3), 3), labelled(codebook(5), 5)))
