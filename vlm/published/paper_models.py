"""The paper's models: hub ids, plans, and shapes from which a model without weights is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redundancy.display import Displayed
from vlm.plans.plan import SkipPlan

if TYPE_CHECKING:
    from vlm.models.types import Model


@dataclass(frozen=True, repr=False)
class PublishedModel(Displayed):
    """One model of the paper.

    Attributes
    ----------
    name : str
        As in the tables.
    hub : str
        Checkpoint in the format of transformers. The paper does not say which language model LLaVA-NeXT 7B has; here it
        is that of LLaVA 1.5.
    kind : str
        `config.model_type`.
    vision_tokens : int
        Tokens of one image: fixed (LLaVA 1.5, DeepSeek-VL), the maximum (LLaVA-NeXT), or those of an image of
        640 x 480 pixels (Qwen2.5-VL).
    text, vision : mapping
        Shapes of the decoder and of the vision tower, as in the checkpoint's configuration; where empty, the defaults
        of the model type.

    See Also
    --------
    vlm.published.estimate : What its plans cost.
    vlm.published.skeleton : Its shapes, without weights.

    Examples
    --------
    >>> from vlm import published
    >>> model = published.MODELS[4]
    >>> model.name, model.depth
    ('qwen2.5-vl-7b', 28)
    >>> [str(plan) for plan in model.plans()]
    ['none', 'vision:0-4', 'vision:0-8', 'vision:0-12', 'vision:20-', 'vision:24-']
    """

    name: str
    hub: str
    kind: str
    vision_tokens: int
    text: Mapping[str, int]
    vision: Mapping[str, int] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        """Number of decoder layers."""
        return self.text["num_hidden_layers"]

    def entries(self) -> list[int]:
        """The paper's entry layers, without 0 (the unskipped model)."""
        return [4, 8, 12]

    def exits(self) -> list[int]:
        """The paper's exit layers, as far as the model has them."""
        return [layer for layer in (20, 24, 28, 32, 36) if layer < self.depth]

    def plans(self) -> list[SkipPlan]:
        """The unskipped model and the paper's plans for it."""
        skips = [SkipPlan.late_entry(k) for k in self.entries()] + [SkipPlan.early_exit(k) for k in self.exits()]
        return [SkipPlan(), *skips]


def _shape(width: int, inner: int, layers: int, heads: int, key_heads: int, words: int) -> dict[str, int]:
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    return dict(zip((*names, "vocab_size"), (width, inner, layers, heads, key_heads, words), strict=True))


_VICUNA = _shape(4096, 11008, 32, 32, 32, 32064)
MODELS = (
    PublishedModel("llava-1.5-7b", "llava-hf/llava-1.5-7b-hf", "llava", 576, _VICUNA),
    PublishedModel("llava-1.5-13b", "llava-hf/llava-1.5-13b-hf", "llava", 576, _shape(5120, 13824, 40, 40, 40, 32064)),
    PublishedModel("llava-next-7b", "llava-hf/llava-v1.6-vicuna-7b-hf", "llava_next", 2880, _VICUNA),
    PublishedModel(
        "deepseek-vl-7b",
        "deepseek-community/deepseek-vl-7b-chat",
        "deepseek_vl_hybrid",
        576,
        _shape(4096, 11008, 30, 32, 32, 102400),
        {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16},
    ),
    PublishedModel(
        "qwen2.5-vl-7b",
        "Qwen/Qwen2.5-VL-7B-Instruct",
        "qwen2_5_vl",
        391,
        _shape(3584, 18944, 28, 28, 4, 152064),
        {"hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "depth": 32, "out_hidden_size": 3584},
    ),
)


def skeleton(model: PublishedModel) -> Model:
    """The model as a transformers model on the meta device: shapes only, no weights, nothing downloaded.

    Parameters
    ----------
    model : PublishedModel
        One of :data:`vlm.published.MODELS`.

    Returns
    -------
    PreTrainedModel

    See Also
    --------
    vlm.operations : Counts on such a model.

    References
    ----------
    Hartman et al. (2025), *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models*,
    arXiv:2509.25584.

    Examples
    --------
    >>> from vlm import published
    >>> body = published.skeleton(published.MODELS[0])
    >>> type(body).__name__, f"{sum(p.numel() for p in body.parameters()):,}"
    ('LlavaForConditionalGeneration', '7,063,427,072')
    """
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForImageTextToText

    defaults = CONFIG_MAPPING[model.kind]()
    parts = {"text_config": {"model_type": defaults.get_text_config().model_type, **model.text}}
    if model.vision:
        parts["vision_config"] = {"model_type": defaults.vision_config.model_type, **model.vision}
    config = CONFIG_MAPPING[model.kind](**parts, tie_word_embeddings=False)
    with torch.device("meta"):
        without_weights: Model = AutoModelForImageTextToText.from_config(config)
    return without_weights
