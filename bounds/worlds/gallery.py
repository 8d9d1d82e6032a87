"""Named instances: logic gates with known decompositions, and the worlds that attain each bound.

Each entry says in one line why it is here. Gates are distributions pmf[t, x, y]; the others are worlds.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from bounds.worlds.finite import FiniteWorld
from bounds.worlds.points import on_sphere
from redundancy.array_types import FloatArray

SIGNS = np.array([[1.0], [-1.0]])


def gate(name: str) -> FloatArray:
    """The distribution pmf[t, x, y] of a logic gate with fair inputs; names are the keys of GATES."""
    if name not in GATES:
        raise ValueError(f"name: expected one of {', '.join(GATES)}; got {name!r}")
    rows = GATES[name]
    pmf = np.zeros([1 + max(row[axis] for row in rows) for axis in range(3)])
    for row in rows:
        pmf[row] += 1.0 / len(rows)
    return pmf


_BITS = [(a, b) for a in (0, 1) for b in (0, 1)]
GATES: dict[str, list[tuple[int, int, int]]] = {
    "rdn": [(0, 0, 0), (1, 1, 1)],  # both know the same bit: all redundant
    "unq": [(2 * a + b, a, b) for a, b in _BITS],  # each knows its own bit: all unique
    "xor": [(a ^ b, a, b) for a, b in _BITS],  # only together do they know: all synergistic
    "and": [(a & b, a, b) for a, b in _BITS],  # redundancy and synergy without unique information
    "or": [(a | b, a, b) for a, b in _BITS],  # AND with the symbols exchanged
    "sum": [(a + b, a, b) for a, b in _BITS],  # the input bits can be read off in part
    "copy_x": [(a, a, b) for a, b in _BITS],  # only X knows: U(T: X \ Y) = H(X | Y) = log 2
    "rdnxor": [  # one bit of each kind but unique
        (2 * (a ^ b) + c, 2 * a + c, 2 * b + c) for a, b in _BITS for c in (0, 1)
    ],
}


def circle(angles: ArrayLike) -> FloatArray:
    """Points on the unit circle at the given angles, shape (n, 2)."""
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1, dtype=np.float64)


def sign_flip(epsilon: float, slope_x: float = 0.0, slope_y: float = 1.0) -> FiniteWorld:
    """X = +-1, Y = -X with probability epsilon / 2, T = slope_x X + slope_y Y.

    With one slope 0 it attains Theorem 1 for every epsilon in [0, 1]; with both, Theorem 2 as epsilon -> 0.
    """
    p = 0.5 * epsilon
    x, y = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    values, t = np.unique(slope_x * SIGNS[x, 0] + slope_y * SIGNS[y, 0], return_inverse=True)
    pmf = np.zeros((len(values), 2, 2))
    pmf[t, x, y] = 0.5 * np.array([1.0 - p, p, p, 1.0 - p])
    return FiniteWorld(pmf, values[:, None], SIGNS, SIGNS)


def near_or_opposite(threshold: float, p_far: float) -> FiniteWorld:
    """One X; Y at cosine distance exactly `threshold`, or opposite with probability p_far.

    Attains the upper bound of Proposition 1.
    """
    # Only the distribution of the distance matters; the angle is a little smaller, so that rounding keeps it near.
    angle = math.acos(1.0 - threshold) * (1.0 - 1e-15)
    y = np.stack([circle(np.array(angle)), np.array([-1.0, 0.0])])
    pmf = np.array([[[1.0 - p_far, p_far]]])
    return FiniteWorld(pmf, np.zeros((1, 1)), np.array([[1.0, 0.0]]), y, threshold)


def rotated_or_reflected(threshold: float, p_far: float, size: int = 24) -> FiniteWorld:
    """X uniform on a circle, Y turned by +-arccos(1 - t), or opposite with probability p_far; T = Y.

    Attains Theorem 1 behind Proposition 1 while t + (2 - t) p_far <= 1.
    """
    angle = math.acos(1.0 - threshold) * (1.0 - 1e-15)
    start = 2.0 * math.pi * np.arange(size) / size
    turns = np.array([angle, -angle, math.pi])
    y = circle((start[None, :] + turns[:, None]).ravel())
    mass = np.repeat(np.array([0.5, 0.5, 0.0]) * (1.0 - p_far) + np.array([0.0, 0.0, p_far]), size) / size
    pmf = np.zeros((3 * size, size, 3 * size))
    pmf[np.arange(3 * size), np.tile(np.arange(size), 3), np.arange(3 * size)] = mass
    return FiniteWorld(pmf, y, circle(start), y, threshold)


def noisy_copy(noise: float, slope: float) -> FiniteWorld:
    """X one point, Y = X +- noise with equal chance, T = slope Y: attains the squared-distance form."""
    y = np.array([[1.0 + noise], [1.0 - noise]])
    pmf = 0.5 * np.eye(2)[:, None, :]
    return FiniteWorld(pmf, slope * y, np.array([[1.0]]), y)


def binary_channel(flip: float, radius: float = 1.0) -> FiniteWorld:
    """T = +-radius fair, X = T through a symmetric channel, Y constant: attains B^2 psi(I)."""
    tx = 0.5 * np.array([[1.0 - flip, flip], [flip, 1.0 - flip]])
    return FiniteWorld(tx[:, :, None], radius * SIGNS, SIGNS, np.array([[1.0]]))


def symmetric_channel(classes: int, right: float) -> FiniteWorld:
    """T uniform on some classes, X = T with probability `right` and else any other class, Y constant.

    T and X share exactly d(right || 1 / classes) nats. Attains Fano's inequality, and at RIGHT_OF_THREE
    the tight Pinsker curve.
    """
    wrong = (1.0 - right) / (classes - 1)
    tx = (np.full((classes, classes), wrong) + (right - wrong) * np.eye(classes)) / classes
    points = np.eye(classes)
    return FiniteWorld(tx[:, :, None], points, points, points[:1])


# The p for which p - 1/3 is the largest difference of two probabilities with that d(p || q):
# log(2 p / (1 - p)) = 9 (p - 1/3) / 2.
RIGHT_OF_THREE = 0.8109168444237915


def erased_bit(share: float, radius: float = 1.0) -> FiniteWorld:
    """Y says whether X is 0 or a fair sign (probability `share`), T = radius X.

    Attains B^2 H(X | Y) / log 2 for every H(X | Y) = share log 2.
    """
    pmf = np.zeros((3, 3, 2))
    pmf[0, 0, 0], pmf[1, 1, 1], pmf[2, 2, 1] = 1.0 - share, 0.5 * share, 0.5 * share
    states = on_sphere(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    return FiniteWorld(pmf, radius * np.array([[0.0], [1.0], [-1.0]]), states, states[:2])


def cyclic_codebook(size: int, reach: int, p_far: float) -> FiniteWorld:
    """A circulant codebook: `size` codewords evenly on a circle, balls of 2 reach + 1 codewords, P(far) = p_far.

    Y is uniform inside and outside the ball. Attains every form of Theorems 3 and 4.
    """
    codes = circle(2.0 * math.pi * np.arange(size) / size)
    gap = np.abs(np.arange(size)[:, None] - np.arange(size))
    near = np.minimum(gap, size - gap) <= reach
    inside = 2 * reach + 1
    given = np.where(near, (1.0 - p_far) / inside, p_far / max(size - inside, 1))
    # Half-way between the outermost codeword of a ball and the next one.
    threshold = 1.0 - math.cos(math.pi * inside / size)
    pmf = (given / size)[None]
    return FiniteWorld(pmf, np.zeros((1, 1)), codes, codes, threshold)


def alternating_polygon(half: int, slope: float) -> FiniteWorld:
    """X uniform on the even corners of a regular polygon, Y a random neighbouring odd corner, T = +-1 alternating in X.

    E[T | Y] = 0 while E[T | X] = T: attains half of the prediction gap of Theorem 2.
    """
    if half % 2:
        raise ValueError(f"half: expected an even number of even corners, got {half}")
    step = math.pi / half
    x, y = circle(2.0 * step * np.arange(half)), circle(2.0 * step * np.arange(half) + step)
    pmf = np.zeros((2, half, half))
    for i in range(half):
        pmf[i % 2, i, i] += 0.5 / half
        pmf[i % 2, i, i - 1] += 0.5 / half
    return FiniteWorld(pmf, slope * SIGNS, x, y, (1.0 - math.cos(step)) * (1.0 + 1e-9))


def fork(noise: float) -> FiniteWorld:
    """Y one point, X = Y +- noise at right angles, T the sign: attains Theorem 6 (b) with nothing far."""
    x = np.array([[1.0, noise], [1.0, -noise]])
    pmf = 0.5 * np.eye(2)[:, :, None]
    return FiniteWorld(pmf, SIGNS, x, np.array([[1.0, 0.0]]), 0.5)


def two_atoms(p: float, radius: float = 1.0) -> FiniteWorld:
    """X one of two codewords with mass 1 - p and p, Y constant, T = -+radius by X: attains 4 B^2 p (1 - p)."""
    pmf = np.zeros((2, 2, 1))
    pmf[0, 0, 0], pmf[1, 1, 0] = 1.0 - p, p
    codes = circle(np.array([0.0, 2.0]))
    return FiniteWorld(pmf, -radius * SIGNS, codes, codes[:1])


def opposite() -> FiniteWorld:
    """Y = -X: H(X | Y) = 0 while d_cos = 2 (informational does not imply geometric redundancy)."""
    return FiniteWorld(0.5 * np.eye(2)[:, :, None] * np.eye(2)[None], SIGNS, SIGNS, -SIGNS)


def tiny_arc(size: int, width: float) -> FiniteWorld:
    """X uniform on a short arc, Y its centre, T the index of X: close, yet Y knows nothing about X.

    Geometric implies neither informational nor, without Lipschitz constants, functional redundancy.
    """
    x = circle(width * (np.arange(size) / (size - 1) - 0.5))
    pmf = (np.eye(size) / size)[:, :, None]
    values = np.linspace(-1.0, 1.0, size)[:, None]
    return FiniteWorld(pmf, values, x, np.array([[1.0, 0.0]]))


def unrelated(x_points: FloatArray, y_points: FloatArray) -> FiniteWorld:
    """T a coin independent of an independent pair: functional redundancy implies nothing."""
    p = np.full((2, len(x_points), len(y_points)), 0.5 / (len(x_points) * len(y_points)))
    return FiniteWorld(p, SIGNS, x_points, y_points)
