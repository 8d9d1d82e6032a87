"""A tidy table: named columns of equal length, shown in notebooks, written to CSV, NPZ or Parquet."""

from __future__ import annotations

import csv
import html
import re
import shutil
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

    See Also
    --------
    vlm.reports.markdown, vlm.reports.latex, vlm.reports.html : Write one for a page or a paper.

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

    def fitted(self, width: int | None = None, digits: int = 3) -> str:
        """The table for a terminal of a given width: columns that are constant stand above it, the rest is wrapped.

        Parameters
        ----------
        width : int, optional
            Characters; by default those of the terminal, or 120 where there is none.
        digits : int
            Decimal places of floating-point numbers.

        Returns
        -------
        str
            A line "name: value" for each group of constant columns, then aligned columns. A column and those that end
            in `_low` and `_high` become one, ``0.812 [0.790, 0.834]``. Where the columns are wider than the terminal
            the table continues below, with the first columns repeated, as many as tell the rows apart.

        Examples
        --------
        >>> from vlm import Table
        >>> rows = [{"model": "tiny", "plan": p, "accuracy": a, "accuracy_low": a - 0.1, "accuracy_high": a + 0.1}
        ...         for p, a in (("none", 0.8), ("vision:0-4", 0.75))]
        >>> print(Table.from_rows(rows).fitted(80))
        model: tiny
              plan              accuracy
              none  0.800 [0.700, 0.900]
        vision:0-4  0.750 [0.650, 0.850]
        """
        width = shutil.get_terminal_size((120, 24)).columns if width is None else width
        columns = joined_intervals({name: values.tolist() for name, values in self.columns.items()}, digits)
        constant = {name: cells[0] for name, cells in columns.items() if len(cells) > 1 and len(set(cells)) == 1}
        varying = {name: cells for name, cells in columns.items() if name not in constant} or columns
        head = [line for line in _wrapped([f"{name}: {value}" for name, value in constant.items()], width) if line]
        return "\n".join([*head, *_folded(varying, width)])

    def frame(self) -> Any:
        """The table as a pandas.DataFrame; an ImportError where pandas is missing."""
        return optional_import("pandas", extra="data", purpose="Table.frame").DataFrame(dict(self.columns))

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


def joined_intervals(columns: Mapping[str, list[Any]], digits: int) -> dict[str, list[str]]:
    """Cells as text; an estimate and its limits as one column."""
    shown = {
        name: [f"{v:.{digits}f}" if isinstance(v, float) else " ".join(str(v).split()) for v in values]
        for name, values in columns.items()
    }
    joined = {}
    for name, cells in shown.items():
        low, high = shown.get(f"{name}_low"), shown.get(f"{name}_high")
        if low is not None and high is not None:
            cells = [f"{v} [{a}, {b}]" if v != "nan" else "–" for v, a, b in zip(cells, low, high, strict=True)]
        ends = name.removesuffix("_low").removesuffix("_high")
        if ends == name or not (f"{ends}_low" in shown and f"{ends}_high" in shown and ends in shown):
            joined[name] = ["–" if cell == "nan" else cell for cell in cells]
    return joined


def _wrapped(parts: Sequence[str], width: int) -> Iterator[str]:
    """Short texts one after the other, in lines of at most a width where they fit."""
    line = ""
    for part in parts:
        if line and len(line) + 3 + len(part) > width:
            yield line
            line = ""
        line = f"{line}   {part}" if line else part
    yield line


def _folded(columns: Mapping[str, list[str]], width: int) -> Iterator[str]:
    """Aligned columns; those that do not fit follow below, each block with the first columns, which name its rows."""
    names = list(columns)
    wide = {name: max(map(len, [name, *cells])) for name, cells in columns.items()}
    start = keys = _naming(columns)
    while True:
        block = names[:keys]
        used, end = sum(wide[name] + 2 for name in block) - 2, start
        while end < len(names) and (end == start or used + 2 + wide[names[end]] <= width):
            block.append(names[end])
            used += 2 + wide[names[end]]
            end += 1
        yield "  ".join(name.rjust(wide[name]) for name in block)
        for row in zip(*(columns[name] for name in block), strict=True):
            yield "  ".join(cell.rjust(wide[name]) for name, cell in zip(block, row, strict=True))
        start = end
        if start >= len(names):
            return
        yield ""


def _naming(columns: Mapping[str, list[str]]) -> int:
    """How many columns from the first on tell the rows apart, at most three; 1 where more would be needed."""
    rows = list(zip(*columns.values(), strict=True))
    counts = (count for count in (1, 2, 3) if len({row[:count] for row in rows}) == len(rows))
    return min(next(counts, 1), len(columns))


# A spreadsheet would run a cell that begins with one of these; full-width forms included.
_FORMULA = re.compile(r"'*\s*[=+\-@\t\r＝＋－＠]")


def _cells(values: Column) -> list[Any]:
    """The cells of a CSV column; text that a spreadsheet would take for a formula gets an apostrophe, as there."""
    return [plain_cell(cell) for cell in values.tolist()]


def plain_cell(cell: Any) -> Any:
    """A cell of a CSV file, with an apostrophe before text that a spreadsheet would take for a formula."""
    return f"'{cell}" if isinstance(cell, str) and _FORMULA.match(cell) else cell


def _text(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _parsed(cells: list[str]) -> Column:
    for kind in (np.int64, np.float64):
        try:
            return np.array(cells, dtype=kind)
        except ValueError:
            continue
    return np.array([_text(cell) for cell in cells])
