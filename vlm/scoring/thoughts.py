"""A reasoning model's thoughts, which are no part of its answer, and the tags in which it sets the answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
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
    ("<|channel>thought", "<channel|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<unused94>", "<unused95>"),
    ("```thinking", "```"),
    ("here is my thought process:", "here is my response:"),
)
# Tags that no list knows: any whose name speaks of thinking, as <inner_monologue> and <|deep_thinking|> do.
_WORDS = "think|thought|reason|reflect|analy[sz]|monologue|scratch|rationale|deliberat|chain[_-]of"
_SPEAKS = rf"[\w:-]{{0,40}}(?:{_WORDS})[\w:-]{{0,40}}"
_LEFT, _RIGHT = r"<\s{0,3}", r"\s{0,3}>"
_ANY_OPENING = re.compile(
    rf"{_LEFT}(?P<bar>\|?)(?!/|end)(?P<name>{_SPEAKS}|cot)(?:\s+[\w-]+=[^<>]{{0,200}})?\|?{_RIGHT}", re.IGNORECASE
)
_ANY_CLOSING = re.compile(rf"{_LEFT}\|?/\s{{0,3}}(?P<name>{_SPEAKS})\|?{_RIGHT}", re.IGNORECASE)
# Full-width and escaped tags.
_OTHER_MARKS = re.compile(
    rf"(?:＜|&lt;)(\s{{0,3}}\|?[/／]?\s{{0,3}}(?:{_SPEAKS}|cot|answer|conclusion)\s{{0,3}}\|?)(?:＞|&gt;)",
    re.IGNORECASE,
)
# Without one of these a text has no tag.
_MARKS = re.compile(r"[<＜◁\[`]|&lt;|here is my", re.IGNORECASE)
# Tags around the answer itself: GLM-4V's box, and the answer of models trained on two tags.
BOXES = (
    ("<|begin_of_box|>", "<|end_of_box|>"),
    ("<answer>", "</answer>"),
    ("<final_answer>", "</final_answer>"),
    ("<final>", "</final>"),
    ("<conclusion>", "</conclusion>"),
    ("<output>", "</output>"),
    ("<response>", "</response>"),
    ("<solution>", "</solution>"),
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<|start_response|>", "<|end_response|>"),
    ("<|channel|>final<|message|>", "<|return|>"),
)
_HARMONY = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>")
_CHANNEL = ("<|channel>", "<channel|>")


class Spoken(NamedTuple):
    """What a model said after its thoughts, and whether it thought.

    `answer` is None where thoughts never end, so that there is no answer.
    """

    answer: str | None
    thought: Thought


def _pattern(tags: Iterable[str]) -> re.Pattern[str]:
    """Any of some tags, without case and with blanks within angle brackets: < / think >."""
    spelt = (re.escape(tag).replace("<", _LEFT).replace("/", r"/\s{0,3}").replace(">", _RIGHT) for tag in tags)
    return re.compile("|".join(spelt), re.IGNORECASE)


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
    if not _MARKS.search(text):
        return Spoken(text.strip(), "none")
    text = _OTHER_MARKS.sub(lambda match: f"<{match[1].replace('／', '/')}>", text)
    thought: Thought = "none"
    start = _first(text, 0)
    while pair := _opened(text, start):
        begin, opening, closing = pair
        end = _end(text, begin, opening, closing)
        if opening.pattern in _ANSWERS and (end is None or not text[end:].strip()):
            break
        if end is None:
            return Spoken(None, "endless")
        start, thought = _first(text, end), "ended"
    if thought == "none":
        for opening, closing in (*_PAIRS[:-_PROSE], *_closed(text)):
            end = None if opening.search(text) else _end(text, 0, opening, closing)
            if end is not None and closing.pattern != _ENDS_MESSAGE:
                start, thought = end, "ended"
                break
    return Spoken(_unboxed(text[start:]), thought)


def _opened(text: str, start: int) -> tuple[int, re.Pattern[str], re.Pattern[str]] | None:
    """Where the thoughts that open at `start` begin, and the tags that open and end them; None if none open there."""
    for opening, closing in _PAIRS:
        if match := opening.match(text, start):
            return match.end(), opening, closing
    match = _ANY_OPENING.match(text, start)
    return None if match is None else (match.end(), *_pair(match["name"].lower()))


def _closed(text: str) -> Iterator[tuple[re.Pattern[str], re.Pattern[str]]]:
    """The tags of the first thoughts that are closed by a tag which no list knows."""
    match = _ANY_CLOSING.search(text)
    if match is not None:
        yield _pair(match["name"].lower())


@cache
def _pair(name: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Opening and closing tags of a name, such as <|name|> and <|end_name|>."""
    bare = re.escape(re.sub(r"^(?:begin|start)_(?:of_)?", "", name))
    closing = rf"{_LEFT}\|?(?:/\s{{0,3}}(?:{re.escape(name)}|{bare})|end_(?:of_)?{bare})\|?{_RIGHT}"
    opening = rf"{_LEFT}\|?{re.escape(name)}(?:\s+[\w-]+=[^<>]{{0,200}})?\|?{_RIGHT}"
    return re.compile(opening, re.IGNORECASE), re.compile(closing, re.IGNORECASE)


_ANSWERS = tuple(_pattern([f"<{name}>"]).pattern for name in _STAGES)
# The last two pairs are words, which may stand in any text: they count where the text opens with the first of them.
_PROSE = 2
# Ends messages of any kind, so that alone it says nothing of thoughts.
_ENDS_MESSAGE = _pattern(["<|end|>"]).pattern


def opens_thought(prompt: str) -> str:
    """The tag with which a prompt opens thoughts that the model then continues; "" if it opens none."""
    end = prompt.rstrip().lower()
    known = next((opening for opening, _ in TAGS[:-_PROSE] if end.endswith(opening)), "")
    last = "" if known else end[max(end.rfind("<"), 0) :]
    return last if _ANY_OPENING.fullmatch(last) else known


def kept_tokens(special: Iterable[str]) -> list[str]:
    """Those of a tokenizer's special tokens that are tags: a text without them would be thoughts and answer in one."""
    special = list(special)
    tags = {tag for pair in (*TAGS, *BOXES) for tag in pair} - {"<|end|>", "<|return|>"}
    parts = (*(_HARMONY if "<|channel|>" in special else ()), *_CHANNEL)
    return [token for token in special if token.lower() in tags or token in parts or _speaks(token)]


def _speaks(token: str) -> bool:
    """Whether a token is the tag of thoughts that no list knows."""
    name = token.strip("<|/>").lower()
    return bool(_ANY_OPENING.fullmatch(token) or _ANY_CLOSING.fullmatch(token)) or (
        token.startswith("<|end_") and bool(_ANY_OPENING.fullmatch(f"<|{re.sub('^end_(?:of_)?', '', name)}|>"))
    )


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
