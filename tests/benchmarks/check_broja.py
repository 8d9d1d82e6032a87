"""500 random distributions: certified gaps, agreement with Clarabel, and the identities a decomposition must satisfy.

    python tests/benchmarks/check_broja.py [--count 500]

A quarter each: dense (Dirichlet), sparse, deterministic blocks, rare events (masses down to 1e-9); then as many hard
sparse distributions with masses down to 1e-12. Prints counts of exceptions; Clarabel is left out when it is not
installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from pathlib import Path

import numpy as np

import redundancy as rd
from redundancy.pid.result import ATOMS

sys.path.insert(0, str(Path(__file__).parent))
from bench_broja import clarabel_cones


def random_distribution(kind, rng):
    shape = rng.integers(2, 9, size=3)
    if kind == "dense":
        p = rng.gamma(1.0, size=shape)
    elif kind == "sparse":
        p = rng.gamma(1.0, size=shape) * (rng.random(shape) < 0.2)
    elif kind == "deterministic blocks":
        p = np.zeros(shape)
        t = rng.integers(shape[0], size=shape[1:])
        p[t, np.arange(shape[1])[:, None], np.arange(shape[2])] = rng.gamma(1.0, size=shape[1:])
        p *= (np.arange(shape[1])[:, None] % 2) == (np.arange(shape[2]) % 2)
    elif kind == "rare events":
        p = rng.gamma(1.0, size=shape) * np.where(rng.random(shape) < 0.4, 1e-9, 1.0)
    else:
        p = rng.random(shape) * (rng.random(shape) < rng.choice([0.1, 0.2, 0.3, 0.5, 0.8]))
        p *= [10.0 ** (-12.0 * rng.random(shape)), np.where(rng.random(shape) < 0.5, 1.0, 1e-12)][rng.integers(2)]
    p[0, 0, 0] += 1e-2
    return p / p.sum()


def differs(first, second, names=ATOMS):
    slack = first.gap + second.gap
    return any(abs(getattr(first, a) - getattr(second, b)) > slack for a, b in zip(ATOMS, names, strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    count = parser.parse_args().count
    rng = np.random.default_rng(0)
    peer = importlib.util.find_spec("clarabel") is not None
    kinds = ("dense", "sparse", "deterministic blocks", "rare events")
    head = (
        "kind",
        "distributions",
        "gap > 1e-9",
        "largest gap",
        "negative",
        "swap",
        "rename",
        "garbling",
        "Clarabel > 1e-5",
    )
    print("| " + " | ".join(head) + " | largest difference | s |")
    print("|---" * 11 + "|")
    for kind in (*kinds, "hard, 1e-12"):
        number = count if kind.startswith("hard") else count // 4
        start, gaps, far = time.process_time(), [], []
        negative = swap = rename = garble = 0
        for _ in range(number):
            p = random_distribution(kind, rng)
            pid = rd.broja(p)
            gaps.append(pid.gap)
            negative += any(getattr(pid, atom) < -pid.gap for atom in ATOMS)
            swap += differs(pid, rd.broja(p.swapaxes(1, 2)), ("redundant", "unique_y", "unique_x", "synergistic"))
            rename += differs(pid, rd.broja(p[np.ix_(*(rng.permutation(m) for m in p.shape))]))
            channel = rng.dirichlet(np.full(3, 0.3), size=p.shape[1])
            after = rd.broja(np.einsum("txy,xz->tzy", p, channel))
            garble += after.unique_x > pid.unique_x + pid.gap + after.gap
            if peer:
                far.append(abs(clarabel_cones(p)[0] - pid.unique_x))
        far = np.array(far or [np.nan])
        row = (kind, number, sum(g > 1e-9 for g in gaps), f"{max(gaps):.1e}", negative, swap, rename, garble)
        print("| " + " | ".join(map(str, row)), end="")
        print(f" | {(far > 1e-5).sum()} | {far.max():.1e} | {time.process_time() - start:.0f} |", flush=True)


if __name__ == "__main__":
    main()
