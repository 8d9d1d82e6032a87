"""From an estimate to a statement that holds with a stated probability."""

from __future__ import annotations

from typing import Any

import numpy as np

from bounds import confidence as limits
from bounds.certificates import guarantee_text, means
from bounds.certificates.certificate import Certificate, certificate_of
from bounds.certificates.entropy import certify_entropy, certify_plugin_entropy
from bounds.certificates.information import certify_information
from redundancy import checks
from redundancy.array_types import FloatArray
from redundancy.estimate import Estimate

__all__ = ["Certificate", "certify", "certify_entropy"]


ENTROPIES = ("entropy", "conditional entropy", "informational")


def certify(
    estimate: Estimate,
    confidence: float = 0.95,
    *,
    method: str | None = None,
    target: str = "image",
    side: str = "both",
    family: int = 1,
    d_max: float | None = None,
    largest_loss: float | None = None,
    max_rows: float | None = None,
    size: int | tuple[int, int] | None = None,
    shuffle: bool = True,
) -> Certificate:
    """Interval that covers what `estimate` estimates, with a finite-sample guarantee (section 9.1).

    Parameters
    ----------
    estimate : Estimate
        A mean over units of sampling: `redundancy.geometric`, `proximal`, `functional`, `mmse` (upper limit
        only), `risk_difference`, a plug-in `entropy` or `conditional_entropy` (with `size`), or any Estimate whose
        value is the mean of its `per_unit`.
    confidence : float
        1 - alpha, in (0, 1). Two-sided limits split alpha; so do several thresholds (they hold together).
    method : str, optional
        For means: "betting" (default: valid for every bounded law and shortest or close to it in the coverage study),
        "hoeffding", "chernoff-kl", "anderson-dkw", "empirical-bernstein", "hoeffding-bentkus",
        "clopper-pearson" (units that are 0 or 1 only), or "dkw" (proximal only: holds for all thresholds at
        once, so that t may be chosen after seeing the data). For entropies: "mcdiarmid".
    target : {"image", "token", "information"}
        "image": the mean over units, each unit counting the same. "token": every row counting the same,
        E[sum over the image's rows] / E[rows per image]; needs `max_rows`, methods betting or hoeffding.
        "information": lower limit of the mutual information of a random row's two states, from a proximal
        estimate with `baseline=True` (section 6); several thresholds are tried and the best kept.
    side : {"both", "upper", "lower"}
        A one-sided limit spends all of alpha on one end.
    family : int
        Number of certificates (layers, modalities, ...) that shall hold together: alpha is divided by it,
        and `.confidence` is then that of the whole family.
    d_max : float, optional
        Largest possible distance, where the distance itself has no limit (Euclidean, a callable).
    largest_loss : float, optional
        Largest possible loss of a row, where a functional or mmse estimate has none (no `target_range`).
    max_rows : float, optional
        Largest possible number of rows of an image, known before seeing the data (target="token").
    size : int or (int, int), optional
        Sizes of the alphabets of X and Y, for a plug-in entropy or conditional entropy (9.2).
    shuffle : bool
        Read the units in a fixed pseudo-random order (betting only), so that a file sorted by class does no
        harm. False keeps the order of `estimate.per_unit`, which must then not depend on the values.

    Returns
    -------
    Certificate
        `.low`, `.high` float, or (k,) for k thresholds; `.guarantee` in one sentence. For a cross-fitted
        functional estimate the certified number is the average risk difference of the fitted predictors,
        each fold having its own limit (union over folds); nothing is claimed about the mmse itself.

    Raises
    ------
    ValueError
        What cannot be certified: an estimate that keeps no units, an unbounded range without `d_max` or
        `largest_loss`, Clopper-Pearson on fractions, "dkw" on anything but proximal, a lower limit of mmse.
    """
    checks.probability(confidence, name="confidence", open_ends=True)
    entropic = isinstance(estimate, Estimate) and estimate.quantity in ENTROPIES
    method = method or ("mcdiarmid" if entropic else "betting")
    checks.one_of(method, ("mcdiarmid",) if entropic else (*limits.METHODS, "dkw"), name="method")
    checks.one_of(target, ("image", "token", "information"), name="target")
    checks.one_of(side, ("both", "upper", "lower"), name="side")
    if family < 1:
        raise ValueError(f"family: expected the number of certificates made together, >= 1, got {family}")
    if entropic:
        return certify_plugin_entropy(estimate, confidence, size=size, side=side, family=family)
    per_unit = means.units(estimate)
    order = np.random.default_rng(0).permutation(estimate.n) if shuffle else np.arange(estimate.n)
    alpha = (1.0 - confidence) / family
    if target == "information":
        return certify_information(estimate, confidence, method=method, side=side, family=family, shuffle=shuffle)
    if estimate.quantity == "mmse" and side != "upper":
        raise ValueError(
            "certify: a lower limit of mmse(Z | X) that holds for every law of a continuous X is necessarily "
            "trivial: a finite sample cannot tell X from one with finitely many values, of which Z is a function "
            "(section 9.2). Ask for side='upper', or certify the risk difference of redundancy.functional"
        )
    ends = means.support(estimate, d_max=d_max, largest_loss=largest_loss)
    each = alpha / (2 if side == "both" else 1)
    fold = estimate.details.get("fold_of_unit")
    if method == "dkw":
        interval = means.all_thresholds(estimate, per_unit, low=each, high=each)
    else:
        each /= per_unit[0].size
        unit = limits.to_unit(per_unit[order], ends)
        spend: dict[str, Any] = {"low": each, "high": each, "method": method}
        if target == "token":
            if fold is not None:
                raise ValueError("target='token': not available for cross-fitted estimates; use target='image'")
            rows = None if estimate.rows is None else estimate.rows[order]
            interval = means.token_weighted(unit, rows, max_rows=max_rows, **spend)
        elif fold is not None:
            interval = means.fold_by_fold(unit, fold[order], **spend)
        else:
            interval = means.plain(unit, **spend)
        interval = means.from_unit(interval, ends)
    # Betting limits of units that drift with their order may cross: keep their hull.
    low, high = (np.minimum(*interval), np.maximum(*interval)) if side == "both" else interval
    if side == "upper":
        low = np.full_like(low, ends[0])
    if side == "lower":
        high = np.full_like(high, ends[1])
    value: float | FloatArray = estimate.value
    if target == "token":
        value = np.average(per_unit, axis=0, weights=estimate.rows)
    assumptions = []
    if d_max is not None:
        assumptions.append(f"no distance exceeds {d_max:g}")
    if largest_loss is not None:
        assumptions.append(f"no loss exceeds {largest_loss:g}")
    if target == "token":
        assumptions.append(f"no image has more than {max_rows:g} rows")
    if estimate.quantity in ("mmse", "functional") and fold is None:
        assumptions.append("the predictors were fitted on other data")
    return certificate_of(
        estimate,
        low=low,
        high=high,
        value=value,
        confidence=confidence,
        method=method,
        side=side,
        family=family,
        assumptions=assumptions,
        what=guarantee_text.meaning(
            estimate.quantity,
            estimate.settings,
            target=target,
            unit=estimate.unit_of_sampling,
            method=method,
            folds=0 if fold is None else int(fold.max()) + 1,
        ),
    )
