"""Rows of a published table: from the hub or from local files, through the `datasets` library."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from redundancy.optional_imports import optional_import
from vlm.datasets.catalogue import Dataset
from vlm.datasets.row_readers import Row

# `datasets.Dataset`, or `IterableDataset` when streaming; the library is optional, so its types are not named.
HubTable = Any
_SPLITS = ("train", "testdev", "testmini", "test", "validation", "val", "dev")


def hub_rows(dataset: Dataset, hub_id: str | None, split: str, *, streaming: bool) -> Iterable[Row]:
    """Load the rows of a hub data set: a `datasets.Dataset`, or an `IterableDataset` when streaming.

    Parameters
    ----------
    hub_id : str, optional
        A hub id instead of the declared ones.

    Raises
    ------
    OSError
        No id loads; the message gives the reason for each.
    """
    load = _library().load_dataset
    declared = {place.id: place for place in dataset.places}
    places = dataset.places if hub_id is None else (declared.get(hub_id, dataset.places[0]),)
    reasons = []
    for place in places:
        name = hub_id or place.id

        def table(config: str | None, name: str = name) -> HubTable:
            return _undecoded(load(name, config, split=split, streaming=streaming))

        try:
            return _joined(dataset, [table(config) for config in place.configs], table)
        except _failures() as error:
            reasons.append(f"{name}: {type(error).__name__}: {error}")
    raise OSError(
        f"{dataset.name}: none of its ids loads; give source=, a hub id or local files\n" + "\n".join(reasons)
    )


def local_rows(dataset: Dataset, source: Path, split: str, *, streaming: bool) -> Iterable[Row]:
    """Load the rows of local Parquet or JSON files; a folder is laid out as on the hub, or holds the files directly.

    Raises
    ------
    FileNotFoundError
        No file of the split was found.
    ValueError
        A file cannot be read.
    """
    load = _library().load_dataset

    def table(config: str | None) -> HubTable:
        files = split_files(source, config, split)
        kind = "parquet" if files[0].suffix == ".parquet" else "json"
        try:
            return _undecoded(
                load(kind, data_files={split: [str(file) for file in files]}, split=split, streaming=streaming)
            )
        except _failures() as error:
            raise ValueError(f"{dataset.name}: expected readable {kind} files, got {error} in {files[0]}") from error

    configs: Sequence[str | None] = (None,)
    for place in dataset.places:
        if any(config and (source / config).is_dir() for config in place.configs):
            configs = place.configs
    if dataset.image_config:
        configs = dataset.places[0].configs
    return _joined(dataset, [table(config) for config in configs], table)


def split_files(source: Path, config: str | None, split: str) -> list[Path]:
    """The files of a configuration and split, sorted by name."""
    if source.is_file():
        return [source]
    folders = [source / config] if config and (source / config).is_dir() else [source, source / "data"]
    for folder in folders:
        files = sorted(f for ending in ("*.parquet", "*.json", "*.jsonl") for f in folder.glob(ending))
        if config and folder.name != config:
            files = [file for file in files if file.name.startswith(config)]
            if files:
                return files
        named = {file: _split_of(file) for file in files}
        own = [file for file in files if named[file] == split]
        if own or (files and not any(named.values())):
            return own or files
    of = f" of configuration {config!r}" if config else ""
    raise FileNotFoundError(f"source: expected .parquet or .json files of split {split!r}{of} in {source}, found none")


def _split_of(file: Path) -> str | None:
    """The split at the beginning of a file name such as "test-00000-of-00001.parquet"."""
    return next((s for s in _SPLITS if re.match(rf"{s}(?![a-z])", file.name)), None)


def _joined(dataset: Dataset, tables: list[HubTable], table: Callable[[str | None], HubTable]) -> Iterable[Row]:
    """The tables one after the other, with the images of the further configuration."""
    rows: Iterable[Row] = tables[0] if len(tables) == 1 else _library().concatenate_datasets(tables)
    if dataset.image_config is None:
        return rows
    images = {row["id"]: row["image"] for row in table(dataset.image_config)}
    return _Joined(rows, images, dataset.image_key or "")


class _Joined:
    """Rows with an `image` looked up by a column; None where no image has that id."""

    def __init__(self, rows: HubTable, images: dict[object, object], column: str) -> None:
        self.rows, self.images, self.column = rows, images, column

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self._with_image(self.rows[index])

    def __iter__(self) -> Iterator[Row]:
        return map(self._with_image, self.rows)

    def _with_image(self, row: Row) -> Row:
        return {**row, "image": self.images.get(row.get(self.column))}


def _undecoded(table: HubTable) -> HubTable:
    """The table with its images as stored: they are decoded item by item, so that a failure concerns one item."""
    from datasets import Image

    for name, feature in (table.features or {}).items():
        if isinstance(feature, Image):
            table = table.cast_column(name, Image(decode=False))
    return table


def _library() -> Any:
    return optional_import("datasets", extra="data", purpose="reading data sets")


def _failures() -> tuple[type[Exception], ...]:
    from datasets.exceptions import DatasetsError

    return (OSError, ValueError, DatasetsError)
