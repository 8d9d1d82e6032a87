"""Means of a measurement over each image's prompts, summed in a temporary file: memory does not grow with the items."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from redundancy.array_types import FloatArray, IntArray
from vlm.record_types import MeasurementRecord, RunRecord

Modality = Literal["vision", "text"]
MODALITIES: tuple[Modality, ...] = ("vision", "text")
_TEXTS = ("largest", "largest_mean", "mean")
_FIRST_ROWS = 1024  # of the file, which doubles when it is full
_CHUNK = 4096  # rows read at once


class Image(NamedTuple):
    """Whose sums stand in a row of the file."""

    dataset: str
    task_group: str
    image_id: str


class _Place(NamedTuple):
    start: int
    shape: tuple[int, ...]

    @property
    def stop(self) -> int:
        return self.start + int(np.prod(self.shape))


class ImageMeans:
    """Sums over the prompts of each image, on disk; a context manager that removes the file.

    Parameters
    ----------
    records : iterable of dict
        Merged records of a measurement, read once; failures are left out.

    Attributes
    ----------
    images : dict
        The row of each image.
    tokens : dict
        For each data set and modality, the number of tokens and of the prompts that have any.
    prompts, answer_only : int
        Number of prompts with an image, and of those whose record has the attention of the answer token alone.
    depth : int
        Number of decoder layers; 0 without a record.
    """

    def __init__(self, records: Iterable[RunRecord]) -> None:
        self.images: dict[Image, int] = {}
        self.tokens: dict[tuple[str, str], list[int]] = {}
        self.prompts, self.answer_only, self.depth = 0, 0, 0
        self._places: dict[tuple[str, str], _Place] = {}
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed on leaving)
        self._rows: NDArray[np.float64] | None = None
        self._counts: list[list[int]] = []
        try:
            for record in records:
                if not record["failure"]:
                    self._add(cast(MeasurementRecord, record))
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> ImageMeans:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rows = None
        self._file.close()

    @property
    def complete(self) -> bool:
        """Whether every record has the attention of all text tokens."""
        return not self.answer_only

    @property
    def blocks(self) -> Iterator[tuple[str, str, list[Image]]]:
        """Data set, task group and images of each block of a table."""
        images = list(self.images)
        for dataset, task_group in dict.fromkeys((i.dataset, i.task_group) for i in images):
            yield dataset, task_group, [i for i in images if i.dataset == dataset]
        for task_group in dict.fromkeys(i.task_group for i in images):
            yield "all", task_group, [i for i in images if i.task_group == task_group]
        if images:
            yield "all", "all", images

    def names(self, modality: Modality) -> list[str]:
        """The quantities of a modality."""
        return [name for kind, name in self._places if kind == modality]

    def having(self, images: Sequence[Image], modality: Modality) -> IntArray:
        """The rows of those images that have a prompt with tokens of a modality."""
        which = MODALITIES.index(modality)
        ordered = sorted(images, key=lambda image: f"{image.dataset}/{image.image_id}")  # limits depend on the order
        return np.array([row for i in ordered if self._counts[row := self.images[i]][which]], dtype=np.int64)

    def mean(self, kind: str, name: str, rows: IntArray) -> FloatArray:
        """The mean over each image's prompts: (rows, layers)."""
        place = self._places[kind, name]
        sums = np.concatenate(
            [self._sums[rows[i : i + _CHUNK], place.start : place.stop] for i in range(0, len(rows), _CHUNK)]
        )
        which = 1 if kind == "text" else 0
        counts = np.array([self._counts[row][which] for row in rows.tolist()], dtype=np.float64)
        return (sums / counts[:, None]).reshape(len(rows), *place.shape)

    def mean_of_images(self, name: str, rows: IntArray) -> FloatArray:
        """The mean over images of a quantity whose columns would not fit into memory: (layers, heads)."""
        parts = [self.mean("attention", name, rows[i : i + _CHUNK]).sum(axis=0) for i in range(0, len(rows), _CHUNK)]
        return cast(FloatArray, np.sum(parts, axis=0) / len(rows))

    def mean_tokens(self, images: Sequence[Image], modality: Modality) -> float:
        """Mean number of tokens of a modality in the prompts that have any."""
        found = [self.tokens[dataset, modality] for dataset in dict.fromkeys(i.dataset for i in images)]
        return sum(tokens for tokens, _ in found) / sum(prompts for _, prompts in found)

    @property
    def _sums(self) -> NDArray[np.float64]:
        assert self._rows is not None
        return self._rows

    def _add(self, record: MeasurementRecord) -> None:
        if not self._places:
            self._lay_out(record)
        image = Image(record["dataset"], record["group"], str(record["image_id"]))
        row = self.images.setdefault(image, len(self.images))
        if row == len(self._counts):
            self._counts.append([0, 0])
            self._grow(row)
        for which, modality in enumerate(MODALITIES):
            count = record["tokens"][modality]
            noted = self.tokens.setdefault((image.dataset, modality), [0, 0])
            if not count:
                continue
            noted[0], noted[1] = noted[0] + count, noted[1] + 1
            self._counts[row][which] += 1
            for name, values in record[modality].items():
                self._sum(row, modality, name, values)
        if record["tokens"]["vision"]:
            heads = np.array(record["attention"], dtype=np.float64)
            self._sum(row, "attention", "heads", heads)
            self._sum(row, "attention", "ratio", heads.mean(axis=1))
            self._sum(row, "attention", "ratio_largest", heads.max(axis=1))
            self.prompts += 1
            if "attention_largest" not in record:
                self.answer_only += 1
                return
            self._sum(row, "attention", "largest", np.array(record["attention_largest"], dtype=float).max(axis=1))
            self._sum(row, "attention", "largest_mean", np.array(record["attention_largest_mean"], dtype=float))
            self._sum(row, "attention", "mean", np.array(record["attention_mean"], dtype=float).mean(axis=1))

    def _lay_out(self, record: MeasurementRecord) -> None:
        depth, start = len(record["attention"]), 0
        heads = max((len(layer) for layer in record["attention"]), default=0)
        shapes: dict[tuple[str, str], tuple[int, ...]] = {
            (modality, name): (depth,) for modality in MODALITIES for name in record[modality]
        }
        shapes |= {("attention", "heads"): (depth, heads)}
        shapes |= {("attention", name): (depth,) for name in ("ratio", "ratio_largest")}
        shapes |= {("attention", name): (depth,) for name in _TEXTS}
        for key, shape in shapes.items():
            self._places[key] = _Place(start, shape)
            start = self._places[key].stop
        self._width, self.depth = start, depth

    def _sum(self, row: int, kind: str, name: str, values: Any) -> None:
        place = self._places[kind, name]
        self._sums[row, place.start : place.stop] += np.array(values, dtype=np.float64).reshape(-1)

    def _grow(self, row: int) -> None:
        if self._rows is None or row >= len(self._rows):
            rows = _FIRST_ROWS if self._rows is None else 2 * len(self._rows)
            self._rows = None  # the old view is written before the file grows
            self._file.truncate(rows * self._width * 8)
            self._rows = np.memmap(self._file, dtype=np.float64, mode="r+", shape=(rows, self._width))
