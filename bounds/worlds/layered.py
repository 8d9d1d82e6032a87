"""Finite instances with many layers: the joint distribution of a task variable and the states of every layer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from bounds.worlds import exact_quantities
from bounds.worlds.finite import FiniteWorld, Rng
from bounds.worlds.points import cosine_distances
from redundancy.array_types import FloatArray, IntArray
from redundancy.display import Displayed


@dataclass(frozen=True, eq=False, repr=False)
class LayeredWorld(Displayed):
    """A finite joint distribution p(t, x_0, ..., x_k) of a task variable and k + 1 layers.

    Attributes
    ----------
    pmf : ndarray (n_t, n_0, ..., n_k)
        Joint probabilities.
    values : ndarray (n_t, m)
        Numeric value of each symbol of T.
    points : tuple of ndarray (n_i, d)
        Point of each state, layer by layer.
    """

    pmf: FloatArray
    values: FloatArray
    points: tuple[FloatArray, ...]

    def __post_init__(self) -> None:
        shape = (len(self.values), *(len(p) for p in self.points))
        if self.pmf.shape != shape or len(self.points) < 2:
            raise ValueError(f"pmf: expected shape {shape} with two or more layers, got {self.pmf.shape}")
        if not np.isfinite(self.pmf).all() or (self.pmf < 0).any() or abs(self.pmf.sum() - 1.0) > 1e-9:
            raise ValueError(
                f"pmf: expected probabilities that sum to one, got a sum of {self.pmf.sum()}; divide by it"
            )

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.points)

    def between(self, first: int, last: int, threshold: float = 0.5) -> FiniteWorld:
        """The world of T and two of the layers."""
        keep = (0, first + 1, last + 1)
        drop = tuple(axis for axis in range(self.pmf.ndim) if axis not in keep)
        return FiniteWorld(self.pmf.sum(axis=drop), self.values, self.points[first], self.points[last], threshold)

    @cached_property
    def steps(self) -> tuple[FiniteWorld, ...]:
        """The world of T and each pair of adjacent layers."""
        return tuple(self.between(i, i + 1) for i in range(self.layers - 1))

    @cached_property
    def ends(self) -> FiniteWorld:
        """The world of T, the first and the last layer."""
        return self.between(0, self.layers - 1)

    @cached_property
    def markov(self) -> bool:
        """Whether T - X_0 - X_1 - ... - X_k is a Markov chain."""
        for i in range(1, self.layers):
            past = self.pmf.sum(axis=tuple(range(i + 2, self.pmf.ndim)))
            block = past.reshape(prod(past.shape[:i]), past.shape[i], past.shape[i + 1])
            if exact_quantities.conditional_mutual_information(block.transpose(0, 2, 1)) > 1e-10:
                return False
        return True

    @cached_property
    def deterministic(self) -> bool:
        """Whether every layer is a function of the one before it."""
        return all(bool((np.count_nonzero(s.xy > 0, axis=1) <= 1).all()) for s in self.steps)

    def sample_codes(self, n: int, rng: Rng = None) -> tuple[IntArray, ...]:
        """Draw n tuples of symbols (t, x_0, ..., x_k)."""
        flat = self.pmf.ravel() / self.pmf.sum()
        cells = np.random.default_rng(rng).choice(flat.size, size=n, p=flat)
        return tuple(np.unravel_index(cells, self.pmf.shape))


def from_maps(
    joint: FloatArray, values: FloatArray, maps: tuple[IntArray, ...], points: tuple[FloatArray, ...]
) -> LayeredWorld:
    """Deterministic layers: joint p(t, x_0) and maps[i][x_i] = x_{i+1}."""
    sizes = [len(p) for p in points]
    pmf = np.zeros((len(values), *sizes))
    state: IntArray = np.arange(sizes[0])
    states: list[IntArray] = [state]
    for step in maps:
        state = np.asarray(step, dtype=np.int64)[state]
        states.append(state)
    index: tuple[slice | IntArray, ...] = (slice(None), *states)
    pmf[index] = joint
    return LayeredWorld(pmf, values, points)


def from_kernels(
    joint: FloatArray, values: FloatArray, kernels: tuple[FloatArray, ...], points: tuple[FloatArray, ...]
) -> LayeredWorld:
    """A Markov chain T - X_0 - X_1 - ...: joint p(t, x_0) and kernels[i][x_i, x_{i+1}]."""
    pmf = joint
    for kernel in kernels:
        pmf = pmf[..., :, None] * kernel
    return LayeredWorld(pmf, values, points)


def rotations(angles: FloatArray, size: int = 12) -> LayeredWorld:
    """Every layer turns a uniform point on the circle by a fixed angle: attains the angle bound (8.2)."""
    start = 2.0 * np.pi * np.arange(size) / size
    turned = start + np.concatenate([[0.0], np.cumsum(angles)])[:, None]
    points = tuple(np.stack([np.cos(a), np.sin(a)], axis=1) for a in turned)
    same = tuple(np.arange(size) for _ in angles)
    return from_maps(np.full((1, size), 1.0 / size), np.zeros((1, 1)), same, points)


def adjacent_distances(world: LayeredWorld) -> FloatArray:
    """Mean cosine distance between adjacent layers, shape (layers - 1,)."""
    pairs = zip(world.points[:-1], world.points[1:], world.steps, strict=True)
    return np.array([(step.xy * cosine_distances(a, b)).sum() for a, b, step in pairs])
