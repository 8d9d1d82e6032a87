r"""How a question is put and its answer read: prompt, token limit, reading and scorer, under a name and a version.

A change that can change an answer or a score gets a new version, which every record carries.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from vlm.item import Item
from vlm.scoring import choice_labels

Reading = Literal["letter", "generate"]

SHORT = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."
BOXED = 'Please solve the problem step by step and put your answer in one "\\boxed{}".'
IMAGE = "<image>"

_MARK = re.compile(r"<image\s*(\d+)>")
# One generated word: the embedded model has no longer answers.
_TINY_TOKENS = 4


@dataclass(frozen=True)
class Protocol:
    """A named way to ask and to score; its fields are functions of an item.

    Attributes
    ----------
    name, version : str
        Which protocol, and which state of it.
    prompt : function -> str
        The text, with one ``<image>`` mark per image, in their order.
    reading : function -> "letter" or "generate"
        One forward pass that compares labels, or generated text.
    max_new_tokens : function -> int
        Limit of what is generated.
    scorer : function -> str
        One of ``vlm.scoring.SCORERS``.
    judged : function -> bool
        Whether the protocol as published has a language model judge the answer; the scorer is then the rule that
        stands in where no judge is asked.
    """

    name: str
    version: str
    prompt: Callable[[Item], str]
    reading: Callable[[Item], Reading]
    max_new_tokens: Callable[[Item], int]
    scorer: Callable[[Item], str]
    judged: Callable[[Item], bool]

    def labels(self, item: Item) -> tuple[str, ...]:
        """What one forward pass compares: the options' letters, or yes and no; () for other questions."""
        if item.kind == "choice":
            return choice_labels(item)
        if item.kind == "yes/no":
            return ("yes", "no") if item.dataset == "tiny" else ("Yes", "No")
        return ()


def scorer(item: Item) -> str:
    """The rule of the item's benchmark; a letter where there are options, else exact match, for your own."""
    rules = {
        "vqav2": "vqa",
        "textvqa": "vqa",
        "ocrbench": "ocrbench",
        "mmmu": "mmmu",
        "realworldqa": "realworldqa",
        "mathvision": "mathvision",
    }
    if item.dataset in rules:
        return rules[item.dataset]
    return {"choice": "letter", "ocr": "ocrbench", "math": "mathvision"}.get(item.kind, "exact")


def question(item: Item, *, between: str = "\n", tail: str = "") -> str:
    """Question, options one per line, and what is asked for."""
    if item.dataset == "tiny":  # its vocabulary has no full stop and no instruction
        return " ".join((item.question, *(f"{a} {o}" for a, o in zip(choice_labels(item), item.options, strict=False))))
    listed = [f"{label}. {option}" for label, option in zip(choice_labels(item), item.options, strict=False)]
    return "\n".join((item.question.strip(), *listed)) + (between + tail if tail else "")


def instruction(item: Item) -> str:
    """What the prompt asks for, in the wording common to both protocols."""
    if item.dataset in ("realworldqa", "ocrbench"):  # RealWorldQA's questions bring their own
        return ""
    return {"choice": LETTER, "math": BOXED}.get(item.kind, SHORT)


def with_images(text: str, images: int, *, inline: bool) -> str:
    """The text with one ``<image>`` mark per image.

    Inline, ``<image k>`` becomes the mark of image k where it first stands, provided that they first stand in
    ascending order and all are there; else all marks come first and the text keeps its references.
    """
    text = text.replace(IMAGE, "[image]")  # a question may contain the mark itself
    first: dict[int, int] = {}
    for match in _MARK.finditer(text):
        first.setdefault(int(match[1]), match.start())
    if not inline or len(first) != images or list(first) != sorted(first):
        return IMAGE * images + ("\n" if images else "") + text
    return _MARK.sub(lambda match: IMAGE if match.start() == first[int(match[1])] else f"image {match[1]}", text)


def _skip_it_prompt(item: Item) -> str:
    return with_images(question(item, tail=instruction(item)), len(item.images), inline=True)


def _skip_it_reading(item: Item) -> Reading:
    # The letters of RealWorldQA are generated: the paper does not count it among its multiple choices.
    listed = item.kind == "choice" and item.dataset != "realworldqa"
    return "letter" if listed or item.kind == "yes/no" else "generate"


def _skip_it_scorer(item: Item) -> str:
    return "letter" if item.kind == "choice" and _skip_it_reading(item) == "letter" else scorer(item)


SKIP_IT = Protocol(
    name="skip-it",
    version="1",
    prompt=_skip_it_prompt,
    reading=_skip_it_reading,
    max_new_tokens=lambda item: _TINY_TOKENS if item.dataset == "tiny" else 256,
    scorer=_skip_it_scorer,
    judged=lambda item: _skip_it_reading(item) == "generate" and item.dataset != "tiny",
)


def _lmms_eval_prompt(item: Item) -> str:
    if item.dataset == "mathvision":
        choices = "\nChoices: " + "\n".join(
            f"{label}. {option}" for label, option in zip(choice_labels(item), item.options, strict=False)
        )
        text = BOXED + item.question + (f"{choices}\n{LETTER}" if item.options else "")
    elif item.dataset == "mmmu":
        text = question(item, between="\n\n", tail=instruction(item))
    elif item.dataset == "mmstar":
        text = question(item, tail=LETTER.rstrip("."))
    elif item.dataset == "textvqa":
        text = f"{item.question.capitalize()}\n{SHORT}"
    else:
        text = question(item, tail=instruction(item))
    return with_images(text, len(item.images), inline=False)


# As the harness's task files state them; where one states none, its models' own default of 1,024.
_LMMS_EVAL_TOKENS = {
    "gqa": 16,
    "vqav2": 16,
    "ai2d": 16,
    "realworldqa": 16,
    "visual7w": 16,
    "mmmu": 128,
    "ocrbench": 128,
    "textvqa": 1_024,
    "mmstar": 1_024,
    "mathvision": 16_384,
    "tiny": _TINY_TOKENS,
    "jsonl": 1_024,
}

LMMS_EVAL = Protocol(
    name="lmms-eval",
    version="1",
    prompt=_lmms_eval_prompt,
    reading=lambda item: "generate",
    max_new_tokens=lambda item: _LMMS_EVAL_TOKENS[item.dataset],
    scorer=scorer,
    judged=lambda item: False,
)

PROTOCOLS: Mapping[str, Protocol] = {protocol.name: protocol for protocol in (SKIP_IT, LMMS_EVAL)}
