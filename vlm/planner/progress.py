"""A progress bar with the best plan so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vlm.planner.frontier import Scored

if TYPE_CHECKING:
    from tqdm import tqdm


class Progress:
    """One bar per stage, on the terminal only.

    Parameters
    ----------
    shown : bool
        Whether there is a bar at all.
    """

    def __init__(self, shown: bool) -> None:
        self.shown = shown
        self._bar: tqdm[None] | None = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *raised: object) -> None:
        self._close()

    def stage(self, name: str, total: int | None) -> None:
        """Begin a stage of `total` steps; None if their number is not known."""
        self._close()
        if self.shown:
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=name, disable=None)

    def advance(self, count: int = 1) -> None:
        """Count steps."""
        if self._bar is not None:
            self._bar.update(count)

    def search(self, stage: str, forwards: int, plans: Sequence[Scored], max_loss: float) -> None:
        """Show how far the search is and the cheapest plan within the promise so far."""
        if self._bar is not None:
            best = [s for s in plans if s.loss <= max_loss]
            shown = f"best {best[-1].cost:.3f} at {best[-1].loss:.3g}" if best else ""
            self._bar.set_description(f"search: {stage}")
            self._bar.set_postfix_str(shown)
            self._bar.update(forwards - self._bar.n)

    def certified(self, yes: bool, cost: float) -> None:
        """Show the verdict on a candidate."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"{'certified' if yes else 'not certified'}: {cost:.3f}")
            self._bar.update(1)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
