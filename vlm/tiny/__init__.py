"""The embedded default model: a small vision-language model with its digit scenes, questions and training."""

from vlm.tiny.evaluate import accuracy_by_kind, chance_by_kind, correct, predict
from vlm.tiny.question_writer import ANSWERS, IMAGE_KINDS, KINDS, Question, blank_image, questions

__all__ = [
    "ANSWERS",
    "IMAGE_KINDS",
    "KINDS",
    "Question",
    "accuracy_by_kind",
    "blank_image",
    "chance_by_kind",
    "correct",
    "predict",
    "questions",
]
