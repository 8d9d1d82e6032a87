"""PruMerge: image tokens that the vision encoder's class token looks at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from redundancy.array_types import FloatArray
from vlm.engine.forward_call import Call
from vlm.engine.hooks import attached
from vlm.models.families import Anatomy, Family
from vlm.plans.plan import SkipPlan


@dataclass(eq=False)
class EncoderRecord:
    """What :func:`encoder_attention` measured: per encoded picture, one score per patch."""

    _query: Tensor | None = None
    _done: list[Tensor] = field(default_factory=list)

    def observe(self, call: Call | None, key: Any, _: Tensor, out: Tensor) -> None:
        if key == "query":
            self._query = out[:, :1]
        elif self._query is not None:
            # One product over the full width, not head by head: this is how the method's code does it.
            scores = self._query.to(torch.float32) @ out.to(torch.float32).transpose(1, 2)
            weights = torch.softmax(scores * out.shape[-1] ** -0.5, dim=-1)
            self._done.append(weights[:, 0, 1:].to("cpu", torch.float64))
            self._query = None

    def scores(self) -> FloatArray:
        """(pictures, patches): attention of the class token to each patch, in the order they were encoded."""
        if not self._done:
            raise ValueError("encoder attention: nothing recorded yet; call the model inside the context first")
        return torch.cat(self._done).numpy()


@contextmanager
def encoder_attention(model: Any, *, family: Family | None = None) -> Iterator[EncoderRecord]:
    """Read the class token's attention in the vision encoder while the model runs.

    The layer is the one that reads the features which the model selects, or the last one when the model takes
    the last layer's output. One picture per prompt gives one row per sample.

    Raises
    ------
    TypeError
        The vision encoder has no class token, or no query and key maps of its own, or image tokens are more than the
        patches of one view.
    """
    with attached(model, family) as engine:
        attention = _selected_attention(engine.parts)
        modules = {"query": attention.q_proj, "key": attention.k_proj}
        record = EncoderRecord()
        with engine.watch_modules(modules, record.observe):
            yield record


def outlier_count(scores: ArrayLike) -> int:
    """PruMerge's own number of tokens for one picture: those above Q3 + 1.5 (Q3 - Q1), at least 1."""
    values = np.asarray(scores, dtype=np.float64)
    first, third = np.percentile(values, [25, 75])
    return max(1, int((values > third + 1.5 * (third - first)).sum()))


def prumerge_plan(scores: ArrayLike, keep: int | None = None) -> SkipPlan:
    r"""PruMerge on one picture: only the patches that the class token looks at most enter the decoder.

    Score of patch j: :math:`\mathrm{softmax}_j(q_{CLS} \cdot k_j / \sqrt{C})` in the encoder layer that reads the
    selected features. The authors keep the outliers of each picture (:func:`outlier_count`) and merge the
    others into their nearest kept token by weighted mean; merging is not done here.

    Parameters
    ----------
    scores : (patches,)
        A row of `EncoderRecord.scores`.
    keep : int, optional
        Number of patches to keep instead of the outliers.

    Source: Shang et al. 2024, "LLaVA-PruMerge: Adaptive Token Reduction for Efficient Large Multimodal Models",
    arXiv 2403.15388.
    """
    values = np.asarray(scores, dtype=np.float64)
    count = outlier_count(values) if keep is None else keep
    if not 0 <= count <= values.size:
        raise ValueError(f"keep: expected 0 to {values.size} patches, got {count}")
    if count == values.size:
        return SkipPlan()
    return SkipPlan.keep(0, None, np.sort(np.argsort(-values, kind="stable")[:count]).tolist())


def _selected_attention(parts: Anatomy) -> Any:
    tower = getattr(parts.inner, "vision_tower", None)
    select = getattr(parts.model.config, "vision_feature_layer", None)
    if not isinstance(tower, nn.Module) or not isinstance(select, int):
        raise TypeError(f"{type(parts.model).__name__}: expected .vision_tower and one vision_feature_layer")
    whole = getattr(parts.model.config, "vision_feature_select_strategy", "default") != "default"
    if whole or hasattr(parts.model.config, "image_grid_pinpoints"):
        raise TypeError(
            f"{type(parts.model).__name__}: expected one image token per patch of one view of a picture, but it takes "
            f"{'the class token as well' if whole else 'tiles and row ends as well'}; scores would name other tokens"
        )
    if not any(name.endswith("class_embedding") for name, _ in tower.named_parameters()):
        raise TypeError(f"{type(tower).__name__}: expected a class token, found none; PruMerge does not apply")
    layers = [m for m in tower.modules() if isinstance(getattr(m, "q_proj", None), nn.Module) and hasattr(m, "k_proj")]
    if not layers:
        raise TypeError(f"{type(tower).__name__}: expected attention layers with q_proj and k_proj, found none")
    # Features f are the input of layer f; hidden state len(layers) is read by no layer.
    feature = select if select >= 0 else len(layers) + 1 + select
    return layers[min(feature, len(layers) - 1)]
