"""A table as Markdown, LaTeX and HTML; text from data is escaped for each."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence

from vlm.reports.html_parts import Heading, table_markup
from vlm.table import Table, joined_intervals

_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    **{mark: "\\" + mark for mark in "&%$#_"},
}
_LATEX_MARKS = re.compile("|".join(map(re.escape, _LATEX)))
_MARKDOWN_MARKS = re.compile(r"[\\`*_{}\[\]<>()#+!|~&$^-]")
MISSING = "–"
_NUMBER = re.compile(rf"{MISSING}|[+-]?[\d.,]+(e[+-]\d+)?%?( \[.*\])?|\d+/\d+|\[[\d., +-]+\]")


def shown(value: object, digits: int = 3) -> str:
    """A value as a cell of a table for readers: fixed decimals, a dash for a missing value."""
    if value is None:
        return MISSING
    if isinstance(value, float):
        return MISSING if math.isnan(value) else f"{value:.{digits}f}"
    return str(value)


def with_interval(value: float, low: float, high: float, *, digits: int = 3, sign: bool = False) -> str:
    """A number and its interval, as in "0.583 [0.552, 0.612]"."""
    if math.isnan(value):
        return MISSING
    plus = "+" if sign else ""
    if math.isnan(low) or math.isnan(high):
        return f"{value:{plus}.{digits}f}"
    return f"{value:{plus}.{digits}f} [{low:{plus}.{digits}f}, {high:{plus}.{digits}f}]"


def markdown(table: Table, digits: int = 3) -> str:
    """Write a table as Markdown; text that would be read as markup is escaped.

    Parameters
    ----------
    table : Table
    digits : int
        Decimals of floating-point numbers.

    Returns
    -------
    str

    See Also
    --------
    latex, html : The other formats.

    Examples
    --------
    >>> from vlm import Table
    >>> from vlm.reports import markdown
    >>> print(markdown(Table.from_rows([{"plan": "vision:0-4", "accuracy": 0.8125}])), end="")
    | plan | accuracy |
    | --- | --: |
    | vision:0-4 | 0.812 |
    """
    aligned = ["--:" if _numeric(table, name) else "---" for name in table.columns]
    lines = [_cells(table.columns, _markdown_text), aligned]
    lines += [_cells(row.values(), _markdown_text, digits) for row in table.rows()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def latex(table: Table, digits: int = 3, *, caption: str = "", label: str = "") -> str:
    r"""Write a table as LaTeX for the booktabs package; every cell is escaped.

    Parameters
    ----------
    table : Table
    digits : int
        Decimals of floating-point numbers.
    caption : str
        Text of the caption; it is escaped.
    label : str
        Name for ``\ref``.

    Returns
    -------
    str

    See Also
    --------
    markdown, html : The other formats.

    Examples
    --------
    >>> from vlm import Table
    >>> from vlm.reports import latex
    >>> table = Table.from_rows([{"plan": "vision:0-4", "accuracy": 0.8125}])
    >>> print(latex(table, 2, label="tab:one").split("toprule")[1].strip())
    plan & accuracy \\
    \midrule
    vision:0-4 & 0.81 \\
    \bottomrule
    \end{tabular}
    \end{table}
    """
    columns = "".join("r" if _numeric(table, name) else "l" for name in table.columns)
    body = [_cells(row.values(), latex_text, digits) for row in table.rows()]
    lines = [
        r"% needs \usepackage{booktabs,textcomp} and \usepackage[T1]{fontenc}",
        r"\begin{table}",
        r"\centering",
        *([rf"\caption{{{latex_text(caption)}}}"] if caption else []),
        *([rf"\label{{{label}}}"] if label else []),
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(_cells(table.columns, latex_text)) + r" \\",
        r"\midrule",
        *(" & ".join(line) + r" \\" for line in body),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def html(table: Table, digits: int = 3, *, caption: str = "", by: str | None = None) -> str:
    """Write a table as HTML for a page of any width; every cell is escaped.

    An estimate and its limits (`_low`, `_high`) share a column. Columns that are the same in every row are named in the
    caption instead. The first column stays in view when the table is scrolled sideways.

    Parameters
    ----------
    table : Table
    digits : int
        Decimals of floating-point numbers.
    caption : str
        Text of the caption.
    by : str, optional
        A column whose values become headings of groups of rows.

    Returns
    -------
    str

    See Also
    --------
    markdown, latex : The other formats.

    Examples
    --------
    >>> from vlm import Table
    >>> from vlm.reports import html
    >>> row = {"name": "<b>", "value": 0.5, "value_low": 0.4, "value_high": 0.6}
    >>> html(Table.from_rows([row])).partition("<tbody>")[2].partition("</tbody>")[0].strip()
    '<tr><th scope="row" class="text">&lt;b&gt;</th><td>0.500 [0.400, 0.600]</td></tr>'
    """
    columns = joined_intervals({name: values.tolist() for name, values in table.columns.items()}, digits)
    constant = {
        name: cells[0] for name, cells in columns.items() if len(cells) > 1 and len(set(cells)) == 1 and name != by
    }
    if not columns.keys() - constant.keys() - {by}:
        constant = {}
    kept = {name: cells for name, cells in columns.items() if name not in constant and name != by}
    head = [Heading(name, _kind(cells)) for name, cells in kept.items()]
    rows = list(zip(*kept.values(), strict=True))
    groups: dict[str | None, list[Sequence[str]]] = {} if by else {None: [*rows]}
    for label, row in zip(columns[by] if by else (), rows, strict=bool(by)):
        groups.setdefault(label, []).append(row)
    same = "; ".join(f"{name} {cell}" for name, cell in constant.items() if cell != MISSING)
    return table_markup(head, list(groups.items()), caption=caption, same=same)


def latex_text(text: str) -> str:
    """Text that LaTeX prints literally; characters that a T1 font lacks become question marks."""
    plain = _MISSING_IN_T1.sub("?", " ".join(text.split()).replace(MISSING, "--"))
    # After a line break, [ and * would be read as arguments of the break.
    return ("{}" if plain.startswith(("[", "*")) else "") + _LATEX_MARKS.sub(lambda match: _LATEX[match[0]], plain)


_MISSING_IN_T1 = re.compile("[^ -~\u00a1-\u017f\u2013\u2014\u2018\u2019\u201c\u201d\u2026≤≥]")


def _markdown_text(text: str) -> str:
    return _MARKDOWN_MARKS.sub(lambda match: "\\" + match[0] if match[0] not in "-+()" else match[0], _one_line(text))


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _numeric(table: Table, name: str) -> bool:
    """Whether a column holds numbers, with or without an interval, and is aligned to the right."""
    values = table[name]
    return values.dtype.kind in "ifb" or all(_NUMBER.fullmatch(str(v)) for v in values)


def _kind(cells: Sequence[str]) -> str:
    """The class of a column's cells: "" for numbers, which are aligned to the right."""
    if all(map(_NUMBER.fullmatch, cells)):
        return ""
    return "text long" if max(map(len, cells)) > 48 else "text"


def _cells(values: Iterable[object], text: Callable[[str], str], digits: int = 3) -> list[str]:
    return [text(shown(value, digits)) for value in values]
