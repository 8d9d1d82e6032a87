"""A run's questions to look through, with pictures, answers, scores and why: files that a browser opens from disk."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm.atomic_files import write_atomically, writing_bytes
from vlm.experiments.item_identity import entry_digest, same, text_digest
from vlm.experiments.merging import run_size
from vlm.experiments.run_directory import StoredRun, stored_run
from vlm.experiments.spec import DataChoice
from vlm.item import Failure, Item
from vlm.progress_bar import by_count
from vlm.record_log import Record
from vlm.reports.accuracy_table import NO_PLAN, plan_place
from vlm.reports.html_parts import document, heading, lead, paragraph, title, viewer
from vlm.reports.merged_records import merge_again, merged_lines

if TYPE_CHECKING:
    from PIL import Image

LARGEST = 20_000_000  # answers: the index has two letters of each, 40 MB
_TOGETHER = 50  # questions in a file
_FILE = 500_000  # characters after which a file is full all the same
_LONGEST = 4000  # characters of an answer that are shown
_SIDE = 640  # pixels of a picture
_SMALL = 128
_SHOWS = {
    "all": "all questions",
    "changed": "answer differs from no skip",
    "lost": "score lost",
    "gained": "score gained",
    "words": "other words, same score",
    "wrong": "score 0",
    "part": "score between",
    "right": "score 1",
    "unscored": "not scored",
}


def write_questions(run_directory: str | Path, out: str | Path, *, pictures: bool = True) -> Path:
    """Write the viewer of a run's questions; returns its page.

    Memory does not grow with the number of questions here, and in the browser by some letters per question and plan:
    questions lie in files of about 50, of which a few are read at a time.

    Parameters
    ----------
    run_directory : str or Path
        Of a merged sweep. Its data are read again for questions and pictures; where that is not possible, or an item
        is no longer what it was, the answers are shown alone and the page says why.
    out : str or Path
        Folder for the page and its files.
    pictures : bool
        Whether pictures are written, reduced to 640 pixels.

    Raises
    ------
    ValueError
        More than `LARGEST` answers.
    """
    run, out = stored_run(run_directory), Path(out)
    merge_again(run.folder)
    for name in (
        "index.html",
        "index.js",
    ):  # of an earlier viewer; a half of each would show one answer's change as another's
        (out / name).unlink(missing_ok=True)
    size = run_size(run)
    if size is not None and size > LARGEST:
        raise ValueError(
            f"questions: expected at most {LARGEST:,} answers to look through, got {size:,}, of which a browser would "
            "hold two letters each; sweep the plans of interest, or a --limit of the items, into a run of their own"
        )
    plans = [str(plan) for plan in sorted(map(str, run.plans), key=plan_place)]
    index = _Index(plans)
    for label, records in groupby(merged_lines(run.folder, "records"), key=lambda record: str(record["dataset"])):
        index.begin(label)
        known = run.item_digests().get(label)
        questions = _questions(run, label, records, out if pictures else None)
        for question in by_count(questions, None if known is None else len(known), f"questions of {label}"):
            if index.add(question):
                index.write_file(out)
    index.write_file(out)
    write_atomically(out / "index.js", f"const INDEX = {_script(index.content())};\n")
    write_atomically(out / "viewer.js", (files("vlm.reports") / "templates" / "viewer.js").read_text(encoding="utf-8"))
    return write_atomically(out / "index.html", _page(run, index))


class _Index:
    """What the page knows of every question, and the questions that are not written yet."""

    def __init__(self, plans: list[str]) -> None:
        self.plans = {plan: place for place, plan in enumerate(plans)}
        self.sets: list[list[Any]] = []
        self.starts: list[int] = []
        self.scores: list[bytearray] = [bytearray() for _ in plans]
        self.changes: list[bytearray] = [bytearray() for _ in plans]
        self.count = 0
        self._held: list[str] = []

    def begin(self, label: str) -> None:
        self.sets.append([label, self.count, self.count])

    def add(self, question: dict[str, Any]) -> bool:
        """Take a question; whether it fills a file."""
        records: dict[str, Record] = question.pop("records")
        full = records.get(NO_PLAN)
        for plan, place in self.plans.items():
            record = records.get(plan)
            self.scores[place] += b"-" if record is None else _score_letter(record)
            self.changes[place] += b"-" if record is None or plan == NO_PLAN else _change_letter(record, full)
        question["answers"] = [
            [self.plans[plan], _cut(record.get("prediction")), record.get("score"), _why(record)]
            for plan, record in sorted(records.items(), key=lambda pair: plan_place(pair[0]))
            if plan in self.plans
        ]
        if not self._held:
            self.starts.append(self.count)
        self._held.append(_script(question))
        self.count += 1
        self.sets[-1][2] = self.count
        return len(self._held) >= _TOGETHER or sum(map(len, self._held)) >= _FILE

    def write_file(self, out: Path) -> None:
        if self._held:
            number = len(self.starts) - 1
            text = f"shown({number}, [\n" + ",\n".join(self._held) + "\n]);\n"
            write_atomically(out / f"questions-{number:06}.js", text)
            self._held = []

    def content(self) -> dict[str, Any]:
        return {
            "plans": list(self.plans),
            "sets": self.sets,
            "starts": self.starts,
            "count": self.count,
            "scores": [letters.decode() for letters in self.scores],
            "changes": [letters.decode() for letters in self.changes],
        }


def _questions(
    run: StoredRun, label: str, records: Iterable[Record], pictures: Path | None
) -> Iterator[dict[str, Any]]:
    """Each item of a data set with its records, in the order of the merged records."""
    entries = _Entries(run, label, decoded=pictures is not None)
    for name, group in groupby(records, key=lambda record: str(record["item"])):
        answered = {str(record["plan"]): record for record in group}
        entry, note = entries.named(name, next(iter(answered.values())))
        item = entry if isinstance(entry, Item) else None
        yield {
            "set": label,
            "item": name,
            "question": item.question if item else None,
            "options": list(item.options) if item else [],
            "references": list(item.answers) if item else [],
            "pictures": [_saved(image, pictures) for image in item.images] if item and pictures is not None else [],
            "note": f"not read: {entry.reason}" if isinstance(entry, Failure) else note,
            "records": answered,
        }


class _Entries:
    """The items of a data set read again beside its records, one at a time."""

    def __init__(self, run: StoredRun, label: str, *, decoded: bool) -> None:
        choice = next((choice for choice in run.spec.data if choice.label == label), None)
        self._known = run.item_digests().get(label)
        self._problem = ""
        self._entries: Iterator[Item | Failure] = iter(())
        if choice is None:
            self._problem = f"the run's spec has no data set {label!r}"
            return
        try:
            entries = _read(choice, decoded and self._known is not None)
            # Before a worker has read all of it, records are in the order of ids; pictures would not fit in memory.
            self._entries = iter(sorted(entries, key=lambda entry: entry.id)) if self._known is None else entries
        except (OSError, ValueError, ImportError) as error:
            self._problem = f"the data could not be read again: {error}"

    def named(self, name: str, record: Record) -> tuple[Item | Failure | None, str]:
        """The item of a record, or None and why."""
        if self._problem:
            return None, self._problem
        try:
            entry = next((entry for entry in self._entries if entry.id == name), None)
        except (OSError, ValueError, ImportError) as error:
            self._problem = f"the data could not be read again: {error}"
            return None, self._problem
        if entry is None:
            self._problem = f"the data no longer have item {name!r}; what follows it is shown without its question"
            return None, self._problem
        digest = record.get("item_digest") or (self._known or {}).get(name, "")
        if digest and not any(same(digest, other) for other in (entry_digest(entry), text_digest(entry))):
            return None, "the data have changed since: this item is no longer what was asked"
        return entry, "pictures follow when a worker has read all of this data set" if self._known is None else ""


def _read(choice: DataChoice, decoded: bool) -> Iterator[Item | Failure]:
    from vlm.datasets import read

    source = {name: value for name, value in asdict(choice).items() if name != "label"}
    return read(**source, decoded=lambda _: decoded)


def _saved(image: Image.Image, out: Path) -> str:
    """Where a picture lies below the page, written once however many questions are about it."""
    from PIL.Image import Resampling

    small = image.convert("RGB")
    small.thumbnail((_SIDE, _SIDE))
    kind = "JPEG"
    if max(small.size) <= _SMALL:  # a few pixels are enlarged and kept exactly
        factor, kind = 2 * _SMALL // max(small.size), "PNG"
        small = small.resize((small.width * factor, small.height * factor), Resampling.NEAREST)
    digest = hashlib.sha256(repr(small.size).encode() + small.tobytes()).hexdigest()[:24]
    name = f"pictures/{digest[:2]}/{digest}.{kind.lower()}"
    if not (out / name).is_file():
        data = io.BytesIO()
        small.save(data, kind, quality=85)
        with writing_bytes(out / name) as file:
            file.write(data.getvalue())
    return name


def _score_letter(record: Record) -> bytes:
    score = record.get("score")
    if score is None or record.get("failure"):
        return b"u"
    return b"w" if score <= 0 else b"r" if score >= 1 else b"p"


def _change_letter(record: Record, full: Record | None) -> bytes:
    """Against no skip: l(ost), g(ained), t(ext alone), s(ame), n(ot known)."""
    if full is None or b"u" in (_score_letter(record), _score_letter(full)):
        return b"n"
    if record["score"] != full["score"]:
        return b"l" if record["score"] < full["score"] else b"g"
    return b"s" if record.get("prediction") == full.get("prediction") else b"t"


def _why(record: Record) -> str:
    """Why an answer has its score, in words."""
    if record.get("failure"):
        return f"failed: {record['failure']}"
    said = []
    judge = record.get("judge")
    if judge is not None:
        said.append(f"judge ({judge.get('status')}): {judge.get('reason') or judge.get('raw') or 'no reason given'}")
    if record.get("thought") == "endless":
        said.append("a thought that never ends")
    if record.get("parsed") is not None:
        said.append(f"read as {record['parsed']!r}")
    elif judge is None:
        said.append("no answer could be read in it")
    if record.get("letter_probabilities"):
        said.append(f"labels' probability {sum(record['letter_probabilities']):.2g}")
    return _cut("; ".join(said)) or ""


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]} … ({len(text) - _LONGEST:,} more characters in the records)"


def _script(value: object) -> str:
    """JSON that is safe in a script: ASCII only, without a tag."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def _page(run: StoredRun, index: _Index) -> str:
    sets = [(label, end - start) for label, start, end in index.sets]
    body = [
        title("Every question"),
        lead(f"{index.count:,} questions of run {run.digest}, model {run.spec.model}, protocol {run.spec.protocol}."),
        paragraph("Choose what changed against no skip, or how it was scored. Keys: n for next, p for previous."),
        heading("Questions"),
        viewer(list(index.plans), sets, _SHOWS),
    ]
    return document(f"skipit: questions of {run.digest}", body, scripts=["index.js", "viewer.js"])
