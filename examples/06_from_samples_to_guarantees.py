"""From samples to guarantees
==========================

Measure, certify, and push the certificate through Theorem 1; then certify the same gap directly.

States are unit vectors; the second layer turns each token by an angle that its image shares, so tokens are not
independent and the image is the unit. The target is read off the second layer, Z = <w, Y> + noise with a unit vector w:
E[Z | X, Y] does not depend on X and is 1-Lipschitz in Y, so Theorem 1 says 0 <= mmse(Z | X) - mmse(Z | Y) <=
kappa(E distance), and a certified limit of the mean distance is a certified limit of the gap.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import Ridge

import bounds
import redundancy as rd
from bounds import confidence

METHODS = ("hoeffding", "empirical-bernstein", "anderson-dkw", "chernoff-kl", "hoeffding-bentkus", "betting")


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def world(rng, images, angle, tokens=8, width=12):
    """Paired unit states (rows, width), targets (rows,), and the image of each row."""
    image = np.repeat(np.arange(images), tokens)
    x = unit(rng.normal(size=(images, width))[image] + rng.normal(size=(images * tokens, width)))
    across = rng.normal(size=x.shape)
    across = unit(across - (across * x).sum(axis=1, keepdims=True) * x)
    turn = np.minimum(angle * rng.gamma(2.0, 0.5, images)[image], np.pi)[:, None]
    y = np.cos(turn) * x + np.sin(turn) * across
    return x, y, y[:, 0] + rng.uniform(-0.2, 0.2, len(y)), image


def widths(rng, sizes, runs=20):
    """Mean width of the 95% interval of the mean distance, for each method and number of images."""
    table = {method: [] for method in METHODS}
    for n in sizes:
        samples = []
        for _ in range(runs):
            x, y, _, image = world(rng, n, 0.3)
            samples.append(rd.geometric(x, y, groups=image).per_unit)
        columns = np.stack(samples, axis=1)
        for method in METHODS:
            low, high = confidence.interval(columns, alpha=0.05, method=method, support=(0.0, 2.0))
            table[method].append((high - low).mean())
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("figures"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)

    angles, through, direct, measured = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6), [], [], []
    for angle in angles:
        x, y, z, image = world(rng, 400, angle)
        distance = bounds.certify(rd.geometric(x, y, groups=image), side="upper")
        pushed = bounds.implications(geometric=distance, lipschitz_y=1.0, chain="X-Y-T")["functional"]
        # rd.functional estimates mmse(Z | Y) - mmse(Z | X): the sign is turned for the figure.
        gap = rd.functional(z, x, y, Ridge(1e-3), folds=2, groups=image, rng=0, target_range=(-1.2, 1.2))
        held_out = bounds.certify(gap)
        through.append(-pushed.low)
        direct.append((-held_out.high, -held_out.low))
        measured.append(-gap.value)
        if angle == 0.3:
            print(distance.guarantee)
            print(pushed.guarantee)
            print(held_out.guarantee)
    sizes = (30, 100, 300, 1000)
    table = widths(rng, sizes)
    print("mean width of the 95% interval of the mean cosine distance, by number of images")
    for method, row in table.items():
        print(f"  {method:20s} " + "  ".join(f"n={n}: {w:.4f}" for n, w in zip(sizes, row, strict=True)))

    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
    for method, row in table.items():
        left.loglog(sizes, row, "o-", label=method)
    left.set_xticks(sizes, sizes)
    left.minorticks_off()
    left.set(xlabel="images", ylabel="width of the 95% interval", title="mean cosine distance")
    left.legend(fontsize=8)
    low, high = np.array(direct).T
    right.fill_between(angles, low, high, alpha=0.25, label="held-out risk difference, 95%")
    right.plot(angles, measured, "o-", label="measured risk difference")
    right.plot(angles, through, "s--", label="limit through Theorem 1, 95%")
    right.set(xlabel="typical angle between the layers", title="mmse(Z | X) - mmse(Z | Y)")
    right.legend(fontsize=8)
    figure.savefig(out / "06_from_samples_to_guarantees.png", dpi=140)


if __name__ == "__main__":
    main()
