"""Where each model family keeps its decoder layers, its final norm and its image tokens."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, cast

from torch import nn

from redundancy.display import Displayed
from vlm.models.layer_parts import ATTENTION_NAMES, find_attention, parameters_of
from vlm.models.types import Model
from vlm.models.wrappers import unwrapped


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
    norm : str
        The norm after the last layer; "" for the decoder's own `.norm`.

    See Also
    --------
    FAMILIES : The families that are tested.

    Examples
    --------
    Declare a family that is not among :data:`FAMILIES`; pass it as ``family=`` to `vlm.skipping`, `vlm.probe`, ...

    >>> Family("my_vlm", decoder="model.text_model")
    Family(name=my_vlm, inner=model, decoder=model.text_model, projector=model.multi_modal_projector, norm='')
    """

    name: str
    inner: str = "model"
    decoder: str = "model.language_model"
    projector: str = "model.multi_modal_projector"
    norm: str = ""


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
    Family("aria"),
    Family("idefics2", decoder="model.text_model", projector="model.connector"),
    Family("llava_next_video"),
    Family("video_llava"),
    Family("janus", projector="model.aligner"),
    Family("ovis2", projector="model.visual_embeddings_table"),
    Family("qwen3_vl_moe", projector="model.visual.merger"),
    Family("glm4v", projector="model.visual.merger"),
    Family("glm4v_moe", projector="model.visual.merger"),
    Family("cohere2_vision"),
    Family("aya_vision"),
    Family("qwen3_5", projector="model.visual.merger"),
    Family("qwen3_5_moe", projector="model.visual.merger"),
    Family("gemma4", projector="model.embed_vision"),
    Family("molmo2"),
    Family(
        "blip-2",
        inner="",
        decoder="language_model.model.decoder",
        projector="language_projection",
        norm="language_model.model.decoder.final_layer_norm",
    ),
    Family("instructblip", inner="", decoder="language_model.model", projector="language_projection"),
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
    ValueError, NotImplementedError
        One module stands at several depths, or a decoder layer is inside another module.
    """
    model = unwrapped(model)
    config = getattr(model, "config", None)
    kind = getattr(config, "model_type", None)
    if not isinstance(model, nn.Module) or config is None:
        raise TypeError(f"model: expected a vision-language model, got {type(model).__name__} without a config")
    if not hasattr(model, "dtype"):
        raise TypeError(
            f"model: expected a model of transformers, got a {type(model).__name__} around more than one module; pass "
            "the model inside it"
        )
    declared = family or next((f for f in FAMILIES if f.name == kind), None)
    if declared is not None and family is None:
        # A model without its head has the same type and other paths; a text model may call its last norm otherwise.
        declared = _with_norm(model, declared) if _fits(model, declared) else search(model)
    family = declared or discover(model)
    try:
        inner, decoder = part(model, family.inner), part(model, family.decoder)
        layers, norm = tuple(decoder.layers), part(model, family.norm) if family.norm else decoder.norm
    except AttributeError as error:
        raise TypeError(
            f"model: expected {family.inner!r} and {family.decoder!r} with .layers and .norm in "
            f"{type(model).__name__}, but {error}; pass a family= with the right paths"
        ) from error
    _refuse_duplicates(layers)
    _refuse_wrapped(layers)
    return Anatomy(family, cast(Model, model), inner, decoder, layers, norm, _placeholders(config))


def _fits(model: nn.Module, family: Family) -> bool:
    try:
        return bool(part(model, family.inner) and part(model, family.decoder).layers)
    except AttributeError:
        return False


def _with_norm(model: nn.Module, family: Family) -> Family:
    """The family with the name that this text model has for the norm after its last layer (Phi, GPT-NeoX)."""
    found = None if family.norm else _norm_of(part(model, family.decoder))
    return family if found in (None, "norm") else replace(family, norm=f"{family.decoder}.{found}")


def _norm_of(decoder: Any) -> str | None:
    return next((name for name in _NORMS if isinstance(getattr(decoder, name, None), nn.Module)), None)


def _refuse_duplicates(layers: tuple[nn.Module, ...]) -> None:
    """Refuse a layer or an attention at several depths: it has one forward, one set of hooks, one part of the cache."""
    first: dict[int, int] = {}
    for index, layer in enumerate(layers):
        if first.setdefault(id(layer), index) != index:
            raise ValueError(
                f"model: decoder layers {first[id(layer)]} and {index} are one and the same module, so that they "
                "cannot be told apart; give each layer a module of its own (copy.deepcopy, with a layer_idx of its own)"
            )
    attends: dict[int, int] = {}
    for index, layer in enumerate(layers):
        attention = find_attention(layer)
        if attention is not None and attends.setdefault(id(attention), index) != index:
            raise ValueError(
                f"model: decoder layers {attends[id(attention)]} and {index} have one attention between them, so that "
                "they cannot be told apart where it attends; give each layer an attention of its own (copy.deepcopy, "
                "with a layer_idx of its own)"
            )


def _refuse_wrapped(layers: tuple[nn.Module, ...]) -> None:
    """Refuse a layer whose attention lies deeper than among its own parts, as in a module around the layer."""
    for index, layer in enumerate(layers):
        if "_orig_mod" in layer._modules:
            raise NotImplementedError(
                f"model: decoder layer {index} is a compiled module around the layer; compile it in place "
                "(layer.compile()), which plans and measurements follow"
            )
        deeper = [] if find_attention(layer) is not None else [path for path, _ in layer.named_modules()]
        inside = next((path for path in deeper if path.rpartition(".")[2] in ATTENTION_NAMES), None)
        if inside is not None:
            raise NotImplementedError(
                f"model: decoder layer {index}, a {type(layer).__name__}, has its attention at {inside!r}, inside "
                "another module; put the decoder layer itself into the list of layers"
            )


def part(model: Any, path: str) -> Any:
    """The module at an attribute path, "" being the model itself."""
    return attrgetter(path)(model) if path else model


def discover(model: nn.Module) -> Family:
    """Search a model of an unknown family, as :func:`search`, and warn of what was found."""
    family = search(model)
    where = f"inner={family.inner!r}, decoder={family.decoder!r}" + (f", norm={family.norm!r}" if family.norm else "")
    warnings.warn(
        f"family {family.name!r} is not among the tested ones; taking {type(part(model, family.inner)).__name__} at "
        f"inner={family.inner!r} and the decoder at decoder={family.decoder!r}. Run `python -m vlm check` on it, "
        f"or say so yourself with family=vlm.Family({family.name!r}, {where})",
        stacklevel=3,
    )
    return family


def search(model: nn.Module) -> Family:
    """Search a model for its decoder and for the module around it that takes images.

    Raises
    ------
    TypeError
        There is not exactly one decoder, or no module around it that takes both `input_ids` and `pixel_values`; the
        message names the nearest candidate and what it lacks.
    """
    kind = str(getattr(model.config, "model_type", type(model).__name__))
    candidates = [_candidate(model, name, module) for name, module in model.named_modules() if _stack(module)]
    decoders = [found for found in candidates if not found.lacks]
    # A draft or a helper network may be a decoder too: the one inside the other modules is not it.
    around = [found for found in decoders if found.inner is not None]
    if len(around) == 1:
        return Family(kind, str(around[0].inner), around[0].name, projector="", norm=around[0].norm)
    if len(decoders) > 1 or len(around) > 1:
        nearest = f"several decoders, {', '.join(repr(found.name) for found in decoders)}: say which with family="
    elif candidates:
        best = min(candidates, key=lambda found: (_TAKES_TEXT in found.lacks, len(found.missing()), -found.depth))
        nearest = (
            f"nearest is {best.name!r} ({best.kind}, {best.depth} layers), which lacks {' and '.join(best.missing())}"
        )
    else:
        nearest = "no module with a list of layers"
    raise TypeError(
        f"model: expected a vision-language model whose decoder runs over image and text tokens in one sequence, got "
        f"{type(model).__name__} of type {kind!r}; {nearest}. If it has image tokens in its sequence, declare it: "
        "family=vlm.Family(name, inner='model', decoder='model.language_model', norm='model.language_model.norm')"
    )


@dataclass(frozen=True)
class _Candidate:
    """A module with a list of layers, and what it lacks to be the decoder of a vision-language model."""

    name: str
    kind: str
    depth: int
    norm: str
    inner: str | None
    lacks: tuple[str, ...]

    def missing(self) -> tuple[str, ...]:
        outside = "a module around it that takes input_ids and pixel_values"
        return self.lacks + (() if self.inner is not None else (outside,))


def _candidate(model: nn.Module, name: str, module: nn.Module) -> _Candidate:
    lacks = []
    layers = _stack(module)
    assert layers is not None
    if not isinstance(getattr(module, "layers", None), nn.ModuleList):
        lacks.append("an attribute .layers")
    norm = _norm_of(module)
    if norm is None:
        lacks.append("a final norm (.norm; say where it is with Family(norm=...))")
    crossing = [index for index, layer in enumerate(layers) if _crosses(layer)]
    without = [i for i, layer in enumerate(layers) if i not in crossing and find_attention(layer) is None]
    if without:
        kinds = sorted({type(layers[index]).__name__ for index in without})
        parts = sorted({child for index in without for child, _ in layers[index].named_children()})
        which = f"{', '.join(kinds)} with {', '.join(parts[:4])}"
        lacks.append(f"attention in layers {_some(without)} ({which}), which keep a state of another kind")
    if crossing:
        lacks.append(
            f"image tokens in its sequence: layers {_some(crossing)} reach the image by cross-attention, so there is "
            "nothing to skip"
        )
    if not {"input_ids", "inputs_embeds"} <= parameters_of(module):
        lacks.append(_TAKES_TEXT)
    prefixes = name.split(".")[:-1]
    outer = [".".join(prefixes[:end]) for end in range(len(prefixes), -1, -1)] if name else []
    inner = next((p for p in outer if _takes_images(part(model, p))), None)
    where = "" if norm in (None, "norm") else f"{name}.{norm}"
    return _Candidate(name, type(module).__name__, len(layers), where, inner, tuple(lacks))


_TAKES_TEXT = "a forward that takes input_ids and inputs_embeds"


def _takes_images(module: nn.Module) -> bool:
    names = parameters_of(module)
    return "input_ids" in names and bool({"pixel_values", "pixel_values_images"} & names)


# Names of the norm after the last layer.
_NORMS = ("norm", "final_layernorm", "final_layer_norm", "embedding_norm", "ln_f")


def _stack(module: nn.Module) -> nn.ModuleList | None:
    """The list of layers of a module, None if it has none."""
    for name in ("layers", "h", "blocks", "block", "layer"):
        layers = getattr(module, name, None)
        if isinstance(layers, nn.ModuleList) and len(layers):
            return layers
    return None


def _crosses(layer: nn.Module) -> bool:
    return any("cross" in name for name, _ in layer.named_children())


def _some(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:4])) + (", ..." if len(numbers) > 4 else "")


def generates_inside(parts: Anatomy) -> bool:
    """Whether generation runs in a module between the one that takes images and the decoder (BLIP-2)."""
    names = parts.family.decoder.split(".")[:-1]
    between = [part(parts.model, ".".join(names[: end + 1])) for end in range(len(names))]
    own = type(parts.model).__dict__.get("generate")
    return own is not None and any(hasattr(module, "generate") for module in between if module is not parts.inner)


def exact_length(config: Any, layers: frozenset[int]) -> int | None:
    """Sequence length up to which these layers may be shortened exactly; None if there is no limit.

    Llama 4 scales the queries of its layers without rotary embedding by a factor of their row number. The factor is 1
    below `floor_scale` tokens; beyond, it would use the row numbers of the shortened sequence.
    """
    rotary = getattr(config, "no_rope_layers", None)
    if not getattr(config, "attn_temperature_tuning", False) or rotary is None:
        return None
    return int(config.floor_scale) - 1 if any(not rotary[layer] for layer in layers) else None


def _placeholders(config: Any) -> frozenset[int]:
    names = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")
    ids = {getattr(config, name, None) for name in names}
    placeholders = frozenset(int(i) for i in ids if i is not None)
    if not placeholders:
        raise TypeError(f"model: its config names no image token id (looked for {', '.join(names)})")
    return placeholders
