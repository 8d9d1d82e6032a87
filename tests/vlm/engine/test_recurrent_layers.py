"""Layers without attention (Qwen 3.5): image tokens may bypass them; what they cannot do is refused by name."""

from __future__ import annotations

import pytest
import torch

from vlm import skipping
from vlm.engine.masked_reference import planned_logits
from vlm.models.random_batches import batch_for, lengthened, with_positions
from vlm.models.random_models import HYBRIDS, MIXED, random_model


@pytest.mark.parametrize(
    ("plan", "what"),
    [
        ("freeze:1-4", r"layer 2, a Qwen3_5DecoderLayer, has no attention .*leave it out of freeze:"),
        ("mlp:2-3", r"layer 2, .*drop the whole layer \(vision:A-B/text:A-B\)"),
        ("attention:0-1", r"layer 0, .*drop the whole layer"),
        ("prune:3=0.5", r"layer 2, .*ranks no tokens for prune:3; prune after a layer that attends"),
    ],
)
def test_what_a_recurrent_layer_cannot_do_is_refused_by_name(plan, what):
    model = random_model("qwen3_5")
    with pytest.raises(NotImplementedError, match=what), skipping(model, plan):
        pass
    assert "forward" not in vars(model.model.language_model.layers[2])


def test_a_recurrent_layer_reads_the_tokens_that_remain():
    """A plan that drops an image from every layer gives the text the states of a prompt without the image."""
    model = random_model("qwen3_5")
    batch = with_positions(batch_for(model))
    text = batch["input_ids"] != 7
    positions = model.model.get_rope_index(
        batch["input_ids"], batch["mm_token_type_ids"], batch["image_grid_thw"], attention_mask=batch["attention_mask"]
    )[0]
    with torch.no_grad():
        with skipping(model, "vision:0-"):
            found = model(**batch, position_ids=positions).logits[text]
        alone = dict(input_ids=batch["input_ids"][text][None], position_ids=positions[..., text[0]])
        assert torch.allclose(found, model(**alone).logits[0], atol=1e-5)


def test_rows_with_plans_of_their_own_and_a_later_image_with_ragged_rows():
    model = random_model("qwen3_5")
    batch = batch_for(model, images=(1, 1), after=(4, 7))
    plans = ["vision:0-3", "keep:0-=1-3"]
    settings = dict(max_new_tokens=4, do_sample=False)
    with torch.no_grad():
        with skipping(model, plans):
            together = model.generate(**batch, **settings)[:, -4:]
        for row, plan in enumerate(plans):
            real = batch["attention_mask"][row].bool()
            names = ("input_ids", "attention_mask", "mm_token_type_ids")
            one = {name: batch[name][row : row + 1, real] for name in names}
            one |= {"pixel_values": batch["pixel_values"][16 * row : 16 * row + 16]}
            one |= {"image_grid_thw": batch["image_grid_thw"][row : row + 1]}
            with skipping(model, plan):
                assert torch.equal(model.generate(**one, **settings)[:, -4:], together[row : row + 1]), plan
        with skipping(model, plans), pytest.raises(NotImplementedError, match=r"layer 4, .*run them one at a time"):
            cache = model(**batch, use_cache=True).past_key_values
            later = batch_for(model, images=(1, 1), after=(4, 4), seed=1)
            later["attention_mask"] = torch.cat([batch["attention_mask"], later["attention_mask"]], dim=1)
            where = torch.arange(later["input_ids"].shape[1]).expand(3, 2, -1) + batch["input_ids"].shape[1]
            model(**later, position_ids=where, past_key_values=cache)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("text", HYBRIDS)
def test_convolutions_and_states_of_other_kinds_follow_plans_for_whole_layers(text):
    model = random_model(f"llava-{text}")
    batch = batch_for(model, images=(2, 0, 1), after=(4, 7, 2))
    full = with_positions(batch)
    real, start = batch["attention_mask"].bool(), batch["input_ids"].shape[1]
    plain = planned_logits(model, full, "none")
    for plan in ("vision:0-3", "vision:2-/text:2-3", "keep:0-=0-4/merge:0=0~0x0.5,3x0.5", "prune:2=0.5"):
        slow = planned_logits(model, full, plan)
        with torch.no_grad(), skipping(model, plan):
            fast = model(**full).logits[real]
            out = model.generate(
                **batch, max_new_tokens=3, do_sample=False, return_dict_in_generate=True, output_logits=True
            )
        assert (fast - slow[real]).norm() < 1e-4 * slow[real].norm(), plan
        assert (slow[real] - plain[real]).norm() > 1e-2 * plain[real].norm(), plan
        later = planned_logits(model, with_positions(lengthened(model, batch, out.sequences)), plan, prompt=start)
        later = later[:, start - 1 : -1]
        assert (torch.stack(out.logits, 1) - later).norm() < 1e-4 * later.norm(), plan


@pytest.mark.parametrize("text", MIXED)
@pytest.mark.parametrize("plan", ["vision:1-3", "freeze:1-3", "mlp:1-2", "vision:1-2/text:1-2", ["vision:1-3", "none"]])
def test_layers_that_attend_and_keep_another_state_are_refused_by_name(text, plan):
    model = random_model(f"llava-{text}")
    with (
        pytest.raises(NotImplementedError, match=r"layer 1, .* keeps a state of another kind than keys and values"),
        skipping(model, plan),
    ):
        pass
