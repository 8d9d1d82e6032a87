"""Estimators of mutual information on the forty tasks of *Beyond Normal* (Czyz et al. 2023, arXiv:2306.11078).

The package of the tasks (`benchmark-mi`) needs an older jax, so it draws the samples in an environment of its own:

    python tests/benchmarks/bench_beyond_normal.py draw SAMPLES            (there)
    python tests/benchmarks/bench_beyond_normal.py peers SAMPLES RESULTS   (there: its own estimators)
    python tests/benchmarks/bench_beyond_normal.py run SAMPLES RESULTS     (here; both resume where they stopped)
    python tests/benchmarks/bench_beyond_normal.py table RESULTS...
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np

ROWS = 5000
OURS = "critic_information,ksg,gaussian_information,summary_information"
PEERS = "CCA,KSG,InfoNCE,NWJ,MINE"
FIELDS = ("task", "seed", "truth", "estimator", "value", "seconds", "low", "member", "doubt")


def draw(folder: Path, seeds: list[int]) -> None:
    """Write the samples of all tasks as TASK__SEED.npz; needs benchmark-mi."""
    import bmi

    folder.mkdir(parents=True, exist_ok=True)
    for name, task in bmi.benchmark.BENCHMARK_TASKS.items():
        for seed in seeds:
            x, y = task.sample(ROWS, seed)
            np.savez(folder / f"{name}__{seed}.npz", x=np.asarray(x), y=np.asarray(y), truth=task.mutual_information)


def peer_estimates(x, y, names):
    """The estimators of benchmark-mi at their defaults (InfoNCE, NWJ, MINE: half of the rows train, half tell)."""
    import bmi

    kinds = {
        "CCA": bmi.estimators.CCAMutualInformationEstimator,
        "KSG": lambda: bmi.estimators.KSGEnsembleFirstEstimator(neighborhoods=(10,)),
        "InfoNCE": lambda: bmi.estimators.InfoNCEEstimator(verbose=False),
        "NWJ": lambda: bmi.estimators.NWJEstimator(verbose=False),
        "MINE": lambda: bmi.estimators.MINEEstimator(verbose=False),
    }
    for name in names:
        start = time.process_time()
        value = float(kinds[name]().estimate(x, y))
        yield f"bmi {name}", value, time.process_time() - start, "", "", ""


def estimates(x, y, names):
    """(estimator, value, processor seconds, certified limit, member, doubts) of each estimator."""
    import bounds
    import redundancy as rd

    calls = {
        "critic_information": lambda: rd.critic_information(x, y, rng=0, on_doubt="ignore"),
        "ksg": lambda: rd.ksg(x, y, on_doubt="ignore").value,
        "gaussian_information": lambda: rd.gaussian_information(x, y),
        "summary_information": lambda: rd.summary_information(x, y, rng=0, on_doubt="ignore").value,
    }
    for name in names:
        start = time.process_time()
        result = calls[name]()
        seconds = time.process_time() - start
        if isinstance(result, float):
            yield name, result, seconds, "", "", ""
            continue
        low = bounds.certify(result, side="lower").low
        yield name, result.value, seconds, low, result.details["member"], "; ".join(result.details["doubts"])


def run(folder: Path, results: Path, options: argparse.Namespace) -> None:
    """Estimate every sample that `results` does not hold yet."""
    peers = options.step == "peers"
    prefix, evaluate = ("bmi ", peer_estimates) if peers else ("", estimates)
    names = (options.estimators or (PEERS if peers else OURS)).split(",")
    seeds = [int(seed) for seed in options.seeds.split(",")]
    old = list(csv.DictReader(results.open())) if results.exists() else []
    finished = {(row["task"], int(row["seed"]), row["estimator"]) for row in old}
    samples = sorted(folder.glob("*__*.npz"), key=lambda path: (int(path.stem.rsplit("__")[1]), path.stem))
    for path in samples:
        task, seed = path.stem.rsplit("__")
        if options.tasks and task not in options.tasks.split(","):
            continue
        missing = [name for name in names if (task, int(seed), prefix + name) not in finished]
        if int(seed) not in seeds or not missing:
            continue
        sample = np.load(path)
        x, y = (sample[side].astype(np.float64) for side in ("x", "y"))
        for name, value, seconds, low, member, doubt in evaluate(x, y, missing):
            fresh = not results.exists()
            with results.open("a", newline="") as file:
                writer = csv.writer(file)
                if fresh:
                    writer.writerow(FIELDS)
                row = (f"{float(sample['truth']):.4f}", name, f"{value:.4f}", f"{seconds:.2f}", low, member, doubt)
                writer.writerow((task, seed, *row))
            print(task, seed, *row[:-1], flush=True)


def table(files: list[Path]) -> None:
    """Print the results as Markdown: seed 0 task by task, then mean absolute errors over all seeds."""
    every = [row for file in files for row in csv.DictReader(file.open())]
    rows = list({(row["task"], row["seed"], row["estimator"]): row for row in every}.values())
    others = sorted({row["estimator"] for row in rows} - {"critic_information"})
    by_task = {(row["task"], row["estimator"]): row for row in rows if row["seed"] == "0"}
    print("| task | truth | critic | member | error | certified | seconds | doubt |", " | ".join(others), "|")
    print("|---|---|---|---|---|---|---|---|" + "---|" * len(others))
    for (task, estimator), row in sorted(by_task.items()):
        if estimator != "critic_information":
            continue
        truth, value = float(row["truth"]), float(row["value"])
        cells = [f"{float(by_task[task, o]['value']):.3f}" if (task, o) in by_task else "" for o in others]
        doubt = "yes" if row["doubt"] else ""
        numbers = f"{truth:.3f} | {value:.3f} | {row['member']} | {value - truth:+.3f} | {float(row['low']):.3f}"
        print(f"| {task} | {numbers} | {float(row['seconds']):.0f} | {doubt} |", " | ".join(cells), "|")
    errors = defaultdict(list)
    for row in rows:
        errors[row["estimator"], row["seed"]].append(abs(float(row["value"]) - float(row["truth"])))
    for (estimator, seed), each in sorted(errors.items()):
        print(f"{estimator}, seed {seed}: mean absolute error {np.mean(each):.3f} over {len(each)} tasks")
    certified([row for row in rows if row["estimator"] == "critic_information"])


def certified(rows: list[dict[str, str]]) -> None:
    """Print the certified limits over seeds, task by task, and what errs by more than 0.15 without a doubt."""
    tasks = defaultdict(list)
    for row in rows:
        tasks[row["task"]].append(row)
    print("| task | samples | mean absolute error | largest | certified / truth | above the truth | doubts |")
    print("|---|---|---|---|---|---|---|")
    above = half = 0
    for task, each in sorted(tasks.items()):
        truth = float(each[0]["truth"])
        errors = [abs(float(row["value"]) - truth) for row in each]
        share = [float(row["low"]) / truth for row in each]
        over, doubted = sum(s > 1 for s in share), sum(bool(row["doubt"]) for row in each)
        above, half = above + over, half + sum(s > 0.5 for s in share)
        cells = f"{np.mean(errors):.3f} | {max(errors):.3f} | {min(share):.2f} to {max(share):.2f} | {over} | {doubted}"
        print(f"| {task} | {len(each)} | {cells} |")
    wrong = [row for row in rows if abs(float(row["value"]) - float(row["truth"])) > 0.15]
    print(
        f"{len(rows)} samples: {above} limits above the truth, {half} above half of it; {len(wrong)} errors above "
        f"0.15, {sum(not row['doubt'] for row in wrong)} of them without a doubt"
    )


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("draw", "peers", "run", "table"))
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--estimators", help="of this library, or of CCA, KSG, InfoNCE, NWJ, MINE with peers")
    parser.add_argument("--tasks", help="only these, separated by commas")
    options = parser.parse_args()
    if options.step == "draw":
        draw(options.paths[0], [int(seed) for seed in options.seeds.split(",")])
    elif options.step == "table":
        table(options.paths)
    else:
        warnings.simplefilter("ignore")
        run(options.paths[0], options.paths[1], options)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
