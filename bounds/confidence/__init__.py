"""Finite-sample confidence limits for the mean of bounded independent units (theory, section 9.1), vectorised.

Every method takes values (n, ...) in [0, 1] with the units on the first axis, and returns limits (...)
such that P(mean > limit) <= alpha for each column, for a number of units that was fixed in advance. Limits are rounded
up; lower limits come by reflection. `betting_anytime` alone may be watched while units come in (theory, section 16.5).
"""

from bounds.confidence.betting_limits import betting, betting_anytime, betting_rejects
from bounds.confidence.limits import METHODS, Method, interval, lower_limit, upper_limit
from bounds.confidence.star_bets import betting_star
from bounds.confidence.tail_bounds import (
    anderson_dkw,
    chernoff_kl,
    clopper_pearson,
    deviation,
    empirical_bernstein,
    hoeffding,
    hoeffding_bentkus,
)
from bounds.confidence.units import to_unit

__all__ = [
    "METHODS",
    "Method",
    "anderson_dkw",
    "betting",
    "betting_anytime",
    "betting_rejects",
    "betting_star",
    "chernoff_kl",
    "clopper_pearson",
    "deviation",
    "empirical_bernstein",
    "hoeffding",
    "hoeffding_bentkus",
    "interval",
    "lower_limit",
    "to_unit",
    "upper_limit",
]
