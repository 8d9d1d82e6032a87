"""Search for a counterexample: many random worlds, then optimisers over distributions and values."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from bounds.framework.theorem import AnyTheorem, AssumptionError, World
from bounds.worlds.families import ABSENT, Variant
from bounds.worlds.finite import decompose_together
from redundancy.array_types import FloatArray

STARTS = 3
SEARCHED = 2  # number of variants searched, the smallest ones; the others are only drawn at random


def random_worst(theorems: Sequence[AnyTheorem], instances: int, rng: np.random.Generator) -> list[tuple[int, float]]:
    """Check theorems of one family on the same random worlds: (worlds checked, worst ratio) of each."""
    counts, worst = [0] * len(theorems), [0.0] * len(theorems)
    family = theorems[0].family
    worlds = [family.random(rng) for _ in range(instances)]
    decompose_together([part for world in worlds for part in family.decomposed(world)])
    for world in worlds:
        for i, theorem in enumerate(theorems):
            ratio = _ratio(theorem, world)
            if ratio is not None:
                counts[i] += 1
                worst[i] = max(worst[i], ratio)
    return list(zip(counts, worst, strict=True))


def search_worst(theorem: AnyTheorem, evaluations: int, rng: np.random.Generator) -> float:
    """Largest ratio found by L-BFGS-B, then Nelder-Mead, from the best of some random worlds."""
    from scipy import optimize

    minimize: Callable[..., optimize.OptimizeResult] = optimize.minimize  # its stub knows fewer options
    best = 0.0

    def loss(vector: FloatArray, variant: Variant) -> float:
        nonlocal best
        # Probabilities that are zero stay zero; all other numbers are clipped to a range without overflow.
        inside = np.where(vector < 0.5 * ABSENT, ABSENT, np.clip(vector, -300.0, 300.0))
        ratio = _ratio(theorem, variant.world(inside)) or 0.0
        best = max(best, ratio)
        return -min(ratio, 10.0)

    variants = theorem.family.variants[:SEARCHED]
    draws = max(STARTS, evaluations // 10)
    starts = []
    for i in range(draws):
        variant = variants[i % len(variants)]
        vector = theorem.family.vector(rng, variant)
        starts.append((loss(vector, variant), i, vector, variant))
    budget = (evaluations - draws) // (2 * STARTS)
    for _, _, vector, variant in sorted(starts, key=lambda s: s[:2])[:STARTS]:
        first = minimize(loss, vector, args=(variant,), method="L-BFGS-B", options={"maxfun": budget, "eps": 1e-6})
        options = {"maxfev": budget, "adaptive": True, "xatol": 1e-12, "fatol": 1e-14}
        minimize(loss, first.x, args=(variant,), method="Nelder-Mead", options=options)
    return best


def _ratio(theorem: AnyTheorem, world: World) -> float | None:
    try:
        return theorem.check(world).ratio
    except AssumptionError:
        return None
