"""Theorem 1 from measured states: the bound from reconstruction beside the one from cosine distance."""

from __future__ import annotations

import numpy as np

import bounds
from bounds.confidence import Method
from redundancy import checks
from vlm.hidden_states.moment_losses import ReconstructionLosses
from vlm.table import Table


def functional_bounds(
    losses: ReconstructionLosses,
    *,
    lipschitz: float = 1.0,
    confidence: float = 0.95,
    method: Method = "betting",
) -> Table:
    r"""Bound the functional gap of each pair of layers by reconstruction error and by cosine distance.

    Both are Theorem 1, with different upper bounds on mmse(Y | X) of normalised states: a fitted affine map's error,
    and :math:`\kappa(\varepsilon) = \varepsilon(2 - \varepsilon)` of the mean cosine distance. All limits hold
    together.

    Parameters
    ----------
    losses : ReconstructionLosses
        Of maps between normalised states, on images that they were not fitted on.
    lipschitz : float
        Constant L of the regression of the target on both states: an assumption. Bounds are in units of the target
        squared; with 1, multiply by L^2.
    confidence : float
        Of all limits of the table together.
    method : str
        As in `bounds.certify_mean`.

    Returns
    -------
    Table
        One row per (pair, modality, direction). "forward" rows bound mmse(Z | X) - mmse(Z | Y) from above, X being the
        earlier and Y the later state; "backward" rows bound its negative.

        layer, later, modality, direction, images
            Which pair of states, and how many images.
        cosine, reconstruction
            Mean cosine distance, and mean loss of the fitted map.
        cosine_bound, reconstruction_bound
            L^2 kappa(cosine) and L^2 reconstruction: estimates.
        cosine_limit, reconstruction_limit
            The same from upper confidence limits of both means.
        bound_limit
            The smaller of both limits: both hold.

    Raises
    ------
    ValueError
        Losses of states that were not normalised, or none yet.
    TypeError
        Something other than ReconstructionLosses.

    See Also
    --------
    vlm.reconstruction_losses : Records what this reads.
    bounds.functional_from_reconstruction, bounds.functional_from_geometric : The two forms of Theorem 1.

    Notes
    -----
    Among affine maps is h(x) = (1 - e) x, e the mean cosine distance, whose error is kappa(e) exactly where e <= 1.
    The best affine map is therefore never worse than the cosine distance; one that was fitted on few images can be.

    References
    ----------
    Theory, section 3: (3.1) and Corollary 5 (docs/explanation/theory).

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> def batch_of(asked):
    ...     images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    ...     return processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> asked = tiny.questions(limit=160, kinds=("location",))
    >>> with vlm.moments(model, pairs=[(2, 3), (6, 7)], modality="vision", normalise=True) as sums:
    ...     _ = model(**batch_of(asked[:80]))
    >>> with vlm.reconstruction_losses(model, sums.moments()) as losses:
    ...     _ = model(**batch_of(asked[80:]))
    >>> table = vlm.functional_bounds(losses).where(direction="forward")
    >>> for row in table.rows():
    ...     print(row["layer"], f"{row['cosine_bound']:.3f} {row['reconstruction_bound']:.3f}")
    2 0.278 0.160
    6 0.063 0.020
    """
    if not isinstance(losses, ReconstructionLosses):
        raise TypeError(
            f"losses: expected what vlm.reconstruction_losses records, got {type(losses).__name__}; moments alone give "
            "estimates without a certificate (Moments.table)"
        )
    if not losses.fitted.settings.normalise:
        raise ValueError(
            "losses: expected maps between normalised states, whose distance is the cosine distance, got states as "
            "they are; record with vlm.moments(..., normalise=True)"
        )
    constant = checks.radius(lipschitz, name="lipschitz")
    keys = losses.measured
    if not keys:
        raise ValueError("losses: nothing recorded yet; call the model inside vlm.reconstruction_losses first")
    rows = []
    for pair, modality, direction in keys:
        rebuilt = losses.estimate(pair, modality, direction=direction)
        apart = losses.estimate(pair, modality, direction=direction, identity=True)
        limits = [
            float(bounds.certify_mean(e, confidence, method=method, side="upper", simultaneous=2 * len(keys)).high)
            for e in (rebuilt, apart)
        ]
        cosine, limit = float(apart) / 2.0, limits[1] / 2.0
        reconstruction_limit = float(bounds.functional_from_reconstruction(limits[0], constant))
        cosine_limit = float(bounds.functional_from_geometric(limit, constant))
        rows.append(
            {
                "layer": pair[0],
                "later": pair[1],
                "modality": modality,
                "direction": direction,
                "images": rebuilt.n,
                "cosine": cosine,
                "reconstruction": float(rebuilt),
                "cosine_bound": float(bounds.functional_from_geometric(cosine, constant)),
                "reconstruction_bound": float(bounds.functional_from_reconstruction(float(rebuilt), constant)),
                "cosine_limit": cosine_limit,
                "reconstruction_limit": reconstruction_limit,
                "bound_limit": float(np.minimum(cosine_limit, reconstruction_limit)),
            }
        )
    return Table.from_rows(rows)
