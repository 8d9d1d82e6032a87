"""What plans that were measured say about plans that were not: a guess that chooses what is measured next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from redundancy.array_types import FloatArray, IntArray
from vlm.planner.frontier import FLOOR, Scored
from vlm.planner.layer_actions import actions_of
from vlm.plans.plan import SkipPlan

# Variances of log KL: of the layers' own effects together, of their interplay, and of the KL of one question.
_SINGLE, _JOINT, _QUESTION = 3.0, 1.0, 2.0
# Plans that differ in this share of the layers have interplays with a correlation of 1 / e.
_LENGTH = 0.3
_AT_ONCE = 512


def expected_kl(
    plans: Sequence[SkipPlan], known: Sequence[Scored], prior: Mapping[tuple[int, str], float], *, depth: int
) -> FloatArray:
    """Expected typical KL of plans, from plans that were measured.

    Parameters
    ----------
    plans : sequence of SkipPlan
        Plans to guess.
    known : sequence of Scored
        Measured plans.
    prior : mapping of (layer, action) -> damage
        Damages of single actions, nats: where nothing was measured, they add up.
    depth : int
        Number of decoder layers.

    Returns
    -------
    ndarray (plans,)
        Nats.

    Notes
    -----
    The logarithm of the sum of single damages, corrected by the mean of a Gaussian process: a sum over layers, and an
    interplay that two plans share the more, the fewer layers they differ in. So it sees that layers stand in for each
    other once plans were measured in which both are skipped. It only chooses what is measured next.
    """
    start = _summed(plans, prior, depth)
    if not known:
        return np.exp(start)
    residual = np.log([s.typical_kl for s in known]) - _summed([s.plan for s in known], prior, depth)
    questions = np.array([float(s.questions) for s in known])
    mean = float(np.average(residual, weights=questions))
    numbers: dict[tuple[object, float], int] = {("run", 1.0): 0}
    one, other = (_steps(some, depth, numbers) for some in ([s.plan for s in known], plans))
    weights = np.linalg.solve(_covariance(one, one) + np.diag(_QUESTION / questions), residual - mean)
    # In blocks: a deep model has thousands of moves and of measured plans.
    blocks = [_covariance(other[i : i + _AT_ONCE], one) @ weights for i in range(0, len(other), _AT_ONCE)]
    return np.asarray(np.exp(start + mean + np.concatenate(blocks)))


def _summed(plans: Sequence[SkipPlan], prior: Mapping[tuple[int, str], float], depth: int) -> FloatArray:
    """Logarithm of the sum of single damages (plans,)."""
    sums = [
        sum(prior.get((layer, str(action)), 0.0) for layer, action in enumerate(actions_of(plan, depth)))
        + sum(prior.get((layer, f"prune {share:g}"), 0.0) for layer, share in plan.pruned)
        for plan in plans
    ]
    return np.asarray(np.log(FLOOR + np.maximum(sums, 0.0)))


def _steps(plans: Sequence[SkipPlan], depth: int, numbers: dict[tuple[object, float], int]) -> IntArray:
    """A number for what each layer does (plans, depth); 0 where it runs on all image tokens."""
    out = np.zeros((len(plans), depth), dtype=np.int64)
    for row, plan in enumerate(plans):
        share, prunings = 1.0, dict(plan.pruned)
        for layer, action in enumerate(actions_of(plan, depth)):
            share = min(share, prunings.get(layer, 1.0))
            out[row, layer] = numbers.setdefault((action, share), len(numbers))
    return out


def _covariance(one: IntArray, other: IntArray) -> FloatArray:
    depth = one.shape[1]
    numbers = np.arange(max(one.max(), other.max()) + 1)
    left, right = ((steps[:, :, None] == numbers).astype(np.float64) for steps in (one, other))
    equal = left.reshape(len(left), -1) @ right.reshape(len(right), -1).T
    skipped = left[:, :, 1:].reshape(len(left), -1) @ right[:, :, 1:].reshape(len(right), -1).T
    return np.asarray(_SINGLE / depth * skipped + _JOINT * np.exp((equal / depth - 1.0) / _LENGTH))
