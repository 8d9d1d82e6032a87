"""Unique information of an earlier layer about a target, from paired samples."""

from __future__ import annotations

from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.estimate import Estimate, Quantity, unit_of_sampling
from redundancy.information.sampling_doubts import OnDoubt
from redundancy.pid.from_samples import broja_from_samples


def unique_information(
    z: ArrayLike,
    x_codes: ArrayLike,
    y_codes: ArrayLike,
    *,
    tol: float = 1e-9,
    confidence: float | None = None,
    sizes: tuple[int, int, int] | None = None,
    groups: ArrayLike | None = None,
    on_doubt: OnDoubt = "warn",
) -> Estimate:
    """Estimate U(Z : X \\ Y): what the earlier layer knows about the target and the later one does not (BROJA).

    Parameters
    ----------
    z : array_like (n,)
        Labels of the target: integers, booleans or strings.
    x_codes, y_codes : array_like (n,)
        Codewords of the earlier and the later layer.
    tol, confidence, sizes, groups, on_doubt
        As in :func:`broja_from_samples`.

    Returns
    -------
    Estimate
        Nats, in [0, log |Z|] up to the gap; the whole decomposition is in `details["pid"]`. Plug-in: biased upwards
        when the cells are many and the samples few. No per-unit values.

    Raises
    ------
    ValueError, TypeError
        As in :func:`broja_from_samples`.

    See Also
    --------
    broja_from_samples : All four atoms.
    informational : H(X | Y), which is never smaller.

    Notes
    -----
    U(Z : X \\ Y) <= H(X | Y) (Lemma 5), and it is 0 if a copy of the earlier codeword can be drawn from the later one
    that goes with the target as the earlier one does (9.3').

    References
    ----------
    Bertschinger, Rauh, Olbrich, Jost and Ay (2014), *Quantifying unique information*, arXiv:1311.2852.

    Examples
    --------
    The later layer merges the symbols 0, 1 and 2, 3, and the target is the earlier symbol: one bit is unique.

    >>> import numpy as np
    >>> import redundancy as rd
    >>> x = np.arange(400) % 4
    >>> round(rd.unique_information(x, x, x // 2).bits, 4)
    1.0
    >>> round(rd.unique_information(x > 1, x, x // 2).bits, 4)
    0.0
    """
    pid = broja_from_samples(
        z, x_codes, y_codes, tol=tol, confidence=confidence, sizes=sizes, groups=groups, on_doubt=on_doubt
    )
    units = checks.group_index(groups, checks.labels(z, name="z").size)[1].size
    return Estimate(
        value=pid.unique_x,
        quantity=Quantity.UNIQUE_INFORMATION,
        unit_of_sampling=unit_of_sampling(groups),
        unit="nats",
        settings={"method": "broja", "gap": pid.gap},
        details={"pid": pid, "n": int(units)},
    )
