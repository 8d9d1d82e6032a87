"""The matrix of a linear module, whatever holds its weights: adapters, quantisation, offloading."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vlm.models.precision import wide


@torch.no_grad()
def matrix_of(linear: Any, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(out, in) matrix of a linear map in float64: its own if it holds one, else its output on the identity.

    Parameters
    ----------
    linear : nn.Module
        With `in_features`; its bias is left out.
    dtype, device
        Of the states that the module is given when the model runs.
    """
    if type(linear) is nn.Linear and type(linear.weight) is nn.Parameter and linear.weight.device.type != "meta":
        return wide(linear.weight.detach())
    inputs = torch.eye(linear.in_features, dtype=dtype, device=device)
    # Adapters may drop entries at random in training.
    training = {module: module.training for module in linear.modules()}
    linear.eval()
    try:
        out = wide(linear(inputs))
        out -= wide(linear(torch.zeros_like(inputs[:1])))
    finally:
        for module, was in training.items():
            module.training = was
    return out.T.contiguous()
