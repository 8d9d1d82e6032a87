"""Distributions on [0, 1] with known means: what the coverage study draws independent units from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from redundancy.array_types import FloatArray


@dataclass(frozen=True)
class Distribution:
    """A distribution on [0, 1].

    Attributes
    ----------
    name : str
        How tables call it.
    mean : float
        Its exact mean.
    draw : callable
        `draw(rng, shape)` returns independent draws.
    binary : bool
        Whether it lives on {0, 1}, where Clopper-Pearson applies.
    """

    name: str
    mean: float
    draw: Callable[[np.random.Generator, tuple[int, ...]], FloatArray]
    binary: bool = False


def _two_point(p: float) -> Distribution:
    return Distribution(
        f"0 or 1, P(1) = {p:g}", p, lambda rng, shape: (rng.random(shape) < p).astype(float), binary=True
    )


def _beta(a: float, b: float) -> Distribution:
    return Distribution(f"Beta({a:g}, {b:g})", a / (a + b), lambda rng, shape: rng.beta(a, b, shape))


DISTRIBUTIONS = (
    Distribution("point mass at 0", 0.0, lambda rng, shape: np.zeros(shape), binary=True),
    Distribution("point mass at .01", 0.01, lambda rng, shape: np.full(shape, 0.01)),
    _two_point(0.01),
    _two_point(0.5),
    _two_point(0.97),
    _beta(1, 30),
    _beta(0.1, 3),
    _beta(2, 2),
    Distribution(
        ".02, rarely 1",
        0.98 * 0.02 + 0.02,
        lambda rng, shape: np.where(rng.random(shape) < 0.02, 1.0, 0.02),
    ),
    Distribution(
        "thirds, skewed",
        0.7 * 1 / 3 + 0.1,
        lambda rng, shape: rng.choice([0.0, 1 / 3, 1.0], size=shape, p=[0.2, 0.7, 0.1]),
    ),
)
