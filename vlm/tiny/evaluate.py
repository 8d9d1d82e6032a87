"""Accuracy on one-word questions: the most likely word of the whole vocabulary must be the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlm.tiny.question_writer import Question, blank_image


def predict(
    model: Any, processor: Any, questions: Sequence[Question], *, batch_size: int = 64, blank: bool = False
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
    model: Any, processor: Any, questions: Sequence[Question], *, batch_size: int = 64, blank: bool = False
) -> NDArray[np.bool_]:
    """Whether each question was answered rightly, shape (n,)."""
    words = predict(model, processor, questions, batch_size=batch_size, blank=blank)
    return np.array([word == q.answer for word, q in zip(words, questions, strict=True)], dtype=bool)


def accuracy_by_kind(questions: Sequence[Question], right: NDArray[np.bool_]) -> dict[str, float]:
    """Mean of ``right`` per kind, and over all image questions under the key ``"image"``."""
    kinds = list(dict.fromkeys(q.kind for q in questions))
    means = {
        kind: float(np.mean([r for q, r in zip(questions, right, strict=True) if q.kind == kind])) for kind in kinds
    }
    shown = [r for q, r in zip(questions, right, strict=True) if q.image is not None]
    if shown:
        means["image"] = float(np.mean(shown))
    return means


def chance_by_kind(questions: Sequence[Question]) -> dict[str, float]:
    """Accuracy of the best constant answer, per kind and over all image questions (key ``"image"``)."""
    best: dict[str, float] = {}
    for kind in dict.fromkeys(q.kind for q in questions):
        answers = [q.answer for q in questions if q.kind == kind]
        best[kind] = max(answers.count(word) for word in set(answers)) / len(answers)
    shown = [best[q.kind] for q in questions if q.image is not None]
    if shown:
        best["image"] = float(np.mean(shown))
    return best
