"""What the layers of one forward call share under a plan, so that each quantity is computed once per call."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from vlm.engine.active_tokens import Roles
from vlm.engine.flash_layout import Layout

T = TypeVar("T")


class Entry(NamedTuple, Generic[T]):
    """A cached value together with the objects it was computed from.

    Attributes
    ----------
    value : T
        The cached value.
    sources : tuple
        The objects whose ``id`` is part of the entry's key. Python may give the id of a deleted object to a new one;
        holding the sources here keeps them alive as long as the entry, so an id in a key always means the same object.
    """

    value: T
    sources: tuple[object, ...]


@dataclass(eq=False, repr=False)
class PlanState:
    """Caches of one forward call under a plan; dropped with the call.

    The keys of `moved`, `keys`, `masks`, `rotary`, `layouts`, `whole_layouts` and `orders` contain object ids; their
    entries hold those objects.

    Attributes
    ----------
    roles : dict
        Who runs, is frozen or is seen, by what the plan does in a layer.
    moved : dict
        Roles on other devices than the call's.
    keys : dict
        Logical positions of a layer's keys, and whether any of them is filler.
    masks : dict
        Attention masks on the remaining rows and columns.
    rotary : dict
        Position ids and rotary tables of the remaining rows.
    layouts, whole_layouts : dict
        Layouts for flash attention, of shortened layers and of the others.
    orders : dict
        How frozen and running tokens interleave.
    pruned : dict
        By layer: the image tokens (batch, tokens) that a pruning at this layer keeps.
    ranked, left : dict
        The same for a choice by the layer's own attention, and for one after it, before the feed-forward.
    ordinals : Tensor or None
        Number of each image token (batch, tokens) among the image tokens of its sample.
    keys_only : bool
        True while an attention module runs only to produce keys and values, so that no queries are needed.
    """

    roles: dict[Hashable, Roles] = field(default_factory=dict)
    moved: dict[tuple[int, torch.device], Entry[Roles]] = field(default_factory=dict)
    keys: dict[tuple[int, int, int], Entry[tuple[Tensor, bool]]] = field(default_factory=dict)
    masks: dict[tuple[int, int, int], Entry[Tensor]] = field(default_factory=dict)
    rotary: dict[tuple[int, int], Entry[Tensor]] = field(default_factory=dict)
    layouts: dict[tuple[int, int, int], Entry[Layout]] = field(default_factory=dict)
    whole_layouts: dict[tuple[int, int, int], Entry[Layout]] = field(default_factory=dict)
    orders: dict[int, Entry[Tensor]] = field(default_factory=dict)
    pruned: dict[int, Tensor] = field(default_factory=dict)
    ranked: dict[int, Tensor] = field(default_factory=dict)
    left: dict[int, Tensor] = field(default_factory=dict)
    ordinals: Tensor | None = None
    keys_only: bool = False
