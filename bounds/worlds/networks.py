"""Instances for the triangle and skipping theorems: paths of points, and small networks with and without skipping."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from redundancy.array_types import BoolArray, FloatArray
from redundancy.display import Displayed


@dataclass(frozen=True, eq=False, repr=False)
class PathWorld(Displayed):
    """Points x_0, ..., x_k in a Euclidean space.

    Attributes
    ----------
    points : ndarray (k + 1, d)
        The points in order.
    """

    points: FloatArray

    @property
    def steps(self) -> FloatArray:
        """Lengths of the k steps."""
        return norm(np.diff(self.points, axis=0))

    @property
    def direct(self) -> float:
        """Length of x_k - x_0."""
        return float(norm(self.points[-1] - self.points[0]))


@dataclass(frozen=True, eq=False, repr=False)
class ResidualWorld(Displayed):
    """A residual network h <- h + A h + C tanh(h) of L layers, run in full and with some layers skipped.

    Attributes
    ----------
    start : ndarray (d,)
        State before the first layer.
    linear, curved : ndarray (L, d, d)
        The matrices A and C of each layer.
    skipped : ndarray (L,) of bool
        Which layers the second run skips.
    """

    start: FloatArray
    linear: FloatArray
    curved: FloatArray
    skipped: BoolArray

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

    def rest_skipped(self, first: int, state: FloatArray) -> FloatArray:
        """The last state when the skipped network runs from layer `first` on, starting at a state (d,)."""
        h = state
        for layer in range(first, len(self.linear)):
            h = h if self.skipped[layer] else h + self._branch(layer, h)
        return h

    @cached_property
    def error(self) -> float:
        """Distance between the two runs at the end."""
        return float(norm(self.rest_skipped(0, self.start) - self.full[-1]))

    @property
    def norms(self) -> FloatArray:
        """|| F_l(h_l) || in the full run, shape (L,)."""
        return norm(np.diff(self.full, axis=0))

    @property
    def lipschitz(self) -> FloatArray:
        """A Lipschitz constant of id + F_l, shape (L,)."""
        eye = np.eye(len(self.start))
        return spectral(eye + self.linear) + spectral(self.curved)


@dataclass(frozen=True, eq=False, repr=False)
class TwoStreamWorld(Displayed):
    """Text and image streams of a network of L layers, run in full and with the image tokens skipping layers.

    A layer maps text t and image v to t + P t + Q tanh(v) and v + S v + R tanh(t); without image tokens it maps t to
    t + P t. In the skipped run image tokens enter at layer `entry` as they were at layer 0, and leave at layer `exit`.

    Attributes
    ----------
    text, image : ndarray (d,)
        States before the first layer.
    maps : ndarray (L, 4, d, d)
        P, Q, R, S of each layer.
    entry, exit : int
        The image tokens run in layers entry, ..., exit - 1 of the skipped run.
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
        """States (t, v) of the full run before each layer and after the last."""
        states = [(self.text, self.image)]
        for layer in range(len(self.maps)):
            states.append(self._full(layer, *states[-1]))
        return states

    @cached_property
    def skipped(self) -> list[tuple[FloatArray, FloatArray]]:
        """States (t, v) of the skipped run before each layer and after the last."""
        states = [(self.text, self.image)]
        for layer in range(len(self.maps)):
            t, v = states[-1]
            if self.entry <= layer < self.exit:
                states.append(self._full(layer, t, v))
            else:
                states.append((self._text_only(layer, t), v))
        return states

    def text_error(self, layer: int) -> float:
        """e_l: distance between the text states of both runs before layer l (theory, section 9.7)."""
        return float(norm(self.full[layer][0] - self.skipped[layer][0]))

    def image_error(self, layer: int) -> float:
        """f_l: distance between the image states of both runs before layer l (theory, section 9.7)."""
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
