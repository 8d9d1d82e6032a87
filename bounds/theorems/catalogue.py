"""All theorem objects in the order of the paper, and how to find one by name, label or equation."""

from __future__ import annotations

import difflib
from types import ModuleType

from bounds.framework.theorem import AnyTheorem, Theorem
from bounds.theorems import (
    composition_distances,
    composition_information,
    composition_pipeline,
    divergence_data_processing,
    lemma_1_triangle,
    lemma_2_chord,
    lemma_3_squared_sum,
    lemma_4_target_entropy,
    lemma_5_unique_information,
    plan_damage,
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
    theorem_2_sharp,
    theorem_2_squared,
    theorem_3_fano,
    theorem_4_braun_pokutta,
    theorem_5_accuracy,
    theorem_5_informational,
    theorem_5_targets,
    theorem_5_unique_information,
    theorem_6_decoding,
    theorem_6_sharp,
)

CHAPTERS = (
    lemma_1_triangle,
    lemma_2_chord,
    lemma_3_squared_sum,
    lemma_4_target_entropy,
    lemma_5_unique_information,
    proposition_1_proximal_geometric,
    theorem_1_variance,
    theorem_1_geometric,
    theorem_1_frozen_head,
    theorem_2_fitted_predictors,
    theorem_2_sharp,
    theorem_2_squared,
    theorem_3_fano,
    theorem_4_braun_pokutta,
    theorem_5_informational,
    theorem_5_targets,
    theorem_5_accuracy,
    theorem_5_unique_information,
    divergence_data_processing,
    theorem_6_decoding,
    theorem_6_sharp,
    composition_distances,
    composition_information,
    composition_pipeline,
    stability,
    skipping_attention,
    skipping_attention_heads,
    skipping_softmax,
    skipping_propagation,
    plan_damage,
)


def stated_in(module: ModuleType) -> list[AnyTheorem]:
    """The theorem objects that a module defines, in its order."""
    objects = [value for value in vars(module).values() if isinstance(value, Theorem)]
    return [t for t in objects if t.function.__module__ == module.__name__]


THEOREMS: tuple[AnyTheorem, ...] = tuple(t for chapter in CHAPTERS for t in stated_in(chapter))


def find(query: str) -> tuple[AnyTheorem, ...]:
    """Theorems by name, label or equation.

    Parameters
    ----------
    query : str
        A part of a name such as "fano"; a label such as "Theorem 4", which finds all of its forms; or an equation
        such as "(8.8)", with its parentheses. Case does not matter.

    Returns
    -------
    tuple of Theorem
        The matches in the order of `THEOREMS`, at least one.

    Raises
    ------
    TypeError
        If `query` is not a string.
    ValueError
        If nothing matches; the message names the nearest labels, equations and names.

    See Also
    --------
    THEOREMS : All theorems.
    verify : Search for counterexamples.

    References
    ----------
    Hartman et al. (2025), *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models*,
    arXiv:2509.25584; The theory pages (docs/explanation/theory).

    Examples
    --------
    >>> import bounds
    >>> [t.name for t in bounds.find("Lemma 3")]
    ['squared_sum', 'squared_sum_gap']
    >>> bounds.find("(7.7)")
    (<Theorem 5 (one-hot) (7.7): bounds.brier_from_information(information, entropy, classes)>,)
    >>> len(bounds.find("Theorem 4")), len(bounds.find("fano"))
    (7, 8)
    """
    if not isinstance(query, str):
        raise TypeError(f"query: expected a name, label or equation as a string, got {type(query).__name__}")
    text = " ".join(query.casefold().split())
    matches = tuple(t for t in THEOREMS if text and _matches(t, text))
    if not matches:
        words = {word.casefold(): word for t in THEOREMS for word in (t.label, t.equation, t.name)}
        near = [words[w] for w in difflib.get_close_matches(text, words, n=3, cutoff=0.5)]
        remedy = f"did you mean {' or '.join(map(repr, near))}?" if near else "see `python -m bounds list`"
        raise ValueError(f"query: expected part of a name, a label or an equation, got {query!r}; {remedy}")
    return matches


def _matches(theorem: AnyTheorem, text: str) -> bool:
    label, equation = theorem.label.casefold(), theorem.equation.casefold()
    # A number ends where it ends: "theorem 1" is not the beginning of "theorem 10".
    of_label = label.startswith(text) and not label[len(text) :][:1].isalnum()
    number = text if text.startswith("(") else f"({text})"
    of_equation = number in equation or (text.startswith(("section", "corollary")) and text in equation)
    return of_label or of_equation or text.replace(" ", "_") in theorem.name
