"""Entropy and information of discrete variables from samples, counts or probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import FloatArray, IntArray
from redundancy.estimate import Estimate
from redundancy.information.bias_corrections import METHODS

KINDS = ("samples", "counts", "pmf")
SUM_TOLERANCE = 1e-9


def entropy(x: ArrayLike, method: str = "plugin", *, kind: str = "samples") -> Estimate:
    """H(X) in nats.

    Parameters
    ----------
    x : array_like
        kind="samples": labels or integer codes (n,). kind="counts": how often each symbol was seen (k,).
        kind="pmf": probabilities (k,).
    method : str
        "plugin", "miller-madow", "jackknife", "grassberger", "chao-shen" or "chao-wang-jost" (least bias in our
        tests). A pmf admits only "plugin", which is then exact.
    kind : {"samples", "counts", "pmf"}
        What x is; never guessed.

    Returns
    -------
    Estimate
        In nats; `details` holds the table's counts, their number n and the number of cells seen. It has no
        per-unit values: none of these estimators is a mean over samples (for limits: (9.2), 9.3.4 in docs/theory).

    Raises
    ------
    ValueError, TypeError
        Empty input, negative or non-finite entries, probabilities that do not sum to one, float codes,
        an unknown method or kind.
    """
    return _combination((x,), ((1.0, (0,)),), "entropy", method, kind)


def conditional_entropy(
    x: ArrayLike, y: ArrayLike | None = None, method: str = "plugin", *, kind: str = "samples"
) -> Estimate:
    """H(X | Y) = H(X, Y) - H(Y) in nats, both with the same correction.

    Samples come as two label vectors; counts and probabilities as one table x (size of X, size of Y) without y.
    Parameters, result and errors as `entropy`.
    """
    return _combination((x, y), ((1.0, (0, 1)), (-1.0, (1,))), "conditional entropy", method, kind)


def mutual_information(
    x: ArrayLike, y: ArrayLike | None = None, method: str = "plugin", *, kind: str = "samples"
) -> Estimate:
    """I(X; Y) = H(X) + H(Y) - H(X, Y) in nats, all with the same correction.

    Parameters, result and errors as `conditional_entropy`. A corrected estimate may be negative; it is not
    clipped. The plug-in is biased upwards, by about (k_x - 1)(k_y - 1) / (2 n).
    """
    return _combination((x, y), ((1.0, (0,)), (1.0, (1,)), (-1.0, (0, 1))), "mutual information", method, kind)


def conditional_mutual_information(
    x: ArrayLike,
    y: ArrayLike | None = None,
    z: ArrayLike | None = None,
    method: str = "plugin",
    *,
    kind: str = "samples",
) -> Estimate:
    """I(X; Y | Z) = H(X, Z) + H(Y, Z) - H(X, Y, Z) - H(Z) in nats, all with the same correction.

    Samples come as three label vectors; counts and probabilities as one table x (X, Y, Z).
    Parameters, result and errors as `conditional_entropy`.
    """
    terms = ((1.0, (0, 2)), (1.0, (1, 2)), (-1.0, (0, 1, 2)), (-1.0, (2,)))
    return _combination((x, y, z), terms, "conditional mutual information", method, kind)


def _combination(
    variables: tuple[ArrayLike | None, ...],
    terms: Sequence[tuple[float, tuple[int, ...]]],
    quantity: str,
    method: str,
    kind: str,
) -> Estimate:
    """A signed sum of entropies of marginals, every one estimated in the same way."""
    checks.one_of(method, tuple(METHODS), name="method")
    checks.one_of(kind, KINDS, name="kind")
    if kind == "samples":
        codes = paired_codes(variables)
        marginals = [(sign, _cells(codes[:, axes])) for sign, axes in terms]
        n: float = len(codes)
    else:
        whole = _table(variables, method, kind)
        axes_all = range(whole.ndim)
        marginals = [(s, whole.sum(tuple(i for i in axes_all if i not in axes)).ravel()) for s, axes in terms]
        marginals = [(sign, cells[cells > 0]) for sign, cells in marginals]
        n = float(whole.sum())
    value = sum(sign * METHODS[method](cells) for sign, cells in marginals)
    widest = max((cells for _, cells in marginals), key=lambda cells: cells.size)
    details: dict[str, Any] = {"cells_seen": widest.size, "counts": widest}
    if kind != "pmf":
        details["n"] = int(n)
    return Estimate(
        value=float(value), quantity=quantity, unit="nats", settings={"method": method, "kind": kind}, details=details
    )


def paired_codes(variables: Sequence[ArrayLike | None], names: str = "xyz") -> IntArray:
    """Label vectors of equal length as integer codes (n, variables), numbered 0.. in sorted order."""
    columns = []
    for name, variable in zip(names, variables, strict=False):
        if variable is None:
            raise ValueError(f"{name}: expected a vector of labels, got None; or give one table and kind='counts'")
        a = np.asarray(variable)
        if a.ndim != 1 or a.size == 0:
            raise ValueError(f"{name}: expected a non-empty vector of labels (n,), got shape {a.shape}")
        if a.dtype.kind not in "biuUS":
            raise TypeError(
                f"{name}: expected integer codes, booleans or strings, got dtype {a.dtype}; encode floats with "
                "Codebook, or estimate without codes (knn_entropy, ksg)"
            )
        columns.append(np.unique(a, return_inverse=True)[1].reshape(-1))
    lengths = {c.size for c in columns}
    if len(lengths) > 1:
        raise ValueError(f"expected label vectors of one length (paired samples), got {sorted(lengths)}")
    return np.column_stack(columns).astype(np.int64)


def _cells(codes: IntArray) -> FloatArray:
    """Counts of the distinct rows."""
    joint = codes[:, 0]
    for column in codes.T[1:]:
        # renumber as we go, so that the product of two alphabets never overflows
        joint = np.unique(joint, return_inverse=True)[1].reshape(-1) * (int(column.max()) + 1) + column
    return np.unique(joint, return_counts=True)[1].astype(np.float64)


def _table(variables: tuple[ArrayLike | None, ...], method: str, kind: str) -> FloatArray:
    """One table of counts or probabilities, with one axis per variable."""
    axes = len(variables)
    if any(v is not None for v in variables[1:]):
        raise ValueError(f"kind={kind!r}: expected one table with {axes} axes as first argument, got several arrays")
    raw = np.asarray(variables[0])
    if raw.ndim != axes or raw.size == 0:
        raise ValueError(f"kind={kind!r}: expected a non-empty table with {axes} axes, got shape {raw.shape}")
    if raw.dtype.kind not in "biuf":
        raise TypeError(f"kind={kind!r}: expected numbers, got dtype {raw.dtype}; labels are kind='samples'")
    table = raw.astype(np.float64)
    if not np.isfinite(table).all() or (table < 0).any():
        raise ValueError(f"kind={kind!r}: expected finite entries >= 0, got a smallest entry of {table.min()}")
    total = table.sum()
    if kind == "pmf":
        if abs(total - 1.0) > SUM_TOLERANCE:
            raise ValueError(f"kind='pmf': expected probabilities that sum to 1, got {total:.12g}; divide by the sum")
        if method != "plugin":
            raise ValueError(f"method: a pmf has no sampling bias; expected 'plugin', got {method!r}")
        return np.asarray(table / total)
    if (table != np.floor(table)).any():
        raise ValueError("kind='counts': expected whole numbers, got fractions; probabilities are kind='pmf'")
    if total == 0:
        raise ValueError("kind='counts': expected at least one sample, got a table of zeros")
    return table
