"""Which attention of transformers the engine works with, and its function."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from torch import nn
from transformers import AttentionInterface

from vlm.models.families import Anatomy


def is_flash(implementation: str) -> bool:
    """Whether transformers means some flash attention by this name: its masks are (batch, keys) or none."""
    return "flash" in implementation


def attention_module(layer: nn.Module) -> nn.Module:
    """The part of a decoder layer that attends."""
    module = getattr(layer, "self_attn", None)
    if not isinstance(module, nn.Module):
        raise TypeError(f"{type(layer).__name__}: expected an attention module .self_attn, found none")
    return module


def attention_function(parts: Anatomy, implementation: str) -> Callable[..., Any]:
    """The function by which the decoder's layers attend under this name."""
    check_attention(implementation)
    home = sys.modules[type(attention_module(parts.layers[0])).__module__]
    default = getattr(home, "eager_attention_forward", None)
    function = AttentionInterface().get_interface(implementation, default)
    if function is None:
        raise NotImplementedError(f"attention implementation {implementation!r}: found no function of that name")
    return _under_its_name(function, implementation) if is_flash(implementation) else function


def check_attention(implementation: str) -> None:
    """Refuse attention whose masks are of another kind."""
    if implementation not in ("eager", "sdpa") and not is_flash(implementation):
        raise NotImplementedError(
            f"attention implementation {implementation!r} is not supported; load the model with "
            "attn_implementation='sdpa', 'eager' or 'flash_attention_2'"
        )


def _under_its_name(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Transformers' flash function, which looks its kernel up by the name in the module's configuration."""

    def attend(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        config = _Seen(module.config, _attn_implementation=name)
        return function(_Seen(module, config=config), *args, **kwargs)

    return attend


class _Seen:
    """An object as it is, but for some attributes."""

    def __init__(self, original: Any, **instead: Any) -> None:
        self._original = original
        self.__dict__.update(instead)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)
