"""Entropy and information of discrete variables from samples, counts or probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_conversion import as_numpy
from redundancy.array_types import FloatArray, IntArray
from redundancy.estimate import Estimate, Quantity
from redundancy.information.bias_corrections import METHODS, Correction

Kind = Literal["samples", "counts", "pmf"]
SUM_TOLERANCE = 1e-9


def entropy(x: ArrayLike, method: Correction = "plugin", *, kind: Kind = "samples") -> Estimate:
    """Estimate the Shannon entropy H(X) of a discrete variable.

    Parameters
    ----------
    x : array_like
        kind="samples": labels or codewords (n,). kind="counts": how often each symbol was seen (k,).
        kind="pmf": probabilities (k,).
    method : {"plugin", "miller-madow", "jackknife", "grassberger", "chao-shen", "chao-wang-jost"}
        Bias correction; "chao-wang-jost" had the least bias in our tests. A pmf admits only "plugin", which is
        then exact.
    kind : {"samples", "counts", "pmf"}
        What x is; never guessed.

    Returns
    -------
    Estimate
        Nats, in [0, log k] for the plug-in (a corrected value may leave the range). `details` holds the table's
        counts, their number n and the number of cells seen. There are no per-unit values: none of these estimators is
        a mean over samples.

    Raises
    ------
    ValueError
        Empty input, negative or non-finite entries, probabilities that do not sum to one, an unknown method or kind.
    TypeError
        Floats as samples.

    See Also
    --------
    conditional_entropy, mutual_information : From joint samples or tables.
    knn_entropy : Continuous variables.
    bounds.certify_entropy : Confidence interval on an alphabet fixed in advance, see (9.2).

    Notes
    -----
    H(X) = -sum_x p(x) log p(x). The plug-in uses the sample frequencies and is biased downwards, by about
    (k - 1) / (2 n).

    References
    ----------
    Miller (1955); Zahl (1977); Grassberger (2003), arXiv:physics/0307138; Chao and Shen (2003); Chao, Wang and Jost
    (2013).

    Examples
    --------
    >>> import redundancy as rd
    >>> rd.entropy(["cat", "dog", "cat", "owl"])
    entropy 1.04 nats (no per-unit values; method=plugin, kind=samples)
    >>> rd.entropy([0.5, 0.25, 0.25], kind="pmf").bits
    1.5
    >>> round(rd.entropy([5, 3, 1, 1], "chao-wang-jost", kind="counts").value, 4)
    1.4049
    """
    return _combination((x,), ((1.0, (0,)),), Quantity.ENTROPY, method, kind)


def conditional_entropy(
    x: ArrayLike, y: ArrayLike | None = None, method: Correction = "plugin", *, kind: Kind = "samples"
) -> Estimate:
    """Estimate H(X | Y) = H(X, Y) - H(Y), both with the same bias correction.

    Parameters
    ----------
    x, y : array_like
        Two label vectors (n,); for counts and probabilities one table x (size of X, size of Y) and no y.
    method, kind
        As in :func:`entropy`.

    Returns
    -------
    Estimate
        Nats, in [0, log |X|] for the plug-in; otherwise as in :func:`entropy`.

    Raises
    ------
    ValueError, TypeError
        As in :func:`entropy`; vectors of different lengths.

    See Also
    --------
    informational : H(X | Y) of codewords, with images as units and bounds by distance.

    Notes
    -----
    Chain rule: H(X | Y) = H(X, Y) - H(Y); 0 exactly when X is a function of Y.

    References
    ----------
    As for :func:`entropy`.

    Examples
    --------
    >>> import redundancy as rd
    >>> round(rd.conditional_entropy([0, 1, 2, 3], [0, 0, 1, 1]).value, 4)
    0.6931
    >>> rd.conditional_entropy([[0.5, 0.0], [0.0, 0.5]], kind="pmf").value
    0.0
    """
    return _combination((x, y), ((1.0, (0, 1)), (-1.0, (1,))), Quantity.CONDITIONAL_ENTROPY, method, kind)


def mutual_information(
    x: ArrayLike, y: ArrayLike | None = None, method: Correction = "plugin", *, kind: Kind = "samples"
) -> Estimate:
    """Estimate I(X; Y) = H(X) + H(Y) - H(X, Y), all with the same bias correction.

    Parameters
    ----------
    x, y, method, kind
        As in :func:`conditional_entropy`.

    Returns
    -------
    Estimate
        Nats, >= 0 for the plug-in. A corrected estimate may be negative; it is not clipped.

    Raises
    ------
    ValueError, TypeError
        As in :func:`conditional_entropy`.

    See Also
    --------
    ksg : Continuous variables.
    conditional_mutual_information : Given a third variable.

    Notes
    -----
    The plug-in is biased upwards, by about (k_x - 1)(k_y - 1) / (2 n).

    References
    ----------
    As for :func:`entropy`.

    Examples
    --------
    >>> import redundancy as rd
    >>> round(rd.mutual_information([0, 1, 0, 1], ["a", "b", "a", "b"]).bits, 4)
    1.0
    >>> round(rd.mutual_information([[0.25, 0.25], [0.25, 0.25]], kind="pmf").value, 4)
    0.0
    """
    terms = ((1.0, (0,)), (1.0, (1,)), (-1.0, (0, 1)))
    return _combination((x, y), terms, Quantity.MUTUAL_INFORMATION, method, kind)


def conditional_mutual_information(
    x: ArrayLike,
    y: ArrayLike | None = None,
    z: ArrayLike | None = None,
    method: Correction = "plugin",
    *,
    kind: Kind = "samples",
) -> Estimate:
    """Estimate I(X; Y | Z) = H(X, Z) + H(Y, Z) - H(X, Y, Z) - H(Z), all with the same bias correction.

    Parameters
    ----------
    x, y, z : array_like
        Three label vectors (n,); for counts and probabilities one table x (X, Y, Z) and neither y nor z.
    method, kind
        As in :func:`entropy`.

    Returns
    -------
    Estimate
        Nats, >= 0 for the plug-in; not clipped.

    Raises
    ------
    ValueError, TypeError
        As in :func:`conditional_entropy`.

    See Also
    --------
    knn_conditional_mutual_information : Continuous variables.

    Notes
    -----
    By the chain lemma (1.2), H(Z | Y) - H(Z | X) = I(Z; X | Y) - I(Z; Y | X).

    References
    ----------
    As for :func:`entropy`.

    Examples
    --------
    The exclusive or: X and Y are independent, but determine each other given Z.

    >>> import redundancy as rd
    >>> x, y = [0, 0, 1, 1], [0, 1, 0, 1]
    >>> z = [0, 1, 1, 0]
    >>> round(rd.conditional_mutual_information(x, y, z).bits, 4)
    1.0
    """
    terms = ((1.0, (0, 2)), (1.0, (1, 2)), (-1.0, (0, 1, 2)), (-1.0, (2,)))
    return _combination((x, y, z), terms, Quantity.CONDITIONAL_MUTUAL_INFORMATION, method, kind)


def _combination(
    variables: tuple[ArrayLike | None, ...],
    terms: Sequence[tuple[float, tuple[int, ...]]],
    quantity: Quantity,
    method: Correction,
    kind: Kind,
) -> Estimate:
    """A signed sum of entropies of marginals, all estimated in the same way."""
    checks.one_of(method, tuple(METHODS), name="method")
    checks.one_of(kind, get_args(Kind), name="kind")
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
    details: dict[str, object] = {"cells_seen": widest.size, "counts": widest}
    if kind != "pmf":
        details["n"] = int(n)
    return Estimate(
        value=float(value), quantity=quantity, unit="nats", settings={"method": method, "kind": kind}, details=details
    )


def paired_codes(variables: Sequence[ArrayLike | None], names: str = "xyz") -> IntArray:
    """Label vectors of equal length as codewords (n, variables), numbered 0.. in sorted order."""
    columns = []
    for name, variable in zip(names, variables, strict=False):
        if variable is None:
            raise ValueError(f"{name}: expected a vector of labels, got None; or give one table and kind='counts'")
        a = checks.labels(variable, name=name, what="codewords")
        columns.append(np.unique(a, return_inverse=True)[1].reshape(-1))
    lengths = {c.size for c in columns}
    if len(lengths) > 1:
        raise ValueError(
            f"{', '.join(names[: len(variables)])}: expected label vectors of one length (paired samples), "
            f"got {sorted(lengths)}"
        )
    return np.column_stack(columns).astype(np.int64)


def _cells(codes: IntArray) -> FloatArray:
    """Counts of the distinct rows."""
    joint = codes[:, 0]
    for column in codes.T[1:]:
        # renumber as we go, so that the product of two alphabets never overflows
        joint = np.unique(joint, return_inverse=True)[1].reshape(-1) * (int(column.max()) + 1) + column
    return np.unique(joint, return_counts=True)[1].astype(np.float64)


def _table(variables: tuple[ArrayLike | None, ...], method: Correction, kind: Kind) -> FloatArray:
    """One table of counts or probabilities, with one axis per variable."""
    axes = len(variables)
    if any(v is not None for v in variables[1:]):
        raise ValueError(f"kind={kind!r}: expected one table with {axes} axes as first argument, got several arrays")
    raw = as_numpy(variables[0], name="x")
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
            raise ValueError(f"method: expected 'plugin', got {method!r}; a pmf has no sampling bias")
        return np.asarray(table / total)
    if (table != np.floor(table)).any():
        raise ValueError("kind='counts': expected whole numbers, got fractions; probabilities are kind='pmf'")
    if total == 0:
        raise ValueError("kind='counts': expected at least one sample, got a table of zeros")
    return table
