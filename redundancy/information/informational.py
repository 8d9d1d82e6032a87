"""D5: a layer is informationally redundant when its codeword is determined by the next layer's codeword."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import FloatArray, IntArray, Rng
from redundancy.estimate import Estimate, Quantity, unit_of_sampling
from redundancy.information.bias_corrections import METHODS, Correction
from redundancy.information.code_bounds import ball_bounds
from redundancy.information.codebook import Codebook, CodeDistance, check_code_distance
from redundancy.information.finite_entropy import conditional_entropy_of, log_loss_range
from redundancy.information.held_out_cross_entropy import held_out_losses

MIX = 0.01
LARGEST_ALPHABET = 2**31  # pairs of codewords are then whole numbers of 64 bits


def informational(
    x_codes: ArrayLike,
    y_codes: ArrayLike,
    *,
    size: int | None = None,
    method: Correction | Literal["cross-entropy"] = "plugin",
    groups: ArrayLike | None = None,
    codebook: Codebook | None = None,
    radius: float | None = None,
    distance: CodeDistance = "cosine",
    mix: float = MIX,
    rng: Rng = None,
) -> Estimate:
    """Estimate informational redundancy: H(X | Y), the EARLIER codeword x given the LATER codeword y (D5).

    The other direction is uninformative: in full precision a later state is a function of the earlier one (theory,
    section 7.6).

    Parameters
    ----------
    x_codes, y_codes : array_like (n,)
        Codewords of the earlier and the later layer: integers in 0..size-1 (or booleans), from one `Codebook` fitted
        on other data.
    size : int, optional
        |V|, the number of codewords; taken from `codebook` when that is given. Not the number that was seen.
    method : str
        "plugin" (certifiable by McDiarmid, (9.2)), a bias correction of :func:`entropy` ("chao-wang-jost", ...), or
        "cross-entropy": the held-out loss of a conditional distribution fitted on half of the units, an unbiased
        estimate of an upper bound on H(X | Y) (theory, section 9.3); the result's quantity is then "cross-entropy"
        and its units certify it.
    groups : array_like (n,), optional
        Image of each row; every image has the same weight and images are the units. Not with bias corrections, which
        count independent rows.
    codebook, radius, distance
        A codebook and a radius add the bounds of Theorems 3 (Fano) and 4 (Braun-Pokutta) to the details; distance is
        "cosine", "angular" or "chordal".
    mix : float
        Weight of the uniform distribution in the fitted one (cross-entropy), in (0, 1).
    rng : Generator, int or None
        Which units fit and which are held out (cross-entropy).

    Returns
    -------
    Estimate
        Nats, in [0, log size] for the plug-in. `details["bounds"]`: upper bounds on the H(X | Y) of the sample's
        distribution, by name; `details["smallest_bound"]` names the smallest one. A bound on the sample's
        distribution is not a certificate for the population: use `bounds.certify`.

    Raises
    ------
    ValueError
        Codewords outside 0..size-1, unequal lengths, no size, a radius without a codebook, fewer than two units for
        "cross-entropy", groups with a bias correction.
    TypeError
        Codewords that are neither integers nor booleans.

    See Also
    --------
    Codebook : Maps states to codewords.
    conditional_entropy : The same entropy for any labels.
    bounds.certify, bounds.certify_entropy : Confidence intervals.

    Notes
    -----
    D5 calls X informationally redundant given Y at level eps if H(X | Y) <= eps. By Theorem 5, the information about
    any target that is lost between the layers is then at most eps.

    References
    ----------
    Duchi and Wainwright (2013), *Distance-based and continuum Fano inequalities*, arXiv:1311.2669; Braun and
    Pokutta (2015), *An information diffusion Fano inequality*, arXiv:1504.05556.

    Examples
    --------
    The later layer merges the symbols 0, 1 and 2, 3: one bit of the earlier codeword is lost.

    >>> import numpy as np
    >>> import redundancy as rd
    >>> x = np.arange(400) % 4
    >>> estimate = rd.informational(x, x // 2, size=4)
    >>> estimate
    informational 0.6931 nats (n = 400 rows, no per-unit values; method=plugin, size=4)
    >>> round(estimate.bits, 4)
    1.0
    >>> rd.informational(x // 2, x, size=4).value == 0.0
    True
    """
    checks.one_of(method, (*METHODS, "cross-entropy"), name="method")
    if codebook is not None and not isinstance(codebook, Codebook):
        raise TypeError(f"codebook: expected a Codebook, got {type(codebook).__name__}")
    if codebook is not None and size not in (None, codebook.size):
        raise ValueError(f"size: expected the codebook's {codebook.size} or nothing, got {size}")
    size = codebook.size if codebook is not None else size
    if size is None:
        raise ValueError("size: expected the number of codewords |V| (fixed in advance) or a codebook, got None")
    size = checks.integer(size, name="size", least=1)
    if size > LARGEST_ALPHABET:
        raise ValueError(f"size: expected at most {LARGEST_ALPHABET} codewords, got {size}")
    check_code_distance(distance)
    mix, generator = checks.probability(mix, name="mix", open_ends=True), checks.generator(rng)
    if mix != MIX and method != "cross-entropy":
        raise ValueError(f"mix: expected with method='cross-entropy' only, got {mix} with {method!r}")
    if distance != "cosine" and radius is None:
        raise ValueError(f"distance: expected together with a codebook and a radius, got {distance!r} alone")
    if radius is not None:
        radius = checks.radius(radius)
    if (codebook is None) != (radius is None):
        raise ValueError("codebook and radius: expected both (for the bounds by distance) or neither")
    x, y = checks.codes(x_codes, size, name="x_codes"), checks.codes(y_codes, size, name="y_codes")
    if x.size != y.size:
        raise ValueError(f"x_codes and y_codes: expected codewords of the same rows, got {x.size} and {y.size}")
    if groups is not None and method not in ("plugin", "cross-entropy"):
        raise ValueError(
            f"method: expected 'plugin' or 'cross-entropy' with groups, got {method!r}, which counts independent rows"
        )
    index, sizes = checks.group_index(groups, x.size)
    cells, weights, counts = _joint(x, y, size, index, sizes)
    later = np.unique(cells % size, return_inverse=True)[1].reshape(-1)  # memory for the codewords seen alone
    plugin = conditional_entropy_of(weights, later)
    bounds: dict[str, float] = {}
    if codebook is not None and radius is not None:
        joint = np.zeros((size, size))
        joint[cells // size, cells % size] = weights
        bounds = ball_bounds(joint, codebook.distances(distance) <= radius)
    details: dict[str, object] = {"n": sizes.size, "plugin": plugin, "cells_seen": cells.size}
    settings: dict[str, object] = {"method": method, "size": size}
    if radius is not None:
        settings |= {"radius": radius, "distance": distance}
    per_unit: FloatArray | None = None
    rows = None if groups is None else sizes.astype(np.float64)
    support = (0.0, float(np.log(size)))
    quantity = Quantity.INFORMATIONAL
    if method == "cross-entropy":
        losses, held_out = held_out_losses(x, y, size, index, sizes, mix=mix, rng=generator)
        value, quantity = float(losses.mean()), Quantity.CROSS_ENTROPY
        bounds["cross-entropy"] = value
        settings["mix"] = mix
        per_unit, support = losses, log_loss_range(size, mix)
        rows = None if rows is None else rows[held_out]
        details["held_out_units"] = np.flatnonzero(held_out)
    elif method == "plugin":
        value = plugin
    else:
        value = _corrected(METHODS[method], counts, later)
    if bounds:
        details["bounds"] = bounds
        details["smallest_bound"] = min(bounds, key=bounds.__getitem__)
    return Estimate(
        value=value,
        quantity=quantity,
        per_unit=per_unit,
        rows=rows,
        support=support,
        unit_of_sampling=unit_of_sampling(groups),
        unit="nats",
        settings=settings,
        details=details,
    )


def _corrected(correction: Callable[[FloatArray], float], counts: FloatArray, given: IntArray) -> float:
    """H(X, Y) - H(Y) from the counts of the cells, both with the same bias correction."""
    later = np.asarray(np.bincount(given, weights=counts), dtype=np.float64)
    return correction(counts) - correction(later[later > 0])


def _joint(
    x: IntArray, y: IntArray, size: int, index: IntArray, sizes: IntArray
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Cells x size + y that occur, their weights (every unit the same) and their row counts."""
    cells, position, counts = np.unique(x * size + y, return_inverse=True, return_counts=True)
    weights = np.bincount(position.reshape(-1), weights=1.0 / sizes[index]) / sizes.size
    return cells, weights, np.asarray(counts, dtype=np.float64)
