"""A progress bar with the time left and the best plan so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vlm.planner.frontier import Scored
from vlm.progress_bar import SECONDS, place

if TYPE_CHECKING:
    from tqdm import tqdm


class Progress:
    """One bar per stage, on the terminal only.

    How far a search goes is decided by what it finds, so without a budget each of its rounds has a bar of its own: its
    total is the most that this round can take, and becomes smaller when plans are dropped.

    Parameters
    ----------
    shown : bool
        Whether there is a bar at all.
    """

    def __init__(self, shown: bool) -> None:
        self.shown = shown
        self._bar: tqdm[None] | None = None
        self._rounds = False
        self._clock: Callable[[], float] | None = None
        self._best = ""

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *raised: object) -> None:
        self._close()

    def stage(self, name: str, total: float | None, unit: str = "question") -> None:
        """Begin a stage of `total` steps; None if their number is not known."""
        self._close()
        self._rounds, self._clock, self._best = False, None, ""
        self._open(name, total, unit)

    def advance(self, count: int = 1) -> None:
        """Count steps."""
        if self._bar is not None:
            self._bar.update(count if self._clock is None else self._clock() - self._bar.n)

    def search(self, forwards: int | None, minutes: float | None, clock: Callable[[], float]) -> None:
        """Begin the search: until its budget of question-forwards or minutes is spent, or round by round.

        `clock` says how many seconds it has taken.
        """
        if forwards is not None:
            self.stage("search, at most", forwards)
        elif minutes is not None:
            self.stage("search, at most", 60 * minutes, "s")
            self._clock = clock
        else:
            self.stage("search", None)
            self._rounds = True

    def round(self, name: str, forwards: int) -> None:
        """Begin a round of the search, which takes at most so many question-forwards more, or go on with it."""
        if self._bar is None:
            return
        if not self._rounds:
            self._bar.set_description(f"search, at most: {name}", refresh=False)
        elif self._bar.desc.startswith(f"{name}, at most"):
            self._bar.total = self._bar.n + forwards
        else:
            self._close()
            self._open(f"{name}, at most", forwards, "question")
        if self._best and self._bar is not None:
            self._bar.set_postfix_str(self._best, refresh=False)

    def best(self, plans: Sequence[Scored], max_loss: float) -> None:
        """Show the cheapest plan within the promise so far."""
        best = [s for s in plans if s.loss <= max_loss]
        self._best = f"best {best[-1].cost:.3f} at {best[-1].loss:.3g}" if best else ""
        if self._bar is not None:
            self._bar.set_postfix_str(self._best, refresh=False)

    def certified(self, yes: bool, cost: float, done: int) -> None:
        """Show the verdict on a candidate; `done` steps of the stage are over, however many it took."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"{'certified' if yes else 'not certified'}: {cost:.3f}", refresh=False)
            self._bar.update(done - self._bar.n)

    def _open(self, name: str, total: float | None, unit: str) -> None:
        if self.shown:
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=name, unit=unit, delay=SECONDS, disable=None, leave=False, **place())

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
