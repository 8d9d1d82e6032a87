"""Answers a choice from one forward pass: the probability of each label as the first word of the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from redundancy.array_types import FloatArray

if TYPE_CHECKING:
    import torch

    from vlm.models.types import Model


class Tokenizer(Protocol):
    """The part of a transformers tokenizer that is used here."""

    @property
    def unk_token_id(self) -> int | None: ...
    def convert_tokens_to_ids(self, tokens: list[str]) -> list[int | None]: ...
    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...
    def decode(self, token_ids: list[int]) -> str: ...


# How tokenizers mark a space before a word: SentencePiece, byte-level BPE.
_BLANKS = ("", "▁", "Ġ")


def label_tokens(processor: object, label: str) -> tuple[int, ...]:
    """Ids of all tokens that spell a label where an answer begins, ascending.

    "A" alone and "A" after a space are different tokens in most vocabularies ("A" and "▁A" in LLaMA's, "A" and
    "ĠA" in Qwen's), and the end of the chat template decides which of the two a model generates. Both count, and so
    do the capitalised and the lower-case form of a label of several letters ("Yes", "yes"). A single letter
    counts as a capital only, because "a" is a word.

    Raises
    ------
    ValueError
        No single token spells the label.
    """
    tokenizer = cast(Tokenizer, getattr(processor, "tokenizer", processor))
    forms = {label} if len(label) == 1 else {label, label.lower(), label.capitalize()}
    spellings: set[int | None] = set()
    for form in forms:
        spellings.update(tokenizer.convert_tokens_to_ids([blank + form for blank in _BLANKS]))
        for written in (form, " " + form):
            ids = tokenizer.encode(written, add_special_tokens=False)
            if len(ids) == 1 and tokenizer.decode(ids).strip() == form:  # a tokenizer may drop unknown characters
                spellings.add(ids[0])
    tokens = sorted(token for token in spellings if token is not None and token != tokenizer.unk_token_id)
    if not tokens:
        raise ValueError(f"labels: expected words that are one token each, got {label!r}; let the model generate")
    return tuple(tokens)


def label_probabilities(logits: torch.Tensor, processor: object, labels: Sequence[Sequence[str]]) -> FloatArray:
    """Compute the probability of each label as the next word.

    Parameters
    ----------
    logits : tensor (batch, vocabulary)
        Logits of the last position of each row, where the answer begins.
    processor : transformers processor or tokenizer
        Of the model that gave the logits.
    labels : sequence (batch,) of sequences of str
        The labels of each row; rows may have different numbers of labels.

    Returns
    -------
    ndarray (batch, most labels), float64
        Softmax over the whole vocabulary, summed over the tokens that spell a label (alone or after a space,
        capitalised or not), in [0, 1]. A row sums to at most 1; other words have the rest. Columns beyond a row's
        labels are 0.

    Raises
    ------
    ValueError
        Rows and labels differ in number, a row has fewer than two labels, a logit is NaN, no single token spells a
        label, or two labels of a row share a token.

    See Also
    --------
    letter_probabilities : The same from a model and a batch.

    References
    ----------
    Hartman et al. (2025), *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models*,
    arXiv:2509.25584.

    Examples
    --------
    >>> import torch
    >>> import vlm
    >>> from vlm.scoring import label_probabilities
    >>> _, processor = vlm.load("tiny")
    >>> logits = torch.zeros(1, len(processor.tokenizer))
    >>> logits[0, processor.tokenizer.convert_tokens_to_ids(["yes", "no"])] = torch.tensor([6.0, 4.0])
    >>> label_probabilities(logits, processor, [("yes", "no")]).round(2)
    array([[0.8 , 0.11]])
    """
    import torch

    if logits.ndim != 2 or len(labels) != len(logits):
        raise ValueError(
            f"labels: expected one sequence per row of logits, got {len(labels)} for {tuple(logits.shape)}"
        )
    if any(len(row) < 2 for row in labels):
        raise ValueError("labels: expected at least two per row, got a row with fewer; let the model generate")
    if bool(torch.isnan(logits).any()):
        raise ValueError("logits: expected numbers, got NaN; the model's dtype may overflow: load it in float32")
    tokens = {label: label_tokens(processor, label) for row in labels for label in row}
    for row in labels:
        ids = [i for label in row for i in tokens[label]]
        if len(ids) != len(set(ids)):
            raise ValueError(f"labels: expected labels without a common token, got {tuple(row)}")
    probabilities = torch.softmax(logits.double(), dim=-1).cpu().numpy()
    out = np.zeros((len(labels), max(map(len, labels), default=0)))
    for i, row in enumerate(labels):
        out[i, : len(row)] = [probabilities[i, list(tokens[label])].sum() for label in row]
    return out


def letter_probabilities(
    model: Model, processor: object, batch: Mapping[str, torch.Tensor], labels: Sequence[Sequence[str]]
) -> FloatArray:
    """Compute the probability of each option's letter in one forward pass, without generating.

    Parameters
    ----------
    model : PreTrainedModel
    processor : transformers processor
        Both as `vlm.load` returns them; enter a skip plan around the call.
    batch : mapping
        The processor's tensors, padded on the left; the prompts end where the answer begins.
    labels : sequence (batch,) of sequences of str
        The choices of each row: ``("A", "B", "C", "D")``, ``("Yes", "No")``.

    Returns
    -------
    ndarray (batch, most labels), float64
        Probabilities in [0, 1]; see :func:`label_probabilities`. A row's answer is the label with the largest.

    Raises
    ------
    ValueError
        The batch is padded on the right, or as for :func:`label_probabilities`.

    See Also
    --------
    label_probabilities : The same from logits.

    References
    ----------
    Hartman et al. (2025), *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models*,
    arXiv:2509.25584.

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> from vlm.scoring import letter_probabilities
    >>> model, processor = vlm.load("tiny")
    >>> (question,) = tiny.questions(split="test", limit=1, seed=0, kinds=("existence",))
    >>> batch = processor(images=[question.image], text=[question.prompt], return_tensors="pt")
    >>> question.prompt, question.answer
    ('<image> is there a 8? answer:', 'yes')
    >>> letter_probabilities(model, processor, batch, [("yes", "no")]).round(2)
    array([[1., 0.]])
    """
    import torch

    mask = batch.get("attention_mask")
    if mask is not None and not bool(mask[:, -1].all()):
        raise ValueError("batch: expected padding on the left, got padding where the answer begins")
    with torch.no_grad():
        logits = model(**batch, logits_to_keep=1).logits[:, -1]
    return label_probabilities(logits, processor, labels)
