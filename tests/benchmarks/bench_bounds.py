"""Every bound on a million broadcast inputs, and its accuracy against 400-digit arithmetic.

python tests/benchmarks/bench_bounds.py                 all theorems with scalar arguments
python tests/benchmarks/bench_bounds.py --only fano     those whose name contains "fano"
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import mpmath as mp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import bounds
from bounds.framework import special_functions
from tests.oracles import bounds_reference
from tests.support import strategies

ROWS, COLUMNS = 1000, 1000


def seconds(call) -> tuple[float, float]:
    """Best of three: (processor seconds, wall seconds)."""
    best = (np.inf, np.inf)
    for _ in range(3):
        cpu, wall = time.process_time(), time.perf_counter()
        call()
        best = min(best, (time.process_time() - cpu, time.perf_counter() - wall))
    return best


def million(theorem):
    """Arguments that broadcast to 1000 x 1000: the first along rows, the others along columns."""
    rng = np.random.default_rng(0)
    names = strategies.parameters(theorem)
    if strategies.vector_shapes(theorem):
        return None
    draws = [strategies.draw_arguments(theorem, rng) for _ in range(ROWS)]
    arguments = {n: np.array([d[n] for d in draws]) for n in names}
    if len(names) == 1:
        return {names[0]: np.resize(arguments[names[0]], ROWS * COLUMNS).reshape(ROWS, COLUMNS)}
    first = next((n for n in names if strategies.kind(theorem, n) != "count"), names[0])
    if first in ("p_min", "p_max"):
        return None
    return {n: a[:, None] if n == first else a[None, :] for n, a in arguments.items()}


def worst_error(theorem) -> float:
    """Largest relative error over random and extreme arguments."""
    rng, worst = np.random.default_rng(1), 0.0
    for _ in range(10):
        arguments = strategies.draw_arguments(theorem, rng)
        value = theorem(**arguments)
        value = value[1] if isinstance(value, tuple) else value
        exact = bounds_reference.right_side(theorem, strategies.substitution(theorem, arguments))
        if exact > mp.mpf("1e-300"):
            worst = max(worst, float(abs(mp.mpf(float(value)) / exact - 1)))
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    only = parser.parse_args().only
    values = np.random.default_rng(0).uniform(0.0, special_functions.LOG2, ROWS * COLUMNS)
    exponential = seconds(lambda: np.exp(values))[0]
    print(f"np.exp of 10^6 numbers: {exponential:.4f} s of processor time; ratios are to it")
    if not only:
        for function in (
            special_functions.psi,
            special_functions.zeta,
            special_functions.binary_entropy,
            special_functions.kappa,
        ):
            cpu, wall = seconds(lambda function=function: function(values))
            print(f"{'special.' + function.__name__:40s} {cpu:8.4f} s  {cpu / exponential:7.1f} x  (wall {wall:.3f} s)")
    for theorem in bounds.THEOREMS:
        arguments = million(theorem) if only in theorem.name else None
        if arguments is not None:
            cpu, wall = seconds(lambda theorem=theorem, arguments=arguments: theorem(**arguments))
            error = worst_error(theorem)
            print(
                f"{theorem.name:40s} {cpu:8.4f} s  {cpu / exponential:7.1f} x  (wall {wall:.3f} s)"
                f"  relative error {error:.1e}"
            )


if __name__ == "__main__":
    main()
