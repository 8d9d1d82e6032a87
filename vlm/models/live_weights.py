"""Which weights a loaded model holds, told apart by a sample of each tensor."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from vlm.models.types import Model

# Entries read of each tensor; a training run changes nearly all of them.
_READ = 64


@torch.no_grad()
def weights_digest(model: Model) -> str:
    """Hash of the names, shapes and types of a model's parameters and buffers and of 64 entries of each.

    Parameters
    ----------
    model : Model
        On any devices; quantized weights are read as they are stored.

    Returns
    -------
    str
        Twelve hexadecimal digits. A change of a few entries may not show.

    Examples
    --------
    >>> import vlm
    >>> from vlm.models.live_weights import weights_digest
    >>> weights_digest(vlm.load("tiny")[0])
    '6a8e1b8bb5ab'
    """
    digest = hashlib.sha256()
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        digest.update(f"{name}\0{tuple(tensor.shape)}\0{tensor.dtype}\0".encode())
        digest.update(_sampled(tensor).contiguous().view(torch.uint8).cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


def _sampled(tensor: Tensor) -> Tensor:
    """Up to 64 evenly spaced entries, as a vector."""
    flat = tensor.reshape(-1)
    if flat.numel() <= _READ:
        return flat
    return flat[torch.arange(_READ, device=flat.device) * (flat.numel() // _READ)]
