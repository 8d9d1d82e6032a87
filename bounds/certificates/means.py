"""Certificates of means: of units, of rows that count the same, and of a whole curve of thresholds."""

from __future__ import annotations

import numpy as np

from bounds.certificates import guarantee_text, mean_intervals
from bounds.certificates.certificate import Certificate, ErrorBudget, Sample, Side, certificate_of
from bounds.certificates.clustered import TOKEN_METHODS, TokenMethod
from bounds.confidence import METHODS, Method, to_unit
from redundancy import checks
from redundancy.estimate import Estimate


def certify_mean(
    estimate: Estimate,
    confidence: float = 0.95,
    *,
    method: Method = "betting",
    side: Side = "both",
    simultaneous: int = 1,
    d_max: float | None = None,
    largest_loss: float | None = None,
    shuffle: bool = True,
) -> Certificate:
    """Confidence interval for the expectation of a unit, each unit counting the same.

    Parameters
    ----------
    estimate : Estimate
        Any estimate whose value is the mean of its `per_unit` values: `redundancy.geometric`, `proximal`,
        `functional`, `mmse` (upper bound only), `risk_difference`, `usable_information`, or your own.
    confidence : float
        1 - alpha, in (0, 1). Two-sided intervals split alpha; so do several thresholds, which hold together.
    method : str
        "betting" (default: valid for every distribution on the range, and the shortest or within 15% of it in the
        coverage study; for one look at a number of units fixed in advance), "betting-anytime" (the certificate may be
        recomputed while units are appended, and one may stop at will), "betting-star" (one look; narrower where the
        variance is large, and slower), "hoeffding", "chernoff-kl", "anderson-dkw", "empirical-bernstein",
        "hoeffding-bentkus", or "clopper-pearson" (units that are 0 or 1 only).
    side : {"both", "upper", "lower"}
        A one-sided bound spends all of alpha on one end.
    simultaneous : int
        Number of certificates (layers, modalities, ...) that hold together: alpha is divided by it, and
        `.confidence` is that of all of them together.
    d_max : float, optional
        Largest possible distance, where the distance itself has none (Euclidean, a callable).
    largest_loss : float, optional
        Largest possible loss of a row, where a functional or mmse estimate has none (no `target_range`).
    shuffle : bool
        Read the units in a fixed pseudo-random order (betting only), so that a file sorted by class does no
        harm. False keeps the order of `estimate.per_unit`, which must then not depend on the values.
        "betting-anytime" always keeps it: new units must come last (with `groups`, label the images in the order in
        which they come).

    Returns
    -------
    Certificate
        `.low` and `.high`, float or (k,) for k thresholds, in the unit of the estimate. For a cross-fitted estimate
        the certified number is the average risk (difference) of the fitted predictors; nothing is claimed about the
        mmse itself.

    Raises
    ------
    TypeError
        Something other than an Estimate.
    ValueError
        An estimate that keeps no units, an unbounded range without `d_max` or `largest_loss`, Clopper-Pearson on
        fractions, a lower bound on mmse.

    See Also
    --------
    certify_token_mean : Each row (token) counts the same.
    certify_curve : All thresholds at once.
    bounds.confidence.upper_limit : The same limits for arrays.

    Notes
    -----
    The methods are those of theory, section 9.1. Given the other folds the losses of a fold are independent, so each
    of K folds gets its own interval at alpha / K (theory, section 9.2). A lower bound on mmse(Z | X) that holds for
    every distribution of a continuous X is trivial (theory, section 9.2).

    References
    ----------
    Theory, sections 9.1 and 9.2 (docs/explanation/theory); Waudby-Smith and Ramdas (2024), *Estimating means of
    bounded random variables by betting*, arXiv:2010.09686.

    Examples
    --------
    >>> import numpy as np
    >>> import bounds
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> image = np.repeat(np.arange(200), 5)
    >>> x = rng.normal(size=(1000, 8))
    >>> y = x + 0.2 * rng.normal(size=x.shape)
    >>> certificate = bounds.certify_mean(rd.geometric(x, y, groups=image), side="upper")
    >>> certificate
    geometric in [0, 0.05528] at confidence 0.95 (betting, n = 200 images)
    >>> import textwrap
    >>> print(textwrap.fill(certificate.guarantee, 100))
    With probability at least 0.95 over the draw of 200 images, the mean cosine distance (every image
    counting the same) is at most 0.05528, provided that the images are independent draws from one
    distribution.
    """
    per_unit = mean_intervals.units(estimate)
    budget = ErrorBudget(confidence, side, simultaneous)
    checks.one_of(method, tuple(METHODS), name="method")
    _refuse_lower_mmse(estimate, side)
    ends = mean_intervals.support(estimate, d_max=d_max, largest_loss=largest_loss)
    order = mean_intervals.order(estimate.n, shuffle=shuffle, method=method)
    unit = to_unit(per_unit[order], ends)
    alpha = budget.per_end / per_unit[0].size
    fold = estimate.details.get("fold_of_unit")
    if fold is not None and method in mean_intervals.WATCHED:
        raise ValueError(
            f"method {method!r}: expected predictors that stay the same while images come in, got cross-fitted ones, "
            "which are fitted anew; use method='betting' for one look"
        )
    if fold is None:
        interval = mean_intervals.plain(unit, alpha=alpha, method=method)
    else:
        interval = mean_intervals.fold_by_fold(unit, fold[order], alpha=alpha, method=method)
    return certificate_of(
        mean_intervals.from_unit(interval, ends, budget),
        estimate.value,
        budget,
        Sample(estimate.n, estimate.unit_of_sampling),
        what=guarantee_text.mean_in_words(
            estimate.quantity,
            estimate.settings,
            unit=estimate.unit_of_sampling,
            folds=0 if fold is None else int(fold.max()) + 1,
        ),
        quantity=estimate.quantity,
        method=method,
        unit=estimate.unit,
        settings=estimate.settings,
        assumptions=_assumptions(estimate, d_max=d_max, largest_loss=largest_loss),
    )


def certify_token_mean(
    estimate: Estimate,
    confidence: float = 0.95,
    *,
    max_rows: float | None = None,
    method: TokenMethod = "betting",
    side: Side = "both",
    simultaneous: int = 1,
    d_max: float | None = None,
    largest_loss: float | None = None,
    shuffle: bool = True,
) -> Certificate:
    """Confidence interval for a mean in which each row (token, question) counts the same; the images are independent.

    Parameters
    ----------
    estimate : Estimate
        As in :func:`certify_mean`, with `rows`; not cross-fitted.
    confidence, side, simultaneous, d_max, largest_loss, shuffle
        As in :func:`certify_mean`.
    max_rows : float, required
        Largest possible number of rows of an image, known before seeing the data; without it nothing is certified.
    method : {"betting", "hoeffding"}
        How the interval is computed.

    Returns
    -------
    Certificate
        Of E[sum over the rows of an image] / E[rows of an image]; `.estimate` is the mean over all rows.

    Raises
    ------
    ValueError
        An estimate without rows, `max_rows` missing or smaller than the largest image, a cross-fitted estimate.

    See Also
    --------
    certify_mean : Each image counts the same.

    Notes
    -----
    With n_i rows of mean M_i the padded mean (n_i M_i + (n_max - n_i) theta) / n_max has expectation theta exactly at
    the token-weighted mean (theory, section 9.1).

    References
    ----------
    Theory, section 9.1 (docs/explanation/theory); Waudby-Smith and Ramdas (2024), *Estimating means of bounded
    random variables by betting*, arXiv:2010.09686.

    Examples
    --------
    >>> import numpy as np
    >>> import bounds
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> image = np.repeat(np.arange(200), rng.integers(1, 10, 200))
    >>> x = rng.normal(size=(image.size, 8))
    >>> y = x + 0.2 * rng.normal(size=x.shape)
    >>> bounds.certify_token_mean(rd.geometric(x, y, groups=image), max_rows=9)
    geometric in [0.00117, 0.08943] at confidence 0.95 (betting, n = 200 images)
    """
    per_unit = mean_intervals.units(estimate)
    budget = ErrorBudget(confidence, side, simultaneous)
    checks.one_of(method, TOKEN_METHODS, name="method for the token-weighted mean")
    _refuse_lower_mmse(estimate, side)
    if estimate.details.get("fold_of_unit") is not None:
        raise ValueError("weighting='token': not available for cross-fitted estimates; use weighting='image'")
    if estimate.rows is None or max_rows is None:
        raise ValueError(
            "weighting='token': expected an estimate with rows per image and max_rows (the largest possible number of "
            "rows of an image, known in advance); give max_rows, or use weighting='image'"
        )
    ends = mean_intervals.support(estimate, d_max=d_max, largest_loss=largest_loss)
    order = mean_intervals.order(estimate.n, shuffle=shuffle)
    interval = mean_intervals.token_weighted(
        to_unit(per_unit[order], ends),
        estimate.rows[order],
        max_rows=max_rows,
        alpha=budget.per_end / per_unit[0].size,
        method=method,
    )
    return certificate_of(
        mean_intervals.from_unit(interval, ends, budget),
        np.average(per_unit, axis=0, weights=estimate.rows),
        budget,
        Sample(estimate.n, estimate.unit_of_sampling),
        what=guarantee_text.mean_in_words(estimate.quantity, estimate.settings, unit="row"),
        quantity=estimate.quantity,
        method=method,
        unit=estimate.unit,
        settings=estimate.settings,
        weighting="row",
        assumptions=[
            *_assumptions(estimate, d_max=d_max, largest_loss=largest_loss),
            f"no image has more than {max_rows:g} rows",
        ],
    )


def certify_curve(
    estimate: Estimate, confidence: float = 0.95, *, side: Side = "both", simultaneous: int = 1
) -> Certificate:
    """Confidence band for P(d <= t) that holds for all thresholds t at once, so that t may be chosen afterwards.

    Parameters
    ----------
    estimate : Estimate
        From `redundancy.proximal`, at one or several thresholds.
    confidence, side, simultaneous
        As in :func:`certify_mean`; alpha is not divided by the number of thresholds.

    Returns
    -------
    Certificate
        `.low` and `.high` at the thresholds measured; the same deviation holds at every other threshold.

    Raises
    ------
    ValueError
        Anything but a proximal estimate.

    See Also
    --------
    certify_mean : Shorter intervals for a few thresholds that were fixed in advance.
    dkw_deviation : The deviation alone.

    Notes
    -----
    The Dvoretzky-Kiefer-Wolfowitz inequality with Massart's constant for rows, (9.1) for images of several rows.

    References
    ----------
    Massart (1990), *The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality*, Annals of Probability 18.

    Examples
    --------
    >>> import numpy as np
    >>> import bounds
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(1000, 8))
    >>> y = x + 0.2 * rng.normal(size=x.shape)
    >>> band = bounds.certify_curve(rd.proximal(x, y, t=[0.01, 0.02, 0.04]))
    >>> print(band.low.round(3), band.high.round(3))
    [0.214 0.563 0.838] [0.3   0.649 0.924]
    """
    per_unit = mean_intervals.units(estimate)
    budget = ErrorBudget(confidence, side, simultaneous)
    if estimate.quantity != "proximal":
        raise ValueError(
            f"method 'dkw': expected a proximal estimate (a distribution function in t), got "
            f"{str(estimate.quantity)!r}; use method='anderson-dkw' for a mean"
        )
    interval = mean_intervals.all_thresholds(estimate, per_unit, alpha=budget.per_end)
    return certificate_of(
        budget.sided(interval, (0.0, 1.0)),
        estimate.value,
        budget,
        Sample(estimate.n, estimate.unit_of_sampling),
        what=guarantee_text.curve_in_words(estimate.settings, unit=estimate.unit_of_sampling),
        quantity=estimate.quantity,
        method="dkw",
        unit=estimate.unit,
        settings=estimate.settings,
    )


def _refuse_lower_mmse(estimate: Estimate, side: Side) -> None:
    if estimate.quantity == "mmse" and side != "upper":
        raise ValueError(
            "certify: a lower bound on mmse(Z | X) that holds for every distribution of a continuous X is necessarily "
            "trivial: a finite sample cannot tell X from a variable with finitely many values, of which Z is a "
            "function (theory, section 9.2). Ask for side='upper', or certify the risk difference of "
            "redundancy.functional"
        )


def _assumptions(estimate: Estimate, *, d_max: float | None, largest_loss: float | None) -> list[str]:
    """What a mean's certificate supposes beside independence: the caller's range, and how predictors were fitted."""
    assumptions = []
    if d_max is not None:
        assumptions.append(f"no distance exceeds {d_max:g}")
    if largest_loss is not None:
        assumptions.append(f"no loss exceeds {largest_loss:g}")
    if estimate.quantity in mean_intervals.RISKS and estimate.details.get("fold_of_unit") is None:
        assumptions.append("the predictors were fitted on other data")
    return assumptions
