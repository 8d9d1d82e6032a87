"""Load a vision-language model and its processor: an embedded one, from a local folder, or from the hub."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from redundancy.optional_imports import optional_import

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


def load(
    name_or_path: str | Path = "tiny",
    *,
    device: str | torch.device | None = None,
    device_map: str | dict[str, Any] | None = None,
    dtype: torch.dtype | None = None,
    attention: Attention = "sdpa",
    quantization: Quantization | Any | None = None,
    trust_remote_code: bool = False,
    revision: str | None = None,
) -> tuple[Model, Processor]:
    """Load a vision-language model for inference, and its processor.

    Parameters
    ----------
    name_or_path : str or Path
        ``"tiny"`` (default; ``"tiny-plain"`` is the same), ``"tiny-scaled"``, ``"tiny-priced"`` or ``"tiny-late"`` for
        the embedded models, which need no network; a folder written by ``save_pretrained``; or a hub id such as
        ``"llava-hf/llava-1.5-7b-hf"``.
    device : str or torch.device, optional
        Where to put the model; None leaves it on the CPU.
    device_map : str or dict, optional
        Instead of `device`: "auto" spreads the layers of a large model over all visible GPUs; a dictionary gives the
        device of each module, as in transformers. Needs accelerate.
    dtype : torch.dtype, optional
        Floating-point type of the weights. None: float32 for the embedded models, else the checkpoint's own.
    attention : {"sdpa", "eager", "flash_attention_2", "flash_attention_3", "flash_attention_4"}
        Attention implementation of transformers. Flash attention needs a GPU, its own package and a 16-bit dtype.
    quantization : str or transformers quantisation config, optional
        Quantise the weights while loading: "bitsandbytes-4bit", "bitsandbytes-8bit", "torchao-int8", "torchao-int4",
        "quanto-int8" or "quanto-int4", each by the package of its name; or a configuration of transformers. None: a
        checkpoint that is quantised already (GPTQ, AWQ, ...) loads as it is.
    trust_remote_code : bool
        Allow the checkpoint to run its own Python code. Not needed by the embedded models.
    revision : str, optional
        Branch, tag or commit on the hub.

    Returns
    -------
    model, processor
        The model in evaluation mode, and a processor that takes ``images=`` and ``text=`` and pads on the left,
        so that the answer of every row follows its last position.

    Raises
    ------
    ImportError
        torch, transformers or Pillow is missing; accelerate, with ``device_map``; the package of a flash attention or
        of a quantisation.
    FileNotFoundError
        ``name_or_path`` is written as a path, and no such folder exists.
    ValueError
        The checkpoint is not a vision-language model, it has no processor for images, ``attention`` or
        ``quantization`` is unknown, or both ``device`` and ``device_map`` are given.
    OSError
        From transformers: the hub does not know the id, or cannot be reached.

    See Also
    --------
    vlm.skipping : Run the model with some layers skipped.
    vlm.probe, vlm.attention : Measure its layers.

    Examples
    --------
    >>> import vlm
    >>> model, processor = vlm.load("tiny")
    >>> type(model).__name__, len(model.model.language_model.layers)
    ('LlavaForConditionalGeneration', 10)
    """
    if attention not in ATTENTION:
        raise ValueError(f"attention: expected one of {', '.join(ATTENTION)}, got {attention!r}")
    if isinstance(quantization, str) and quantization not in QUANTIZATION:
        raise ValueError(f"quantization: expected one of {', '.join(QUANTIZATION)}, got {quantization!r}")
    if device is not None and device_map is not None:
        raise ValueError(f"device, device_map: expected one of them, got {device!r} and {device_map!r}")
    if device_map is not None and find_spec("accelerate") is None:
        raise ImportError("device_map needs accelerate: pip install accelerate")
    check_device_map(device_map)
    for package in ("torch", "transformers", "PIL"):
        optional_import(package, extra="vlm", purpose="vlm.load")
    check_device(device)
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    source = model_source(name_or_path)
    embedded = source in EMBEDDED.values()
    if embedded:
        dtype = torch.float32 if dtype is None else dtype
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "revision": revision or "main"}
    options["local_files_only"] = isinstance(source, Path)

    _check_config(AutoConfig.from_pretrained(source, **options), name_or_path, trust_remote_code)
    processor = _load_processor(source, name_or_path, options)
    try:
        with _quiet() if embedded else nullcontext():
            model = AutoModelForImageTextToText.from_pretrained(
                source,
                dtype="auto" if dtype is None else dtype,
                attn_implementation=attention,
                device_map=device_map,
                **_quantised(quantization, dtype),
                **options,
            )
    except ImportError as error:
        if "flash" not in attention:
            raise
        raise ImportError(
            f"attention={attention!r} needs a GPU and its own package (flash_attention_2: pip install flash-attn), "
            f"or use attention='sdpa': {error}"
        ) from error
    if device is not None:
        model = model.to(device)
    return model.eval(), processor


def skeleton_and_processor(name_or_path: str, revision: str | None = None) -> tuple[Model, Processor]:
    """The model without weights, on the meta device, and its processor: enough to count tokens and operations."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    source = model_source(name_or_path)
    options: dict[str, Any] = {"trust_remote_code": False, "revision": revision or "main"}
    config = AutoConfig.from_pretrained(source, **options)
    _check_config(config, name_or_path, False)
    processor = _load_processor(source, name_or_path, options)
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


def _quantised(quantization: Quantization | Any | None, dtype: torch.dtype | None) -> dict[str, Any]:
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


def _check_config(config: PretrainedConfig, name_or_path: str | Path, trust_remote_code: bool) -> None:
    """Refuse checkpoints that are not vision-language models."""
    from vlm.models.transformers_internals import is_image_text_model

    remote = getattr(config, "auto_map", None) or {}
    if not is_image_text_model(config) and not (trust_remote_code and "AutoModelForImageTextToText" in remote):
        raise ValueError(
            f"name_or_path: expected a vision-language model (image and text to text), got {str(name_or_path)!r}, "
            f"a checkpoint of type {config.model_type!r}; choose one that transformers' "
            "AutoModelForImageTextToText loads, such as a LLaVA or Qwen2-VL checkpoint"
        )


def _load_processor(source: str | Path, name_or_path: str | Path, options: Mapping[str, Any]) -> Processor:
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


class _quiet:
    """No progress bar for a model that loads in a moment; restores the caller's setting."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self._was_shown = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()

    def __exit__(self, *raised: object) -> None:
        from transformers.utils import logging

        if self._was_shown:
            logging.enable_progress_bar()
