"""Whether the answers stay the same under plans, one plan per question, and what they score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from redundancy.array_types import FloatArray
from vlm.engine.skipping import skipping
from vlm.evaluation.answering import Answerer
from vlm.evaluation.generation import Decoding, generate, texts
from vlm.planner.answered_batch import AnsweredBatch
from vlm.planner.answered_questions import AnsweredQuestion
from vlm.planner.greedy_rules import greedy_rules
from vlm.planner.teacher_forcing import answer_logits, same_answers
from vlm.plans.plan import SkipPlan
from vlm.plans.text_form import FEATURES
from vlm.scoring import score


def outcomes(
    answerer: Answerer,
    questions: Sequence[AnsweredQuestion],
    batch: AnsweredBatch,
    plans: Sequence[SkipPlan],
    *,
    scored: bool,
    encoded: AnsweredBatch | None = None,
) -> FloatArray:
    """Agreement with the full model's answer, and the score, of each question under its plan.

    Parameters
    ----------
    answerer : Answerer
        Model and protocol.
    questions : sequence of AnsweredQuestion
        With the full model's answers.
    batch : AnsweredBatch
        Their inputs.
    plans : sequence of SkipPlan
        One per question, or a single one for all.
    scored : bool
        Whether questions are labelled. Those whose answer changes are then answered under the plan.
    encoded : AnsweredBatch, optional
        The same batch with encoded images, for plans that do not merge what the encoder makes.

    Returns
    -------
    ndarray (questions, 2)
        1 where the answer is the full model's, else 0; and the score in [0, 1], NaN where nothing is scored.
    """
    each = list(plans) if len(plans) > 1 else list(plans) * len(questions)
    given: SkipPlan | list[SkipPlan] = each[0] if len(set(each)) == 1 else each
    merges = any(layer == FEATURES for plan in set(each) for layer, _, _ in plan.merges)
    logits = answer_logits(answerer.model, batch if encoded is None or merges else encoded, given)
    same = same_answers(answerer.model, batch, logits).cpu().numpy()
    out = np.full((len(questions), 2), np.nan)
    out[:, 0] = same
    if not scored:
        return out
    changed = [row for row in range(len(questions)) if not same[row]]
    answers = [question.text for question in questions]
    if changed and questions[0].question.max_new_tokens == 1 and greedy_rules(answerer.model) is None:
        # One token is the whole answer: the largest logit, which the forward has shown.
        for row, text in zip(changed, texts(answerer.processor, logits[changed, -1:].argmax(dim=-1)), strict=True):
            answers[row] = text
    elif changed:
        prepared = [questions[row].question for row in changed]
        kept = [each[row] for row in changed]
        torch.manual_seed(answerer.seed)
        with torch.no_grad(), skipping(answerer.model, kept):
            new = generate(
                answerer.model, answerer.processor, answerer.inputs(prepared), Decoding(prepared[0].max_new_tokens)
            )
        for row, text in zip(changed, texts(answerer.processor, new), strict=True):
            answers[row] = text
    for row, (question, text) in enumerate(zip(questions, answers, strict=True)):
        item = question.item
        out[row, 1] = float(score(item, text, scorer=answerer.protocol.scorer(item)).value)
    return out
