"""Rows that do not come from a published table: Visual7W's own JSON, and your own JSONL."""

from __future__ import annotations

import codecs
import json
from pathlib import Path
from typing import Any

from vlm.datasets.row_readers import Row

BROKEN = "\0broken"  # holds the reason in place of a row that could not be read


def visual7w_rows(source: Path | None, split: str) -> list[Row]:
    """Read the question-answer pairs of dataset_v7w_telling.json, each with the file of its image.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        A file of another form, or without questions of the split.
    """
    if source is None:
        raise FileNotFoundError(
            "visual7w: expected source=, a folder with dataset_v7w_telling.json and images/, got none; "
            "both are linked from https://github.com/yukezhu/visual7w-toolkit"
        )
    file = source if source.is_file() else source / "dataset_v7w_telling.json"
    if not file.is_file():
        raise FileNotFoundError(f"visual7w: expected {file.name} in {source}, found none")
    text = utf8(file)
    try:
        entries = json.loads(text)["images"]
        pairs: list[Row] = [
            {**pair, "filename": entry["filename"], "image": _beside(file.parent, entry["filename"])}
            for entry in entries
            if entry["split"] == split
            for pair in entry["qa_pairs"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"visual7w: expected images[].{{filename, split, qa_pairs}} in {file}, got {error!r}"
        ) from error
    if not pairs:
        raise ValueError(f"visual7w: expected questions of split {split!r} in {file}, found none")
    return pairs


def _beside(folder: Path, name: str) -> str:
    """The image's file, relative to the folder: beside the JSON, or else in images/."""
    return name if (folder / name).is_file() else f"images/{name}"


def own_rows(source: Path | None) -> list[Row]:
    """Read the lines of your own JSONL; a line that is not a JSON object becomes a row that holds the reason.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        Two lines have the same id, or the file is not UTF-8.
    """
    if source is None or not source.is_file():
        raise FileNotFoundError(f"jsonl: expected source=, a file with one JSON object per line, got {source}")
    rows: list[Row] = []
    for number, line in enumerate(utf8(source).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_once)
            if "\\ud" in line.lower():
                json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            row = {BROKEN: f"line {number}: expected text, got half of a surrogate pair (\\ud800 to \\udfff)"}
        except (ValueError, RecursionError) as error:
            row = {BROKEN: f"line {number}: expected JSON, got {error}"}
        if not isinstance(row, dict):
            row = {BROKEN: f"line {number}: expected a JSON object, got {type(row).__name__}"}
        name = row.get("id")
        if isinstance(name, bool | list | dict):
            row = {BROKEN: f"id: expected text or a number, got {name!r}"}
        rows.append({**row, "id": f"line {number}" if BROKEN in row or name is None else str(name)})
    seen: set[str] = set()
    for row in rows:
        if row["id"] in seen:
            raise ValueError(f"jsonl: expected ids that differ, got {row['id']!r} more than once in {source}")
        seen.add(row["id"])
    return rows


def _once(pairs: list[tuple[str, Any]]) -> Row:
    """A JSON object; a ValueError where a name comes twice, of which the last would win in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the name {next(name for name in names if names.count(name) > 1)!r} twice in one object")
    return found


def utf8(file: Path) -> str:
    """The text of a file; a ValueError that names the line if it is in another encoding."""
    data = file.read_bytes()
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data[:100]:
        raise ValueError(
            f"source: expected UTF-8 in {file}, got UTF-16, UTF-32 or no text; convert it, for example with "
            "iconv -f utf-16 -t utf-8"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"source: expected UTF-8 in {file}, got byte 0x{data[error.start]:02x} in line {line}; convert it, for "
            "example with iconv -f latin1 -t utf-8"
        ) from None
