"""Small regression problems (worlds) with a known mmse(Z | X), samplers of (x, z), and a regressor for each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeRegressor


@dataclass(frozen=True)
class World:
    name: str
    mmse: float
    draw: Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def _linear_gaussian(dimension: int, noise: float) -> World:
    # Z = <a, X> + noise: the posterior mean is linear, mmse = noise^2.
    a = np.linspace(-1, 1, dimension)

    def draw(rng, n):
        x = rng.normal(size=(n, dimension))
        return x, x @ a + noise * rng.normal(size=n)

    return World(f"linear-Gaussian d={dimension}", noise**2, draw)


def _noisy_state() -> World:
    # Z standard normal seen through X = Z + N: mmse = s / (1 + s), s = Var N.
    def draw(rng, n):
        z = rng.normal(size=n)
        return (z + 0.5 * rng.normal(size=n))[:, None], z

    return World("additive noise on the state", 0.25 / 1.25, draw)


def _sine() -> World:
    def draw(rng, n):
        x = rng.uniform(-2, 2, (n, 1))
        return x, np.sin(3 * x[:, 0]) + 0.5 * rng.normal(size=n)

    return World("sine plus noise", 0.25, draw)


def _xor() -> World:
    # Two fair bits hidden in the signs of two coordinates; Z is their exclusive or, flipped with probability 0.1.
    def draw(rng, n):
        x = rng.uniform(0.2, 1.0, (n, 2)) * rng.choice([-1, 1], (n, 2))
        z = (x[:, 0] * x[:, 1] > 0) ^ (rng.random(n) < 0.1)
        return x, z.astype(float)

    return World("XOR with flips", 0.09, draw)


def _finite() -> World:
    # X on 6 points of the plane, Z binary with P(Z = 1 | x) as in p; mmse = E p (1 - p).
    points = np.array([[0, 0], [1, 0], [0, 1], [1, 1], [2, 0], [0, 2]], dtype=float)
    weight = np.array([0.3, 0.2, 0.2, 0.1, 0.1, 0.1])
    p = np.array([0.1, 0.9, 0.5, 0.2, 0.7, 1.0])

    def draw(rng, n):
        i = rng.choice(6, size=n, p=weight)
        return points[i], (rng.random(n) < p[i]).astype(float)

    return World("finite, six points", float(weight @ (p * (1 - p))), draw)


def _wide() -> World:
    # d = 512 > n / 4 in a four-dimensional subspace plus small isotropic noise.
    rng = np.random.default_rng(99)
    frame = np.linalg.qr(rng.normal(size=(512, 4)))[0].T

    def draw(rng, n):
        s = rng.normal(size=(n, 4))
        return s @ frame + 0.002 * rng.normal(size=(n, 512)), s.sum(axis=1) + 0.5 * rng.normal(size=n)

    return World("d=512, four directions matter", 0.25, draw)


WORLDS = (_linear_gaussian(8, 0.7), _noisy_state(), _sine(), _xor(), _finite(), _wide())
SUITED = {
    "linear-Gaussian d=8": Ridge(),
    "additive noise on the state": Ridge(),
    "sine plus noise": KNeighborsRegressor(30),
    "XOR with flips": HistGradientBoostingRegressor(max_iter=40, max_leaf_nodes=8),
    "finite, six points": DecisionTreeRegressor(),
    "d=512, four directions matter": Ridge(10.0),
}
