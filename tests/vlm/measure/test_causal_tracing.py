"""Causal tracing: restored states bring back what they must and nothing else, and no hook stays behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vlm import FAMILIES, probe, skipping
from vlm.measure.causal_tracing import Noise, Trace, trace
from vlm.models.random_batches import batch_for, single_row, with_positions
from vlm.models.random_models import IMAGE, absent, random_model

PAIR = dict(images=(1, 2, 0), after=(3, 8, 5))


def corrupted_images(batch):
    return {"pixel_values": torch.flip(batch["pixel_values"], dims=(0, 2)) * 1.5}


def setup(family="llava"):
    model = random_model(family)
    batch = batch_for(model, **PAIR)
    return model, batch


@pytest.mark.parametrize("kind", ["image", "noise"])
def test_the_whole_image_enters_through_state_0_and_leaves_through_the_last_token(kind):
    model, batch = setup()
    result = trace(model, batch, corrupted_images(batch) if kind == "image" else Noise())
    vision, text, last = (result.restored[:, i] for i in range(3))
    hit = np.abs(result.clean - result.corrupted).max(axis=1) > 1e-3
    assert hit.tolist() == [True, True, False]
    # The image tokens' clean state 0 undoes the corruption; so does the clean last state of the last prompt token.
    assert vision[:, 0] == pytest.approx(result.clean, abs=1e-5)
    assert last[:, -1] == pytest.approx(result.clean, abs=1e-5)
    assert text[:, -1] == pytest.approx(result.clean, abs=1e-5)
    # The last state of image tokens is not used; text in state 0 has no information about the image.
    assert vision[:, -1] == pytest.approx(result.corrupted, abs=1e-5)
    assert text[:, 0] == pytest.approx(result.corrupted, abs=1e-5)
    # In between something is restored in part.
    assert np.abs(vision[hit, 1:-1] - result.corrupted[hit, None]).max() > 1e-3


@pytest.mark.parametrize("family", [family.name for family in FAMILIES if family.name != "llava"])
def test_every_family_is_restored_from_both_ends(family):
    reason = absent(family)
    if reason:
        pytest.skip(reason)
    model = random_model(family, layers=3)
    batch = batch_for(model, images=(1, 1), after=(3, 6))
    result = trace(model, batch, Noise(draws=1), targets=("vision", "last"))
    assert np.abs(result.clean - result.corrupted).max() > 1e-3
    assert result.restored[:, 0, 0] == pytest.approx(result.clean, abs=1e-5)
    assert result.restored[:, 0, -1] == pytest.approx(result.corrupted, abs=1e-5)
    assert result.restored[:, 1, -1] == pytest.approx(result.clean, abs=1e-5)


def test_a_sample_is_corrupted_alike_alone_and_in_a_batch():
    model, batch = setup()
    together = trace(model, batch, Noise(), targets=("vision",))
    answers, foils = together.answers[:1], together.foils[:1]
    one = single_row(model, batch, PAIR["images"], 0)
    alone = trace(model, with_positions(one), Noise(), targets=("vision",), answers=answers, foils=foils)
    padded = trace(model, with_positions(batch), Noise(), targets=("vision",))
    assert padded.draws.shape == (3, 4, 2)
    assert alone.draws[0] == pytest.approx(padded.draws[0], abs=1e-4)
    assert padded.spread[0] == pytest.approx(np.std(padded.draws[0, :, 0], ddof=1))
    assert padded.spread[0] > 1e-4  # the draws differ
    assert padded.corrupted == pytest.approx(padded.draws.mean(axis=1))
    assert padded.spread[2] == pytest.approx(0.0, abs=1e-6)  # no image
    fixed = trace(model, batch, Noise(draws=1, deviation=0.0), targets=("last",))
    assert fixed.corrupted == pytest.approx(fixed.clean, abs=1e-6)
    assert fixed.spread.tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="same targets"):
        Trace.joined([fixed, trace(model, batch, Noise(draws=2), targets=("last",))])
    with pytest.raises(ValueError, match="at least 1 draw"):
        Noise(draws=0)


def test_one_restoration_equals_a_hand_made_run():
    model, batch = setup()
    other = {**batch, **corrupted_images(batch)}
    result = trace(model, batch, other, targets=("vision",), window=2)
    layers = model.model.language_model.layers
    clean = []
    handles = [layer.register_forward_hook(lambda m, a, out: clean.append(out)) for layer in layers]
    with torch.no_grad():
        full = model(**batch).logits[:, -1]
    for handle in handles:
        handle.remove()
    vision = (batch["input_ids"] == IMAGE).unsqueeze(-1)

    def put_back(number):
        return lambda m, a, out: torch.where(vision, clean[number], out)

    # States 2 and 3 leave layers 1 and 2.
    handles = [layers[i].register_forward_hook(put_back(i)) for i in (1, 2)]
    with torch.no_grad():
        logits = model(**other).logits[:, -1]
    for handle in handles:
        handle.remove()
    answer = full.argmax(-1)
    expected = torch.softmax(logits, dim=-1).gather(1, answer[:, None])[:, 0].numpy()
    assert result.answers.tolist() == answer.tolist()
    assert result.restored[:, 0, 2, 0] == pytest.approx(expected, rel=1e-4)


def test_batch_equals_singles_under_left_and_right_padding():
    model, batch = setup()
    batch = with_positions(batch)
    together = trace(model, batch, corrupted_images(batch), targets=("vision", "last"))
    lengths = batch["attention_mask"].sum(1).tolist()
    right = {
        "input_ids": torch.zeros_like(batch["input_ids"]),
        "attention_mask": torch.zeros_like(batch["attention_mask"]),
        "pixel_values": batch["pixel_values"],
    }
    for row, n in enumerate(lengths):
        right["input_ids"][row, :n] = batch["input_ids"][row, -n:]
        right["attention_mask"][row, :n] = 1
    padded_right = trace(model, with_positions(right), corrupted_images(batch), targets=("vision", "last"))
    assert padded_right.restored == pytest.approx(together.restored, abs=1e-4)
    real = batch["attention_mask"][0].bool()
    single = {
        "input_ids": batch["input_ids"][:1, real],
        "attention_mask": torch.ones(1, int(real.sum()), dtype=torch.long),
        "pixel_values": batch["pixel_values"][:1],
    }
    worse = corrupted_images(batch)["pixel_values"][:1]
    alone = trace(model, single, {"pixel_values": worse}, targets=("vision", "last"), foils=together.foils[:1])
    assert alone.restored[0] == pytest.approx(together.restored[0], abs=1e-4)


def test_nothing_stays_behind_and_contexts_share_the_hooks():
    model, batch = setup()
    with torch.no_grad():
        plain = model(**batch).logits
        trace(model, batch, Noise(), targets=("vision",))
        assert torch.equal(model(**batch).logits, plain)
        with pytest.raises(ValueError, match="same input_ids"):
            trace(model, batch, {"input_ids": batch["input_ids"] + 1})
        assert torch.equal(model(**batch).logits, plain)
        assert "__deepcopy__" not in model.__dict__
        with skipping(model, "vision:0-"), probe(model) as record:
            skipped = trace(model, batch, corrupted_images(batch), targets=("vision",))
        assert torch.equal(model(**batch).logits, plain)
    assert record.samples == 3 * (2 + 6)
    # Under a plan that never shows the image, its corruption changes nothing.
    assert skipped.corrupted == pytest.approx(skipped.clean, abs=1e-6)


def test_table_counts_images_and_divides_means():
    answers = np.zeros(4, dtype=np.int64)
    clean = np.array([[0.9, 2.0]] * 4)
    corrupted = np.array([[0.1, 0.0]] * 4)
    restored = np.zeros((4, 1, 2, 2))
    restored[:, 0, 0] = [0.9, 2.0]
    restored[:, 0, 1] = [[0.1, 0.0], [0.1, 0.0], [0.1, 0.0], [0.9, 2.0]]
    result = Trace(("vision",), 1, answers, answers, clean, corrupted, restored, corrupted[:, None])
    first, second = result.table(groups=[0, 0, 0, 1]).rows()
    assert (first["recovery"], first["recovery_logits"]) == pytest.approx((1.0, 1.0))
    # Three samples of one image count once.
    assert second["recovery"] == pytest.approx(0.5)
    assert second["gain"] == pytest.approx(0.4)
    assert second["gain_low"] <= 0.4 <= second["gain_high"]
    both = Trace.joined([result, result])
    assert both.restored.shape == (8, 1, 2, 2)
    assert both.table()["recovery"].tolist() == pytest.approx([1.0, 0.25])


def test_bad_input():
    model, batch = setup()
    with pytest.raises(ValueError, match="targets: expected one or more of"):
        trace(model, batch, Noise(), targets=("image",))
    with pytest.raises(ValueError, match=r"window: expected a number of states in 1..6"):
        trace(model, batch, Noise(), window=0)
    with pytest.raises(TypeError, match="mapping of forward arguments or Noise"):
        trace(model, batch, 3.0)
    with pytest.raises(ValueError, match=r"answers: expected one token id in 0..49"):
        trace(model, batch, Noise(), answers=[1, 2, 50])
    with pytest.raises(ValueError, match="nothing to corrupt"):
        trace(model, batch_for(model, images=(0,)), Noise())
    with pytest.raises(ValueError, match="at least one"):
        Trace.joined([])
