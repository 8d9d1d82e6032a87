"""Mutual information and entropy side by side with peers: bias, root mean square error, CPU seconds.

    python tests/benchmarks/bench_information.py [--repeats 10]
    python tests/benchmarks/bench_information.py --speed [--repeats 15] [--most 100000]

Peers (pip install ".[bench]", pip install --no-deps npeet_plus) that are not installed are left out. All see the same
samples and k = 5; every number is in nats. The last table prints where KSG was shown to work: the source of the doubts
it raises. `--speed` times the estimators alone, by turns on the same samples, up to `--most` rows.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import random
import time
import warnings

import numpy as np

import redundancy as rd

K = 5


def sklearn_ksg(x, y):
    from sklearn.feature_selection import mutual_info_regression

    return float(mutual_info_regression(x[:, :1], y[:, 0], n_neighbors=K, random_state=0)[0])


def ennemi_ksg(x, y):
    import ennemi

    return float(np.ravel(ennemi.estimate_mi(y[:, 0], x[:, 0], k=K))[0])


def infomeasure_ksg(x, y):
    import infomeasure as im

    return float(im.mutual_information(x, y, approach="ksg", k=K))


def npeet_ksg(x, y):
    import npeet_plus

    return float(npeet_plus.mi(x, y, k=K, base=math.e))


def npeet_conditional(x, y, z):
    import npeet_plus

    return float(npeet_plus.mi(x, y, z, k=K, base=math.e))


def ennemi_conditional(x, y, z):
    import ennemi

    return float(np.ravel(ennemi.estimate_mi(y[:, 0], x[:, 0], k=K, cond=z[:, 0]))[0])


def npeet_entropy(x):
    import npeet_plus

    return float(npeet_plus.entropy(x, k=K, base=math.e))


def infomeasure_entropy(x):
    import infomeasure as im

    return float(im.entropy(x, approach="metric", k=K))


def scipy_entropy(x):
    from scipy.stats import differential_entropy

    return float(differential_entropy(x[:, 0]))


def quiet(function, **options):
    return lambda *data: function(*data, on_doubt="ignore", **options).value


MI = {
    "redundancy ksg 1": (quiet(rd.ksg), None, 999),
    "redundancy ksg 2": (quiet(rd.ksg, variant=2), None, 999),
    "redundancy ksg euclidean": (quiet(rd.ksg, norm="euclidean"), None, 999),
    "redundancy ridge summary": (quiet(rd.summary_information, rng=0), None, 999),
    "scikit-learn": (sklearn_ksg, "sklearn", 1),
    "ennemi": (ennemi_ksg, "ennemi", 1),
    "infomeasure": (infomeasure_ksg, "infomeasure", 999),
    "npeet_plus": (npeet_ksg, "npeet_plus", 999),
}
KSG_PEERS = {
    "redundancy ksg 1": (quiet(rd.ksg), None),
    "redundancy ksg 2": (quiet(rd.ksg, variant=2), None),
    "npeet_plus": (npeet_ksg, "npeet_plus"),
    "infomeasure": (infomeasure_ksg, "infomeasure"),
}
CONDITIONAL = {
    "redundancy variant 2": (quiet(rd.knn_conditional_mutual_information), None),
    "redundancy variant 1": (quiet(rd.knn_conditional_mutual_information, variant=1), None),
    "npeet_plus": (npeet_conditional, "npeet_plus"),
    "ennemi": (ennemi_conditional, "ennemi"),
}
ENTROPY = {
    "redundancy knn": (quiet(rd.knn_entropy), None, 999),
    "redundancy whitened, calibrated": (quiet(rd.knn_entropy, whiten=True, calibrate=True, rng=0), None, 999),
    "scipy differential_entropy": (scipy_entropy, "scipy", 1),
    "infomeasure": (infomeasure_entropy, "infomeasure", 999),
    "npeet_plus": (npeet_entropy, "npeet_plus", 999),
}


def pairs(n, d, rho, rng):
    z = rng.standard_normal((2, n, d))
    return z[0], rho * z[0] + math.sqrt(1 - rho**2) * z[1]


def one_signal(n, d, rng, strength=4.0):
    s = rng.standard_normal((n, 1))
    w = rng.standard_normal((2, 1, d))
    w *= strength / np.linalg.norm(w, axis=2, keepdims=True)
    return s * w[0] + rng.standard_normal((n, d)), s * w[1] + rng.standard_normal((n, d))


def information_cases():
    half = -0.5 * math.log(1 - 0.6**2)
    signal = -0.5 * math.log(1 - (16 / 17) ** 2)
    yield "Gaussian 1+1, n 1000", 1, half, lambda r: pairs(1000, 1, 0.6, r)
    yield "same, y times 1000", 1, half, lambda r: (lambda x, y: (x, 1000 * y))(*pairs(1000, 1, 0.6, r))
    yield "same, scale 1e-9", 1, half, lambda r: (lambda x, y: (1e-9 * x, 1e-9 * y))(*pairs(1000, 1, 0.6, r))
    yield "Gaussian 5+5, n 4000", 5, 5 * half, lambda r: pairs(4000, 5, 0.6, r)
    yield "one signal in 16+16, n 2000", 16, signal, lambda r: one_signal(2000, 16, r)
    yield "one signal in 64+64, n 2000", 64, signal, lambda r: one_signal(2000, 64, r)


def entropy_cases():
    unit = 0.5 * math.log(2 * math.pi * math.e)
    yield "Gaussian, n 1000", 1, unit, lambda r: (r.standard_normal((1000, 1)),)
    yield "uniform, n 1000", 1, 0.0, lambda r: (r.random((1000, 1)),)
    yield "exponential, n 1000", 1, 1.0, lambda r: (r.exponential(size=(1000, 1)),)
    yield "Cauchy, n 1000", 1, math.log(4 * math.pi), lambda r: (r.standard_cauchy((1000, 1)),)
    yield "Gaussian in 20, n 1000", 20, 20 * unit, lambda r: (r.standard_normal((1000, 20)),)


def compare(title, methods, cases, repeats):
    print(f"\n{title}\n\n| case | truth | method | bias | RMSE | CPU s |\n|---|---|---|---|---|---|")
    for name, d, truth, draw in cases:
        for method, (estimate, module, widest) in methods.items():
            if d > widest or (module and importlib.util.find_spec(module) is None):
                continue
            errors, spent = [], 0.0
            for seed in range(repeats):
                data = draw(np.random.default_rng(seed))
                start = time.process_time()
                try:
                    errors.append(estimate(*data) - truth)
                except Exception as error:  # a peer that fails is a result
                    print(f"| {name} | {truth:.3f} | {method} | {type(error).__name__} | | |")
                    break
                spent += time.process_time() - start
            else:
                e = np.array(errors)
                rmse = np.sqrt(np.mean(e**2))
                print(f"| {name} | {truth:.3f} | {method} | {e.mean():+.3f} | {rmse:.3f} | {spent / repeats:.3f} |")


def ksg_range(repeats):
    print(
        "\nKSG on d + d Gaussian columns: bias / truth\n\n"
        "| d | n | I = 0.3 | I = 1 | I = 2 | I = 4 |\n|---|---|---|---|---|---|"
    )
    for d in (1, 2, 3, 5, 10):
        for n in (300, 1000, 3000):
            cells = []
            for truth in (0.3, 1.0, 2.0, 4.0):
                rho = math.sqrt(1 - math.exp(-2 * truth / d))
                found = [
                    rd.ksg(*pairs(n, d, rho, np.random.default_rng(s)), on_doubt="ignore").value for s in range(repeats)
                ]
                cells.append(f"{(np.mean(found) - truth) / truth:+.0%}")
            print(f"| {d} | {n} | " + " | ".join(cells) + " |", flush=True)


def speed(repeats, most):
    """Processor time at 5 + 5 columns, and given 1 column; the methods take turns, in a new order each round."""
    print("\n| case | method | least, s | median, s | value |\n|---|---|---|---|---|")
    for n in (n for n in (1000, 4000, 20_000, 100_000) if n <= most):
        x, y = pairs(n, 5, 0.6, np.random.default_rng(0))
        show_times(f"I(X; Y), 5 + 5 columns, n = {n:,}", KSG_PEERS, (x, y), 2 if n > 20_000 else repeats)
    for n in (n for n in (1000, 20_000) if n <= most):
        x, y = pairs(n, 1, 0.6, np.random.default_rng(0))
        z = x + np.random.default_rng(1).standard_normal(x.shape)
        show_times(f"I(X; Y given Z), 1 column each, n = {n:,}", CONDITIONAL, (x, y, z), repeats)


def show_times(case, methods, data, repeats):
    here = {name: f for name, (f, module) in methods.items() if not module or importlib.util.find_spec(module)}
    spent, values, order = {name: [] for name in here}, {}, random.Random(0)
    for _ in range(repeats):
        for name in order.sample(list(here), len(here)):
            start = time.process_time()
            values[name] = here[name](*data)
            spent[name].append(time.process_time() - start)
    for name, seconds in spent.items():
        print(f"| {case} | {name} | {min(seconds):.3f} | {np.median(seconds):.3f} | {values[name]:.3f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--speed", action="store_true", help="times alone")
    parser.add_argument("--most", type=int, default=100_000, help="rows of the largest sample that is timed")
    options = parser.parse_args()
    repeats = options.repeats
    warnings.simplefilter("ignore")
    if options.speed:
        speed(repeats, options.most)
        return
    compare("Mutual information", MI, information_cases(), repeats)
    compare("Differential entropy", ENTROPY, entropy_cases(), repeats)
    ksg_range(max(2, repeats // 3))


if __name__ == "__main__":
    main()
