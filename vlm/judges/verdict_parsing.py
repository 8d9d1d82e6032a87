"""Parses a judge's reply strictly: one unambiguous verdict, or none."""

from __future__ import annotations

import json
import re

from vlm.scoring.thoughts import spoken

LIMIT = 20_000  # characters; a longer reply is not a verdict

_WORDS = {"correct": True, "true": True, "yes": True, "incorrect": False, "false": False, "no": False, "wrong": False}
_FENCE = re.compile(r"```(?:json)?[ \t]*\n(.*)\n?```", re.DOTALL | re.IGNORECASE)
_KEY = re.compile(r"[\"']correct[\"']\s*:", re.IGNORECASE)
_FRAME = " \t\r\n*_`\"'."


def read_verdict(reply: str) -> bool | None:
    """Parse the verdict in a reply; None where it is not beyond doubt.

    A reply holds a verdict if it is a single word ("correct", "true", "yes", "incorrect", "false", "no", "wrong"; case,
    quotes, asterisks and full stops do not count), or a JSON object whose "correct" is true or false: alone, in a
    code fence, or as the last line after an explanation that contains no other such object. Leading thoughts are
    ignored, as in answers. Numbers are never read: "Score: 0/1" and "0 (10 is wrong)" are not verdicts.

    Parameters
    ----------
    reply : str
        The judge's reply, unchanged.

    Returns
    -------
    bool or None
        True if the prediction is right.

    See Also
    --------
    chat : The judge whose replies are parsed.

    Examples
    --------
    >>> from vlm.judges import read_verdict
    >>> read_verdict('{"correct": true}')
    True
    >>> read_verdict("Incorrect.")
    False
    >>> read_verdict("Score: 1/1") is None
    True
    """
    if len(reply) > LIMIT:
        return None
    text = spoken(reply).answer
    if text is None or reply.lower().count("<think") > 1:
        return None
    word = _WORDS.get(text.strip(_FRAME).casefold())
    if word is not None:
        return word
    if len(_KEY.findall(text)) != 1:
        return None  # a second object, or a quoted one, makes the reply ambiguous
    if fenced := _FENCE.search(text):
        if text[fenced.end() :].strip():
            return None
        return _of_object(fenced[1])
    return _of_object(text) if text.startswith("{") else _of_object(text.splitlines()[-1])


def _of_object(text: str) -> bool | None:
    try:
        value = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None
    correct = value.get("correct") if isinstance(value, dict) else None
    return correct if isinstance(correct, bool) else None


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """The object of these pairs; ValueError if a key is repeated."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("keys: expected each once, got a repeated key")
    return value
