"""Limits and intervals for units in any finite range, by the method's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from bounds.confidence.betting_limits import betting, betting_anytime
from bounds.confidence.star_bets import betting_star
from bounds.confidence.tail_bounds import (
    anderson_dkw,
    chernoff_kl,
    clopper_pearson,
    empirical_bernstein,
    hoeffding,
    hoeffding_bentkus,
)
from bounds.confidence.units import ROUNDING, to_unit
from redundancy import checks
from redundancy.array_types import FloatArray

Method = Literal[
    "betting",
    "betting-anytime",
    "betting-star",
    "hoeffding",
    "chernoff-kl",
    "anderson-dkw",
    "empirical-bernstein",
    "hoeffding-bentkus",
    "clopper-pearson",
]
METHODS: Mapping[Method, Callable[..., FloatArray]] = {
    "betting": betting,
    "betting-anytime": betting_anytime,
    "betting-star": betting_star,
    "hoeffding": hoeffding,
    "chernoff-kl": chernoff_kl,
    "anderson-dkw": anderson_dkw,
    "empirical-bernstein": empirical_bernstein,
    "hoeffding-bentkus": hoeffding_bentkus,
    "clopper-pearson": clopper_pearson,
}


def upper_limit(
    values: ArrayLike, *, alpha: float, method: Method = "betting", support: tuple[float, float] = (0.0, 1.0)
) -> FloatArray:
    """Upper confidence limit of the mean of units in a finite range, one for each column.

    Parameters
    ----------
    values : array (n, ...)
        One number per unit of sampling on the first axis; the units are independent draws from one distribution,
        the other axes are layers, thresholds, ... of the same units.
    alpha : float
        Error probability in (0, 1), of each column separately; divide it for a union over columns.
    method : str
        "betting" (one look at a number of units fixed in advance), "betting-anytime" (valid whenever one stops),
        "betting-star" (one look; narrower where the variance is large, and slower), "hoeffding", "chernoff-kl",
        "anderson-dkw", "empirical-bernstein", "hoeffding-bentkus" or "clopper-pearson".
    support : (float, float)
        Finite range that no unit can leave.

    Returns
    -------
    ndarray (...)
        P(mean > limit) <= alpha; never above the support's end; rounded up.

    Raises
    ------
    ValueError
        An infinite support, values outside it, an unknown method.

    See Also
    --------
    interval : Both ends.
    bounds.certify_mean : The same for an Estimate, with the sentence that says what is guaranteed.

    Examples
    --------
    >>> import numpy as np
    >>> from bounds import confidence
    >>> values = np.random.default_rng(0).beta(1, 30, 200)
    >>> round(float(values.mean()), 4)
    0.0352
    >>> round(float(confidence.upper_limit(values, alpha=0.05, support=(0.0, 2.0))), 4)
    0.0682
    """
    low, high = support
    unit = to_unit(values, support)
    return _outward(low + (high - low) * _method(method)(unit, alpha=alpha), support, up=True)


def lower_limit(
    values: ArrayLike, *, alpha: float, method: Method = "betting", support: tuple[float, float] = (0.0, 1.0)
) -> FloatArray:
    """Lower confidence limit of the mean of units in a finite range: the reflected units' upper limit.

    Parameters
    ----------
    values, alpha, method, support
        As in :func:`upper_limit`.

    Returns
    -------
    ndarray (...)
        P(mean < limit) <= alpha; never below the support's end; rounded down.

    Raises
    ------
    ValueError
        An infinite support, values outside it, an unknown method.

    See Also
    --------
    upper_limit : The other side, with the methods.

    Examples
    --------
    >>> import numpy as np
    >>> from bounds import confidence
    >>> values = np.random.default_rng(0).beta(1, 30, 200)
    >>> round(float(values.mean()), 4)
    0.0352
    >>> round(float(confidence.lower_limit(values, alpha=0.05)), 4)
    0.0269
    """
    low, high = support
    reflected = 1.0 - to_unit(values, support)
    return _outward(high - (high - low) * _method(method)(reflected, alpha=alpha), support, up=False)


def interval(
    values: ArrayLike, *, alpha: float, method: Method = "betting", support: tuple[float, float] = (0.0, 1.0)
) -> tuple[FloatArray, FloatArray]:
    """Confidence interval for the mean of units in a finite range: one-sided limits at alpha / 2 each.

    Parameters
    ----------
    values, alpha, method, support
        As in :func:`upper_limit`.

    Returns
    -------
    (ndarray (...), ndarray (...))
        Lower and upper limit; P(mean outside) <= alpha for each column.

    Raises
    ------
    ValueError
        An infinite support, values outside it, an unknown method.

    See Also
    --------
    upper_limit : One side alone, at alpha.

    Notes
    -----
    Betting limits of units that drift with their order may cross; the hull of the two is then returned.

    Examples
    --------
    >>> import numpy as np
    >>> from bounds import confidence
    >>> values = np.random.default_rng(0).beta(1, 30, 200)
    >>> round(float(values.mean()), 4)
    0.0352
    >>> low, high = confidence.interval(values, alpha=0.05)
    >>> round(float(low), 4), round(float(high), 4)
    (0.0261, 0.0554)
    """
    low = lower_limit(values, alpha=alpha / 2, method=method, support=support)
    high = upper_limit(values, alpha=alpha / 2, method=method, support=support)
    return np.minimum(low, high), np.maximum(low, high)


def _method(name: Method) -> Callable[..., FloatArray]:
    checks.one_of(name, tuple(METHODS), name="method")
    return METHODS[name]


def _outward(limit: FloatArray, support: tuple[float, float], *, up: bool) -> FloatArray:
    low, high = support
    nudge = ROUNDING * max(abs(low), abs(high))
    return np.asarray(np.minimum(high, limit + nudge) if up else np.maximum(low, limit - nudge))
