"""Exact match, the rule of GQA: lower case, without punctuation, except where a mark is part of a number."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from vlm.scoring.unicode_folding import VULGAR_FRACTIONS, folded

_MARKS = str.maketrans("", "", string.punctuation)
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
DIGITS = {word: str(number) for number, word in enumerate(_WORDS)}

_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_FRACTION = re.compile(rf"(\d?)([{''.join(VULGAR_FRACTIONS)}])")
# Marks between two digits (1.5, 1/2, 2:30, 10-12, 1e-5), with the blanks that some write around a single one.
_BETWEEN = re.compile(r"(?<=\d)[ \t]*([/:*+=-])[ \t]*(?=\d)|(?:(?<=\d)|(?<=\de))([!-/:-@\[-`{-~]+)(?=\d)")
# A point that begins a number, and a sign before a number or its currency sign: .5, -5, -$5, $-5, <5, >=5.
_LEADING = re.compile(r"(?<![\w.)\]}%<>=-])([<>]=?)?(-?)([$€£¥]?)(\.?)(?=\d)")
# The whole answer is a minus and a number, set apart: "- 5".
_APART = re.compile(r"^\s*-\s+(?=[$€£¥]?\.?\d+(?:[.,]\d+)*\s*%?\s*\.?\s*$)")
_KEPT = {mark: chr(0xE000 + ord(mark)) for mark in string.punctuation}  # private characters while marks are removed
_RESTORED = str.maketrans({stand_in: mark for mark, stand_in in _KEPT.items()})


def plain(text: str) -> str:
    """Lower case, without the 32 ASCII punctuation marks, with single spaces between words.

    The published rule also removes the marks within numbers, so that 15 equals 1.5, 5 equals -5 and 12 equals 1/2. Here
    a minus, < or > before a number, a point that begins one, and any mark between two digits stay; only the commas of
    thousands go.

    Examples
    --------
    >>> plain("  The  Cat. ")
    'the cat'
    >>> plain("-1,000.5"), plain("1/2"), plain("2:30 p.m.")
    ('-1000.5', '1/2', '2:30 pm')
    """
    text = _FRACTION.sub(_fraction, folded(text))
    if not any(character.isdigit() for character in text):
        return " ".join(text.lower().translate(_MARKS).split())
    text = _THOUSANDS.sub(lambda match: match[0].replace(",", ""), _APART.sub("-", text))
    text = _LEADING.sub(_leading, text)
    text = _BETWEEN.sub(lambda match: "".join(_KEPT[mark] for mark in match[1] or match[2]), text.lower())
    return " ".join(text.lower().translate(_MARKS).translate(_RESTORED).split())


def _fraction(match: re.Match[str]) -> str:
    """1½ as 1 1/2, and -½ as -1/2."""
    above, below = VULGAR_FRACTIONS[match[2]]
    return f"{match[1]} {above}/{below}" if match[1] else f"{above}/{below}"


def _leading(match: re.Match[str]) -> str:
    order, sign, currency, point = match.groups()
    kept = "".join(_KEPT[mark] for mark in order or "")
    return kept + (_KEPT["-"] if sign else "") + currency + (_KEPT["."] if point else "")


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
