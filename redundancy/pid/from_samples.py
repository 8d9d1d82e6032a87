"""BROJA of the empirical law of coded samples, with confidence limits that follow from its stability."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.information.codebook import checked_codes
from redundancy.information.discrete import paired_codes
from redundancy.pid.result import PID
from redundancy.pid.solver import broja
from redundancy.pid.stability import stability_limits


def broja_from_samples(
    t: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    *,
    tol: float = 1e-9,
    sizes: tuple[int, int, int] | None = None,
    confidence: float | None = None,
) -> PID:
    """Decompose the empirical law of labels t, x, y (n,).

    Parameters
    ----------
    t, x, y : array_like (n,)
        Labels (integers, booleans or strings) of target and sources, paired.
    tol : float
        As `broja`.
    sizes : (int, int, int), optional
        Alphabet sizes fixed in advance; labels must then be integers in 0..size-1, and q, u, v have these shapes.
        Without it the alphabets are the labels seen.
    confidence : float, optional
        Adds `stability`: limits that hold all four atoms of the sampled law with this probability, for independent
        rows and for `sizes` fixed in advance (9.3 with total-variation radii 9.3.2). Safe, and wide: they need n far
        above |T| max(|X|, |Y|).

    Raises
    ------
    ValueError, TypeError
        Empty or unequal vectors, float labels, labels outside `sizes`, confidence without sizes.
    """
    if sizes is None:
        if confidence is not None:
            raise ValueError(
                "confidence: needs sizes=(|T|, |X|, |Y|) fixed in advance; the labels seen under-count them"
            )
        codes = paired_codes((t, x, y), "txy").T
        shape = tuple(int(c.max()) + 1 for c in codes)
    else:
        shape = tuple(int(s) for s in sizes)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"sizes: expected (|T|, |X|, |Y|), got {sizes}")
        columns = [checked_codes(v, s, name=name) for v, s, name in zip((t, x, y), shape, "txy", strict=True)]
        if len({c.size for c in columns}) > 1:
            raise ValueError(f"t, x, y: expected vectors of one length, got {[c.size for c in columns]}")
        codes = np.stack(columns)
    counts = np.bincount(np.ravel_multi_index(tuple(codes), shape), minlength=int(np.prod(shape)))
    pmf = counts.reshape(shape) / codes.shape[1]
    pid = broja(pmf, tol=tol)
    if confidence is None:
        return pid
    checks.probability(confidence, name="confidence", open_ends=True)
    limits = stability_limits(pid, pmf, n=codes.shape[1], alpha=1.0 - confidence)
    return dataclasses.replace(pid, stability=limits)
