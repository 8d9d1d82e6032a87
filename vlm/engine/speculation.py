"""A plan as draft of the full model: fewer steps of the full model, the same answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from vlm.engine.hooks import seal, unseal
from vlm.engine.kv_cache import cache_in
from vlm.engine.shared_copy import copy_with_shared_weights
from vlm.engine.skipping import skipping
from vlm.models.families import Anatomy, Family, anatomy, generates_inside
from vlm.models.layer_parts import find_attention
from vlm.models.types import Forward, Model
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
    NotImplementedError
        Transformers' assisted generation does not work with this model: layers with a recurrent state, BLIP-2.

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
    model = unwrapped(model)
    _refuse(anatomy(model, family))
    draft = copy_with_shared_weights(model)
    pictures = _Pictures()
    before = model.__dict__.get("generate")
    model.__dict__["generate"] = pictures.remembered(model)
    seal([model])
    draft.__dict__["forward"] = pictures.passed_on(draft)
    try:
        with skipping(draft, plan, family=family):
            yield draft
    finally:
        unseal([model])
        model.__dict__.pop("generate", None)
        if before is not None:
            model.__dict__["generate"] = before
        draft.__dict__.pop("forward", None)


def _refuse(parts: Anatomy) -> None:
    """Refuse models for which transformers' assisted generation cannot work."""
    name = type(parts.model).__name__
    if generates_inside(parts):
        raise NotImplementedError(
            f"speculative: {name} generates in its language model, where transformers gives a draft no image; run the "
            "plan itself (vlm.skipping)"
        )
    if any(find_attention(layer) is None for layer in parts.layers):
        raise NotImplementedError(
            f"speculative: {name} has layers with a recurrent state, which cannot take rejected tokens back; run the "
            "plan itself (vlm.skipping)"
        )


# Arguments of generate that are about tokens; transformers gives them to a draft itself.
_ABOUT_TOKENS = ("input_ids", "inputs_embeds", "attention_mask", "position_ids", "labels")
_TOKEN_TYPES = ("token_type_ids", "mm_token_type_ids")


class _Pictures(threading.local):
    """The images of the prompt that this thread generates from, which transformers 5.23 does not give to a draft."""

    def __init__(self) -> None:
        self.arguments: dict[str, Any] = {}

    def remembered(self, model: Model) -> Forward:
        """The model's generate, which keeps its images for the draft."""
        generate = model.generate

        def remembering(*args: Any, **kwargs: Any) -> Any:
            tensors = {name: value for name, value in kwargs.items() if isinstance(value, Tensor)}
            self.arguments = {name: value for name, value in tensors.items() if name not in _ABOUT_TOKENS}
            try:
                return generate(*args, **kwargs)
            finally:
                self.arguments = {}

        return remembering

    def passed_on(self, draft: Model) -> Forward:
        """The draft's forward, which gets the images with its first call."""
        original = draft.forward

        @wraps(original)
        def forward(*args: Any, **kwargs: Any) -> Any:
            cache, ids = cache_in(kwargs), kwargs.get("input_ids")
            begins = cache is None or not cache.get_seq_length()
            if ids is not None and begins and not kwargs.get("mm_encoder_outputs"):
                kwargs |= {name: value for name, value in self._for(ids).items() if kwargs.get(name) is None}
            return original(*args, **kwargs)

        return forward

    def _for(self, ids: Tensor) -> dict[str, Any]:
        given = {name: value for name, value in self.arguments.items() if name not in _TOKEN_TYPES}
        for name in set(_TOKEN_TYPES) & set(self.arguments):
            types = self.arguments[name]
            given[name] = torch.nn.functional.pad(types, (0, ids.shape[1] - types.shape[1]))
        return given
