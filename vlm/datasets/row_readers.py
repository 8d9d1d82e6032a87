"""Turns a row of a published table into the parts of an item: one function per data set."""

from __future__ import annotations

import ast
import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vlm.scoring.mmmu import references
from vlm.scoring.option_letters import letters, listed_letters

Row = Mapping[str, Any]  # a cell's type is checked where it is read


@dataclass(frozen=True, eq=False)
class Parts:
    """The fields of an `Item` that a row determines; its images are as stored."""

    question: str
    images: tuple[object, ...]
    answers: tuple[str, ...]
    kind: str
    options: tuple[str, ...] = ()
    details: Mapping[str, str] = field(default_factory=dict)


Reader = Callable[[Row], Parts]

KINDS = ("choice", "yes/no", "open", "ocr", "math")
_MARK = re.compile(r"<image\s*(\d+)>")


def gqa(row: Row) -> Parts:
    """`question`, `answer`, `types` and the joined `image`."""
    return Parts(
        question=text(row, "question"),
        images=(row["image"],),
        answers=(text(row, "answer"),),
        kind=yes_no_or("open", row["answer"]),
        details={"type": str((row.get("types") or {}).get("structural", ""))},
    )


def vqav2(row: Row) -> Parts:
    """`question`, `answers` (ten of {answer, answer_confidence, answer_id}), `answer_type`, `image`."""
    return Parts(
        question=text(row, "question"),
        images=(row["image"],),
        answers=texts([entry["answer"] for entry in row["answers"] or ()], "answers", 2),
        kind="yes/no" if row["answer_type"] == "yes/no" else "open",
        details={"type": str(row["answer_type"])},
    )


def textvqa(row: Row) -> Parts:
    """`question`, `answers` (ten texts), `image`."""
    return Parts(
        question=text(row, "question"),
        images=(row["image"],),
        answers=texts(row["answers"], "answers", 2),
        kind="open",
    )


def ai2d(row: Row) -> Parts:
    """`question`, `options` (texts), `answer` (the index of the right one, as text), `image`."""
    options = texts(row["options"], "options", 2)
    index = int(row["answer"])
    if not 0 <= index < len(options):
        raise ValueError(f"answer: expected an index below {len(options)}, got {index}")
    return Parts(
        question=text(row, "question"),
        images=(row["image"],),
        options=options,
        answers=(letters(len(options))[index],),
        kind="choice",
    )


def ocrbench(row: Row) -> Parts:
    """`question`, `answer` (texts, or one), `dataset`, `question_type`, `image`."""
    answer = row["answer"]
    return Parts(
        question=text(row, "question"),
        images=(row["image"],),
        answers=texts([answer] if isinstance(answer, str) else answer, "answer", 1),
        kind="ocr",
        details={"dataset": str(row["dataset"]), "type": str(row["question_type"])},
    )


def mmmu(row: Row) -> Parts:
    """`question` with `<image k>`, `options` (a Python list in a text), `answer`, `question_type`, `image_1` to `_7`.

    The images are those that the question or an option refers to, in ascending k; all of them if none is referred to.
    """
    options = _listed_options(row["options"]) if row["question_type"] == "multiple-choice" else ()
    question = text(row, "question")
    marks = sorted({int(k) for part in (question, *options) for k in _MARK.findall(part)})
    present = [k for k in range(1, 8) if row.get(f"image_{k}") is not None]
    answer = text(row, "answer")
    return Parts(
        question=question,
        images=tuple(row.get(f"image_{k}") for k in marks or present),
        options=options,
        answers=declared_letter(answer, options) if options else references(answer),
        kind="choice" if options else "open",
        details={"subject": re.sub(r"^[a-z]+_|_\d+$", "", str(row["id"]))},
    )


def _listed_options(column: str | Sequence[object]) -> tuple[str, ...]:
    try:
        options = ast.literal_eval(column) if isinstance(column, str) else column
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise ValueError(f"options: expected a Python list of texts, got {column[:80]!r}") from error
    return texts(options, "options", 2)


def realworldqa(row: Row) -> Parts:
    """`question` (its options and instruction inside), `answer`, `image`."""
    question, answer = text(row, "question"), text(row, "answer").strip()
    kind = "choice" if answer in listed_letters(question) else yes_no_or("open", answer)
    return Parts(question=question, images=(row["image"],), answers=(answer,), kind=kind)


def mmstar(row: Row) -> Parts:
    """`question` (its options inside), `answer` (a letter), `category`, `l2_category`, `image`."""
    return Parts(
        question=text(row, "question"),
        images=(row["image"],),
        answers=(text(row, "answer").strip().upper(),),
        kind="choice",
        details={"category": str(row["category"]), "l2_category": str(row["l2_category"])},
    )


def mathvision(row: Row) -> Parts:
    """`question`, `options` (none for a free answer), `answer`, `decoded_image`, `level`, `subject`."""
    options = tuple(map(str, row["options"] or ()))
    answer = str(row["answer"])
    return Parts(
        question=text(row, "question"),
        images=(row["decoded_image"],),
        options=options,
        answers=declared_letter(answer, options) if options else (answer,),
        kind="choice" if options else "math",
        details={"level": str(row["level"]), "subject": str(row["subject"])},
    )


def visual7w(row: Row) -> Parts:
    """`question`, `answer`, `multiple_choices` (the wrong options), `type`, and the `image` of the file's entry.

    In the file the right option comes first, so the options are put into an order drawn from `qa_id` alone.
    """
    options = (text(row, "answer"), *texts(row["multiple_choices"], "multiple_choices", 1))
    order = sorted(range(len(options)), key=lambda i: hashlib.sha256(f"{row['qa_id']}:{i}".encode()).digest())
    return Parts(
        question=text(row, "question"),
        images=(row["image"],),
        options=tuple(options[i] for i in order),
        answers=(letters(len(options))[order.index(0)],),
        kind="choice",
        details={"type": str(row.get("type", ""))},
    )


def own(row: Row) -> Parts:
    """Your own JSONL: `question`, `answer` (one or a list), `image` (a path or a list of them), `options`, `kind`.

    With options, `answer_index`, the position of the right one, may stand in place of the answer. Without an answer the
    question is unlabelled: it can be asked, and not scored.
    """
    _refuse_misnamed(row)
    options = _plain_texts(row["options"], "options", 2) if row.get("options") else ()
    indexed = bool(options) and "answer_index" in row
    image = row.get("image")
    answers: tuple[str, ...] = ()
    if indexed:
        answers = indexed_letter(row["answer_index"], options)
        if row.get("answer") is not None and not _names_option(row["answer"], options, answers[0]):
            raise ValueError(
                f"answer: {row['answer']!r} is not the option at answer_index {row['answer_index']!r}; leave one out"
            )
    elif not _unlabelled(row):
        answer = row["answer"]
        answers = _plain_texts([answer] if isinstance(answer, str | int | float) else answer, "answer", 1)
    images = tuple(image) if isinstance(image, list | tuple) else () if image is None else (image,)
    kind = row.get("kind") or ("choice" if options else "yes/no" if answers and _all_yes_or_no(answers) else "open")
    if kind not in KINDS:
        raise ValueError(f"kind: expected one of {', '.join(KINDS)}, got {kind!r}")
    if options and kind not in ("choice", "math"):
        raise ValueError(f"kind: expected 'choice' or 'math' for a question with options, got {kind!r}")
    if kind == "yes/no" and answers and not any(yes_no_or("", answer) for answer in answers):
        raise ValueError(f"answer: expected yes or no for a question of that kind, got {answers[0]!r}")
    details = row.get("details", {})
    if not isinstance(details, Mapping):
        raise ValueError(f"details: expected names and values, got {details!r}")
    if "image_id" in row and not _names(row["image_id"]):
        raise ValueError(f"image_id: expected text or a number, got {row['image_id']!r}; leave it out where unknown")
    if kind == "choice" and not options:
        answers = tuple(
            letter for a in answers for letter in right_letter(a, listed_letters(row["question"]) or letters(4))
        )
    return Parts(
        question=text(row, "question"),
        images=images,
        options=options,
        answers=answers
        if indexed or not options
        else tuple(letter for a in answers for letter in right_letter(a, options)),
        kind=kind,
        details={name: str(value) for name, value in details.items()},
    )


_PICTURE = re.compile(r"\.(?:png|jpe?g|webp|gif|bmp|tiff?)$", re.IGNORECASE)
_LABELS = ("answer", "label", "gold", "target", "reference", "ground_truth", "groundtruth", "correct")
# How the columns of a line of your own are misnamed; passed over, a question would be asked without its picture.
_MISNAMED = {"image": ("image", "img", "picture", "photo"), "options": ("option", "choice", "candidate")}


def _refuse_misnamed(row: Row) -> None:
    for column, starts in _MISNAMED.items():
        other = [str(key) for key in row if str(key).lower().startswith(starts) and key not in (column, "image_id")]
        if other and column not in row:
            raise ValueError(f"{column}: expected a column {column!r} (null for none), got {other[0]!r}")
    if "image" not in row:
        pictures = [str(key) for key, value in row.items() if isinstance(value, str) and _PICTURE.search(value)]
        if pictures := [key for key in pictures if key not in ("question", "answer", "id", "image_id")]:
            raise ValueError(f"image: expected a column 'image' (null for none), got a picture in {pictures[0]!r}")


def _names(value: object) -> bool:
    """Whether a value can name an image."""
    if isinstance(value, str):
        return bool(value.strip())
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and value == value)


def _plain_texts(cell: object, column: str, least: int) -> tuple[str, ...]:
    """The entries of a cell, each text or a number; 1.0 is written 1."""
    if not isinstance(cell, Sequence) or isinstance(cell, str) or len(cell) < least:
        raise ValueError(f"{column}: expected a list of at least {least}, got {cell!r}")
    for entry in cell:
        number = isinstance(entry, int | float) and not isinstance(entry, bool) and math.isfinite(entry)
        if not number and not (isinstance(entry, str) and entry.strip()):
            raise ValueError(f"{column}: expected text or a number, got {entry!r}")
    return tuple(str(int(e)) if isinstance(e, float) and e.is_integer() and abs(e) < 1e15 else str(e) for e in cell)


def _unlabelled(row: Row) -> bool:
    """Whether a line of your own has no answer; a key that looks like a misspelt one is not passed over."""
    return row.get("answer") is None and not any(str(key).lower().startswith(_LABELS) for key in row)


def _all_yes_or_no(answers: Sequence[str]) -> bool:
    return all(yes_no_or("open", answer) == "yes/no" for answer in answers)


def text(row: Row, column: str) -> str:
    """The text of a cell; ValueError if the cell is empty or holds something else."""
    cell = row[column]
    if not isinstance(cell, str) or not cell.strip():
        raise ValueError(f"{column}: expected text, got {cell!r}")
    return cell


def texts(cell: object, column: str, least: int) -> tuple[str, ...]:
    """The entries of a cell as texts; ValueError if the cell does not hold a list of at least `least` entries."""
    if not isinstance(cell, Sequence) or isinstance(cell, str) or len(cell) < least:
        raise ValueError(f"{column}: expected a list of at least {least}, got {cell!r}")
    return tuple(map(str, cell))


def declared_letter(answer: str, options: Sequence[str]) -> tuple[str, ...]:
    """The letter of the right option in a table whose answers are letters, whatever the options' texts are."""
    letter = answer.strip().upper()
    return (letter,) if letter in letters(len(options)) else right_letter(answer, options)


def right_letter(answer: str, options: Sequence[str]) -> tuple[str, ...]:
    """The letter of the right option, which is given as that letter or as the option's text.

    A ValueError where the two readings differ: with the options C, A, B the answer "A" is the first or the second.
    """
    labels = letters(len(options))
    letter = answer.strip().upper()
    named = [label for label, option in zip(labels, options, strict=True) if option.strip() == answer.strip()]
    # "b" is the letter B, unless an option is "b" or "B".
    named = named or [label for label, option in zip(labels, options, strict=True) if option.strip().upper() == letter]
    if letter in labels and (not named or named == [letter]):
        return (letter,)
    if letter in labels:
        raise ValueError(
            f"answer: {answer!r} is the letter of one option and the text of another; give the position of the right "
            'option, counted from 0, as "answer_index"'
        )
    if len(named) == 1:
        return (named[0],)
    several = ", which several options have" if named else ""
    raise ValueError(f"answer: expected one of {', '.join(labels)} or an option's text, got {answer!r}{several}")


def _names_option(answer: object, options: Sequence[str], letter: str) -> bool:
    """Whether an answer may be read as the option with this letter: as the letter, or as the option's text."""
    (text,) = (each.strip() for each in _plain_texts([answer], "answer", 1))
    return text.upper() == letter or options[letters(len(options)).index(letter)].strip() == text


def indexed_letter(index: object, options: Sequence[str]) -> tuple[str, ...]:
    """The letter of the option at a position, counted from 0."""
    if type(index) is not int or not 0 <= index < len(options):
        raise ValueError(f"answer_index: expected a whole number from 0 to {len(options) - 1}, got {index!r}")
    return (letters(len(options))[index],)


def yes_no_or(kind: str, answer: str) -> str:
    """The kind "yes/no" where the answer is one of the two, else `kind`."""
    return "yes/no" if answer.strip().lower() in ("yes", "no") else kind
