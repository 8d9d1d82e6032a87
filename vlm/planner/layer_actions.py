"""What a layer can do under a plan, as single steps from one plan to another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Literal, get_args

from vlm.plans.plan import LayerPlan, SkipPlan
from vlm.plans.ranges import Intervals, merged, without

Action = Literal["run", "freeze", "remove", "drop-attention", "drop-mlp", "drop"]
ACTIONS: tuple[Action, ...] = get_args(Action)
# Actions that can be taken one after the other in the same layer, each saving more than the one before.
STRONGER: dict[Action, tuple[Action, ...]] = {
    "run": ("freeze", "remove", "drop-attention", "drop-mlp", "drop"),
    "freeze": ("remove", "drop"),
    "remove": ("drop",),
    "drop-attention": ("drop",),
    "drop-mlp": ("drop",),
    "drop": (),
}


def checked_actions(actions: Iterable[str]) -> tuple[Action, ...]:
    """The actions, in the order of ACTIONS; "run" is always among them.

    Raises
    ------
    ValueError
        An unknown action, or none but "run".
    """
    given = set(actions)
    unknown = given - set(ACTIONS)
    if unknown or not given - {"run"}:
        got = ", ".join(sorted(unknown or given)) or "none"
        raise ValueError(f"actions: expected some of {', '.join(ACTIONS[1:])}, got {got}")
    return tuple(action for action in ACTIONS if action in given | {"run"})


def action_of(step: LayerPlan) -> Action | None:
    """Which action a layer's part of a plan is; None if it is a mixture of several."""
    if not step.text:
        return "drop"
    if not step.attention:
        return "drop-attention" if step.mlp and step.vision == "run" else None
    if not step.mlp:
        return "drop-mlp" if step.vision == "run" else None
    return {"run": "run", "frozen": "freeze", "skipped": "remove"}[step.vision]  # type: ignore[return-value]


@lru_cache(maxsize=20_000)
def actions_of(plan: SkipPlan, depth: int) -> tuple[Action | None, ...]:
    """The action of each layer."""
    return tuple(action_of(step) for step in plan.steps(depth))


def plan_from_actions(actions: Sequence[Action], *, pruned: tuple[tuple[int, float], ...] = ()) -> SkipPlan:
    """The plan with one action per layer."""

    def where(*names: Action) -> Intervals:
        return merged((layer, layer + 1) for layer, action in enumerate(actions) if action in names)

    return SkipPlan(
        vision=where("remove", "drop"),
        text=where("drop"),
        frozen=where("freeze"),
        attention=where("drop-attention"),
        mlp=where("drop-mlp"),
        pruned=pruned,
    )


def with_action(plan: SkipPlan, start: int, stop: int, action: Action, depth: int) -> SkipPlan | None:
    """The plan with another action in layers start..stop-1; None where the result is no plan.

    Pruning ranks image tokens in the layer before, so some actions are impossible there.
    """
    resolved = plan.resolved(depth)
    here: Intervals = ((start, stop),)
    parts = {name: without(getattr(resolved, name), here) for name in ("vision", "text", "frozen", "attention", "mlp")}
    added = {
        "run": (),
        "freeze": ("frozen",),
        "remove": ("vision",),
        "drop-attention": ("attention",),
        "drop-mlp": ("mlp",),
        "drop": ("vision", "text"),
    }[action]
    for name in added:
        parts[name] = merged(parts[name] + here)
    try:
        return SkipPlan(**{**vars(resolved), **parts}).resolved(depth)
    except ValueError:
        return None


def with_pruning(plan: SkipPlan, layer: int, fraction: float, depth: int) -> SkipPlan | None:
    """The plan with a further pruning; None where it has no effect or the layer before cannot rank."""
    try:
        new = (plan | SkipPlan.prune(layer, fraction)).resolved(depth)
    except ValueError:
        return None
    return None if new == plan.resolved(depth) else new


def within(plan: SkipPlan, actions: Sequence[Action], fractions: Sequence[float], depth: int) -> bool:
    """Whether a plan uses only these actions; prunings only if any fraction is allowed, keeps and merges never."""
    resolved = plan.resolved(depth)
    if resolved.kept or resolved.ranked or resolved.leaving or resolved.merges or (resolved.pruned and not fractions):
        return False
    return all(action in actions for action in actions_of(resolved, depth))


def single_steps(
    plan: SkipPlan, actions: Sequence[Action], fractions: Sequence[float], depth: int
) -> Iterator[tuple[SkipPlan, tuple[int, int, str]]]:
    """Every plan that skips more in one layer, or prunes at one layer, with (start, stop, what is done)."""
    for layer, now in enumerate(actions_of(plan, depth)):
        if now is None:
            continue
        for action in STRONGER[now]:
            if action in actions and (new := with_action(plan, layer, layer + 1, action, depth)) is not None:
                yield new, (layer, layer + 1, action)
    for layer in range(1, depth):
        for fraction in fractions:
            if (new := with_pruning(plan, layer, fraction, depth)) is not None:
                yield new, (layer, depth, f"prune {fraction:g}")


def neighbours(plan: SkipPlan, actions: Sequence[Action], fractions: Sequence[float], depth: int) -> Iterator[SkipPlan]:
    """Plans that differ in one layer, exchange the actions of two layers, or move an end of a window by one layer."""
    now = actions_of(plan, depth)
    for layer in range(depth):
        for action in actions:
            if action != now[layer] and (new := with_action(plan, layer, layer + 1, action, depth)) is not None:
                yield new
    for a in range(depth):
        for b in range(a + 1, depth):
            one, other = now[a], now[b]
            if one == other or one is None or other is None:
                continue
            half = with_action(plan, a, a + 1, other, depth)
            new = None if half is None else with_action(half, b, b + 1, one, depth)
            if new is not None:
                yield new
    for layer, fraction in plan.pruned:
        rest = tuple(p for p in plan.pruned if p != (layer, fraction))
        without_it = SkipPlan(**{**vars(plan), "pruned": rest})
        yield without_it
        for moved in (layer - 1, layer + 1):
            if 1 <= moved < depth and (new := with_pruning(without_it, moved, fraction, depth)) is not None:
                yield new
    for new, (_, _, what) in single_steps(plan, ("run",), fractions, depth):
        if what.startswith("prune"):
            yield new
