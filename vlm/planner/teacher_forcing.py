"""What a plan does to known answers: KL at every position, and whether greedy decoding would give the same answer."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from transformers import LogitsProcessorList

from vlm.engine.skipping import skipping
from vlm.models.types import Model
from vlm.planner.answered_batch import AnsweredBatch
from vlm.planner.greedy_rules import greedy_rules
from vlm.plans.plan import SkipPlan


def answer_logits(model: Model, batch: AnsweredBatch, plan: SkipPlan | list[SkipPlan]) -> Tensor:
    """Logits (rows, positions, vocabulary) that predict the answers' tokens, in float32, under a plan, or one per row.

    One forward over prompts and answers. Under a plan that prunes, the last prompt token chooses the image tokens, and
    in one forward the answer's last token would; so answers of several tokens are then decoded.
    """
    context: AbstractContextManager[object] = skipping(model, plan) if plan else nullcontext()
    with torch.no_grad(), context:
        if batch.positions > 1 and any(one.chooses for one in (plan if isinstance(plan, list) else [plan])):
            return _decoded(model, batch)
        logits = model(**batch.forced, use_cache=False, logits_to_keep=batch.positions).logits
    return _float(logits[:, -batch.positions :])


def same_answers(model: Model, batch: AnsweredBatch, logits: Tensor) -> Tensor:
    """Whether greedy decoding gives each row the same answer: at every position the arg max is the answer's token.

    By induction over the positions this is equality of the answers: as long as all tokens before agree, the prompt
    and the answer so far are what decoding itself would see.
    """
    rules = greedy_rules(model)
    if rules is None:
        best = logits.argmax(-1)
    else:
        best = torch.empty_like(batch.answers)
        ids, mask = batch.forced["input_ids"], batch.forced["attention_mask"].bool()
        for row in range(len(ids)):
            own = ids[row, mask[row]]
            for back in range(int(batch.answered[row].sum())):
                seen = own[: len(own) - back][None]
                best[row, batch.positions - 1 - back] = rules(
                    seen, logits[row, batch.positions - 1 - back][None]
                ).argmax()
    return ((best == batch.answers) | ~batch.answered).all(dim=1)


def divergences(reference: Tensor, logits: Tensor, batch: AnsweredBatch) -> Tensor:
    """Mean over each answer's positions of KL(full || plan) in nats, float64 (rows,).

    Parameters
    ----------
    reference, logits : Tensor (rows, positions, vocabulary)
        Of the full model and under the plan.
    batch : AnsweredBatch
        Which positions count.
    """
    full, plan = reference.log_softmax(-1), logits.log_softmax(-1)
    # A logit of -inf in both has no part in the divergence.
    terms = torch.where(full == -torch.inf, 0.0, full.exp() * (full - plan))
    at_positions = terms.sum(-1, dtype=torch.float64) * batch.answered
    return at_positions.sum(1) / batch.answered.sum(1)


def _decoded(model: Model, batch: AnsweredBatch) -> Tensor:
    """As one forward, by decoding in which the answers' tokens are put in place of the model's own."""
    positions = batch.positions
    counts = batch.answered.sum(1)
    # Decoding aligns answers on the left: token k of an answer of n tokens stands at positions - n + k of the batch.
    shift = positions - counts
    length = batch.prompt["input_ids"].shape[1]

    def put(ids: Tensor, scores: Tensor) -> Tensor:
        step = ids.shape[1] - length
        token = batch.answers.gather(1, (shift + step).clamp(max=positions - 1)[:, None])
        return torch.full_like(scores, -torch.inf).scatter(1, token, 0.0)

    steps = model.generate(
        **batch.prompt,
        max_new_tokens=positions,
        do_sample=False,
        num_beams=1,
        temperature=None,
        top_p=None,
        top_k=None,
        pad_token_id=0,
        logits_processor=LogitsProcessorList([put]),
        output_logits=True,
        return_dict_in_generate=True,
    ).logits
    logits = torch.stack(steps, dim=1)
    back = (torch.arange(positions, device=shift.device)[None] - shift[:, None]).clamp(min=0)
    aligned: Tensor = logits.gather(1, back[..., None].expand(-1, -1, logits.shape[-1]))
    return _float(aligned)


def _float(logits: Tensor) -> Tensor:
    return logits.to(torch.float32)
