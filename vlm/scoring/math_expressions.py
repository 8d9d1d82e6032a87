r"""The value of a short arithmetic expression, in LaTeX or plain text, within fixed limits.

Nothing is evaluated as code and no computer algebra is used. A recursive-descent parser reads numbers,
``+ - * / ^``, brackets, ``\frac``, ``\sqrt``, ``\pi`` and nothing else, in rational arithmetic where possible.
Length, depth of nesting and size of every intermediate number are limited, which limits the work in the same way on
every machine; a time limit would not.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction

from vlm.scoring.unicode_folding import VULGAR_FRACTIONS, folded

Number = Fraction | float

LENGTH = 200  # characters
DEPTH = 16  # nested groups
BITS = 1_000  # of a numerator or denominator: below 1e302, so that every number is also a float

_NUMBER = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d{1,3}(?![\d.]))?", re.ASCII)
_SPELLINGS = {
    "−": "-",
    "–": "-",
    "×": "*",
    "·": "*",
    "÷": "/",
    "π": r"\pi",
    "∞": r"\infty",
    "⁄": "/",
    **{sign: rf"\frac{{{above}}}{{{below}}}" for sign, (above, below) in VULGAR_FRACTIONS.items()},
    **{power: f"^{digit}" for digit, power in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    r"\dfrac": r"\frac",
    r"\tfrac": r"\frac",
    r"\cfrac": r"\frac",
    r"\cdot": "*",
    r"\times": "*",
    r"\div": "/",
    "**": "^",
}
_ROOT = re.compile(r"√\s*(\d+(?:\.\d+)?)?")  # √12 is the root of 12; TeX takes \sqrt12 for that of 1
_THOUSANDS = re.compile(r"(?<![\d,])\d{1,3}(?:,\d{3})+(?![\d,])|(?<![\d ])\d{1,3}(?: \d{3})+(?![\d ])")
# "1 1/2" and "1 \\frac{1}{2}" are one and a half; TeX takes "\\frac 1 2" for one half.
_MIXED = re.compile(r"(?<![\d.,])(\d{1,9}) +(\d{1,9}) ?/ ?(\d{1,9})(?![\d.])")
_FRAC_OF_DIGITS = re.compile(r"\\frac\s*(\d|\{[^{}]*\})\s*(\d|\{[^{}]*\})")


def value(text: str) -> Number | None:
    r"""Evaluate an expression; None if the text is not an expression or exceeds the limits.

    Parameters
    ----------
    text : str
        ``"3/4"``, ``"\frac{3}{4}"``, ``"2\sqrt{3}"``, ``"1,000"``, ``"3\pi"``, ``"1\frac{1}{2}"`` (a mixed number).

    Returns
    -------
    Fraction, float or None
        A Fraction where only rational operations and exact roots occur.

    Examples
    --------
    >>> value(r"1\frac{1}{2}"), value("2^10"), value("1,000 + 1")
    (Fraction(3, 2), Fraction(1024, 1), Fraction(1001, 1))
    >>> value("1 1/2"), value("1{,}234"), value("1e3"), value("(1,200)") is None
    (Fraction(3, 2), Fraction(1234, 1), Fraction(1000, 1), True)
    >>> value("two") is None
    True
    """
    if len(text) > LENGTH:
        return None
    text = folded(text).replace("{,}", ",").replace("E", "e")
    text = _ROOT.sub(lambda match: rf"\sqrt{{{match[1]}}}" if match[1] else r"\sqrt", text)
    for spelling, standard in _SPELLINGS.items():
        text = text.replace(spelling, standard)
    text = _FRAC_OF_DIGITS.sub(lambda match: rf"\frac{_braced(match[1])}{_braced(match[2])}", " ".join(text.split()))
    text = _MIXED.sub(r"\1\\frac{\2}{\3}", text)
    if not _listing(text):
        text = _THOUSANDS.sub(lambda match: re.sub("[, ]", "", match[0]), text)
    if "," in text or re.search(r"\d [\d.]", text):
        return None
    try:
        return _Reader("".join(text.split())).whole()
    except (ValueError, ZeroDivisionError, OverflowError):
        return None


def _braced(argument: str) -> str:
    return argument if argument.startswith("{") else f"{{{argument}}}"


def _listing(text: str) -> bool:
    """Whether a comma stands within brackets: a tuple or an interval such as (1,200), not a number."""
    depth = 0
    for character in text:
        depth += (character in "([") - (character in ")]")
        if depth > 0 and character == ",":
            return True
    return False


def close(a: Number, b: Number) -> bool:
    """Whether two numbers agree to two decimals, as the official rule requires, and to 5%, so that 0.001 is not 0.004.

    Examples
    --------
    >>> close(3.14159, 3.14), close(0.001, 0.004)
    (True, False)
    """
    if a == b:
        return True
    x, y = float(a), float(b)
    return round(x, 2) == round(y, 2) and abs(x - y) <= 0.05 * max(abs(x), abs(y))


class _Unreadable(ValueError):
    pass


class _Reader:
    """A recursive-descent parser that passes over the characters once."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text, 0, 0

    def whole(self) -> Number:
        result = self.sum()
        if self.at != len(self.text):
            raise _Unreadable
        return result

    def sum(self) -> Number:
        total = self.product()
        while sign := self.take("+", "-"):
            term = self.product()
            total = limited(total + term if sign == "+" else total - term)
        return total

    def product(self) -> Number:
        result = self.signed()
        while True:
            if sign := self.take("*", "/"):
                factor = self.signed()
                result = limited(result * factor if sign == "*" else result / factor)
            elif self.text.startswith(("(", "{", "\\"), self.at) or (
                # "(2)3" is a product, "2 3" is not.
                self.at and self.text[self.at - 1] in ")}" and self.at < len(self.text) and self.text[self.at].isdigit()
            ):
                result = limited(result * self.power())
            else:
                return result

    def signed(self) -> Number:
        negative = False
        while sign := self.take("+", "-"):
            negative ^= sign == "-"
        result = self.power()
        return -result if negative else result

    def power(self) -> Number:
        base = self.atom()
        return raised(base, self.argument(signed=True)) if self.take("^") else base

    def atom(self) -> Number:
        if number := _NUMBER.match(self.text, self.at):
            self.at = number.end()
            digits, _, exponent = number[0].partition("e")
            result: Number = Fraction(digits.rstrip(".") if not digits.startswith(".") else "0" + digits)
            if exponent:
                result = limited(result * raised(Fraction(10), Fraction(int(exponent))))
            if number[0].isdigit() and self.text.startswith(r"\frac", self.at):
                return limited(result + self.atom())
            return result
        if self.take(r"\frac"):
            numerator = self.argument()
            return limited(numerator / self.argument())
        if self.take(r"\sqrt"):
            index: Number = self.group("[", "]") if self.text.startswith("[", self.at) else Fraction(2)
            return root(self.argument(), index)
        if self.take(r"\pi"):
            return math.pi
        for opening, closing in ("()", "{}", "[]"):
            if self.text.startswith(opening, self.at):
                return self.group(opening, closing)
        raise _Unreadable

    def argument(self, *, signed: bool = False) -> Number:
        r"""The argument of \frac, \sqrt or ^: a group, a single digit (TeX's rule), or another atom."""
        if self.text.startswith("{", self.at):
            return self.group("{", "}")
        if signed and self.take("-"):
            return -self.argument()
        if self.at < len(self.text) and self.text[self.at].isdigit():
            number = _NUMBER.match(self.text, self.at) if signed else None  # "2^10" means 2^{10} in plain text
            digits = number[0] if number else self.text[self.at]
            digits = digits.partition("e")[0]
            self.at += len(digits)
            return Fraction(digits.rstrip("."))
        return self.atom()

    def group(self, opening: str, closing: str) -> Number:
        self.depth += 1
        if self.depth > DEPTH or not self.take(opening):
            raise _Unreadable
        result = self.sum()
        if not self.take(closing):
            raise _Unreadable
        self.depth -= 1
        return result

    def take(self, *tokens: str) -> str:
        for token in tokens:
            if self.text.startswith(token, self.at):
                self.at += len(token)
                return token
        return ""


def limited(number: Number) -> Number:
    """The number, or `_Unreadable` if it is not finite or larger than BITS."""
    if isinstance(number, float):
        if not math.isfinite(number):
            raise _Unreadable
    elif max(number.numerator.bit_length(), number.denominator.bit_length()) > BITS:
        raise _Unreadable
    return number


def raised(base: Number, exponent: Number) -> Number:
    """A power; one that would exceed the limits is refused before it is computed."""
    if isinstance(exponent, Fraction) and exponent.denominator == 1 and isinstance(base, Fraction):
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if abs(exponent) * (bits - 1) > BITS:
            raise _Unreadable
        return limited(base**exponent.numerator)
    if base < 0:
        raise _Unreadable
    return limited(float(base) ** float(exponent))


def root(radicand: Number, index: Number) -> Number:
    """A root; the square root of a rational square is exact."""
    if radicand < 0 or not 1 <= index <= 100:
        raise _Unreadable
    if index == 2 and isinstance(radicand, Fraction):
        top, bottom = math.isqrt(radicand.numerator), math.isqrt(radicand.denominator)
        if Fraction(top * top, bottom * bottom) == radicand:
            return Fraction(top, bottom)
    return limited(float(radicand) ** (1 / float(index)))
