"""CPU seconds of each notion for one pair of layers at a width, from random states; ratios to the distances.

python -m tests.benchmarks.bench_notions --images 1000 --width 4096
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from vlm.notions.choices import Choices
from vlm.notions.measures import NOTIONS, Confidence
from vlm.notions.targets import RowTarget
from vlm.notions.view_profile import ViewProfile, fitting_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--panel", action="store_true", help="also the default panel of predictors")
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    answer = rng.integers(10, size=given.images)
    x = rng.normal(size=(given.images, given.width)) + 8.0 * np.eye(given.width)[answer]
    y = x + 0.3 * rng.normal(size=x.shape)
    groups = np.array([f"{i:06d}" for i in range(given.images)])
    fit = fitting_rows(groups, 0.5, 0)
    classes = tuple(str(i) for i in range(10))
    target = RowTarget(np.ones(given.images, dtype=bool), answer.astype(str), classes)

    def seconds(run: Callable[[], object]) -> float:
        start = time.process_time()
        run()
        return time.process_time() - start

    base = 0.0
    print(f"{given.images} images, width {given.width}, one pair of layers, one view")
    for notion in NOTIONS:
        chosen = Choices(notions=(notion,), predictors=("ridge", "panel") if given.panel else ("ridge",))
        view = ViewProfile([x, y].__getitem__, groups, fit, target, chosen, Confidence(), Confidence())
        alone = notion in ("usable information", "effective rank")
        taken = seconds(partial(view.layer, 1) if alone else partial(view.pair, 0, 1))
        base = base or taken
        print(f"{notion:20s} {taken:8.2f} CPU seconds, {taken / base:7.1f} times the distances", flush=True)


if __name__ == "__main__":
    main()
