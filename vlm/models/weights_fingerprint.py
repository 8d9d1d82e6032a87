"""Fingerprint of the weights that a loaded model holds, wherever they came from."""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from vlm.models.types import Model

# Numbers read of each parameter, evenly spaced.
_READ = 256


def weights_fingerprint(model: Model) -> str:
    """Sixteen hexadecimal digits that tell a loaded model from others: names, shapes and some numbers of its weights.

    Parameters
    ----------
    model : Model
        On any device. Reads 256 evenly spaced numbers of each parameter: another training run changes them, a change
        of a few weights may not. The type of the numbers has no influence beyond their rounding.

    Raises
    ------
    ValueError
        Weights that are not in memory (offloaded).

    Examples
    --------
    >>> import vlm
    >>> from vlm.models.weights_fingerprint import weights_fingerprint
    >>> model, _ = vlm.load("tiny")
    >>> weights_fingerprint(model) == weights_fingerprint(vlm.load("tiny-scaled")[0])
    False
    """
    digest = hashlib.sha256(str(model.config.model_type).encode())
    picked: list[torch.Tensor] = []
    for name, weight in sorted(model.named_parameters(), key=lambda pair: pair[0]):
        if weight.device.type == "meta":
            raise ValueError(
                f"weights: expected all of them in memory, got {name} offloaded; load the model on one device, or with "
                "a device_map that keeps its weights in memory"
            )
        digest.update(f"{name}\0{tuple(weight.shape)}\0".encode())
        flat = weight.detach().reshape(-1)
        count = min(_READ, flat.numel())
        places = torch.tensor([k * flat.numel() // count for k in range(count)], dtype=torch.long, device=flat.device)
        picked.append(flat[places].to(torch.float32))
    for values in picked:
        digest.update(np.ascontiguousarray(values.cpu().numpy()).tobytes())
    return digest.hexdigest()[:16]
