"""A choice read from one forward pass: how probable each answer's first word is where the answer begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# How tokenizers mark a blank before a word: SentencePiece, byte-level BPE.
_BLANKS = ("", "▁", "Ġ")


def label_tokens(processor: Any, label: str) -> tuple[int, ...]:
    """Ids of all tokens that spell a label where an answer begins, ascending.

    "A" alone and "A" after a blank are different tokens in most vocabularies ("A" and "▁A" in LLaMA's, "A" and
    "ĠA" in Qwen's), and which of the two a model says depends on how its chat template ends. Both count, and so
    do the capitalised and the lower-case form of a label of several letters ("Yes", "yes"). A single letter
    counts as a capital only: "a" is a word.

    Raises
    ------
    ValueError
        No single token spells the label.
    """
    tokenizer = getattr(processor, "tokenizer", processor)
    forms = {label} if len(label) == 1 else {label, label.lower(), label.capitalize()}
    found: set[int] = set()
    for form in forms:
        found.update(tokenizer.convert_tokens_to_ids([blank + form for blank in _BLANKS]))
        for written in (form, " " + form):
            ids = tokenizer.encode(written, add_special_tokens=False)
            if len(ids) == 1 and tokenizer.decode(ids).strip() == form:  # a tokenizer may drop what it does not know
                found.add(ids[0])
    found -= {tokenizer.unk_token_id, None}
    if not found:
        raise ValueError(f"labels: expected words that are one token each, got {label!r}; let the model generate")
    return tuple(sorted(found))


def label_probabilities(logits: Any, processor: Any, labels: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """Probability of each label as the next word.

    Parameters
    ----------
    logits : tensor (batch, vocabulary)
        Of the last position of each row, where the answer begins.
    processor
        The model's processor or tokenizer.
    labels : sequence (batch,) of sequences of str
        The labels of each row; rows may have different numbers.

    Returns
    -------
    ndarray (batch, most labels), float64
        Softmax over the whole vocabulary, summed over the tokens that spell a label (see :func:`label_tokens`),
        in [0, 1]. A row sums to at most 1; the rest went to other words. Places beyond a row's labels are 0.

    Raises
    ------
    ValueError
        Rows and labels differ in number, a row has fewer than two labels, a logit is NaN, a label is no token of
        the vocabulary, or two labels of a row share one.
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
    model: Any, processor: Any, batch: Mapping[str, Any], labels: Sequence[Sequence[str]]
) -> NDArray[np.float64]:
    """Probability of each option's letter from one forward pass; nothing is generated.

    Parameters
    ----------
    model, processor
        As `vlm.load` returns them; a skip plan, if any, is entered around the call.
    batch : mapping
        The processor's tensors, padded on the left, prompts ending where the answer begins.
    labels : sequence (batch,) of sequences of str
        What each row chooses from: ``("A", "B", "C", "D")``, ``("Yes", "No")``.

    Returns
    -------
    ndarray (batch, most labels), float64
        See :func:`label_probabilities`. The row's answer is the label of the largest.

    Raises
    ------
    ValueError
        The batch is padded on the right, or as for :func:`label_probabilities`.
    """
    import torch

    mask = batch.get("attention_mask")
    if mask is not None and not bool(mask[:, -1].all()):
        raise ValueError("batch: expected padding on the left, got padding where the answer begins")
    with torch.inference_mode():
        logits = model(**batch, logits_to_keep=1).logits[:, -1]
    return label_probabilities(logits, processor, labels)
