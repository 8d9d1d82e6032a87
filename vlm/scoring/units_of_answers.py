r"""Units and counted things after a number: 5 km is 5 where the reference names no unit, and never 5 m."""

from __future__ import annotations

import re

# Spellings of a unit; the first names it.
_SPELLINGS = (
    *("cm centimeter centimeters centimetre centimetres", "mm millimeter millimeters millimetre", "dm"),
    *("km kilometer kilometers kilometre kilometres", "m meter meters metre metres", "in inch inches", "ft foot feet"),
    *("yd yard yards", "mi mile miles", "kg kilogram kilograms", "g gram grams", "mg", "t ton tons tonne tonnes"),
    *("l liter liters litre litres", "ml milliliter milliliters", "s sec secs second seconds", "min minute minutes"),
    *(
        "h hr hrs hour hours",
        "day days",
        "week weeks",
        "month months",
        "year years",
        "dollar dollars usd",
        "cent cents",
    ),
    *(
        "euro euros eur",
        "pound pounds gbp",
        "yen jpy",
        "percent",
        "degree degrees deg",
        "radian radians rad",
        "unit units",
        "celsius",
        "fahrenheit",
    ),
    *("km/h kmh kph", "mph", "m/s", "hectare hectares ha", "acre acres", "point points"),
)
_NAMES = {spelling: group.split()[0] for group in _SPELLINGS for spelling in group.split()}
_WORDS = "|".join(sorted(map(re.escape, _NAMES), key=len, reverse=True))
_POWERS = {"square": "2", "sq": "2", "sq.": "2", "cubic": "3", "cu": "3", "²": "2", "³": "3"}
_UNIT = re.compile(
    rf"\s*(?:(?P<before>square|sq\.?|cubic|cu)\s*)?(?<![a-z\\])(?P<name>{_WORDS})\.?"
    r"(?:\s*\^\s*\{?(?P<power>[23])\}?|(?P<sign>[²³]))?\.?$"
)
_MARKS = (
    (re.compile(r"\s*(?:°|\\degree|\^\s*\\circ|\^\s*\{\s*\\circ\s*\}|\^o)\s*c$"), "celsius"),
    (re.compile(r"\s*(?:°|\\degree|\^\s*\\circ|\^\s*\{\s*\\circ\s*\}|\^o)\s*f$"), "fahrenheit"),
    (re.compile(r"\s*(?:°|\\degrees?|\^\s*\\circ|\^\s*\{\s*\\circ\s*\}|\^o)$"), "degree"),
    (re.compile(r"\s*\\?%$"), "percent"),
)
# A word set as text after a number names the things counted, unless it is a number itself: 5 \text{ apples}.
_NUMBER_WORDS = "hundred|thousand|[a-z]*illion|dozen|half|halves|third|quarter|lakh|crore|score|gross"
_OPERATIONS = "and|mod|sin|cos|tan|log|times|plus|minus|over|squared|cubed|factorial|choose"
_COUNTED = re.compile(
    rf"(?<=[\d}}])\s*\\(?:text|mathrm|mbox|textrm)\s?\{{\s*(?!{_NUMBER_WORDS})([a-z]{{3,}})\s*\.?\}}$"
)
# So does a word that is set as nothing: 5 apples.
_COUNTED_PLAIN = re.compile(rf"(?<=\d)\s+(?!{_NUMBER_WORDS}|(?:{_OPERATIONS})$)([a-z]{{3,}})$")
_DIGIT_OR_END = re.compile(r"(?:[\d.)}]|\\pi|π|½|¼|¾)$")


def without_unit(text: str) -> tuple[str, str]:
    r"""A lower-case answer without the unit after its number, and the unit's name with its power; "" for none.

    Examples
    --------
    >>> without_unit("5 km"), without_unit("12 square metres"), without_unit(r"30^\circ"), without_unit("5 x")
    (('5', 'km'), ('12', 'm2'), ('30', 'degree'), ('5 x', ''))
    """
    for pattern, name in _MARKS:
        if (match := pattern.search(text)) and _counts(text[: match.start()]):
            return text[: match.start()].strip(), name
    if match := _COUNTED.search(text):
        word = match[1]
        return text[: match.start()].strip(), _NAMES.get(word, word)
    bare = re.sub(r"\\(?:text|mathrm|mbox|textrm|textbf|mathbf)\s?\{([^{}]*)\}", r" \1", text).strip()
    if (match := _UNIT.search(bare)) and _counts(bare[: match.start()]):
        power = match["power"] or _POWERS.get(match["sign"] or match["before"] or "", "")
        return bare[: match.start()].strip(), _NAMES[match["name"]] + power
    if match := _COUNTED_PLAIN.search(text):
        return text[: match.start()].strip(), match[1]
    return text, ""


def agree(first: str, second: str) -> bool:
    """Whether two units may stand beside equal numbers: they are the same, or one answer names none."""
    return first == second or not first or not second or "unit" in (first.rstrip("23"), second.rstrip("23"))


def _counts(text: str) -> bool:
    """Whether a text ends as a number does."""
    return bool(_DIGIT_OR_END.search(text.strip()))
