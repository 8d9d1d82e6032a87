"""A distribution of images of unequal size whose tokens depend on each other, with its exact means."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from redundancy.array_types import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Images:
    """One sample of images.

    Attributes
    ----------
    distances : ndarray (tokens,)
        Distance of each token, in [0, 1].
    image : ndarray (tokens,)
        Image of each token.
    """

    distances: FloatArray
    image: IntArray

    @property
    def sizes(self) -> IntArray:
        """Tokens of each image."""
        return np.bincount(self.image)

    def means(self, values: FloatArray) -> FloatArray:
        """Mean of each image's values, one value per token."""
        return np.asarray(np.bincount(self.image, weights=values) / self.sizes)


MAX_TOKENS = 64
_SIZES = np.array([2, 8, 64])
_SIZE_WEIGHTS = np.array([0.5, 0.35, 0.15])
_LEVELS = ((0.6, 4.0), (1.0, 3.0), (2.0, 2.0))  # Beta parameters of an image's level, by size


def draw_images(rng: np.random.Generator, n: int) -> Images:
    """Draw n images of very unequal size: each has one level, larger for larger images, and tokens around it."""
    kind = rng.choice(3, size=n, p=_SIZE_WEIGHTS)
    level = rng.beta(*np.array(_LEVELS)[kind].T)
    image = np.repeat(np.arange(n), _SIZES[kind])
    # Half of an image's tokens sit at its level, half are spread evenly below twice the level.
    u = rng.random(image.size)
    d = np.where(rng.random(image.size) < 0.5, level[image], np.minimum(1.0, 2 * u * level[image]))
    return Images(d, image)


def exact_survival(t: float) -> tuple[float, float]:
    """P(d > t), image-averaged and token-weighted, by integration over the level."""
    return _averaged(_integrated(lambda v: 0.5 * (v > t) + 0.5 * max(0.0, 1.0 - t / (2 * v)), (t / 2, t)))


def exact_mean() -> tuple[float, float]:
    """E d, image-averaged and token-weighted, by integration over the level."""
    return _averaged(_integrated(lambda v: 0.5 * v + 0.5 * (v if v <= 0.5 else 1 - 1 / (4 * v)), (0.5,)))


def _integrated(value: Callable[[float], float], breaks: tuple[float, ...]) -> FloatArray:
    """E value(level) for each size of image."""
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


def _averaged(per_size: FloatArray) -> tuple[float, float]:
    by_token = _SIZE_WEIGHTS * _SIZES
    return float(_SIZE_WEIGHTS @ per_size), float(by_token @ per_size / by_token.sum())
