"""The two protocols: prompts word for word, limits, readings and scorers per kind of question."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from vlm.datasets import DATASETS
from vlm.evaluation.protocols import PROTOCOLS, with_images
from vlm.item import Item
from vlm.scoring import SCORERS

SKIP_IT, LMMS_EVAL = PROTOCOLS["skip-it"], PROTOCOLS["lmms-eval"]
IMAGE = Image.new("RGB", (2, 2))
SHORT = "Answer the question using a single word or phrase."
LETTER = "Answer with the option's letter from the given choices directly."
BOXED = 'Please solve the problem step by step and put your answer in one "\\boxed{}".'


def item(dataset: str, question: str = "What?", *, images: int = 1, **parts: Any) -> Item:
    return Item(dataset, "1", "1", question, (IMAGE,) * images, **parts)


CHOICE: dict[str, Any] = {"options": ("red", "blue"), "kind": "choice"}
LISTED = "Which?\nOptions: A: car, B: bus"


@pytest.mark.parametrize(
    ("asked", "skip_it", "lmms_eval"),
    [
        (item("gqa"), f"What?\n{SHORT}", None),
        (item("gqa", kind="yes/no"), f"What?\n{SHORT}", None),
        (item("vqav2"), f"What?\n{SHORT}", None),
        (item("textvqa", "what is the Brand?"), f"what is the Brand?\n{SHORT}", f"What is the brand?\n{SHORT}"),
        (item("visual7w", **CHOICE), f"What?\nA. red\nB. blue\n{LETTER}", None),
        (item("ai2d", **CHOICE), f"What?\nA. red\nB. blue\n{LETTER}", None),
        (item("ocrbench", kind="ocr"), "What?", None),
        (item("mmmu", **CHOICE), f"What?\nA. red\nB. blue\n{LETTER}", f"What?\nA. red\nB. blue\n\n{LETTER}"),
        (item("mmmu"), f"What?\n{SHORT}", f"What?\n\n{SHORT}"),
        (item("realworldqa", kind="choice"), "What?", None),
        (item("mmstar", LISTED, kind="choice"), f"{LISTED}\n{LETTER}", f"{LISTED}\n{LETTER[:-1]}"),
        (
            item("mathvision", **CHOICE),
            f"What?\nA. red\nB. blue\n{LETTER}",
            f"{BOXED}What?\nChoices: A. red\nB. blue\n{LETTER}",
        ),
        (item("mathvision", kind="math"), f"What?\n{BOXED}", f"{BOXED}What?"),
        (item("jsonl"), f"What?\n{SHORT}", None),
        (item("tiny", "which digit is at b2?"), "which digit is at b2?", None),
        (item("tiny", "which digit is there?", **CHOICE), "which digit is there? A red B blue", None),
    ],
)
def test_prompts_word_for_word(asked: Item, skip_it: str, lmms_eval: str | None) -> None:
    assert SKIP_IT.prompt(asked) == "<image>\n" + skip_it
    assert LMMS_EVAL.prompt(asked) == "<image>\n" + (skip_it if lmms_eval is None else lmms_eval)


@pytest.mark.parametrize(
    ("text", "images", "inline"),
    [
        ("<image 1> Whose?", 1, "<image> Whose?"),
        (
            "Compare <image 1> with <image 2>, then <image 1> again",
            2,
            "Compare <image> with <image>, then image 1 again",
        ),
        ("<image1>\nHow long?", 1, "<image>\nHow long?"),
        ("<image 2> before <image 1>", 2, "<image><image>\n<image 2> before <image 1>"),
        ("only <image 1>", 2, "<image><image>\nonly <image 1>"),
        ("says <image> in it", 1, "<image>\nsays [image] in it"),
        ("no image", 0, "no image"),
    ],
)
def test_image_marks_are_as_many_as_images(text: str, images: int, inline: str) -> None:
    assert with_images(text, images, inline=True) == inline
    for mode in (True, False):
        assert with_images(text, images, inline=mode).count("<image>") == images


def test_options_may_be_images() -> None:
    asked = item("mmmu", "Which of <image 1>?", images=3, options=("<image 2>", "<image 3>"), kind="choice")
    assert SKIP_IT.prompt(asked) == f"Which of <image>?\nA. <image>\nB. <image>\n{LETTER}"


@pytest.mark.parametrize(
    ("asked", "reading", "labels", "skip_it", "lmms_eval"),
    [
        (item("gqa"), "generate", (), "exact", "exact"),
        (item("gqa", kind="yes/no"), "letter", ("Yes", "No"), "exact", "exact"),
        (item("vqav2", kind="yes/no"), "letter", ("Yes", "No"), "vqa", "vqa"),
        (item("visual7w", **CHOICE), "letter", ("A", "B"), "letter", "letter"),
        (item("ai2d", **CHOICE), "letter", ("A", "B"), "letter", "letter"),
        (item("ocrbench", kind="ocr"), "generate", (), "ocrbench", "ocrbench"),
        (item("textvqa"), "generate", (), "vqa", "vqa"),
        (item("mmmu", **CHOICE), "letter", ("A", "B"), "letter", "mmmu"),
        (item("mmmu"), "generate", (), "mmmu", "mmmu"),
        (item("realworldqa", LISTED, kind="choice"), "generate", ("A", "B"), "realworldqa", "realworldqa"),
        (item("mmstar", LISTED, kind="choice"), "letter", ("A", "B"), "letter", "letter"),
        (item("mathvision", **CHOICE), "letter", ("A", "B"), "letter", "mathvision"),
        (item("mathvision", kind="math"), "generate", (), "mathvision", "mathvision"),
        (item("tiny", kind="yes/no"), "letter", ("yes", "no"), "exact", "exact"),
        (item("jsonl", kind="ocr"), "generate", (), "ocrbench", "ocrbench"),
    ],
)
def test_reading_labels_and_scorers(
    asked: Item, reading: str, labels: tuple[str, ...], skip_it: str, lmms_eval: str
) -> None:
    assert SKIP_IT.reading(asked) == reading
    assert SKIP_IT.labels(asked) == labels
    assert SKIP_IT.scorer(asked) == skip_it
    assert LMMS_EVAL.scorer(asked) == lmms_eval
    assert LMMS_EVAL.reading(asked) == "generate"
    assert {skip_it, lmms_eval} <= set(SCORERS)
    assert SKIP_IT.judged(asked) == (reading == "generate")
    assert not LMMS_EVAL.judged(asked)


def test_token_limits() -> None:
    limits = {d.name: LMMS_EVAL.max_new_tokens(item(d.name)) for d in DATASETS}
    assert {name for name, limit in limits.items() if limit == 16} == {
        "gqa",
        "vqav2",
        "visual7w",
        "ai2d",
        "realworldqa",
    }
    assert {name for name, limit in limits.items() if limit == 128} == {"mmmu", "ocrbench"}
    assert limits["mathvision"] == 16_384
    assert all(SKIP_IT.max_new_tokens(item(d.name)) == 256 for d in DATASETS)


def test_names_and_versions() -> None:
    assert {name: (p.name, p.version) for name, p in PROTOCOLS.items()} == {
        "skip-it": ("skip-it", "2"),
        "lmms-eval": ("lmms-eval", "2"),
    }
