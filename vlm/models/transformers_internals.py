"""Every private attribute of transformers that this package uses, in one place.

Seen in transformers 5.17 to 5.24. Each function says which attribute it relies on; when a later version renames one,
this is the only file to change.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from types import FrameType
from typing import Any, Literal
from unittest.mock import patch

from vlm.models.types import Forward


def recomputing() -> bool:
    """Whether autograd runs backward in this thread: a forward in it repeats an earlier one (activation checkpointing).

    `torch._C._current_graph_task_id`; torch offers no public way.
    """
    import torch

    return bool(torch._C._current_graph_task_id() >= 0)


def checkpointed(layer: Any) -> Literal["no", "forward", "call"]:
    """Whether a layer drops its activations and recomputes them in backward, and what it repeats then.

    Its forward, as from transformers 5.19 or so on, or its call, with hooks and a replaced forward, as before.
    """
    if not (layer.training and getattr(layer, "gradient_checkpointing", False)):
        return "no"
    return "forward" if "__call__" not in vars(_checkpointing_layer()) else "call"


def _checkpointing_layer() -> Any:
    from transformers.modeling_layers import GradientCheckpointingLayer

    return GradientCheckpointingLayer


def reentrant(layer: Any) -> bool:
    """Whether a checkpointed layer uses the older, reentrant checkpoint (`_gradient_checkpointing_func`)."""
    function = getattr(layer, "_gradient_checkpointing_func", None)
    return bool(getattr(function, "keywords", {}).get("use_reentrant", True))


@contextmanager
def read_again(layer: Any) -> Iterator[None]:
    """Let a checkpointed layer keep a cache that it may read again in backward (`_can_checkpoint_with_cache`)."""
    if checkpointed(layer) == "no":
        yield
        return
    layer.__dict__["_can_checkpoint_with_cache"] = True
    try:
        yield
    finally:
        layer.__dict__.pop("_can_checkpoint_with_cache", None)


def attention_implementation(config: Any) -> str | None:
    """Name of the attention function that a model with this configuration uses (`config._attn_implementation`)."""
    name: str | None = config._attn_implementation
    return name


def set_attention_implementation(config: Any, name: str | None) -> None:
    """Make a model attend by the function of this name, without transformers' check that it is available."""
    config._attn_implementation = name


def with_attention_implementation(module: Any, name: str) -> Any:
    """A view of an attention module whose configuration names another attention implementation."""
    return _Overridden(module, config=_Overridden(module.config, _attn_implementation=name))


def batches_continuously(model: Any) -> bool:
    """Whether a manager of continuous batching runs on this model, in a thread of its own (`Thread._target`)."""
    owners: list[Any] = [
        getattr(getattr(thread, "_target", None), "__self__", None) for thread in threading.enumerate()
    ]
    return any(type(owner).__name__ == "ContinuousBatchingManager" and owner.model is model for owner in owners)


def candidates_behind(model: Any) -> int:
    """How many candidates assisted generation has put behind the prompt of the model's call that is under way.

    Read from the frame of `_assisted_decoding` that calls (its variable `candidate_length`).
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name, own = frame.f_code.co_name, frame.f_locals.get("self") is model
        if own and name == "_assisted_decoding":
            return int(frame.f_locals["candidate_length"])
        if own and name == "generate":
            return 0
        frame = frame.f_back
    return 0


def attend_by_name(modules: Iterable[Any], name: str) -> Iterator[tuple[Any, str, Any]]:
    """Show all modules below these a configuration that names another attention implementation.

    Masks are made from the model's own configuration, so they stay of its kind. Yields what
    :func:`attend_as_before` undoes: module, attribute and configuration.
    """
    for module in chain.from_iterable(whole.modules() for whole in modules):
        for attribute, value in list(vars(module).items()):
            if hasattr(value, "_attn_implementation"):
                vars(module)[attribute] = _Overridden(value, _attn_implementation=name)
                yield module, attribute, value


def attend_as_before(shown: Iterable[tuple[Any, str, Any]]) -> None:
    """Undo :func:`attend_by_name`."""
    for module, attribute, value in shown:
        vars(module)[attribute] = value


def register_attention(name: str, function: Forward) -> None:
    """Register an attention function."""
    from transformers import AttentionInterface

    AttentionInterface.register(name, function)


def unregister_attention(name: str) -> None:
    """Undo :func:`register_attention` (`_global_mapping`; transformers offers no public way)."""
    from transformers import AttentionInterface

    AttentionInterface._global_mapping.pop(name, None)


def registered_attention() -> frozenset[str]:
    """Names of all registered attention functions (`_global_mapping`)."""
    from transformers import AttentionInterface

    return frozenset(AttentionInterface._global_mapping)


def is_image_text_model(config: Any) -> bool:
    """Whether AutoModelForImageTextToText knows a model class for this configuration (`_model_mapping`)."""
    from transformers import AutoModelForImageTextToText

    return type(config) in AutoModelForImageTextToText._model_mapping


def commit_of(config: Any) -> str | None:
    """Hub commit that a configuration was read from, None for a local folder (`config._commit_hash`)."""
    return getattr(config, "_commit_hash", None) or None


def model_from_config(model_class: Any, config: Any, attention: str) -> Any:
    """A model of random weights (`PreTrainedModel._from_config`, which unlike the constructor takes `attention`)."""
    return model_class._from_config(config, attn_implementation=attention)


@contextmanager
def flash_kernel_replaced(name: str, function: Forward, varlen_function: Forward) -> Iterator[None]:
    """Let transformers' flash path call these functions in place of the package flash-attn.

    Replaces the module variables of `transformers.modeling_flash_attention_utils` that hold the loaded kernel.
    """
    import transformers.modeling_flash_attention_utils as utils

    loaded = {
        "_loaded_implementation": name,
        "_flash_fn": function,
        "_flash_varlen_fn": varlen_function,
        "_pad_fn": utils._pad_input,
        "_unpad_fn": utils._unpad_input,
        "_process_flash_kwargs_fn": utils._lazy_define_process_function(varlen_function),
    }
    with patch.multiple(utils, **loaded):
        yield


class _Overridden:
    """Proxy that overrides selected attributes of an object."""

    def __init__(self, original: Any, **instead: Any) -> None:
        self._original = original
        self.__dict__.update(instead)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)
