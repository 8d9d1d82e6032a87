"""Types of the transformers objects that the package works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

# Keyword arguments of a model, a decoder layer or an attention module of transformers.
Arguments = Mapping[str, Any]
# The forward of a module of transformers, or an attention function: both differ between families.
Forward = Callable[..., Any]


class Cache(Protocol):
    """A key-value cache of transformers with one entry of `layers` per decoder layer."""

    layers: list[Any]
    layer_class_to_replicate: Any

    def get_seq_length(self) -> int:
        """Logical number of tokens."""

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Store new keys and values; returns all that the new tokens can attend to."""


class Model(Protocol):
    """A vision-language model of transformers (a `PreTrainedModel`), as far as it is used here.

    Attributes that depend on the family are reached through :func:`vlm.models.families.anatomy`; others are untyped.
    """

    config: Any

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""

    @property
    def device(self) -> torch.device:
        """Device of the weights."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Forward: keyword arguments as the processor returns them; the result has `.logits`."""

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Generated token ids, or an output object with `.sequences`."""

    def __getattr__(self, name: str) -> Any: ...


class Processor(Protocol):
    """A processor of transformers (a `ProcessorMixin`) with a tokenizer and an image processor."""

    tokenizer: Any
    image_processor: Any

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Tensors for the model from `images` and `text`."""

    def batch_decode(self, *args: Any, **kwargs: Any) -> list[str]:
        """Texts of token ids (batch, tokens)."""

    def __getattr__(self, name: str) -> Any: ...
