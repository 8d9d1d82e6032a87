"""Laws on [0, 1] with known means, and laws of images whose tokens depend on each other."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Law:
    """iid units: `draw(rng, shape)`."""

    name: str
    mean: float
    draw: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
    binary: bool = False


def _two_point(p: float) -> Law:
    return Law(f"0 or 1, P(1) = {p:g}", p, lambda rng, shape: (rng.random(shape) < p).astype(float), binary=True)


def _beta(a: float, b: float) -> Law:
    return Law(f"Beta({a:g}, {b:g})", a / (a + b), lambda rng, shape: rng.beta(a, b, shape))


LAWS = (
    Law("point mass at 0", 0.0, lambda rng, shape: np.zeros(shape), binary=True),
    Law("point mass at .01", 0.01, lambda rng, shape: np.full(shape, 0.01)),
    _two_point(0.01),
    _two_point(0.5),
    _two_point(0.97),
    _beta(1, 30),
    _beta(0.1, 3),
    _beta(2, 2),
    Law(
        ".02, rarely 1",
        0.98 * 0.02 + 0.02,
        lambda rng, shape: np.where(rng.random(shape) < 0.02, 1.0, 0.02),
    ),
    Law(
        "thirds, skewed",
        0.7 * 1 / 3 + 0.1,
        lambda rng, shape: rng.choice([0.0, 1 / 3, 1.0], size=shape, p=[0.2, 0.7, 0.1]),
    ),
)


@dataclass(frozen=True)
class Images:
    """One sample of clustered data: distances of all tokens in [0, 1], and the image of each."""

    distances: np.ndarray
    image: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        return np.bincount(self.image)

    def means(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.image, weights=values) / self.sizes


MAX_TOKENS = 64
_SIZES = np.array([2, 8, 64])
_SIZE_WEIGHTS = np.array([0.5, 0.35, 0.15])
_LEVELS = ((0.6, 4.0), (1.0, 3.0), (2.0, 2.0))  # Beta parameters of an image's level, by size


def draw_images(rng: np.random.Generator, n: int) -> Images:
    """Images of very unequal size; an image has one level, larger for larger images, and tokens around it."""
    kind = rng.choice(3, size=n, p=_SIZE_WEIGHTS)
    level = rng.beta(*np.array(_LEVELS)[kind].T)
    image = np.repeat(np.arange(n), _SIZES[kind])
    # Half of an image's tokens sit at its level, half are spread evenly below twice the level.
    u = rng.random(image.size)
    d = np.where(rng.random(image.size) < 0.5, level[image], np.minimum(1.0, 2 * u * level[image]))
    return Images(d, image)


def _integrated(value: Callable[[float], float], breaks: tuple[float, ...]) -> np.ndarray:
    """E value(level) for each kind of image."""
    from scipy.integrate import quad
    from scipy.stats import beta

    knots = [0.0, *breaks, 1.0]
    return np.array(
        [
            sum(
                quad(lambda v, a=a, b=b: value(v) * beta.pdf(v, a, b), left, right, limit=200)[0]
                for left, right in itertools.pairwise(knots)
            )
            for a, b in _LEVELS
        ]
    )


def _averaged(per_kind: np.ndarray) -> tuple[float, float]:
    by_token = _SIZE_WEIGHTS * _SIZES
    return float(_SIZE_WEIGHTS @ per_kind), float(by_token @ per_kind / by_token.sum())


def exact_survival(t: float) -> tuple[float, float]:
    """P(d > t): the image-averaged and the token-weighted target, by integration over the level."""
    return _averaged(_integrated(lambda v: 0.5 * (v > t) + 0.5 * max(0.0, 1.0 - t / (2 * v)), (t / 2, t)))


def exact_mean() -> tuple[float, float]:
    """E d: the image-averaged and the token-weighted target."""
    return _averaged(_integrated(lambda v: 0.5 * v + 0.5 * (v if v <= 0.5 else 1 - 1 / (4 * v)), (0.5,)))
