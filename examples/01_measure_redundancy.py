"""Measure two layers
==================

Measure geometric and proximal redundancy of two layers' states, with intervals that count images.

The states are made: each image has a direction that all its tokens share, and the second layer turns every
token by a random angle. With ``--bundle`` large, all tokens of all images point almost the same way; then
a small distance says little, and the baseline of unrelated pairs shows it.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import bounds
import redundancy as rd


def states(rng, images=80, tokens=36, width=64, bundle=0.0, angle=0.2):
    """Two layers' states (rows, width) and the image of each row."""
    image = np.repeat(np.arange(images), tokens)
    common = np.zeros(width)
    common[0] = bundle
    x = rng.normal(size=(images, width))[image] + rng.normal(size=(images * tokens, width)) + common
    noise = rng.normal(size=x.shape)
    noise *= np.linalg.norm(x, axis=1, keepdims=True) / np.linalg.norm(noise, axis=1, keepdims=True)
    # How far a token turns depends on its image: tokens of one image are not independent.
    turn = angle * rng.gamma(2.0, 0.5, size=images)[image]
    return x, x + np.tan(turn)[:, None] * noise, image


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("figures"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    thresholds = np.linspace(0.0, 1.2, 61)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for ax, bundle in zip(axes, (0.0, 40.0), strict=True):
        x, y, image = states(rng, bundle=bundle)
        mean = rd.geometric(x, y, groups=image, baseline=True, rng=0)
        close = rd.proximal(x, y, t=0.05, groups=image, baseline=True, rng=0)
        print(f"bundle {bundle:g}")
        for estimate in (mean, close):
            limits = bounds.certify(estimate, confidence=0.95)
            print(f"  {estimate}\n    {limits.guarantee}")
        curve = rd.proximal(x, y, t=thresholds, groups=image, baseline=True, rng=0)
        band = bounds.certify(curve, method="dkw")
        ax.fill_between(thresholds, band.low, band.high, alpha=0.25, label="95% band, all t at once")
        ax.plot(thresholds, curve.value, label="same token, next layer")
        ax.plot(thresholds, curve.baseline.value, "--", label="unrelated tokens")
        ax.set(title=f"common direction of length {bundle:g}", xlabel="cosine distance t")
    axes[0].set_ylabel("P(distance <= t)")
    axes[0].legend(fontsize=8)
    figure.savefig(out / "01_measure_redundancy.png", dpi=140)
    print(f"figure: {out / '01_measure_redundancy.png'}")


if __name__ == "__main__":
    main()
