"""Check every statement on random worlds, by adversarial search and on its tight example."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

import numpy as np

from bounds.framework.theorem import TOLERANCE, Theorem
from bounds.theorems.catalogue import THEOREMS
from bounds.verification.search import random_worst, search_worst

Progress = Callable[[int, int], None]
CHUNK = 500  # random worlds per task


@dataclass(frozen=True)
class Verdict:
    """What became of one statement: smaller side / larger side, at most 1 if it is true.

    Attributes
    ----------
    name, label : str
        The theorem.
    instances : int
        Random worlds checked.
    random : float
        Worst ratio on random worlds.
    search : float or None
        Worst ratio found by the optimisers; None if they were not run.
    tight : float or None
        Ratio on the tight example; None if the statement has none.
    """

    name: str
    label: str
    instances: int
    random: float
    search: float | None
    tight: float | None

    @property
    def worst(self) -> float:
        """Largest of the ratios."""
        return max(self.random, self.search or 0.0, self.tight or 0.0)

    @property
    def holds(self) -> bool:
        """Whether nothing exceeds 1 + 1e-7."""
        return self.worst <= 1.0 + TOLERANCE


def verify(
    theorems: Sequence[Theorem[Any, Any]] = THEOREMS,
    *,
    instances: int = 2000,
    effort: float = 1.0,
    seed: int = 0,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> list[Verdict]:
    """Hunt for counterexamples of every given statement; reproducible for a seed, whatever `jobs`.

    Parameters
    ----------
    theorems : sequence of Theorem
        Members of `bounds.THEOREMS`.
    instances : int
        Random worlds per statement.
    effort : float
        Scales the optimisers' evaluations; 0 leaves the search out.
    seed : int
        Of all random draws.
    jobs : int, optional
        Processes; by default one per core.
    progress : callable(done, total), optional

    Returns
    -------
    list of Verdict
        In the order of `theorems`.

    Raises
    ------
    ValueError
        If instances < 1 or effort < 0.
    """
    if instances < 1:
        raise ValueError(f"instances: expected at least 1, got {instances}")
    if effort < 0:
        raise ValueError(f"effort: expected a number >= 0, got {effort}")
    tasks: list[tuple[Any, ...]] = []
    if effort > 0:
        tasks += [("search", t.name, seed, int(effort * t.family.effort)) for t in theorems]
    for names in _by_family(theorems):
        for chunk, start in enumerate(range(0, instances, CHUNK)):
            tasks.append(("random", names, seed, chunk, min(CHUNK, instances - start)))
    counts = dict.fromkeys((t.name for t in theorems), 0)
    random, search = dict.fromkeys(counts, 0.0), dict.fromkeys(counts, 0.0)
    for done, (task, result) in enumerate(_results(tasks, jobs), start=1):
        if task[0] == "search":
            search[task[1]] = result
        else:
            for name, (count, worst) in zip(task[1], result, strict=True):
                counts[name] += count
                random[name] = max(random[name], worst)
        if progress is not None:
            progress(done, len(tasks))
    return [
        Verdict(
            t.name,
            t.label,
            counts[t.name],
            random[t.name],
            search[t.name] if effort > 0 else None,
            None if t.tight is None else t.check(t.tight()).ratio,
        )
        for t in theorems
    ]


def _by_family(theorems: Sequence[Theorem[Any, Any]]) -> list[tuple[str, ...]]:
    groups: dict[str, list[str]] = {}
    for t in theorems:
        groups.setdefault(t.family.name, []).append(t.name)
    return [tuple(names) for names in groups.values()]


def _results(tasks: list[tuple[Any, ...]], jobs: int | None) -> Any:
    workers = min(jobs or os.cpu_count() or 1, len(tasks))
    if workers == 1:
        for task in tasks:
            yield task, _run(task)
        return
    with ProcessPoolExecutor(workers) as pool:
        waiting = {pool.submit(_run, task): task for task in tasks}
        for future in as_completed(waiting):
            yield waiting[future], future.result()


def _run(task: tuple[Any, ...]) -> Any:
    named = {t.name: t for t in THEOREMS}
    if task[0] == "search":
        _, name, seed, evaluations = task
        return search_worst(named[name], evaluations, np.random.default_rng([seed, 1, *name.encode()]))
    _, names, seed, chunk, instances = task
    theorems = [named[name] for name in names]
    # Seeded by the family, so that a statement meets the same worlds whichever others are checked.
    key = theorems[0].family.name.encode()
    return random_worst(theorems, instances, np.random.default_rng([seed, 0, chunk, *key]))


def bar(done: int, total: int) -> None:
    """A progress bar on standard error, when that is a terminal."""
    if sys.stderr.isatty():
        filled = 40 * done // total
        end = "\n" if done == total else ""
        print(f"\r[{'#' * filled}{'.' * (40 - filled)}] {done}/{total}", end=end, file=sys.stderr, flush=True)
