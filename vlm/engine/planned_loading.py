"""`vlm.load`: a model and its processor, under a plan from the start if one is given."""

from __future__ import annotations

from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redundancy.optional_imports import optional_import
from vlm.models.loading import (
    ATTENTION,
    EMBEDDED,
    QUANTIZATION,
    Attention,
    Quantization,
    check_config,
    check_device,
    check_device_map,
    load_processor,
    model_source,
    quantised,
    quiet,
)

if TYPE_CHECKING:
    import torch

    from vlm.models.types import Model, Processor
    from vlm.plans.plan_file import Plan


def load(
    name_or_path: str | Path = "tiny",
    *,
    plan: Plan | None = None,
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
    plan : SkipPlan, str, Path or PlanFile, optional
        Put the model under a plan that stays, as `vlm.apply` does: a plan, its text form, or a plan file that
        `vlm.optimize` wrote for these weights.
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
        ``name_or_path`` is written as a path, and no such folder exists; no such plan file.
    ValueError
        The checkpoint is not a vision-language model, it has no processor for images, ``attention`` or ``quantization``
        is unknown, both ``device`` and ``device_map`` are given, or the plan file was made for other weights.
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
    if plan is not None:
        from vlm.plans.plan_file import readable

        plan = readable(plan)  # a file that cannot be read is refused before the model is loaded
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    source = model_source(name_or_path)
    embedded = source in EMBEDDED.values()
    if embedded:
        dtype = torch.float32 if dtype is None else dtype
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "revision": revision or "main"}
    options["local_files_only"] = isinstance(source, Path)

    check_config(AutoConfig.from_pretrained(source, **options), name_or_path, trust_remote_code)
    processor = load_processor(source, name_or_path, options)
    try:
        with quiet() if embedded else nullcontext():
            model = AutoModelForImageTextToText.from_pretrained(
                source,
                dtype="auto" if dtype is None else dtype,
                attn_implementation=attention,
                device_map=device_map,
                **quantised(quantization, dtype),
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
    model = model.eval()
    if plan is not None:
        from vlm.engine.applied_plan import apply

        apply(model, plan)
    return model, processor
