"""Entropy and information of discrete variables from samples, counts or probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_conversion import as_numpy
from redundancy.array_types import FloatArray, IntArray
from redundancy.estimate import Estimate, Quantity, unit_of_sampling
from redundancy.information.bias_corrections import METHODS, Correction
from redundancy.information.finite_entropy import conditional_entropy_of, divergence_terms, entropy_of
from redundancy.information.sampling_doubts import OnDoubt, plugin_doubts, raise_doubts

Kind = Literal["samples", "counts", "pmf"]
SUM_TOLERANCE = 1e-9


def entropy(
    x: ArrayLike, method: Correction = "plugin", *, kind: Kind = "samples", groups: ArrayLike | None = None
) -> Estimate:
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
    groups : array_like (n,), optional
        Image of each row (samples only). Every image counts the same, however many rows it has: the estimate is that
        of the distribution of a random row of a random image, and n counts images. With the plug-in only; bias
        corrections count independent rows.

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
    entropy 1.04 nats (n = 4 rows, no per-unit values; method=plugin, kind=samples)
    >>> rd.entropy([0.5, 0.25, 0.25], kind="pmf").bits
    1.5
    >>> round(rd.entropy([5, 3, 1, 1], "chao-wang-jost", kind="counts").value, 4)
    1.4049
    """
    return _combination((x,), ((1.0, (0,)),), Quantity.ENTROPY, method, kind, groups)


def conditional_entropy(
    x: ArrayLike,
    y: ArrayLike | None = None,
    method: Correction = "plugin",
    *,
    kind: Kind = "samples",
    groups: ArrayLike | None = None,
) -> Estimate:
    """Estimate H(X | Y) = H(X, Y) - H(Y), both with the same bias correction.

    Parameters
    ----------
    x, y : array_like
        Two label vectors (n,); for counts and probabilities one table x (size of X, size of Y) and no y.
    method, kind, groups
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
    return _combination((x, y), ((1.0, (0, 1)), (-1.0, (1,))), Quantity.CONDITIONAL_ENTROPY, method, kind, groups)


def mutual_information(
    x: ArrayLike,
    y: ArrayLike | None = None,
    method: Correction = "plugin",
    *,
    kind: Kind = "samples",
    groups: ArrayLike | None = None,
    on_doubt: OnDoubt = "warn",
) -> Estimate:
    """Estimate I(X; Y) = H(X) + H(Y) - H(X, Y), all with the same bias correction.

    Parameters
    ----------
    x, y, method, kind, groups
        As in :func:`conditional_entropy`.
    on_doubt : {"warn", "raise", "ignore"}
        What to do when the occupied cells are too many for the images (or rows): an expected bias of the plug-in
        above 0.1 nats, or more than half of the mass in cells that a single image fills.

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
    The plug-in is the divergence D(p(x, y) || p(x) p(y)) of the frequencies, summed in a form without cancellation:
    an information of 1e-15 keeps its digits. It is biased upwards, by about (k_x - 1)(k_y - 1) / (2 n).

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
    return _combination((x, y), terms, Quantity.MUTUAL_INFORMATION, method, kind, groups, on_doubt)


def conditional_mutual_information(
    x: ArrayLike,
    y: ArrayLike | None = None,
    z: ArrayLike | None = None,
    method: Correction = "plugin",
    *,
    kind: Kind = "samples",
    groups: ArrayLike | None = None,
    on_doubt: OnDoubt = "warn",
) -> Estimate:
    """Estimate I(X; Y | Z) = H(X, Z) + H(Y, Z) - H(X, Y, Z) - H(Z), all with the same bias correction.

    Parameters
    ----------
    x, y, z : array_like
        Three label vectors (n,); for counts and probabilities one table x (X, Y, Z) and neither y nor z.
    method, kind, groups
        As in :func:`entropy`.
    on_doubt
        As in :func:`mutual_information`.

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
    >>> x, y = 25 * [0, 0, 1, 1], 25 * [0, 1, 0, 1]
    >>> z = 25 * [0, 1, 1, 0]
    >>> round(rd.conditional_mutual_information(x, y, z).bits, 4)
    1.0
    """
    terms = ((1.0, (0, 2)), (1.0, (1, 2)), (-1.0, (0, 1, 2)), (-1.0, (2,)))
    return _combination((x, y, z), terms, Quantity.CONDITIONAL_MUTUAL_INFORMATION, method, kind, groups, on_doubt)


def _combination(
    variables: tuple[ArrayLike | None, ...],
    terms: Sequence[tuple[float, tuple[int, ...]]],
    quantity: Quantity,
    method: Correction,
    kind: Kind,
    groups: ArrayLike | None = None,
    on_doubt: OnDoubt = "ignore",
) -> Estimate:
    """A signed sum of entropies of marginals: directly for the plug-in, term by term for the bias corrections."""
    checks.one_of(method, tuple(METHODS), name="method")
    checks.one_of(kind, get_args(Kind), name="kind")
    if groups is not None and (kind != "samples" or method != "plugin"):
        raise ValueError(
            f"groups: expected kind='samples' and method='plugin', got {kind!r} and {method!r}; tables have no rows, "
            "and bias corrections count independent rows"
        )
    if kind == "samples":
        joint = joint_cells(paired_codes(variables), groups)
    else:
        whole = _table(variables, method, kind)
        axes = np.indices(whole.shape).reshape(whole.ndim, -1).T
        joint = Cells(axes, whole.ravel() / whole.sum(), whole.ravel(), int(whole.sum()))
    occupied = joint.counts > 0
    marginals = [(sign, _sums(joint.codes[occupied][:, axes], joint.counts[occupied])) for sign, axes in terms]
    widest = max((cells for _, cells in marginals), key=lambda cells: cells.size)
    if method == "plugin":
        value = plugin_value(joint, quantity)
    else:
        value = sum(sign * METHODS[method](cells) for sign, cells in marginals)
    details: dict[str, object] = {"cells_seen": widest.size, "counts": widest}
    if kind != "pmf":
        details["n"] = joint.units
        if quantity in (Quantity.MUTUAL_INFORMATION, Quantity.CONDITIONAL_MUTUAL_INFORMATION):
            doubts = plugin_doubts(
                degrees=int(-sum(sign * cells.size for sign, cells in marginals)) + (len(variables) == 2),
                units=joint.units,
                alone=float(joint.mass[joint.counts == 1].sum()),
                unit=unit_of_sampling(groups),
                corrected=method != "plugin",
            )
            details["doubts"] = tuple(doubts)
            raise_doubts(doubts, on_doubt)
    return Estimate(
        value=float(value),
        quantity=quantity,
        unit="nats",
        unit_of_sampling=unit_of_sampling(groups),
        settings={"method": method, "kind": kind},
        details=details,
    )


@dataclass(frozen=True, eq=False)
class Cells:
    """A joint distribution as a list of cells: their symbols, their mass and how many units fill them."""

    codes: IntArray  # (cells, variables)
    mass: FloatArray  # (cells,), sums to one
    counts: FloatArray  # (cells,)
    units: int


def joint_cells(codes: IntArray, groups: ArrayLike | None) -> Cells:
    """The occupied cells of paired codewords (n, variables); every image counts the same."""
    number, first = _numbered(codes)
    rows = codes[first]
    if groups is None:
        counts = np.bincount(number).astype(np.float64)
        return Cells(rows, counts / len(codes), counts, len(codes))
    index, sizes = checks.group_index(groups, len(codes))
    mass = np.bincount(number, weights=1.0 / sizes[index]) / sizes.size
    images = np.unique(np.column_stack([number, index]), axis=0)[:, 0]
    return Cells(rows, mass / mass.sum(), np.bincount(images).astype(np.float64), int(sizes.size))


def plugin_value(joint: Cells, quantity: Quantity) -> float:
    """Entropy or information in nats of a joint distribution of X, of (X, Y) or of (X, Y, Z), without cancellation."""
    p, codes = joint.mass, joint.codes
    if quantity == Quantity.ENTROPY:
        return max(0.0, entropy_of(p))
    if quantity == Quantity.CONDITIONAL_ENTROPY:
        return conditional_entropy_of(p[p > 0], codes[p > 0, 1])
    given = codes[:, 2:]
    x, y = (_margin(np.column_stack([codes[:, [axis]], given]), p) for axis in (0, 1))
    z = _margin(given, p) if given.shape[1] else np.ones_like(p)
    r = np.divide(x * y, z, out=np.zeros_like(p), where=z > 0)
    value = float(divergence_terms(p, r).sum())
    # cells that are not listed have p = 0 and contribute the rest of the product's mass
    return value if _all_listed(codes) else value + max(0.0, 1.0 - math.fsum(r))


def _all_listed(codes: IntArray) -> bool:
    """Whether for every Z all pairs of an X and a Y that occur with it are among the cells (X, Y[, Z])."""
    given = codes[:, 2:] if codes.shape[1] > 2 else np.zeros((len(codes), 1), dtype=np.int64)
    per_given = []
    for axis in (0, 1):
        _, first = _numbered(np.column_stack([codes[:, [axis]], given]))
        per_given.append(np.bincount(_numbered(given)[0][first]))
    return bool((per_given[0] * per_given[1]).sum() == len(codes))


def _margin(codes: IntArray, p: FloatArray) -> FloatArray:
    """For each cell the mass of all cells with the same codes."""
    number, _ = _numbered(codes)
    return np.asarray(np.bincount(number, weights=p)[number])


def _sums(codes: IntArray, counts: FloatArray) -> FloatArray:
    """Counts of the distinct rows of codes."""
    return np.asarray(np.bincount(_numbered(codes)[0], weights=counts), dtype=np.float64)


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


def _numbered(codes: IntArray) -> tuple[IntArray, IntArray]:
    """Number the distinct rows of codes 0.. in sorted order: (number of each row, first row of each number)."""
    joint = codes[:, 0]
    for column in codes.T[1:]:
        # renumber as we go, so that the product of two alphabets never overflows
        joint = np.unique(joint, return_inverse=True)[1].reshape(-1) * (int(column.max()) + 1) + column
    _, first, number = np.unique(joint, return_index=True, return_inverse=True)
    return number.reshape(-1), first


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
