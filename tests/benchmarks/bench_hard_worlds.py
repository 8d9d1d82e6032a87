"""Mutual information where estimators are known to fail: clustered, tied, heavy-tailed and rank-deficient worlds.

    python tests/benchmarks/bench_hard_worlds.py [--repeats 6]

Every method sees the same samples; the truth is exact or by quadrature, in nats. "Rows as samples" and "variant 2" are
what this library did at first. Peers as in bench_information.py.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import warnings
from collections.abc import Callable, Iterator

import numpy as np
from bench_information import ennemi_ksg, infomeasure_ksg, npeet_ksg, sklearn_ksg
from scipy.integrate import quad
from scipy.stats import norm

import redundancy as rd

IMAGES, TOKENS = 150, 12


def plain_determinants(x, y):
    """-log(det / (det det)) / 2 of the sample covariances, whatever their rank."""
    whole, d = np.cov(np.hstack([x, y]).T), x.shape[1]
    dets = [np.linalg.slogdet(np.atleast_2d(c))[1] for c in (whole[:d, :d], whole[d:, d:], whole)]
    return 0.5 * (dets[0] + dets[1] - dets[2])


OURS: dict[str, Callable] = {
    "ksg": lambda x, y, g: rd.ksg(x, y, groups=g, on_doubt="ignore"),
    "ksg, ranks": lambda x, y, g: rd.ksg(x, y, groups=g, scale="rank", on_doubt="ignore"),
    "mixed_information": lambda x, y, g: rd.mixed_information(x, y, groups=g, on_doubt="ignore"),
    "gaussian_information": lambda x, y, g: rd.gaussian_information(x, y, groups=g, on_doubt="ignore"),
    "critic_information": lambda x, y, g: rd.critic_information(x, y, groups=g, rng=0, on_doubt="ignore"),
}
OLD: dict[str, Callable] = {
    "ksg, rows as samples": lambda x, y: rd.ksg(x, y, on_doubt="ignore").value,
    "ksg variant 2, rows as samples": lambda x, y: rd.ksg(x, y, variant=2, on_doubt="ignore").value,
    "log-determinants, rank unchecked": plain_determinants,
}
PEERS: dict[str, tuple[Callable, str, int]] = {
    "scikit-learn": (sklearn_ksg, "sklearn", 1),
    "ennemi": (ennemi_ksg, "ennemi", 1),
    "infomeasure": (infomeasure_ksg, "infomeasure", 99),
    "npeet_plus": (npeet_ksg, "npeet_plus", 99),
}


def clustered(rng, share):
    """Rows of images with this share of the variance between images."""
    between = rng.standard_normal((IMAGES, 1)).repeat(TOKENS, axis=0)
    return math.sqrt(share) * between + math.sqrt(1 - share) * rng.standard_normal((IMAGES * TOKENS, 1))


def rectified_truth(noise):
    """I(max(Z, 0); max(Z, 0) + noise) by quadrature."""

    def density(y):
        ends = max(0, y - 8 * noise), max(0.1, y + 8 * noise)
        part, _ = quad(lambda x: norm.pdf(x) * norm.pdf(y - x, scale=noise), *ends)
        return 0.5 * norm.pdf(y, scale=noise) + part

    entropy, _ = quad(lambda y: -density(y) * math.log(density(y)), -6 * noise, 5, limit=200)
    return entropy - 0.5 * math.log(2 * math.pi * math.e * noise**2)


def worlds() -> Iterator[tuple[str, float, Callable]]:
    """Name, truth, and a draw of (x, y, groups)."""
    image = np.arange(IMAGES).repeat(TOKENS)
    for share in (0.5, 0.7, 0.9, 0.99):
        name = f"clustered: independent images, share {share}"
        yield name, 0.0, lambda r, share=share: (clustered(r, share), clustered(r, share), image)

    def rectified(r, n=4000):
        return np.maximum(r.standard_normal((n, 1)) + 0.1257, 0)

    yield "tied: 45% zeros against noise", 0.0, lambda r: (rectified(r), r.standard_normal((4000, 1)), None)

    def noisy(r):
        x = np.maximum(r.standard_normal((4000, 1)), 0)
        return x, x + 0.3 * r.standard_normal((4000, 1)), None

    yield "tied: half zeros plus noise", rectified_truth(0.3), noisy

    def pair(r, n, d, rho):
        a, b = r.standard_normal((2, n, d))
        return a, rho * a + math.sqrt(1 - rho**2) * b

    def heavy(r):
        x, y = pair(r, 2000, 1, 0.8)
        return np.exp(8 * x), y, None

    yield "heavy tails: exp(8 z), correlation .8", -0.5 * math.log(1 - 0.64), heavy

    def constant(r):
        x, y = pair(r, 500, 2, 0.0)
        one = np.ones((500, 1))
        return np.hstack([one, x]), np.hstack([one, y]), None

    yield "rank: a constant beside independent columns", 0.0, constant

    def dependent(r):
        x, y = pair(r, 2000, 2, 0.6)
        return np.c_[x, x.sum(1)], np.c_[y, y.sum(1)], None

    yield "rank: a third column, the sum of two", -math.log(1 - 0.36), dependent


def main() -> None:
    """Print one row for each world and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=6)
    repeats = parser.parse_args().repeats
    warnings.simplefilter("ignore")
    print("| world | truth | method | bias | RMSE | doubted |\n|---|---|---|---|---|---|")
    for world, truth, draw in worlds():
        samples = [draw(np.random.default_rng(seed)) for seed in range(repeats)]
        width = samples[0][0].shape[1]
        peers = {
            name: f for name, (f, module, most) in PEERS.items() if width <= most and importlib.util.find_spec(module)
        }
        for name, ours in OURS.items():
            found = [ours(*sample) for sample in samples]
            doubted = sum(bool(one.details["doubts"]) for one in found)
            show(world, truth, f"**`{name}`**", [one.value for one in found], f"{doubted} of {repeats}")
        for name, method in (OLD | peers).items():
            values = []
            for x, y, _ in samples:
                try:
                    values.append(float(method(x, y)))
                except Exception as error:  # a method that fails is a result
                    values = type(error).__name__
                    break
            show(world, truth, name, values, "")


def show(world: str, truth: float, name: str, values: list[float] | str, doubted: str) -> None:
    """Print a row."""
    if isinstance(values, str):
        print(f"| {world} | {truth:.3f} | {name} | {values} | | |", flush=True)
        return
    errors = np.array(values) - truth
    print(
        f"| {world} | {truth:.3f} | {name} | {errors.mean():+.3f} | {np.sqrt(np.mean(errors**2)):.3f} | {doubted} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
