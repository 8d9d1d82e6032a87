"""One form of what looks alike: full-width letters, digits of other scripts, dashes, quotation marks, spaces."""

from __future__ import annotations

import unicodedata

VULGAR_FRACTIONS = {
    "½": (1, 2),
    "⅓": (1, 3),
    "⅔": (2, 3),
    "¼": (1, 4),
    "¾": (3, 4),
    "⅕": (1, 5),
    "⅖": (2, 5),
    "⅗": (3, 5),
    "⅘": (4, 5),
    "⅙": (1, 6),
    "⅚": (5, 6),
    "⅛": (1, 8),
    "⅜": (3, 8),
    "⅝": (5, 8),
    "⅞": (7, 8),
}
# Compatibility characters whose plain form would say something else: 5² is not 52, and ½ is not 12.
_KEPT = ("<super>", "<sub>", "<fraction>", "<circle>")
_DASHES = "‐‑‒–−﹣－"
_SPELT = {
    **dict.fromkeys(_DASHES, "-"),
    **dict.fromkeys("’‘‛ʼ", "'"),
    **dict.fromkeys("“”„", '"'),
    "⁄": "/",
    "∕": "/",
}


def folded(text: str, *, dashes: bool = True) -> str:
    """NFKC, except that superscripts, subscripts and vulgar fractions stay; digits and dashes become those of ASCII.

    `dashes` = False leaves minus signs as they are, for rules that remove the one of ASCII.

    Examples
    --------
    >>> folded("Ｂ．"), folded("−５"), folded("٣"), folded("x²"), folded("no\u00ad")
    ('B.', '-5', '3', 'x²', 'no')
    """
    if text.isascii():
        return text
    kept = "" if dashes else _DASHES
    return unicodedata.normalize("NFC", "".join(c if c in kept else _plain(c) for c in text))


def folded_width(text: str) -> str:
    """Only full-width forms, the wide space and what is invisible, for rules that look for a text in another."""
    if text.isascii():
        return text
    return "".join(
        _plain(c) if "！" <= c <= "～" or c == "\u3000" or unicodedata.category(c) == "Cf" else c for c in text
    )


def _plain(character: str) -> str:
    if character.isascii():
        return character
    if character in _SPELT:
        return _SPELT[character]
    category = unicodedata.category(character)
    if category == "Cf":  # invisible: joiners, soft hyphens, directions of writing
        return ""
    if category == "Nd":
        return str(unicodedata.digit(character))
    if unicodedata.decomposition(character).startswith(_KEPT):
        return character
    return unicodedata.normalize("NFKC", character)
