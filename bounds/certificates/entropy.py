"""Limits of a conditional entropy of codes (section 9.3), as a certificate."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bounds.certificates import entropy_bounds, guarantee_text
from bounds.certificates.certificate import Certificate
from redundancy import checks
from redundancy.estimate import Estimate
from redundancy.units import unit_means


def certify_entropy(
    x: ArrayLike,
    y: ArrayLike,
    confidence: float = 0.95,
    *,
    size: int | tuple[int, int],
    groups: ArrayLike | None = None,
    method: str = "cross-entropy",
    side: str = "both",
    family: int = 1,
    mix: float = 0.01,
    rng: np.random.Generator | int | None = 0,
) -> Certificate:
    """Limits of H(X | Y), earlier codes given later ones, from samples on alphabets fixed in advance (9.3).

    Parameters
    ----------
    x, y : array (n,)
        Integer codes of the earlier and the later state, in 0..size-1.
    confidence, side, family
        As in :func:`certify`.
    size : int or (int, int)
        Sizes of the two alphabets, known before seeing the sample (the codebook's, not those found).
    groups : array (n,), optional
        Image of each row; then H(X | Y) is that of a random row of a random image, and only images count
        as independent.
    method : {"cross-entropy", "mcdiarmid"}
        "cross-entropy" (9.3.4): half of the units fit a conditional law, the other half bounds its log-loss by
        betting; upper limit only, usually the shorter one. "mcdiarmid" (9.2): plug-in with bias and bounded
        differences; both sides.
    mix : float
        Weight of the uniform law in the fitted one (cross-entropy), in (0, 1).
    rng : Generator, int or None
        Splits the units (cross-entropy).

    Returns
    -------
    Certificate
        nats, within [0, log |X|]; `.estimate` is the plug-in (mcdiarmid) or the held-out log-loss.

    Raises
    ------
    ValueError
        Codes outside their alphabet, fewer than two units, a lower limit from cross-entropy.
    """
    checks.probability(confidence, name="confidence", open_ends=True)
    checks.one_of(method, ("cross-entropy", "mcdiarmid"), name="method")
    checks.one_of(side, ("both", "upper", "lower"), name="side")
    if family < 1:
        raise ValueError(f"family: expected the number of certificates made together, >= 1, got {family}")
    shape = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    a, b = _codes(x, shape[0], "x"), _codes(y, shape[1], "y")
    if a.shape != b.shape:
        raise ValueError(f"x and y: expected codes of the same rows, got {a.size} and {b.size}")
    index, sizes = checks.group_index(groups, a.size)
    n, alpha = sizes.size, (1.0 - confidence) / family
    top = float(np.log(shape[0]))
    if method == "mcdiarmid":
        joint = np.zeros(shape)
        np.add.at(joint, (a, b), 1.0 / sizes[index])
        spent = alpha / 2 if side == "both" else alpha
        value = entropy_bounds.plugin_conditional_entropy(joint)
        low, high = entropy_bounds.mcdiarmid_entropy(
            value, shape=shape, n=n, alpha_low=spent, alpha_high=spent, rows=sizes.astype(np.float64)
        )
        low, high = (0.0 if side == "upper" else low), (top if side == "lower" else high)
    else:
        if side == "lower":
            raise ValueError("method 'cross-entropy': only an upper limit exists; use method='mcdiarmid'")
        checks.probability(mix, name="mix", open_ends=True)
        if n < 2:
            raise ValueError("method 'cross-entropy': expected at least two units, one to fit and one to test, got 1")
        held_out = np.zeros(n, dtype=bool)
        held_out[np.random.default_rng(rng).permutation(n)[: (n + 1) // 2]] = True
        test = held_out[index]
        q = entropy_bounds.fit_conditional(a[~test], b[~test], shape)
        loss = -np.log((1 - mix) * q[a, b] + mix / shape[0])
        losses = unit_means(loss, index, sizes)[held_out]
        side, low = "upper", 0.0
        high = entropy_bounds.cross_entropy_upper_limit(losses, size=shape[0], mix=mix, alpha=alpha)
        value = float(losses.mean())
    return _certificate(
        (low, high),
        value,
        confidence=confidence,
        method=method,
        n=n,
        unit="row" if groups is None else "image",
        side=side,
        family=family,
    )


def certify_plugin_entropy(
    estimate: Estimate,
    confidence: float,
    *,
    size: int | tuple[int, int] | None,
    side: str,
    family: int,
) -> Certificate:
    """What `certify` returns for a plug-in entropy or conditional entropy: the limits (9.2)."""
    size = estimate.settings.get("size") if size is None else size
    if estimate.settings.get("method", "plugin") != "plugin" or estimate.settings.get("kind") == "pmf":
        raise ValueError(
            f"certify: (9.2) is about the plug-in entropy of samples, got {dict(estimate.settings)}; bias "
            "corrections have no guarantee: estimate with method='plugin', or use bounds.certify_entropy"
        )
    if size is None:
        raise ValueError(
            "certify: an entropy needs size=(size of X, size of Y), fixed before seeing the data; the symbols that "
            "happened to be seen under-count it"
        )
    if estimate.quantity == "entropy":
        shape = (size, 1) if isinstance(size, int) else (int(size[0]), 1)
    else:
        shape = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    n = estimate.n if estimate.per_unit is not None else int(estimate.details["n"])
    spent = (1.0 - confidence) / family / (2 if side == "both" else 1)
    value = float(estimate)
    low, high = entropy_bounds.mcdiarmid_entropy(
        value, shape=shape, n=n, alpha_low=spent, alpha_high=spent, rows=estimate.rows
    )
    low, high = (0.0 if side == "upper" else low), (float(np.log(shape[0])) if side == "lower" else high)
    return _certificate(
        (low, high),
        value,
        confidence=confidence,
        method="mcdiarmid",
        n=n,
        unit=estimate.unit_of_sampling,
        side=side,
        family=family,
        quantity=estimate.quantity,
    )


def _certificate(
    interval: tuple[float, float],
    value: float,
    *,
    confidence: float,
    method: str,
    n: int,
    unit: str,
    side: str,
    family: int,
    quantity: str = "conditional entropy",
) -> Certificate:
    low, high = interval
    what = "the conditional entropy in nats of the earlier code given the later one"
    return Certificate(
        low=low,
        high=high,
        confidence=confidence,
        method=method,
        guarantee=guarantee_text.sentence(
            confidence=confidence,
            n=n,
            unit=unit,
            what="the entropy in nats of the code" if quantity == "entropy" else what,
            low=low,
            high=high,
            side=side,
            assumptions=["the alphabets were fixed before seeing the data"],
            family=family,
        ),
        quantity=quantity,
        estimate=value,
        n=n,
        unit_of_sampling=unit,
        unit="nats",
    )


def _codes(codes: ArrayLike, size: int, name: str) -> NDArray[np.int64]:
    a = np.asarray(codes)
    if a.ndim != 1 or a.size == 0 or a.dtype.kind not in "iub":
        raise ValueError(f"{name}: expected integer codes, shape (n,), got dtype {a.dtype} and shape {a.shape}")
    if a.min() < 0 or a.max() >= size:
        raise ValueError(f"{name}: expected codes in 0..{size - 1}, got {a.min()} to {a.max()}; check size")
    return a.astype(np.int64)
