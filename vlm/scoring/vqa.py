"""VQA accuracy with the normalisation of the EvalAI server, as for VQAv2 and TextVQA."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vlm.scoring.exact import DIGITS
from vlm.scoring.unicode_folding import folded

_DIGITS = {"none": "0"} | DIGITS
_ARTICLES = frozenset(("a", "an", "the"))
_MARKS = ';/[]"{}()=+\\_-><@`!'  # the published list without the comma and the question mark, which are removed earlier
# A full stop that no digit follows. The published pattern also intends to require a digit before it, but its
# "(?!<=\d)" requires nothing; kept as published. So is the count of 32: re.UNICODE was passed in place of a count.
_PERIOD = re.compile(r"\.(?!\d)")
_PERIODS = 32

# The published table, in the correct spelling; its keys lack one apostrophe, the first or the last.
_OF_ONE = """
ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's isn't it'd
it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't should've shouldn't somebody'll
somebody's someone'd someone'll someone's something'd something'll that's there'd there're there's they'd they'll
they're they've 'twas wasn't we've weren't what'll what're what's what've when's where'd where's where've who'd who'll
who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've
"""
_OF_TWO = """
hadn't've he'd've it'd've mightn't've she'd've somebody'd've someone'd've something'd've there'd've they'd've we'd've
who'd've wouldn't've shouldn't've couldn't've you'd've
"""
_IRREGULAR = {
    "yall'll": "y'all'll",
    "y'allll": "y'all'll",
    "yall'd've": "y'all'd've",
    "y'alld've": "y'all'd've",
    "y'all'dve": "y'all'd've",
    "ow's'at": "'ow's'at",
    "'ows'at": "'ow's'at",
    "'ow'sat": "'ow's'at",
    "somebody'd": "somebodyd",
}
CONTRACTIONS: dict[str, str] = (
    {right.replace("'", ""): right for right in _OF_ONE.split()}
    | {"".join(right.split("'", 1)): right for right in _OF_TWO.split()}
    | {"".join(right.rsplit("'", 1)): right for right in _OF_TWO.split()}
    | _IRREGULAR
)


def normalised(text: str) -> str:
    """Normalise a text as the EvalAI server does before it compares.

    In this order: one form of full-width letters, dashes and digits, which the server does not fold; lower case; remove
    commas and question marks; put a space before ``'s``; replace line breaks and tabs by spaces; remove each
    punctuation mark that stands next to a space somewhere in the text, and replace the others by a space; remove
    full stops that no digit follows; write zero to ten and none as digits; remove a, an and the; restore the
    apostrophes of contractions.

    Examples
    --------
    >>> normalised("The dont-walk sign, two of them.")
    "don't walk sign 2 of them"
    """
    text = folded(text, dashes=False).lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    bare = text
    for mark in _MARKS:
        beside_blank = mark + " " in text or " " + mark in text
        bare = bare.replace(mark, "" if beside_blank else " ")
    words = [_DIGITS.get(word, word) for word in _PERIOD.sub("", bare, count=_PERIODS).lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(prediction: str, references: Sequence[str]) -> float:
    """Mean over annotators of min(1, matches among the other annotators / 3), in [0, 1].

    With ten annotators, 0, 1, 2, 3 and 4 or more matches give 0, 0.3, 0.6, 0.9 and 1.

    Parameters
    ----------
    prediction : str
        The model's answer.
    references : sequence of str
        One answer per annotator; both sides are normalised.

    Raises
    ------
    ValueError
        Fewer than two references: without a second annotator nothing can match.

    References
    ----------
    Antol et al., "VQA: Visual Question Answering", 2015, arXiv:1505.00468.

    Examples
    --------
    >>> round(vqa_accuracy("red", ["red"] * 2 + ["blue"] * 8), 2)
    0.6
    """
    if len(references) < 2:
        raise ValueError(f"references: expected one per annotator, ten as a rule, got {len(references)}")
    answer = normalised(prediction)
    if not answer:
        return 0.0
    matches = [normalised(reference) == answer for reference in references]
    return sum(min(1.0, (sum(matches) - match) / 3) for match in matches) / len(matches)
