r"""Protocols: how an item becomes a prompt, and how its answer is read and scored.

Every change that can alter an answer or a score gets a new version, which every record states.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from redundancy.display import Displayed
from vlm.item import Item
from vlm.scoring import choice_labels
from vlm.scoring.scorers import VERSIONS as SCORER_VERSIONS

Reading = Literal["letter", "generate"]

SHORT = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."
BOXED = 'Please solve the problem step by step and put your answer in one "\\boxed{}".'
IMAGE = "<image>"

_MARK = re.compile(r"<image\s*(\d+)>")
# The embedded model answers with one word.
_TINY_TOKENS = 4


@dataclass(frozen=True, repr=False)
class Protocol(Displayed):
    """A named way to ask and to score; apart from its name and version, its fields are functions of an item.

    Attributes
    ----------
    name, version : str
        Which protocol, and which version of it.
    prompt : function -> str
        The text, with one ``<image>`` mark per image, in order.
    reading : function -> "letter" or "generate"
        Whether one forward pass compares labels, or text is generated.
    max_new_tokens : function -> int
        Limit of the generated text.
    scorer : function -> str
        One of ``vlm.scoring.SCORERS``; `scorers` names their versions.
    judged : function -> bool
        Whether the published protocol has a language model judge the answer. The scorer is then the rule that is used
        when there is no judge.

    Examples
    --------
    >>> from vlm.evaluation.protocols import PROTOCOLS
    >>> from vlm.item import Item
    >>> protocol = PROTOCOLS["skip-it"]
    >>> protocol
    Protocol(skip-it 2)
    >>> item = Item("gqa", "0", "a", "What colour is the sky?", images=(), answers=("blue",))
    >>> print(protocol.prompt(item))
    What colour is the sky?
    Answer the question using a single word or phrase.
    >>> protocol.reading(item), protocol.max_new_tokens(item), protocol.scorer(item)
    ('generate', 256, 'exact')
    """

    name: str
    version: str
    prompt: Callable[[Item], str]
    reading: Callable[[Item], Reading]
    max_new_tokens: Callable[[Item], int]
    scorer: Callable[[Item], str]
    judged: Callable[[Item], bool]

    def __repr__(self) -> str:
        return f"Protocol({self.name} {self.version})"

    def to_dict(self) -> dict[str, object]:
        """Name and versions; functions have no plain form."""
        return {"name": self.name, "version": self.version, "scorers": self.scorers}

    @property
    def scorers(self) -> str:
        """Names and versions of the scorers that the protocol chooses from, as records state them."""
        return ", ".join(f"{name} {version}" for name, version in sorted(SCORER_VERSIONS.items()))

    def labels(self, item: Item) -> tuple[str, ...]:
        """The labels that one forward pass compares: the options' letters, or yes and no; () for other questions."""
        if item.kind == "choice":
            return choice_labels(item)
        if item.kind == "yes/no":
            return ("yes", "no") if item.dataset == "tiny" else ("Yes", "No")
        return ()


def customised(protocol: Protocol, instructions: Mapping[str, str], max_new_tokens: int | None) -> Protocol:
    """A protocol with other instructions by kind of question, or another limit; its version says so.

    Examples
    --------
    >>> from vlm.evaluation.protocols import PROTOCOLS, customised
    >>> customised(PROTOCOLS["skip-it"], {"open": "Answer in one word."}, 8)
    Protocol(skip-it 2, own instructions, at most 8 tokens)
    """
    version = protocol.version
    if instructions:
        version += ", own instructions"
        ask = protocol.prompt
        protocol = replace(protocol, prompt=lambda item: _with_instruction(item, ask, instructions))
    if max_new_tokens is not None:
        version += f", at most {max_new_tokens} tokens"
        protocol = replace(protocol, max_new_tokens=lambda item: max_new_tokens)
    return replace(protocol, version=version)


def _with_instruction(item: Item, ask: Callable[[Item], str], instructions: Mapping[str, str]) -> str:
    if item.kind not in instructions:
        return ask(item)
    return with_images(question(item, tail=instructions[item.kind]), len(item.images), inline=True)


def scorer(item: Item) -> str:
    """The rule of the item's benchmark; for your own data a letter where there are options, exact match otherwise."""
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
    """Question, options one per line, and the instruction (`tail`)."""
    if item.dataset == "tiny":  # its vocabulary has neither a full stop nor an instruction
        return " ".join((item.question, *(f"{a} {o}" for a, o in zip(choice_labels(item), item.options, strict=False))))
    return "\n".join((item.question.strip(), *_options(item))) + (between + tail if tail else "")


def instruction(item: Item) -> str:
    """What the prompt asks for, in the wording that both protocols share."""
    if item.dataset in ("realworldqa", "ocrbench"):  # RealWorldQA's questions contain their own
        return ""
    return {"choice": LETTER, "math": BOXED}.get(item.kind, SHORT)


def with_images(text: str, images: int, *, inline: bool) -> str:
    """The text with one ``<image>`` mark per image.

    Inline, the first ``<image k>`` for each k becomes the mark of image k, provided that every image is referred to and
    the first references are in ascending order. Otherwise all marks come first and the text keeps its references.
    """
    text = text.replace(IMAGE, "[image]")  # a question may contain the mark as ordinary text
    first: dict[int, int] = {}
    for match in _MARK.finditer(text):
        first.setdefault(int(match[1]), match.start())
    if not inline or len(first) != images or list(first) != sorted(first):
        return IMAGE * images + ("\n" if images else "") + text
    return _MARK.sub(lambda match: IMAGE if match.start() == first[int(match[1])] else f"image {match[1]}", text)


def _options(item: Item) -> list[str]:
    """The options with their letters, one line each."""
    return [f"{label}. {option}" for label, option in zip(choice_labels(item), item.options, strict=False)]


def _skip_it_prompt(item: Item) -> str:
    return with_images(question(item, tail=instruction(item)), len(item.images), inline=True)


def _skip_it_reading(item: Item) -> Reading:
    # RealWorldQA's letters are generated: the paper does not count it among its multiple-choice benchmarks.
    compared = item.kind == "choice" and item.dataset != "realworldqa"
    return "letter" if compared or item.kind == "yes/no" else "generate"


def _skip_it_scorer(item: Item) -> str:
    return "letter" if item.kind == "choice" and _skip_it_reading(item) == "letter" else scorer(item)


SKIP_IT = Protocol(
    name="skip-it",
    version="2",
    prompt=_skip_it_prompt,
    reading=_skip_it_reading,
    max_new_tokens=lambda item: _TINY_TOKENS if item.dataset == "tiny" else 256,
    scorer=_skip_it_scorer,
    judged=lambda item: _skip_it_reading(item) == "generate" and item.dataset != "tiny",
)


def _lmms_eval_prompt(item: Item) -> str:
    if item.dataset == "mathvision":
        choices = "\nChoices: " + "\n".join(_options(item))
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


# From lmms-eval's task files; where a task states none, the default of its models, 1,024.
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
    version="2",
    prompt=_lmms_eval_prompt,
    reading=lambda item: "generate",
    max_new_tokens=lambda item: _LMMS_EVAL_TOKENS[item.dataset],
    scorer=scorer,
    judged=lambda item: False,
)

PROTOCOLS: Mapping[str, Protocol] = {protocol.name: protocol for protocol in (SKIP_IT, LMMS_EVAL)}
