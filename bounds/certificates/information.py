"""A certified lower bound on mutual information from matched and unrelated pairs (theory, section 6)."""

from __future__ import annotations

import numpy as np

from bounds.certificates import mean_intervals
from bounds.certificates.certificate import Certificate, ErrorBudget, Sample, certificate_of
from bounds.confidence import METHODS, Method, lower_limit, upper_limit
from bounds.theorems.theorem_4_braun_pokutta import information_from_limits
from redundancy import checks
from redundancy.array_types import FloatArray
from redundancy.estimate import Estimate


def certify_information(
    estimate: Estimate,
    confidence: float = 0.95,
    *,
    method: Method = "betting",
    simultaneous: int = 1,
    shuffle: bool = True,
) -> Certificate:
    """Lower confidence bound on the mutual information of a random row's two states.

    Parameters
    ----------
    estimate : Estimate
        From `redundancy.proximal(..., baseline=True)`: how often matched pairs are close, and unrelated ones.
        Several thresholds are tried, and the best is kept.
    confidence, simultaneous, shuffle
        As in :func:`certify_mean`.
    method : str
        For both probabilities; "clopper-pearson" where every unit is a single row.

    Returns
    -------
    Certificate
        `.low` >= 0 in nats, `.high` infinite: mutual information of continuous states has no distribution-free upper
        bound. `.estimate` is the divergence of the two measured probabilities.

    Raises
    ------
    ValueError
        Anything but a proximal estimate with a baseline.

    See Also
    --------
    information_from_limits : The theorem behind it.
    certify_entropy : Upper bounds on conditional entropies of codewords.

    Notes
    -----
    I(X; Y) >= d(r || q) where r > q, with r a lower confidence limit of P(d(X, Y) <= t), q an upper one of the same
    probability for independent pairs, and d the binary divergence (theory, section 6). From n images the bound cannot
    exceed about log n.

    References
    ----------
    Braun and Pokutta (2015), *An information diffusion Fano inequality*, arXiv:1504.05556.

    Examples
    --------
    >>> import numpy as np
    >>> import bounds
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(500, 8))
    >>> y = x + 0.2 * rng.normal(size=x.shape)
    >>> close = rd.proximal(x, y, t=[0.05, 0.1], baseline=True, rng=0)
    >>> bounds.certify_information(close)
    mutual information in [3.555, inf] nats at confidence 0.95 (betting, n = 500 rows)
    """
    if estimate.quantity != "proximal" or estimate.baseline is None or estimate.baseline.per_unit is None:
        raise ValueError(
            "certify_information: expected redundancy.proximal(..., baseline=True), whose unrelated pairs give the "
            f"probability of being close under independence; got {str(estimate.quantity)!r}"
            + (" without baseline" if estimate.quantity == "proximal" else "")
        )
    budget = ErrorBudget(confidence, "lower", simultaneous)
    checks.one_of(method, tuple(METHODS), name="method")
    matched, mismatched = (
        part[mean_intervals.order(len(part), shuffle=shuffle, method=method)]
        for part in (mean_intervals.units(estimate), estimate.baseline.per_unit)
    )
    low = information_lower_limit(matched, mismatched, alpha=budget.alpha, method=method)
    # The divergence at the measured probabilities; 0 where unrelated pairs are as close as matched ones.
    plugin = information_from_limits(estimate.value, estimate.baseline.value)
    best = int(np.argmax(low))
    t = np.atleast_1d(np.asarray(estimate.settings["t"], dtype=np.float64))
    pairs = f"{estimate.baseline.n} disjoint pairs of unrelated {estimate.unit_of_sampling}s"
    return certificate_of(
        (np.asarray(np.max(low)), np.asarray(np.inf)),
        float(np.atleast_1d(plugin)[best]),
        budget,
        Sample(estimate.n, estimate.unit_of_sampling),
        what=(
            f"the mutual information in nats between the two states of a random row, found from the event "
            f"{{distance <= {t[best]:g}}} in matched rows and in {pairs},"
        ),
        quantity="mutual information",
        method=method,
        unit="nats",
        assumptions=["the thresholds were fixed before seeing the data"],
        settings={"distance": estimate.settings.get("distance", ""), "t": float(t[best])},
    )


def information_lower_limit(
    matched: FloatArray, mismatched: FloatArray, *, alpha: float, method: Method = "betting"
) -> FloatArray:
    """Lower confidence limits of I(X; Y), one per threshold, that hold at once: the largest may be taken.

    Parameters
    ----------
    matched : array (n,) or (n, k)
        For each image, the fraction of its rows whose own pair is within each of k thresholds.
    mismatched : array (m,) or (m, k)
        For each disjoint pair of images, the fraction of crossed rows within each threshold.
    alpha : float
        Error probability of all thresholds together.
    method : str
        For both probabilities.

    Returns
    -------
    ndarray () or (k,)
        Nats, >= 0, rounded down.
    """
    each = alpha / 2 / matched[0].size
    r = lower_limit(matched, alpha=each, method=method)
    q = upper_limit(mismatched, alpha=each, method=method)
    # The margin covers the rounding of the divergence.
    return np.asarray(information_from_limits(r, q) * (1 - 1e-12))
