"""Accuracy on one-word questions: the answer must be the most likely word of the whole vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from redundancy.array_types import BoolArray
from vlm.models.types import Model, Processor
from vlm.tiny.question_writer import Question, blank_image


def predict(
    model: Model, processor: Processor, questions: Sequence[Question], *, batch_size: int = 64, blank: bool = False
) -> list[str]:
    """The model's one-word answer to each question (arg max over the whole vocabulary, no sampling).

    Parameters
    ----------
    model, processor
        As ``vlm.load`` returns them.
    questions : sequence of Question
        Image and text-only questions may be mixed.
    batch_size : int
        Questions per forward pass, padded on the left.
    blank : bool
        Show an empty canvas instead of each image, same prompt.

    Returns
    -------
    list of str
        One word per question.

    See Also
    --------
    vlm.tiny.correct : Whether the answers are right.

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=4, kinds=("location", "comparison"))
    >>> [q.answer for q in asked]
    ['2', 'no', '4', 'yes']
    >>> tiny.predict(model, processor, asked)
    ['2', 'no', '4', 'yes']
    """
    import torch

    words: list[str] = []
    for start in range(0, len(questions), batch_size):
        part = questions[start : start + batch_size]
        images = [blank_image() if blank else q.image for q in part if q.image is not None]
        batch = processor(
            images=images or None, text=[q.prompt for q in part], return_tensors="pt", padding=True, padding_side="left"
        ).to(model.device)
        if "pixel_values" in batch:
            batch["pixel_values"] = batch["pixel_values"].to(model.dtype)
        with torch.inference_mode():
            logits = model(**batch, logits_to_keep=1).logits[:, -1]
        words += processor.batch_decode(logits.argmax(-1, keepdim=True))
    return [word.strip() for word in words]


def correct(
    model: Model, processor: Processor, questions: Sequence[Question], *, batch_size: int = 64, blank: bool = False
) -> BoolArray:
    """Whether each question is answered correctly.

    Parameters
    ----------
    model, processor, questions, batch_size, blank
        As for :func:`predict`.

    Returns
    -------
    ndarray of bool, shape (questions,)

    See Also
    --------
    vlm.tiny.predict : The answers themselves.

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> tiny.correct(model, processor, tiny.questions(limit=4, kinds=("location", "comparison")))
    array([ True,  True,  True,  True])
    """
    words = predict(model, processor, questions, batch_size=batch_size, blank=blank)
    return np.array([word == q.answer for word, q in zip(words, questions, strict=True)], dtype=bool)


def accuracy_by_kind(questions: Sequence[Question], right: BoolArray) -> dict[str, float]:
    """Accuracy per kind, and over all image questions under the key ``"image"``.

    Parameters
    ----------
    questions : sequence of Question
    right : ndarray of bool, shape (questions,)
        From :func:`correct`.

    Returns
    -------
    dict
        Kind to accuracy, in [0, 1].

    See Also
    --------
    vlm.tiny.chance_by_kind : What a constant answer reaches.

    Examples
    --------
    >>> import numpy as np
    >>> from vlm import tiny
    >>> asked = tiny.questions(limit=4, kinds=("location", "text"))
    >>> tiny.accuracy_by_kind(asked, np.array([True, False, True, True]))
    {'location': 1.0, 'text': 0.5, 'image': 1.0}
    """
    kinds = list(dict.fromkeys(q.kind for q in questions))
    means = {
        kind: float(np.mean([r for q, r in zip(questions, right, strict=True) if q.kind == kind])) for kind in kinds
    }
    shown = [r for q, r in zip(questions, right, strict=True) if q.image is not None]
    if shown:
        means["image"] = float(np.mean(shown))
    return means


def chance_by_kind(questions: Sequence[Question]) -> dict[str, float]:
    """Accuracy of the best constant answer, per kind and over all image questions (key ``"image"``).

    Parameters
    ----------
    questions : sequence of Question

    Returns
    -------
    dict
        Kind to accuracy, in [0, 1].

    See Also
    --------
    vlm.tiny.accuracy_by_kind : The accuracy of a model.

    Examples
    --------
    >>> from vlm import tiny
    >>> chance = tiny.chance_by_kind(tiny.questions(limit=60, kinds=("comparison", "choice")))
    >>> {kind: round(value, 2) for kind, value in chance.items()}
    {'comparison': 0.53, 'choice': 0.27, 'image': 0.4}
    """
    best: dict[str, float] = {}
    for kind in dict.fromkeys(q.kind for q in questions):
        answers = [q.answer for q in questions if q.kind == kind]
        best[kind] = max(answers.count(word) for word in set(answers)) / len(answers)
    shown = [best[q.kind] for q in questions if q.image is not None]
    if shown:
        best["image"] = float(np.mean(shown))
    return best
