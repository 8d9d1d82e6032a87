"""What the estimator estimates, in one line. Copy to redundancy/ROOM/subject.py."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.estimate import Estimate, unit_of_sampling
from redundancy.units import unit_means


def mean_norm_change(x: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> Estimate:
    """Mean of | ||Y|| - ||X|| | over paired rows.

    Parameters
    ----------
    x, y : array (n, d)
        States of the same tokens at two layers.
    groups : array (n,), optional
        Image of each row; the image is then the unit of sampling.

    Returns
    -------
    Estimate
        `.value` >= 0 in the unit of the states; `.per_unit` (units,).

    Raises
    ------
    ValueError
        Unequal shapes, NaN, or groups of another length.

    See Also
    --------
    redundancy.geometric : The mean distance.

    Examples
    --------
    >>> import numpy as np
    >>> mean_norm_change(np.ones((2, 4)), 2 * np.ones((2, 4))).value
    2.0
    """
    _, first, second = checks.paired_rows(x, y)
    change = np.abs(np.linalg.norm(second, axis=1) - np.linalg.norm(first, axis=1))
    index, sizes = checks.group_index(groups, change.size)
    per_unit = unit_means(change, index, sizes)
    return Estimate(
        value=float(per_unit.mean()),
        quantity="geometric",
        per_unit=per_unit,
        rows=sizes.astype(np.float64),
        support=(0.0, float("inf")),
        unit_of_sampling=unit_of_sampling(groups),
        unit="norm",
        settings={"distance": "norm change"},
    )
