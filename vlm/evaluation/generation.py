"""Text generation as sweeps and lmms-eval share it: one choice of pad and end tokens, one call of `generate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vlm.models.types import Model, Processor
from vlm.scoring.thoughts import kept_tokens


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen; greedy by default.

    Attributes
    ----------
    max_new_tokens : int
        Limit of what is generated.
    sampled : bool
        Draw tokens at random, with `temperature`, `top_p` and `top_k`; otherwise these have no effect.
    beams : int
        Beams of a beam search; 1 for none.
    temperature, top_p, top_k : optional
        None leaves the choice to the model's generation configuration.
    """

    max_new_tokens: int
    sampled: bool = False
    beams: int = 1
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None


def generate(
    model: Model,
    processor: Processor,
    batch: Mapping[str, Tensor],
    decoding: Decoding,
    *,
    stopping: Sequence[Callable[..., Tensor]] = (),
) -> Tensor:
    """Continue the prompts of a batch, whose rows are padded on the left.

    Parameters
    ----------
    model, processor
        As `vlm.load` returns them.
    batch : mapping
        Inputs of the model.
    decoding : Decoding
        How tokens are chosen.
    stopping : sequence of function
        (ids, scores) after each token to whether each row ends; see transformers' StoppingCriteria.

    Returns
    -------
    Tensor (batch, new tokens)
        Generated ids, padded on the right.
    """
    ids: Tensor = model.generate(
        **batch,
        max_new_tokens=decoding.max_new_tokens,
        do_sample=decoding.sampled,
        num_beams=decoding.beams,
        temperature=decoding.temperature if decoding.sampled else None,
        top_p=decoding.top_p if decoding.sampled else None,
        top_k=decoding.top_k if decoding.sampled else None,
        pad_token_id=pad_token(model, processor),
        stopping_criteria=list(stopping) or None,
    )
    return ids[:, batch["input_ids"].shape[1] :]


def texts(processor: Processor, new: Tensor) -> list[str]:
    """Generated ids as text, stripped, without special tokens other than the tags of thoughts and answers."""
    tags = _tags(processor.tokenizer)
    if not tags:
        return [text.strip() for text in processor.batch_decode(new, skip_special_tokens=True)]
    return [_with_tags(processor, row, tags) for row in new.tolist()]


def _tags(tokenizer: Any) -> dict[int, str]:
    """The tags among a tokenizer's special tokens, by id. Without them thoughts would run into the answer."""
    special = dict(
        zip(getattr(tokenizer, "all_special_ids", ()), getattr(tokenizer, "all_special_tokens", ()), strict=False)
    )
    kept = kept_tokens(special.values())
    return {number: token for number, token in special.items() if token in kept}


def _with_tags(processor: Processor, row: Sequence[int], tags: Mapping[int, str]) -> str:
    pieces: list[list[int]] = [[]]
    between = [""]
    for token in row:
        if token in tags:
            between.append(tags[token])
            pieces.append([])
        else:
            pieces[-1].append(token)
    decoded = processor.batch_decode(pieces, skip_special_tokens=True)
    return "".join(tag + part for tag, part in zip(between, decoded, strict=True)).strip()


def lengths(model: Model, new: Tensor) -> list[int]:
    """Generated tokens of each row up to and including its end token."""
    ended = torch.isin(new, torch.tensor(end_tokens(model), device=new.device, dtype=new.dtype))
    return [int(row.to(torch.uint8).argmax()) + 1 if bool(row.any()) else len(row) for row in ended]


def end_tokens(model: Model) -> list[int]:
    """Ids of the tokens that end a generation, as the model's generation configuration names them."""
    ends = model.generation_config.eos_token_id
    return [] if ends is None else [ends] if isinstance(ends, int) else list(ends)


def pad_token(model: Model, processor: Processor) -> int:
    """Id of the token that fills finished rows.

    The generation configuration's own, else the tokenizer's, else the first end token, else 0.
    """
    choices = (model.generation_config.pad_token_id, processor.tokenizer.pad_token_id, *end_tokens(model), 0)
    return next(int(token) for token in choices if token is not None)
