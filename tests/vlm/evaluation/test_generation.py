"""Generation: one choice of pad token for sweeps and lmms-eval, lengths up to the end token, greedy unless sampled."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from vlm.evaluation.generation import Decoding, generate, lengths, pad_token, texts
from vlm.scoring.thoughts import spoken


class Model:
    """Continues every prompt with the same tokens, and remembers how it was called."""

    def __init__(self, pad=None, eos=None, new=(5, 2, 2)):
        self.generation_config = SimpleNamespace(pad_token_id=pad, eos_token_id=eos)
        self.new = new
        self.called = {}

    def generate(self, input_ids, **settings):
        self.called = settings
        return torch.cat([input_ids, torch.tensor([self.new] * len(input_ids))], dim=1)


def processor(pad=None):
    tokenizer = SimpleNamespace(pad_token_id=pad)
    return SimpleNamespace(tokenizer=tokenizer, batch_decode=lambda ids, **how: [f" {row.tolist()}\n" for row in ids])


@pytest.mark.parametrize(
    ("configured", "tokenizer", "eos", "pad"),
    [(7, 8, 9, 7), (None, 8, 9, 8), (None, None, [9, 10], 9), (None, None, None, 0), (0, 8, 9, 0)],
)
def test_the_pad_token_is_the_generation_configs_first(configured, tokenizer, eos, pad):
    model = Model(configured, eos)
    assert pad_token(model, processor(tokenizer)) == pad
    generate(model, processor(tokenizer), {"input_ids": torch.zeros((1, 4), dtype=torch.long)}, Decoding(3))
    assert model.called["pad_token_id"] == pad


def test_greedy_decoding_sets_no_temperature_and_sampling_does():
    model, batch = Model(eos=2), {"input_ids": torch.zeros((2, 4), dtype=torch.long)}
    new = generate(model, processor(), batch, Decoding(3, temperature=0.7, top_k=5))
    assert new.tolist() == [[5, 2, 2], [5, 2, 2]]
    assert (model.called["do_sample"], model.called["temperature"], model.called["top_k"]) == (False, None, None)
    assert model.called["stopping_criteria"] is None
    generate(model, processor(), batch, Decoding(3, sampled=True, temperature=0.7, top_k=5))
    assert (model.called["do_sample"], model.called["temperature"], model.called["top_k"]) == (True, 0.7, 5)


def test_lengths_count_the_end_token_and_texts_are_stripped():
    new = torch.tensor([[5, 2, 2], [5, 6, 7], [2, 2, 2]])
    assert lengths(Model(eos=[2, 3]), new) == [2, 3, 1]
    assert lengths(Model(), new) == [3, 3, 3]
    assert texts(processor(), new[:1]) == ["[5, 2, 2]"]


def test_row_4_tags_that_are_special_tokens_stay_in_the_text():
    """A tokenizer whose tags are special would drop them, and the thoughts would be read as the answer."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    words = ["<unk>", "</s>", "[THINK]", "[/THINK]", "A", "B", "no"]
    model = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    model.pre_tokenizer = Whitespace()
    special = {"eos_token": "</s>", "unk_token": "<unk>", "additional_special_tokens": ["[THINK]", "[/THINK]"]}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=model, **special)
    reading = SimpleNamespace(tokenizer=tokenizer, batch_decode=tokenizer.batch_decode)
    said = texts(reading, torch.tensor([[2, 4, 6, 3, 5, 1, 1], [5, 1, 1, 1, 1, 1, 1], [2, 4, 6, 6, 6, 6, 6]]))
    assert said == ["[THINK]A no[/THINK]B", "B", "[THINK]A no no no no no"]
    assert [spoken(text).answer for text in said] == ["B", "B", None]
    plain = PreTrainedTokenizerFast(tokenizer_object=model, eos_token="</s>", unk_token="<unk>")
    reading = SimpleNamespace(tokenizer=plain, batch_decode=plain.batch_decode)
    assert texts(reading, torch.tensor([[5, 1]])) == ["B"]
