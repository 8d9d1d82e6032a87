"""The logit lens against states collected by a slow reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.vlm.measure.test_distances import collected_states
from vlm.measure.logit_lens import lens
from vlm.models.random_batches import batch_for
from vlm.models.random_models import IMAGE, random_model


@pytest.mark.parametrize("family", ["llava", "llava_next"])
def test_words_equal_those_of_collected_states(family):
    model = random_model(family)
    batch = batch_for(model, images=(2, 0, 1), after=(4, 7, 3))
    states = collected_states(model, batch)
    with torch.no_grad(), lens(model, top=3) as record:
        model(**batch)
    read = record.result()
    vision = batch["input_ids"] == IMAGE
    assert read.tokens.shape == (int(vision.sum()), 6, 3)
    assert read.sample.tolist() == vision.nonzero()[:, 0].tolist()
    assert read.patch[read.sample == 0].tolist() == list(range(int(vision[0].sum())))
    for index, state in enumerate(states):
        with torch.no_grad():
            probabilities = torch.softmax(model.lm_head(model.model.language_model.norm(state[vision])), dim=-1)
        assert np.array_equal(read.tokens[:, index, 0], probabilities.argmax(-1).numpy())
        picked = probabilities.gather(1, torch.from_numpy(read.tokens[:, index])).numpy()
        assert read.probabilities[:, index] == pytest.approx(picked, rel=1e-5)
        assert read.entropy[:, index] == pytest.approx(-(probabilities * probabilities.log()).sum(-1).numpy(), rel=1e-4)


def test_the_last_text_state_through_the_lens_is_the_prediction():
    # The same norm and matrix on state L of the last token must give the model's own logits.
    model = random_model()
    batch = batch_for(model)
    with torch.no_grad(), lens(model) as record:
        logits = model(**batch).logits
    state = collected_states(model, batch)[-1]
    tokens, probabilities, _ = record._read(state[0, -1:])
    best = torch.softmax(logits[0, -1], dim=-1).topk(5)
    assert torch.equal(tokens[0], best.indices)
    assert torch.allclose(probabilities[0], best.values, rtol=1e-5)


def test_several_calls_are_numbered_and_decoding_steps_are_ignored():
    model = random_model()
    batch = batch_for(model)
    with torch.no_grad():
        plain = model.generate(**batch, max_new_tokens=3, do_sample=False)
        with lens(model, top=1) as record:
            assert torch.equal(model.generate(**batch, max_new_tokens=3, do_sample=False), plain)
            model(**batch)
    assert np.unique(record.result().sample).tolist() == [0, 1]
    assert "__deepcopy__" not in model.__dict__


def test_table_has_one_row_per_token_state_and_rank():
    class Tokenizer:
        def decode(self, ids):
            return f" w{ids[0]}"

    model = random_model()
    with torch.no_grad(), lens(model, top=2) as record:
        model(**batch_for(model))
    read = record.result()
    table = read.table(Tokenizer())
    assert len(table) == read.tokens.size
    row = next(table.where(patch=3, state=5, rank=1).rows())
    assert row["token"] == read.tokens[3, 5, 1]
    assert row["word"] == f"w{row['token']}"
    assert "word" not in read.table().columns


def test_bad_input():
    model = random_model()
    with pytest.raises(ValueError, match=r"top: expected a number of tokens in 1..50"), lens(model, top=0):
        pass
    with lens(model) as record, pytest.raises(ValueError, match="no image token"):
        record.result()
    with torch.no_grad(), lens(model) as record, pytest.raises(ValueError, match="no image token"):
        model(**batch_for(model, images=(0,)))
        record.result()
    with pytest.raises(TypeError, match="output matrix"), lens(torch.nn.Linear(2, 2)):
        pass
