"""A certified lower bound on mutual information from any critic's scores of held-out pairs (theory, section 6)."""

from __future__ import annotations

import numpy as np

from bounds.certificates import mean_intervals
from bounds.certificates.certificate import Certificate, ErrorBudget, Sample, Side, certificate_of
from bounds.confidence import METHODS, Method, lower_limit
from redundancy import checks
from redundancy.estimate import Estimate
from redundancy.information.critic_pairs import CriticPairs


def certify_critic_information(
    estimate: Estimate,
    confidence: float = 0.95,
    *,
    method: Method = "betting",
    side: Side = "lower",
    simultaneous: int = 1,
    shuffle: bool = True,
) -> Certificate:
    """Lower confidence bound on mutual information that holds for any critic, good or bad.

    Parameters
    ----------
    estimate : Estimate
        From `redundancy.critic_information`.
    confidence, simultaneous, shuffle
        As in :func:`certify_mean`.
    method : str
        Any method of :func:`certify_mean` for units in a finite range.
    side : {"lower"}
        No distribution-free upper bound exists.

    Returns
    -------
    Certificate
        `.low` >= 0 in nats, `.high` infinite, for the two states of a random row of a random image.

    Raises
    ------
    ValueError
        Another side; an estimate without held-out pairs.

    See Also
    --------
    certify : Calls this function.
    certify_information : From the event that two states are close.

    Notes
    -----
    log t <= t - 1 turns the bound of Donsker and Varadhan into one mean: for every function g,

        I(X; Y) >= E_P g(X, Y) - log E_Q exp g(X, Y') >= E[1 + g(X, Y) - exp g(X, Y')].

    In each held-out fold, g is the critic with the highest promise on training rows, scaled, clipped and shifted as
    fixed there. One unit is a disjoint pair of held-out images: the mean of 1 + g over their matched rows minus that of
    exp g over rows crossed between the two. Given the training folds the units are independent, so a limit of
    section 9.1 bounds their mean. All folds bound the same number: each spends its share of the error probability, and
    the largest limit is kept. From n images the bound cannot exceed about log n.

    References
    ----------
    Nguyen, Wainwright and Jordan (2010), *Estimating divergence functionals and the likelihood ratio by convex risk
    minimization*, arXiv:0809.0853; McAllester and Stratos (2020), arXiv:1811.04251 (the limit log n).

    Examples
    --------
    The truth is 0.51 nats:

    >>> import numpy as np
    >>> import bounds
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=2000)
    >>> y = 0.8 * x + 0.6 * rng.normal(size=2000)
    >>> estimate = rd.critic_information(x, y, members=("gaussian",), rng=0)
    >>> bounds.certify(estimate, side="lower")
    mutual information in [0.3836, inf] nats at confidence 0.95 (betting, n = 2000 rows)
    """
    if side != "lower":
        raise ValueError(
            f"side: expected 'lower', got {side!r}: mutual information of continuous states has no distribution-free "
            "upper bound"
        )
    pairs = estimate.details.get("pairs", ())
    if not pairs or not all(isinstance(fold, CriticPairs) for fold in pairs):
        raise ValueError(
            "certify_critic_information: expected an estimate of redundancy.critic_information, whose held-out pairs "
            f"are certified; got a {estimate.quantity} estimate without them"
        )
    budget = ErrorBudget(confidence, "lower", simultaneous)
    checks.one_of(method, tuple(METHODS), name="method")
    low = 0.0
    for fold in pairs:
        values = fold.values[mean_intervals.order(len(fold.values), shuffle=shuffle)]
        low = max(low, float(lower_limit(values, alpha=budget.alpha / len(pairs), method=method, support=fold.support)))
    unit = str(estimate.details["unit_of_sampling"])
    row = "a random row of a random image" if unit == "image" else "a random row"
    return certificate_of(
        (np.asarray(low * (1 - 1e-12)), np.asarray(np.inf)),
        estimate.value,
        budget,
        Sample(int(estimate.details["units"]), unit),
        what=(
            f"the mutual information in nats between the two states of {row}, bounded by {len(pairs)} critics that "
            f"were each fitted on other {unit}s,"
        ),
        quantity="mutual information",
        method=method,
        unit="nats",
    )
