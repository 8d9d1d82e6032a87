"""`vlm.load`: a model and its processor, under a plan from the start if one is given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm.models import loading
from vlm.models.loading import Attention, Quantization

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
        torch, transformers or Pillow is missing; accelerate, with ``device_map``; the package of a flash attention.
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
    if plan is not None:
        from vlm.plans.plan_file import readable

        plan = readable(plan)  # a file that cannot be read is refused before the model is loaded
    model, processor = loading.load(
        name_or_path,
        device=device,
        device_map=device_map,
        dtype=dtype,
        attention=attention,
        quantization=quantization,
        trust_remote_code=trust_remote_code,
        revision=revision,
    )
    if plan is not None:
        from vlm.engine.applied_plan import apply

        apply(model, plan)
    return model, processor
