"""Theorem 1 beside the conditions: what is lost in each layer if its output is replaced, by both of its forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from redundancy.array_types import FloatArray

if TYPE_CHECKING:
    from bounds.confidence import Method
    from vlm.hidden_states.moment_losses import ReconstructionLosses

_NAMES = {
    "cosine_bound": "gap_cosine",
    "cosine_limit": "gap_cosine_high",
    "reconstruction_bound": "gap_rebuilt",
    "reconstruction_limit": "gap_rebuilt_high",
}


def gap_columns(
    losses: ReconstructionLosses, depth: int, *, accumulated: bool, confidence: float, method: Method
) -> dict[str, FloatArray]:
    """Bounds on the functional gap of every layer's image tokens, in units of L^2.

    Parameters
    ----------
    losses : ReconstructionLosses
        Of maps of normalised states of image tokens, forward, for the pairs that the decision is about.
    depth : int
        Number of layers.
    accumulated : bool
        Pairs (0, l + 1) instead of (l, l + 1).
    confidence, method
        As for `vlm.functional_bounds`: all limits hold together.

    Returns
    -------
    dict of ndarray (depth,)
        gap_cosine, gap_rebuilt: estimates of the bound by cosine distance and by reconstruction; with "_high", their
        upper confidence limits.

    Raises
    ------
    ValueError
        A layer whose pair was not measured; states that were not normalised.
    """
    from vlm.hidden_states.moment_bounds import functional_bounds  # needs torch; tables on disk are judged without

    table = functional_bounds(losses, confidence=confidence, method=method)
    table = table.where(modality="vision", direction="forward")
    pairs = [(0 if accumulated else layer, layer + 1) for layer in range(depth)]
    place = {pair: i for i, pair in enumerate(zip(table["layer"].tolist(), table["later"].tolist(), strict=True))}
    missing = [pair for pair in pairs if pair not in place]
    if missing:
        wanted = "entry" if accumulated else "adjacent"
        raise ValueError(
            f"losses: expected forward maps of image tokens for all pairs of states {pairs[0]} to {pairs[-1]}, got "
            f"none for {missing[0]}; record with vlm.moments(..., pairs={wanted!r}, normalise=True)"
        )
    if losses.fitted.settings.depth != depth:
        raise ValueError(f"losses: expected those of a model of {depth} layers, got {losses.fitted.settings.depth}")
    rows = np.array([place[pair] for pair in pairs], dtype=np.int64)
    return {new: np.asarray(table[old][rows], dtype=np.float64) for old, new in _NAMES.items()}


def gap_words(row: Mapping[str, float]) -> str:
    """Both limits of a row in words; "" for a decision without them."""
    if "gap_rebuilt_high" not in row:
        return ""
    return (
        f"; functional gap at most {_above(row['gap_rebuilt_high'])} L² by reconstruction, "
        f"{_above(row['gap_cosine_high'])} L² by cosine distance"
    )


def _above(value: float) -> str:
    """Three decimals, rounded up."""
    return f"{np.ceil(value * 1000) / 1000:.3f}"
