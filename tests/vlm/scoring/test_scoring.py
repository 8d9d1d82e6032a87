"""Scorers against published truth tables, and what each does with bad input."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from vlm.item import Item
from vlm.scoring import SCORERS, choice_labels, score
from vlm.scoring.exact import exact_match
from vlm.scoring.math_expressions import BITS, close, value
from vlm.scoring.mathvision import equal, final_answer
from vlm.scoring.mmmu import references
from vlm.scoring.ocrbench import contains_match
from vlm.scoring.option_letters import letters, listed_letters, read_letter
from vlm.scoring.vqa import CONTRACTIONS, normalised, vqa_accuracy

TRUTH = Path(__file__).resolve().parents[2] / "official_scores"
TABLES = ("exact", "letter", "maths", "mathvision", "mmmu_choice", "mmmu_open", "ocrbench", "realworldqa", "vqa")


def truth(name: str) -> list[dict[str, str]]:
    """A table's rows; `text` stands `repeat` times."""
    with (TRUTH / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{**row, "text": row["text"] * int(row["repeat"])} for row in rows]


def item(**parts: Any) -> Item:
    known: dict[str, Any] = {
        "dataset": "x",
        "id": "1",
        "image_id": "1",
        "question": "?",
        "images": (),
        "answers": ("A",),
    }
    return Item(**{**known, **parts})


def several(cell: str) -> tuple[str, ...]:
    return tuple(cell.split("|")) if cell else ()


def parsed_or_score(name: str, row: dict[str, str]) -> str:
    """What the scorer of a table says to a row, in the table's form."""
    text, answers = row["text"], tuple(row.get("answers", "").split("|"))
    if name == "vqa":
        return normalised(text)
    if name == "maths":
        number = value(text)
        return "" if number is None else f"{round(float(number), 6):.10g}"
    if name in ("letter", "mmmu_choice"):
        asked = item(options=several(row["options"]))
        return score(asked, text, scorer="mmmu" if name == "mmmu_choice" else "letter").parsed or ""
    asked = item(
        options=several(row.get("options", "")),
        answers=answers,
        question=row.get("question", "?"),
        details={"dataset": row.get("subset", "")},
    )
    scored = score(asked, text, scorer="mmmu" if name == "mmmu_open" else name)
    assert scored.value in (0.0, 1.0)
    return str(int(scored.value))


@pytest.mark.parametrize("name", TABLES)
def test_truth_table(name: str) -> None:
    rows = truth(name)
    assert len(rows) >= 60
    wrong = {
        row["text"][:60]: (parsed_or_score(name, row), row["ours"])
        for row in rows
        if parsed_or_score(name, row) != row["ours"]
    }
    assert not wrong


@pytest.mark.parametrize("name", TABLES)
def test_a_difference_from_the_official_rule_has_a_reason(name: str) -> None:
    for row in truth(name):
        assert bool(row["why"]) == (row["official"] != row["ours"]), row["text"][:60]


def test_there_is_a_table_for_every_scorer() -> None:
    of_tables = {"mmmu" if name.startswith("mmmu") else name for name in TABLES}
    assert of_tables == {*SCORERS, "maths"}


@pytest.mark.parametrize("scorer", sorted(SCORERS))
@pytest.mark.parametrize(
    "text", ["(" * 90_000, "9^" * 40_000, "1" * 90_000 + "a", "answer is " * 9_000, "\\boxed{" * 12_000, " " * 90_000]
)
def test_hostile_answers_are_read_and_worth_nothing(scorer: str, text: str) -> None:
    asked = item(options=("red", "blue") if scorer == "letter" else (), answers=("Q", "Q"))
    assert score(asked, text, scorer=scorer).value == 0.0


@pytest.mark.parametrize("scorer", sorted(SCORERS))
def test_an_answer_without_end_is_unparsed(scorer: str) -> None:
    scored = score(item(answers=("a", "a")), "a " * 60_000, scorer=scorer)
    assert (scored.value, scored.parsed) == (0.0, None)


@pytest.mark.parametrize("scorer", sorted(SCORERS))
def test_an_empty_answer_is_unparsed(scorer: str) -> None:
    for text in ("", " ", "\n\n"):
        scored = score(item(answers=("a", "a")), text, scorer=scorer)
        assert (scored.value, scored.parsed) == (0.0, None)


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ValueError, match="scorer: expected one of letter, exact"):
        score(item(), "A", scorer="bleu")
    with pytest.raises(TypeError, match="prediction: expected text, got NoneType; list a failed item"):
        score(item(), None, scorer="letter")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="item x/1: expected at least one reference answer"):
        score(item(answers=()), "A", scorer="exact")
    with pytest.raises(ValueError, match="references: expected one per annotator"):
        score(item(answers=("a",)), "a", scorer="vqa")


@pytest.mark.parametrize(
    ("matches", "accuracy"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (9, 1.0), (10, 1.0)]
)
def test_vqa_accuracy_of_matches_among_ten(matches: int, accuracy: float) -> None:
    # Leave one annotator out: k of 10 match, and each matching one is compared with the k - 1 others.
    given = ["Cake."] * matches + [f"other {i}" for i in range(10 - matches)]
    assert vqa_accuracy("a cake", given) == pytest.approx(accuracy, abs=1e-12)


def test_answers_of_punctuation_alone_match_nothing() -> None:
    assert exact_match("?", ["!"]) == 0.0
    assert vqa_accuracy("?", ["!"] * 10) == 0.0
    assert contains_match("?", [" "]) == 0.0


def test_contractions_only_ever_add_apostrophes() -> None:
    for key, right in CONTRACTIONS.items():
        assert key.replace("'", "") == right.replace("'", "")
        assert normalised(key) == right or "'s" in key


def test_labels_come_from_the_options_the_question_or_are_four() -> None:
    assert choice_labels(item(options=("x", "y", "z"))) == ("A", "B", "C")
    assert choice_labels(item(question="Which?\nOptions: A: a car, B: a bus")) == ("A", "B")
    assert choice_labels(item(question="Which?\nA. one\nB. two\nC. three")) == ("A", "B", "C")
    assert choice_labels(item(question="Is it B. or C.?")) == ("A", "B", "C", "D")
    assert listed_letters("(A) x (B) y") == ("A", "B")
    with pytest.raises(ValueError, match="options: expected at most 26"):
        letters(27)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B is wrong", None),
        ("B isn't right", None),
        ("B is not the answer", None),
        ("The answer cannot be B", None),
        ("It is not B", None),
        ("Option A is wrong", None),
        ("It is not option A", None),
        ("B because the car is not red", "B"),
        ("B is wrongly drawn", "B"),
        ("It is B", "B"),
    ],
)
def test_an_option_that_the_text_decides_against_is_not_read(text: str, letter: str | None) -> None:
    assert read_letter(text, "ABCD", ["car", "bike", "bus", "tram"]) == letter


def test_a_letter_beyond_the_options_is_not_read() -> None:
    assert read_letter("C", "AB") is None
    assert read_letter("The answer is C", "AB") is None
    assert read_letter("(C) green", "AB") is None


def test_options_with_one_text_name_no_letter() -> None:
    assert read_letter("red", "ABC", ["red", "blue", "Red."]) is None


def test_mmmu_references_are_data() -> None:
    assert references("['a', 'b']") == ("a", "b")
    assert references("[1, 2.5]") == ("1", "2.5")
    assert references("[unclosed") == ("[unclosed",)
    assert references("[__import__('os')]") == ("[__import__('os')]",)
    assert references("plain") == ("plain",)


def test_maths_is_exact_where_it_can_be() -> None:
    for text, exact in (("0.1+0.2", "3/10"), (r"\frac{1}{3}+\frac{1}{6}", "1/2"), (r"\sqrt{\frac{9}{4}}", "3/2")):
        assert str(value(text)) == exact


@pytest.mark.parametrize(
    "text", ["(" * 17 + "1" + ")" * 17, f"2^{{{BITS + 1}}}", "(2^{900})*(2^{900})", "1" * 201, "2^{0.5}^{2^{999}}"]
)
def test_maths_beyond_the_limits_is_not_read(text: str) -> None:
    assert value(text) is None


def test_maths_within_the_limits_is_read() -> None:
    assert value("(" * 16 + "1" + ")" * 16) == 1
    assert value("2^{900}") == 2**900
    assert close(value("2^{900}") or 0, value("2^{900}") or 0)


def test_equality_is_to_two_decimals_and_to_five_per_cent() -> None:
    assert equal("3.14", r"\pi")
    assert equal("0.17", r"\frac{1}{6}")
    assert not equal("0.001", "0.004")  # both 0.00 to two decimals
    assert not equal("3.1", r"\pi")
    assert not equal("", "")


def test_the_last_closed_box_counts() -> None:
    assert final_answer(r"\boxed{1} then \boxed{\frac{1}{2}} and \boxed{cut") == r"\frac{1}{2}"
    assert final_answer(r"\boxed{}") is None
    assert final_answer("x" * 61) is None
    assert final_answer("I do not know") is None  # no statement of an answer, and unparsed rather than wrong
    assert final_answer("12 cm") == "12 cm"
    assert final_answer("The answer is 4. It is even.") == "4"
