"""Gaussian chains T - X - Y: continuous instances with closed-form errors and informations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bounds.worlds.finite import Rng
from redundancy.array_types import FloatArray
from redundancy.display import Displayed


@dataclass(frozen=True, repr=False)
class GaussianChain(Displayed):
    """X standard normal in `dim` coordinates; each coordinate of T and of Y is correlated with that of X.

    T = label X + noise and Y = layer X + noise, all coordinates with variance one, so that T - X - Y.

    Attributes
    ----------
    label, layer : float
        Correlations of T with X and of Y with X, in [-1, 1].
    dim : int
        Number of independent coordinates.
    """

    label: float
    layer: float
    dim: int = 1

    def __post_init__(self) -> None:
        for name, value in (("label", self.label), ("layer", self.layer)):
            if not -1.0 <= value <= 1.0:
                raise ValueError(f"{name}: expected a correlation in [-1, 1], got {value}")
        if self.dim < 1:
            raise ValueError(f"dim: expected at least one coordinate, got {self.dim}")

    @property
    def mmse_x(self) -> float:
        """mmse(T | X)."""
        return self.dim * (1.0 - self.label**2)

    @property
    def mmse_y(self) -> float:
        """mmse(T | Y)."""
        return self.dim * (1.0 - (self.label * self.layer) ** 2)

    @property
    def information_xy(self) -> float:
        """I(X; Y) in nats."""
        return self.dim * _information(self.layer)

    @property
    def information_tx(self) -> float:
        """I(T; X) in nats."""
        return self.dim * _information(self.label)

    @property
    def information_ty(self) -> float:
        """I(T; Y) in nats."""
        return self.dim * _information(self.label * self.layer)

    @property
    def information_tx_given_y(self) -> float:
        """I(T; X | Y) = I(T; X) - I(T; Y), because T - X - Y (Lemma 4)."""
        return self.information_tx - self.information_ty

    @property
    def entropy_x(self) -> float:
        """Differential entropy of X in nats."""
        return 0.5 * self.dim * math.log(2.0 * math.pi * math.e)

    @property
    def squared_distance(self) -> float:
        """E || X - Y ||^2."""
        return self.dim * 2.0 * (1.0 - self.layer)

    @property
    def variance_x_given_y(self) -> float:
        """mmse(X | Y) = mmse(Y | X)."""
        return self.dim * (1.0 - self.layer**2)

    @property
    def lipschitz_x(self) -> float:
        """Lipschitz constant of x -> E[T | X = x, Y = y] = label x."""
        return abs(self.label)

    def sample(self, n: int, rng: Rng = None) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Draw n triples (t, x, y), each of shape (n, dim)."""
        generator = np.random.default_rng(rng)
        x, a, b = generator.standard_normal((3, n, self.dim))
        t = self.label * x + math.sqrt(1.0 - self.label**2) * a
        y = self.layer * x + math.sqrt(1.0 - self.layer**2) * b
        return t, x, y


def _information(correlation: float) -> float:
    if abs(correlation) == 1.0:
        return math.inf
    return -0.5 * math.log1p(-(correlation**2))
