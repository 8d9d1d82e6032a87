"""Empirical gains: how much a layer made differences grow where it was seen to, in place of Lipschitz constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from redundancy.array_types import FloatArray

# Differences below this part of the state's norm are rounding, and their growth says nothing.
_SMALLEST = 1e-4


@dataclass(frozen=True, eq=False)
class Gains:
    """Secant gains of every layer over the calibration samples: estimates from below of Lipschitz constants.

    Attributes
    ----------
    alone : float (L,)
        Text to text, where the layer sees no image tokens.
    blocks : float (L, 2, 2)
        [[text from text, text from image], [image from text, image from image]].
    whole : float (L,)
        All tokens as one state.
    head : float
        Range of the logit change per unit of error of the last text states.
    """

    alone: FloatArray
    blocks: FloatArray
    whole: FloatArray
    head: float

    @classmethod
    def of(cls, seen: Mapping[str, Any], calibration: NDArray[np.bool_], quantile: float) -> Gains:
        """The quantile over calibration samples of each sample's largest gain; 0 where nothing was seen."""

        def level(name: str) -> Any:
            values = seen[name][calibration]
            return np.quantile(values, quantile, axis=0, method="higher")

        return cls(level("alone"), level("blocks"), level("whole"), float(level("head")))


def stacked_norm(states: Tensor, mask: Tensor) -> Tensor:
    """(batch,) Euclidean norm of the masked tokens' states (batch, tokens, width) as one vector."""
    norms: Tensor = (states * mask.unsqueeze(-1)).flatten(1).norm(dim=1)
    return norms


def secants(
    kind: str,
    k: int,
    clean: list[Tensor],
    states: list[Tensor],
    alone: list[Tensor],
    mixed: list[Tensor] | None,
    vision: Tensor,
    text: Tensor,
) -> dict[str, Tensor]:
    """Growth of the differences between the full run and one run under a plan, layer by layer.

    Parameters
    ----------
    kind, k
        The plan: `consequences.KINDS` at layer k.
    clean, states : L + 1 of (batch, tokens, width)
        States of the full run and of the run under the plan.
    alone : L + 1 of the same
        What each layer makes of the clean text without image tokens.
    mixed : L + 1 of the same, or None
        What each full layer makes of the plan's text with the clean image.
    vision, text : bool (batch, tokens)

    Returns
    -------
    dict of Tensor
        `alone` and `whole` (batch, L), `blocks` (batch, L, 2, 2); 0 where the plan shows no difference.
    """
    depth = len(clean) - 1
    size, device = len(vision), vision.device
    real = vision | text
    out = {name: torch.zeros(size, depth, dtype=torch.float64, device=device) for name in ("alone", "whole")}
    out["blocks"] = torch.zeros(size, depth, 2, 2, dtype=torch.float64, device=device)
    again = {"remove": k + 1, "freeze": k + 1, "late entry": k}.get(kind, depth)
    for layer in range(depth):

        def growth(new: Tensor, mask: Tensor, layer: int = layer) -> Tensor:
            old = stacked_norm(clean[layer] - states[layer], mask)
            floor = _SMALLEST * stacked_norm(clean[layer], mask)
            return torch.where(old > floor, new / old.clamp(min=1e-300), 0.0)

        text_only = (kind == "early exit" and layer >= k) or (kind == "late entry" and layer < k)
        if text_only:
            out["alone"][:, layer] = growth(stacked_norm(alone[layer + 1] - states[layer + 1], text), text)
        if kind == "drop" and layer > k:
            out["whole"][:, layer] = growth(stacked_norm(clean[layer + 1] - states[layer + 1], real), real)
        if mixed is not None and layer >= again:
            for i, to in enumerate((text, vision)):
                out["blocks"][:, layer, i, 0] = growth(stacked_norm(clean[layer + 1] - mixed[layer + 1], to), text)
                out["blocks"][:, layer, i, 1] = growth(stacked_norm(mixed[layer + 1] - states[layer + 1], to), vision)
    return out
