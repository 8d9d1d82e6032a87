"""The one way from what users pass (lists, NumPy, torch, pandas) to NumPy arrays, without losing an entry.

Nothing is dropped or guessed in silence: masked entries, sparse matrices and missing labels are refused by name.
"""

from __future__ import annotations

import numbers
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from redundancy.array_types import AnyArray

AnyNumpy = NDArray[np.generic]
LARGEST_EXACT = 2**53  # integers up to which float64 is exact


def as_numpy(a: AnyArray, *, name: str) -> AnyNumpy:
    """Values as a NumPy array: from torch on any device, pandas, lists of any of them; objects of one kind are typed.

    Half precision becomes float64 (exactly); tensors are detached. Masked entries raise ValueError, sparse matrices
    and None raise TypeError. Missing values of tables become NaN beside numbers and stay objects otherwise.
    """
    return narrowed(_plain(a, name=name, objects=False))


def as_labels(a: AnyArray, *, name: str) -> AnyNumpy:
    """Labels as a NumPy array of one kind: as `as_numpy`, but lists keep their types and missing entries are refused.

    ``np.asarray([1, "1"])`` would merge the two labels and ``np.asarray(["a", nan])`` would make a label "nan".
    """
    array = _plain(a, name=name, objects=True)
    _refuse_missing(array, name)
    if array.dtype.kind == "O":
        kinds = {_kind(value) for value in array.flat}
        if len(kinds) > 1 and kinds != {"integer", "number"}:
            raise TypeError(f"{name}: expected labels of one type, got {' and '.join(sorted(kinds))}; convert them")
        if len(kinds) > 1 and any(_kind(v) == "integer" and abs(int(v)) > LARGEST_EXACT for v in array.flat):
            raise TypeError(f"{name}: expected labels of one type, got floats and integers above 2**53; convert them")
    return narrowed(array)


def is_missing(value: object) -> bool:
    """Whether an object stands for a missing value: None, NaN, NaT or NA."""
    if value is None or value is np.ma.masked or type(value).__name__ == "NAType":
        return True
    try:
        return bool(value != value)  # NaN and NaT differ from themselves
    except (TypeError, ValueError):
        return False


def narrowed(array: AnyNumpy) -> AnyNumpy:
    """An object array as booleans, integers, floats or text if all its entries are; otherwise unchanged."""
    if array.dtype.kind != "O" or array.size == 0:
        return array
    missing = [is_missing(value) for value in array.flat]
    kinds = {_kind(value) for value, gone in zip(array.flat, missing, strict=True) if not gone}
    if any(missing):
        if kinds <= {"integer", "number", "boolean"}:
            numbers_only = [np.nan if gone else float(v) for v, gone in zip(array.flat, missing, strict=True)]
            return np.array(numbers_only).reshape(array.shape)
        return array
    if kinds == {"boolean"}:
        return array.astype(bool)
    if kinds == {"integer"}:
        values = [int(v) for v in array.flat]
        fits = np.int64 if max(values) < 2**63 else np.uint64
        return (
            array.astype(fits)
            if min(values) >= (-(2**63) if fits is np.int64 else 0) and max(values) < 2**64
            else array
        )
    if kinds <= {"integer", "number", "boolean"}:
        return array.astype(np.float64)
    if kinds in ({"text"}, {"bytes"}):
        return array.astype(str if kinds == {"text"} else bytes)
    return array


def _plain(a: AnyArray, *, name: str, objects: bool) -> AnyNumpy:
    """A NumPy array, still of objects where the input held them (lists too, with `objects`)."""
    if a is None:
        raise TypeError(f"{name}: expected an array, got None")
    if isinstance(a, np.ma.MaskedArray):
        masked = int(np.ma.getmaskarray(a).sum())
        if masked:
            raise ValueError(
                f"{name}: expected an array without masked entries, got {masked} masked; fill or drop them first"
            )
        return np.asarray(a.data)
    if is_sparse(a):
        raise TypeError(f"{name}: expected a dense array, got the sparse {type(a).__name__}; call .toarray() first")
    if is_tensor(a):
        return _from_torch(a, name=name)
    if isinstance(a, (list, tuple)):
        return _from_list(a, name=name, objects=objects)
    try:
        array = np.asarray(a)
    except Exception as error:
        raise TypeError(f"{name}: expected an array, got {type(a).__name__}; convert it to NumPy") from error
    if array.dtype.kind == "T":  # NumPy's strings of variable width
        array = array.astype(object)
    if array.dtype.kind == "O" and array.ndim == 0 and not isinstance(a, (np.ndarray, numbers.Number, Decimal)):
        raise TypeError(f"{name}: expected an array, got {type(a).__name__}")
    return array


def _from_list(a: list[AnyArray] | tuple[AnyArray, ...], *, name: str, objects: bool) -> AnyNumpy:
    if any(_is_container(entry) for entry in a):
        parts = [
            _plain(entry, name=name, objects=objects) if _is_container(entry) else np.asarray(entry) for entry in a
        ]
        if len({part.shape for part in parts}) > 1:
            raise ValueError(f"{name}: expected an array, got rows of unequal length")
        if objects and any(part.dtype.kind == "O" for part in parts):
            parts = [part.astype(object) for part in parts]
        kinds = {part.dtype.kind for part in parts}
        if kinds & set("US") and kinds - set("US"):
            parts = [part.astype(object) for part in parts]  # np.stack would turn the numbers into text
        return np.stack(parts)
    if not objects:
        array = np.asarray(a)
        if array.dtype.kind not in "US" or all(isinstance(entry, (str, bytes)) for entry in a):
            return array
    out = np.empty(len(a), dtype=object)
    out[:] = a
    return out


def _is_container(entry: object) -> bool:
    if isinstance(entry, (int, float, str, bytes, complex, np.generic)) or entry is None:
        return False
    return isinstance(entry, (list, tuple, np.ndarray)) or hasattr(entry, "__array__") or is_tensor(entry)


def _from_torch(a: AnyArray, *, name: str) -> AnyNumpy:
    a = plain_tensor(a, name=name).cpu().resolve_neg()
    return np.asarray((a.double() if a.is_floating_point() else a).numpy())


def plain_tensor(a: AnyArray, *, name: str) -> AnyArray:
    """A dense tensor of real numbers, without its gradient; any other one raises TypeError."""
    if str(a.layout) != "torch.strided":
        raise TypeError(f"{name}: expected a dense tensor, got layout {a.layout}; call .to_dense() first")
    if a.is_complex():
        raise TypeError(f"{name}: expected real numbers, got dtype {a.dtype}")
    if a.is_quantized or a.device.type == "meta":
        what = "a quantised tensor; call .dequantize() first" if a.is_quantized else "a tensor without data (meta)"
        raise TypeError(f"{name}: expected an array of numbers, got {what}")
    return a.detach()


def is_tensor(a: object) -> bool:
    """Whether the value is a torch tensor, without importing torch."""
    return type(a).__module__.split(".")[0] == "torch" or (hasattr(a, "detach") and hasattr(a, "layout"))


def is_sparse(a: object) -> bool:
    """Whether the value is a SciPy sparse matrix or array, or another sparse array with the same methods."""
    return hasattr(a, "tocsr") or hasattr(a, "todense")


def _refuse_missing(array: AnyNumpy, name: str) -> None:
    kind = array.dtype.kind
    if kind == "f":
        gone = ~np.isfinite(array.astype(np.float64))
    elif kind in "mM":
        gone = np.isnat(array)
    elif kind == "O":
        gone = np.array([is_missing(value) for value in array.flat], dtype=bool).reshape(array.shape)
    else:
        return
    if gone.any():
        rows = np.flatnonzero(gone.reshape(-1))
        raise ValueError(
            f"{name}: expected labels without NaN, infinity or missing values, got {rows.size}, first in rows "
            f"{rows[:5].tolist()}; drop these rows or give them a label"
        )


def _kind(value: object) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "boolean"
    if isinstance(value, numbers.Integral):
        return "integer"
    if isinstance(value, (numbers.Real, Decimal)):
        return "number"
    if isinstance(value, str):
        return "text"
    return "bytes" if isinstance(value, bytes) else type(value).__name__
