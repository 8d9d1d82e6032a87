"""What is asked of a model: one item of a data set, or the reason why it could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, eq=False)
class Item:
    """One question of a data set.

    Attributes
    ----------
    dataset : str
        The data set's name here: ``"gqa"``.
    id : str
        Unique within the data set and stable between readings.
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
        References; for a multiple choice the right letter.
    kind : str
        What a protocol and a scorer need to know: ``"choice"``, ``"yes/no"``, ``"open"``, ``"ocr"``, ``"math"``.
    details : mapping str -> str
        Category, subject and the like.
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


@dataclass(frozen=True)
class Failure:
    """An item that could not be read: listed, never scored.

    Attributes
    ----------
    dataset, id : str
        As in `Item`.
    reason : str
        What was expected and what came.
    """

    dataset: str
    id: str
    reason: str
