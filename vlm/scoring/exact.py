"""Exact match, the rule of GQA: lower case, without punctuation."""

from __future__ import annotations

import string
from collections.abc import Sequence

_MARKS = str.maketrans("", "", string.punctuation)
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DIGITS = {word: str(number) for number, word in enumerate(_WORDS)}


def plain(text: str) -> str:
    """Lower case, without the 32 ASCII punctuation marks, with single spaces between words.

    Examples
    --------
    >>> plain("  The  Cat. ")
    'the cat'
    """
    return " ".join(text.lower().translate(_MARKS).split())


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """1 if the prediction equals a reference after :func:`plain`, else 0; an empty prediction equals no reference.

    Examples
    --------
    >>> exact_match("The cat.", ["the cat", "a dog"])
    1.0
    """
    answer = plain(prediction)
    return float(answer != "" and answer in {plain(reference) for reference in references})


def exact_match_of_numbers(prediction: str, references: Sequence[str]) -> float:
    """As :func:`exact_match`, where the words zero to ten also equal their digits (RealWorldQA).

    Examples
    --------
    >>> exact_match_of_numbers("Three", ["3"])
    1.0
    """
    answer = plain(prediction)
    return exact_match(DIGITS.get(answer, answer), [DIGITS.get(plain(r), r) for r in references])
