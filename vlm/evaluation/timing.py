"""Prefill time of a model under several plans, measured in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from vlm.engine.skipping import skipping
from vlm.plans.plan import SkipPlan


def prefill_times(
    model: Any, batch: dict[str, Any], plans: Sequence[SkipPlan], *, rounds: int = 7
) -> tuple[list[float], list[float]]:
    """Median seconds of one forward under each plan, and the median ratio to the first plan.

    Plans take turns within each round and ratios are taken within rounds, so that a drift of the machine's
    speed cancels.
    """
    if rounds < 1:
        raise ValueError(f"rounds: expected at least 1, got {rounds}")

    def run() -> None:
        with torch.inference_mode():
            model(**batch, logits_to_keep=1)

    taken = np.array([[_seconds(model, plan, run) for plan in plans] for _ in range(rounds + 1)][1:])
    seconds = [statistics.median(column) for column in taken.T.tolist()]
    return seconds, [statistics.median(column) for column in (taken / taken[:, :1]).T.tolist()]


def _seconds(model: Any, plan: SkipPlan, run: Callable[[], None]) -> float:
    with skipping(model, plan):
        _wait(model)
        start = time.perf_counter()
        run()
        _wait(model)
        return time.perf_counter() - start


def _wait(model: Any) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
