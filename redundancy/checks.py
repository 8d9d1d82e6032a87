"""The only place that validates arrays: each error says what was expected, what came, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from redundancy.array_types import FloatArray, IntArray


def paired_rows(x: Any, y: Any) -> tuple[Any, Any, Any]:
    """Check that x and y are paired rows (n, d) of one array library; return (namespace, x, y).

    NumPy and torch arrays pass through on their own device; anything else becomes a NumPy array.
    """
    from array_api_compat import array_namespace, is_torch_array

    torch_like = [is_torch_array(a) for a in (x, y)]
    if any(torch_like) and not all(torch_like):
        raise TypeError(
            f"x and y: expected two arrays of one library, got {type(x).__name__} and {type(y).__name__}; "
            "convert one of them"
        )
    if not any(torch_like):
        x, y = np.asarray(x), np.asarray(y)
    if x.ndim != 2 or y.ndim != 2:
        raise ValueError(
            f"x and y: expected two arrays of shape (n, d), got {tuple(x.shape)} and {tuple(y.shape)}; "
            "reshape to one row per token"
        )
    if tuple(x.shape) != tuple(y.shape):
        raise ValueError(f"x and y: expected equal shapes (paired rows), got {tuple(x.shape)} and {tuple(y.shape)}")
    if x.shape[0] == 0 or x.shape[1] == 0:
        raise ValueError(f"x and y: expected at least one row and one column, got shape {tuple(x.shape)}")
    xp = array_namespace(x, y)
    for name, a in (("x", x), ("y", y)):
        if not xp.isdtype(a.dtype, ("real floating", "integral")) and not _is_half(a):
            raise TypeError(f"{name}: expected real numbers, got dtype {a.dtype}")
    return xp, x, y


def _is_half(a: Any) -> bool:
    return str(a.dtype) in {"torch.bfloat16", "torch.float16", "float16"}


def matrix(a: ArrayLike, *, name: str, min_rows: int = 1) -> FloatArray:
    """A finite float64 matrix (n, d); a vector (n,) becomes (n, 1)."""
    out = np.asarray(a, dtype=np.float64)
    if out.ndim == 1:
        out = out[:, None]
    if out.ndim != 2:
        raise ValueError(f"{name}: expected shape (n,) or (n, d), got {out.shape}")
    if out.shape[0] < min_rows or out.shape[1] == 0:
        raise ValueError(f"{name}: expected at least {min_rows} row(s) and one column, got shape {out.shape}")
    finite(out, name=name)
    return out


def finite(a: FloatArray, *, name: str) -> None:
    """Refuse NaN and infinities, naming the first rows that hold one."""
    bad = ~np.isfinite(a)
    if bad.any():
        rows = np.unique(np.nonzero(bad)[0])
        raise ValueError(
            f"{name}: expected finite numbers, got NaN or infinity in {rows.size} row(s), "
            f"first {rows[:5].tolist()}; drop these rows or find where the overflow happened"
        )


def group_index(groups: ArrayLike | None, n: int) -> tuple[IntArray, IntArray]:
    """Number the groups 0..m-1 in order of their sorted labels; return (index of each row, group sizes)."""
    if groups is None:
        return np.arange(n), np.ones(n, dtype=np.int64)
    labels = np.asarray(groups)
    if labels.ndim != 1 or labels.shape[0] != n:
        raise ValueError(f"groups: expected one label (image) per row, shape ({n},), got shape {labels.shape}")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError("groups: expected labels without NaN or infinity; give every row an image")
    _, index, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return index.reshape(-1), sizes


def thresholds(t: ArrayLike) -> tuple[FloatArray, bool]:
    """One or many non-negative finite thresholds; return (array (k,), whether t was a scalar)."""
    values = np.asarray(t, dtype=np.float64)
    if values.ndim > 1 or values.size == 0:
        raise ValueError(f"t: expected a scalar or a vector of thresholds, got shape {values.shape}")
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError(f"t: expected finite thresholds >= 0, got {values.tolist()}")
    return np.atleast_1d(values), values.ndim == 0


def probability(p: float, *, name: str, open_ends: bool = False) -> float:
    """A number in [0, 1], or in (0, 1) with open_ends."""
    value = float(p)
    inside = 0.0 < value < 1.0 if open_ends else 0.0 <= value <= 1.0
    if not inside:
        interval = "(0, 1)" if open_ends else "[0, 1]"
        raise ValueError(f"{name}: expected a number in {interval}, got {value}")
    return value


def one_of(value: str, allowed: Sequence[str], *, name: str) -> str:
    """A word from a short list."""
    if value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(allowed)}; got {value!r}")
    return value
