"""Definition 4: a layer is informationally redundant when its code is determined by the next layer's code."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from redundancy import checks
from redundancy.array_types import FloatArray, IntArray
from redundancy.estimate import Estimate
from redundancy.information.bias_corrections import METHODS
from redundancy.information.code_bounds import ball_bounds
from redundancy.information.codebook import Codebook, checked_codes
from redundancy.units import unit_means

CORRECTIONS = tuple(METHODS)


def informational(
    x_codes: ArrayLike,
    y_codes: ArrayLike,
    *,
    size: int | None = None,
    method: str = "plugin",
    groups: ArrayLike | None = None,
    codebook: Codebook | None = None,
    radius: float | None = None,
    distance: str = "cosine",
    mix: float = 0.01,
    rng: np.random.Generator | int | None = 0,
) -> Estimate:
    """H(X | Y) in nats: what is left unknown of the EARLIER code x when the LATER code y is known (D5).

    The other direction says nothing: in full precision a later state is a function of the earlier one (section 7.6
    of docs/theory).

    Parameters
    ----------
    x_codes, y_codes : array_like (n,)
        Codes of the earlier and the later layer in 0..size-1, from one `Codebook` fitted on other data.
    size : int, optional
        |V|, number of codes; taken from `codebook` when that is given. Not the number of codes seen.
    method : str
        "plugin" (certifiable by McDiarmid, (9.2)), a bias correction of `entropy` ("chao-wang-jost", ...), or
        "cross-entropy": the held-out loss of a conditional law fitted on half of the units, an unbiased estimate of
        an upper bound (9.3.4); the result's quantity is then "cross-entropy" and its units certify it.
    groups : array_like (n,), optional
        Image of each row; every image weighs the same and images are the units. Not for bias corrections, which
        count independent rows.
    codebook, radius, distance
        Give a codebook and a radius to add the bounds of Theorems 3 (Fano) and 4 (Braun-Pokutta) to the details;
        distance is "cosine", "angular" or "chord".
    mix : float
        Weight of the uniform law in the fitted one (cross-entropy), in (0, 1).
    rng : Generator, int or None
        Which units fit and which are held out (cross-entropy).

    Returns
    -------
    Estimate
        `details["bounds"]`: upper bounds of the H(X | Y) of the sample's law, by name; `details["smallest_bound"]`
        names the smallest one. A bound of the sample's law is no certificate for the population: `bounds.certify`.

    Raises
    ------
    ValueError, TypeError
        Codes that are not integers in 0..size-1, unequal lengths, no size, a radius without codebook, fewer than
        two units for "cross-entropy", groups with a bias correction.
    """
    checks.one_of(method, (*CORRECTIONS, "cross-entropy"), name="method")
    if codebook is not None and size not in (None, codebook.size):
        raise ValueError(f"size: expected the codebook's {codebook.size} or nothing, got {size}")
    size = codebook.size if codebook is not None else size
    if size is None or size < 1:
        raise ValueError(f"size: expected the number of codes |V| (fixed in advance) or a codebook, got {size}")
    if (codebook is None) != (radius is None):
        raise ValueError("codebook and radius: expected both (for the bounds by distance) or neither")
    x, y = checked_codes(x_codes, size, name="x_codes"), checked_codes(y_codes, size, name="y_codes")
    if x.size != y.size:
        raise ValueError(f"x_codes and y_codes: expected codes of the same rows, got {x.size} and {y.size}")
    if groups is not None and method not in ("plugin", "cross-entropy"):
        raise ValueError(f"method: {method!r} counts independent rows; with groups use 'plugin' or 'cross-entropy'")
    index, sizes = checks.group_index(groups, x.size)
    cells, weights, counts = _joint(x, y, size, index, sizes)
    plugin = _conditional(weights, cells % size)
    bounds: dict[str, float] = {}
    if codebook is not None and radius is not None:
        joint = np.zeros((size, size))
        joint[cells // size, cells % size] = weights
        bounds = ball_bounds(joint, codebook.distances(distance) <= radius)
    details: dict[str, Any] = {"n": sizes.size, "plugin": plugin, "cells_seen": cells.size}
    settings: dict[str, Any] = {"method": method, "size": size}
    if radius is not None:
        settings |= {"radius": radius, "distance": distance}
    per_unit: FloatArray | None = None
    rows = None if groups is None else sizes.astype(np.float64)
    support = (0.0, float(np.log(size)))
    if method == "cross-entropy":
        losses, held_out = _held_out_losses(x, y, size, index, sizes, mix=mix, rng=rng)
        value, quantity = float(losses.mean()), "cross-entropy"
        bounds["cross-entropy"] = value
        settings["mix"] = mix
        per_unit, support = losses, _support(size, mix)
        rows = None if rows is None else rows[held_out]
        details["held_out_units"] = np.flatnonzero(held_out)
    else:
        quantity = "informational"
        later = np.asarray(np.bincount(cells % size, weights=counts), dtype=np.float64)
        estimate = METHODS[method]
        value = plugin if method == "plugin" else estimate(counts) - estimate(later[later > 0])
    if bounds:
        details["bounds"] = bounds
        details["smallest_bound"] = min(bounds, key=bounds.__getitem__)
    return Estimate(
        value=value,
        quantity=quantity,
        per_unit=per_unit,
        rows=rows,
        support=support,
        unit_of_sampling="row" if groups is None else "image",
        unit="nats",
        settings=settings,
        details=details,
    )


def _joint(
    x: IntArray, y: IntArray, size: int, index: IntArray, sizes: IntArray
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Cells x size + y that occur, their weights (every unit the same) and their row counts."""
    cells, position, counts = np.unique(x * size + y, return_inverse=True, return_counts=True)
    weights = np.bincount(position.reshape(-1), weights=1.0 / sizes[index]) / sizes.size
    return cells, weights, np.asarray(counts, dtype=np.float64)


def _conditional(weights: FloatArray, given: IntArray) -> float:
    """-sum w log(w / w(y)): never negative, exactly 0 for a function of y."""
    total = np.bincount(given, weights=weights)[given]
    return float(-(weights * np.log(weights / np.maximum(total, weights))).sum())


def _support(size: int, mix: float) -> tuple[float, float]:
    """Range of -log((1 - mix) q + mix / size) for q in [0, 1]."""
    return -float(np.log1p(-mix * (1.0 - 1.0 / size))), float(np.log(size / mix))


def _held_out_losses(
    x: IntArray,
    y: IntArray,
    size: int,
    index: IntArray,
    sizes: IntArray,
    *,
    mix: float,
    rng: np.random.Generator | int | None,
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Mean -log q(x | y) of each held-out unit; q is fitted on the other half, counts drawn towards the marginal."""
    checks.probability(mix, name="mix", open_ends=True)
    units = sizes.size
    if units < 2:
        raise ValueError("method 'cross-entropy': expected at least two rows or images, one to fit and one to test")
    held_out = np.zeros(units, dtype=bool)
    held_out[np.random.default_rng(rng).permutation(units)[: (units + 1) // 2]] = True
    test = held_out[index]
    cells, counts = np.unique(x[~test] * size + y[~test], return_counts=True)
    marginal = (np.bincount(x[~test], minlength=size) + 0.5) / ((~test).sum() + 0.5 * size)
    later = np.bincount(y[~test], minlength=size)
    wanted = x[test] * size + y[test]
    place = np.minimum(np.searchsorted(cells, wanted), cells.size - 1)
    seen = np.where(cells[place] == wanted, counts[place], 0)
    q = (seen + marginal[x[test]]) / (later[y[test]] + 1.0)
    loss = np.zeros(x.size)
    loss[test] = -np.log((1.0 - mix) * q + mix / size)
    return unit_means(loss, index, sizes)[held_out], held_out
