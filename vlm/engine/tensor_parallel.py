"""Tensor parallelism: each process has some heads of the attention, and observers need all of them."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vlm.models.families import Anatomy


def processes_of(parts: Anatomy) -> int:
    """Over how many processes the heads of a model are spread."""
    return int(getattr(parts.model, "tp_size", None) or 1)


def all_heads(
    parts: Anatomy, query: Tensor, key: Tensor, value: Tensor, sinks: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Queries, keys and values (batch, heads, rows, d) and sinks (heads,) of all heads, gathered from all processes.

    Raises
    ------
    NotImplementedError
        The heads are spread in another way than evenly over the processes.
    """
    processes = processes_of(parts)
    heads = int(parts.text_config.num_attention_heads)
    if processes == 1 or query.shape[1] == heads:
        return query, key, value, sinks
    groups = getattr(parts.text_config, "num_key_value_heads", None) or heads
    if query.shape[1] * processes != heads or key.shape[1] * processes != groups:
        raise NotImplementedError(
            f"tensor parallel: expected {heads} heads and {groups} key heads spread evenly over {processes} processes, "
            f"got {query.shape[1]} and {key.shape[1]} on this one; pruning and measuring attention need all heads"
        )
    mesh = getattr(parts.model, "_device_mesh", None)
    group = None if mesh is None else mesh.get_group("tp" if "tp" in (mesh.mesh_dim_names or ()) else 0)
    query, key, value = (_gathered(part, processes, group) for part in (query, key, value))
    if sinks is not None and len(sinks) != heads:
        sinks = _gathered(sinks.view(1, -1), processes, group)[0]
    return query, key, value, sinks


def _gathered(states: Tensor, processes: int, group: Any) -> Tensor:
    states = states.detach().contiguous()
    parts = [torch.empty_like(states) for _ in range(processes)]
    dist.all_gather(parts, states, group=group)
    return torch.cat(parts, dim=1)
