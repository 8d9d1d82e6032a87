"""Where the record of each item and plan stands in the workers' files, in sixteen bytes each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

# Data set, item, plan's digest.
Key: TypeAlias = tuple[str, str, str]
# A worker's file, and the position of a record's line.
Place: TypeAlias = tuple[Path, int]

_NONE = -1
_FIRST_ROWS = 256


class RecordPlaces:
    """A mapping from keys to places.

    Parameters
    ----------
    plans : sequence of str
        Digests of the run's plans; no other has a place.
    known : mapping
        The items of each data set by label, where they are known.
    """

    def __init__(self, plans: Sequence[str], known: Mapping[str, Mapping[str, str] | None]) -> None:
        self._columns = {plan: column for column, plan in enumerate(plans)}
        self._rows: dict[str, dict[str, int]] = {}
        self._starts: dict[str, NDArray[np.int64]] = {}
        self._files: dict[str, NDArray[np.int64]] = {}
        self._paths: list[Path] = []
        for label, items in known.items():
            self._begin(label, list(items or ()))

    def __setitem__(self, key: Key, place: Place) -> None:
        label, item, plan = key
        if label not in self._rows:
            self._begin(label, [])
        rows = self._rows[label]
        row = rows.setdefault(item, len(rows))
        if row >= len(self._starts[label]):
            for columns in (self._starts, self._files):
                wider = np.full((2 * len(columns[label]), len(self._columns)), _NONE, dtype=np.int64)
                wider[: len(columns[label])] = columns[label]
                columns[label] = wider
        if not self._paths or self._paths[-1] != place[0]:
            self._paths.append(place[0])  # files are read one after the other
        column = self._columns[plan]
        self._starts[label][row, column], self._files[label][row, column] = place[1], len(self._paths) - 1

    def get(self, key: Key) -> Place | None:
        """The place of a record; None if there is none."""
        label, item, plan = key
        row = self._rows.get(label, {}).get(item)
        column = self._columns.get(plan)
        if row is None or column is None or self._starts[label][row, column] == _NONE:
            return None
        return self._paths[self._files[label][row, column]], int(self._starts[label][row, column])

    def __contains__(self, key: Key) -> bool:
        return self.get(key) is not None

    def items(self, label: str) -> Iterator[str]:
        """The items of a data set that are known or have a record."""
        return iter(self._rows.get(label, {}))

    def _begin(self, label: str, items: list[str]) -> None:
        self._rows[label] = {item: row for row, item in enumerate(items)}
        shape = (max(len(items), _FIRST_ROWS), len(self._columns))
        self._starts[label], self._files[label] = (np.full(shape, _NONE, dtype=np.int64) for _ in range(2))
