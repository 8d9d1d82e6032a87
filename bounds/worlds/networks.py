"""Paths of points and small residual networks run twice: the worlds of the triangle and skipping statements."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from redundancy.array_types import FloatArray


@dataclass(frozen=True, eq=False)
class PathWorld:
    """Points x_0, ..., x_k in a Euclidean space, shape (k + 1, d)."""

    points: FloatArray

    @property
    def steps(self) -> FloatArray:
        """Lengths of the k steps."""
        return norm(np.diff(self.points, axis=0))

    @property
    def direct(self) -> float:
        """Length of x_k - x_0."""
        return float(norm(self.points[-1] - self.points[0]))


@dataclass(frozen=True, eq=False)
class ResidualWorld:
    """h <- h + A h + C tanh(h) through L layers, once in full and once with some layers skipped.

    Attributes
    ----------
    start : ndarray (d,)
    linear, curved : ndarray (L, d, d)
        The matrices A and C of each layer.
    skipped : ndarray (L,) of bool
    """

    start: FloatArray
    linear: FloatArray
    curved: FloatArray
    skipped: NDArray[np.bool_]

    def _branch(self, layer: int, h: FloatArray) -> FloatArray:
        out: FloatArray = self.linear[layer] @ h + self.curved[layer] @ np.tanh(h)
        return out

    @cached_property
    def full(self) -> FloatArray:
        """States h_0, ..., h_L of the full run, shape (L + 1, d)."""
        states = [self.start]
        for layer in range(len(self.linear)):
            states.append(states[-1] + self._branch(layer, states[-1]))
        return np.array(states)

    @cached_property
    def error(self) -> float:
        """Distance between the two runs at the end."""
        h = self.start
        for layer in range(len(self.linear)):
            h = h if self.skipped[layer] else h + self._branch(layer, h)
        return float(norm(h - self.full[-1]))

    @property
    def norms(self) -> FloatArray:
        """|| F_l(h_l) || in the full run, shape (L,)."""
        return norm(np.diff(self.full, axis=0))

    @property
    def lipschitz(self) -> FloatArray:
        """A Lipschitz constant of id + F_l, shape (L,)."""
        eye = np.eye(len(self.start))
        return spectral(eye + self.linear) + spectral(self.curved)


@dataclass(frozen=True, eq=False)
class TwoStreamWorld:
    """Text t and image v: t <- (I + P) t + Q tanh(v), v <- (I + S) v + R tanh(t), run in full and skipped.

    Text alone follows t <- (I + P) t. Image tokens enter at layer `entry` as they were at layer 0, and
    leave at layer `exit`.

    Attributes
    ----------
    text, image : ndarray (d,)
    maps : ndarray (L, 4, d, d)
        P, Q, R, S of each layer.
    entry, exit : int
    """

    text: FloatArray
    image: FloatArray
    maps: FloatArray
    entry: int
    exit: int

    def _full(self, layer: int, t: FloatArray, v: FloatArray) -> tuple[FloatArray, FloatArray]:
        p, q, r, s = self.maps[layer]
        return t + p @ t + q @ np.tanh(v), v + s @ v + r @ np.tanh(t)

    def _text_only(self, layer: int, t: FloatArray) -> FloatArray:
        out: FloatArray = t + self.maps[layer, 0] @ t
        return out

    @cached_property
    def full(self) -> list[tuple[FloatArray, FloatArray]]:
        """States of the full run."""
        states = [(self.text, self.image)]
        for layer in range(len(self.maps)):
            states.append(self._full(layer, *states[-1]))
        return states

    @cached_property
    def skipped(self) -> list[tuple[FloatArray, FloatArray]]:
        """States of the skipped run."""
        states = [(self.text, self.image)]
        for layer in range(len(self.maps)):
            t, v = states[-1]
            if self.entry <= layer < self.exit:
                states.append(self._full(layer, t, v))
            else:
                states.append((self._text_only(layer, t), v))
        return states

    def text_error(self, layer: int) -> float:
        """e_l."""
        return float(norm(self.full[layer][0] - self.skipped[layer][0]))

    def image_error(self, layer: int) -> float:
        """f_l."""
        return float(norm(self.full[layer][1] - self.skipped[layer][1]))

    @property
    def beta(self) -> FloatArray:
        """|| A_l(t_l, v_l) - A0_l(t_l) || in the full run, shape (L,)."""
        pairs = zip(range(len(self.maps)), self.full[:-1], self.full[1:], strict=True)
        return np.array([norm(after[0] - self._text_only(layer, before[0])) for layer, before, after in pairs])

    @property
    def text_lipschitz(self) -> FloatArray:
        """Lipschitz constant of the text-only map, shape (L,)."""
        return spectral(np.eye(len(self.text)) + self.maps[:, 0])

    @property
    def blocks(self) -> FloatArray:
        """Lipschitz constants [[tt, tv], [vt, vv]] of the full map, shape (L, 2, 2)."""
        eye = np.eye(len(self.text))
        tt, vv = spectral(eye + self.maps[:, 0]), spectral(eye + self.maps[:, 3])
        return np.stack(
            [np.stack([tt, spectral(self.maps[:, 1])], -1), np.stack([spectral(self.maps[:, 2]), vv], -1)], 1
        )


def norm(vectors: FloatArray) -> FloatArray:
    """Euclidean norm along the last axis."""
    out: FloatArray = np.sqrt((np.asarray(vectors) ** 2).sum(axis=-1))
    return out


def spectral(matrices: FloatArray) -> FloatArray:
    """Largest singular value of each matrix."""
    out: FloatArray = np.linalg.norm(matrices, ord=2, axis=(-2, -1))
    return out
