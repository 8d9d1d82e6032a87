r"""MathVision: the answer in the last ``\boxed{}``, compared as a letter, as an option's text, or as mathematics."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vlm.scoring.math_expressions import LENGTH, close, value
from vlm.scoring.option_letters import letters, read_letter
from vlm.scoring.unicode_folding import folded
from vlm.scoring.units_of_answers import agree, without_unit

_SHORT = 60  # characters of an answer that stands alone, with at most two words
# \\boxed{5}, \\boxed {5}, \\fbox{5}, \\boxed 5.
_BOX = re.compile(r"(?<=\\)(?:boxed|fbox)\s*\{")
_BOX_OF_ONE = re.compile(r"(?<=\\boxed)\s+(\w)(?!\w)")
_WORD = re.compile(r"(?<!\\)\b[A-Za-z]{2,}")
_TAIL = 20_000  # characters read from the end: where an answer is
_CUE = re.compile(r"\banswer(?: is| should be| would be|:)[\s:*]*", re.IGNORECASE)
_WRAPPERS = re.compile(r"\\(?:left|right|displaystyle|[!,;: ]|\$)|\$|\\[()]|\\\[|\\\]|(?<!\w)\*\*|\*\*(?!\w)|__|`|[~]")
_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox)\s?\{([^{}]*)\}")
# "5 (five)", "5 (apples)": a remark. A number word that says another number is none.
_REMARK = re.compile(r"(?<=[\d}])\s*\(([a-z][a-z -]*)\)$")
_NUMBER_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
# What follows is what is stated; "x >= 5" and "x != 5" state no number.
_RELATION = re.compile(r"(?<![<>!≤≥≠])=|\\approx|≈|\\in(?![a-z])|∈")
# $5, \$5, €5 and 5 €; a dollar sign that another one follows opens mathematics.
_MONEY = re.compile(
    r"(?:\\\$|^\$(?=[^$]*$)|(?P<sign>[€£¥]))\s*(?P<sum>-?[\d.,{}]*\d)|(?P<after>-?[\d.,{}]*\d)\s*(?P<behind>\\\$|[€£¥])"
)
_CURRENCY = {"€": "euro", "£": "pound", "¥": "yen"}
_NEXT = re.compile(r",|;|\\quad|\\text\{\s*(?:and|or)\s*\}|\band\b|\bor\b|\\\\|\n")
_AND = re.compile(r",?\s*(?:\\text\{\s*(?:and|or)\s*\}|\b(?:and|or)\b)\s*")
_NAME = re.compile(r"[a-z](?:_\{?\w\}?)?|\\(?:theta|alpha|beta|gamma|lambda)|[a-z]{1,2}\([a-z]\)")


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
    text = _BOX_OF_ONE.sub(r"{\1}", _BOX.sub("boxed{", text[-_TAIL:].strip()))
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
    return _TEXT.sub(r" \1", without_unit(_said(text))[0]).strip()


def equal(a: str, b: str) -> bool:
    r"""Whether two answers are the same text, number, tuple of numbers, or set of numbers in any order.

    Numbers are compared by :func:`vlm.scoring.math_expressions.close`. A unit that only one of them names does not
    count; two different ones differ.

    Examples
    --------
    >>> equal("0.75", r"\frac{3}{4}"), equal("(1, 2)", "(2, 1)"), equal(r"\{1, 2\}", r"\{2, 1\}")
    (True, False, True)
    >>> equal("1 1/2", "11/2"), equal("5 km", "5 m"), equal("x = 1, y = 2", "2")
    (False, False, False)
    """
    if max(len(a), len(b)) > LENGTH:
        return False
    a, b = _said(a), _said(b)
    values, others = _equations(a), _equations(b)
    if values or others:
        return _same_equations(a, b, values, others)
    (a, unit), (b, other) = without_unit(a), without_unit(b)
    a, b = (_TEXT.sub(r" \1", side).strip() for side in (a, b))
    if not a or not b or not agree(unit, other):
        return False
    if _squeezed(a) == _squeezed(b):
        return True
    parts_a, parts_b = _entries(a), _entries(b)
    if parts_a or parts_b:
        if _ends(a) != _ends(b):
            return False
        if _ends(a) == "⦃⦄":
            return _same_set(parts_a, parts_b)
        return len(parts_a) == len(parts_b) and all(map(_same_number, parts_a, parts_b))
    return _same_number(a, b)


def _said(text: str) -> str:
    """Lower case, without layout; the braces of a set are marks of their own, unlike those of TeX."""
    text = _MONEY.sub(_money, folded(text).strip().lower().replace("∞", r"\infty"))
    text = _WRAPPERS.sub("", text.replace(r"\lbrace", r"\{").replace(r"\rbrace", r"\}")).strip().rstrip(".,;").strip()
    text = text.replace(r"\{", "⦃").replace(r"\}", "⦄")
    if text.startswith("{") and text.endswith("}") and "," in text and text.count("{") == 1 and "{,}" not in text:
        text = f"⦃{text[1:-1]}⦄"  # a set as plain text writes it
    if remark := _REMARK.search(text):
        number = value(text[: remark.start()])
        word = remark[1].strip()
        if word not in _NUMBER_WORDS or number == _NUMBER_WORDS.index(word):
            text = text[: remark.start()].strip()
    if not _equations(text):
        sides = [side.strip() for side in _RELATION.split(text)]
        # "5 = x" states x as "x = 5" does.
        stated = len(sides) > 1 and _NAME.fullmatch(sides[-1]) and not _NAME.fullmatch(sides[-2])
        text = sides[-2] if stated else sides[-1]
    return text.strip()


def _money(match: re.Match[str]) -> str:
    """A sum with its currency as a word behind it."""
    unit = _CURRENCY.get(match["sign"] or match["behind"] or "", "dollar")
    return f"{match['sum'] or match['after']} {unit}"


def _equations(text: str) -> list[tuple[str, str]]:
    """Name and value of each of several equations, "x = 1, y = 2"; [] where there are fewer than two."""
    pieces = [_RELATION.split(piece) for piece in _NEXT.split(text) if piece.strip()]
    if len(pieces) < 2 or any(len(piece) < 2 for piece in pieces):
        return []
    pairs = [(piece[0].strip(), piece[-1].strip()) for piece in pieces]
    return pairs if all(_NAME.fullmatch(name) for name, _ in pairs) else []


def _same_equations(a: str, b: str, values: list[tuple[str, str]], others: list[tuple[str, str]]) -> bool:
    """Two systems by name; solutions of one name as a set; a system and a tuple in the order of the system."""
    if values and others:
        left, right = sorted(values), sorted(others)
        of = [{name: [v for n, v in side if n == name] for name, _ in side} for side in (left, right)]
        return set(of[0]) == set(of[1]) and all(_same_set(of[0][name], of[1][name]) for name in of[0])
    system, other = (values, b) if values else (others, a)
    parts = _entries(other)
    found = [v for _, v in system]
    if len({name for name, _ in system}) == 1:
        return bool(parts) and _same_set(found, parts)
    return len(parts) == len(found) and _ends(other) in ("", "()") and all(map(_same_number, found, parts))


def _same_set(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether each entry of one is in the other; how often does not count."""
    pairs = ((first, second), (second, first))
    return all(any(_same_number(entry, other) for other in theirs) for ours, theirs in pairs for entry in ours)


def _same_number(a: str, b: str) -> bool:
    (a, unit), (b, other) = without_unit(a.strip()), without_unit(b.strip())
    x, y = value(a), value(b)
    return agree(unit, other) and (_squeezed(a) == _squeezed(b) if x is None or y is None else close(x, y))


def _squeezed(text: str) -> str:
    """Without the blanks that say nothing: those between two numbers or words say something."""
    return re.sub(r"(?<![^\W_]) +| +(?![^\W_])", "", " ".join(text.split()))


def _ends(text: str) -> str:
    """The brackets around a list; "" for none."""
    return text[0] + text[-1] if text[0] in "([⦃" and text[-1] in ")]⦄" else ""


def _entries(text: str) -> list[str]:
    """The entries of "(1, 2)", "[0, 1)", a set, or "1, 2" without brackets; [] if the text is no list."""
    bare = text[1:-1] if _ends(text) else text
    if value(text) is None:
        bare = _AND.sub(",", bare)
    if "," not in bare.replace("{,}", "") or (not _ends(text) and value(text) is not None):
        return [bare] if _ends(text) == "⦃⦄" else []
    entries, depth, start = [], 0, 0
    for place, character in enumerate(bare):
        depth += (character in "([{⦃") - (character in ")]}⦄")
        if character == "," and depth == 0:
            entries.append(bare[start:place])
            start = place + 1
    entries.append(bare[start:])
    return entries if len(entries) > 1 or _ends(text) == "⦃⦄" else []


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
    if options:
        return float(read_answer(text, options) in {reference.strip().strip("()").upper() for reference in references})
    answer = final_answer(text)  # with its unit, which the parsed answer no longer shows
    return float(answer is not None and any(equal(answer, reference) for reference in references))
