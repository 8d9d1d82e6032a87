"""Functional redundancy of two frozen predictors: the paired difference of their measured losses."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.estimate import Estimate, Quantity, unit_of_sampling
from redundancy.units import unit_means


def risk_difference(
    loss_x: ArrayLike,
    loss_y: ArrayLike,
    *,
    largest_loss: float,
    groups: ArrayLike | None = None,
) -> Estimate:
    """Estimate the difference of two risks from losses on data that neither predictor was fitted on.

    This is the certificate that most users need: `loss_x` of the full network and `loss_y` of the network with
    skipped layers, both frozen (theory, section 9.2).

    Parameters
    ----------
    loss_x, loss_y : array_like (n,)
        Losses of the same rows, in [0, largest_loss]: 0-1 errors, Brier scores, bounded log-losses.
    largest_loss : float
        Largest possible loss.
    groups : array_like (n,), optional
        Image of each row.

    Returns
    -------
    Estimate
        `.value` is the mean of loss_y - loss_x, in [-largest_loss, largest_loss] and in the unit of the losses;
        `.per_unit` (units,); `.details`: "loss_x" and "loss_y" per image.

    Raises
    ------
    ValueError
        Vectors of different lengths, losses outside [0, largest_loss], NaN, a largest loss that is not
        finite and positive.
    TypeError
        Losses that are not real numbers.

    See Also
    --------
    functional : Fits the predictors itself, by cross-fitting.
    bounds.certify : Confidence interval of the difference.

    Notes
    -----
    Every image contributes Delta_i = l(g(Y_i), Z_i) - l(f(X_i), Z_i) in [-R, R]. Neither a Lipschitz constant nor a
    Markov chain is assumed, and pairing makes the variance small where the two predictors agree.

    References
    ----------
    Theory, section 9.2.

    Examples
    --------
    0-1 errors of a full and of a skipped model on three images of two questions each:

    >>> import redundancy as rd
    >>> full, skipped = [0, 0, 1, 0, 1, 0], [0, 1, 1, 0, 0, 1]
    >>> estimate = rd.risk_difference(full, skipped, largest_loss=1.0, groups=[0, 0, 1, 1, 2, 2])
    >>> estimate
    functional 0.1667 (n = 3 images; predictors=frozen)
    >>> estimate.per_unit
    array([0.5, 0. , 0. ])
    """
    most = checks.number(largest_loss, name="largest_loss")
    if not (np.isfinite(most) and most > 0):
        raise ValueError(f"largest_loss: expected a finite number > 0, got {most}")
    a, b = (checks.matrix(loss, name=name) for loss, name in ((loss_x, "loss_x"), (loss_y, "loss_y")))
    if a.shape != b.shape or a.shape[1] != 1:
        raise ValueError(f"loss_x and loss_y: expected two vectors of one length, got {a.shape} and {b.shape}")
    both = np.concatenate([a, b])
    if both.min() < 0 or both.max() > most:
        raise ValueError(f"loss_x and loss_y: expected losses in [0, {most}], got a range {both.min()} to {both.max()}")
    index, sizes = checks.group_index(groups, a.shape[0])
    mean_x, mean_y = (np.clip(unit_means(loss[:, 0], index, sizes), 0.0, most) for loss in (a, b))
    per_unit = mean_y - mean_x
    return Estimate(
        value=float(per_unit.mean()),
        quantity=Quantity.FUNCTIONAL,
        per_unit=per_unit,
        rows=sizes.astype(np.float64),
        support=(-most, most),
        unit_of_sampling=unit_of_sampling(groups),
        settings={"predictors": "frozen"},
        details={"fold_of_unit": None, "loss_x": mean_x, "loss_y": mean_y},
    )
