"""Certificates of entropies and conditional entropies of codewords (theory, section 9.3)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from bounds.certificates import entropy_bounds
from bounds.certificates.certificate import Certificate, ErrorBudget, Sample, Side, certificate_of
from redundancy import checks
from redundancy.array_types import FloatArray
from redundancy.estimate import Estimate, unit_of_sampling
from redundancy.information.held_out_cross_entropy import held_out_losses

ALPHABETS_FIXED = "the alphabets were fixed before seeing the data"
CONDITIONAL = "the conditional entropy in nats of the earlier symbol given the later one"


def certify_entropy(
    x: ArrayLike,
    y: ArrayLike,
    confidence: float = 0.95,
    *,
    size: int | tuple[int, int],
    groups: ArrayLike | None = None,
    method: Literal["cross-entropy", "mcdiarmid"] = "cross-entropy",
    side: Side = "both",
    simultaneous: int = 1,
    mix: float = 0.01,
    rng: np.random.Generator | int | None = 0,
) -> Certificate:
    """Confidence interval for H(X | Y), the earlier codeword given the later one, from samples.

    Parameters
    ----------
    x, y : array (n,) of int
        Codewords of the earlier and the later state, in 0..size-1.
    confidence, side, simultaneous
        As in :func:`certify_mean`.
    size : int or (int, int)
        Sizes of the two alphabets, known before seeing the sample (the codebook's, not the number of symbols seen).
    groups : array (n,), optional
        Image of each row; then H(X | Y) is that of a random row of a random image, and only images count
        as independent.
    method : {"cross-entropy", "mcdiarmid"}
        "cross-entropy": half of the units fit a conditional distribution, the other half bounds its log-loss by
        betting; upper bound only, usually the tighter one. "mcdiarmid": plug-in with bias and bounded differences;
        both sides.
    mix : float
        Weight of the uniform distribution in the fitted one (cross-entropy), in (0, 1).
    rng : Generator, int or None
        Splits the units (cross-entropy).

    Returns
    -------
    Certificate
        In nats, within [0, log |X|]; `.estimate` is the plug-in (mcdiarmid) or the held-out log-loss.

    Raises
    ------
    TypeError
        Codewords that are not integers.
    ValueError
        Codewords outside their alphabet, fewer than two units, a lower bound from cross-entropy.

    See Also
    --------
    certify : Of an estimate from `redundancy.informational` or `redundancy.entropy`.
    fano_monotone : An upper bound on the same entropy from distances.

    Notes
    -----
    "mcdiarmid" is (9.2). "cross-entropy" rests on H(X | Y) <= E[-log q(X | Y)] for every conditional distribution q,
    here q = (1 - mix) q_0 + mix / |X| with q_0 fitted on other data (theory, section 9.3.4).

    References
    ----------
    Theory, section 9.3 (docs/explanation/theory); McDiarmid (1989), *On the method of bounded differences*, Surveys
    in Combinatorics.

    Examples
    --------
    >>> import numpy as np
    >>> import bounds
    >>> rng = np.random.default_rng(0)
    >>> x = rng.integers(0, 8, 2000)
    >>> y = np.where(rng.random(2000) < 0.95, x, rng.integers(0, 8, 2000))
    >>> bounds.certify_entropy(x, y, size=8)
    conditional entropy in [0, 0.3769] nats at confidence 0.95 (cross-entropy, n = 2000 rows)
    >>> bounds.certify_entropy(x, y, size=8, method="mcdiarmid")
    conditional entropy in [0, 0.5369] nats at confidence 0.95 (mcdiarmid, n = 2000 rows)
    """
    budget = ErrorBudget(confidence, side, simultaneous)
    checks.one_of(method, ("cross-entropy", "mcdiarmid"), name="method")
    shape = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    a, b = checks.codes(x, shape[0], name="x"), checks.codes(y, shape[1], name="y")
    if a.shape != b.shape:
        raise ValueError(f"x and y: expected codewords of the same rows, got {a.size} and {b.size}")
    index, sizes = checks.group_index(groups, a.size)
    if method == "mcdiarmid":
        joint = np.zeros(shape)
        np.add.at(joint, (a, b), 1.0 / sizes[index])
        value = entropy_bounds.plugin_conditional_entropy(joint)
        interval = _mcdiarmid(value, shape, sizes.size, budget, rows=sizes.astype(np.float64))
    else:
        if side == "lower":
            raise ValueError("method 'cross-entropy': only an upper bound exists; use method='mcdiarmid'")
        checks.probability(mix, name="mix", open_ends=True)
        budget = ErrorBudget(confidence, "upper", simultaneous)
        losses, _ = held_out_losses(a, b, shape[0], index, sizes, mix=mix, rng=rng)
        high = entropy_bounds.cross_entropy_upper_limit(losses, size=shape[0], mix=mix, alpha=budget.alpha)
        value, interval = float(losses.mean()), (0.0, high)
    return certificate_of(
        budget.sided(interval, (0.0, float(np.log(shape[0])))),
        value,
        budget,
        Sample(sizes.size, unit_of_sampling(groups)),
        what=CONDITIONAL,
        quantity="conditional entropy",
        method=method,
        unit="nats",
        assumptions=[ALPHABETS_FIXED],
    )


def certify_plugin_entropy(
    estimate: Estimate,
    confidence: float = 0.95,
    *,
    size: int | tuple[int, int] | None = None,
    method: Literal["mcdiarmid"] = "mcdiarmid",
    side: Side = "both",
    simultaneous: int = 1,
) -> Certificate:
    """Confidence interval for an entropy or a conditional entropy from its plug-in estimate.

    Parameters
    ----------
    estimate : Estimate
        From `redundancy.entropy`, `conditional_entropy` or `informational` with method "plugin".
    confidence, side, simultaneous
        As in :func:`certify_mean`.
    size : int or (int, int)
        Sizes of the alphabets of X and Y, fixed before seeing the data; not needed where the estimate states it.
    method : {"mcdiarmid"}
        The only method for estimates; :func:`certify_entropy` has another one for samples.

    Returns
    -------
    Certificate
        In nats, within [0, log |X|].

    Raises
    ------
    ValueError
        A bias-corrected or exact entropy, which has no such guarantee, or an alphabet of unknown size.

    See Also
    --------
    certify_entropy : From the codewords themselves, usually tighter.

    Notes
    -----
    The interval is (9.2), around the plug-in entropy by bounded differences.

    References
    ----------
    Theory, section 9.3 (docs/explanation/theory); McDiarmid (1989), *On the method of bounded differences*, Surveys
    in Combinatorics.

    Examples
    --------
    >>> import numpy as np
    >>> import bounds
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> x = rng.integers(0, 8, 2000)
    >>> y = np.where(rng.random(2000) < 0.95, x, rng.integers(0, 8, 2000))
    >>> bounds.certify_plugin_entropy(rd.informational(x, y, size=8), side="upper")
    informational in [0, 0.5111] nats at confidence 0.95 (mcdiarmid, n = 2000 rows)
    """
    budget = ErrorBudget(confidence, side, simultaneous)
    checks.one_of(method, ("mcdiarmid",), name="method")
    size = estimate.settings.get("size") if size is None else size
    if estimate.settings.get("method", "plugin") != "plugin" or estimate.settings.get("kind") == "pmf":
        raise ValueError(
            f"certify: (9.2) is about the plug-in entropy of samples, got {dict(estimate.settings)}; bias "
            "corrections have no guarantee: estimate with method='plugin', or use bounds.certify_entropy"
        )
    if size is None:
        raise ValueError(
            "certify: an entropy needs size=(size of X, size of Y), fixed before seeing the data; the number of "
            "symbols seen is too small"
        )
    alone = estimate.quantity == "entropy"
    shape = (size, 1 if alone else size) if isinstance(size, int) else (int(size[0]), 1 if alone else int(size[1]))
    n = estimate.n if estimate.per_unit is not None else int(estimate.details["n"])
    value = float(estimate)
    return certificate_of(
        budget.sided(_mcdiarmid(value, shape, n, budget, rows=estimate.rows), (0.0, float(np.log(shape[0])))),
        value,
        budget,
        Sample(n, estimate.unit_of_sampling),
        what="the entropy in nats of the codeword" if alone else CONDITIONAL,
        quantity=estimate.quantity,
        method=method,
        unit="nats",
        assumptions=[ALPHABETS_FIXED],
    )


def _mcdiarmid(
    plugin: float, shape: tuple[int, int], n: int, budget: ErrorBudget, *, rows: FloatArray | None
) -> tuple[float, float]:
    alpha = budget.per_end
    return entropy_bounds.mcdiarmid_entropy(plugin, shape=shape, n=n, alpha_low=alpha, alpha_high=alpha, rows=rows)
