"""Estimated cost of the paper's sweeps, from shapes and counts; nothing is run and nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from redundancy.display import Displayed
from vlm.datasets import DATASETS
from vlm.models.families import Family
from vlm.plans.cost import operations
from vlm.published.paper_models import MODELS, PublishedModel, skeleton
from vlm.table import Table

# Answered by one forward pass under the protocol "skip-it"; data sets that are so only in part count as generated.
_ONE_PASS = ("visual7w", "ai2d", "mmmu", "mmstar")


@dataclass(frozen=True, repr=False)
class Cost(Displayed):
    """Estimated cost of a sweep; the result of :func:`vlm.published.estimate`.

    Attributes
    ----------
    weights : float
        Gigabytes of 16-bit weights.
    memory : float
        Gigabytes of weights and of the keys and values of a batch, without activations and allocator overhead.
    ratio : float
        Decoder operations of a prompt divided by those without a plan, mean over the plans.
    hours : float
        On one accelerator, for all plans and all items.

    See Also
    --------
    vlm.published.estimate : Returns one.
    vlm.published.costs : All models as a table.

    Examples
    --------
    >>> from vlm import published
    >>> published.estimate(published.MODELS[0], generated=6000, one_pass=4000)
    Cost(weights=14.13, memory=17.15, ratio=0.7798, hours=3.717)
    """

    weights: float
    memory: float
    ratio: float
    hours: float


def estimate(
    model: PublishedModel,
    *,
    generated: int,
    one_pass: int,
    new_tokens: int = 64,
    text_tokens: int = 80,
    batch: int = 8,
    operations_per_second: float = 150e12,
    bytes_per_second: float = 1.2e12,
    seconds_per_step: float = 0.03,
) -> Cost:
    """Estimate memory and hours of the paper's plans on a model.

    The time of prefill is operations over speed. A decoding step reads weights and cache once, but takes at least
    `seconds_per_step` for Python and kernel launches. Vision tower, image reading and a judge are left out.

    Parameters
    ----------
    model : PublishedModel
        One of :data:`vlm.published.MODELS`.
    generated, one_pass : int
        Items answered by generation, and by one forward pass.
    new_tokens, text_tokens : int
        Mean length of the longest generated answer of a batch, and of a prompt without its image.
    batch : int
        Items per call.
    operations_per_second, bytes_per_second : float
        Sustained values; the defaults are about half of an A100's data sheet.
    seconds_per_step : float
        Shortest time of a decoding step.

    Returns
    -------
    Cost

    See Also
    --------
    vlm.published.costs : The same for all models and data sets.

    References
    ----------
    Hartman et al. (2025), *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models*,
    arXiv:2509.25584.

    Examples
    --------
    >>> from vlm import published
    >>> cost = published.estimate(published.MODELS[0], generated=6000, one_pass=4000)
    >>> round(cost.weights, 1), round(cost.ratio, 2)
    (14.1, 0.78)
    """
    body, counts = skeleton(model), {"vision": model.vision_tokens, "text": text_tokens}
    # Counting needs only the paths to layers and norm, which are the same in all five models.
    family = Family(model.kind)
    total = [operations(body, plan=plan, family=family, **counts).total for plan in model.plans()]
    weights = 2.0 * sum(p.numel() for p in body.parameters())
    width = model.text["hidden_size"] // model.text["num_attention_heads"]
    cache = 4.0 * model.text["num_key_value_heads"] * width * model.depth  # keys and values of two bytes, per token
    cache *= model.vision_tokens + text_tokens + new_tokens
    prefill = (generated + one_pass) * sum(total) / operations_per_second
    step = max(seconds_per_step, (weights + batch * cache) / bytes_per_second)
    decode = generated / batch * new_tokens * len(total) * step
    return Cost(
        weights=weights / 1e9,
        memory=(weights + batch * cache) / 1e9,
        ratio=sum(total[1:]) / len(total[1:]) / total[0],
        hours=(prefill + decode) / 3600,
    )


def costs(limit: int | None = 1000, models: Sequence[PublishedModel] = MODELS) -> Table:
    """Estimates for all ten data sets under the protocol "skip-it".

    Parameters
    ----------
    limit : int, optional
        Items of each data set; None for all.
    models : sequence of PublishedModel
        By default all five.

    Returns
    -------
    Table
        model, plans (with the unskipped one), items, weights and memory (GB), operations_ratio, hours.

    See Also
    --------
    vlm.published.estimate : One model.

    References
    ----------
    Hartman et al. (2025), *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models*,
    arXiv:2509.25584.

    Examples
    --------
    >>> from vlm import published
    >>> table = published.costs(limit=100, models=published.MODELS[:1])
    >>> table["plans"].tolist(), table["items"].tolist()
    ([7], [1000])
    """
    sizes = {d.name: d.size if limit is None else min(limit, d.size) for d in DATASETS}
    one_pass = sum(sizes[name] for name in _ONE_PASS)
    rows = []
    for model in models:
        cost = estimate(model, generated=sum(sizes.values()) - one_pass, one_pass=one_pass)
        rows.append(
            {
                "model": model.name,
                "plans": len(model.plans()),
                "items": sum(sizes.values()),
                "weights": cost.weights,
                "memory": cost.memory,
                "operations_ratio": cost.ratio,
                "hours": cost.hours,
            }
        )
    return Table.from_rows(rows)
