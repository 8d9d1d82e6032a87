"""Wrappers that other libraries put around a model: the model itself is inside."""

from __future__ import annotations

from typing import Any

from torch import nn


def unwrapped(model: Any) -> Any:
    """The model inside adapters (PEFT), parallel wrappers (DDP, DataParallel, FSDP) and compiled modules.

    Raises
    ------
    NotImplementedError
        DataParallel over several devices, which copies the model in every call, without what a context put on it.
    """
    while isinstance(model, nn.Module):
        inner = _inside(model)
        if inner is None or inner is model:
            break
        if len(getattr(model, "device_ids", None) or ()) > 1 and isinstance(model, nn.DataParallel):
            raise NotImplementedError(
                f"model: DataParallel over {len(model.device_ids)} devices copies the model in every call, and plans "
                "and measurements are not copied; use DistributedDataParallel, or one process per device"
            )
        model = inner
    return model


def _inside(model: nn.Module) -> Any:
    base = getattr(model, "get_base_model", None)
    if callable(base) and hasattr(model, "peft_config"):
        return base()
    for name in ("_orig_mod", "module", "_fsdp_wrapped_module"):
        inner = model._modules.get(name)
        # A wrapper has one child, the model.
        if inner is not None and len(model._modules) == 1:
            return inner
    # Any other module around one model: a Sequential, a module of one's own.
    inside = list(model._modules.values())
    own = len(inside) == 1 and not hasattr(model, "dtype") and hasattr(inside[0], "config")
    return inside[0] if own else None
