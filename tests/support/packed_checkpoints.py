"""Tiny checkpoints packed into four bits as GPTQ and AWQ do, by rounding to nearest, beside what they unpack to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save_file
from torch import Tensor

import vlm

GROUP = 32
# Kernels of AWQ unpack the eight numbers of a word in this order.
_AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
_PLAIN = ["model.vision_tower", "model.multi_modal_projector", "lm_head"]


def save_packed(folder: Path, kind: Literal["gptq", "awq"]) -> None:
    """Write a random model whose decoder layers are packed to `folder`, and the same unpacked to `folder`/plain."""
    loaded, processor = vlm.load("tiny")
    config = loaded.config
    config.text_config.intermediate_size = 128  # a whole number of groups
    torch.manual_seed(0)
    model = type(loaded)(config).eval()
    maps = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and "language_model.layers" in name
    }
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    for name, module in maps.items():
        numbers, zeros, scales = _rounded(3 * module.weight.data, symmetric=kind == "gptq")
        spread = [part.repeat_interleave(GROUP, dim=0) for part in (zeros, scales.float())]
        module.weight.data = ((numbers - spread[0]) * spread[1]).T.contiguous()
        del weights[f"{name}.weight"]
        weights[f"{name}.scales"] = scales
        if kind == "awq":
            weights[f"{name}.qweight"], weights[f"{name}.qzeros"] = (_packed(x, _AWQ_ORDER) for x in (numbers, zeros))
        else:
            weights[f"{name}.qweight"] = _packed(numbers.T, range(8)).T
            weights[f"{name}.qzeros"] = _packed(zeros - 1, range(8))
            weights[f"{name}.g_idx"] = (torch.arange(len(numbers)) // GROUP).int()
    for place in (folder, folder / "plain"):
        model.save_pretrained(place)
        processor.save_pretrained(place)
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    settings = dict(quant_method=kind, bits=4, group_size=GROUP, desc_act=False)
    settings |= (
        dict(zero_point=True, version="gemm", modules_to_not_convert=_PLAIN)
        if kind == "awq"
        else dict(sym=True, checkpoint_format="gptq")
    )
    written = json.loads((folder / "config.json").read_text()) | {"quantization_config": settings}
    (folder / "config.json").write_text(json.dumps(written))


def _rounded(weight: Tensor, *, symmetric: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Numbers 0..15 (in, out) and, by group of inputs, the number that stands for zero and the scale."""
    groups = weight.T.reshape(-1, GROUP, len(weight))
    low, high = groups.amin(dim=1).clamp(max=0), groups.amax(dim=1).clamp(min=0)
    scales = groups.abs().amax(dim=1) / 7 if symmetric else (high - low) / 15
    scales = scales.clamp(min=1e-6).half()
    zeros = torch.full_like(low, 8) if symmetric else (-low / scales.float()).round().clamp(0, 15)
    numbers = (groups / scales.float().unsqueeze(1) + zeros.unsqueeze(1)).round().clamp(0, 15)
    return numbers.flatten(0, 1).int(), zeros.int(), scales


def _packed(numbers: Tensor, order: tuple[int, ...] | range) -> Tensor:
    """Eight numbers of four bits along the last axis in one word."""
    parts = (numbers.long() & 15).unflatten(-1, (-1, 8))
    words = sum(parts[..., source] << (4 * place) for place, source in enumerate(order))
    return torch.where(words >= 2**31, words - 2**32, words).int()
