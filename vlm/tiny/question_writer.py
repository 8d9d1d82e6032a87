"""Questions about a scene, each answered by one word.

Answers are balanced: whatever the kind, the wording says nothing about which of its possible answers is right,
so the chance level is one over the number of answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vlm.tiny.scenes import CELLS, Scene, draw_scene, scans

if TYPE_CHECKING:
    from PIL import Image

IMAGE_KINDS = ("location", "count", "comparison", "existence", "choice")
KINDS = (*IMAGE_KINDS, "text")
DIGITS = tuple("0123456789")
ANSWERS = {
    "location": DIGITS,
    "count": ("0", "1", "2", "3"),
    "comparison": ("yes", "no"),
    "existence": ("yes", "no"),
    "choice": ("A", "B", "C", "D"),
    "text": DIGITS,
}
_SPLIT_SEEDS = {"train": 1, "validation": 2, "test": 3}


@dataclass(frozen=True)
class Question:
    """One question with a one-word answer.

    Attributes
    ----------
    image : PIL.Image.Image or None
        The scene, 24x24 RGB; None for the text-only kind, whose scene is written in the prompt.
    prompt : str
        What the processor takes: ``"<image> which digit is at b2? answer:"``.
    answer : str
        The right word, one token.
    kind : str
        One of ``KINDS``.
    choices : tuple of str
        The words that are right for some question of this kind, equally often each.
    image_id : int
        The scene's number: the unit of sampling. Questions about one scene share it.
    """

    image: Image.Image | None
    prompt: str
    answer: str
    kind: str
    choices: tuple[str, ...]
    image_id: int


def ask(kind: str, digits: tuple[int, ...], rng: np.random.Generator) -> tuple[list[str], str]:
    """The words of a question of an image kind about nine digits, and its answer."""
    present = sorted(set(digits))
    if kind == "count":
        times = int(rng.integers(4))
        digit = rng.choice([d for d in range(10) if digits.count(d) == times])
        return f"how many times does {digit} appear ?".split(), str(times)
    if kind == "existence":
        there = bool(rng.integers(2))
        digit = rng.choice([d for d in range(10) if (d in present) == there])
        return f"is there a {digit} ?".split(), "yes" if there else "no"
    if kind == "comparison":
        while True:
            i, j = rng.integers(9, size=2)
            if digits[i] != digits[j]:
                return f"is {CELLS[i]} larger than {CELLS[j]} ?".split(), "yes" if digits[i] > digits[j] else "no"
    if kind == "location":
        cell = rng.integers(9)
        return f"which digit is at {CELLS[cell]} ?".split(), str(digits[cell])
    if kind == "choice":
        options = rng.permutation([d for d in range(10) if d not in present])[:4]
        place = int(rng.integers(4))
        options[place] = rng.choice(present)
        listed = [word for pair in zip("ABCD", map(str, options), strict=True) for word in pair]
        return ["which", "digit", "is", "there", "?", *listed], "ABCD"[place]
    raise ValueError(f"kind must be one of {', '.join(IMAGE_KINDS)}, got {kind!r}")


def sentence(words: list[str]) -> str:
    """Words as a prompt that ends where the answer is expected: ``"which digit is at b2? answer:"``."""
    return " ".join(words).replace(" ?", "?") + " answer:"


def picture(scene: Scene) -> Image.Image:
    """The scene as an RGB image."""
    from PIL import Image

    return Image.fromarray(scene.canvas).convert("RGB")


def blank_image() -> Image.Image:
    """A canvas without ink, of the size of a scene."""
    from PIL import Image

    return Image.new("RGB", (24, 24))


def questions(
    *, split: str = "test", limit: int = 600, seed: int = 0, kinds: tuple[str, ...] = KINDS, written: bool = False
) -> list[Question]:
    """Questions about fresh scenes: one of each kind per scene, scene after scene.

    Parameters
    ----------
    split : {"train", "validation", "test"}
        Whose digit scans the scenes show; the splits share none.
    limit : int
        How many questions; the last scene may be asked fewer.
    seed : int
        Equal arguments give equal questions; another seed gives other scenes of the same split.
    kinds : tuple of str
        Which kinds, in the order asked.
    written : bool
        Ask the image kinds, too, about the scene in words.

    Returns
    -------
    list of Question
        ``limit`` questions.

    Raises
    ------
    ValueError
        On an unknown split or kind, or a limit below one.
    """
    pools = scans(split)
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise ValueError(f"kinds must name some of {', '.join(KINDS)}, got {kinds!r}")
    rng = np.random.default_rng([seed, _SPLIT_SEEDS[split]])
    asked: list[Question] = []
    for image_id in range(-(-limit // len(kinds))):
        scene = draw_scene(rng, pools)
        image = picture(scene)
        for kind in kinds:
            words, answer = ask("location" if kind == "text" else kind, scene.digits, rng)
            if kind == "text" or written:
                prompt = sentence(scene.words(rng) + words)
                asked.append(Question(None, prompt, answer, kind, ANSWERS[kind], image_id))
            else:
                asked.append(Question(image, "<image> " + sentence(words), answer, kind, ANSWERS[kind], image_id))
    return asked[:limit]
