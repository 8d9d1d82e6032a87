"""What changes logits before the largest is taken: the settings of generation that greedy decoding obeys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from transformers import (
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
)

from vlm.models.types import Model

# Settings with which the largest logit is not all that greedy decoding looks at, and the values that switch them off.
_UNSUPPORTED: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("encoder_repetition_penalty", (None, 1.0)),
    ("encoder_no_repeat_ngram_size", (None, 0)),
    ("bad_words_ids", (None,)),
    ("min_length", (None, 0)),
    ("min_new_tokens", (None, 0)),
    ("forced_bos_token_id", (None,)),
    ("forced_eos_token_id", (None,)),
    ("sequence_bias", (None,)),
    ("begin_suppress_tokens", (None,)),
    ("exponential_decay_length_penalty", (None,)),
    ("guidance_scale", (None, 1.0)),
    ("watermarking_config", (None,)),
    ("stop_strings", (None,)),
)

# From the ids before a token (rows, tokens) and its logits (rows, vocabulary) to the scores that are compared.
Rules = Callable[[Tensor, Tensor], Tensor]


def greedy_rules(model: Model) -> Rules | None:
    """How the model's generation configuration changes the scores of greedy decoding; None if it does not.

    Raises
    ------
    NotImplementedError
        A setting that is not supported is switched on.
    """
    settings = model.generation_config
    for name, off in _UNSUPPORTED:
        if getattr(settings, name, None) not in off:
            raise NotImplementedError(
                f"generation_config.{name}: expected {off[-1]}, got {getattr(settings, name)!r}; with it an answer is "
                "more than the largest logit at each position. Switch it off in model.generation_config"
            )
    rules = LogitsProcessorList()
    if getattr(settings, "repetition_penalty", None) not in (None, 1.0):
        rules.append(RepetitionPenaltyLogitsProcessor(penalty=settings.repetition_penalty))
    if getattr(settings, "no_repeat_ngram_size", None):
        rules.append(NoRepeatNGramLogitsProcessor(settings.no_repeat_ngram_size))
    if getattr(settings, "suppress_tokens", None):
        rules.append(SuppressTokensLogitsProcessor(settings.suppress_tokens, device=model.device))
    return rules or None
