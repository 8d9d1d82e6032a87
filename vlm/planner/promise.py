"""A promise: which loss, how much of it, how surely; checked before any work, and put into words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from redundancy.display import Displayed
from vlm.item import Item
from vlm.planner.answered_questions import Loss
from vlm.planner.certification import images_for, loss_limit

LOSSES: tuple[Loss, ...] = get_args(Loss)


@dataclass(frozen=True, repr=False)
class Promise(Displayed):
    """What a plan may lose.

    Attributes
    ----------
    max_loss : float
        Largest expected loss on a new image.
    confidence : float
        Probability, over the draw of the certification images, that what is returned keeps it.
    loss : {"disagreement", "accuracy", "kl"}
    kl_limit : float
        Where KL is clipped, nats.
    binary : bool
        Whether every image has one question whose loss is 0 or 1; see `certification`.

    Raises
    ------
    ValueError
        A number outside its range, an unknown loss.
    """

    max_loss: float
    confidence: float = 0.95
    loss: Loss = "disagreement"
    kl_limit: float = 1.0
    binary: bool = False

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(f"loss: expected one of {', '.join(LOSSES)}, got {self.loss!r}")
        if not (np.isfinite(self.kl_limit) and self.kl_limit > 0):
            raise ValueError(f"kl_limit: expected a finite number of nats above 0, got {self.kl_limit}")
        top = self.support[1]
        if self.max_loss == 0:
            raise ValueError(
                "max_loss: expected more than 0, got 0; no number of images shows that nothing is ever lost. "
                "Promise a small loss: 0.01 needs some 350 images"
            )
        if not 0 < self.max_loss < top:
            raise ValueError(f"max_loss: expected a number between 0 and {top:g}, got {self.max_loss}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence: expected a number between 0 and 1, got {self.confidence}")

    @property
    def alpha(self) -> float:
        """Error probability."""
        return 1.0 - self.confidence

    @property
    def support(self) -> tuple[float, float]:
        """Range of a question's loss."""
        return {"disagreement": (0.0, 1.0), "accuracy": (-1.0, 1.0), "kl": (0.0, self.kl_limit)}[self.loss]

    def check_images(self, images: int) -> None:
        """Refuse a number of certification images that can certify nothing.

        Raises
        ------
        ValueError
            Even without any loss the limit is above the promise.
        """
        if images < 1:
            raise ValueError(
                "images: expected some for certification, got none; give more items or fewer search_images"
            )
        possible = loss_limit(np.zeros(images), self.alpha, self.support, binary=self.binary)
        if possible > self.max_loss:
            # Loss in units of its largest value: no image loses anything.
            needed = least_number(self)
            raise ValueError(
                f"images: {images} certification images cannot promise {self.max_loss:g}, even if no answer differs; "
                f"expected at least {needed:,}. Give more images, or promise at least {possible:.2g}"
            )

    def check_labels(self, items: Sequence[Item]) -> None:
        """Refuse unlabelled items where the loss compares answers with labels.

        Raises
        ------
        ValueError
            The loss is "accuracy" and an item has no reference answer.
        """
        bare = [item for item in items if not item.answers] if self.loss == "accuracy" else []
        if bare:
            raise ValueError(
                f"loss='accuracy': expected reference answers, got none for {len(bare)} of {len(items)} items, the "
                f"first {bare[0].id!r}; give answers, or promise loss='disagreement', which needs none and bounds the "
                "change of accuracy"
            )

    def sentence(self, images: int, data: str) -> str:
        """The promise in words."""
        what = {
            "disagreement": "a question's greedy answer differs from the full model's",
            "accuracy": "accuracy falls",
            "kl": f"KL from the full model, clipped at {self.kl_limit:g} nats and averaged over the answer, is",
        }[self.loss]
        amount = {
            "disagreement": f"with probability at most {self.max_loss:g}",
            "accuracy": f"by at most {self.max_loss:g}",
            "kl": f"at most {self.max_loss:g} nats",
        }[self.loss]
        return (
            f"On a new image from the population of these {images:,} ({data}), {what} {amount} (questions of an image "
            f"count equally). Over the draw of the images, this is wrong with probability at most {self.alpha:.4g}."
        )


def least_number(promise: Promise) -> int:
    """Fewest images that certify a promise if nothing is lost at all."""

    def enough(n: int) -> bool:
        return loss_limit(np.zeros(n), promise.alpha, promise.support, binary=promise.binary) <= promise.max_loss

    low, high = 1, 1
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def sample_sizes(promise: Promise, images: int, rates: Sequence[float]) -> str:
    """What the certification probably needs, in one line.

    Parameters
    ----------
    promise : Promise
    images : int
        Certification images at hand.
    rates : sequence of float
        Losses that the search saw.
    """
    if promise.loss == "accuracy":
        least = least_number(promise)
        return f"{images:,} certification images; a fall of at most {promise.max_loss:g} needs at least {least:,}"
    scale = promise.support[1]
    parts = []
    for rate in dict.fromkeys([0.0, *rates]):
        number = images_for(
            promise.max_loss / scale, rate / scale, confidence=promise.confidence, binary=promise.binary
        )
        parts.append(f"{'no number' if number is None else f'{number:,}'} at a loss of {rate:.3g}")
    return f"{images:,} certification images; a promise of {promise.max_loss:g} probably needs " + ", ".join(parts)
