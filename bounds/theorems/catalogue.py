"""All statements, in the order of docs/theory."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from bounds.framework.theorem import Theorem
from bounds.theorems import (
    composition_distances,
    composition_information,
    lemma_1_triangle,
    lemma_2_chord,
    lemma_4_target_entropy,
    lemma_5_unique_information,
    proposition_1_proximal_geometric,
    skipping_attention,
    skipping_attention_heads,
    skipping_propagation,
    skipping_softmax,
    stability,
    theorem_1_frozen_head,
    theorem_1_geometric,
    theorem_1_variance,
    theorem_2_fitted_predictors,
    theorem_2_squared,
    theorem_3_fano,
    theorem_4_braun_pokutta,
    theorem_5_accuracy,
    theorem_5_from_fano,
    theorem_5_informational,
    theorem_5_targets,
    theorem_6_decoding,
)


def stated_in(module: ModuleType) -> list[Theorem[Any, Any]]:
    """The theorem objects that a module defines, in its order."""
    found = [value for value in vars(module).values() if isinstance(value, Theorem)]
    return [t for t in found if t.function.__module__ == module.__name__]


_CHAPTERS = (
    lemma_1_triangle,
    lemma_2_chord,
    lemma_4_target_entropy,
    lemma_5_unique_information,
    proposition_1_proximal_geometric,
    theorem_1_variance,
    theorem_1_geometric,
    theorem_1_frozen_head,
    theorem_2_fitted_predictors,
    theorem_2_squared,
    theorem_3_fano,
    theorem_4_braun_pokutta,
    theorem_5_informational,
    theorem_5_targets,
    theorem_5_accuracy,
    theorem_6_decoding,
    theorem_5_from_fano,
    composition_distances,
    composition_information,
    stability,
    skipping_attention,
    skipping_attention_heads,
    skipping_softmax,
    skipping_propagation,
)

THEOREMS: tuple[Theorem[Any, Any], ...] = tuple(t for chapter in _CHAPTERS for t in stated_in(chapter))
