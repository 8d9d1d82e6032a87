"""An upper confidence limit for the mean of units in [0, 1]. Copy into a file of bounds/confidence."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from redundancy.array_types import FloatArray


def chebyshev(values: ArrayLike, *, alpha: float) -> FloatArray:
    """mean + sqrt((1 - alpha) / (4 n alpha)): Cantelli's inequality with the largest variance on [0, 1].

    Parameters
    ----------
    values : array (n, ...)
        Units in [0, 1]; independent draws from one distribution per column.
    alpha : float
        Error probability of each column, in (0, 1).

    Returns
    -------
    ndarray (...)
        Upper confidence limits, at most 1.

    Notes
    -----
    P(mu - mean >= s) <= v / (v + s^2) with v = Var(mean) <= 1 / (4 n).

    Examples
    --------
    >>> import numpy as np
    >>> float(chebyshev(np.zeros(100), alpha=0.05).round(3))
    0.218
    """
    units = np.asarray(values, dtype=np.float64)
    margin = math.sqrt((1.0 - alpha) / (4.0 * units.shape[0] * alpha))
    limit = np.nextafter(units.mean(axis=0) + margin, np.inf)
    return np.asarray(np.minimum(limit, 1.0))
