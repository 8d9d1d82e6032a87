"""The two branches of a decoder layer, each verified by running the layer without them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from vlm.models.layer_parts import attention_module, device_of, feed_forward_candidates
from vlm.models.types import Forward


@dataclass(frozen=True, eq=False)
class Halves:
    """The modules of a layer whose outputs are added to the residual stream, and forwards that add nothing."""

    attention: nn.Module
    feed_forward: tuple[nn.Module, ...]
    no_attention: Forward
    no_feed_forward: Forward

    def without(self, *, attention: bool, feed_forward: bool) -> dict[nn.Module, Forward]:
        """Replacement forwards that drop these branches."""
        out: dict[nn.Module, Forward] = {self.attention: self.no_attention} if attention else {}
        if feed_forward:
            out |= dict.fromkeys(self.feed_forward, self.no_feed_forward)
        return out


def halves(layer: nn.Module, width: int, dtype: torch.dtype) -> Halves:
    """Find the branches of a decoder layer, and check that without both of them the layer changes nothing.

    Norms stay as they are, before, between or after the branches. The check runs the layer on two random states with
    both branches' outputs zero; weights are not touched, and a layer without weights (meta device) is not checked.

    Raises
    ------
    NotImplementedError
        Something besides the two branches changes the states, or the layer cannot run without them.
    """
    attention, candidates = attention_module(layer), feed_forward_candidates(layer)
    if not candidates:
        raise NotImplementedError(
            f"skipping: {type(layer).__name__} has no feed-forward branch, so that half of it cannot be dropped; "
            "drop the whole layer"
        )
    device = device_of(layer)
    trouble = "its weights are nowhere"
    attentions, feed_forwards = (_nothing_and_weights, _nothing_and_two, _zeros), (_zeros, _nothing_and_weights)
    for feed_forward, no_attention, no_feed_forward in product(candidates, attentions, feed_forwards):
        found = Halves(attention, feed_forward, no_attention, no_feed_forward)
        if device is None:
            return found
        states = torch.randn(1, 2, width, generator=torch.Generator().manual_seed(0)).to(device, dtype)
        try:
            with gathered(layer):
                out = _without_branches(layer, found, states.clone())
        except Exception as error:
            trouble = trouble if trouble.startswith("it ") else f"it fails ({type(error).__name__}: {error})"
            continue
        if isinstance(out, Tensor) and out.shape == states.shape and torch.equal(out, states):
            return found
        trouble = "it changes the states even so"
    raise NotImplementedError(
        f"skipping: half of a {type(layer).__name__} cannot be dropped: with the outputs of its "
        f"{type(attention).__name__} and {', '.join(type(m).__name__ for m in candidates[-1])} zero, {trouble}; drop "
        "whole layers (vision:A-B/text:A-B) instead"
    )


@contextmanager
def gathered(layer: nn.Module) -> Iterator[None]:
    """All weights of a layer of which FSDP2 keeps a part on each process; every process opens the same context."""
    gather, spread = getattr(layer, "unshard", None), getattr(layer, "reshard", None)
    if gather is None or spread is None:
        yield
        return
    gather()
    try:
        yield
    finally:
        spread()


@torch.no_grad()
def _without_branches(layer: nn.Module, parts: Halves, states: Tensor) -> Any:
    """Output of a twin of the layer that shares its norms and has zeros in place of both branches."""
    twin = object.__new__(type(layer))  # not the class's own: FSDP2 builds a whole layer there
    twin.__dict__.update({name: value for name, value in vars(layer).items() if name != "forward"})
    zeroed = parts.without(attention=True, feed_forward=True)
    twin.__dict__["_modules"] = {
        name: _Stub(zeroed[child]) if child in zeroed else child for name, child in layer._modules.items()
    }
    twin.__dict__["training"] = False
    parameters = list(inspect.signature(type(layer).forward).parameters.values())[2:]
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    needed = {p.name: None for p in parameters if p.default is p.empty and p.kind not in kinds}
    out = type(layer).forward(twin, states, **needed)
    return out[0] if isinstance(out, tuple) else out


class _Stub(nn.Module):
    """A module with the given forward, and nothing else."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.__dict__["forward"] = function


def _zeros(hidden_states: Tensor, *_: object, **__: object) -> Tensor:
    """A broadcast view of a single zero (no allocation)."""
    return hidden_states.new_zeros(()).expand_as(hidden_states)


def _nothing_and_weights(hidden_states: Tensor, *_: object, **__: object) -> tuple[Tensor, None]:
    """Zeros and no attention weights, or no routing of a mixture of experts."""
    return _zeros(hidden_states), None


def _nothing_and_two(hidden_states: Tensor, *_: object, **__: object) -> tuple[Tensor, None, None]:
    return _zeros(hidden_states), None, None
