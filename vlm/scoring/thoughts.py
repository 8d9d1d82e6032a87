"""A reasoning model's thoughts, which are no part of its answer, and the tags in which it sets the answer."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

Thought: TypeAlias = Literal["none", "ended", "endless"]

# Opening and closing tags of thoughts, as chat templates write them; compared without case.
TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[think]", "[/think]"),
    ("◁think▷", "◁/think▷"),
    ("<seed:think>", "</seed:think>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
)
# Tags around the answer itself: GLM-4V's box, and the answer of models trained on two tags.
BOXES = (
    ("<|begin_of_box|>", "<|end_of_box|>"),
    ("<answer>", "</answer>"),
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
)


class Spoken(NamedTuple):
    """What a model said after its thoughts, and whether it thought.

    `answer` is None where thoughts never end, so that there is no answer.
    """

    answer: str | None
    thought: Thought


def spoken(text: str) -> Spoken:
    """The answer without leading thoughts and without the tags around it.

    Thoughts lead where the text opens with their tag, or where only their closing tag stands in it, because the prompt
    had opened them. A tag in the middle of an answer is text.

    Examples
    --------
    >>> spoken("<think>(C)? No.</think> B")
    Spoken(answer='B', thought='ended')
    >>> spoken("So it is (C)? No.</think>B").answer, spoken("<think>(C)?")
    ('B', Spoken(answer=None, thought='endless'))
    """
    thought: Thought = "none"
    while opened := _opening(text):
        place = _find(text, opened[1], len(opened[0]) + text.lower().index(opened[0]))
        if place < 0:
            return Spoken(None, "endless")
        text, thought = text[place + len(opened[1]) :], "ended"
    if thought == "none":
        for opening, closing in TAGS:
            place = text.lower().rfind(closing)
            if place >= 0 and _find(text, opening, 0) < 0:
                text, thought = text[place + len(closing) :], "ended"
                break
    return Spoken(_unboxed(text), thought)


def opens_thought(prompt: str) -> str:
    """The tag with which a prompt opens thoughts that the model then continues; "" if it opens none."""
    end = prompt.rstrip().lower()
    return next((opening for opening, _ in TAGS if end.endswith(opening)), "")


def _opening(text: str) -> tuple[str, str] | None:
    start = text.lstrip()[:40].lower()
    return next((tags for tags in TAGS if start.startswith(tags[0])), None)


def _find(text: str, tag: str, start: int) -> int:
    return text.lower().find(tag, start)


def _unboxed(text: str) -> str:
    """The content of the last box, or the text without the tags of one that is not closed."""
    for opening, closing in BOXES:
        pieces = text.split(opening)[1:]
        closed = [piece.partition(closing)[0] for piece in pieces if closing in piece]
        inside = [content for content in closed if content.strip()]
        if inside:
            text = inside[-1]
        elif opening in text:
            text = text[text.rindex(opening) + len(opening) :].replace(closing, "")
    return text.strip()
