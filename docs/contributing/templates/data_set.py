"""A data set: how a row becomes an item, and where the rows are."""

from __future__ import annotations

from typing import Any

from vlm.datasets import Dataset, Place


def my_rows(row: dict[str, Any]) -> dict[str, Any]:
    """The parts of an item that this table names in its own way (see vlm/datasets/row_readers.py)."""
    if row["answer"] not in row["choices"]:
        raise ValueError(f"answer: expected one of {row['choices']}, got {row['answer']!r}")
    return {"question": row["question"], "options": tuple(row["choices"]), "answers": (row["answer"],)}


def declaration(read: Any) -> Dataset:
    """The value for DATASETS; `read` is the function of row_readers.py."""
    return Dataset(
        name="mydata",
        places=(Place("owner/MyData"),),
        split="validation",
        size=1_000,
        group="General VQA",
        questions="choice",
        licence="CC BY 4.0",
        key="id",
        image_key="image_id",
        columns=("id", "image_id", "question", "choices", "answer", "image"),
        read=read,
    )
