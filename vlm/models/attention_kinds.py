"""Which attention implementations of transformers the engine works with, and their functions."""

from __future__ import annotations

import sys
from typing import Any

from torch import nn
from transformers import AttentionInterface

from vlm.models.families import Anatomy
from vlm.models.layer_parts import find_attention
from vlm.models.transformers_internals import with_attention_implementation
from vlm.models.types import Forward


def is_flash(implementation: str) -> bool:
    """Whether this names a flash attention of transformers, whose masks are (batch, keys) or None."""
    return "flash" in implementation


def attention_function(parts: Anatomy, implementation: str) -> Forward:
    """The function that the decoder's layers call under an attention implementation."""
    check_implementation(implementation)
    attentions = [module for layer in parts.layers if (module := find_attention(layer)) is not None]
    home = sys.modules[type(attentions[0]).__module__] if attentions else None
    default = getattr(home, "eager_attention_forward", None)
    function = AttentionInterface().get_interface(implementation, default)
    if function is None:
        raise NotImplementedError(f"attention implementation {implementation!r}: found no function of that name")
    return _called_by_name(function, implementation) if is_flash(implementation) else function


def check_implementation(implementation: str) -> None:
    """Refuse attention implementations whose masks are of another kind."""
    if implementation.startswith("paged"):
        raise NotImplementedError(
            f"attention implementation {implementation!r}: continuous batching is running on this model, which neither "
            "plans nor measurements support; stop its manager, or use generate on padded batches"
        )
    if implementation not in ("eager", "sdpa") and not is_flash(implementation):
        raise NotImplementedError(
            f"attention implementation {implementation!r} is not supported; load the model with "
            "attn_implementation='sdpa', 'eager' or 'flash_attention_2'"
        )


def _called_by_name(function: Forward, name: str) -> Forward:
    """Transformers' flash function looks up its kernel by the name in the module's configuration: show it `name`."""

    def attend(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return function(with_attention_implementation(module, name), *args, **kwargs)

    return attend
