"""What rules that choose or merge image tokens before the decoder look at: class attention, keys and features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from redundancy.array_types import FloatArray
from vlm.engine.forward_call import Call
from vlm.engine.hooks import attached
from vlm.measure.records import GrowingRecord
from vlm.models.families import Family
from vlm.models.types import Model
from vlm.selectors.prumerge import class_token_layers, selected_features

# VScan's shallow encoder layer is the sixth of 24.
_SHALLOW = 6 / 24

Place = Literal["selected", "feature", "shallow"]


class ImageFeatures(NamedTuple):
    """Features of one encoded image, patches in order.

    Attributes
    ----------
    scores : (N,)
        PruMerge's: class attention over the full width, in the layer that reads the selected features.
    keys : (N, C)
        Keys of that layer, all heads.
    attention : (N,)
        Class attention, mean over heads, in the layer that makes the features (VisionZip, HoloV).
    mean_keys : (N, d)
        Keys of that layer, mean over heads.
    shallow : (N,)
        Class attention, mean over heads, in a shallow layer: the sixth of 24, scaled (VScan).
    features : (N, C)
        What enters the projector.
    projected : (N, D)
        What leaves it.

    See Also
    --------
    vlm.selectors.encoder_features : Measures them.

    Examples
    --------
    >>> import numpy as np
    >>> from vlm import selectors
    >>> one, two = np.ones(3), np.ones((3, 2))
    >>> selectors.ImageFeatures(one, two, one, two, one, two, two).features.shape
    (3, 2)
    """

    scores: FloatArray
    keys: FloatArray
    attention: FloatArray
    mean_keys: FloatArray
    shallow: FloatArray
    features: FloatArray
    projected: FloatArray


def shallow_layer(count: int) -> int:
    """Which of so many encoder layers is VScan's shallow one: number 5, the sixth, of 24."""
    return max(round(_SHALLOW * count) - 1, 0)


class _Projection(NamedTuple):
    """The query or key projection of one encoder layer."""

    place: Place
    query: bool


@dataclass(eq=False, repr=False)
class ImageFeatureRecord(GrowingRecord):
    """What :func:`vlm.selectors.encoder_features` measured; keeps O(N C) numbers per image.

    See Also
    --------
    vlm.selectors.encoder_features : Makes one.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors
    >>> model, _ = vlm.load("tiny")
    >>> with selectors.encoder_features(model) as record:
    ...     pass
    >>> record.samples
    0
    """

    heads: int = 1
    scale: float = 1.0
    _parts: dict[_Projection, Tensor] = field(default_factory=dict)
    _done: list[ImageFeatures] = field(default_factory=list)

    @property
    def samples(self) -> int:
        """Number of images recorded."""
        return len(self._done)

    def images(self) -> list[ImageFeatures]:
        """Features of each image, in the order in which they were encoded."""
        self._check_recorded("encoder features")
        return self._done

    def _measured(self) -> dict[str, object]:
        return {"images": [one._asdict() for one in self.images()]}

    @torch.no_grad()
    def observe(self, call: Call | None, key: object, first: Tensor, out: Tensor) -> None:
        """Take in queries or keys of an encoder layer, or what enters the projector (called by the hooks)."""
        if isinstance(key, _Projection):
            self._parts[key] = out.to(torch.float32)
            return
        if len(self._parts) < 6:
            return
        whole = self._parts["selected", False]  # type: ignore[index]
        scores = self._parts["selected", True][:, :1] @ whole.transpose(1, 2)  # type: ignore[index]
        over_width = torch.softmax(scores * whole.shape[-1] ** -0.5, dim=-1)[:, 0, 1:]
        made, shallow = self._attention("feature"), self._attention("shallow")
        keys = self._split(self._parts["feature", False]).mean(dim=1)[:, 1:]  # type: ignore[index]
        parts = (over_width, whole[:, 1:], made, keys, shallow, first, out)
        for one in zip(*(part.to("cpu", torch.float64).numpy() for part in parts), strict=True):
            self._done.append(ImageFeatures(*one))
        self._parts.clear()

    def _split(self, values: Tensor) -> Tensor:
        return values.view(*values.shape[:2], self.heads, -1).transpose(1, 2)

    def _attention(self, place: Place) -> Tensor:
        """Attention (images, patches) of the class token, head by head, mean over heads."""
        query, key = (self._split(self._parts[place, kind]) for kind in (True, False))  # type: ignore[index]
        return torch.softmax(query[:, :, :1] @ key.transpose(2, 3) * self.scale, dim=-1)[:, :, 0, 1:].mean(dim=1)


@contextmanager
def encoder_features(model: Model, *, family: Family | None = None) -> Iterator[ImageFeatureRecord]:
    """Measure, while the model runs, what PruMerge, VisionZip, VScan and HoloV choose and merge image tokens by.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family whose vision encoder has a class token.
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    ImageFeatureRecord

    Raises
    ------
    TypeError
        No class token, no query and key projections, no projector, or image tokens that are no patches of one view.

    See Also
    --------
    vlm.selectors.prumerge_merged_plan, vlm.selectors.visionzip_merged_plan : Plans that use them.

    References
    ----------
    Shang et al. (2024), *LLaVA-PruMerge: adaptive token reduction for efficient large multimodal models*,
    arXiv:2403.15388; Yang et al. (2024), *VisionZip: longer is better but not necessary in vision language models*,
    arXiv:2412.04467; Zhang et al. (2025), *VScan: rethinking visual token reduction for efficient large
    vision-language models*, arXiv:2505.22654.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors, tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=2, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with selectors.encoder_features(model) as record:
    ...     _ = model(**batch)
    >>> record.images()[0].keys.shape, record.images()[0].mean_keys.shape
    ((36, 64), (36, 16))
    """
    with attached(model, family) as engine:
        layers, feature = class_token_layers(engine.parts), selected_features(engine.parts)
        projector = getattr(engine.parts.inner, "multi_modal_projector", None)
        if not isinstance(projector, nn.Module) or feature < 1:
            raise TypeError(f"{type(engine.parts.model).__name__}: expected a multi_modal_projector after the encoder")
        used: dict[Place, Any] = {
            "selected": layers[min(feature, len(layers) - 1)],
            "feature": layers[feature - 1],
            "shallow": layers[shallow_layer(len(layers))],
        }
        attention = used["feature"]
        record = ImageFeatureRecord(int(attention.num_heads), float(attention.head_dim) ** -0.5)
        modules: dict[object, nn.Module] = {}
        for place, layer in used.items():
            modules |= {_Projection(place, True): layer.q_proj, _Projection(place, False): layer.k_proj}
        with engine.watch_modules({**modules, "projector": projector}, record.observe):
            yield record
