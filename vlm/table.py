"""A tidy table: named columns of equal length, shown in notebooks, written to CSV, NPZ or Parquet."""

from __future__ import annotations

import csv
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redundancy.display import Displayed, short
from redundancy.optional_imports import optional_import
from vlm.atomic_files import writing, writing_bytes

Column = NDArray[Any]
_SHOWN_ROWS = 20


@dataclass(frozen=True, eq=False, repr=False)
class Table(Displayed):
    """Columns by name, all of one length; one row per observation.

    Attributes
    ----------
    columns : mapping name -> ndarray (rows,)
        In the order in which they are written.

    Raises
    ------
    ValueError
        Columns of different lengths.

    Examples
    --------
    >>> import numpy as np
    >>> from vlm import Table
    >>> table = Table({"layer": np.arange(3), "distance": np.array([0.02, 0.5, 0.25])})
    >>> table
    Table(3 rows: layer, distance)
    >>> print(table.text())
    layer  distance
        0     0.020
        1     0.500
        2     0.250
    >>> table.where(layer=1)["distance"]
    array([0.5])
    """

    columns: Mapping[str, Column]

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in self.columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"table: expected columns of equal length, got {lengths}")

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, object]]) -> Table:
        """A table from one mapping per row, all with the keys of the first.

        Examples
        --------
        >>> from vlm import Table
        >>> Table.from_rows([{"layer": 0, "ratio": 0.4}, {"layer": 1, "ratio": 0.1}])
        Table(2 rows: layer, ratio)
        """
        names = list(rows[0]) if rows else []
        return cls({name: np.array([row[name] for row in rows]) for name in names})

    def __len__(self) -> int:
        """Number of rows."""
        return 0 if not self.columns else len(next(iter(self.columns.values())))

    def __getitem__(self, name: str) -> Column:
        """A column by its name; a KeyError lists the names there are."""
        if name not in self.columns:
            raise KeyError(f"table: no column {name!r}; there are {', '.join(self.columns)}")
        return self.columns[name]

    def __repr__(self) -> str:
        return f"Table({len(self)} rows: {', '.join(self.columns)})"

    def _repr_html_(self) -> str:
        """The first 20 rows as an HTML table, for notebooks."""
        more = f", the first {_SHOWN_ROWS} shown" if len(self) > _SHOWN_ROWS else ""
        head = "".join(f"<th scope='col'>{html.escape(name)}</th>" for name in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(short(value))}</td>" for value in row.values()) + "</tr>"
            for row in self._rows(_SHOWN_ROWS)
        )
        return (
            f"<table><caption>Table: {len(self)} rows{more}</caption><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table>"
        )

    def to_dict(self) -> dict[str, Any]:
        """The columns by name, each as a list of plain Python values that JSON can hold."""
        columns: dict[str, Any] = super().to_dict()["columns"]
        return columns

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each row as a dictionary of Python scalars."""
        return self._rows(len(self))

    def _rows(self, count: int) -> Iterator[dict[str, Any]]:
        for i in range(min(count, len(self))):
            yield {
                name: values[i].item() if values.dtype != object else values[i] for name, values in self.columns.items()
            }

    def text(self, digits: int = 3) -> str:
        """The table in aligned columns, for a terminal.

        Parameters
        ----------
        digits : int
            Decimal places of floating-point numbers.
        """
        cells = [list(self.columns)]
        cells += [[f"{v:.{digits}f}" if isinstance(v, float) else str(v) for v in row.values()] for row in self.rows()]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join("  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in cells)

    def where(self, **conditions: object) -> Table:
        """The rows whose columns equal the given values: ``table.where(modality="vision", layer=3)``."""
        keep = np.ones(len(self), dtype=bool)
        for name, value in conditions.items():
            keep &= self[name] == value
        return Table({name: values[keep] for name, values in self.columns.items()})

    def save(self, path: str | Path) -> Path:
        """Write the table atomically; the ending of the name chooses CSV, NPZ or Parquet.

        Parameters
        ----------
        path : str or Path
            Ends in .csv, .npz or .parquet; missing folders are made. A reader never sees half a file. In CSV, text
            that a spreadsheet would run as a formula gets a leading apostrophe, which :meth:`load` removes.

        Returns
        -------
        Path
            `path`.

        Raises
        ------
        ValueError
            Another ending.
        ImportError
            Parquet without pyarrow.
        OSError
            The disk is full or cannot be written; an older file is kept.
        """
        path = Path(path)
        if path.suffix == ".csv":
            with writing(path) as file:
                writer = csv.writer(file)
                writer.writerow(self.columns)
                writer.writerows(zip(*(_cells(values) for values in self.columns.values()), strict=True))
        elif path.suffix == ".npz":
            with writing_bytes(path) as file:
                np.savez_compressed(file, **dict(self.columns))  # type: ignore[arg-type]
        elif path.suffix == ".parquet":
            pyarrow, parquet = (
                optional_import(name, extra="data", purpose="Table.save to .parquet")
                for name in ("pyarrow", "pyarrow.parquet")
            )
            with writing_bytes(path) as file:
                parquet.write_table(pyarrow.table(dict(self.columns)), file)
        else:
            raise ValueError(f"path: expected an ending .csv, .npz or .parquet, got {path.name!r}")
        return path

    @classmethod
    def load(cls, path: str | Path) -> Table:
        """Read a .npz or .csv file that :meth:`save` wrote.

        A CSV column becomes integers or floats where every cell is one, text otherwise.

        Raises
        ------
        FileNotFoundError
            No such file.
        ValueError
            Another ending, or a CSV file whose rows differ in length.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"path: no table at {path}; expected a file written by Table.save")
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as data:
                return cls({name: data[name] for name in data.files})
        if path.suffix == ".csv":
            try:
                with path.open(newline="", encoding="utf-8") as file:
                    header, *body = list(csv.reader(file)) or [[]]
            except (UnicodeDecodeError, csv.Error) as error:
                raise ValueError(f"path: expected a table as Table.save writes it, got {error} in {path}") from None
            if any(len(line) != len(header) for line in body):
                raise ValueError(f"path: {path} is cut off or not a table: expected {len(header)} cells in every row")
            return cls({name: _parsed([line[i] for line in body]) for i, name in enumerate(header)})
        raise ValueError(f"path: expected an ending .csv or .npz, got {path.name!r}")


# A spreadsheet would run a cell that begins with one of these; full-width forms included.
_FORMULA = re.compile(r"'*\s*[=+\-@\t\r＝＋－＠]")


def _cells(values: Column) -> list[Any]:
    """The cells of a CSV column; text that a spreadsheet would take for a formula gets an apostrophe, as there."""
    return [f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell for cell in values.tolist()]


def _text(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _parsed(cells: list[str]) -> Column:
    for kind in (np.int64, np.float64):
        try:
            return np.array(cells, dtype=kind)
        except ValueError:
            continue
    return np.array([_text(cell) for cell in cells])
