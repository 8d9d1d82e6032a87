"""Where each model family keeps its decoder layers, its final norm and its image tokens."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, cast

from torch import nn

from redundancy.display import Displayed
from vlm.models.types import Model


@dataclass(frozen=True, repr=False)
class Family(Displayed):
    """One model family: where its parts are, as attribute paths from the top module ("" for the top module itself).

    Parameters
    ----------
    name : str
        `config.model_type`.
    inner : str
        The module that receives `input_ids` and `pixel_values` and calls the decoder.
    decoder : str
        The language model, which has `.layers` and `.norm`.
    projector : str
        The module that maps image features to token states; "" if not known.

    See Also
    --------
    FAMILIES : The families that are tested.

    Examples
    --------
    Declare a family that is not among :data:`FAMILIES`; pass it as ``family=`` to `vlm.skipping`, `vlm.probe`, ...

    >>> Family("my_vlm", decoder="model.text_model")
    Family(name=my_vlm, inner=model, decoder=model.text_model, projector=model.multi_modal_projector)
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
    Family("mistral3"),
    Family("internvl"),
    Family("gemma3"),
    Family("paligemma"),
    Family("qwen2_vl", projector="model.visual.merger"),
    Family("qwen2_5_vl", projector="model.visual.merger"),
    Family("qwen3_vl", projector="model.visual.merger"),
    Family("deepseek_vl", projector="model.aligner"),
    Family("deepseek_vl_hybrid", projector="model.aligner"),
    Family("idefics3", decoder="model.text_model", projector="model.connector"),
    Family("smolvlm", decoder="model.text_model", projector="model.connector"),
    Family("llama4", inner="", decoder="language_model.model", projector="multi_modal_projector"),
)
"""Families whose exactness is tested.

Examples
--------
>>> [family.name for family in FAMILIES[:4]]
['llava', 'llava_next', 'vipllava', 'llava_onevision']
"""


@dataclass(frozen=True, eq=False, repr=False)
class Anatomy:
    """The parts of one model that measuring and skipping touch.

    Attributes
    ----------
    family : Family
        Where they were found.
    model : Model
        The whole model.
    inner, decoder : nn.Module
        The module that receives images and token ids, and the language model.
    layers : tuple of nn.Module
        The decoder layers.
    norm : nn.Module
        The norm after the last layer.
    placeholders : frozenset of int
        Token ids that stand for image tokens.
    """

    family: Family
    model: Model
    inner: nn.Module
    decoder: nn.Module
    layers: tuple[nn.Module, ...]
    norm: nn.Module
    placeholders: frozenset[int]

    def __repr__(self) -> str:
        return f"Anatomy({self.family.name}, {type(self.model).__name__}, {self.depth} layers)"

    @property
    def depth(self) -> int:
        """Number of decoder layers L."""
        return len(self.layers)

    @property
    def text_config(self) -> Any:
        """Configuration of the language model."""
        return self.decoder.config


def anatomy(model: Model | nn.Module, family: Family | None = None) -> Anatomy:
    """Find the parts of a Hugging Face vision-language model.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model.
    family : Family, optional
        Where its parts are. Default: the model's type is looked up in `FAMILIES`; a model of an unknown type is
        searched for its parts, and a `UserWarning` says what was found.

    Raises
    ------
    TypeError
        The model is not a vision-language model; the message says how to declare one.
    """
    config = getattr(model, "config", None)
    kind = getattr(config, "model_type", None)
    if not isinstance(model, nn.Module) or config is None:
        raise TypeError(f"model: expected a vision-language model, got {type(model).__name__} without a config")
    if family is None:
        family = next((f for f in FAMILIES if f.name == kind), None) or discover(model)
    try:
        inner, decoder = part(model, family.inner), part(model, family.decoder)
        layers, norm = tuple(decoder.layers), decoder.norm
    except AttributeError as error:
        raise TypeError(
            f"model: expected {family.inner!r} and {family.decoder!r} with .layers and .norm in "
            f"{type(model).__name__}, but {error}; pass a family= with the right paths"
        ) from error
    return Anatomy(family, cast(Model, model), inner, decoder, layers, norm, _placeholders(config))


def part(model: nn.Module, path: str) -> Any:
    """The module at an attribute path, "" being the model itself."""
    return attrgetter(path)(model) if path else model


def discover(model: nn.Module) -> Family:
    """Search a model of an unknown family for its decoder and for the module around it that takes images.

    Raises
    ------
    TypeError
        There is not exactly one decoder, or no module around it that takes both `input_ids` and `pixel_values`.
    """
    kind = getattr(model.config, "model_type", type(model).__name__)
    decoders = [name for name, module in model.named_modules() if _is_decoder(module)]
    prefixes = decoders[0].split(".")[:-1] if len(decoders) == 1 else []
    around = [".".join(prefixes[:end]) for end in range(len(prefixes), -1, -1)] if decoders else []
    inner = next((p for p in around if {"input_ids", "pixel_values"} <= _arguments(part(model, p))), None)
    if len(decoders) != 1 or inner is None:
        raise TypeError(
            f"model: expected a vision-language model of a known family ({', '.join(f.name for f in FAMILIES)}), got "
            f"{type(model).__name__} of type {kind!r}; found decoders with .layers and .norm at {decoders or 'none'}, "
            "and no module around a single one that takes input_ids and pixel_values. If it has image tokens in its "
            "sequence, declare it: family=vlm.Family(name, inner='model', decoder='model.language_model')"
        )
    family = Family(str(kind), inner, decoders[0], projector="")
    warnings.warn(
        f"family {kind!r} is not among the tested ones; taking {type(part(model, inner)).__name__} at inner={inner!r} "
        f"and the decoder at decoder={decoders[0]!r}. Check a plan against an early layer of your own, or say so "
        f"yourself with family=vlm.Family({str(kind)!r}, inner={inner!r}, decoder={decoders[0]!r})",
        stacklevel=2,
    )
    return family


def exact_length(config: Any, layers: frozenset[int]) -> int | None:
    """Sequence length up to which these layers may be shortened exactly; None if there is no limit.

    Llama 4 scales the queries of its layers without rotary embedding by a factor of their row number. The factor is 1
    below `floor_scale` tokens; beyond, it would use the row numbers of the shortened sequence.
    """
    rotary = getattr(config, "no_rope_layers", None)
    if not getattr(config, "attn_temperature_tuning", False) or rotary is None:
        return None
    return int(config.floor_scale) - 1 if any(not rotary[layer] for layer in layers) else None


def _is_decoder(module: nn.Module) -> bool:
    layers = getattr(module, "layers", None)
    return (
        isinstance(layers, nn.ModuleList)
        and isinstance(getattr(module, "norm", None), nn.Module)
        and {"input_ids", "inputs_embeds"} <= _arguments(module)
        and all(isinstance(getattr(layer, "self_attn", None), nn.Module) for layer in layers)
    )


def _arguments(module: nn.Module) -> set[str]:
    return set(inspect.signature(module.forward).parameters)


def _placeholders(config: Any) -> frozenset[int]:
    names = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")
    ids = {getattr(config, name, None) for name in names}
    placeholders = frozenset(int(i) for i in ids if i is not None)
    if not placeholders:
        raise TypeError(f"model: its config names no image token id (looked for {', '.join(names)})")
    return placeholders
