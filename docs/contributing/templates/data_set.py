"""A data set: how a row becomes the parts of an item, and where the rows are."""

from __future__ import annotations

from vlm.datasets import Dataset, Place
from vlm.datasets.row_readers import Parts, Row, text, texts


def my_rows(row: Row) -> Parts:
    """`question`, `choices`, `answer` (one of them) and `image`. Copy to vlm/datasets/row_readers.py.

    Examples
    --------
    >>> row = {"question": "Which?", "choices": ["a cat", "a dog"], "answer": "a cat", "image": None}
    >>> my_rows(row).answers
    ('a cat',)
    """
    options, answer = texts(row["choices"], "choices", 2), text(row, "answer")
    if answer not in options:
        raise ValueError(f"answer: expected one of {options}, got {answer!r}")
    return Parts(
        question=text(row, "question"), images=(row["image"],), answers=(answer,), kind="choice", options=options
    )


# Copy to DATASETS in vlm/datasets/catalogue.py.
MY_DATA = Dataset(
    name="mydata",
    places=(Place("owner/MyData"),),
    split="validation",
    size=1_000,
    task_group="General VQA",
    questions="choice",
    licence="CC BY 4.0",
    key="id",
    image_key="image_id",
    columns=("id", "image_id", "question", "choices", "answer", "image"),
    read=my_rows,
)
