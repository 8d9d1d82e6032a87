"""Remaining batches of one worker; the batch order is independent of the number of workers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from vlm.experiments.item_identity import Items, Recorded
from vlm.experiments.run import Run
from vlm.experiments.run_directory import written_items
from vlm.experiments.shards import Shard
from vlm.experiments.spec import DataChoice
from vlm.item import Failure, Item
from vlm.progress_bar import by_count

# From a data set's label and an item's id to whether every plan has its record.
Done = Callable[[str, str], bool]


@dataclass(frozen=True, eq=False)
class Batch:
    """Consecutive items of one data set; the same ones are always together, whichever worker answers them.

    Attributes
    ----------
    choice : DataChoice
        The data set.
    entries : tuple of Item or Failure
        In the data set's order.
    """

    choice: DataChoice
    entries: tuple[Item | Failure, ...]

    @property
    def items(self) -> list[Item]:
        """The entries that could be read."""
        return [entry for entry in self.entries if isinstance(entry, Item)]


def batches(run: Run, *, done: Done, recorded: Recorded | None = None, repair: bool = False) -> Iterator[Batch]:
    """The batches of the run's part in which something remains to be done.

    Batches are numbered through all data sets and assigned in turn, so workers finish at about the same time. Every
    data set is read to its end even where nothing remains to be done, without decoding a picture: only then is it known
    that the records are about these items. The list of each data set's items is written into the run's directory.

    Parameters
    ----------
    run : Run
        Its reader is called with the positions of the items whose images are needed.
    done : function
        From (label, item id) to whether nothing remains to be done for it.
    recorded : Recorded, optional
        What the records so far say about the items.
    repair : bool
        Accept another content of an item that could not be read before.

    Raises
    ------
    ValueError
        An id that comes twice, or a data set that has changed since the run was begun.
    """
    number, size, part = 0, run.spec.batch_size, run.part
    for choice in run.spec.data:
        items = Items(run.folder, choice, recorded, repair=repair)
        remaining = None if items.ids is None else _remaining(choice.label, items.ids, number, size, part, done)
        entries: list[Item | Failure] = []
        read = run.reader(choice, partial(_is_own, number, size, part, remaining))
        if remaining is not None and not remaining:  # nothing is computed that a bar of records would count
            read = by_count(read, len(items.ids or ()), f"comparing {choice.label}")
        for entry in read:
            items.see(entry)
            entries.append(entry)
            if len(entries) == size:
                yield from _own(choice, entries, part, number, done)
                number, entries = number + 1, []
        if entries:
            yield from _own(choice, entries, part, number, done)
            number += 1
        if not items.seen:
            raise ValueError(f"data: expected at least one item, got none from {choice.label}")
        items.finish()


def expected(run: Run, *, size: Callable[[DataChoice], int | None]) -> int | None:
    """Number of items of the run's part; None while the size of a data set is not known.

    Parameters
    ----------
    size : function
        The declared size of a data set, for those that no worker has read to the end yet.
    """
    number, total = 0, 0
    for choice in run.spec.data:
        ids = written_items(run.folder, choice.label)
        count = size(choice) if ids is None else len(ids)
        if count is None:
            return None
        sizes = [min(run.spec.batch_size, count - start) for start in range(0, count, run.spec.batch_size)]
        total += sum(items for place, items in enumerate(sizes) if run.part.takes(number + place))
        number += len(sizes)
    return total


def _remaining(label: str, ids: Sequence[str], first: int, size: int, part: Shard, done: Done) -> set[int]:
    """Numbers of a data set's batches, the first of which is `first`, that are this worker's and not done."""
    return {
        number
        for number, start in enumerate(range(0, len(ids), size), start=first)
        if part.takes(number) and not all(done(label, name) for name in ids[start : start + size])
    }


def _is_own(first: int, size: int, part: Shard, remaining: Collection[int] | None, position: int) -> bool:
    """Whether this worker answers the item at a position of a data set, whose first batch has the number `first`."""
    batch = first + position // size
    return part.takes(batch) if remaining is None else batch in remaining


def _own(
    choice: DataChoice, entries: Sequence[Item | Failure], part: Shard, number: int, done: Done
) -> Iterator[Batch]:
    if part.takes(number) and not all(done(choice.label, entry.id) for entry in entries):
        yield Batch(choice, tuple(entries))
