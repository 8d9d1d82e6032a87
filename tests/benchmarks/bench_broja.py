"""BROJA solvers side by side: time, error, certified gap.

    python tests/benchmarks/bench_broja.py                  small and middle rows, minutes
    python tests/benchmarks/bench_broja.py --heavy          adds 10 x 50 x 50 and beyond for every peer
    python tests/benchmarks/bench_broja.py --only 10x50x50  one row
    python tests/benchmarks/bench_broja.py --small          small distributions one by one, beside BROJA_2PID

Peers (pip install ".[bench]", and pip install --no-deps idtxl-uv, which holds BROJA_2PID) that are not installed
are left out and named. Ratios are of CPU seconds, which a busy machine distorts less than wall time. Each solve runs
in a process of its own with a time limit and one BLAS thread; finished solves are appended to a CSV, so an
interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import itertools
import math
import multiprocessing
import os
import platform
import resource
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from scipy import sparse

import redundancy as rd

FIELDS = ("distribution", "method", "seconds", "cpu", "unique_x", "claim", "peak_mb", "status")


def dirichlet(concentration, *shape, seed=0):
    p = np.random.default_rng(seed).gamma(concentration, size=shape)
    return p / p.sum()


def near_deterministic(t=10, x=20, y=20, rest=1e-12, seed=0):
    p = np.full((t, x, y), rest)
    owner = np.random.default_rng(seed).integers(t, size=(x, y))
    p[owner, np.arange(x)[:, None], np.arange(y)] = 1.0
    return p / p.sum()


def sparse_distribution(t=10, x=50, y=50, density=0.02, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.gamma(1.0, size=(t, x, y)) * (rng.random((t, x, y)) < density)
    return p / p.sum()


def sampled(t=10, x=100, y=100, n=10_000, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.gamma(0.3, size=t * x * y)
    return np.bincount(rng.choice(p.size, size=n, p=p / p.sum()), minlength=p.size).reshape(t, x, y) / n


# name -> (distribution, heavy for the peers, run by the peers at all)
DISTRIBUTIONS = {
    "2x2x2": (lambda: dirichlet(1.0, 2, 2, 2), False, True),
    "4x10x10": (lambda: dirichlet(1.0, 4, 10, 10), False, True),
    "10x20x20": (lambda: dirichlet(1.0, 10, 20, 20), False, True),
    "10x20x20 Dirichlet(0.05)": (lambda: dirichlet(0.05, 10, 20, 20), False, True),
    "10x20x20 near-deterministic 1e-12": (near_deterministic, False, True),
    "10x50x50": (lambda: dirichlet(1.0, 10, 50, 50), True, True),
    "10x50x50 sparse": (sparse_distribution, True, True),
    "10x100x100 sampled": (sampled, True, True),
    "10x100x100": (lambda: dirichlet(1.0, 10, 100, 100), True, True),
    "50x50x50": (lambda: dirichlet(1.0, 50, 50, 50), True, False),
    "2x500x500": (lambda: dirichlet(1.0, 2, 500, 500), True, False),
    "10x200x200": (lambda: dirichlet(1.0, 10, 200, 200), True, False),
}


def ours(p):
    pid = rd.broja(p)
    return pid.unique_x, pid.gap


def broja_2pid(p):
    from idtxl import synergy_tartu

    masses = {tuple(map(int, i)): float(p[tuple(i)]) for i in np.argwhere(p > 0)}
    result = synergy_tartu.pid(masses)
    return float(result["UIY"]) * math.log(2.0), float(max(result["Num_err"])) * math.log(2.0)


def clarabel_cones(p):
    """Minimise sum d over exponential cones q exp(-d / q) <= sum_t q, called without a modelling layer."""
    import clarabel

    t, x, y = np.nonzero((p.sum(2)[:, :, None] > 0) & (p.sum(1)[:, None, :] > 0))
    n = t.size
    _, size_x, size_y = p.shape
    rows_a, rows_b = t * size_x + x, t * size_y + y
    a, b = p.sum(2).ravel(), p.sum(1).ravel()
    cell = np.arange(n)
    margins = sparse.vstack(
        [
            sparse.csr_array((np.ones(n), (rows_a, cell)), shape=(a.size, n))[np.unique(rows_a)],
            sparse.csr_array((np.ones(n), (rows_b, cell)), shape=(b.size, n))[np.unique(rows_b)],
        ]
    )
    xy = sparse.csr_array((np.ones(n), (cell, x * size_y + y)), shape=(n, size_x * size_y))
    totals = (xy @ xy.T).tocsr()
    zero, one = sparse.csr_array((n, n)), sparse.eye_array(n, format="csr")
    cones = sparse.vstack(
        [
            sparse.hstack([zero, one]),  # s0 = -d
            sparse.hstack([-one, zero]),  # s1 = q
            sparse.hstack([-totals, zero]),  # s2 = sum_t q
        ]
    ).tocsr()[np.arange(3 * n).reshape(3, n).T.ravel()]
    matrix = sparse.vstack([sparse.hstack([margins, sparse.csr_array((margins.shape[0], n))]), cones])
    right = np.concatenate([a[np.unique(rows_a)], b[np.unique(rows_b)], np.zeros(3 * n)])
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    result = clarabel.DefaultSolver(
        sparse.csc_matrix((2 * n, 2 * n)),
        np.concatenate([np.zeros(n), np.ones(n)]),
        sparse.csc_matrix(matrix),
        right,
        [clarabel.ZeroConeT(margins.shape[0])] + [clarabel.ExponentialConeT()] * n,
        settings,
    ).solve()
    p_ty = p.sum(1)
    share = p_ty[p_ty > 0] / np.broadcast_to(p_ty.sum(0), p_ty.shape)[p_ty > 0]
    entropy = -float(p_ty[p_ty > 0] @ np.log(share))
    return result.obj_val + entropy, abs(result.obj_val - result.obj_val_dual)


def dit_broja(p):
    import dit

    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    outcomes = [digits[t] + digits[x] + digits[y] for t, x, y in np.ndindex(p.shape)]
    joint = dit.Distribution(outcomes, p.ravel())
    result = dit.pid.PID_BROJA(joint, [(1,), (2,)], (0,))
    return float(result.get_pi(((1,),))) * math.log(2.0), math.nan


METHODS = {
    "redundancy": (ours, "numpy"),
    "BROJA_2PID": (broja_2pid, "idtxl"),
    "Clarabel": (clarabel_cones, "clarabel"),
    "dit": (dit_broja, "dit"),
}
SMALL = {"dit": ("2x2x2", "4x10x10")}  # a general optimiser: minutes beyond these


def measured(method, distribution, pipe):
    """In a child process: at least one solve, more while they are short; the fastest counts."""
    try:
        p, (solver, _) = DISTRIBUTIONS[distribution][0](), METHODS[method]
        if p.size < 5000:
            solver(p)  # warm up imports
        best, best_cpu, begun = math.inf, math.inf, time.perf_counter()
        while True:
            start, start_cpu = time.perf_counter(), time.process_time()
            value, claim = solver(p)
            best = min(best, time.perf_counter() - start)
            best_cpu = min(best_cpu, time.process_time() - start_cpu)
            if time.perf_counter() - begun > 0.5:
                break
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
        pipe.send((best, best_cpu, value, claim, peak, "ok"))
    except Exception as error:  # a peer that fails is a result
        pipe.send((math.nan, math.nan, math.nan, math.nan, math.nan, repr(error)[:80].replace(",", ";")))


def run(method, distribution, limit):
    here, there = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=measured, args=(method, distribution, there))
    child.start()
    answer = (math.nan, math.nan, math.nan, math.nan, math.nan, f"over {limit:.0f} s")
    if here.poll(limit):
        answer = here.recv()
    else:
        child.kill()
    child.join()
    return answer


def batch_row():
    """1,000 distributions of 2 x 2 x 2 in one call: CPU seconds for each, the fastest of three; largest gap."""
    p = np.stack([dirichlet(1.0, 2, 2, 2, seed=i) for i in range(1000)])
    best = math.inf
    for _ in range(3):
        start = time.process_time()
        result = rd.broja_batch(p)
        best = min(best, time.process_time() - start)
    return best / 1000, float(result.gap.max())


def gates():
    """The classical gates of two fair bits."""
    names = {
        "AND": (2, np.minimum),
        "OR": (2, np.maximum),
        "XOR": (2, np.bitwise_xor),
        "sum": (3, np.add),
        "X alone (UNQ)": (2, lambda x, y: x),
        "copy of both": (4, lambda x, y: 2 * x + y),
    }
    for name, (size, gate) in names.items():
        p = np.zeros((size, 2, 2))
        for x, y in np.ndindex(2, 2):
            p[gate(x, y), x, y] = 0.25
        yield name, p
    yield "one common bit (RDN)", np.array([[[0.5, 0], [0, 0]], [[0, 0], [0, 0.5]]])
    p = np.zeros((4, 4, 4))
    for r, x, y in np.ndindex(2, 2, 2):
        p[2 * r + (x ^ y), 2 * r + x, 2 * r + y] = 0.125
    yield "common bit and XOR", p


def small_laws():
    """Name of the row and its distributions: gates, and for each shape two dense, two sparse-ish and a sparse one."""
    for name, p in gates():
        yield name, [p]
    for shape in itertools.product((2, 3, 4), repeat=3):
        laws = [dirichlet(concentration, *shape, seed=seed) for concentration in (1.0, 0.3) for seed in (0, 1)]
        p = laws[0] * (np.random.default_rng(2).random(shape) < 0.6)
        yield "Dirichlet " + "x".join(map(str, shape)), [*laws, p / p.sum()]


def hard_small_laws(count=300):
    """Shapes 2x2x2 to 4x4x4 with concentrations of .05 to 3, most with empty cells, some with masses of 1e-12."""
    rng = np.random.default_rng(1)
    for number in range(count):
        shape = rng.integers(2, 5, 3)
        p = rng.gamma(rng.choice([0.05, 0.1, 0.3, 1, 3]), size=shape) * (rng.random(shape) < rng.choice([0.4, 0.7, 1]))
        if number % 6 == 0:
            p = np.where(rng.random(shape) < 0.5, 1e-12, 1) * rng.random(shape)
        if p.sum() > 0:
            yield p / p.sum()


def hard_small_row(solves=7):
    """How often one of the hard small laws takes longer than in BROJA_2PID: least CPU time of each, by turns."""
    ratios, gaps, errors = [], [], []
    for p in hard_small_laws():
        least = {ours: math.inf, broja_2pid: math.inf}
        results = {}
        for _ in range(solves):
            for solver in least:
                start = time.process_time_ns()
                results[solver] = solver(p)
                least[solver] = min(least[solver], time.process_time_ns() - start)
        ratios.append(least[broja_2pid] / least[ours])
        gaps.append(results[ours][1])
        errors.append(abs(results[broja_2pid][0] - results[ours][0]))
    low, middle, high = np.percentile(ratios, [1, 50, 99])
    print(
        f"\n{len(ratios)} hard small laws: BROJA_2PID / ours {low:.2f} / {middle:.2f} / {high:.2f} at 1 / 50 / 99%, "
        f"{sum(ratio < 1 for ratio in ratios)} below 1; largest gap {max(gaps):.0e}, largest error of BROJA_2PID "
        f"{max(errors):.0e}"
    )


def small_rows(solves=60):
    """Median CPU milliseconds of one solve, the two solvers by turns; the law with the lowest ratio of each row."""
    print(
        "| distribution (T x X x Y) | ours ms | largest gap | BROJA_2PID ms | largest difference | BROJA_2PID / ours |"
        "\n|---|---|---|---|---|---|"
    )
    lowest = (math.inf, "")
    for name, laws in small_laws():
        rows, gaps, differences = [], [], []
        for p in laws:
            spent, results = {ours: [], broja_2pid: []}, {}
            for _ in range(solves):
                for solver, times in spent.items():
                    start = time.process_time_ns()
                    results[solver] = solver(p)
                    times.append(1e-6 * (time.process_time_ns() - start))
            mine, peer = (float(np.median(times)) for times in spent.values())
            rows.append((peer / mine, mine, peer))
            gaps.append(results[ours][1])
            differences.append(results[broja_2pid][0] - results[ours][0])
        ratio, mine, peer = min(rows)
        lowest = min(lowest, (ratio, name))
        print(
            f"| {name} | {mine:.2f} | {max(gaps):.0e} | {peer:.2f} | {max(differences, key=abs):+.0e} | {ratio:.2f} |",
            flush=True,
        )
    print(f"\nlowest ratio: {lowest[0]:.2f} ({lowest[1]})")


def table(rows):
    print(
        "\n| distribution (T x X x Y) | method | wall s | CPU s | CPU times ours | error (nats) "
        "| own claim or gap | peak MB | |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for distribution in DISTRIBUTIONS:
        mine = rows.get((distribution, "redundancy"))
        for method in METHODS:
            row = rows.get((distribution, method))
            if row is None or mine is None:
                continue
            wall, cpu, value, claim, peak, status = row
            error = f"in [{-mine[3]:.0e}, 0], proved" if method == "redundancy" else f"{value - mine[2]:+.0e}"
            print(
                f"| {distribution} | {method} | {wall:.3g} | {cpu:.3g} | {cpu / mine[1]:.3g} | {error} | {claim:.0e} "
                f"| {peak:.0f} | {status} |"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--heavy", action="store_true", help="also the rows where peers take minutes")
    parser.add_argument("--only", nargs="*", default=[], help="rows to run, by name")
    parser.add_argument("--small", action="store_true", help="small distributions one by one")
    parser.add_argument("--limit", type=float, default=900.0, help="seconds per solve")
    parser.add_argument("--csv", type=Path, default=Path("runs/bench_broja.csv"), help="checkpoint; delete to rerun")
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = "1"  # read by the child processes, which import numpy afresh
    installed = {name: importlib.util.find_spec(module) is not None for name, (_, module) in METHODS.items()}
    print("left out (not installed):", ", ".join(n for n, present in installed.items() if not present) or "none")
    for package in ("numpy", "scipy", "idtxl-uv", "ecos", "clarabel", "dit"):
        try:
            print(package, version(package), end="; ")
        except PackageNotFoundError:
            continue
    print(f"python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    if options.small:
        small_rows()
        hard_small_row()
        return
    options.csv.parent.mkdir(parents=True, exist_ok=True)
    rows = {}
    if options.csv.exists():
        with options.csv.open() as file:
            for row in csv.DictReader(file):
                values = [float(row[k]) for k in FIELDS[2:7]]
                rows[row["distribution"], row["method"]] = (*values, row["status"])
    with options.csv.open("a", newline="") as file:
        writer = csv.writer(file)
        if not rows:
            writer.writerow(FIELDS)
        for distribution, (_, heavy, peers) in DISTRIBUTIONS.items():
            if (options.only and distribution not in options.only) or (heavy and not (options.heavy or options.only)):
                continue
            for method, present in installed.items():
                if method in SMALL and distribution not in SMALL[method]:
                    continue
                if present and (peers or method == "redundancy") and (distribution, method) not in rows:
                    row = rows[distribution, method] = run(method, distribution, options.limit)
                    writer.writerow((distribution, method, *row))
                    file.flush()
                    print(f"{distribution}: {method} {row[0]:.3g} s {row[5]}", flush=True)
    table(rows)
    seconds, gap = batch_row()
    single = rows.get(("2x2x2", "BROJA_2PID"))
    times = "" if single is None else f", {single[1] / seconds:.0f} times faster than BROJA_2PID one by one"
    print(
        f"\n1,000 distributions 2x2x2 in one call: {seconds * 1e6:.0f} microseconds each, largest gap {gap:.0e}{times}"
    )


if __name__ == "__main__":
    main()
