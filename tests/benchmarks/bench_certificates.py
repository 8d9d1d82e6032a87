"""Time of two-sided 95% limits for 32 layers x 2 modalities of 1,000 images, by every method."""

from __future__ import annotations

import time

import numpy as np

from bounds import confidence

LAYERS, MODALITIES, IMAGES = 32, 2, 1_000


def seconds(method: str, values: np.ndarray) -> float:
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        confidence.interval(values, alpha=0.05 / (LAYERS * MODALITIES), method=method)
        best = min(best, time.perf_counter() - start)
    return best


def main() -> None:
    rng = np.random.default_rng(0)
    fractions = rng.beta(1, 30, (IMAGES, LAYERS, MODALITIES))
    binary = (fractions > 0.03).astype(float)
    print(f"{LAYERS} layers x {MODALITIES} modalities x {IMAGES} images, best of 3")
    taken = {m: seconds(m, binary if m == "clopper-pearson" else fractions) for m in confidence.METHODS}
    for method, value in taken.items():
        print(f"{method:20s} {value:8.4f} s   {value / taken['hoeffding']:8.1f} x hoeffding")
    print(f"betting under 1 s: {'yes' if taken['betting'] < 1 else 'NO'}")


if __name__ == "__main__":
    main()
