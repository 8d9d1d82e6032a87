"""What is asked of a model: one item of a data set, or the reason why it could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from redundancy.display import Displayed, plain

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, eq=False, repr=False)
class Item(Displayed):
    """One question of a data set.

    Attributes
    ----------
    dataset : str
        The data set's name in this library: ``"gqa"``.
    id : str
        Unique within the data set and the same whenever it is read.
    image_id : str
        The unit of sampling: questions about one image share it.
    question : str
        As in the data set, without a protocol's wording.
    images : tuple of PIL.Image.Image
        RGB, in the order of the question's ``<image k>`` marks.
    options : tuple of str
        The options' texts in the order of their letters; empty for a free answer, or where the question's own
        text lists them.
    answers : tuple of str
        Reference answers; for a multiple choice the right letter.
    kind : str
        What a protocol and a scorer need to know: ``"choice"``, ``"yes/no"``, ``"open"``, ``"ocr"``, ``"math"``.
    details : mapping str -> str
        Category, subject and the like.
    digest : str
        Names the content: question, options, answers, details and the bytes of the pictures as they are stored. Empty
        for an item that was not read from a data set.

    Examples
    --------
    >>> from vlm.item import Item
    >>> Item("gqa", "0", "a", "What colour is the sky?", images=(), answers=("blue",))
    Item(gqa/0: 'What colour is the sky?', open, 0 images)
    """

    dataset: str
    id: str
    image_id: str
    question: str
    images: tuple[Image.Image, ...]
    options: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    kind: str = "open"
    details: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""

    def __repr__(self) -> str:
        count = len(self.images)
        question = self.question if len(self.question) <= 60 else f"{self.question[:57]}..."
        return f"Item({self.dataset}/{self.id}: {question!r}, {self.kind}, {count} image{'' if count == 1 else 's'})"

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain Python values; of each image its mode and size, such as ``"RGB 24x24"``."""
        names = ("dataset", "id", "image_id", "question", "options", "answers", "kind", "details", "digest")
        values = {name: plain(getattr(self, name)) for name in names}
        return {**values, "images": [f"{image.mode} {image.width}x{image.height}" for image in self.images]}


@dataclass(frozen=True, repr=False)
class Failure(Displayed):
    """An item that could not be read: listed, never scored.

    Attributes
    ----------
    dataset, id : str
        As in `Item`.
    reason : str
        What was expected and what was there instead.
    digest : str
        As of an `Item`, of what could be read.

    Examples
    --------
    >>> from vlm.item import Failure
    >>> Failure("gqa", "7", "image: expected a file, got none").reason
    'image: expected a file, got none'
    """

    dataset: str
    id: str
    reason: str
    digest: str = field(default="", compare=False)
