"""Rules that choose image tokens inside the decoder: PyramidDrop, FitPrune and TopV."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from redundancy.array_types import FloatArray
from vlm.plans.plan import SkipPlan
from vlm.selectors.token_choices import Ordinals, finite

# PyramidDrop's layers of 32.
_STAGES, _DEPTH = (8, 16, 24), 32
_STEP = 0.01


def pyramiddrop_plan(count: int, *, depth: int, ratio: float = 0.5, stages: Sequence[int] | None = None) -> SkipPlan:
    """PyramidDrop: at three layers a share of the image tokens stays, ranked by the layer's own attention.

    Before a layer runs, its queries and keys are computed on what enters it, and the tokens stay to which the last
    instruction token attends most, mean over heads. Positions of what is left are consecutive. One more projection of
    queries and keys at each stage.

    Parameters
    ----------
    count : int
        Number N of image tokens of the prompt.
    depth : int
        Number of decoder layers.
    ratio : float
        int(N ratio), int(N ratio^2), ... tokens stay; the authors use 0.5.
    stages : sequence of int, optional
        The layers; the authors use 8, 16 and 24 of 32, by default the same in proportion.

    Returns
    -------
    SkipPlan

    Raises
    ------
    ValueError
        No image token, or stages that fall on one layer.

    See Also
    --------
    vlm.SkipPlan.rank : One stage.
    vlm.selectors.fastv_plan : Ranks by the layer before, once.

    References
    ----------
    Xing et al. (2024), *PyramidDrop: accelerating your large vision-language models via pyramid visual redundancy
    reduction*, arXiv:2410.17247; rule as in github.com/Cooperx521/PyramidDrop, llava/model/modeling_llama_pdrop.py.

    Examples
    --------
    >>> from vlm import selectors
    >>> str(selectors.pyramiddrop_plan(576, depth=32))
    'renumber:8-/rank:8=0.5/rank:16=0.25/rank:24=0.125'
    """
    if count < 1:
        raise ValueError(f"count: expected at least one image token, got {count}")
    layers = [round(stage * depth / _DEPTH) for stage in _STAGES] if stages is None else list(stages)
    if len(set(layers)) < len(layers) or max(layers) >= depth:
        raise ValueError(f"stages: PyramidDrop's {_STAGES} of {_DEPTH} fall on {layers} of {depth}; name them yourself")
    plan = SkipPlan.renumber(min(layers), None)
    for number, layer in enumerate(sorted(layers), 1):
        plan |= SkipPlan.rank(layer, int(count * ratio**number) / count)
    return plan


def fitprune_plan(
    attention: Sequence[ArrayLike], cost: Callable[[SkipPlan], float], at_most: float, *, step: float = _STEP
) -> SkipPlan:
    r"""FitPrune: in every layer image tokens leave between attention and feed-forward, their numbers fitted to data.

    While the model runs, those with the lowest product of attention from text (sum) and from image tokens (mean), each
    the largest over heads, leave (:meth:`vlm.SkipPlan.leave`). How many is fitted on calibration prompts: for a
    tolerance alpha, in each layer the tokens leave that are both among the least read by text and among the least read
    by image tokens, as many as lose at most the share alpha of what is read in the full model. The number of a layer is
    the mean over prompts, rounded down; alpha is found by bisection, and layers after the budget is reached prune
    nothing more. The authors run the layers again on what is left; here all sums are those of the full run.
    O(L N log N) for each prompt and step of the bisection.

    Parameters
    ----------
    attention : one (L, 2, N) per calibration prompt
        `AttentionStatistics.prompts()`: attention that each image token gets from text and from image tokens.
    cost : function
        Operations of a plan over those of the full model.
    at_most : float
        The budget.
    step : float
        The bisection stops when alpha is known to this; the authors use 0.01.

    Returns
    -------
    SkipPlan

    Raises
    ------
    ValueError
        No prompts, or prompts of different numbers of image tokens.

    See Also
    --------
    vlm.selectors.attention_statistics : Measures the sums.

    Notes
    -----
    :math:`\sum_{j \notin D} c_j \ge (1 - \alpha) \sum_j c_j`, and the same for the image's own attention.

    References
    ----------
    Ye et al. (2024), *Fit and Prune: fast and training-free visual token pruning for multi-modal large language
    models*, arXiv:2409.10197; rule as in github.com/ywh187/FitPrune, LLaVA_1.5/llava/eval/statistical_analysis.py.

    Examples
    --------
    >>> import numpy as np
    >>> from vlm import selectors
    >>> sums = np.array([[[1, 2, 3, 94], [3, 1, 2, 94]], [[1, 0, 50, 49], [1, 0, 49, 50]]])
    >>> def share(plan):
    ...     return min([1.0, *(fraction for _, fraction in plan.leaving)])
    >>> str(selectors.fitprune_plan([sums], share, 0.5))
    'leave:1=0.5'
    """
    prompts = [finite(one, name="attention") for one in attention]
    if not prompts or len({one.shape for one in prompts}) > 1:
        raise ValueError("attention: expected prompts of as many image tokens each, got none or different ones")
    low, high = 0.0, 1.0
    while high - low > step + 1e-6:
        alpha = (low + high) / 2
        if cost(_fitted(prompts, alpha, cost, at_most)) <= at_most:
            high = alpha
        else:
            low = alpha
    return _fitted(prompts, high, cost, at_most)


def _fitted(prompts: Sequence[FloatArray], alpha: float, cost: Callable[[SkipPlan], float], at_most: float) -> SkipPlan:
    """The plan of one tolerance, layer by layer until the budget is reached."""
    depth, _, count = prompts[0].shape
    gone: list[set[int]] = [set() for _ in prompts]
    left, plan = count, SkipPlan()
    for layer in range(depth):
        if cost(plan) <= at_most:
            break
        leaving = 0
        for one, away in zip(prompts, gone, strict=True):
            both = [_least(sums, away, alpha) for sums in one[layer]]
            leaving += len(both[0] & both[1])
            away |= both[0] & both[1]
        left -= leaving // len(prompts)
        if leaving // len(prompts):
            plan |= SkipPlan.leave(layer, max(1, left) / count)
    return plan


def _least(sums: FloatArray, away: set[int], alpha: float) -> set[int]:
    """The least read of the tokens that are left, as many as keep the share 1 - alpha of the sum over all."""
    order = [int(j) for j in np.argsort(sums, kind="stable") if j not in away]
    still = sums[order].sum() - np.concatenate([[0.0], np.cumsum(sums[order])])
    # The authors count up to the first number that loses too much, and take one less.
    short = np.flatnonzero(still[: len(order)] < (1 - alpha) * sums.sum())
    return set(order[: max(int(short[0]) - 1, 0)] if len(short) else order[: max(len(order) - 1, 0)])


def topv_tokens(
    inputs: ArrayLike,
    outputs: ArrayLike,
    keep: int,
    *,
    recovered: float = 0.25,
    weights: tuple[float, float, float] = (1.0, 1.0, 0.01),
    sigma: float = 10.0,
    temperature: float = 0.1,
    iterations: int = 3,
) -> Ordinals:
    r"""TopV: image tokens that an optimal transport of a layer's inputs to its outputs calls for most.

    The cost of moving input i to output j adds the squared distance of their states, a spatial distance and the
    distance of i from the centre, each scaled to [0, 1]. Sinkhorn's iteration with equal masses stops with the
    columns' sums right; the rows' sums are the importance. Most of the tokens are the most important ones, and some of
    those pruned are recovered at equal steps. The authors' code was not found: weights, sigma and temperature are
    those of a re-implementation, and that the iteration ends with the columns is ours (ended with the rows, all would
    be equally important). O(iterations N^2 + N^2 D).

    Parameters
    ----------
    inputs, outputs : (N, D)
        States of the image tokens that enter layer K, and what its post-attention norm makes of them.
    keep : int
        Number of tokens, recovered ones included.
    recovered : float
        Share of them that is recovered.
    weights : three floats
        Of the parts of the cost.
    sigma : float
        Width of the spatial part, in patches.
    temperature : float
        Of the entropy.
    iterations : int
        Of Sinkhorn's algorithm.

    Returns
    -------
    tuple of int
        Ordinals in increasing order; the authors leave the others out after layer 2.

    Raises
    ------
    ValueError
        `keep` out of range, or tokens that form no square.

    See Also
    --------
    vlm.selectors.token_features : Measures inputs and outputs.

    Notes
    -----
    :math:`C_{ij} = \lVert x_i - y_j \rVert^2 + (1 - e^{-d_{ij}^2 / 2 \sigma^2}) + 0.01\, d_{i,centre}`.

    References
    ----------
    Yang et al. (2025), *TopV: compatible token pruning with inference time optimization for fast and low-memory
    multimodal vision language model*, arXiv:2503.18278.

    Examples
    --------
    >>> import numpy as np
    >>> from vlm import selectors
    >>> x = np.array([[1.0, 0], [1, 0], [1, 0.1], [0, 1]])
    >>> selectors.topv_tokens(x, x, 2, recovered=0)
    (1, 2)
    """
    x, y = finite(inputs, name="inputs"), finite(outputs, name="outputs")
    size = len(x)
    if not 0 <= keep <= size:
        raise ValueError(f"keep: expected 0 to {size} image tokens, got {keep}")
    side = round(size**0.5)
    if side * side != size:
        raise ValueError(f"inputs: expected a square of image tokens, got {size}")
    rows, columns = np.divmod(np.arange(size), side)
    apart = (rows[:, None] - rows) ** 2.0 + (columns[:, None] - columns) ** 2.0
    middle = rows[size // 2], columns[size // 2]
    central = np.sqrt((rows - middle[0]) ** 2.0 + (columns - middle[1]) ** 2.0)
    moved = ((x[:, None, :] - y[None, :, :]) ** 2).sum(axis=2)
    parts = _scaled(moved), _scaled(1 - np.exp(-apart / (2 * sigma**2))), _scaled(central)[:, None]
    kernel = np.exp(-sum(w * part for w, part in zip(weights, parts, strict=True)) / temperature)
    u, v = np.ones(size), np.ones(size)
    for _ in range(iterations):
        u = (1 / size) / (kernel @ v)
        v = (1 / size) / (kernel.T @ u)
    importance = (u[:, None] * kernel * v).sum(axis=1)
    again = round(recovered * keep)
    order = np.argsort(-importance, kind="stable")[: keep - again].tolist()
    rest = np.setdiff1d(np.arange(size), order)
    step = max(1, len(rest) // again) if again else 1
    return tuple(sorted(int(j) for j in [*order, *rest[::step][:again]]))


def _scaled(values: FloatArray) -> FloatArray:
    """Values on [0, 1]."""
    spread = values.max() - values.min()
    return np.asarray((values - values.min()) / (spread if spread > 0 else 1.0))
