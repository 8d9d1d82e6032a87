"""redundancy.mmse against the exact value of worlds, and its time against scikit-learn's cross_val_predict.

python tests/benchmarks/bench_mmse.py [--quick] [--parts accuracy,relevance,time]   (--quick divides n by 4)

Ratios are of CPU time to a ridge of fixed strength; other work on the machine disturbs them less than wall time.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable

import numpy as np
from sklearn.datasets import make_friedman1, make_friedman3
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import KFold, cross_val_predict

import redundancy as rd
from tests.oracles.regression_worlds import SUITED, WORLDS

CASES = ((2_000, 4_096), (20_000, 256))


def timed(run: Callable[[], float]) -> tuple[float, float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    value = run()
    return time.perf_counter() - wall, time.process_time() - cpu, value


def world(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Sixteen strong directions as in hidden states, a little isotropic noise; the exact mmse is about .25."""
    rng = np.random.default_rng(0)
    frame = np.linalg.qr(rng.normal(size=(d, 16)))[0].T
    latent = rng.normal(size=(n, 16))
    x = latent @ (np.sqrt(d) * frame) / 4 + 0.05 * rng.normal(size=(n, d))
    z = np.sin(latent[:, 0]) + latent[:, 1] + 0.5 * rng.normal(size=n)
    return x, z


def accuracy(n: int) -> None:
    print(f"| world, n = {n} | exact mmse | suited regressor | estimate (standard error) | default panel | chosen |")
    print("|---|---|---|---|---|---|")
    for each in WORLDS:
        x, z = each.draw(np.random.default_rng(0), n)
        suited, panel = rd.mmse(z, x, SUITED[each.name], rng=0), rd.mmse(z, x, rng=0)
        cells = [f"{e.value:.3f} ({e.per_unit.std(ddof=1) / np.sqrt(e.n):.3f})" for e in (suited, panel)]
        weights = {name: row["weight"] for name, row in panel.details["regressors"].items()}
        chosen = ", ".join(f"{name} {w:.2f}" for name, w in sorted(weights.items(), key=lambda i: -i[1]) if w >= 0.05)
        name = type(SUITED[each.name]).__name__
        print(f"| {each.name} | {each.mmse:.3f} | {name} | {cells[0]} | {cells[1]} | {chosen} |", flush=True)


def relevance(n: int, seeds: int) -> None:
    """Friedman's functions, whose columns differ in relevance: risk over the variance of the noise.

    The noise drawn differs from its variance by a factor with a spread of sqrt(2 / n); "excess" leaves that out.
    """
    for name, make, sd in (("Friedman 1", make_friedman1, 1.0), ("Friedman 3", make_friedman3, 0.1)):
        rows = []
        for seed in range(seeds):
            x, clean = make(n, random_state=seed)
            noise = sd * np.random.default_rng(seed + 100).normal(size=n)
            _, cpu, value = timed(lambda x=x, z=clean + noise: rd.mmse(z, x, rng=0).value)
            rows.append((value / sd**2, np.square(noise).mean() / sd**2, cpu))
        ratio, drawn, cpu = np.array(rows).T
        each = " ".join(f"{r:.3f}/{d:.3f}" for r, d in zip(ratio, drawn, strict=True))
        print(
            f"| {name} | {n:,} | {ratio.mean():.3f} | {1 + (ratio - drawn).mean():.3f} | {each} | {cpu.mean():.1f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--parts", default="accuracy,relevance,time")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", default="500,2000,10000", help="of Friedman's functions")
    options = parser.parse_args()
    shrink = 4 if options.quick else 1
    parts = options.parts.split(",")
    if "accuracy" in parts:
        accuracy(2_000 // shrink)
        print()
    if "relevance" in parts:
        print("| function | n | over exact | 1 + excess | each: risk/noise drawn | CPU s |\n|---|---|---|---|---|---|")
        for n in options.rows.split(","):
            relevance(int(n) // shrink, options.seeds)
        print()
    if "time" in parts:
        times(shrink)


def times(shrink: int) -> None:
    """Processor time beside a ridge of fixed strength."""
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, OMP_NUM_THREADS={threads}")
    for full, d in CASES:
        n = full // shrink
        x, z = world(n, d)
        folds = KFold(5, shuffle=True, random_state=0)

        def plain(x: np.ndarray = x, z: np.ndarray = z, folds: KFold = folds) -> float:
            return float(np.mean((z - cross_val_predict(Ridge(1.0), x, z, cv=folds)) ** 2))

        runs: dict[str, Callable[[], float]] = {
            "cross_val_predict, Ridge(1)": plain,
            "mmse, Ridge(1)": lambda x=x, z=z: rd.mmse(z, x, Ridge(1.0), rng=0).value,
            "mmse, RidgeCV": lambda x=x, z=z: rd.mmse(z, x, RidgeCV(np.logspace(-2, 4, 13)), rng=0).value,
            "mmse, default panel": lambda x=x, z=z: rd.mmse(z, x, rng=0).value,
        }
        print(f"n = {n}, d = {d}, five folds (exact mmse about .25)", flush=True)
        reference = None
        for name, run in runs.items():
            wall, cpu, value = timed(run)
            reference = reference or cpu
            times = f"{wall:8.2f} s wall {cpu:8.2f} s CPU {cpu / reference:7.1f} x"
            print(f"  {name:30s} {times}   estimate {value:.3f}", flush=True)


if __name__ == "__main__":
    main()
