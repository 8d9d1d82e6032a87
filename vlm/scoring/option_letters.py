"""Finds the option that a text names, or none where the text is ambiguous: it never guesses."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from itertools import zip_longest

from vlm.scoring.exact import plain
from vlm.scoring.unicode_folding import folded

_LETTERS = string.ascii_uppercase
_SET_AS_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|fbox)\s?\{([^{}]*)\}")
_CIRCLED = {ord("Ⓐ") + i: letter for i, letter in enumerate(_LETTERS)} | {
    ord("ⓐ") + i: letter for i, letter in enumerate(string.ascii_lowercase)
}
# The letter after one of these is the decision of the text. "answer is (B)", "Answer: b", "\boxed{B}".
_DECISION = re.compile(
    r"(?:\banswer(?:\s(?:choice|option|letter))?\s?(?:is|would be|should be|must be|:|=)\s?(?:option|choice|letter)?:?"
    r"|\b(?:i|i'd|i would|i'll|i will|we) (?:choose|select|pick|go with|go for)(?: option| choice| letter)?"
    r"|\bboxed\s?\{\s?(?:\\(?:text|mathrm|mathbf|textbf)\s?\{)?)"
    r"[\s*_\"'`(\[{$]*([a-z])(?![\w'])",
    re.IGNORECASE,
)
_ANSWER = re.compile(r"\banswer(?: is| would be| should be|:)", re.IGNORECASE)
_MENTION = re.compile(r"\b(?:option|choice|letter)(?:\s+is)?[\s:*\"'(\[]*([a-z])(?![\w'])", re.IGNORECASE)
# "B", "(b)", "**B**.", "[B]:"; one letter that only brackets and marks may surround.
_ALONE = re.compile(r"[\s*_\"'`(\[{$.«>#•·-]*([A-Za-z])[\s*_\"'`)\]}$.,:;!»]*")
# "B. red", "(B) red", "B: red", "B) red", "B - red", "B\nbecause".
_LABELLED = re.compile(r"[\s*_\"'`]*(?:[(\[]?\s*([A-Za-z])\s*[)\]]|([A-Z])\s*(?:[.:,]|\*\*|-\s|\n))")
_BARE = re.compile(r"(?<![\w'.\-])([A-Z])(?![\w'\-]|\.\w)")
_ALTERNATIVE = re.compile(
    r"[\s.)\]*\"']*(?:,|/|&|\b(?:or|and|nor)\b)\s?(?:option\s)?[\s(\[*\"']*([a-z])(?![\w'])", re.IGNORECASE
)
_POINTER = re.compile(
    r"(?:\b(?:is|be|it's|its|say|pick|choose|select|so|thus|hence|therefore),?|[:=\-])[\s*_\"'`($]*$", re.IGNORECASE
)
# "It cannot be B", "I don't think it's B", "B is wrong": the text decides against the option.
_DENIED = re.compile(
    r"(?:\bnot|n't|\bcannot|\bnever|\bnor|\bneither|\bexcept|\b(?:anything|all) but|\brule out|\bruled out)\s"
    r"(?:(?:think|believe|say|that|it|it's|its|is|be|the|answer|option|choice|letter|correct|right|for)\s){0,7}"
    r"[\s*_\"'`($]*$",
    re.IGNORECASE,
)
_REJECTED = re.compile(
    r"[\s)\]*\"']*(?:is|are|was|looks|seems)(?:n't|\s(?:not|wrong|incorrect|false|impossible)\b)", re.IGNORECASE
)
_VERBS = "is|are|was|because|since|as|and|or|would|will|seems|looks|appears|matches|fits|describes|shows|best"
# "A cat", "A Cat": the article, not the option. "A is right", "A because": the option.
_ARTICLE = re.compile(rf"[ \t]+(?!(?:{_VERBS})\b)[a-z]", re.IGNORECASE)


def letters(count: int) -> tuple[str, ...]:
    """The first `count` capital letters, at most 26."""
    if not 0 <= count <= len(_LETTERS):
        raise ValueError(f"options: expected at most {len(_LETTERS)}, got {count}")
    return tuple(_LETTERS[:count])


def listed_letters(question: str) -> tuple[str, ...]:
    """The letters of the options that a question's own text lists, ``"A. red\\nB. blue"`` or ``"A: red, B: blue"``.

    They must come in order from A; () where the text lists fewer than two.

    Examples
    --------
    >>> listed_letters("Which colour? A. red B. blue")
    ('A', 'B')
    """
    return tuple(listed_options(question))


def listed_options(question: str) -> dict[str, str]:
    """The texts of the options that a question's own text lists, by letter; {} where it lists fewer than two.

    Examples
    --------
    >>> listed_options("Which way?\\nA. to the left\\nB. right")
    {'A': 'to the left', 'B': 'right'}
    """
    found: list[re.Match[str]] = []
    for match in re.finditer(r"(?:^|[\s(,;])([A-Z])\s?[.:)](?=\s)", question):
        if len(found) < len(_LETTERS) and match[1] == _LETTERS[len(found)]:
            found.append(match)
    if len(found) < 2:
        return {}
    ends = [match.start() for match in found[1:]] + [len(question)]
    texts = [question[match.end() : end].strip().partition("\n")[0] for match, end in zip(found, ends, strict=True)]
    return dict(zip(_LETTERS, (text.strip(" ,;") for text in texts), strict=False))


def is_article(text: str, start: int, option: str = "") -> bool:
    """Whether the letter at `start` is the word "a" or the pronoun "I", not the name of an option.

    It names the option if that option's own text follows it: "A red car", where option A is "red car".
    """
    if text[start] not in "AaIi" or _ARTICLE.match(text, start + 1) is None:
        return False
    return not option or text[start + 2 : start + 2 + len(option)].lower() != option.lower()


def read_letter(text: str, labels: Sequence[str], options: Sequence[str] = ()) -> str | None:
    """The option that a generated answer names; None where it names none, or several without deciding.

    The rules, in this order: a letter and nothing else, in either case ("b", "(B)."); the text of exactly one
    option; a decision ("the answer is B", "I choose (b)", "\\boxed{B}"), the last if there are several; "the answer
    is" and an option's text; a letter that labels the text after it ("B. red", "(B) red"); the only option
    mentioned ("option B"); a capital that opens or closes the text ("B because ...", "... it is B"). "A cat" is an
    article and a noun; "A or B", "B is wrong" and a list of all options are not decisions.

    Parameters
    ----------
    text : str
        The model's answer.
    labels : sequence of str
        The letters to choose from, capital.
    options : sequence of str
        The options' texts, in the order of the labels.

    Returns
    -------
    str or None
        One of `labels`.

    Examples
    --------
    >>> labels = ("A", "B")
    >>> [read_letter(text, labels, ("red", "blue")) for text in ("b", "It is blue, so the answer is B.", "Blue")]
    ['B', 'B', 'B']
    >>> [read_letter(text, labels) for text in ("A or B", "A cat.")]
    [None, None]
    """
    # Runs of spaces become one, so that no pattern below can match them in several ways.
    text = _SET_AS_TEXT.sub(r"\1", folded(text).translate(_CIRCLED))
    text = "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())
    if match := _ALONE.fullmatch(text):
        return _among(match[1], labels)
    named = _named(text, labels, options)
    if named:
        return named
    decisions = [m for m in _DECISION.finditer(text) if not is_article(text, m.start(1))]
    if decisions:
        standing = [m for m in decisions if not _DENIED.search(text[max(0, m.start() - 60) : m.start()])]
        if not standing:
            return None
        last = standing[-1]
        return None if _alternative(text, last.end(1), last[1], labels) else _among(last[1], labels)
    named = _named(_ANSWER.split(text)[-1], labels, options)
    if named:
        return named
    if listed_letters(text):
        return None  # the list of options repeated
    if match := _LABELLED.match(text):
        group = 1 if match[1] else 2
        label = _among(match[group], labels)
        other = _named(text[match.end() :], labels, options)  # "B: red" where red is option A decides nothing
        undecided = _alternative(text, match.end(group), match[group], labels) or (other and other != label)
        return None if undecided else label
    mentions = [m for m in _MENTION.finditer(text) if not is_article(text, m.start(1))]
    if any(_denied(text, m.start(1), m.end(1)) for m in mentions):
        return None
    mentioned = {m[1].upper() for m in mentions}
    if mentioned:
        return _among(mentioned.pop(), labels) if len(mentioned) == 1 else None
    return _bare(text, {label: option for label, option in zip_longest(labels, options, fillvalue="") if label})


def _bare(text: str, labels: Mapping[str, str]) -> str | None:
    """A capital that opens the text, or closes it after a word that introduces it, such as "is"."""
    capitals = [m for m in _BARE.finditer(text) if m[1] in labels and not is_article(text, m.start(), labels[m[1]])]
    if len({m[1] for m in capitals}) != 1 or any(_denied(text, m.start(), m.end()) for m in capitals):
        return None
    first, last = capitals[0], capitals[-1]
    opens = not text[: first.start()].strip("*_\"'`( ")
    closes = not text[last.end() :].strip("*_\"'`).,;:! ")
    pointed = _POINTER.search(text[max(0, last.start() - 30) : last.start()])
    return first[1] if opens or (closes and pointed) else None


def _denied(text: str, start: int, end: int) -> bool:
    """Whether the text decides against the letter between `start` and `end`."""
    return bool(_DENIED.search(text[max(0, start - 60) : start]) or _REJECTED.match(text, end))


def _alternative(text: str, end: int, letter: str, labels: Sequence[str]) -> bool:
    """Whether "or B" follows: a second option beside the one that was named."""
    match = _ALTERNATIVE.match(text, end)
    if match is None or is_article(text, match.start(1)):
        return False
    return match[1].upper() in labels and match[1].upper() != letter.upper()


def _among(letter: str, labels: Sequence[str]) -> str | None:
    return letter.upper() if letter.upper() in labels else None


def _named(text: str, labels: Sequence[str], options: Sequence[str]) -> str | None:
    """The label of the only option with this text, up to case; else up to punctuation and a leading article."""
    said = _verbatim(text)
    same = [label for label, option in zip(labels, options, strict=False) if said and _verbatim(option) == said]
    if len(same) == 1:
        return same[0]
    noun = _bare_noun(text)
    same = [label for label, option in zip(labels, options, strict=False) if noun and _bare_noun(option) == noun]
    return same[0] if len(same) == 1 else None


def _verbatim(text: str) -> str:
    """With all marks that may say something: C- is not C, and $5 not 5%."""
    bare = " ".join(folded(text).replace("\\$", "$").replace("\\%", "%").split()).lower().strip(" ,;!?*_\"'`")
    return re.sub(r"^\.(?!\d)|\.$", "", bare).strip(" ,;!?*_\"'`")  # the point of .5 says something


def _bare_noun(text: str) -> str:
    words = plain(text)
    return re.sub(r"^(?:a|an|the) (?=.)", "", words)
