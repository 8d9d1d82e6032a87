"""MMMU's own reading of answers, except that an answer that cannot be read is not replaced by a random option."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from vlm.scoring.option_letters import is_article, letters, read_letter
from vlm.scoring.unicode_folding import folded

# Characters read from the end, about three times the 128 tokens that lmms-eval allows; keeps the patterns below fast.
_READ = 2_000
_CUES = ("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ")
_TRIVIAL = frozenset(":,.!?;'")
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),
    re.compile(r"-?\d+(?:\.\d+)?[eE][+-]?\d+"),
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?![eE][+-]?\d+)(?![,\d])"),
)


def read_choice(text: str, options: Sequence[str]) -> str | None:
    """The letter that a generated answer to a multiple choice names; None where the official code draws at random.

    Candidates are letters in brackets; without any, letters between spaces; without any, and in an answer of more than
    five words, options whose text the answer contains. The last candidate in the text wins. Three changes to the
    official code: the article "A" ("A cat") is not a candidate, "-5" does not contain the option 5, and where there
    is no candidate :func:`vlm.scoring.option_letters.read_letter` tries ("b", "B:", "answer:B") before the answer
    counts as unparsed.

    Examples
    --------
    >>> read_choice("It could be (A), but I choose (B).", ["red", "blue"])
    'B'
    """
    labels, options = letters(len(options)), [folded(option) for option in options]
    answer = folded(text[-_READ:])
    for mark in ",.!?;:'":
        answer = answer.strip(mark)
    answer = f" {answer} "
    places = {label: answer.rfind(f"({label})") for label in labels}
    if max(places.values(), default=-1) < 0:
        places = {label: _last_bare(answer, label, option) for label, option in zip(labels, options, strict=True)}
    if max(places.values(), default=-1) < 0 and len(answer.split()) > 5:
        places = {k: _last_contained(answer.lower(), o.lower()) for k, o in zip(labels, options, strict=True)}
    if max(places.values(), default=-1) < 0:
        return read_letter(text, labels, options)
    return max(places, key=lambda label: places[label])


def _last_contained(answer: str, option: str) -> int:
    """Where the answer last contains an option's text; a number counts only where it is not part of another."""
    if not option.strip():
        return -1
    before = r"(?<![\w.,/:-])" if option.lstrip()[:1].isdigit() else ""
    after = r"(?![\w]|[.,/:]\d)" if option.rstrip()[-1:].isdigit() else ""
    return max((m.start() for m in re.finditer(before + re.escape(option) + after, answer)), default=-1)


def _last_bare(answer: str, label: str, option: str) -> int:
    """Where the label last stands between spaces and is not an article; -1 if nowhere."""
    matches = re.finditer(rf"(?<= ){label}(?= )", answer)
    return max((m.start() for m in matches if not is_article(answer, m.start(), option)), default=-1)


def read_open(text: str) -> frozenset[str | float]:
    """The candidate answers in a free answer: the shortest tail after a cue word of each line, and its numbers.

    Cues are "so", "is", "thus", "therefore", "final", "answer", "result", "could be", and "=" in the last line.
    Texts are in lower case, numbers rounded to two decimals.

    Examples
    --------
    >>> sorted(read_open("The sum is 12.345"), key=str)
    [12.35]
    """
    answer = folded(text.strip()[-_READ:]).strip(".").lower()  # a minus that is not ASCII is one all the same
    lines = answer.split("\n")
    tails = []
    for line in lines:
        cues = (*_CUES, "=") if line is lines[-1] else _CUES
        after = [line.split(cue)[-1].strip() for cue in cues if cue in line]
        shortest = ""
        for tail in after:  # as published: an empty tail is shortest until the next cue
            shortest = tail if not shortest or len(tail) < len(shortest) else shortest
        if shortest and shortest not in _TRIVIAL:
            tails.append(shortest)
    tails = tails or [answer]
    numbers = [number for tail in tails for pattern in _NUMBERS for number in pattern.findall(tail)]
    return frozenset(form for candidate in (*tails, *numbers) for form in _forms(candidate))


def open_match(text: str, references: Sequence[str]) -> float:
    """1 if a number of the answer equals a reference, or the answer contains the text of a reference, else 0.

    Examples
    --------
    >>> open_match("So the result is 0.5", ["1/2", "0.50"])
    1.0
    """
    right = {form for reference in references for form in _forms(reference)}
    texts = [form for form in right if isinstance(form, str) and form.strip()]
    return float(
        any(
            any(text in candidate for text in texts) if isinstance(candidate, str) else candidate in right
            for candidate in read_open(text)
        )
    )


def references(answer: str) -> tuple[str, ...]:
    """The references of an open question, whose column holds one text or a Python list of several."""
    if answer.strip().startswith("["):
        try:
            entries = ast.literal_eval(answer.strip())
        except (ValueError, SyntaxError):
            return (answer,)
        if isinstance(entries, list):
            return tuple(str(entry) for entry in entries)
    return (answer,)


def _forms(text: str) -> list[str | float]:
    """A number rounded to two decimals, or the text; a single character gets a space on either side."""
    text = folded(text).strip()
    try:
        return [round(float(text.replace(",", "")), 2)]
    except ValueError:
        text = text.lower()
        return [f" {text}", f"{text} "] if len(text) == 1 else [text]
