"""Reads the items of a data set, in an order that depends on the arguments alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np

from vlm.datasets import row_readers
from vlm.datasets.catalogue import DATASETS, OWN, Dataset, group_of
from vlm.datasets.content_digests import item_digest, row_digest
from vlm.datasets.hub_tables import hub_rows, local_rows
from vlm.datasets.images import content_id, rgb_image
from vlm.datasets.own_files import BROKEN, own_rows, visual7w_rows
from vlm.datasets.row_readers import Row
from vlm.item import Failure, Item

_OWN = Dataset(
    name="jsonl",
    places=(),
    split="",
    size=0,
    task_group=OWN,
    questions="choice, yes/no, open, ocr, math",
    licence="yours",
    key="id",
    image_key="image_id",
    columns=(),
    read=row_readers.own,
)
_EMBEDDED_SIZE = 600


def read(
    name: str,
    *,
    source: str | Path | None = None,
    split: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    streaming: bool = False,
    decoded: Callable[[int], bool] | None = None,
) -> Iterator[Item | Failure]:
    """Read the items of a data set one by one.

    Parameters
    ----------
    name : str
        One of the names in ``DATASETS``; "tiny", the embedded set; or "jsonl", your own file.
    source : str or Path, optional
        Where to read instead of the declared hub ids: another hub id, a folder laid out as on the hub, or one
        Parquet, JSON or JSONL file. "visual7w" and "jsonl" need a source.
    split : str, optional
        Split to read instead of the declared one.
    limit : int, optional
        Largest number of items: a random subset, in the order of the table. None reads all (600 of "tiny").
    seed : int
        Seed of the subset; for "tiny", of the scenes.
    streaming : bool
        Read from the hub without storing the table. `limit` then takes the first items, because a stream cannot
        be sampled.
    decoded : function, optional
        Takes a position in this order, from 0, and returns whether its images are decoded. Items whose images are
        not decoded have none, and their broken images go unnoticed. By default all images are decoded. A worker
        that answers only part of the items decodes only that part.

    Yields
    ------
    Item or Failure
        A Failure where a row or its image cannot be read; one unreadable item never raises an exception.

    Raises
    ------
    ValueError
        Unknown name, limit below 1, a table that lacks a required column, or a seed other than 0 for a stream with
        a limit.
    FileNotFoundError
        The source does not exist.
    OSError
        No hub id loads.
    ImportError
        The `datasets` library is missing: pip install 'skipit[data]'.

    See Also
    --------
    group_of : Task group of a data set.
    vlm.scoring.score : Score of an answer to an item.

    Examples
    --------
    >>> from vlm.datasets import read
    >>> items = list(read("tiny", limit=5))
    >>> [item.kind for item in items]
    ['open', 'open', 'yes/no', 'yes/no', 'choice']
    >>> items[4].question, items[4].options, items[4].answers
    ('which digit is there?', ('4', '9', '6', '0'), ('A',))
    """
    group_of(name)
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ValueError(f"limit: expected an integer of at least 1, got {limit!r}")
    if name == "tiny":
        return _embedded(split or "test", limit or _EMBEDDED_SIZE, seed, decoded)
    if streaming and limit is not None and seed != 0:
        raise ValueError(
            f"seed: expected 0, got {seed}; a stream can be cut but not sampled, so leave out streaming or the seed"
        )
    dataset = next((d for d in DATASETS if d.name == name), _OWN)
    path = _local(source)
    rows = _rows(dataset, source, path, split or dataset.split, streaming=streaming)
    folder = None if path is None else path.parent if path.is_file() else path
    if streaming and not isinstance(rows, list):
        return _entries(dataset, enumerate(islice(rows, limit)), folder, decoded)
    table = cast(Sequence[Row], rows)  # only a stream has no length
    return _entries(dataset, ((i, table[i]) for i in _subset(len(table), limit, seed)), folder, decoded)


def count_here(name: str, source: str | Path | None, split: str | None) -> int | None:
    """Number of items of data on this machine, without reading a picture; None of others, and of what is not there."""
    if name == "tiny":
        return _EMBEDDED_SIZE
    try:
        path = _local(source)
    except FileNotFoundError:
        path = None
    if path is None:
        return None
    if name == "jsonl":
        with path.open("rb") as file:
            return sum(1 for line in file if line.strip())
    dataset = next(d for d in DATASETS if d.name == name)
    rows = _rows(dataset, source, path, split or dataset.split, streaming=False)
    return len(cast(Sequence[Row], rows))


def _rows(
    dataset: Dataset, source: str | Path | None, path: Path | None, split: str, *, streaming: bool
) -> Iterable[Row]:
    if dataset.name == "jsonl":
        return own_rows(path)
    if dataset.name == "visual7w":
        return visual7w_rows(path, split)
    if path is not None:
        return local_rows(dataset, path, split, streaming=streaming)
    return hub_rows(dataset, None if source is None else str(source), split, streaming=streaming)


def _entries(
    dataset: Dataset, rows: Iterable[tuple[int, Row]], folder: Path | None, decoded: Callable[[int], bool] | None
) -> Iterator[Item | Failure]:
    checked = False
    for position, (index, row) in enumerate(rows):
        missing = [column for column in dataset.columns if column not in row]
        if missing and not checked:
            raise ValueError(
                f"{dataset.name}: expected columns {', '.join(dataset.columns)}, got {', '.join(row)}; "
                f"{', '.join(missing)} missing"
            )
        checked = True
        yield _entry(dataset, index, row, folder, decoded is None or decoded(position))


def _entry(dataset: Dataset, index: int, row: Row, folder: Path | None, decoded: bool) -> Item | Failure:
    name = str(index if dataset.key is None else row.get(dataset.key, index))
    digest = ""
    try:
        if BROKEN in row:
            raise ValueError(row[BROKEN])
        parts = dataset.read(row)
        # Of the stored bytes, whoever decodes them: workers that decode other items must see the same item.
        pictures = content_id(parts.images, folder) if parts.images else ""
        item = Item(
            dataset=dataset.name,
            id=name,
            images=(),
            image_id=_image_id(dataset, row, pictures, name),
            question=parts.question,
            options=parts.options,
            answers=parts.answers,
            kind=parts.kind,
            details=parts.details,
        )
        digest = item_digest(item, pictures)
        images = tuple(rgb_image(image, folder) for image in parts.images) if decoded else ()
        return replace(item, images=images, digest=digest)
    except KeyError as error:
        reason = f"row: expected a column {error.args[0]!r}, got {', '.join(map(str, row))}"
        return Failure(dataset.name, name, reason, digest or row_digest(row))
    except (ValueError, TypeError, AttributeError) as error:
        return Failure(dataset.name, name, str(error), digest or row_digest(row))


def _image_id(dataset: Dataset, row: Row, pictures: str, name: str) -> str:
    """The table's own id of the image, or the digest of the images; without images the item's name."""
    key = dataset.image_key
    return str(row[key]) if key and row.get(key) is not None else pictures or name


def _subset(size: int, limit: int | None, seed: int) -> list[int]:
    if limit is None or limit >= size:
        return list(range(size))
    return sorted(np.random.default_rng(seed).choice(size, size=limit, replace=False).tolist())


def _local(source: str | Path | None) -> Path | None:
    """The source as an existing path; None for a hub id or no source."""
    if source is None:
        return None
    if "\0" in str(source):
        raise ValueError(f"source: expected a file, a folder or a hub id, got {str(source)!r} with a NUL character")
    path = Path(source).expanduser()
    if path.exists():
        return path
    name = str(source)
    if isinstance(source, Path) or path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise FileNotFoundError(f"source: expected a file, a folder or a hub id 'owner/name', got {name!r}")
    return None


def _embedded(split: str, limit: int, seed: int, decoded: Callable[[int], bool] | None) -> Iterator[Item]:
    """Image questions of the embedded set; the options of a choice are separated from its question."""
    from vlm.tiny.question_writer import IMAGE_KINDS, questions

    kinds = {"comparison": "yes/no", "existence": "yes/no", "choice": "choice"}
    for number, written in enumerate(questions(split=split, limit=limit, seed=seed, kinds=IMAGE_KINDS)):
        words = written.prompt.removeprefix("<image> ").removesuffix(" answer:")
        question, _, options = words.partition("?")
        assert written.image is not None
        item = Item(
            dataset="tiny",
            id=f"{split}-{seed}-{number}",
            image_id=f"{split}-{seed}-{written.image_id}",
            question=question + "?",
            images=(),
            options=tuple(options.split()[1::2]),
            answers=(written.answer,),
            kind=kinds.get(written.kind, "open"),
            details={"kind": written.kind},
        )
        images = (written.image,) if decoded is None or decoded(number) else ()
        yield replace(item, images=images, digest=item_digest(item, content_id([written.image])))
