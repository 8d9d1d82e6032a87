"""Dispatches a prediction to the scoring rule that a protocol names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vlm.item import Item
from vlm.scoring import mmmu
from vlm.scoring.exact import exact_match, exact_match_of_numbers, plain
from vlm.scoring.mathvision import mathvision_match, read_answer
from vlm.scoring.ocrbench import contains_match
from vlm.scoring.option_letters import letters, listed_letters, read_letter
from vlm.scoring.vqa import normalised, vqa_accuracy

LIMIT = 100_000  # characters; a longer answer is a generation that did not end
_LISTED = re.compile(r"^\s*([A-Z])\.\s+(\S[^\n]*)$", re.MULTILINE)


@dataclass(frozen=True)
class Scored:
    """A score, and what was read.

    Attributes
    ----------
    value : float
        In [0, 1].
    parsed : str or None
        The answer as the scorer read it; None if it found none, and then the value is 0. Report how often.
    """

    value: float
    parsed: str | None


def choice_labels(item: Item) -> tuple[str, ...]:
    """The letters of a multiple choice: one per option, or those the question lists, or A to D."""
    return letters(len(item.options)) if item.options else listed_letters(item.question) or letters(4)


def score(item: Item, prediction: str, *, scorer: str) -> Scored:
    """The score of a prediction by a rule.

    Parameters
    ----------
    item : Item
        Its question, options, answers and details are read.
    prediction : str
        Generated text, or the label that one forward pass found most probable.
    scorer : str
        One of ``SCORERS``; a protocol names it.

    Returns
    -------
    Scored

    Raises
    ------
    ValueError
        Unknown scorer, an item without references, or fewer references than the rule needs.
    TypeError
        The prediction is no text: a generation that failed is a failure, not an answer.
    """
    if scorer not in SCORERS:
        raise ValueError(f"scorer: expected one of {', '.join(SCORERS)}, got {scorer!r}")
    if not isinstance(prediction, str):
        raise TypeError(
            f"prediction: expected text, got {type(prediction).__name__}; list a failed item, do not score it"
        )
    if not item.answers:
        raise ValueError(f"item {item.dataset}/{item.id}: expected at least one reference answer, got none")
    return Scored(0.0, None) if len(prediction) > LIMIT else SCORERS[scorer](item, prediction)


def _scored(value: float, parsed: str | None) -> Scored:
    return Scored(0.0, None) if not parsed else Scored(value, parsed)


def _letter(item: Item, prediction: str) -> Scored:
    parsed = read_letter(prediction, choice_labels(item), item.options)
    return _scored(float(parsed in item.answers), parsed)


def _exact(item: Item, prediction: str) -> Scored:
    return _scored(exact_match(prediction, item.answers), plain(prediction))


def _vqa(item: Item, prediction: str) -> Scored:
    return _scored(vqa_accuracy(prediction, item.answers), normalised(prediction))


def _ocrbench(item: Item, prediction: str) -> Scored:
    subset = item.details.get("dataset", "")
    return _scored(contains_match(prediction, item.answers, subset=subset), prediction.strip())


def _mmmu(item: Item, prediction: str) -> Scored:
    if item.options:
        parsed = mmmu.read_choice(prediction, item.options)
        return _scored(float(parsed in item.answers), parsed)
    read = " | ".join(sorted(map(str, mmmu.read_open(prediction)))).strip(" |")
    return _scored(mmmu.open_match(prediction, item.answers), read)


def _realworldqa(item: Item, prediction: str) -> Scored:
    labels = listed_letters(item.question)
    if any(answer in labels for answer in item.answers):
        texts = {letter: text.strip() for letter, text in _LISTED.findall(item.question)}
        parsed = read_letter(prediction, labels, [texts.get(label, "") for label in labels])
        return _scored(float(parsed in item.answers), parsed)
    return _scored(exact_match_of_numbers(prediction, item.answers), plain(prediction))


def _mathvision(item: Item, prediction: str) -> Scored:
    return _scored(mathvision_match(prediction, item.options, item.answers), read_answer(prediction, item.options))


SCORERS: Mapping[str, Callable[[Item, str], Scored]] = {
    "letter": _letter,
    "exact": _exact,
    "vqa": _vqa,
    "ocrbench": _ocrbench,
    "mmmu": _mmmu,
    "realworldqa": _realworldqa,
    "mathvision": _mathvision,
}
