"""A tidy table: named columns of equal length, written to CSV, NPZ or Parquet."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Column = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Table:
    """Columns by name, all of one length; one row per observation.

    Attributes
    ----------
    columns : mapping name -> ndarray (rows,)
    """

    columns: Mapping[str, Column]

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"table: expected columns of equal length, got {lengths}")

    @classmethod
    def from_rows(cls, rows: list[dict[str, Any]]) -> Table:
        """One dictionary per row, all with the same keys."""
        names = list(rows[0]) if rows else []
        return cls({name: np.array([row[name] for row in rows]) for name in names})

    def __len__(self) -> int:
        return 0 if not self.columns else len(next(iter(self.columns.values())))

    def __getitem__(self, name: str) -> Column:
        if name not in self.columns:
            raise KeyError(f"table: no column {name!r}; there are {', '.join(self.columns)}")
        return self.columns[name]

    def __repr__(self) -> str:
        return f"Table({len(self)} rows: {', '.join(self.columns)})"

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each row as a dictionary of Python scalars."""
        for i in range(len(self)):
            yield {
                name: values[i].item() if values.dtype != object else values[i] for name, values in self.columns.items()
            }

    def text(self, digits: int = 3) -> str:
        """The table in aligned columns, for a terminal."""
        cells = [list(self.columns)]
        cells += [[f"{v:.{digits}f}" if isinstance(v, float) else str(v) for v in row.values()] for row in self.rows()]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join("  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in cells)

    def where(self, **conditions: Any) -> Table:
        """The rows whose columns equal the given values."""
        keep = np.ones(len(self), dtype=bool)
        for name, value in conditions.items():
            keep &= self[name] == value
        return Table({name: values[keep] for name, values in self.columns.items()})

    def save(self, path: str | Path) -> Path:
        """Write the table; the ending chooses .csv, .npz or .parquet. Written whole or not at all.

        Raises
        ------
        ValueError
            Another ending.
        ImportError
            Parquet without pyarrow.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        half = path.with_name(path.name + ".part")
        if path.suffix == ".csv":
            with half.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(self.columns)
                writer.writerows(zip(*(values.tolist() for values in self.columns.values()), strict=True))
        elif path.suffix == ".npz":
            with half.open("wb") as file:
                np.savez_compressed(file, **dict(self.columns))  # type: ignore[arg-type]
        elif path.suffix == ".parquet":
            self._save_parquet(half)
        else:
            raise ValueError(f"path: expected an ending .csv, .npz or .parquet, got {path.name!r}")
        os.replace(half, path)
        return path

    def _save_parquet(self, path: Path) -> None:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise ImportError("writing Parquet needs pyarrow: pip install pyarrow, or save as .csv or .npz") from error
        pyarrow.parquet.write_table(pyarrow.table(dict(self.columns)), path)

    @classmethod
    def load(cls, path: str | Path) -> Table:
        """Read what :meth:`save` wrote as .npz or .csv (numbers where every cell is one)."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"path: no table at {path}; expected a file written by Table.save")
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as data:
                return cls({name: data[name] for name in data.files})
        if path.suffix == ".csv":
            with path.open(newline="") as file:
                header, *body = list(csv.reader(file))
            if any(len(line) != len(header) for line in body):
                raise ValueError(f"path: {path} is cut off or no table: expected {len(header)} cells in every row")
            return cls({name: _parsed([line[i] for line in body]) for i, name in enumerate(header)})
        raise ValueError(f"path: expected an ending .csv or .npz, got {path.name!r}")


def _parsed(cells: list[str]) -> Column:
    for kind in (np.int64, np.float64):
        try:
            return np.array(cells, dtype=kind)
        except ValueError:
            continue
    return np.array(cells)
