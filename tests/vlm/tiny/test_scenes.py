"""The questions are correct, balanced, repeatable, and only about digits of their own split."""

import json
import re
from functools import cache

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from vlm.tiny import ANSWERS, IMAGE_KINDS, KINDS, Question, blank_image, chance_by_kind, questions
from vlm.tiny.architecture import VOCABULARY
from vlm.tiny.question_writer import ask
from vlm.tiny.scenes import CELLS, SPLITS, distorted_scans, draw_scene, scan_indices, scans

CELL = r"([abc][123])"


@cache
def labels_by_pixels(split: str) -> dict[bytes, int]:
    data = load_digits()
    return {
        np.round(255 * data.images[row] / 16).astype(np.uint8).tobytes(): int(data.target[row])
        for row in scan_indices(split)
    }


def read_image(image: Image.Image, split: str) -> dict[str, int]:
    """Recognise each cell by looking its pixels up among the split's own rows of the data set."""
    shown = labels_by_pixels(split)
    pixels = np.asarray(image)[:, :, 0]
    return {
        cell: shown[np.ascontiguousarray(pixels[8 * i : 8 * i + 8, 8 * j : 8 * j + 8]).tobytes()]
        for (i, j), cell in zip(np.ndindex(3, 3), CELLS, strict=True)
    }


def read_words(prompt: str) -> dict[str, int]:
    return {cell: int(digit) for cell, digit in re.findall(CELL + r" (\d)", prompt)}


def naive_answer(prompt: str, digits: dict[str, int]) -> str:
    """What a reader who sees the digits would answer, from the wording alone."""
    if match := re.search(r"how many times does (\d) appear\?", prompt):
        return str(sum(digit == int(match[1]) for digit in digits.values()))
    if match := re.search(r"is there a (\d)\?", prompt):
        return "yes" if int(match[1]) in digits.values() else "no"
    if match := re.search(f"is {CELL} larger than {CELL}\\?", prompt):
        return "yes" if digits[match[1]] > digits[match[2]] else "no"
    if match := re.search(r"which digit is there\?(.*) answer:", prompt):
        options = re.findall(r"([ABCD]) (\d)", match[1])
        (letter,) = [letter for letter, option in options if int(option) in digits.values()]
        return str(letter)
    match = re.search(f"which digit is at {CELL}\\?", prompt)
    assert match
    return str(digits[match[1]])


def test_the_splits_share_no_scan_and_cover_all_of_them() -> None:
    parts = [scan_indices(split) for split in SPLITS]
    assert sum(map(len, parts)) == 1797
    assert len(np.unique(np.concatenate(parts))) == 1797
    assert len(scan_indices("test")) == pytest.approx(0.2 * 1797, abs=10)
    assert all(len(scans(split)) == 10 for split in SPLITS)


def test_training_distortions_come_from_training_scans_only() -> None:
    originals = [pool[: len(scans("train")[digit])] for digit, pool in enumerate(distorted_scans())]
    for digit, pool in enumerate(originals):
        assert np.array_equal(pool, scans("train")[digit])
    assert all(pool.min() >= 0 and pool.max() <= 1 for pool in distorted_scans())


@pytest.mark.parametrize("split", ["validation", "test"])
def test_every_answer_is_what_a_naive_reader_of_the_image_says(split: str) -> None:
    for question in questions(split=split, limit=240):
        if question.image is None:
            digits = read_words(question.prompt)
        else:
            digits = read_image(question.image, split)
        assert len(digits) == 9
        assert question.answer == naive_answer(question.prompt, digits), question.prompt
        assert question.answer in question.choices == ANSWERS[question.kind]


def test_scenes_in_words_take_all_kinds() -> None:
    for question in questions(limit=60, written=True):
        assert question.image is None
        assert "<image>" not in question.prompt
        assert question.answer == naive_answer(question.prompt, read_words(question.prompt))


def test_equal_seeds_give_equal_questions_and_other_seeds_others() -> None:
    def content(questions: list[Question]) -> list[tuple[object, ...]]:
        return [(q.image and q.image.tobytes(), q.prompt, q.answer, q.kind, q.image_id) for q in questions]

    assert content(questions(limit=20)) == content(questions(limit=20))
    assert content(questions(limit=50))[:20] == content(questions(limit=20))
    assert content(questions(limit=20, seed=1)) != content(questions(limit=20))
    assert content(questions(limit=20, split="validation")) != content(questions(limit=20))


def test_one_question_of_each_kind_per_scene() -> None:
    asked = questions(limit=13)
    assert [q.kind for q in asked[:6]] == list(KINDS)
    assert [q.image_id for q in asked] == [0] * 6 + [1] * 6 + [2]
    assert asked[0].image is asked[1].image
    assert asked[0].image is not None
    assert asked[0].image.size == blank_image().size == (24, 24)
    assert asked[0].image.mode == blank_image().mode == "RGB"


@pytest.mark.parametrize("kind", IMAGE_KINDS)
def test_answers_are_balanced(kind: str) -> None:
    # Each answer of a kind is binomial with p = 1 / m over 3,000 scenes: five standard deviations, so that the
    # chance of a false alarm over all kinds (22 answers) is below 2e-5.
    asked = questions(limit=3000, kinds=(kind,))
    count = len(ANSWERS[kind])
    slack = 5 * np.sqrt((1 / count) * (1 - 1 / count) / len(asked))
    for answer in ANSWERS[kind]:
        share = np.mean([q.answer == answer for q in asked])
        assert abs(share - 1 / count) < slack, (answer, share)
    assert chance_by_kind(asked)[kind] < 1 / count + slack


def test_the_wording_of_a_count_or_existence_question_does_not_give_it_away() -> None:
    # Conditional on the digit named, answers stay balanced: 10 digits x 2 kinds, five standard deviations.
    for kind in ("count", "existence"):
        asked = questions(limit=4000, kinds=(kind,))
        count = len(ANSWERS[kind])
        for digit in range(10):
            answers = [q.answer for q in asked if f" {digit}" in q.prompt]
            slack = 5 * np.sqrt((1 / count) * (1 - 1 / count) / len(answers))
            assert abs(np.mean([a == ANSWERS[kind][0] for a in answers]) - 1 / count) < slack


def test_exactly_one_option_of_a_choice_stands_in_the_scene() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        scene = draw_scene(rng, scans("test"))
        words, answer = ask("choice", scene.digits, rng)
        options = dict(zip(words[-8::2], map(int, words[-7::2]), strict=True))
        assert list(options) == list("ABCD")
        assert len(set(options.values())) == 4
        assert [letter for letter, digit in options.items() if digit in scene.digits] == [answer]


def test_every_word_is_in_the_vocabulary() -> None:
    asked = questions(limit=600) + questions(limit=300, written=True)
    words = {word for q in asked for word in re.findall(r"<image>|\w+|[^\w\s]", q.prompt)}
    assert words | {q.answer for q in asked} <= set(VOCABULARY)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"split": "dev"}, "split must be one of train, validation, test, got 'dev'"),
        ({"limit": 0}, "limit must be at least 1, got 0"),
        ({"kinds": ("colour",)}, "kinds must name some of location"),
        ({"kinds": ()}, "kinds must name some of location"),
    ],
)
def test_wrong_arguments_say_what_is_right(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        questions(**wrong)  # type: ignore[arg-type]


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="kind must be one of location"):
        ask("colour", (1,) * 9, np.random.default_rng(0))


def test_a_question_shows_itself_in_one_line():
    question = questions(limit=1)[0]
    line = repr(question)
    assert line.startswith("Question(image=Image, prompt=<image> which digit")
    assert "\n" not in line
    assert len(line) <= 240
    saved = json.loads(question.to_json())
    assert saved["image"] is True
    assert saved["choices"] == list(ANSWERS["location"])
