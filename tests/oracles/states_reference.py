"""Slow twin of recorded states: states by plain hooks, rows by loops over tokens, samples in Python integers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vlm.models.families import anatomy
from vlm.models.random_models import IMAGE

_ALONG = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")


def collected(model: Any, batch: dict[str, Tensor]) -> list[Tensor]:
    """What enters each decoder layer, and what leaves the last one."""
    found: list[Tensor] = []
    layers = anatomy(model).layers

    def before(module: Any, args: Any, kwargs: Any) -> None:
        found.append((args[0] if args else kwargs["hidden_states"]).clone())

    def after(module: Any, args: Any, out: Any) -> None:
        found.append((out[0] if isinstance(out, tuple) else out).clone())

    handles = [layer.register_forward_pre_hook(before, with_kwargs=True) for layer in layers]
    handles.append(layers[-1].register_forward_hook(after))
    with torch.no_grad():
        model(**batch)
    for handle in handles:
        handle.remove()
    assert len(found) == len(layers) + 1
    return found


def right_padded(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """A left-padded batch with its padding on the right."""
    padding = (batch["attention_mask"] == 0).sum(dim=1).tolist()
    out = dict(batch)
    for name in _ALONG:
        if name in batch:
            out[name] = torch.stack([row.roll(-n) for row, n in zip(batch[name], padding, strict=True)])
    return out


def hashed(item: str, modality: str, token: int) -> int:
    """SplitMix64 of a token's ordinal, seeded by the item, as unsigned numbers."""
    word = (1 << 64) - 1
    seed = int.from_bytes(hashlib.sha256(f"{modality}\0{item}".encode()).digest()[:8], "little")
    z = (seed + (token + 1) * 0x9E3779B97F4A7C15) & word
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & word
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & word
    return (z ^ (z >> 31)) >> 1


def reference_rows(
    states: Sequence[Tensor], batch: dict[str, Tensor], items: Sequence[str], views: Sequence[str]
) -> dict[tuple[str, int], Any]:
    """(view, layer) -> rows, and (view, -1) -> [(prompt, token, block), ...]."""
    out: dict[tuple[str, int], Any] = {}
    for view in views:
        kind = view.partition("(")[0].rpartition("-")[2]
        modality = view.split("-")[0]
        rows: list[tuple[int, int, int]] = []
        where: list[tuple[int, list[int]]] = []
        for prompt, item in enumerate(items):
            tokens = _tokens(batch, prompt)
            mine = [t for t in tokens if modality in ("last", t[1])]
            if kind == "last":
                mine = tokens[-1:]
            elif kind == "sample":
                size = int(view.partition("(")[2][:-1])
                mine = sorted(sorted(mine, key=lambda t: hashed(item, modality, t[2]))[:size])
            if kind == "mean":
                if mine:
                    rows.append((prompt, len(mine), -1))
                    where.append((prompt, [t[0] for t in mine]))
            else:
                rows += [(prompt, t[2], t[3]) for t in mine]
                where += [(prompt, [t[0]]) for t in mine]
        out[view, -1] = rows
        for layer, state in enumerate(states):
            wide = state.to(torch.float64).numpy()
            out[view, layer] = np.array([wide[prompt, places].mean(axis=0) for prompt, places in where])
    return out


def _tokens(batch: dict[str, Tensor], prompt: int) -> list[tuple[int, str, int, int]]:
    """(place, modality, ordinal, block) of each token that is not padding."""
    found, counts, blocks, previous = [], {"vision": 0, "text": 0}, 0, "text"
    for place, token in enumerate(batch["input_ids"][prompt].tolist()):
        if not batch["attention_mask"][prompt, place]:
            continue
        modality = "vision" if token == IMAGE else "text"
        if modality == "vision" and previous == "text":
            blocks += 1
        found.append((place, modality, counts[modality], blocks - (modality == "vision")))
        counts[modality] += 1
        previous = modality
    return found
