"""Unique information of an earlier layer about a target, from paired samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from redundancy.estimate import Estimate
from redundancy.pid.from_samples import broja_from_samples


def unique_information(
    target: ArrayLike,
    x_codes: ArrayLike,
    y_codes: ArrayLike,
    *,
    tol: float = 1e-9,
    confidence: float | None = None,
    sizes: tuple[int, int, int] | None = None,
) -> Estimate:
    """What the earlier layer knows about the target and the later one does not: BROJA's U(T : X \\ Y), nats.

    It is at most H(X | Y) (Lemma 5), and 0 exactly when the later code can stand in for the earlier one as far as the
    target is concerned. Plug-in: biased upwards when cells are many and samples few.

    Parameters and errors as `broja_from_samples`; the whole decomposition is in `details["pid"]`.
    """
    pid = broja_from_samples(target, x_codes, y_codes, tol=tol, confidence=confidence, sizes=sizes)
    return Estimate(
        value=pid.unique_x,
        quantity="unique information",
        unit="nats",
        settings={"method": "broja", "gap": pid.gap},
        details={"pid": pid, "n": int(np.asarray(target).size)},
    )
