"""Sweeps that the system kills, then changed data, changed pictures and foreign records, again and again.

    python -m tests.benchmarks.kill_study --runs 6 --kills 5

Each run is killed (SIGKILL) at random bytes of its records. After each kill something is wrong for a while: a corrected
reference, an overwritten picture, another run's records beside its own, or nothing. The next start must refuse it, and
leave every record that was complete. In the end the run is finished and compared, byte for byte, with one that was left
alone. What does not hold raises an AssertionError.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.fixture_sets import PLANS, write_spec
from tests.support.killed_runs import (
    DISTURBANCES,
    Undisturbed,
    check_finished,
    check_refused,
    foreign_records,
    killed_at,
    written,
)
from vlm.experiments.run_directory import log_paths


def study(runs: int, kills: int, items: int, seed: int) -> str:
    """Kill that many runs that often; what happened, in one sentence."""
    chance = random.Random(seed)
    moments: list[float] = []
    refused: Counter[str] = Counter()
    records = 0
    with TemporaryDirectory() as name, redirect_stdout(StringIO()):
        run = Undisturbed.of(write_spec(Path(name) / "sets", items=items, plans=PLANS[:2]), Path(name) / "undisturbed")
        whole = written(run.folder)
        for number in range(runs):
            folder = Path(name) / f"killed-{number}" / run.spec.digest
            for moment in sorted(chance.uniform(0.02, 0.95) for _ in range(kills)):
                if not killed_at(run.path, folder.parent, folder, moment * whole, chance.uniform(0, 0.02)):
                    break  # it was quicker
                moments.append(written(folder) / whole)
                # Data that no record is about yet may change: nothing is mixed then.
                answered = any(b'"dataset":"first"' in path.read_bytes() for path in log_paths(folder))
                disturb = chance.choice((None, *DISTURBANCES) if answered else (None, foreign_records))
                if disturb is not None:
                    check_refused(run, folder, disturb)
                    refused[disturb.__name__.replace("_", " ")] += 1
            records += check_finished(run, folder)
    counts = ", ".join(f"{count} {what}" for what, count in sorted(refused.items()))
    return (
        f"{runs} runs, {len(moments)} kills at {min(moments):.0%} to {max(moments):.0%} of the bytes, "
        f"{refused.total()} disturbances refused ({counts}); {records} records, none lost, none twice, and every run "
        "byte for byte as undisturbed"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--kills", type=int, default=5, help="of each run")
    parser.add_argument("--items", type=int, default=12, help="of each of three data sets")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print(study(given.runs, given.kills, given.items, given.seed))


if __name__ == "__main__":
    main()
