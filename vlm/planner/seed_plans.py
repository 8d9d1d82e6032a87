"""Plans that a search starts from: windows, entries and exits, the theory's plan and those of every named method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from redundancy.display import Displayed
from vlm import selectors
from vlm.decisions.conditions import decide
from vlm.measure.damage_record import Damage
from vlm.models.families import anatomy
from vlm.models.types import Model
from vlm.planner.layer_actions import Action, within
from vlm.plans.plan import SkipPlan
from vlm.progress_bar import by_count
from vlm.selectors import Ranking

# Budgets of each ranking, as shares of its units.
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
# A model of at most this many layers has all its windows as seeds; deeper ones windows of 1, 2, 4, ... layers.
ALL_WINDOWS = 12


@dataclass(frozen=True, repr=False)
class Seed(Displayed):
    """A plan and where it comes from.

    Attributes
    ----------
    plan : SkipPlan
    method : str
        "late entry", "early exit", "window", "theory", or a named method.
    """

    plan: SkipPlan
    method: str


def shape_seeds(depth: int, actions: Sequence[Action], fractions: Sequence[float]) -> Iterator[Seed]:
    """Late entries, early exits, both, freezing before an exit, windows of every action, and FastV's prunings."""
    if "remove" in actions:
        for k in range(1, depth + 1):
            yield Seed(SkipPlan.late_entry(k), "late entry")
        for k in range(depth):
            yield Seed(SkipPlan.early_exit(k).resolved(depth), "early exit")
        for enter in range(1, depth // 2 + 1):
            for leave in range(max(enter + 1, depth // 2), depth):
                if depth <= ALL_WINDOWS or (enter % 4 == 0 and leave % 4 == 0):
                    plan = SkipPlan.late_entry(enter) | SkipPlan.early_exit(leave)
                    yield Seed(plan.resolved(depth), "entry and exit")
    if "remove" in actions and "freeze" in actions:
        step = 1 if depth <= ALL_WINDOWS else max(1, depth // 8)
        for freeze in range(0, depth - 1, step):
            for leave in range(freeze + step, depth, step):
                yield Seed(
                    (SkipPlan.freeze(freeze, leave) | SkipPlan.early_exit(leave)).resolved(depth), "frozen, then out"
                )
    for start, stop in windows(depth):
        if "freeze" in actions:
            yield Seed(SkipPlan.freeze(start, stop), "window frozen")
        if "remove" in actions:
            yield Seed(SkipPlan.skip("vision", start, stop), "window removed")
        if "drop" in actions and stop - start <= depth // 2:
            yield Seed(SkipPlan.drop(range(start, stop)), "window dropped")
    for fraction in fractions:
        for layer in range(1, depth):
            if depth <= ALL_WINDOWS or layer % 2 == 0:
                yield Seed(SkipPlan.prune(layer, fraction), "FastV")


def windows(depth: int) -> Iterator[tuple[int, int]]:
    """Ranges of layers."""
    for length in range(1, depth + 1):
        if depth <= ALL_WINDOWS or length & (length - 1) == 0:
            step = 1 if depth <= ALL_WINDOWS else max(1, length // 2)
            for start in range(0, depth - length + 1, step):
                yield start, start + length


def method_seeds(
    model: Model,
    batches: Sequence[Mapping[str, Tensor]],
    *,
    groups: Sequence[int],
    progress: bool = False,
) -> Iterator[Seed]:
    """The theory's plan, and the plans of the named methods at several budgets, from one pass over some prompts.

    Parameters
    ----------
    model : Model
    batches : sequence of mapping
        Inputs of the model.
    groups : sequence of int
        Image of each prompt.
    progress : bool
        Show a bar with the time left.
    """
    with torch.no_grad(), selectors.observing(model) as seen:
        for batch in batches:
            model(**batch, use_cache=False, logits_to_keep=1)
    depth = anatomy(model).depth
    looked_at = by_count(batches, len(batches), "named methods", shown=progress)
    frozen = selectors.prediction_divergence(model, looked_at, selectors.contribution_plans(depth))
    decision = decide(seen.probe, seen.attention, groups=groups)
    yield Seed(decision.plan, "theory")
    rankings: list[Ranking] = [
        selectors.redundancy(seen.probe),
        selectors.redundancy(seen.probe, last_free=True),
        selectors.redundancy(seen.probe, freeze=False),
        selectors.small_attention(seen.attention),
        selectors.block_influence(seen.similarity),
        selectors.angular_distance(seen.similarity),
        selectors.sublayer_similarity(seen.similarity, "attention"),
        selectors.sublayer_similarity(seen.similarity, "mlp"),
        selectors.adaskip(seen.similarity),
        selectors.attention_map_rank(seen.ranks),
        selectors.late_insertion(depth),
        selectors.layer_contribution(frozen),
    ]
    for ranking in rankings:
        for number in sorted({ranking.usual, *(round(share * ranking.units) for share in SHARES)}):
            if 0 < number <= ranking.units:
                yield Seed(ranking.plan(number), ranking.method)


def prior_of(damage: Damage) -> dict[tuple[int, str], float]:
    """The prior that a measured or predicted damage gives: half the variance, which is KL to second order, in nats.

    Notes
    -----
    By theory (16.2), KL is between multiples of the variance that tend to one half as the shift tends to 0.
    """
    names = {"attention": "drop-attention", "mlp": "drop-mlp"}
    half = 0.5 * (damage.per_prompt() ** 2).mean(axis=0)
    return {
        (layer, names.get(action, action)): float(half[row, layer])
        for row, action in enumerate(damage.actions)
        for layer in range(damage.depth)
    }


def allowed(
    seeds: Iterator[Seed], actions: Sequence[Action], fractions: Sequence[float], depth: int
) -> dict[SkipPlan, str]:
    """The seeds that the actions allow, by plan; the first method that names a plan is kept."""
    out: dict[SkipPlan, str] = {}
    for seed in seeds:
        plan = seed.plan.resolved(depth)
        if plan and within(plan, actions, fractions, depth):
            out.setdefault(plan, seed.method)
    return out
