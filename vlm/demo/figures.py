"""The demo's figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm.planner.plan_page import plot_frontier
from vlm.reports.plots import plot_attention, plot_redundancy, plot_sweep, save_figures

if TYPE_CHECKING:
    from vlm.demo.loop import Outcome


def demo_figures(outcome: Outcome, folder: Path) -> list[Path]:
    """The demo's figures as PNG files; that of the result comes first."""
    decision, report = outcome.decision, outcome.report
    drawings: dict[str, Callable[[Any], None]] = {
        "plan_frontier": lambda ax: plot_frontier(ax, outcome.best),
        "redundancy": lambda ax: plot_redundancy(ax, outcome.record, t=decision.settings["t"]),
        "attention": lambda ax: plot_attention(ax, outcome.attention, limit=decision.settings["attention_limit"]),
        "sweep": lambda ax: plot_sweep(
            ax,
            outcome.sweep,
            chance=report["accuracy_chance"],
            marked=(decision.late_entry, decision.early_exit),
            depth=outcome.record.depth,
        ),
    }
    return save_figures(drawings, folder)
