"""MMMU's own reading of answers, without its random choice where nothing can be read."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from vlm.scoring.option_letters import is_article, letters, read_letter

# Characters read from the end; 128 tokens, the limit of lmms-eval, are a third of it. Keeps the patterns below fast.
_READ = 2_000
_CUES = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_TRIVIAL = frozenset(":,.!?;'")
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)


def read_choice(text: str, options: Sequence[str]) -> str | None:
    """The letter that a generated answer to a multiple choice names; None where the official code would draw lots.

    Candidates are letters in brackets; without any, letters between blanks; without any, and in an answer of more
    than five words, options whose text is contained. The last candidate in the text wins. Two changes: the
    article "A" ("A cat") is no candidate, and where nothing was found :func:`vlm.scoring.letters.read_letter`
    tries ("b", "B:", "answer:B") before the answer counts as unparsed.
    """
    labels = letters(len(options))
    said = text[-_READ:]
    for mark in ",.!?;:'":
        said = said.strip(mark)
    said = f" {said} "
    places = {label: said.rfind(f"({label})") for label in labels}
    if max(places.values(), default=-1) < 0:
        places = {label: _last_bare(said, label, option) for label, option in zip(labels, options, strict=True)}
    if max(places.values(), default=-1) < 0 and len(said.split()) > 5:
        places = {k: said.lower().rfind(o.lower()) if o else -1 for k, o in zip(labels, options, strict=True)}
    if max(places.values(), default=-1) < 0:
        return read_letter(text, labels, options)
    return max(places, key=lambda label: places[label])


def _last_bare(said: str, label: str, option: str) -> int:
    found = [m.start() for m in re.finditer(rf"(?<= ){label}(?= )", said) if not is_article(said, m.start(), option)]
    return found[-1] if found else -1


def read_open(text: str) -> frozenset[str | float]:
    """What a free answer may mean: the shortest tail after a cue word of each line, and every number in it.

    Cues are "so", "is", "thus", "therefore", "final", "answer", "result", "could be", and "=" in the last line.
    Strings are in lower case, numbers rounded to two decimals.
    """
    said = text.strip()[-_READ:].strip(".").lower()
    lines = said.split("\n")
    tails = []
    for line in lines:
        cues = (*_CUES, "=") if line is lines[-1] else _CUES
        after = [line.split(cue)[-1].strip() for cue in cues if cue in line]
        shortest = ""
        for tail in after:  # as published: an empty tail is shortest until the next cue
            shortest = tail if not shortest or len(tail) < len(shortest) else shortest
        if shortest and shortest not in _TRIVIAL:
            tails.append(shortest)
    tails = tails or [said]
    numbers = [number for tail in tails for pattern in _NUMBERS for number in pattern.findall(tail)]
    return frozenset(form for found in (*tails, *numbers) for form in _forms(found))


def open_match(text: str, references: Sequence[str]) -> float:
    """1 if a number of the answer equals a reference's, or a reference's text is contained in the answer, else 0."""
    wanted = {form for reference in references for form in _forms(reference)}
    texts = [form for form in wanted if isinstance(form, str) and form.strip()]
    return float(
        any(any(w in said for w in texts) if isinstance(said, str) else said in wanted for said in read_open(text))
    )


def references(answer: str) -> tuple[str, ...]:
    """The references of an open question: the column holds one, or a Python list of several."""
    if answer.strip().startswith("["):
        try:
            listed = ast.literal_eval(answer.strip())
        except (ValueError, SyntaxError):
            return (answer,)
        if isinstance(listed, list):
            return tuple(str(entry) for entry in listed)
    return (answer,)


def _forms(text: str) -> list[str | float]:
    """A number rounded to two decimals, or the text; one character with a blank on either side."""
    text = text.strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]
