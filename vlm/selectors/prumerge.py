"""PruMerge: keep the image tokens to which the vision encoder's class token attends most."""

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
from vlm.measure.records import BatchedRecord
from vlm.models.families import Anatomy, Family
from vlm.models.types import Model
from vlm.plans.plan import SkipPlan
from vlm.selectors.token_choices import finite


@dataclass(eq=False, repr=False)
class EncoderRecord(BatchedRecord):
    """What :func:`vlm.selectors.encoder_attention` measured: one score per patch of every encoded image.

    See Also
    --------
    vlm.selectors.encoder_attention : Makes one.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors, tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=4, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with selectors.encoder_attention(model) as record:
    ...     _ = model(**batch)
    >>> record
    EncoderRecord(samples=4)
    >>> record.scores().shape
    (4, 36)
    """

    _query: Tensor | None = None
    _done: list[Tensor] = field(default_factory=list)

    @torch.no_grad()
    def observe(self, call: Call | None, key: object, _: Tensor, out: Tensor) -> None:
        """Take in the queries or the keys of the encoder layer (called by the hooks)."""
        if key == "query":
            self._query = out[:, :1]
        elif self._query is not None:
            # One product over the full width, not head by head, as in the authors' code.
            scores = self._query.to(torch.float32) @ out.to(torch.float32).transpose(1, 2)
            weights = torch.softmax(scores * out.shape[-1] ** -0.5, dim=-1)
            self._done.append(weights[:, 0, 1:].to("cpu", torch.float64))
            self._query = None

    def scores(self) -> FloatArray:
        """(images, patches): attention of the class token to each patch, images in the order they were encoded."""
        self._check_recorded("encoder attention")
        return torch.cat(self._done).numpy()

    def _measured(self) -> dict[str, object]:
        return {"scores": self.scores()}


@contextmanager
def encoder_attention(model: Model, *, family: Family | None = None) -> Iterator[EncoderRecord]:
    """Measure the attention of the vision encoder's class token while the model runs.

    The attention is that of the encoder layer that reads the features which the model selects, or of the last layer if
    the model selects the last layer's output. One image per prompt gives one row per sample.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family.
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    EncoderRecord

    Raises
    ------
    TypeError
        The vision encoder has no class token or no query and key projections, or the image tokens are more than the
        patches of one view.

    See Also
    --------
    vlm.selectors.prumerge_plan : The plan by these scores.

    References
    ----------
    Shang et al. (2024), *LLaVA-PruMerge: adaptive token reduction for efficient large multimodal models*,
    arXiv:2403.15388.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors, tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=4, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with selectors.encoder_attention(model) as record:
    ...     _ = model(**batch)
    >>> record.scores().sum(axis=1).round(2)  # the rest of the attention is on the class token itself
    array([0.99, 0.99, 1.  , 1.  ])
    """
    with attached(model, family) as engine:
        attention = _selected_attention(engine.parts)
        modules = {"query": attention.q_proj, "key": attention.k_proj}
        record = EncoderRecord()
        with engine.watch_modules(modules, record.observe):
            yield record


def outlier_count(scores: ArrayLike) -> int:
    """PruMerge's number of tokens for one image: the scores above Q3 + 1.5 (Q3 - Q1), at least 1.

    Parameters
    ----------
    scores : (patches,)
        A row of `EncoderRecord.scores`.

    Returns
    -------
    int

    See Also
    --------
    vlm.selectors.prumerge_plan : Keeps so many patches.

    References
    ----------
    Shang et al. (2024), *LLaVA-PruMerge: adaptive token reduction for efficient large multimodal models*,
    arXiv:2403.15388.

    Examples
    --------
    >>> from vlm import selectors
    >>> selectors.outlier_count([0.1] * 8 + [0.3, 0.4])
    2
    >>> selectors.outlier_count([0.1] * 10)
    1
    """
    values = finite(scores, name="scores")
    first, third = np.percentile(values, [25, 75])
    return max(1, int((values > third + 1.5 * (third - first)).sum()))


def prumerge_plan(scores: ArrayLike, keep: int | None = None) -> SkipPlan:
    r"""PruMerge on one image: only the patches to which the class token attends most enter the decoder.

    The authors keep the outliers of each image (:func:`outlier_count`) in the order of their scores, add to each the
    attention-weighted **sum** of the 32 tokens with the nearest keys among all others, kept or not, append one token
    that is the attention-weighted sum of all dropped ones, and give the result consecutive positions. Here the choice
    of tokens alone is theirs: nothing is merged, and the tokens stay in their places. The released default is not this
    rule but PruMerge+ (:func:`prumerge_plus_plan`).

    Parameters
    ----------
    scores : (patches,)
        A row of `EncoderRecord.scores`.
    keep : int, optional
        Number of patches to keep, by default the number of outliers.

    Returns
    -------
    SkipPlan

    Raises
    ------
    ValueError
        `keep` outside 0..patches.

    See Also
    --------
    vlm.selectors.encoder_attention : Makes the record of the scores.
    vlm.selectors.prumerge_plus_plan : Their later rule.

    Notes
    -----
    The score of patch j is :math:`\mathrm{softmax}_j(q_{CLS} \cdot k_j / \sqrt{C})` in the encoder layer that reads
    the selected features.

    References
    ----------
    Shang et al. (2024), *LLaVA-PruMerge: Adaptive Token Reduction for Efficient Large Multimodal Models*,
    arXiv:2403.15388.

    Examples
    --------
    >>> from vlm import selectors
    >>> str(selectors.prumerge_plan([0.1, 0.1, 0.12, 0.08, 0.1, 0.5], keep=2))
    'keep:0-=2+5'
    """
    values = finite(scores, name="scores")
    count = outlier_count(values) if keep is None else keep
    if not 0 <= count <= values.size:
        raise ValueError(f"keep: expected 0 to {values.size} patches, got {count}")
    if count == values.size:
        return SkipPlan()
    return SkipPlan.keep(0, None, np.sort(np.argsort(-values, kind="stable")[:count]).tolist())


def prumerge_plus_plan(scores: ArrayLike, keep: int | None = None) -> SkipPlan:
    r"""PruMerge+ on one image: the outliers of the class token's attention, united with a regular grid.

    The authors' released default. As in :func:`prumerge_plan`, they merge the others into the kept tokens, and here
    nothing is merged.

    Parameters
    ----------
    scores : (patches,)
        A row of `EncoderRecord.scores`.
    keep : int, optional
        Number of patches kept by attention, in 1..patches/3; by default the number of outliers. The grid comes on top:
        about three times as many, so that the plan keeps about four times this number.

    Returns
    -------
    SkipPlan

    Raises
    ------
    ValueError
        `keep` outside 1..patches/3: the grid's step would be zero.

    See Also
    --------
    vlm.selectors.prumerge_plan : Without the grid.

    Notes
    -----
    With N patches of which k are kept by attention, the grid is 0, s, 2s, ... below N - 1 with
    :math:`s = \lfloor \lfloor N / k \rfloor / 3 \rfloor`. O(N log N) for each image.

    References
    ----------
    Shang et al. (2024), *LLaVA-PruMerge: Adaptive Token Reduction for Efficient Large Multimodal Models*,
    arXiv:2403.15388; rule as in github.com/42Shawn/LLaVA-PruMerge, llava/model/multimodal_encoder/clip_encoder.py.

    Examples
    --------
    >>> from vlm import selectors
    >>> str(selectors.prumerge_plus_plan([0.1] * 20 + [5.0, 6.0]))  # 11 patches for each outlier: every third one
    'keep:0-=0+3+6+9+12+15+18+20-22'
    """
    values = finite(scores, name="scores")
    count = outlier_count(values) if keep is None else keep
    step = int(int(1 / (count / values.size)) / 3) if count > 0 else 0
    if step < 1:
        raise ValueError(
            f"keep: expected at least 1 and at most a third of {values.size} patches, got {count}; the grid's step "
            "would be zero"
        )
    grid = range(0, values.size - 1, step)
    kept = {*np.argsort(-values, kind="stable")[:count].tolist(), *grid}
    return SkipPlan() if len(kept) == values.size else SkipPlan.keep(0, None, sorted(kept))


def _selected_attention(parts: Anatomy) -> Any:
    """The attention module of the vision encoder's layer that reads the selected features."""
    layers = class_token_layers(parts)
    return layers[min(selected_features(parts), len(layers) - 1)]


def selected_features(parts: Anatomy) -> int:
    """Number f of the encoder's hidden state that the model selects: the output of layer f - 1, the input of f."""
    layers, select = class_token_layers(parts), parts.model.config.vision_feature_layer
    return int(select) if select >= 0 else len(layers) + 1 + int(select)


def class_token_layers(parts: Anatomy) -> list[Any]:
    """The attention modules of a vision encoder whose patches are the image tokens, one for one."""
    tower = getattr(parts.inner, "vision_tower", None)
    select = getattr(parts.model.config, "vision_feature_layer", None)
    if not isinstance(tower, nn.Module) or not isinstance(select, int):
        raise TypeError(f"{type(parts.model).__name__}: expected .vision_tower and one vision_feature_layer")
    with_class_token = getattr(parts.model.config, "vision_feature_select_strategy", "default") != "default"
    if with_class_token or hasattr(parts.model.config, "image_grid_pinpoints"):
        raise TypeError(
            f"{type(parts.model).__name__}: expected one image token per patch of one view of an image, but it takes "
            f"{'the class token' if with_class_token else 'tiles and row ends'} as well; scores would name other tokens"
        )
    if not any(name.endswith("class_embedding") for name, _ in tower.named_parameters()):
        raise TypeError(f"{type(tower).__name__}: expected a class token, found none; PruMerge does not apply")
    layers = [m for m in tower.modules() if isinstance(getattr(m, "q_proj", None), nn.Module) and hasattr(m, "k_proj")]
    if not layers:
        raise TypeError(f"{type(tower).__name__}: expected attention layers with q_proj and k_proj, found none")
    return layers
