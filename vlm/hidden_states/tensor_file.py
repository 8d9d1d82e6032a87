"""Read and write safetensors files with NumPy alone: memory-mapped, bfloat16 included, torch not needed.

The format: eight bytes with the length of a JSON header (little-endian), the header, and the tensors' bytes one after
the other. NumPy has no bfloat16, so its bits are read as uint16; see `vlm.hidden_states.state_rows.Held`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vlm.atomic_files import writing_bytes

# NumPy's type of each type of the format that is used here, and the name by which it is asked for.
_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32"}
_CODES = {name: code for code, name in _NAMES.items()}
_HELD = {"bfloat16": np.dtype("<u2")}


class Written(NamedTuple):
    """What was written: number of bytes, and their SHA-256."""

    size: int
    sha256: str


def write_tensors(path: Path, tensors: Mapping[str, tuple[NDArray[Any], str]], metadata: Mapping[str, str]) -> Written:
    """Write arrays, each with the name of its type, atomically.

    Raises
    ------
    OSError
        The disk is full or cannot be written; no file appears.
    """
    # Wide types first, so that every tensor is aligned.
    order = sorted(tensors, key=lambda name: (-tensors[name][0].dtype.itemsize, name))
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    start = 0
    for name in order:
        array, kind = tensors[name]
        end = start + array.nbytes
        header[name] = {"dtype": _CODES[kind], "shape": list(array.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    size = 0
    with writing_bytes(path) as file:
        for piece in (len(text).to_bytes(8, "little"), text):
            digest.update(piece)
            size += file.write(piece)
        for name in order:
            array, kind = tensors[name]
            held = np.ascontiguousarray(array, dtype=_dtype(kind))
            data = held.reshape(-1).view(np.uint8).data
            digest.update(data)
            size += file.write(data)
    return Written(size, digest.hexdigest())


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in its file."""

    kind: str
    shape: tuple[int, ...]
    offset: int


@dataclass(frozen=True, eq=False)
class TensorFile:
    """A safetensors file that was opened with :func:`open_tensors`; tensors are mapped when they are asked for."""

    path: Path
    places: Mapping[str, _Place]

    def kind(self, name: str) -> str:
        """Type of a tensor, such as "bfloat16"."""
        return self.places[name].kind

    def array(self, name: str) -> NDArray[Any]:
        """A tensor, read-only, as a map of the file."""
        place = self.places[name]
        if 0 in place.shape:
            return np.empty(place.shape, dtype=_dtype(place.kind))
        return np.memmap(self.path, dtype=_dtype(place.kind), mode="r", offset=place.offset, shape=place.shape)


def open_tensors(path: Path) -> TensorFile:
    """Read the header of a safetensors file.

    Raises
    ------
    ValueError
        The file is cut off, is none, or holds a type that is not used here.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            size = path.stat().st_size
            if length > size - 8:
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            header = json.loads(file.read(length))
        places = {
            name: _Place(_NAMES[entry["dtype"]], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0])
            for name, entry in header.items()
            if name != "__metadata__"
        }
        ends = [place.offset + _size(place) for place in places.values()]
        if max(ends, default=8 + length) != size:
            raise ValueError(f"{max(ends, default=0)} bytes expected, {size} there")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"states: {path} is not a whole safetensors file ({error}); restore it") from error
    return TensorFile(path, places)


def _size(place: _Place) -> int:
    return int(np.prod(place.shape, dtype=np.int64)) * _dtype(place.kind).itemsize


def _dtype(kind: str) -> np.dtype[Any]:
    return _HELD.get(kind) or np.dtype(kind).newbyteorder("<")
