"""BROJA of the empirical distribution of labelled samples, with confidence limits that follow from its stability."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.information.discrete import paired_codes
from redundancy.pid.result import PID
from redundancy.pid.solver import broja
from redundancy.pid.stability import stability_limits


def broja_from_samples(
    z: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    *,
    tol: float = 1e-9,
    sizes: tuple[int, int, int] | None = None,
    confidence: float | None = None,
) -> PID:
    """Decompose I(Z; X, Y) of the empirical distribution of paired labels.

    Parameters
    ----------
    z, x, y : array_like (n,)
        Labels (integers, booleans or strings) of the target and the two sources, paired.
    tol : float
        As in :func:`broja`.
    sizes : (int, int, int), optional
        Alphabet sizes (|Z|, |X|, |Y|) fixed in advance; labels must then be integers in 0..size-1 (or booleans), and
        q, u, v have these shapes. Without it the alphabets are the labels seen.
    confidence : float, optional
        Adds `stability`: confidence limits that hold together for all four atoms of the sampled distribution with
        this probability, for independent rows and for `sizes` fixed in advance. Safe, and wide: they need n far
        above |Z| max(|X|, |Y|).

    Returns
    -------
    PID
        Atoms in nats. The plug-in is biased: unique and synergistic information are overestimated when the cells are
        many and the samples few.

    Raises
    ------
    ValueError
        Empty or unequal vectors, labels outside `sizes`, confidence without sizes.
    TypeError
        Float labels.

    See Also
    --------
    broja : The distribution is known.
    unique_information : Only the unique information of x, as an Estimate.

    Notes
    -----
    The limits are those of (9.3) with total-variation radii from section 9.3 of the theory.

    References
    ----------
    Bertschinger, Rauh, Olbrich, Jost and Ay (2014), *Quantifying unique information*, arXiv:1311.2852.

    Examples
    --------
    X knows the target, Y is a noisy copy of X:

    >>> import numpy as np
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> z = rng.integers(2, size=50_000)
    >>> x, y = z, np.where(rng.random(50_000) < 0.1, 1 - z, z)
    >>> pid = rd.broja_from_samples(z, x, y, sizes=(2, 2, 2), confidence=0.9)
    >>> round(pid.redundant, 3), round(pid.unique_x, 3), round(pid.unique_y, 3)
    (0.365, 0.328, 0.0)
    >>> [round(limit, 3) for limit in pid.stability["unique_x"]]
    [0.15, 0.506]
    """
    if sizes is None:
        if confidence is not None:
            raise ValueError(
                "confidence: expected together with sizes=(|Z|, |X|, |Y|) fixed in advance; the labels seen "
                "under-count them"
            )
        codes = paired_codes((z, x, y), "zxy").T
        shape = tuple(int(c.max()) + 1 for c in codes)
    else:
        shape = tuple(int(s) for s in sizes)
        if len(shape) != 3 or min(shape) < 1:
            raise ValueError(f"sizes: expected (|Z|, |X|, |Y|), each >= 1, got {sizes}")
        columns = [checks.codes(v, s, name=name) for v, s, name in zip((z, x, y), shape, "zxy", strict=True)]
        if len({c.size for c in columns}) > 1:
            raise ValueError(f"z, x, y: expected vectors of one length, got {[c.size for c in columns]}")
        codes = np.stack(columns)
    counts = np.bincount(np.ravel_multi_index(tuple(codes), shape), minlength=int(np.prod(shape)))
    pmf = counts.reshape(shape) / codes.shape[1]
    pid = broja(pmf, tol=tol)
    if confidence is None:
        return pid
    checks.probability(confidence, name="confidence", open_ends=True)
    limits = stability_limits(pid, pmf, n=codes.shape[1], alpha=1.0 - confidence)
    return dataclasses.replace(pid, stability=limits)
