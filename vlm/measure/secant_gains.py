"""Secant gains of each layer: measured growth of differences, used as estimates of its Lipschitz constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from redundancy.array_types import BoolArray, FloatArray
from redundancy.display import Displayed

# Differences smaller than this fraction of the state's norm are rounding errors; their growth means nothing.
_SMALLEST = 1e-4


# What a plan does in one layer, or from there on.
Kind = Literal["remove", "freeze", "late entry", "early exit", "drop"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, eq=False, repr=False)
class Gains(Displayed):
    """Secant gains of every layer over the calibration samples: estimates of Lipschitz constants, from below.

    Attributes
    ----------
    alone : float (L,)
        From text to text, where the layer sees no image tokens.
    blocks : float (L, 2, 2)
        [[text from text, text from image], [image from text, image from image]].
    whole : float (L,)
        All tokens as one state.
    head : float
        Range of the logit change per unit of error in the last text states.
    """

    alone: FloatArray
    blocks: FloatArray
    whole: FloatArray
    head: float

    @classmethod
    def of(cls, seen: Mapping[str, FloatArray], calibration: BoolArray, quantile: float) -> Gains:
        """The quantile over calibration samples of each sample's largest gain; 0 where no difference was observed."""

        def level(name: str) -> FloatArray:
            return np.asarray(np.quantile(seen[name][calibration], quantile, axis=0, method="higher"))

        return cls(level("alone"), level("blocks"), level("whole"), float(level("head")))


def stacked_norm(states: Tensor, mask: Tensor) -> Tensor:
    """(batch,) Euclidean norm of the masked tokens' states (batch, tokens, width), stacked into one vector."""
    norms: Tensor = (states * mask.unsqueeze(-1)).flatten(1).norm(dim=1)
    return norms


def secants(
    kind: Kind,
    k: int,
    clean: list[Tensor],
    states: list[Tensor],
    alone: list[Tensor],
    mixed: list[Tensor] | None,
    vision: Tensor,
    text: Tensor,
) -> dict[str, Tensor]:
    """Growth of the difference between the full run and a run under a plan, layer by layer.

    Parameters
    ----------
    kind, k
        The plan: one of `KINDS` at layer k.
    clean, states : L + 1 of (batch, tokens, width)
        States of the full run and of the run under the plan.
    alone : L + 1 of the same
        Output of each layer for the clean text without image tokens.
    mixed : L + 1 of the same, or None
        Output of each full layer for the text of the run under the plan with the clean image.
    vision, text : bool (batch, tokens)

    Returns
    -------
    dict of Tensor
        `alone` and `whole` (batch, L), `blocks` (batch, L, 2, 2); 0 where the plan makes no difference.
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
