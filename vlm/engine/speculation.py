"""A plan as draft of the full model: fewer steps of the full model, the same answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vlm.engine.shared_copy import copy_with_shared_weights
from vlm.engine.skipping import skipping
from vlm.models.families import Family
from vlm.models.types import Model
from vlm.models.wrappers import unwrapped
from vlm.plans.plan import SkipPlan


@contextmanager
def speculative(model: Model, plan: SkipPlan | str, *, family: Family | None = None) -> Iterator[Model]:
    """Let a plan propose tokens that the full model verifies: answers unchanged, fewer steps of the full model.

    Inside the context, pass the draft to transformers' assisted generation:
    ``model.generate(**batch, assistant_model=draft)``. The draft is the model itself under the plan, with shared
    weights, so it needs no memory but its cache. Greedy answers are token by token those of the full model, and
    sampled answers are distributed as the full model's, whatever the plan.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model without an open plan.
    plan : SkipPlan or str
        What the draft skips. A good draft is cheap in decoding, where image tokens no longer run: plans that drop
        whole layers, or halves of them. A plan for image tokens alone saves only keys in the cache there.
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    PreTrainedModel
        The draft. It is of no use after the context.

    Raises
    ------
    ValueError
        The plan names layers beyond the last.

    See Also
    --------
    vlm.skipping : Run the plan's own answers, which may differ.
    vlm.bake : A smaller model for good.

    Notes
    -----
    A step verifies k proposals and yields one token more than are accepted. With acceptance rate a and a draft that
    costs a fraction c of the full model per token, (1 - a^(k+1)) / ((1 - a) (1 + k c)) tokens come in the time of one
    (Leviathan et al., theorem 3.8).

    References
    ----------
    Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding", arXiv 2211.17192. Elhoushi et
    al. 2024, "LayerSkip: Enabling Early Exit Inference and Self-Speculative Decoding", arXiv 2404.16710.

    Examples
    --------
    >>> import torch
    >>> import vlm
    >>> from vlm.tiny import questions
    >>> model, processor = vlm.load("tiny")
    >>> question = questions(limit=1)[0]
    >>> batch = processor(images=[question.image], text=[question.prompt], return_tensors="pt")
    >>> plain = model.generate(**batch, max_new_tokens=4, do_sample=False)
    >>> with vlm.speculative(model, "mlp:1-3/attention:4-6") as draft:
    ...     fast = model.generate(**batch, max_new_tokens=4, do_sample=False, assistant_model=draft)
    >>> torch.equal(fast, plain)
    True
    """
    draft = copy_with_shared_weights(unwrapped(model))
    with skipping(draft, plan, family=family):
        yield draft
