"""Which questions the search sees and which certify: whole images on one side or the other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlm.item import Item

# Images that the search uses if nothing is said: a fifth of them, within these limits.
SHARE, LEAST, MOST = 0.2, 16, 256


@dataclass(frozen=True, eq=False)
class Split:
    """Items for the search and for certification, in the order in which they are used.

    Attributes
    ----------
    search : list of Item
        A first question about each image, then a second one, and so on: the first prompts show different images.
    certification : list of Item
        Image by image; images in random order.
    """

    search: list[Item]
    certification: list[Item]

    @property
    def certification_images(self) -> int:
        """Number of images that certify."""
        return len({item.image_id for item in self.certification})


def split_images(items: Sequence[Item], search_images: int | None, seed: int) -> Split:
    """Divide items by image at random.

    Parameters
    ----------
    items : sequence of Item
    search_images : int, optional
        Images for the search; by default a fifth, at least 16 and at most 256.
    seed : int
        Of the division.

    Raises
    ------
    ValueError
        Fewer than two images, or none left to certify.
    """
    by_image: dict[str, list[Item]] = {}
    for item in items:
        by_image.setdefault(item.image_id, []).append(item)
    names = list(by_image)
    if len(names) < 2:
        raise ValueError(f"items: expected questions about several images, got {len(names)} image")
    count = min(max(round(SHARE * len(names)), LEAST), MOST) if search_images is None else search_images
    if search_images is None:
        count = min(count, len(names) // 2)
    if not 1 <= count < len(names):
        raise ValueError(f"search_images: expected 1 to {len(names) - 1} of {len(names)} images, got {count}")
    order = np.random.default_rng(seed).permutation(len(names))
    chosen = [by_image[names[i]] for i in order[:count]]
    rounds = max(map(len, chosen))
    search = [questions[turn] for turn in range(rounds) for questions in chosen if turn < len(questions)]
    return Split(search, [item for i in order[count:] for item in by_image[names[i]]])


def data_hash(items: Sequence[Item]) -> str:
    """Twelve hexadecimal digits of questions, options and images, in order."""
    digest = hashlib.sha256()
    for item in items:
        text = "\0".join((item.dataset, item.id, item.image_id, item.question, *item.options))
        digest.update(text.encode())
        for image in item.images:
            digest.update(f"{image.size}".encode())
            digest.update(image.tobytes())
    return digest.hexdigest()[:12]
