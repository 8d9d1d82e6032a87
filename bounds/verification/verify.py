"""Check every statement on random worlds, by adversarial search and on its tight example."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from bounds.framework.theorem import TOLERANCE, AnyTheorem
from bounds.theorems.catalogue import THEOREMS
from bounds.verification.search import random_worst, search_worst
from redundancy.display import Displayed

Progress = Callable[[int, int], None]
CHUNK = 500  # random worlds per task


@dataclass(frozen=True, repr=False)
class Verdict(Displayed):
    """Result of the search for a counterexample to one statement.

    Ratios are smaller side / larger side: at most 1 if the statement is true, and 1 where it is attained.

    Attributes
    ----------
    name, label : str
        The theorem.
    instances : int
        Random worlds checked.
    random : float
        Largest ratio on random worlds.
    search : float or None
        Largest ratio that the optimisers reached; None if they were not run.
    tight : float or None
        Ratio on the tight example; None if the statement has none.

    See Also
    --------
    verify : Computes verdicts.

    Examples
    --------
    >>> import bounds
    >>> (verdict,) = bounds.verify(bounds.find("Lemma 2 (any norms)"), instances=5, effort=0, jobs=1)
    >>> verdict.name, verdict.instances, verdict.holds
    ('squared_distance_from_norms', 5, True)
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
        """Whether no ratio exceeds 1 + 1e-7."""
        return self.worst <= 1.0 + TOLERANCE


class SearchTask(NamedTuple):
    """An adversarial search for one theorem."""

    name: str
    seed: int
    evaluations: int


class RandomTask(NamedTuple):
    """Random worlds of one family, for all theorems about it."""

    names: tuple[str, ...]
    seed: int
    chunk: int
    instances: int


Task: TypeAlias = SearchTask | RandomTask
Ratios: TypeAlias = list[tuple[int, float]]  # number of worlds checked and largest ratio, of each name of a task


def verify(
    theorems: Sequence[AnyTheorem] = THEOREMS,
    *,
    instances: int = 2000,
    effort: float = 1.0,
    seed: int = 0,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> list[Verdict]:
    """Search for counterexamples to theorems; reproducible for a seed, whatever `jobs`.

    Parameters
    ----------
    theorems : sequence of Theorem
        Members of `bounds.THEOREMS`, for instance from `bounds.find`; by default all of them.
    instances : int
        Random worlds per statement.
    effort : float
        Scales the optimisers' evaluations; 0 leaves the search out.
    seed : int
        Seed of all random draws.
    jobs : int, optional
        Processes; by default one per core.
    progress : callable(done, total), optional
        Called after every task.

    Returns
    -------
    list of Verdict
        In the order of `theorems`.

    Raises
    ------
    ValueError
        If instances < 1, effort < 0 or jobs < 1.

    See Also
    --------
    find : Theorems by name, label or equation.

    Notes
    -----
    A statement without a counterexample is not thereby proved; the proofs are in docs/explanation/theory.

    References
    ----------
    Theory, section 14 (docs/explanation/theory).

    Examples
    --------
    >>> import bounds
    >>> verdicts = bounds.verify(bounds.find("Lemma 1"), instances=20, effort=0, jobs=1)
    >>> [(v.name, v.instances, v.holds) for v in verdicts]
    [('squared_triangle', 20, True), ('squared_path', 20, True)]
    """
    if instances < 1:
        raise ValueError(f"instances: expected at least 1, got {instances}")
    if effort < 0:
        raise ValueError(f"effort: expected a number >= 0, got {effort}")
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs: expected at least 1, got {jobs}; leave it out for one process per core")
    tasks: list[Task] = []
    if effort > 0:
        tasks += [SearchTask(t.name, seed, int(effort * t.family.effort)) for t in theorems]
    for names in _by_family(theorems):
        for chunk, start in enumerate(range(0, instances, CHUNK)):
            tasks.append(RandomTask(names, seed, chunk, min(CHUNK, instances - start)))
    counts = dict.fromkeys((t.name for t in theorems), 0)
    random, search = dict.fromkeys(counts, 0.0), dict.fromkeys(counts, 0.0)
    for done, (task, ratios) in enumerate(_results(tasks, jobs), start=1):
        if isinstance(task, SearchTask):
            ((_, search[task.name]),) = ratios
        else:
            for name, (count, worst) in zip(task.names, ratios, strict=True):
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


def _by_family(theorems: Sequence[AnyTheorem]) -> list[tuple[str, ...]]:
    groups: dict[str, list[str]] = {}
    for t in theorems:
        groups.setdefault(t.family.name, []).append(t.name)
    return [tuple(names) for names in groups.values()]


def _results(tasks: list[Task], jobs: int | None) -> Iterator[tuple[Task, Ratios]]:
    workers = min(jobs or os.cpu_count() or 1, len(tasks))
    if workers <= 1:
        for task in tasks:
            yield task, _run(task)
        return
    with ProcessPoolExecutor(workers) as pool:
        waiting = {pool.submit(_run, task): task for task in tasks}
        for future in as_completed(waiting):
            yield waiting[future], future.result()


def _run(task: Task) -> Ratios:
    by_name = {t.name: t for t in THEOREMS}
    if isinstance(task, SearchTask):
        rng = np.random.default_rng([task.seed, 1, *task.name.encode()])
        return [(task.evaluations, search_worst(by_name[task.name], task.evaluations, rng))]
    theorems = [by_name[name] for name in task.names]
    # Seeded by the family, so that a statement meets the same worlds whichever others are checked.
    key = theorems[0].family.name.encode()
    return random_worst(theorems, task.instances, np.random.default_rng([task.seed, 0, task.chunk, *key]))
