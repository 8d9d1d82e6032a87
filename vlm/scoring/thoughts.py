"""A reasoning model's thoughts, which are no part of its answer, and the tags in which it sets the answer."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple, TypeAlias

Thought: TypeAlias = Literal["none", "ended", "endless"]

# Opening and closing tags of thoughts, as chat templates and training sets write them; compared without case.
_THOUGHTS = ("think", "thinking", "thought", "thoughts", "reasoning", "reason", "analysis", "reflection", "scratchpad")
# What some models write before their conclusion; without anything after it, it is the answer.
_STAGES = ("summary", "caption")
TAGS = (
    *((f"<{name}>", f"</{name}>") for name in (*_THOUGHTS, "cot", *_STAGES, "seed:think", "mm:think")),
    ("[think]", "[/think]"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|start_thinking|>", "<|end_thinking|>"),
    ("<|channel|>analysis<|message|>", "<|end|>"),
    ("<unused94>", "<unused95>"),
)
# Tags around the answer itself: GLM-4V's box, and the answer of models trained on two tags.
BOXES = (
    ("<|begin_of_box|>", "<|end_of_box|>"),
    ("<answer>", "</answer>"),
    ("<final_answer>", "</final_answer>"),
    ("<conclusion>", "</conclusion>"),
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<|start_response|>", "<|end_response|>"),
    ("<|channel|>final<|message|>", "<|return|>"),
)
_HARMONY = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>")


class Spoken(NamedTuple):
    """What a model said after its thoughts, and whether it thought.

    `answer` is None where thoughts never end, so that there is no answer.
    """

    answer: str | None
    thought: Thought


def _pattern(tags: Iterable[str]) -> re.Pattern[str]:
    """Any of some tags, without case and with blanks within angle brackets: < / think >."""
    spelt = (re.escape(tag).replace("<", r"<\s*").replace(">", r"\s*>").replace("/", r"/\s*") for tag in tags)
    return re.compile("|".join(spelt), re.IGNORECASE)


_OPENING = _pattern(opening for opening, _ in TAGS)
_PAIRS = tuple((_pattern([opening]), _pattern([closing])) for opening, closing in TAGS)
_BOXED = tuple((_pattern([opening]), _pattern([closing])) for opening, closing in BOXES)


def spoken(text: str) -> Spoken:
    """The answer without leading thoughts and without the tags around it.

    Thoughts lead where the text opens with their tag, or where only their closing tag stands in it, because the prompt
    had opened them. They end at the last closing tag before another opening one, and something follows them if
    anything does: a thought may speak of its own tag. A tag in the middle of an answer is text.

    Examples
    --------
    >>> spoken("<think>(C)? No.</think> B")
    Spoken(answer='B', thought='ended')
    >>> spoken("So it is (C)? No.</think>B").answer, spoken("<think>(C)?")
    ('B', Spoken(answer=None, thought='endless'))
    """
    thought: Thought = "none"
    start = _first(text, 0)
    while match := _OPENING.match(text, start):
        opening, closing = next(pair for pair in _PAIRS if pair[0].match(text, start))
        end = _end(text, match.end(), opening, closing)
        if opening.pattern in _ANSWERS and (end is None or not text[end:].strip()):
            break
        if end is None:
            return Spoken(None, "endless")
        start, thought = _first(text, end), "ended"
    if thought == "none":
        for opening, closing in _PAIRS:
            end = None if opening.search(text) else _end(text, 0, opening, closing)
            if end is not None and closing.pattern != _ENDS_MESSAGE:
                start, thought = end, "ended"
                break
    return Spoken(_unboxed(text[start:]), thought)


_ANSWERS = tuple(_pattern([f"<{name}>"]).pattern for name in _STAGES)
# Ends messages of any kind, so that alone it says nothing of thoughts.
_ENDS_MESSAGE = _pattern(["<|end|>"]).pattern


def opens_thought(prompt: str) -> str:
    """The tag with which a prompt opens thoughts that the model then continues; "" if it opens none."""
    end = prompt.rstrip().lower()
    return next((opening for opening, _ in TAGS if end.endswith(opening)), "")


def kept_tokens(special: Iterable[str]) -> list[str]:
    """Those of a tokenizer's special tokens that are tags: a text without them would be thoughts and answer in one."""
    special = list(special)
    tags = {tag for pair in (*TAGS, *BOXES) for tag in pair} - {"<|end|>", "<|return|>"}
    parts = _HARMONY if "<|channel|>" in special else ()
    return [token for token in special if token.lower() in tags or token in parts]


def _first(text: str, start: int) -> int:
    """Where the first character after blanks stands."""
    while start < len(text) and text[start].isspace():
        start += 1
    return start


def _end(text: str, start: int, opening: re.Pattern[str], closing: re.Pattern[str]) -> int | None:
    """Where the thoughts after `start` end; None if they do not."""
    again = opening.search(text, start)
    ends = [match.end() for match in closing.finditer(text, start, again.start() if again else len(text))]
    if not ends and again:  # thoughts within thoughts
        ends = [match.end() for match in closing.finditer(text, start)][-1:]
    followed = [end for end in ends if text[end:].strip()] or ends
    return followed[-1] if followed else None


def _unboxed(text: str) -> str:
    """The content of the last box, or the text without the tags of one that is not closed."""
    for opening, closing in _BOXED:
        pieces = opening.split(text)[1:]
        closed = [closing.split(piece, maxsplit=1)[0] for piece in pieces if closing.search(piece)]
        inside = [content for content in closed if content.strip()]
        if inside:
            text = inside[-1]
        elif pieces:
            text = closing.sub("", pieces[-1])
    return text.strip()
