"""Prefill time of a model under several plans, measured in turns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from vlm.engine.skipping import skipping
from vlm.models.types import Model
from vlm.plans.plan import SkipPlan
from vlm.progress_bar import by_count


def prefill_times(
    model: Model, batch: Mapping[str, Tensor], plans: Sequence[SkipPlan], *, rounds: int = 7, progress: bool = False
) -> tuple[list[float], list[float]]:
    """Median time of one forward pass under each plan, and its median ratio to the first plan.

    Parameters
    ----------
    model
        As `vlm.load` returns it.
    batch : mapping
        Inputs of the model: a batch of prompts, on its device.
    plans : sequence of SkipPlan
        The first one is the reference, usually ``SkipPlan()``.
    rounds : int
        How often each plan is timed, after one round that is not counted.
    progress : bool
        Show a bar with the time left.

    Returns
    -------
    seconds : list of float
        Median seconds of a forward pass, per plan.
    ratios : list of float
        Median over rounds of the ratio to the first plan; 1.0 for the first plan itself.

    Raises
    ------
    ValueError
        `rounds` below 1, or a plan for a deeper model.

    See Also
    --------
    vlm.operations_ratio : The same ratio counted in operations, which does not depend on the machine.

    Notes
    -----
    Plans take turns within each round and ratios are formed within rounds, so that a drift of the machine's speed
    cancels.

    Examples
    --------
    >>> import vlm
    >>> from vlm import SkipPlan, prefill_times, tiny
    >>> from vlm.evaluation.plan_accuracy import prompt_batch
    >>> model, processor = vlm.load("tiny")
    >>> batch = prompt_batch(model, processor, tiny.questions(limit=4))
    >>> seconds, ratios = prefill_times(model, batch, [SkipPlan(), SkipPlan.late_entry(8)], rounds=3)
    >>> len(seconds), ratios[0]
    (2, 1.0)
    """
    if rounds < 1:
        raise ValueError(f"rounds: expected at least 1, got {rounds}")

    def run() -> None:
        with torch.no_grad():
            model(**batch, logits_to_keep=1)

    turns = by_count(range(rounds + 1), rounds + 1, "timing", shown=progress)
    times = np.array([[_seconds(model, plan, run) for plan in plans] for _ in turns][1:])
    seconds = [statistics.median(column) for column in times.T.tolist()]
    return seconds, [statistics.median(column) for column in (times / times[:, :1]).T.tolist()]


def _seconds(model: Model, plan: SkipPlan, run: Callable[[], None]) -> float:
    with skipping(model, plan):
        _wait(model)
        start = time.perf_counter()
        run()
        _wait(model)
        return time.perf_counter() - start


def _wait(model: Model) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
