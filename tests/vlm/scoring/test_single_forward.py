"""A letter from one forward pass: both tokens of a letter count, and the probabilities are the model's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import vlm
from vlm import tiny
from vlm.datasets import read
from vlm.evaluation.protocols import PROTOCOLS
from vlm.item import Item
from vlm.scoring import label_probabilities, letter_probabilities, score
from vlm.scoring.single_forward import label_tokens


def vocabulary(*words: str) -> dict[str, int]:
    return {word: number for number, word in enumerate(("<unk>", *words))}


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """As LLaMA's: a space before the first word, written as a low line; "A" alone exists as well."""
    words = Tokenizer(models.BPE(vocabulary("▁", "A", "B", "▁A", "▁B", "▁Yes", "▁No", "▁yes"), [], unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    words.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>")


def byte_level_like() -> PreTrainedTokenizerFast:
    """As Qwen's: "A", and "ĠA" after a space."""
    merges = [("Ġ", "A"), ("Ġ", "B"), ("N", "o"), ("Ġ", "No"), ("Y", "e"), ("Ye", "s"), ("Ġ", "Yes")]
    words = vocabulary(*"ABNoYes", "Ġ", "ĠA", "ĠB", "No", "ĠNo", "Ye", "Yes", "ĠYes")
    tokenizer = Tokenizer(models.BPE(words, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)  # no unknown token, as there


@pytest.mark.parametrize(
    ("tokenizer", "label", "spellings"),
    [
        (sentencepiece_like(), "A", {"A", "▁A"}),
        (sentencepiece_like(), "Yes", {"▁Yes", "▁yes"}),
        (byte_level_like(), "A", {"A", "ĠA"}),
        (byte_level_like(), "No", {"No", "ĠNo"}),
    ],
)
def test_every_spelling_of_a_label_counts(tokenizer: Any, label: str, spellings: set[str]) -> None:
    assert set(tokenizer.convert_ids_to_tokens(label_tokens(tokenizer, label))) == spellings


def test_probabilities_are_summed_over_spellings_and_not_over_the_rest() -> None:
    tokenizer = byte_level_like()
    logits = torch.full((2, len(tokenizer)), -1.0)
    logits[0, tokenizer.convert_tokens_to_ids(["A", "ĠA", "B"])] = torch.tensor([2.0, 3.0, 3.2])
    logits[1, tokenizer.convert_tokens_to_ids("No")] = 9.0
    probabilities = label_probabilities(logits, tokenizer, [("A", "B"), ("Yes", "No")])
    mass = np.exp(logits[0].double().numpy())
    ids = tokenizer.convert_tokens_to_ids
    expected = [mass[ids("A")] + mass[ids("ĠA")], mass[ids("B")] + mass[ids("ĠB")]]
    assert probabilities[0] == pytest.approx(np.array(expected) / mass.sum(), rel=1e-12)
    assert probabilities[0].sum() < 1
    assert probabilities[0].argmax() == 0  # "B" is the likeliest token, A the likelier answer
    assert probabilities[1].argmax() == 1


def test_rows_may_differ_in_number() -> None:
    tokenizer = byte_level_like()
    probabilities = label_probabilities(torch.zeros(2, len(tokenizer)), tokenizer, [("A", "B", "N"), ("A", "B")])
    assert probabilities.shape == (2, 3)
    assert probabilities[1, 2] == 0.0
    assert probabilities.dtype == np.float64


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([("A", "B")], "expected one sequence per row of logits, got 1 for"),
        ([("A",), ("A", "B")], "at least two per row"),
        ([("A", "Z"), ("A", "B")], "expected words that are one token each, got 'Z'; let the model generate"),
        ([("Yes", "yes"), ("A", "B")], "without a common token"),
    ],
)
def test_labels_that_cannot_be_compared_are_refused(labels: list[tuple[str, ...]], words: str) -> None:
    tokenizer = byte_level_like()
    with pytest.raises(ValueError, match=words):
        label_probabilities(torch.zeros(2, len(tokenizer)), tokenizer, labels)


def test_a_broken_forward_is_refused() -> None:
    tokenizer = byte_level_like()
    logits = torch.zeros(1, len(tokenizer))
    logits[0, 0] = torch.nan
    with pytest.raises(ValueError, match="logits: expected numbers, got NaN"):
        label_probabilities(logits, tokenizer, [("A", "B")])


def test_the_embedded_model_answers_by_letters() -> None:
    model, processor = vlm.load("tiny")
    protocol = PROTOCOLS["skip-it"]
    items = [i for i in read("tiny", limit=100) if isinstance(i, Item) and protocol.reading(i) == "letter"]
    batch = processor(
        images=[i.images[0] for i in items],
        text=[protocol.prompt(i) + " answer:" for i in items],
        return_tensors="pt",
        padding=True,
    )
    labels = [protocol.labels(i) for i in items]
    probabilities = letter_probabilities(model, processor, batch, labels)
    chosen = [row[int(p.argmax())] for row, p in zip(labels, probabilities, strict=True)]
    # The embedded set's own rule takes the most likely word of the whole vocabulary.
    plain = [
        q for q in tiny.questions(limit=100, kinds=tiny.IMAGE_KINDS) if q.kind in ("comparison", "existence", "choice")
    ]
    words = tiny.predict(model, processor, plain)
    assert chosen == words
    scores = [score(i, s, scorer=protocol.scorer(i)).value for i, s in zip(items, chosen, strict=True)]
    assert scores == [float(word == q.answer) for word, q in zip(words, plain, strict=True)]
    assert sum(scores) / len(scores) > 0.9
    batch["attention_mask"][:, -1] = 0
    with pytest.raises(ValueError, match="expected padding on the left"):
        letter_probabilities(model, processor, batch, labels)
