"""What the paper's sweeps cost, estimated from shapes and counts; nothing is run and nothing downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vlm.datasets import DATASETS
from vlm.models.families import Family
from vlm.plans.cost import operations
from vlm.published.paper_models import MODELS, PublishedModel, skeleton
from vlm.table import Table

# Answered by one forward pass under the protocol "skip-it"; what is only partly so counts as generated.
_ONE_PASS = ("visual7w", "ai2d", "mmmu", "mmstar")


@dataclass(frozen=True)
class Cost:
    """What a sweep needs, estimated.

    Attributes
    ----------
    weights : float
        Gigabytes of 16-bit weights.
    memory : float
        The same with keys and values of a batch; activations and the allocator's slack come on top.
    ratio : float
        Mean over the plans of decoder operations of a prompt, as a ratio to no plan.
    hours : float
        On one accelerator, for all plans on all items.
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

    Prefill is limited by operations. A decoding step reads weights and cache once, but takes at least
    `seconds_per_step` for Python and kernel launches. The vision tower, reading pictures and a judge are left out.

    Parameters
    ----------
    generated, one_pass : int
        Items answered by generation, and by one forward pass.
    new_tokens, text_tokens : int
        Mean length of a generated answer (of the longest in a batch), and of a prompt without its image.
    batch : int
        Items per call.
    operations_per_second, bytes_per_second : float
        Sustained, not on the data sheet; the defaults are about half of what an A100's says.
    """
    body, counts = skeleton(model), {"vision": model.vision_tokens, "text": text_tokens}
    # The paths to layers and norm, all that counting reads, are the same in all five.
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

    Returns
    -------
    Table
        model, plans (with the unskipped one), items, weights and memory (GB), operations_ratio, hours.
    """
    sizes = {d.name: d.size if limit is None else min(limit, d.size) for d in DATASETS}
    one_pass = sum(sizes[name] for name in _ONE_PASS)
    rows = []
    for model in models:
        found = estimate(model, generated=sum(sizes.values()) - one_pass, one_pass=one_pass)
        rows.append(
            {
                "model": model.name,
                "plans": len(model.plans()),
                "items": sum(sizes.values()),
                "weights": found.weights,
                "memory": found.memory,
                "operations_ratio": found.ratio,
                "hours": found.hours,
            }
        )
    return Table.from_rows(rows)
