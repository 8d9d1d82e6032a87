"""Accuracy on one-word questions: the most likely word of the whole vocabulary must be the answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlm.tiny.asking import Question, blank_image


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


def main(arguments: list[str] | None = None) -> None:
    """Print accuracy, blank-image accuracy and chance per kind, with 95% Clopper-Pearson limits."""
    import argparse

    from scipy.stats import binomtest

    from vlm.load import load
    from vlm.tiny.asking import questions

    parser = argparse.ArgumentParser(
        prog="python -m vlm.tiny.evaluate",
        description="Accuracy per kind on digits that training never saw.",
        epilog="example: python -m vlm.tiny.evaluate --model tiny --limit 6000",
    )
    parser.add_argument("--model", default="tiny", help="an embedded model, or a folder that training wrote")
    parser.add_argument("--limit", type=int, default=1200, help="number of questions")
    parser.add_argument("--split", default="test", choices=("train", "validation", "test"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    model, processor = load(options.model)
    asked = questions(split=options.split, limit=options.limit, seed=options.seed)
    right = correct(model, processor, asked)
    blank = accuracy_by_kind(asked, correct(model, processor, asked, blank=True))
    chance = chance_by_kind(asked)
    print(f"{options.model}, {options.split} split, seed {options.seed}, {len(asked)} questions")
    print(f"{'kind':<12}{'n':>6}{'accuracy':>10}  {'95% interval':<16}{'blank':>7}{'chance':>8}")
    for kind, mean in accuracy_by_kind(asked, right).items():
        # Within one kind the questions are about different scenes, so they are independent units; over all
        # image questions five share a scene, and no binomial interval holds.
        own = [r for q, r in zip(asked, right, strict=True) if q.kind == kind or (kind == "image" and q.image)]
        limits = "-"
        if kind != "image":
            low, high = binomtest(int(sum(own)), len(own)).proportion_ci(0.95, method="exact")
            limits = f"[{low:.3f}, {high:.3f}]"
        print(f"{kind:<12}{len(own):>6}{mean:>10.3f}  {limits:<16}{blank[kind]:>7.3f}{chance[kind]:>8.3f}")


if __name__ == "__main__":
    main()
