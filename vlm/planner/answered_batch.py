"""Prompts with the full model's greedy answers appended: one forward over both judges a plan (teacher forcing)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vlm.models.types import Model

# The key of the arguments of `forward` that are not one number per token of the prompt.
NO_TOKEN = -1


@dataclass(frozen=True, eq=False)
class AnsweredBatch:
    """Model inputs of some prompts, and the tokens that the full model answers.

    Attributes
    ----------
    prompt : mapping
        Inputs of the prompts, padded on the left.
    answers : Tensor (rows, positions)
        Ids of the answers with their end tokens, aligned on the right; NO_TOKEN before them.
    forced : mapping
        Inputs of prompts and answers but for their last token, padded on the left: the logits at the last `positions`
        places predict `answers`.
    """

    prompt: Mapping[str, Tensor]
    answers: Tensor
    forced: Mapping[str, Tensor]

    @property
    def positions(self) -> int:
        """Tokens of the longest answer."""
        return int(self.answers.shape[1])

    @property
    def answered(self) -> Tensor:
        """Which of the positions (rows, positions) belong to an answer."""
        return self.answers != NO_TOKEN


def answered_batch(model: Model, prompt: Mapping[str, Tensor], answers: Sequence[Sequence[int]]) -> AnsweredBatch:
    """Append answers to a batch of prompts.

    Parameters
    ----------
    model : Model
        Says of which family the prompts are.
    prompt : mapping
        Inputs of the model.
    answers : sequence (rows,) of sequences of int
        Ids of each answer with its end token; at least one token each.
    """
    ids, mask = prompt["input_ids"], prompt["attention_mask"].bool()
    longest = max(map(len, answers))
    table = torch.full((len(answers), longest), NO_TOKEN, device=ids.device)
    for row, answer in enumerate(answers):
        table[row, longest - len(answer) :] = torch.tensor(list(answer), device=ids.device)
    if longest == 1:
        return AnsweredBatch(prompt, table, prompt)
    # In PaliGemma generated tokens belong to the causal suffix, which is type 1; elsewhere type 0 is text.
    suffix = int(model.config.model_type == "paligemma")
    length = max(int(real.sum()) + len(answer) - 1 for real, answer in zip(mask, answers, strict=True))
    forced: dict[str, Tensor] = {}
    for name, value in prompt.items():
        if value.shape != ids.shape:
            forced[name] = value
            continue
        out = torch.zeros((len(answers), length), dtype=value.dtype, device=value.device)
        for row, answer in enumerate(answers):
            tail: Sequence[int] = [suffix] * (len(answer) - 1)
            if name == "input_ids":
                out[row] = ids[row, 0] if not mask[row, 0] else 0
                tail = answer[:-1]
            elif name == "attention_mask":
                tail = [1] * (len(answer) - 1)
            own = torch.cat([value[row, mask[row]], torch.tensor(list(tail), dtype=value.dtype, device=value.device)])
            out[row, length - len(own) :] = own
        forced[name] = out
    return AnsweredBatch(prompt, table, forced)
