"""Wall time of redundancy.mmse against scikit-learn's cross_val_predict with a ridge of fixed strength.

python tests/benchmarks/bench_mmse.py [--quick]   (--quick divides n by 4)

Ratios are of CPU time, which other work on the machine disturbs less than wall time.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable

import numpy as np
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import KFold, cross_val_predict

import redundancy as rd

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    shrink = 4 if parser.parse_args().quick else 1
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
