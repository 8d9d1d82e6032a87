"""Image tokens that become weighted sums of image tokens before a layer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vlm.engine.forward_call import Call
from vlm.engine.hooks import Engine
from vlm.engine.kv_cache import cache_in
from vlm.engine.layer_forward import partial_cache
from vlm.engine.token_roles import ordinals
from vlm.models.layer_parts import device_of
from vlm.models.types import Forward
from vlm.plans.text_form import Terms

# Of one plan before one layer: ordinal of a token -> what it becomes.
Sums = Mapping[int, Terms]


def merged_first(engine: Engine, index: int, sums: Sequence[Sums], keeper: int | None, following: Forward) -> Forward:
    """The forward of a layer whose image tokens are merged before it runs.

    Parameters
    ----------
    engine : Engine
    index : int
        The layer.
    sums : sequence of Sums
        One per plan of the rows.
    keeper : int or None
        Cache slot of the first shortened layer that attends, where numbers of image tokens are kept.
    following : function
        The layer's forward under the rest of the plan.
    """
    layer = engine.parts.layers[index]
    names = list(inspect.signature(type(layer).forward).parameters)[2:]

    def forward(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        call = engine.current()
        kwargs |= dict(zip(names, args, strict=False))
        if not call.decoding and call.images and bool(call.vision.any()):
            cache = cache_in(kwargs)
            if keeper is not None:
                partial_cache(cache, keeper)
            states = hidden_states.to(device_of(layer) or hidden_states.device)
            hidden_states = merged_states(call, states, ordinals(call, cache), sums)
        return following(hidden_states, **kwargs)

    return forward


def merged_states(call: Call, states: Tensor, numbers: Tensor, sums: Sequence[Sums]) -> Tensor:
    """States (batch, tokens, width) with the named image tokens replaced by sums, all of the states given.

    Parameters
    ----------
    call : Call
    states : Tensor (batch, tokens, width)
    numbers : int (batch, tokens)
        Number of each image token in its sample.
    sums : sequence of Sums
        One per plan; rows take them in turn, each for as many rows as there are times as many rows as plans.

    Raises
    ------
    ValueError
        A sum joins tokens of this call with some of an earlier call on the cache.
    """
    each = len(states) // len(sums)
    rows: list[int] = []
    targets: list[int] = []
    values: list[Tensor] = []
    for row, shown in enumerate(call.vision.cpu()):
        own = sums[row // each]
        places = torch.nonzero(shown)[:, 0].tolist()
        if not own or not places:
            continue
        first = int(numbers[row, places[0]])
        place = dict(enumerate(places, first))
        wanted: list[tuple[int, list[int], list[float]]] = []
        for token, terms in own.items():
            named = {token, *(other for other, _ in terms)}
            if min(named) < first and not named.isdisjoint(place):
                raise ValueError(
                    f"skipping: merge: image token {token} is joined with tokens of an earlier call on this cache, "
                    f"whose states are gone ({', '.join(map(str, sorted(named)))}; this call begins at {first}); give "
                    "the prompt in one call"
                )
            if token in place:
                found = [(place[other], weight) for other, weight in terms if other in place]
                wanted.append((place[token], [p for p, _ in found], [w for _, w in found]))
        for target, sources, weights in wanted:
            scale = torch.tensor(weights, dtype=torch.float32, device=states.device)
            rows.append(row)
            targets.append(target)
            values.append((scale @ states[row, sources].float()).to(states.dtype))
    if not rows:
        return states
    where = (torch.tensor(rows, device=states.device), torch.tensor(targets, device=states.device))
    return states.index_put(where, torch.stack(values))
