"""Validation of numeric arguments: each error names the argument and says what was expected and what to do."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from redundancy.array_types import FloatArray
from redundancy.display import short

# A sum of a few hundred probabilities may leave [0, 1] by this much: 16 units in the last place of one.
ROUNDED = 16 * float(np.finfo(np.float64).eps)


def number(value: ArrayLike, *, name: str) -> FloatArray:
    """A float64 array without NaN; estimates and certificates are refused: a theorem cannot see what they are of."""
    _refuse_measured(value, name=name)
    try:
        out = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        got = repr(value) if isinstance(value, str) else short(value)
        raise ValueError(f"{name}: expected numbers of one shape, got {got}; convert them to floats") from None
    if np.isnan(out).any():
        raise ValueError(f"{name}: expected numbers, got NaN; drop the rows it comes from")
    return out


def _refuse_measured(value: object, *, name: str) -> None:
    """Raise TypeError for an estimate or a certificate, also inside lists and arrays of objects.

    NumPy would read an estimate there as its value.
    """
    if hasattr(value, "quantity"):
        what, parts = ("a certificate", ".low or .high") if hasattr(value, "high") else ("an estimate", ".value")
        raise TypeError(
            f"{name}: expected numbers, got {what} of {value.quantity!s}; give its {parts} if that is what the "
            "statement reads, or let bounds.implications check it"
        )
    entries: Iterable[object] = ()
    if isinstance(value, (list, tuple)):
        entries = value
    elif str(getattr(value, "dtype", "")) == "object":  # of NumPy or pandas
        entries = np.asarray(value, dtype=object).flat
    for entry in entries:
        _refuse_measured(entry, name=name)


def nonnegative(value: ArrayLike, *, name: str) -> FloatArray:
    """Numbers >= 0; what rounding leaves a few units in the last place below zero counts as zero."""
    out = number(value, name=name)
    if (out < -ROUNDED).any():
        raise ValueError(f"{name}: expected numbers >= 0, got {out.min()}; check the sign")
    return np.maximum(out, 0.0)


def nonnegatives(**values: ArrayLike) -> list[FloatArray]:
    """Numbers >= 0 that broadcast, in the order given."""
    checked = {name: nonnegative(value, name=name) for name, value in values.items()}
    together(**checked)
    return list(checked.values())


def positive(value: ArrayLike, *, name: str) -> FloatArray:
    """Numbers > 0."""
    out = number(value, name=name)
    if (out <= 0).any():
        raise ValueError(f"{name}: expected numbers > 0, got {out.min()}")
    return out


def probability(value: ArrayLike, *, name: str) -> FloatArray:
    """Numbers in [0, 1]; what rounding leaves a few units in the last place outside counts as the end itself."""
    out = number(value, name=name)
    if (out < -ROUNDED).any() or (out > 1.0 + ROUNDED).any():
        worst = out.min() if (out < -ROUNDED).any() else out.max()
        raise ValueError(f"{name}: expected probabilities in [0, 1], got {worst}; divide counts by their total")
    return np.clip(out, 0.0, 1.0)


def distribution(value: ArrayLike, *, name: str) -> FloatArray:
    """Probabilities along the last axis, summing to one."""
    out = probability(value, name=name)
    if out.ndim == 0 or np.abs(out.sum(axis=-1) - 1.0).max() > 1e-9:
        raise ValueError(
            f"{name}: expected probabilities that sum to one along the last axis, got shape {out.shape}"
            f"{'' if out.ndim == 0 else f' and a sum of {out.sum(axis=-1).min()}'}; divide by their total"
        )
    return out


def count(value: ArrayLike, *, name: str, least: int) -> FloatArray:
    """Whole numbers >= least, as floats."""
    out = number(value, name=name)
    if (out < least).any() or (out != np.floor(out)).any() or np.isinf(out).any():
        raise ValueError(f"{name}: expected whole numbers >= {least}, got {out.flat[_first_bad(out, least)]}")
    return out


def _first_bad(out: FloatArray, least: int) -> int:
    return int(np.flatnonzero((out < least) | (out != np.floor(out)) | np.isinf(out))[0])


def product(*factors: ArrayLike) -> FloatArray:
    """Product of numbers >= 0 in which zero times infinity is zero and no intermediate result overflows.

    A bound such as L^2 mmse(Y | X) is zero where one factor is zero, however large the others are: that is its limit.
    """
    shape = np.broadcast_shapes(*(np.shape(factor) for factor in factors))
    mantissa, exponent, vanishes = np.ones(shape), np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.bool_)
    for factor in factors:
        part, power = np.frexp(np.asarray(factor, dtype=np.float64))
        vanishes |= part == 0
        # Inside the loop a zero is one, so that it never meets an infinity.
        mantissa *= np.where(part == 0, 1.0, part)
        exponent += power
    with np.errstate(over="ignore", under="ignore"):
        out: FloatArray = np.where(vanishes, 0.0, np.ldexp(mantissa, exponent))
    return out


def square(value: ArrayLike) -> FloatArray:
    """The square, infinite without a warning where it overflows."""
    with np.errstate(over="ignore", under="ignore"):
        return np.square(np.asarray(value, dtype=np.float64))


def inverse(value: ArrayLike) -> FloatArray:
    """1 / value for numbers > 0, infinite without a warning where it overflows."""
    with np.errstate(over="ignore"):
        out: FloatArray = np.asarray(1.0 / np.asarray(value, dtype=np.float64))
    return out


def determined(result: object, *, name: str) -> None:
    """Refuse a result that is NaN: the arguments hold infinities of which it depends how they are approached."""
    parts = result if isinstance(result, tuple) else (result,)
    if any(np.isnan(part).any() for part in parts):
        raise ValueError(
            f"{name}: expected arguments that determine the result, got infinities that cancel; pass finite numbers"
        )


def ordered(low: FloatArray, high: FloatArray, *, names: tuple[str, str]) -> None:
    """low <= high, element by element, up to rounding."""
    together(**{names[0]: low, names[1]: high})
    if (low > high + ROUNDED * np.abs(high)).any():
        raise ValueError(f"{names[0]} <= {names[1]}: expected this order, got the opposite; swap them")


def together(**arrays: ArrayLike) -> tuple[int, ...]:
    """The common shape of arguments that broadcast."""
    shapes = {name: np.shape(a) for name, a in arrays.items()}
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        shown_shapes = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            f"expected arguments whose shapes broadcast, got {shown_shapes}; insert axes of length 1"
        ) from None


def same_last_axis(least: int = 1, /, **arrays: FloatArray) -> int:
    """The length of the last axis, the same for all vector arguments and at least `least`."""
    lengths = {name: (a.shape[-1] if a.ndim else -1) for name, a in arrays.items()}
    if len(set(lengths.values())) != 1 or min(lengths.values()) < least:
        shown_shapes = ", ".join(f"{name} {arrays[name].shape}" for name in arrays)
        raise ValueError(f"expected vectors along the last axis of one common length >= {least}, got {shown_shapes}")
    return next(iter(lengths.values()))


def shown(value: FloatArray) -> FloatArray:
    """A result without dimensions as a NumPy scalar, an array unchanged."""
    out: FloatArray = np.asarray(value)[()]
    return out
