"""Operations of the decoder under a plan, counted from the model's own layers and the token counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from vlm.families import Anatomy, Family, anatomy
from vlm.plan import SkipPlan


@dataclass(frozen=True, eq=False)
class Operations:
    """Floating-point operations of one prompt (a multiply-add counts two).

    Attributes
    ----------
    layers : ndarray (depth,)
        Each decoder layer: linear maps of the tokens that go through it, and its attention products.
    head : float
        The output matrix on the tokens whose logits are asked for.
    """

    layers: NDArray[np.float64]
    head: float

    @property
    def total(self) -> float:
        return float(self.layers.sum()) + self.head


def operations(
    model: Any,
    *,
    vision: int,
    text: int,
    plan: SkipPlan | str | None = None,
    head_tokens: int = 1,
    family: Family | None = None,
) -> Operations:
    """Count the operations of the decoder for one prompt (prefill, no cache).

    Attention is counted as the full square of its tokens, as the kernels without a causal short cut
    compute it. Norms, rotary embedding and softmax are left out (below 1%).

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model; its weights are not read, so it may live on the meta device.
    vision, text : int
        Number of image and of text tokens.
    plan : SkipPlan or str, optional
        What is skipped.
    head_tokens : int
        Tokens whose logits are computed: 1 when generating, all of them in a plain forward.
    """
    if vision < 0 or text < 0 or vision + text == 0:
        raise ValueError(f"vision, text: expected numbers of tokens >= 0, not both 0, got {vision} and {text}")
    parts = anatomy(model, family)
    plan = SkipPlan.parse(plan) if isinstance(plan, str) else plan or SkipPlan()
    skipped = {m: plan.layers(m, parts.depth) for m in ("vision", "text")}
    counts = [
        (vision if i not in skipped["vision"] else 0) + (text if i not in skipped["text"] else 0)
        for i in range(parts.depth)
    ]
    layers = [_layer(parts, layer, n) for layer, n in zip(parts.layers, counts, strict=True)]
    head = parts.model.get_output_embeddings()  # type: ignore[operator]
    return Operations(np.array(layers), 2.0 * head.weight.numel() * head_tokens)


def operations_ratio(
    model: Any, plan: SkipPlan | str, *, vision: int, text: int, head_tokens: int = 1, family: Family | None = None
) -> float:
    """Operations under the plan over operations without one, in [0, 1]."""
    full = operations(model, vision=vision, text=text, head_tokens=head_tokens, family=family)
    short = operations(model, vision=vision, text=text, plan=plan, head_tokens=head_tokens, family=family)
    return short.total / full.total


def _layer(parts: Anatomy, layer: nn.Module, tokens: int) -> float:
    linear = sum(m.weight.numel() for m in layer.modules() if isinstance(m, nn.Linear))
    config = parts.text_config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    attention = 4.0 * float(config.num_attention_heads * width) * tokens * tokens
    return 2.0 * float(linear) * tokens + attention
