"""Simulated miscoverage and width of every interval. Run it: python -m tests.coverage.study [--runs R]."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from bounds import confidence
from tests.coverage.laws import LAWS, Law

ALPHA = 0.1
SIZES = (30, 100, 1000)
# Chance that a study of valid methods raises any alarm at all.
FAMILY_LEVEL = 1e-3


@dataclass(frozen=True)
class Cell:
    """How often one method missed the mean of one law, on each side, in `runs` samples of n units."""

    law: str
    method: str
    n: int
    runs: int
    missed_above: int
    missed_below: int
    width: float


def suspicious(misses: int, runs: int, *, alpha: float, tests: int) -> bool:
    """Whether so many misses have probability below FAMILY_LEVEL / tests where each has at most alpha."""
    return bool(binom.sf(misses - 1, runs, alpha) < FAMILY_LEVEL / tests)


def cell(law: Law, method: str, n: int, runs: int, seed: int) -> Cell:
    """One-sided limits at ALPHA against the law's mean; width of the two-sided 95% interval."""
    rng = np.random.default_rng([seed, n, LAWS.index(law)])
    d = law.draw(rng, (n, runs))
    low = confidence.lower_limit(d, alpha=ALPHA, method=method)
    high = confidence.upper_limit(d, alpha=ALPHA, method=method)
    narrow = d[:, : min(runs, 300)]
    ends = confidence.interval(narrow, alpha=0.05, method=method)
    return Cell(
        law.name,
        method,
        n,
        runs,
        int((high < law.mean).sum()),
        int((low > law.mean).sum()),
        float((ends[1] - ends[0]).mean()),
    )


def study(runs: int, *, sizes: tuple[int, ...] = SIZES, seed: int = 0) -> Iterator[Cell]:
    """Every law, method and sample size that go together."""
    for law in LAWS:
        for method in confidence.METHODS:
            if method == "clopper-pearson" and not law.binary:
                continue
            for n in sizes:
                yield cell(law, method, n, runs, seed)


def alarms(cells: list[Cell]) -> list[Cell]:
    """The cells that miss too often, at the stated family-wise level."""
    tests = 2 * len(cells)
    return [
        c
        for c in cells
        if any(suspicious(k, c.runs, alpha=ALPHA, tests=tests) for k in (c.missed_above, c.missed_below))
    ]


def table(cells: list[Cell], *, value: str) -> str:
    """Markdown: laws down, methods across, one number for each n separated by slashes."""
    methods = list(confidence.METHODS)
    lines = [f"| law | {' | '.join(methods)} |", f"|---|{'---|' * len(methods)}"]
    by_key = {(c.law, c.method, c.n): c for c in cells}
    sizes = sorted({c.n for c in cells})
    for law in LAWS:
        row = []
        for method in methods:
            found = [by_key[law.name, method, n] for n in sizes if (law.name, method, n) in by_key]
            if value == "miss":
                shown = [f"{100 * max(c.missed_above, c.missed_below) / c.runs:.1f}" for c in found]
            else:
                shown = [f"{c.width:.3f}".lstrip("0") if c.width < 1 else "1" for c in found]
            row.append(" / ".join(shown) if shown else "-")
        lines.append(f"| {law.name} | {' | '.join(row)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000, help="samples for each cell (default 2000)")
    cells = list(study(parser.parse_args().runs))
    print(f"Miscoverage in % of {cells[0].runs} runs, larger side, nominal {100 * ALPHA:g}; n = {SIZES}\n")
    print(table(cells, value="miss"))
    print(f"\nMean width of the two-sided 95% interval, n = {SIZES}\n")
    print(table(cells, value="width"))
    print(f"\nAlarms at family-wise level {FAMILY_LEVEL:g} over {2 * len(cells)} tests: {alarms(cells) or 'none'}")


if __name__ == "__main__":
    main()
