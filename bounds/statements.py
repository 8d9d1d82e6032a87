"""All statements, in the order of docs/theory."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from bounds import (
    accuracy,
    attention_heads,
    attention_mass,
    chord,
    decoding,
    distance_fano,
    empirical_functional,
    empirical_squared,
    frozen_network,
    geometric_functional,
    information_along_layers,
    information_diffusion,
    informational_functional,
    informational_targets,
    law_stability,
    layer_chain,
    proximal_functional,
    proximal_geometric,
    skip_propagation,
    softmax_change,
    target_entropy,
    triangle,
    unique_information,
    variance_functional,
)
from bounds.theorem import Theorem


def stated_in(module: ModuleType) -> list[Theorem[Any, Any]]:
    """The theorem objects that a module defines, in its order."""
    found = [value for value in vars(module).values() if isinstance(value, Theorem)]
    return [t for t in found if t.function.__module__ == module.__name__]


_CHAPTERS = (
    triangle,
    chord,
    target_entropy,
    unique_information,
    proximal_geometric,
    variance_functional,
    geometric_functional,
    frozen_network,
    empirical_functional,
    empirical_squared,
    distance_fano,
    information_diffusion,
    informational_functional,
    informational_targets,
    accuracy,
    decoding,
    proximal_functional,
    layer_chain,
    information_along_layers,
    law_stability,
    attention_mass,
    attention_heads,
    softmax_change,
    skip_propagation,
)

THEOREMS: tuple[Theorem[Any, Any], ...] = tuple(t for chapter in _CHAPTERS for t in stated_in(chapter))
