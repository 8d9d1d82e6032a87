"""Exact match, the rule of GQA: lower case, punctuation removed."""

from __future__ import annotations

import string
from collections.abc import Sequence

_MARKS = str.maketrans("", "", string.punctuation)
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DIGITS = {word: str(number) for number, word in enumerate(_WORDS)}


def plain(text: str) -> str:
    """Lower case without the 32 ASCII punctuation marks and without outer blanks; inner ones become one."""
    return " ".join(text.lower().translate(_MARKS).split())


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """1 if the prediction equals a reference after :func:`plain`, else 0. An empty prediction equals none."""
    said = plain(prediction)
    return float(said != "" and said in {plain(reference) for reference in references})


def exact_match_of_numbers(prediction: str, references: Sequence[str]) -> float:
    """As :func:`exact_match`, and an answer that is one of the words zero ... ten equals its digits (RealWorldQA)."""
    said = plain(prediction)
    return exact_match(DIGITS.get(said, said), [DIGITS.get(plain(r), r) for r in references])
