"""Checks of arguments shared by all estimators: every error names the argument, what it expected and what it got."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from redundancy.array_conversion import as_labels, as_numpy, is_tensor, plain_tensor
from redundancy.array_types import AnyArray, FloatArray, IntArray, Rng

OptionT = TypeVar("OptionT", bound=str)


def paired_rows(x: AnyArray, y: AnyArray) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Check that x and y are paired rows (n, d) of one array library; return (namespace, x, y).

    NumPy and torch arrays pass through on their own device; anything else becomes a NumPy array.
    """
    from array_api_compat import array_namespace

    torch_like = [is_tensor(a) for a in (x, y)]
    if any(torch_like) and not all(torch_like):
        raise TypeError(
            f"x and y: expected two arrays of one library, got {type(x).__name__} and {type(y).__name__}; "
            "convert one of them"
        )
    pair = (("x", x), ("y", y))
    x, y = (plain_tensor(a, name=name) if is_tensor(a) else as_numpy(a, name=name) for name, a in pair)
    if x.ndim != 2 or y.ndim != 2:
        raise ValueError(
            f"x and y: expected two arrays of shape (n, d), got {tuple(x.shape)} and {tuple(y.shape)}; "
            "reshape to one row per token"
        )
    if tuple(x.shape) != tuple(y.shape):
        raise ValueError(f"x and y: expected equal shapes (paired rows), got {tuple(x.shape)} and {tuple(y.shape)}")
    if x.shape[0] == 0 or x.shape[1] == 0:
        raise ValueError(f"x and y: expected at least one row and one column, got shape {tuple(x.shape)}")
    for name, a in (("x", x), ("y", y)):
        real = not a.is_complex() if is_tensor(a) else a.dtype.kind in "biuf"
        if not real:
            got = f"objects such as {a.flat[0]!r}" if str(a.dtype) == "object" else f"dtype {a.dtype}"
            raise TypeError(f"{name}: expected real numbers, got {got}")
    return array_namespace(x, y), x, y


def real_array(a: ArrayLike, *, name: str) -> FloatArray:
    """An array of real numbers as float64; text, complex numbers and other objects raise TypeError."""
    array = as_numpy(a, name=name)
    if array.dtype.kind == "O":
        odd = next((v for v in array.flat if isinstance(v, (str, bytes, complex))), array.flat[0])
        raise TypeError(f"{name}: expected real numbers, got objects such as {odd!r}")
    if array.dtype.kind not in "biuf":
        got = f"{a!r}" if isinstance(a, str) else f"dtype {array.dtype}"
        raise TypeError(f"{name}: expected real numbers, got {got}")
    # in rows: sums along an axis round by the layout, and a rounding error decides ties among neighbours
    return np.asarray(array, dtype=np.float64, order="C")


def number(value: object, *, name: str) -> float:
    """A single real number as float; anything else raises TypeError."""
    if isinstance(value, (str, bytes, bool, np.bool_)) or value is None:
        raise TypeError(f"{name}: expected a number, got {value!r}")
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected a number, got {type(value).__name__}") from error


def integer(value: object, *, name: str, least: int) -> int:
    """A whole number >= least: an int, a NumPy integer or a float such as 3.0; booleans and fractions raise."""
    if isinstance(value, (bool, np.bool_, str, bytes)) or value is None:
        raise TypeError(f"{name}: expected an integer >= {least}, got {value!r}")
    whole = number(value, name=name)
    if not math.isfinite(whole) or whole != math.floor(whole) or whole < least:
        raise ValueError(f"{name}: expected an integer >= {least}, got {value}")
    return int(value)  # type: ignore[call-overload, no-any-return]


def flag(value: object, *, name: str) -> bool:
    """True or False; what is merely truthy ("no", nan, 2) raises TypeError."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {value!r}")
    return bool(value)


def positive(value: object, *, name: str) -> float:
    """A finite number > 0."""
    found = number(value, name=name)
    if not (math.isfinite(found) and found > 0):
        raise ValueError(f"{name}: expected a finite number > 0, got {found}")
    return found


def generator(rng: Rng) -> np.random.Generator:
    """The generator that rng stands for: itself, one seeded by it, or a fresh one for None."""
    if isinstance(rng, (bool, np.bool_, str)):
        raise TypeError(f"rng: expected a Generator, a seed or None, got {rng!r}")
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        got = f"{rng!r}" if isinstance(rng, (int, float, np.number)) else type(rng).__name__
        raise type(error)(f"rng: expected a Generator, a seed (a whole number >= 0) or None, got {got}") from error


def three_sizes(value: object, *, name: str, meaning: str) -> tuple[int, int, int]:
    """Three whole numbers >= 1, from a tuple, a list or an array of them."""
    if not isinstance(value, (tuple, list, np.ndarray)):
        raise TypeError(f"{name}: expected three numbers >= 1, {meaning}, got {value!r}")
    if len(value) != 3:
        raise ValueError(f"{name}: expected three numbers >= 1, {meaning}, got {len(value)}: {value!r}")
    first, second, third = (integer(size, name=name, least=1) for size in value)
    return first, second, third


def matrix(a: ArrayLike, *, name: str, min_rows: int = 1) -> FloatArray:
    """A finite float64 matrix (n, d); a vector (n,) becomes (n, 1)."""
    out = real_array(a, name=name)
    if out.ndim == 1:
        out = out[:, None]
    if out.ndim != 2:
        raise ValueError(f"{name}: expected shape (n,) or (n, d), got {out.shape}")
    if out.shape[0] < min_rows or out.shape[1] == 0:
        raise ValueError(f"{name}: expected at least {min_rows} row(s) and one column, got shape {out.shape}")
    finite(out, name=name)
    return out


def finite(a: FloatArray, *, name: str) -> None:
    """Raise ValueError if the array holds NaN or infinities, with the first such rows."""
    bad = ~np.isfinite(a)
    if bad.any():
        rows = np.unique(np.nonzero(bad)[0])
        raise ValueError(
            f"{name}: expected finite numbers, got NaN or infinity in {rows.size} row(s), "
            f"first {rows[:5].tolist()}; drop these rows or find where the overflow happened"
        )


def codes(a: ArrayLike, size: int, *, name: str) -> IntArray:
    """Codewords (n,) as int64: integers in 0..size-1, or booleans as 0 and 1."""
    array = as_labels(a, name=name)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name}: expected a non-empty vector of codewords (n,), got shape {array.shape}")
    if array.dtype.kind not in "iub":
        raise TypeError(
            f"{name}: expected integer codewords, got dtype {array.dtype}; encode states with Codebook.encode"
        )
    whole = array.astype(np.int64)
    if whole.min() < 0 or array.max() >= size:
        raise ValueError(f"{name}: expected codewords in 0..{size - 1}, got {array.min()} to {array.max()}; check size")
    return whole


def labels(a: ArrayLike, *, name: str, what: str = "class labels") -> NDArray[np.generic]:
    """A non-empty vector of integers, booleans or strings (n,), unchanged."""
    array = as_labels(a, name=name)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name}: expected a non-empty vector of labels (n,), got shape {array.shape}")
    if array.dtype.kind not in "biuUS":
        raise TypeError(
            f"{name}: expected {what} (integers, booleans or strings), got dtype {array.dtype}; encode floats with "
            "Codebook, or estimate without codewords (knn_entropy, ksg)"
        )
    return array


def group_index(groups: ArrayLike | None, n: int) -> tuple[IntArray, IntArray]:
    """Number the groups 0..m-1 in order of their sorted labels; return (index of each row, group sizes)."""
    if groups is None:
        return np.arange(n), np.ones(n, dtype=np.int64)
    array = as_labels(groups, name="groups")
    if array.ndim != 1 or array.shape[0] != n:
        raise ValueError(f"groups: expected one label (image) per row, shape ({n},), got shape {array.shape}")
    if array.dtype.kind in "cV":
        raise TypeError(f"groups: expected labels (integers, text, dates), got dtype {array.dtype}")
    try:
        _, index, sizes = np.unique(array, return_inverse=True, return_counts=True)
    except TypeError as error:
        raise TypeError(f"groups: expected labels that can be sorted, got objects such as {array[0]!r}") from error
    return index.reshape(-1), sizes


def thresholds(t: ArrayLike) -> tuple[FloatArray, bool]:
    """One or many finite thresholds >= 0; return (array (k,), whether t was a scalar)."""
    values = real_array(t, name="t")
    if as_numpy(t, name="t").dtype.kind == "b":
        raise TypeError(f"t: expected thresholds, got {t!r}")
    if values.ndim > 1 or values.size == 0:
        raise ValueError(f"t: expected a scalar or a vector of thresholds, got shape {values.shape}")
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError(f"t: expected finite thresholds >= 0, got {values.tolist()}")
    return np.atleast_1d(values), values.ndim == 0


def probability(p: float, *, name: str, open_ends: bool = False) -> float:
    """A number in [0, 1], or in (0, 1) with open_ends."""
    value = number(p, name=name)
    inside = 0.0 < value < 1.0 if open_ends else 0.0 <= value <= 1.0
    if not inside:
        interval = "(0, 1)" if open_ends else "[0, 1]"
        raise ValueError(f"{name}: expected a number in {interval}, got {value}")
    return value


def radius(value: float, *, name: str = "radius") -> float:
    """A finite number >= 0."""
    r = number(value, name=name)
    if not (math.isfinite(r) and r >= 0):
        raise ValueError(f"{name}: expected a finite number >= 0, got {r}")
    return r


def one_of(value: OptionT, allowed: Sequence[OptionT], *, name: str) -> OptionT:
    """A word from a short list."""
    if value not in allowed:
        close = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.6)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"{name}: expected one of {', '.join(allowed)}; got {value!r}{hint}")
    return value
