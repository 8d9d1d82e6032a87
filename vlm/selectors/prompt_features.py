"""What rules that choose image tokens look at: projected tokens, keys and states, the class token's attention."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from redundancy.array_types import BoolArray, FloatArray
from vlm.engine.attention_event import AttentionEvent
from vlm.engine.forward_call import Call
from vlm.engine.hooks import attached
from vlm.measure.records import GrowingRecord
from vlm.models.families import Family
from vlm.models.types import Model
from vlm.selectors.prumerge import class_token_layers, selected_features


class PromptFeatures(NamedTuple):
    """Features of one prompt without its padding.

    Attributes
    ----------
    image : bool (tokens,)
        Which tokens are image tokens.
    projected : (image tokens, D)
        Image tokens as they enter the decoder.
    keys : (tokens, key heads * d)
        Keys in layer K - 1, rotary embedding applied.
    states : (tokens, D)
        States that enter layer K, after the model's final norm.
    inputs, outputs : (image tokens, D)
        Image tokens as they enter layer K, and after that layer's norm between attention and feed-forward; after the
        layer where it has none (TopV).

    See Also
    --------
    vlm.selectors.token_features : Measures them.

    Examples
    --------
    >>> import numpy as np
    >>> from vlm import selectors
    >>> one, two = np.ones((1, 4)), np.ones((2, 4))
    >>> selectors.PromptFeatures(np.array([True, False]), one, two, two, one, one).image.sum()
    np.int64(1)
    """

    image: BoolArray
    projected: FloatArray
    keys: FloatArray
    states: FloatArray
    inputs: FloatArray
    outputs: FloatArray


class EncoderMap(NamedTuple):
    """Query or key projection of the encoder layer that makes the features, its heads and the factor of its scores."""

    query: bool
    heads: int
    scale: float


@dataclass(eq=False, repr=False)
class FeatureRecord(GrowingRecord):
    """What :func:`vlm.selectors.token_features` measured; keeps O(tokens x D) numbers per prompt.

    Attributes
    ----------
    layer : int
        The layer K that tokens enter after the choice.

    See Also
    --------
    vlm.selectors.token_features : Makes one.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors
    >>> model, _ = vlm.load("tiny")
    >>> with selectors.token_features(model) as record:
    ...     pass
    >>> record.layer, record.samples
    (2, 0)
    """

    layer: int
    norm: nn.Module
    _first: Tensor | None = None
    _keys: Tensor | None = None
    _states: Tensor | None = None
    _inputs: Tensor | None = None
    _outputs: Tensor | None = None
    _normed: Tensor | None = None
    _done: list[PromptFeatures] = field(default_factory=list)
    _attention: list[FloatArray] = field(default_factory=list)
    _query: Tensor | None = None

    @property
    def samples(self) -> int:
        """Number of prompts recorded."""
        return len(self._done)

    def prompts(self) -> list[PromptFeatures]:
        """Features of each prompt, in order."""
        self._check_recorded("token features")
        return self._done

    def class_attention(self) -> list[FloatArray]:
        """Attention of the encoder's class token to each patch, mean over heads: one (patches,) per image.

        In the encoder layer that makes the features which the model selects. Empty without a class token.
        """
        self._check_recorded("token features")
        return self._attention

    def _measured(self) -> dict[str, object]:
        return {"image": [p.image for p in self.prompts()], "class_attention": self.class_attention()}

    @torch.no_grad()
    def observe_layer(self, call: Call, layer: int, before: Tensor, after: Tensor) -> None:
        """Take in one layer's input and output (called by the hooks)."""
        if call.past:
            return
        if layer == 0:
            self._first, self._keys, self._states = before, None, None
        if layer == self.layer:
            self._states, self._inputs = self.norm(before), before
            self._outputs = after if self._normed is None else self._normed

    @torch.no_grad()
    def observe_norm(self, call: Call | None, key: object, _: Tensor, out: Tensor) -> None:
        """Take in what the norm between attention and feed-forward returns (called by the hooks)."""
        self._normed = out

    @torch.no_grad()
    def observe_attention(self, event: AttentionEvent) -> None:
        """Take in one layer's keys (called by the hooks)."""
        if not event.call.past and event.layer == self.layer - 1:
            if event.layer in event.call.query_positions:
                raise RuntimeError("token features: a layer is shortened by a plan; measure without a plan")
            self._keys = event.key.transpose(1, 2).flatten(2)

    @torch.no_grad()
    def observe_encoder(self, call: Call | None, key: object, _: Tensor, out: Tensor) -> None:
        """Take in the queries or the keys of the encoder layer (called by the hooks)."""
        assert isinstance(key, EncoderMap)
        split = out.to(torch.float32).view(*out.shape[:2], key.heads, -1).transpose(1, 2)
        if key.query:
            self._query = split[:, :, :1]
        elif self._query is not None:
            weights = torch.softmax(self._query @ split.transpose(2, 3) * key.scale, dim=-1)
            self._attention += list(weights[:, :, 0, 1:].mean(dim=1).to("cpu", torch.float64).numpy())
            self._query = None

    @torch.no_grad()
    def finish(self, call: Call) -> None:
        """Store the prompts of a forward call that has ended (called by the hooks)."""
        parts = self._first, self._keys, self._states, self._inputs, self._outputs
        self._first = self._keys = self._states = self._inputs = self._outputs = self._normed = None
        if any(part is None for part in parts):
            return
        first, keys, states, inputs, outputs = (part.to("cpu", torch.float64) for part in parts)  # type: ignore[union-attr]
        for row, (shown, real) in enumerate(zip(call.vision.cpu(), call.real.cpu(), strict=True)):
            whole = shown[real], first[row, shown], keys[row, real], states[row, real]
            own = inputs[row, shown], outputs[row, shown]
            self._done.append(PromptFeatures(*(part.numpy() for part in (*whole, *own))))


@contextmanager
def token_features(model: Model, layer: int = 2, *, family: Family | None = None) -> Iterator[FeatureRecord]:
    """Measure, while the model runs, what DivPrune, DART, HoloV and VisionZip choose image tokens by.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family.
    layer : int
        DART's K, at least 1.
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    FeatureRecord

    Raises
    ------
    ValueError
        A layer outside the model.
    RuntimeError
        During a forward call under a plan that shortens layer K - 1.

    See Also
    --------
    vlm.selectors.divprune_tokens, vlm.selectors.dart_tokens : Two of the rules.

    References
    ----------
    Wen et al. (2025), *Stop looking for important tokens in multimodal language models: duplication matters more*,
    arXiv:2502.11494; Yang et al. (2024), *VisionZip: longer is better but not necessary in vision language models*,
    arXiv:2412.04467.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors, tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=2, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with selectors.token_features(model) as record:
    ...     _ = model(**batch)
    >>> selectors.divprune_tokens(record.prompts()[0].projected, 5)
    (0, 11, 18, 23, 29)
    """
    with attached(model, family) as engine:
        if not 1 <= layer < engine.parts.depth:
            raise ValueError(f"layer: expected 1 to {engine.parts.depth - 1}, got {layer}")
        norm = engine.parts.decoder.norm
        if not isinstance(norm, nn.Module):
            raise TypeError(f"{type(engine.parts.decoder).__name__}: expected a final norm, got {type(norm).__name__}")
        record = FeatureRecord(layer, norm)
        modules: dict[object, nn.Module] = {}
        try:
            layers, feature = class_token_layers(engine.parts), selected_features(engine.parts)
        except TypeError:
            layers, feature = [], 0
        if 1 <= feature <= len(layers):
            attention = layers[feature - 1]
            heads, scale = int(attention.num_heads), float(attention.head_dim) ** -0.5
            modules = {
                EncoderMap(True, heads, scale): attention.q_proj,
                EncoderMap(False, heads, scale): attention.k_proj,
            }
        norm_inside = getattr(engine.parts.layers[layer], "post_attention_layernorm", None)
        inside = {"norm": norm_inside} if isinstance(norm_inside, nn.Module) else {}
        with (
            engine.watch_modules(modules, record.observe_encoder),
            engine.watch_modules(inside, record.observe_norm),
            engine.watch_attention(record.observe_attention, _nothing),
            engine.watch_layers(record.observe_layer, record.finish),
        ):
            yield record


def _nothing(call: Call) -> None:
    return None
