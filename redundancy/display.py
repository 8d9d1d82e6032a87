"""How results show themselves: one readable line, an HTML table in notebooks, a plain dictionary, JSON."""

from __future__ import annotations

import dataclasses
import html
import json
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np

LONGEST_VALUE = 48  # characters of one field in a line
LONGEST_LINE = 240


def short(value: object) -> str:
    """A value in a few characters: floats to four digits, long arrays and texts by their size."""
    if isinstance(value, (bool, np.bool_)) or value is None:
        return str(value)
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}"
    if isinstance(value, Enum):
        return str(value.value)
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return _short_array(value)
    if isinstance(value, Mapping):
        return _clipped(
            "{" + ", ".join(f"{key}: {short(v)}" for key, v in value.items()) + "}", f"{len(value)} entries"
        )
    if isinstance(value, (tuple, list)):
        left, right = ("(", ")") if isinstance(value, tuple) else ("[", "]")
        return _clipped(
            left + ", ".join(map(short, value[:9])) + right if len(value) < 9 else "", f"{len(value)} items"
        )
    if isinstance(value, str):
        line = " ".join(value.split())
        return _clipped(line, f"{line[: LONGEST_VALUE - 3]}...") if line else "''"
    return _clipped(str(value), type(value).__name__)


def _short_array(value: Any) -> str:
    if math.prod(value.shape) <= 6 and len(value.shape) <= 1:
        text = np.array2string(np.asarray(value), precision=4, separator=", ").replace("\n", "")
        if len(text) <= LONGEST_VALUE:
            return text
    return f"array{tuple(value.shape)}".replace(",)", ")")


def _clipped(text: str, instead: str) -> str:
    return text if text and len(text) <= LONGEST_VALUE and "\n" not in text else instead


def plain(value: object) -> Any:
    """A value as JSON knows it: arrays as lists, non-finite numbers as the strings "nan", "inf" and "-inf".

    Raises
    ------
    TypeError
        A value that has no plain form, such as a function.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, (np.bool_, np.integer)):
        return value.item()
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if not f.name.startswith("_")}
    if isinstance(value, Mapping):
        return {str(key): plain(v) for key, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return [plain(v) for v in sorted(value)]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if hasattr(value, "__fspath__"):
        return str(value)
    raise TypeError(f"to_dict: expected numbers, text, arrays or mappings of them, got {type(value).__name__}")


class Displayed:
    """Gives a dataclass its one-line ``repr``, ``_repr_html_``, ``to_dict``, ``to_json`` and ``format``.

    Use with ``@dataclass(frozen=True, repr=False)``. Fields whose names begin with an underscore, and those declared
    with ``field(repr=False)``, are left out of the line; the former are left out of the dictionary too.
    """

    def __repr__(self) -> str:
        parts = [f"{name}={short(value)}" for name, value in self._shown()]
        line = f"{type(self).__name__}({', '.join(parts)})"
        return line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 4]}...)"

    def _shown(self) -> list[tuple[str, Any]]:
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return [(f.name, getattr(self, f.name)) for f in fields if f.repr and not f.name.startswith("_")]

    def _repr_html_(self) -> str:
        """The fields as a table, for notebooks."""
        rows = "".join(
            f"<tr><th scope='row'>{html.escape(name)}</th><td>{html.escape(short(value))}</td></tr>"
            for name, value in self._shown()
        )
        return f"<table><caption>{html.escape(type(self).__name__)}</caption>{rows}</table>"

    def to_dict(self) -> dict[str, Any]:
        """The public fields as plain Python values that JSON can hold."""
        fields = dataclasses.fields(self)  # type: ignore[arg-type]
        return {f.name: plain(getattr(self, f.name)) for f in fields if not f.name.startswith("_")}

    def to_json(self, *, indent: int | None = None) -> str:
        """:meth:`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def __format__(self, specification: str) -> str:
        """A number's format applies to ``value`` where the result has one: ``f"{estimate:.3f}"``."""
        value = getattr(self, "value", None)
        if not specification:
            return str(self)
        if isinstance(value, (int, float)):
            return format(value, specification)
        raise TypeError(
            f"format: {type(self).__name__} has no single value for the specification {specification!r}; use str() or "
            "format one of its fields"
        )
