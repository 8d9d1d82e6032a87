"""A copy of a model that shares its weights."""

from __future__ import annotations

import copy
from itertools import chain

from vlm.models.types import Model


def copy_with_shared_weights(model: Model) -> Model:
    """A model with modules and configuration of its own, and the weights and buffers of `model`."""
    shared = {id(tensor): tensor for tensor in chain(model.parameters(), model.buffers())}
    return copy.deepcopy(model, shared)
