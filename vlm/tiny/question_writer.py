"""Questions about a scene, each answered by one word.

Answers are balanced: the wording of a question does not reveal which of the possible answers of its kind is right, so
the chance level is one over the number of answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from redundancy.display import Displayed
from vlm.tiny.scenes import CELLS, Scene, Split, draw_scene, scans, split_named

if TYPE_CHECKING:
    from PIL import Image

ImageKind = Literal["location", "count", "comparison", "existence", "choice"]
Kind = Literal[ImageKind, "text"]
IMAGE_KINDS: tuple[ImageKind, ...] = get_args(ImageKind)
KINDS: tuple[Kind, ...] = get_args(Kind)
DIGITS = tuple("0123456789")
ANSWERS = {
    "location": DIGITS,
    "count": ("0", "1", "2", "3"),
    "comparison": ("yes", "no"),
    "existence": ("yes", "no"),
    "choice": ("A", "B", "C", "D"),
    "text": DIGITS,
}
_SPLIT_SEEDS: dict[Split, int] = {"train": 1, "validation": 2, "test": 3}


@dataclass(frozen=True, repr=False)
class Question(Displayed):
    """A question with a one-word answer.

    Attributes
    ----------
    image : PIL.Image.Image or None
        The scene, 24x24 RGB; None for the text-only kind, whose prompt describes the scene in words.
    prompt : str
        The text for the processor: ``"<image> which digit is at b2? answer:"``.
    answer : str
        The right word, one token.
    kind : str
        One of ``KINDS``.
    choices : tuple of str
        The possible answers of this kind, all equally likely.
    image_id : int
        Number of the scene, the unit of sampling. Questions about one scene share it.

    See Also
    --------
    vlm.tiny.questions : Makes them.

    Examples
    --------
    >>> from vlm import tiny
    >>> question = tiny.questions(limit=1)[0]
    >>> question.prompt, question.answer, question.image_id
    ('<image> which digit is at b3? answer:', '2', 0)
    >>> question.image.size
    (24, 24)
    """

    image: Image.Image | None
    prompt: str
    answer: str
    kind: str
    choices: tuple[str, ...]
    image_id: int

    def to_dict(self) -> dict[str, Any]:
        """The question as JSON can hold it; of the image, only whether there is one."""
        return {
            "image": self.image is not None,
            "prompt": self.prompt,
            "answer": self.answer,
            "kind": self.kind,
            "choices": list(self.choices),
            "image_id": self.image_id,
        }


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
        option_words = [word for pair in zip("ABCD", map(str, options), strict=True) for word in pair]
        return ["which", "digit", "is", "there", "?", *option_words], "ABCD"[place]
    raise ValueError(f"kind must be one of {', '.join(IMAGE_KINDS)}, got {kind!r}")


def sentence(words: list[str]) -> str:
    """The words as a prompt that ends where the answer begins: ``"which digit is at b2? answer:"``."""
    return " ".join(words).replace(" ?", "?") + " answer:"


def scene_image(scene: Scene) -> Image.Image:
    """The scene as an RGB image."""
    from PIL import Image

    return Image.fromarray(scene.canvas).convert("RGB")


def blank_image() -> Image.Image:
    """An empty canvas of the size of a scene.

    Returns
    -------
    PIL.Image.Image
        24x24 RGB, black.

    See Also
    --------
    vlm.tiny.questions : Questions with images.

    Examples
    --------
    >>> from vlm import tiny
    >>> tiny.blank_image().getextrema()
    ((0, 0), (0, 0), (0, 0))
    """
    from PIL import Image

    return Image.new("RGB", (24, 24))


def questions(
    *, split: str = "test", limit: int = 600, seed: int = 0, kinds: tuple[Kind, ...] = KINDS, written: bool = False
) -> list[Question]:
    """Questions about fresh scenes: one of each kind per scene, scene after scene.

    Parameters
    ----------
    split : {"train", "validation", "test"}
        Whose digit scans the scenes show; no scan belongs to two splits.
    limit : int
        Number of questions; there may be fewer about the last scene.
    seed : int
        Equal arguments give equal questions; another seed gives other scenes of the same split.
    kinds : tuple of str
        Which kinds of questions, in this order.
    written : bool
        Describe the scene in words for the image kinds too, instead of showing it.

    Returns
    -------
    list of Question
        As many questions as `limit` says.

    Raises
    ------
    ValueError
        An unknown split or kind, or a limit below one.

    See Also
    --------
    vlm.tiny.correct : Whether a model answers them correctly.

    Examples
    --------
    >>> from vlm import tiny
    >>> for question in tiny.questions(limit=6):
    ...     print(question.kind, "|", question.answer, "|", question.prompt)
    location | 2 | <image> which digit is at b3? answer:
    count | 3 | <image> how many times does 2 appear? answer:
    comparison | yes | <image> is c1 larger than a2? answer:
    existence | yes | <image> is there a 3? answer:
    choice | A | <image> which digit is there? A 4 B 9 C 6 D 0 answer:
    text | 8 | c1 7 b1 4 a1 3 a2 2 b2 8 c3 8 a3 7 b3 2 c2 2 which digit is at b2? answer:
    """
    part = split_named(split)
    pools = scans(part)
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise ValueError(f"kinds must name some of {', '.join(KINDS)}, got {kinds!r}")
    rng = np.random.default_rng([seed, _SPLIT_SEEDS[part]])
    asked: list[Question] = []
    for image_id in range(-(-limit // len(kinds))):
        scene = draw_scene(rng, pools)
        image = scene_image(scene)
        for kind in kinds:
            words, answer = ask("location" if kind == "text" else kind, scene.digits, rng)
            if kind == "text" or written:
                prompt = sentence(scene.words(rng) + words)
                asked.append(Question(None, prompt, answer, kind, ANSWERS[kind], image_id))
            else:
                asked.append(Question(image, "<image> " + sentence(words), answer, kind, ANSWERS[kind], image_id))
    return asked[:limit]
