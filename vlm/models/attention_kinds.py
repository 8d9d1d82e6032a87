"""Which attention implementations of transformers the engine works with, and their functions."""

from __future__ import annotations

import sys
from typing import Any

from torch import nn
from transformers import AttentionInterface

from vlm.models.families import Anatomy
from vlm.models.transformers_internals import with_attention_implementation
from vlm.models.types import Forward


def is_flash(implementation: str) -> bool:
    """Whether this names a flash attention of transformers, whose masks are (batch, keys) or None."""
    return "flash" in implementation


def attention_module(layer: nn.Module) -> nn.Module:
    """The attention module of a decoder layer."""
    module = getattr(layer, "self_attn", None)
    if not isinstance(module, nn.Module):
        raise TypeError(f"{type(layer).__name__}: expected an attention module .self_attn, found none")
    return module


def attention_function(parts: Anatomy, implementation: str) -> Forward:
    """The function that the decoder's layers call under an attention implementation."""
    check_implementation(implementation)
    home = sys.modules[type(attention_module(parts.layers[0])).__module__]
    default = getattr(home, "eager_attention_forward", None)
    function = AttentionInterface().get_interface(implementation, default)
    if function is None:
        raise NotImplementedError(f"attention implementation {implementation!r}: found no function of that name")
    return _called_by_name(function, implementation) if is_flash(implementation) else function


def check_implementation(implementation: str) -> None:
    """Refuse attention implementations whose masks are of another kind."""
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
