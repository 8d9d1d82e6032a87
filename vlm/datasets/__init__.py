"""Questions of ten benchmarks, of the embedded set, or your own, as one kind of item."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from vlm.datasets import row_readers as conversions
from vlm.datasets.catalogue import DATASETS, GROUPS, OWN, Dataset, Place, group_of
from vlm.datasets.hub_tables import hub_rows, local_rows
from vlm.datasets.images import content_id, picture
from vlm.datasets.own_files import own_rows, visual7w_rows
from vlm.item import Failure, Item

__all__ = ["DATASETS", "GROUPS", "Dataset", "Place", "group_of", "read"]

_OWN = Dataset(
    name="jsonl",
    places=(),
    split="",
    size=0,
    group=OWN,
    questions="choice, yes/no, open, ocr, math",
    licence="yours",
    key="id",
    image_key="image_id",
    columns=(),
    read=conversions.own,
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
    """The items of a data set, in an order that depends on the arguments alone.

    Parameters
    ----------
    name : str
        One of ``DATASETS``; "tiny", the embedded set; or "jsonl", your own.
    source : str or Path, optional
        Instead of the declared hub ids: another hub id, a folder laid out as on the hub, or one Parquet, JSON or
        JSONL file. "visual7w" and "jsonl" need one.
    split : str, optional
        Instead of the declared one.
    limit : int, optional
        At most so many items: a random subset in the table's order. None is all (600 of "tiny").
    seed : int
        Draws the subset; for "tiny", the scenes.
    streaming : bool
        Read from the hub without storing; `limit` then means the first ones, since a stream cannot be sampled.
    decoded : function, optional
        Position in this order, from 0, to whether the images are wanted; the others' items have none, and nobody
        notices if they are broken. All by default. For a worker that answers a part of the items.

    Yields
    ------
    Item or Failure
        A Failure where a row or its image cannot be read; never an exception for one item.

    Raises
    ------
    ValueError
        Unknown name, limit below 1, a table without the columns it should have, or a seed for a cut stream.
    FileNotFoundError
        No such source.
    OSError
        No hub id loads.
    ImportError
        The `datasets` library is missing: pip install 'skipit[data]'.
    """
    group_of(name)
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ValueError(f"limit: expected an integer of at least 1, got {limit!r}")
    if name == "tiny":
        return _embedded(split or "test", limit or _EMBEDDED_SIZE, seed, decoded)
    if streaming and limit is not None and seed != 0:
        raise ValueError(f"seed: expected 0, got {seed}; a stream can be cut but not sampled, so leave out streaming")
    dataset = next((d for d in DATASETS if d.name == name), _OWN)
    place = _local(source)
    rows: Any
    if name == "jsonl":
        rows = own_rows(place)
    elif name == "visual7w":
        rows = visual7w_rows(place, split or dataset.split)
    elif place is not None:
        rows = local_rows(dataset, place, split or dataset.split, streaming=streaming)
    else:
        rows = hub_rows(dataset, None if source is None else str(source), split or dataset.split, streaming=streaming)
    folder = None if place is None else place.parent if place.is_file() else place
    if streaming and not isinstance(rows, list):
        return _entries(dataset, enumerate(islice(rows, limit)), folder, decoded)
    chosen = _subset(len(rows), limit, seed)
    return _entries(dataset, ((i, rows[i]) for i in chosen), folder, decoded)


def _entries(
    dataset: Dataset, rows: Iterable[tuple[int, Any]], folder: Path | None, decoded: Callable[[int], bool] | None
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


def _entry(dataset: Dataset, index: int, row: Any, folder: Path | None, decoded: bool) -> Item | Failure:
    name = str(index if dataset.key is None else row.get(dataset.key, index))
    try:
        if "broken" in row:
            raise ValueError(row["broken"])
        parts = dataset.read(row)
        stored = parts.pop("images")
        images = tuple(picture(image, folder) for image in stored) if decoded else ()
        key = dataset.image_key
        image_id = str(row[key]) if key and row.get(key) is not None else content_id(stored, folder) if stored else name
        return Item(dataset=dataset.name, id=name, image_id=image_id, images=images, **parts)
    except KeyError as error:
        return Failure(dataset.name, name, f"row: expected a column {error.args[0]!r}, got {', '.join(map(str, row))}")
    except (ValueError, TypeError, AttributeError) as error:
        return Failure(dataset.name, name, str(error))


def _subset(size: int, limit: int | None, seed: int) -> list[int]:
    if limit is None or limit >= size:
        return list(range(size))
    return sorted(np.random.default_rng(seed).choice(size, size=limit, replace=False).tolist())


def _local(source: str | Path | None) -> Path | None:
    """The source as an existing path; None for a hub id or no source."""
    if source is None:
        return None
    path = Path(source).expanduser()
    if path.exists():
        return path
    name = str(source)
    if isinstance(source, Path) or path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise FileNotFoundError(f"source: no file or folder {name!r}; expected one, or a hub id 'owner/name'")
    return None


def _embedded(split: str, limit: int, seed: int, decoded: Callable[[int], bool] | None) -> Iterator[Item]:
    """Image questions of the embedded set; choices have their options apart from the question."""
    from vlm.tiny.question_writer import IMAGE_KINDS, questions

    kinds = {"comparison": "yes/no", "existence": "yes/no", "choice": "choice"}
    for number, asked in enumerate(questions(split=split, limit=limit, seed=seed, kinds=IMAGE_KINDS)):
        words = asked.prompt.removeprefix("<image> ").removesuffix(" answer:")
        question, _, listed = words.partition("?")
        assert asked.image is not None
        yield Item(
            dataset="tiny",
            id=f"{split}-{seed}-{number}",
            image_id=f"{split}-{seed}-{asked.image_id}",
            question=question + "?",
            images=(asked.image,) if decoded is None or decoded(number) else (),
            options=tuple(listed.split()[1::2]),
            answers=(asked.answer,),
            kind=kinds.get(asked.kind, "open"),
            details={"kind": asked.kind},
        )
