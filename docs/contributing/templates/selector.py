"""METHOD: what it skips, in one line. Copy to vlm/selectors/METHOD.py."""

from __future__ import annotations

import numpy as np

from redundancy.array_types import FloatArray
from vlm import SkipPlan


def smallest_change(distance: FloatArray, *, layers: int) -> SkipPlan:
    r"""Freeze image tokens in the layers that move them least.

    :math:`s_l = E\,d(X_l, X_{l+1})`, averaged over samples; the `layers` smallest are chosen.

    Parameters
    ----------
    distance : array (samples, depth)
        Mean distance of the image tokens of a sample across each layer.
    layers : int
        How many layers to freeze, from 0 to depth.

    Returns
    -------
    SkipPlan
        The plan; layers need not be adjacent.

    Raises
    ------
    ValueError
        More layers than there are.

    Examples
    --------
    >>> import numpy as np
    >>> print(smallest_change(np.array([[0.3, 0.1, 0.2]]), layers=1))
    freeze:1-2
    """
    depth = distance.shape[1]
    if not 0 <= layers <= depth:
        raise ValueError(
            f"layers: expected 0 to {depth}, got {layers}; a plan cannot freeze more layers than there are"
        )
    chosen = np.argsort(distance.mean(axis=0), kind="stable")[:layers]
    plan = SkipPlan()
    for layer in sorted(chosen.tolist()):
        plan = plan | SkipPlan.freeze(layer, layer + 1)
    return plan
