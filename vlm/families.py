"""Where the decoder layers, the image tokens and the final norm of each model family live."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Family:
    """One model family: attribute paths from the top module.

    Attributes
    ----------
    name : str
        `config.model_type`.
    inner : str
        The module that receives `input_ids` and `pixel_values` and calls the decoder.
    decoder : str
        The language model: has `.layers` and `.norm`.
    projector : str
        The module that maps image features to token states.
    """

    name: str
    inner: str = "model"
    decoder: str = "model.language_model"
    projector: str = "model.multi_modal_projector"


FAMILIES = (
    Family("llava"),
    Family("llava_next"),
    Family("vipllava"),
    Family("llava_onevision"),
)


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The parts of one model that measuring and skipping touch."""

    family: Family
    model: nn.Module
    inner: nn.Module
    decoder: nn.Module
    layers: tuple[nn.Module, ...]
    norm: nn.Module
    placeholders: frozenset[int]

    @property
    def depth(self) -> int:
        """Number of decoder layers L."""
        return len(self.layers)

    @property
    def text_config(self) -> Any:
        return self.decoder.config


def anatomy(model: Any, family: Family | None = None) -> Anatomy:
    """Find the parts of a Hugging Face vision-language model.

    Raises
    ------
    TypeError
        The model is no vision-language model of a known family; the message says how to declare one.
    """
    config = getattr(model, "config", None)
    kind = getattr(config, "model_type", None)
    if family is None:
        family = next((f for f in FAMILIES if f.name == kind), None)
    if family is None or not isinstance(model, nn.Module):
        raise TypeError(
            f"model: expected a vision-language model of a known family "
            f"({', '.join(f.name for f in FAMILIES)}), got {type(model).__name__} of type {kind!r}; "
            "if it has image tokens in its sequence, pass family=vlm.Family(name, inner=..., decoder=...)"
        )
    try:
        inner, decoder = (attrgetter(path)(model) for path in (family.inner, family.decoder))
        layers, norm = tuple(decoder.layers), decoder.norm
    except AttributeError as error:
        raise TypeError(
            f"model: expected {family.inner!r} and {family.decoder!r} with .layers and .norm in "
            f"{type(model).__name__}, but {error}; pass a family= with the right paths"
        ) from error
    return Anatomy(family, model, inner, decoder, layers, norm, _placeholders(config))


def _placeholders(config: Any) -> frozenset[int]:
    names = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")
    ids = {getattr(config, name, None) for name in names}
    found = frozenset(int(i) for i in ids if i is not None)
    if not found:
        raise TypeError(f"model: its config names no image token id (looked for {', '.join(names)})")
    return found
