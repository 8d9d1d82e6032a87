"""Parts of `vlm.load`: where a model is, whether it is one for images and text, its processor, its quantisation."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig

    from vlm.models.types import Model, Processor

_WEIGHTS = Path(__file__).resolve().parents[1] / "tiny" / "weights"
EMBEDDED = {
    "tiny": _WEIGHTS / "plain",
    "tiny-plain": _WEIGHTS / "plain",
    "tiny-scaled": _WEIGHTS / "scaled",
    "tiny-priced": _WEIGHTS / "priced",
    "tiny-late": _WEIGHTS / "late",
}

Attention = Literal["sdpa", "eager", "flash_attention_2", "flash_attention_3", "flash_attention_4"]
Quantization = Literal[
    "bitsandbytes-4bit", "bitsandbytes-8bit", "torchao-int8", "torchao-int4", "quanto-int8", "quanto-int4"
]
QUANTIZATION: tuple[Quantization, ...] = get_args(Quantization)
ATTENTION: tuple[Attention, ...] = get_args(Attention)


def skeleton_and_processor(name_or_path: str, revision: str | None = None) -> tuple[Model, Processor]:
    """The model without weights, on the meta device, and its processor: enough to count tokens and operations."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    source = model_source(name_or_path)
    options: dict[str, Any] = {"trust_remote_code": False, "revision": revision or "main"}
    config = AutoConfig.from_pretrained(source, **options)
    check_config(config, name_or_path, False)
    processor = load_processor(source, name_or_path, options)
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config), processor


def check_device(device: str | torch.device | None) -> None:
    """Refuse a device that torch does not know or this machine does not have, in one line."""
    if device is None:
        return
    import torch

    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"device: expected one that this machine has, such as cpu or cuda:0, got {str(device)!r} ({reason})"
        ) from None


def check_device_map(device_map: str | dict[str, Any] | None) -> None:
    """Refuse a word that names neither a way to spread a model nor a device of this machine, in one line."""
    if isinstance(device_map, str) and device_map not in _WAYS:
        try:
            check_device(device_map)
        except ValueError as error:
            raise ValueError(f"device_map: expected one of {', '.join(_WAYS)}, or a {error}") from None


_WAYS = ("auto", "balanced", "balanced_low_0", "sequential")


def quantised(quantization: Quantization | Any | None, dtype: torch.dtype | None) -> dict[str, Any]:
    """The argument of `from_pretrained` for a quantisation."""
    if quantization is None:
        return {}
    if not isinstance(quantization, str):
        return {"quantization_config": quantization}
    package, _, kind = quantization.partition("-")
    module = {"quanto": "optimum.quanto"}.get(package, package)
    if find_spec(module.split(".")[0]) is None or find_spec("accelerate") is None:
        pip = {"quanto": "optimum-quanto"}.get(package, package)
        raise ImportError(f"quantization={quantization!r} needs packages: pip install {pip} accelerate")
    import transformers

    if package == "bitsandbytes":
        four = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"} | (
            {} if dtype is None else {"bnb_4bit_compute_dtype": dtype}
        )
        return {
            "quantization_config": transformers.BitsAndBytesConfig(**four if kind == "4bit" else {"load_in_8bit": True})
        }
    if package == "quanto":
        return {"quantization_config": transformers.QuantoConfig(weights=kind)}
    torchao = import_module("torchao.quantization")

    weights = torchao.Int8WeightOnlyConfig() if kind == "int8" else torchao.Int4WeightOnlyConfig()
    return {"quantization_config": transformers.TorchAoConfig(weights)}


def check_config(config: PretrainedConfig, name_or_path: str | Path, trust_remote_code: bool) -> None:
    """Refuse checkpoints that are not vision-language models."""
    from vlm.models.transformers_internals import is_image_text_model

    remote = getattr(config, "auto_map", None) or {}
    if not is_image_text_model(config) and not (trust_remote_code and "AutoModelForImageTextToText" in remote):
        raise ValueError(
            f"name_or_path: expected a vision-language model (image and text to text), got {str(name_or_path)!r}, "
            f"a checkpoint of type {config.model_type!r}; choose one that transformers' "
            "AutoModelForImageTextToText loads, such as a LLaVA or Qwen2-VL checkpoint"
        )


def load_processor(source: str | Path, name_or_path: str | Path, options: Mapping[str, Any]) -> Processor:
    """The checkpoint's processor of images and text, padding on the left."""
    from transformers import AutoProcessor

    lacking = (
        f"name_or_path: expected a processor for images and text beside {str(name_or_path)!r}, got {{}}; "
        "save the model's own processor into the same folder"
    )
    try:
        processor: Processor = AutoProcessor.from_pretrained(source, **options)
    except OSError as error:  # the configuration was found, so the source exists and can be reached
        raise ValueError(lacking.format("none")) from error
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise ValueError(lacking.format(f"only a {type(processor).__name__}"))
    processor.tokenizer.padding_side = "left"
    return processor


def model_source(name_or_path: str | Path) -> str | Path:
    """The folder of an embedded or local model, or the hub id unchanged."""
    if isinstance(name_or_path, str) and name_or_path in EMBEDDED:
        return EMBEDDED[name_or_path]
    name = str(name_or_path)
    if not name or "\0" in name or len(name) > 1_000:
        raise ValueError(f"name_or_path: expected a folder or a hub id, got {name[:60]!r}")
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    # A hub id is "name" or "owner/name"; anything else must mean a folder.
    if isinstance(name_or_path, Path) or path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise FileNotFoundError(
            f"name_or_path: no folder {name!r}; expected one written by save_pretrained, a hub id 'owner/name', "
            f"or one of {', '.join(EMBEDDED)}"
        )
    return name


class quiet:
    """No progress bar for a model that loads in a moment; restores the caller's setting."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self._was_shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()

    def __exit__(self, *raised: object) -> None:
        from transformers.utils import logging

        if self._was_shown:
            logging.enable_progress_bar()
