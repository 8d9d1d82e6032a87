"""The batches of an experiment that one worker still has to do, in an order that no worker count changes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vlm.experiments.run_directory import Items
from vlm.experiments.shards import Shard
from vlm.experiments.spec import DataChoice, Spec
from vlm.item import Failure, Item

# A data set's items, and of which positions the images are wanted.
Reader = Callable[[DataChoice, Callable[[int], bool]], Iterable[Item | Failure]]


@dataclass(frozen=True, eq=False)
class Batch:
    """Consecutive items of one data set; always the same ones together, whoever does them."""

    choice: DataChoice
    entries: tuple[Item | Failure, ...]

    @property
    def items(self) -> list[Item]:
        """Those that could be read."""
        return [entry for entry in self.entries if isinstance(entry, Item)]


def batches(
    spec: Spec, folder: Path, part: Shard, *, done: Callable[[str, str], bool], reader: Reader
) -> Iterator[Batch]:
    """A worker's batches that are not done.

    Batches are numbered through all data sets and dealt out in turn, so workers finish at about the same time.

    Parameters
    ----------
    folder : Path
        The run's directory; the list of each data set's items is written there.
    done : function
        (label, item id) to whether nothing is left to do for it.
    reader : function
        The items and failures of a data set; called with the positions of those whose images are wanted.

    Raises
    ------
    ValueError
        An id that comes twice, or a data set that has changed since the run was begun.
    """
    number = 0
    for choice in spec.data:
        items = Items(folder, choice.label)
        chunks = None if items.ids is None else list(_chunks(items.ids, spec.batch_size))
        left = None
        if chunks is not None:
            left = {
                number + place
                for place, chunk in enumerate(chunks)
                if part.takes(number + place) and not all(done(choice.label, name) for name in chunk)
            }
            if not left:
                number += len(chunks)
                continue  # nothing to do here, so nothing to read
        gathered: list[Item | Failure] = []
        for entry in reader(choice, partial(_wanted, number, spec.batch_size, part, left)):
            items.see(entry)
            gathered.append(entry)
            if len(gathered) == spec.batch_size:
                yield from _own(choice, gathered, part, number, done)
                number, gathered = number + 1, []
        if gathered:
            yield from _own(choice, gathered, part, number, done)
            number += 1
        if not items.seen:
            raise ValueError(f"data: expected at least one item, got none from {choice.label}")
        items.finish()


def expected(spec: Spec, folder: Path, part: Shard, *, size: Callable[[DataChoice], int | None]) -> int | None:
    """How many items the worker has in all; None while the size of a data set is not known.

    Parameters
    ----------
    size : function
        The size that a data set is declared to have, where nobody has read it to its end yet.
    """
    number, total = 0, 0
    for choice in spec.data:
        ids = Items(folder, choice.label).ids
        count = size(choice) if ids is None else len(ids)
        if count is None:
            return None
        sizes = [min(spec.batch_size, count - start) for start in range(0, count, spec.batch_size)]
        total += sum(items for place, items in enumerate(sizes) if part.takes(number + place))
        number += len(sizes)
    return total


def _wanted(first: int, size: int, part: Shard, left: Collection[int] | None, position: int) -> bool:
    """Whether a position of a data set, whose first batch has the number `first`, is this worker's to answer."""
    batch = first + position // size
    return part.takes(batch) if left is None else batch in left


def _own(
    choice: DataChoice, entries: Sequence[Item | Failure], part: Shard, number: int, done: Callable[[str, str], bool]
) -> Iterator[Batch]:
    if part.takes(number) and not all(done(choice.label, entry.id) for entry in entries):
        yield Batch(choice, tuple(entries))


def _chunks(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), size):
        yield names[start : start + size]
