"""Sample-size planning: how many images a promise about a loss needs."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np

from bounds import confidence as limits
from bounds.confidence.betting_limits import COLUMN_BLOCK
from redundancy import checks

PlanningMethod = Literal["betting", "clopper-pearson"]
RUNS = 2000  # simulated samples behind each power of betting
LARGEST = 1_000_000  # images; above it no number is looked for


def images_needed(
    loss: float,
    rate: float,
    confidence: float = 0.95,
    power: float = 0.8,
    *,
    method: PlanningMethod = "betting",
    paired: float | None = None,
) -> int:
    """Number of images so that the promise "the loss is at most `loss`" is certified with a given probability.

    Parameters
    ----------
    loss : float
        The promised loss, in (0, 1].
    rate : float
        Share of the images whose answer is expected to differ under the plan, in [0, 1]: each costs 1 (0-1 loss).
    confidence : float
        Of the one-sided certificate, in (0, 1).
    power : float
        Probability that the certificate succeeds if the rate is as expected, in (0, 1).
    method : {"betting", "clopper-pearson"}
        Of the certificate; "clopper-pearson" for losses of 0 or 1 only.
    paired : float, optional
        Share of the differing answers that are better under the plan, in [0, 1]: the loss is then the paired fall of
        accuracy, whose expectation is ``rate * (1 - 2 * paired)``, with losses of -1, 0 and 1 (betting only).

    Returns
    -------
    int
        The least number found: exact for Clopper-Pearson (from this number on, its power never falls below `power`),
        simulated with a fixed seed for betting.

    Raises
    ------
    ValueError
        An expected loss that is not below the promised one, which no number of images certifies; more than 1,000,000
        images; a number outside its range.

    See Also
    --------
    certify : The certificate itself.

    Notes
    -----
    An upper limit u(D_1, ..., D_n) of section 9.1 certifies the promise where u <= loss (theory, sections 9.1 and 9.2);
    the number returned is the least n with P(u <= loss) >= power under the expected rate.

    References
    ----------
    Theory, sections 9.1 and 9.2 (docs/explanation/theory); Clopper and Pearson (1934), *The use of confidence or
    fiducial limits illustrated in the case of the binomial*, Biometrika 26; Waudby-Smith and Ramdas (2024),
    *Estimating means of bounded random variables by betting*, arXiv:2010.09686.

    Examples
    --------
    >>> import bounds
    >>> bounds.images_needed(0.05, 0.02, method="clopper-pearson")
    286
    >>> bounds.images_needed(0.05, 0.0)
    66
    >>> bounds.images_needed(0.05, 0.06)
    Traceback (most recent call last):
        ...
    ValueError: loss: expected more than the expected loss 0.06, got 0.05; no number of images certifies that
    """
    _check(loss, rate, confidence, method, paired)
    checks.probability(power, name="power", open_ends=True)
    expected = rate * (1.0 - 2.0 * (0.0 if paired is None else paired))
    if not loss > expected:
        raise ValueError(
            f"loss: expected more than the expected loss {expected:g}, got {loss:g}; no number of images certifies that"
        )

    def enough(n: int) -> bool:
        return planned_power(n, loss, rate, confidence, method=method, paired=paired) >= power

    high = 1
    while not enough(high):
        high *= 2
        if high > LARGEST:
            raise ValueError(
                f"loss: expected a promise that {LARGEST:,} images can certify, got {loss:g} at an expected loss of "
                f"{expected:g}; promise a larger loss"
            )
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    if method == "clopper-pearson":
        # The exact power is a saw: go on to the end of its last tooth below the asked power.
        last = high
        for n in range(high, 2 * high + 50):
            if not enough(n):
                last = n + 1
        high = last
    return high


def planned_power(
    n: int,
    loss: float,
    rate: float,
    confidence: float = 0.95,
    *,
    method: PlanningMethod = "betting",
    paired: float | None = None,
) -> float:
    """Probability that `n` images certify "the loss is at most `loss`", as in :func:`images_needed`.

    Parameters
    ----------
    n : int
        Number of images.
    loss, rate, confidence, method, paired
        As in :func:`images_needed`.

    Returns
    -------
    float
        In [0, 1]; exact for Clopper-Pearson, from 2,000 simulated samples of a fixed seed for betting.

    Examples
    --------
    >>> from bounds.planning import planned_power
    >>> round(planned_power(500, 0.05, 0.02, method="clopper-pearson"), 3)
    0.974
    """
    _check(loss, rate, confidence, method, paired)
    if not (math.isfinite(n) and n >= 1):
        raise ValueError(f"n: expected at least one image, got {n}")
    n, alpha = int(n), 1.0 - confidence
    if method == "clopper-pearson":
        return _exact_power(n, loss, rate, alpha)
    return _simulated_power(n, loss, rate, alpha, paired)


def _exact_power(n: int, loss: float, rate: float, alpha: float) -> float:
    """P(Bin(n, rate) <= k), k the largest number of losses whose limit is at most `loss`."""
    from scipy.stats import binom

    if loss >= 1.0:
        return 1.0
    # The limit of k losses is at most `loss` where P(Bin(n, loss) <= k) <= alpha.
    k = int(binom.ppf(alpha, n, loss))
    while k >= 0 and binom.cdf(k, n, loss) > alpha:
        k -= 1
    return float(binom.cdf(k, n, rate)) if k >= 0 else 0.0


@lru_cache(maxsize=4096)
def _simulated_power(n: int, loss: float, rate: float, alpha: float, paired: float | None) -> float:
    rng = np.random.default_rng([n, 20250922])
    better = 0.0 if paired is None else paired
    support = (0.0, 1.0) if paired is None else (-1.0, 1.0)
    unit = (loss - support[0]) / (support[1] - support[0])
    certified = 0
    per_block = max(1, COLUMN_BLOCK // n)
    for start in range(0, RUNS, per_block):
        runs = min(per_block, RUNS - start)
        differs = rng.random((n, runs)) < rate
        sign = np.where(rng.random((n, runs)) < better, -1.0, 1.0)
        d = limits.to_unit(differs * sign, support)
        certified += int(limits.betting_rejects(d, unit, alpha=alpha).sum())
    return certified / RUNS


def _check(loss: float, rate: float, confidence: float, method: str, paired: float | None) -> None:
    checks.probability(loss, name="loss")
    checks.probability(rate, name="rate")
    checks.probability(confidence, name="confidence", open_ends=True)
    checks.one_of(method, ("betting", "clopper-pearson"), name="method")
    if paired is not None:
        checks.probability(paired, name="paired")
        if method != "betting":
            raise ValueError(
                "method: expected 'betting' for paired losses, which are -1, 0 or 1; got 'clopper-pearson'"
            )
