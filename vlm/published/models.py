"""The paper's models: hub ids, decoder shapes for a model without weights, and what a sweep with them would cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vlm.cost import operations
from vlm.families import Family
from vlm.plan import SkipPlan


@dataclass(frozen=True)
class PublishedModel:
    """One model of the paper.

    Attributes
    ----------
    name : str
        As in the tables.
    hub : str
        Checkpoint in the format of transformers. Of LLaVA-NeXT 7B the paper does not say which language model; this
        is the one that LLaVA 1.5 has.
    kind : str
        `config.model_type`.
    vision_tokens : int
        Of one image: fixed (LLaVA 1.5, DeepSeek-VL), the most there can be (LLaVA-NeXT), or those of a picture of
        640 x 480 (Qwen2.5-VL).
    text, vision : mapping
        Shapes of the decoder and of the vision tower, as in the checkpoint's configuration; an empty one is the
        usual one of its kind.
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

    def exits(self, asked: Sequence[int] = (20, 24, 28, 32, 36)) -> list[int]:
        """The asked exit layers that the model has."""
        return [layer for layer in asked if layer < self.depth]


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


def skeleton(model: PublishedModel) -> Any:
    """The model of transformers on the meta device: its shapes, no weights, nothing downloaded."""
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForImageTextToText

    usual = CONFIG_MAPPING[model.kind]()
    parts = {"text_config": {"model_type": usual.get_text_config().model_type, **model.text}}
    if model.vision:
        parts["vision_config"] = {"model_type": usual.vision_config.model_type, **model.vision}
    config = CONFIG_MAPPING[model.kind](**parts, tie_word_embeddings=False)
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config)


@dataclass(frozen=True)
class Cost:
    """What a sweep needs, estimated.

    Attributes
    ----------
    weights : float
        Gigabytes of 16-bit weights.
    cache : float
        Gigabytes of keys and values per prompt, with the generated tokens.
    prefill : float
        Operations of the decoder for one prompt without a plan, in units of 1e12.
    ratio : float
        Mean of the plans' operations over those of no plan.
    hours : float
        For all plans on all items.
    """

    weights: float
    cache: float
    prefill: float
    ratio: float
    hours: float


def estimate(
    model: PublishedModel,
    plans: Sequence[SkipPlan],
    *,
    generated: int,
    chosen: int,
    new_tokens: int = 16,
    text_tokens: int = 80,
    batch: int = 8,
    operations_per_second: float = 150e12,
    bytes_per_second: float = 1.2e12,
) -> Cost:
    """Estimate memory and hours of a sweep from operation and byte counts; nothing is run.

    Prefill is limited by operations, decoding by reading weights and cache once per step. The vision tower,
    reading pictures and the judge are left out.

    Parameters
    ----------
    plans : sequence of SkipPlan
        Besides the unskipped model, which is added.
    generated, chosen : int
        Items answered by generation, and by one forward pass.
    new_tokens : int
        Mean length of a generated answer.
    text_tokens : int
        Mean length of a prompt without its image.
    operations_per_second, bytes_per_second : float
        Sustained by the accelerator, not its data sheet.
    """
    body = skeleton(model)
    # The paths to layers and norm are the same in all five.
    family = Family(model.kind)
    counts = {"vision": model.vision_tokens, "text": text_tokens}
    total = [operations(body, plan=plan, family=family, **counts).total for plan in (SkipPlan(), *plans)]
    weights = 2.0 * sum(p.numel() for p in body.parameters())
    shape = model.text
    width = 2 * shape["num_key_value_heads"] * shape["hidden_size"] // shape["num_attention_heads"]
    cache = 2.0 * width * model.depth * (model.vision_tokens + text_tokens + new_tokens)
    prefill = (generated + chosen) * sum(total) / operations_per_second
    steps = generated / batch * new_tokens * len(total)
    decode = steps * (weights + batch * cache) / bytes_per_second
    return Cost(
        weights / 1e9,
        cache / 1e9,
        total[0] / 1e12,
        sum(total[1:]) / (len(total) - 1) / total[0],
        (prefill + decode) / 3600,
    )
