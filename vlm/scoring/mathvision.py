r"""MathVision: the answer in the last ``\boxed{}``, compared as a letter, as an option's text, or as mathematics."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vlm.scoring.math_expressions import LENGTH, close, value
from vlm.scoring.option_letters import letters, read_letter

_SHORT = 60  # characters of an answer that stands alone, with at most two words
_WORD = re.compile(r"(?<!\\)\b[A-Za-z]{2,}")
_TAIL = 20_000  # characters read from the end: where an answer is
_CUE = re.compile(r"\banswer(?: is| should be| would be|:)[\s:*]*", re.IGNORECASE)
_WRAPPERS = re.compile(r"\\(?:left|right|displaystyle|[!,;: ]|\$|%)|\^\\circ|\^\{\\circ\}|°|[$%]|\\[()\[\]]")
_TEXT = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|mbox)\s?\{([^{}]*)\}")
_UNITS = re.compile(
    r"\s*(?:square|sq\.?|cubic)?\s*\b(?:units?|degrees?|cm|mm|dm|km|m|meters?|metres?|inch(?:es)?|feet|ft|miles?|g|kg"
    r"|dollars?|cents?|euros?|percent|seconds?|minutes?|hours?|days?|weeks?|months?|years?)(?:\s*\^\s*\{?[23]\}?|²|³)?\.?$",
    re.IGNORECASE,
)
# A word set as text after a number names the things counted, unless it is a number itself: 5 \text{ apples}.
_COUNTED = re.compile(
    r"(?<=\d)\s*\\(?:text|mathrm|mbox)\s?\{\s*(?!hundred|thousand|[a-z]*illion|dozen|half|halves|third|quarter)[a-z]{3,}"
    r"\s*\}$"
)
_UNIT_AFTER_DIGIT = re.compile(r"(?<=\d)(?=(?:cm|mm|dm|km|m|kg|g|ft)\b)", re.IGNORECASE)


def final_answer(text: str) -> str | None:
    r"""The final answer of a worked solution.

    The content of the last ``\boxed{...}`` that is closed and not empty; without one, the text after the last "answer
    is" up to the end of its line or sentence; without one, the whole text if it is a single line of at most 60
    characters and two words. None otherwise.

    Examples
    --------
    >>> final_answer(r"Then x = 3, so \boxed{\frac{3}{4}}.")
    '\\frac{3}{4}'
    """
    text = text[-_TAIL:].strip()
    boxed = _last_boxed(text)
    if boxed is not None:
        return boxed or None
    cues = list(_CUE.finditer(text))
    if cues:
        stated = re.split(r"\n|\.\s", text[cues[-1].end() :], maxsplit=1)[0].strip(" .*")
        return stated or None
    alone = len(text) <= _SHORT and "\n" not in text and len(_WORD.findall(text)) <= 2
    return text if text and alone else None


def _last_boxed(text: str) -> str | None:
    """Content of the last closed, non-empty \\boxed{...}; "" if there are only empty or open ones, None if none."""
    end = len(text)
    seen = False
    for _ in range(20):
        start = text.rfind("boxed{", 0, end)
        if start < 0:
            break
        seen, end, depth = True, start, 0
        for i in range(start + 5, len(text)):
            depth += (text[i] == "{") - (text[i] == "}")
            if depth == 0:
                inside = text[start + 6 : i].strip()
                if inside:
                    return inside
                break
    return "" if seen else None


def canonical(text: str) -> str:
    """An answer after its last "=", without dollar signs, spacing commands, degrees, units and counted things.

    Examples
    --------
    >>> canonical("$x = 12$ cm")
    '12'
    """
    text = text.strip().rstrip(".").lower()
    text = _COUNTED.sub("", _WRAPPERS.sub("", text)).replace(r"\{", "{").replace(r"\}", "}")
    text = _TEXT.sub(r" \1", text)
    text = re.split(r"=|\\approx|≈", text)[-1]
    return _UNITS.sub("", _UNIT_AFTER_DIGIT.sub(" ", text)).strip() or text.strip()


def equal(a: str, b: str) -> bool:
    """Whether two answers are the same text, number or tuple of numbers.

    Numbers are compared by :func:`vlm.scoring.math_expressions.close`.

    Examples
    --------
    >>> equal("0.75", r"\\frac{3}{4}"), equal("(1, 2)", "(2, 1)")
    (True, False)
    """
    if max(len(a), len(b)) > LENGTH:
        return False
    a, b = canonical(a), canonical(b)
    if not a or not b:
        return False
    if a.replace(" ", "") == b.replace(" ", ""):
        return True
    parts_a, parts_b = _entries(a), _entries(b)
    if parts_a and parts_b:
        same_kind = len(parts_a) == len(parts_b) and (a[0], a[-1]) == (b[0], b[-1])
        return same_kind and all(map(_same_number, parts_a, parts_b))
    return _same_number(a, b)


def _same_number(a: str, b: str) -> bool:
    x, y = value(a), value(b)
    return a.strip() == b.strip() if x is None or y is None else close(x, y)


def _entries(text: str) -> list[str]:
    """The entries of "(1, 2)" or "[0, 1)"; [] if the text is not a tuple."""
    if len(text) < 3 or text[0] not in "([" or text[-1] not in ")]" or "," not in text:
        return []
    return text[1:-1].split(",")


def read_answer(text: str, options: Sequence[str]) -> str | None:
    """The letter that the answer names, where there are options; else the :func:`canonical` answer; or None."""
    answer = final_answer(text)
    if not options:
        return None if answer is None or len(answer) > LENGTH else canonical(answer) or None
    labels = letters(len(options))
    if answer is None:
        return read_letter(text[-_TAIL:], labels, options)
    letter = read_letter(_TEXT.sub(r" \1", answer.replace("$", "")), labels, options)
    if letter is None:
        same = [label for label, option in zip(labels, options, strict=True) if equal(option, answer)]
        letter = same[0] if len(same) == 1 else None
    return letter


def mathvision_match(text: str, options: Sequence[str], references: Sequence[str]) -> float:
    """1 if the answer is right, else 0: compared by letter where there are options, else by :func:`equal`.

    Examples
    --------
    >>> mathvision_match(r"So the area is \\boxed{12}.", (), ["12.0"])
    1.0
    """
    answer = read_answer(text, options)
    if answer is None:
        return 0.0
    if options:
        return float(answer in {reference.strip().strip("()").upper() for reference in references})
    return float(any(equal(answer, reference) for reference in references))
