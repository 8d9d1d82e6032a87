"""float64 where a device has it, and on the processor where it has not (MPS, for instance)."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


def has_float64(device: torch.device) -> bool:
    """Whether a device computes in float64."""
    return device.type in ("cpu", "cuda", "meta") or _tried(device.type)


@cache
def _tried(kind: str) -> bool:
    try:
        torch.zeros(1, dtype=torch.float64, device=kind)
    except (TypeError, RuntimeError, AssertionError):
        return False
    return True


def wide(tensor: Tensor) -> Tensor:
    """A tensor in float64, on its own device or else on the processor."""
    return tensor.to(torch.float64) if has_float64(tensor.device) else tensor.to("cpu").to(torch.float64)
