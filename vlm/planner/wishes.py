"""What is said of a wished saving: that no plan can reach it, or whether the certified plan does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vlm.planner.cost_objective import CostModel, Seconds
from vlm.planner.layer_actions import Action


def say_wish(costs: CostModel, actions: Sequence[Action], wish: float | None, tell: Callable[[str], None]) -> None:
    """Say before the search that a wish cannot be met by any plan, or that decoding dominates."""
    if costs.objective == "time":
        full = costs.full_seconds()
        decoding = 1.0 - full.prefill / full.total(costs.answer_length)
        tell(
            f"time of an answer of {costs.answer_length:.3g} tokens: prefill {full.prefill:.3g} s, "
            f"decoding {decoding:.0%} of the total"
        )
    if wish is None:
        return
    cheapest = costs.cheapest(actions)
    if 1.0 - cheapest < wish:
        tell(
            f"at least {wish:.0%} less {costs.objective} cannot be met: even the cheapest plan of these actions saves "
            f"only {1.0 - cheapest:.0%}"
            + (
                ", since the rest is decoding and image encoding; a shorter answer or a faster decoder helps more"
                if costs.objective == "time"
                else ""
            )
        )


def wish_outcome(wish: float, cost: float, objective: str, seconds: Sequence[Seconds]) -> str:
    met = 1.0 - cost >= wish
    measured = ""
    if seconds:
        measured = (
            f" (measured: prefill {seconds[0].prefill:.3g} to {seconds[1].prefill:.3g} s, a further token "
            f"{seconds[0].token:.3g} to {seconds[1].token:.3g} s)"
        )
    return (
        f"the wish of {wish:.0%} less {objective} is {'met' if met else 'NOT met'}: the certified plan saves "
        f"{1.0 - cost:.1%}{measured}"
    )
