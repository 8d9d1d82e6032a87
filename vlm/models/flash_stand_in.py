"""A stand-in for the flash-attn package on the CPU, so that transformers' own flash attention path can run there.

Written from the package's documentation of `flash_attn_func` and `flash_attn_varlen_func`: a plain softmax, causality
aligned at the end (query i of n sees the first k - n + i + 1 of k keys), and zeros for queries that see no key.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from vlm.models.transformers_internals import flash_kernel_replaced

NAME = "flash_attention_2"


def flash_attn_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    deterministic: bool = False,
) -> Tensor:
    """q (batch, queries, heads, d), k and v (batch, keys, key heads, d)."""
    assert not dropout_p
    assert not softcap
    return torch.stack([_one(*row, softmax_scale, causal, window_size) for row in zip(q, k, v, strict=True)])


def flash_attn_varlen_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    deterministic: bool = False,
) -> Tensor:
    """The same for concatenated sequences: q (total queries, heads, d)."""
    assert not dropout_p
    assert not softcap
    assert cu_seqlens_q.dtype == cu_seqlens_k.dtype == torch.int32
    assert len(cu_seqlens_q) == len(cu_seqlens_k)
    assert cu_seqlens_q[-1] == len(q)
    assert cu_seqlens_k[-1] == len(k) == len(v)
    assert int(cu_seqlens_q.diff().max()) <= max_seqlen_q
    assert int(cu_seqlens_k.diff().max()) <= max_seqlen_k
    parts = [
        _one(q[a:b], k[c:d], v[c:d], softmax_scale, causal, window_size)
        for a, b, c, d in zip(cu_seqlens_q, cu_seqlens_q[1:], cu_seqlens_k, cu_seqlens_k[1:], strict=False)
    ]
    return torch.cat(parts)


def _one(q: Tensor, k: Tensor, v: Tensor, scale: float | None, causal: bool, window: tuple[int, int]) -> Tensor:
    queries, keys = len(q), len(k)
    group = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
    scores = torch.einsum("ihd,jhd->hij", q.float(), k.float()) * (scale or q.shape[-1] ** -0.5)
    rows, columns = (torch.arange(size, device=q.device) for size in (queries, keys))
    distance = rows[:, None] + keys - queries - columns
    seen = torch.ones_like(distance, dtype=torch.bool)
    if causal:
        seen &= distance >= 0
    if window[0] >= 0:
        seen &= distance <= window[0]
    if window[1] >= 0:
        seen &= distance >= -window[1]
    weights = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1).masked_fill(~seen, 0.0)
    return torch.einsum("hij,jhd->ihd", weights, v.float()).to(q.dtype)


@contextmanager
def installed() -> Iterator[None]:
    """Inside, transformers calls the stand-in where it would call flash-attn 2."""
    with flash_kernel_replaced(NAME, flash_attn_func, flash_attn_varlen_func):
        yield
