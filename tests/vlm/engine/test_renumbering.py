"""Renumbered positions: the model without the missing tokens, in prefill, in decoding, in batches, and refusals."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache

from vlm import SkipPlan, operations_ratio, skipping
from vlm.engine.masked_reference import planned_logits
from vlm.models import flash_stand_in
from vlm.models.random_batches import batch_for, single_row, with_positions
from vlm.models.random_models import IMAGE, random_model

KEPT = [1, 4, 7]
PLANS = (
    "keep:0-=1+4+7/renumber:0-",
    "keep:1-=1+4+7/renumber:2-",
    "prune:2=0.5/renumber:2-4",
    "vision:0-2/freeze:2-4/keep:3-=0-5/renumber:0-",
    "vision:2-4/text:3-4/renumber:1-",
)


def error(a, b):
    return float((a - b).norm() / b.norm())


def rebuilt(model, batch, kept):
    """The prompt's embeddings without the other image tokens: what the authors' code hands to the decoder."""
    with torch.no_grad():
        embedded = model.get_input_embeddings()(batch["input_ids"].clamp(max=model.config.text_config.vocab_size - 1))
        features = model.model.get_image_features(pixel_values=batch["pixel_values"]).pooler_output
    features = torch.cat(list(features)) if isinstance(features, list | tuple) else features.flatten(0, -2)
    shown = batch["input_ids"][0] == IMAGE
    embedded[0, shown] = features
    places = shown.nonzero().flatten()
    stays = ~shown
    stays[places[kept]] = True
    return embedded[:, stays], stays


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
def test_row_2_a_renumbered_keep_is_the_decoder_on_the_shorter_prompt(kind):
    model = random_model(attention=kind)
    batch = batch_for(model)
    embedded, stays = rebuilt(model, batch, KEPT)
    plan = SkipPlan.keep(0, None, KEPT)
    settings = dict(max_new_tokens=5, do_sample=False, return_dict_in_generate=True, output_logits=True)
    with torch.no_grad():
        decoder = model.model.language_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
        expected = model.lm_head(decoder)
        with skipping(model, plan | SkipPlan.renumber(0, None)):
            found = model(**batch).logits[:, stays]
            answer = model.generate(**batch, **settings)
        with skipping(model, plan):
            original = model(**batch).logits[:, stays]
        # The same prompt, continued by the same tokens without a cache: decoding keeps the new positions.
        words = model.get_input_embeddings()(answer.sequences[:, -5:-1])
        longer = model.model.language_model(inputs_embeds=torch.cat([embedded, words], 1), use_cache=False)
        steps = model.lm_head(longer.last_hidden_state)[:, -5:]
    assert error(found, expected) < 1e-5
    assert error(torch.stack(answer.logits, 1), steps) < 1e-5
    assert error(original, expected) > 1e-3  # the layouts differ


@pytest.mark.parametrize("text", PLANS)
@pytest.mark.parametrize("family", ["llava", "internvl"])
def test_row_2_renumbering_equals_the_masked_reference(family, text):
    model = random_model(family)
    batch = with_positions(batch_for(model, images=(2, 1), after=(4, 7)))
    real = batch["attention_mask"].bool()
    with torch.no_grad(), skipping(model, text):
        found = model(**batch).logits
    expected = planned_logits(model, batch, text)
    assert error(found[:, -1], expected[:, -1]) < 1e-5
    plain = text.partition("/renumber")[0]
    with torch.no_grad(), skipping(model, plain):
        other = model(**batch).logits
    assert error(other[real][-1], found[real][-1]) > 1e-4, "renumbering changed nothing"


def test_row_2_rows_with_and_without_renumbering_are_as_alone():
    model = random_model()
    shape = dict(images=(2, 1, 1), after=(4, 7, 2))
    batch = batch_for(model, **shape)
    plans = ["keep:1-=1+4+7/renumber:1-", "keep:1-=1+4+7", "prune:2=0.3/renumber:2-"]
    settings = dict(max_new_tokens=4, do_sample=False, return_dict_in_generate=True, output_logits=True)
    with torch.no_grad(), skipping(model, plans):
        together = torch.stack(model.generate(**batch, **settings).logits, 1)
    for row, plan in enumerate(plans):
        with torch.no_grad(), skipping(model, plan):
            one = single_row(model, batch, shape["images"], row)
            alone = torch.stack(model.generate(**one, **settings).logits, 1)
        assert error(together[row], alone[0]) < 1e-4, plan


def test_renumbering_is_free_and_changes_nothing_where_no_token_is_missing():
    model = random_model()
    assert not SkipPlan.renumber(0, None).resolved(5)
    assert str(SkipPlan.parse("vision:1-2/renumber:0-").resolved(5)) == "vision:1-2/renumber:1-2"
    plan = SkipPlan.parse("renumber:0-/keep:0-=1+4")
    assert SkipPlan.from_json(plan.to_json()) == plan == SkipPlan.parse(str(plan))
    ratios = {operations_ratio(model, text, vision=9, text=9) for text in ("keep:0-=1+4/renumber:0-", "keep:0-=1+4")}
    assert len(ratios) == 1


@pytest.mark.parametrize("family", ["qwen2_5_vl", "gemma3"])
def test_row_2_families_that_cannot_be_renumbered_are_refused(family):
    model = random_model(family)
    batch = with_positions(batch_for(model))
    for first in (0, 1):  # in Gemma 3 a layer with a sliding window, and one without
        with (
            torch.no_grad(),
            skipping(model, f"keep:{first}-=1+4/renumber:{first}-"),
            pytest.raises(NotImplementedError, match="renumber: is not possible"),
        ):
            model(**batch)


def test_flash_attention_and_sliding_windows_cannot_be_renumbered():
    model = random_model(attention=flash_stand_in.NAME)
    batch = batch_for(model)
    plan = "keep:0-=1+4/renumber:0-"
    with (
        flash_stand_in.installed(),
        torch.no_grad(),
        skipping(model, plan),
        pytest.raises(NotImplementedError, match="not possible with flash attention; leave it out"),
    ):
        model(**batch)
    sliding = random_model("llava-mistral")
    sliding.config.text_config.sliding_window = 64
    for layer in sliding.model.language_model.layers:
        layer.self_attn.sliding_window = 64
    with torch.no_grad(), skipping(sliding, plan):
        model_cache = DynamicCache(config=sliding.config.text_config)
        assert any(layer.is_sliding for layer in model_cache.layers)
        with pytest.raises(NotImplementedError, match="not possible with a layer with a sliding window"):
            sliding(**batch_for(sliding), past_key_values=model_cache)
