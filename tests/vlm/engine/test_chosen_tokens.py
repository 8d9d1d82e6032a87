"""Tokens chosen by a layer's own attention, tokens that leave before the feed-forward, merged tokens."""

from __future__ import annotations

import pytest
import torch

from vlm import SkipPlan, bake, skipping, speculative
from vlm.engine.masked_reference import planned_logits
from vlm.models import flash_stand_in
from vlm.models.random_batches import batch_for, lengthened, single_row, with_positions
from vlm.models.random_models import absent, random_model

PLANS = (
    "rank:0=0.5",
    "rank:1=0.6/rank:3=0.3/renumber:0-",
    "keep:1-=0-7/rank:2=0.4/freeze:2-4",
    "leave:0=0.5",
    "leave:1=0.7/leave:2=0.4/leave:4=0.2",
    "prune:1=0.8/rank:2=0.6/leave:2=0.4/vision:4-",
    "merge:0=1~1x0.5,3x0.25,5x0.25/merge:0=3~1x1.0/merge:2=2~4x-1.0,2x2.0/keep:1-=0-5",
    "merge:1=2~40x1.0,0x0.5/rank:1=0.5/leave:3=0.3",
    "merge:image=2~4x1.0,0x0.5/merge:image=4~2x1.0/merge:0=1~4x1.0/keep:0-=1-5",
)
SINGLE = dict(images=(1,), after=(6,))
RAGGED = dict(images=(2, 0, 1), after=(4, 7, 2))


def error(a, b, real=slice(None)):
    return float((a[real] - b[real]).norm() / b[real].norm())


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llava", "gemma3"])
def test_prefill_equals_the_full_length_reference(family, kind):
    model = random_model(family, kind)
    for shape in (SINGLE, RAGGED):
        batch = with_positions(batch_for(model, **shape))
        for text in PLANS:
            if family == "gemma3" and ("renumber" in text or "image" in text):
                continue
            with torch.no_grad(), skipping(model, text):
                fast = model(**batch).logits
            slow = planned_logits(model, batch, text)
            assert error(fast, slow, batch["attention_mask"].bool()) < 1e-4, (text, shape)


@pytest.mark.parametrize(("text", "seed"), [("rank:1=0.4/rank:2=0.2/renumber:0-", 1), ("leave:2=0.4", 0)])
def test_choices_are_right_where_readings_differ(text, seed):
    """Ranked at positions that are not numbered anew, or by the mean over heads, other tokens would stay here."""
    model = random_model()
    batch = with_positions(batch_for(model, images=(2,), after=(5,), seed=seed))
    with torch.no_grad(), skipping(model, text):
        fast = model(**batch).logits
    assert error(fast, planned_logits(model, batch, text)) < 1e-4


def test_every_plan_changes_the_logits_so_the_comparison_is_not_vacuous():
    model = random_model()
    batch = batch_for(model, **SINGLE)
    with torch.no_grad():
        plain = model(**batch).logits
        for text in PLANS:
            with skipping(model, text):
                assert error(model(**batch).logits, plain) > 1e-4, text


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
def test_cached_generation_equals_uncached_token_by_token(kind):
    model = random_model(attention=kind)
    settings = dict(max_new_tokens=5, do_sample=False, return_dict_in_generate=True, output_logits=True)
    for shape in (SINGLE, dict(images=(1, 1, 1), after=(4, 7, 2))):
        batch = batch_for(model, **shape)
        start = batch["input_ids"].shape[1]
        for text in PLANS[1:]:
            with torch.no_grad(), skipping(model, text):
                out = model.generate(**batch, **settings)
            longer = with_positions(lengthened(model, batch, out.sequences))
            slow = planned_logits(model, longer, text, prompt=start)[:, start - 1 : -1]
            assert error(torch.stack(out.logits, 1), slow) < 1e-4, (text, shape)


def test_rows_of_a_batch_have_choices_of_their_own():
    model = random_model()
    images = (1, 1, 1, 1)
    batch = batch_for(model, images=images, after=(4, 7, 2, 5))
    plans = [
        "rank:1=0.5/renumber:1-/merge:image=3~0x1.0,1x1.0",
        "leave:1=0.4/merge:image=3~0x1.0",
        "merge:0=1~2x0.5,3x0.5/keep:0-=1-6/rank:3=0.3",
        "leave:2=0.5",
    ]
    settings = dict(max_new_tokens=4, do_sample=False, return_dict_in_generate=True, output_logits=True)
    with torch.no_grad(), skipping(model, plans):
        together = torch.stack(model.generate(**batch, **settings).logits, 1)
    for row, plan in enumerate(plans):
        with torch.no_grad(), skipping(model, plan):
            one = single_row(model, batch, images, row)
            alone = torch.stack(model.generate(**one, **settings).logits, 1)
        assert error(together[row], alone[0]) < 1e-4, plan


def test_padding_on_the_right_changes_no_choice():
    model = random_model()
    batch = batch_for(model, **RAGGED)
    ids, real = batch["input_ids"], batch["attention_mask"].bool()
    moved = {
        **batch,
        "input_ids": torch.zeros_like(ids),
        "attention_mask": real.sum(1, keepdim=True) > torch.arange(len(ids[0])),
    }
    moved["input_ids"][moved["attention_mask"]] = ids[real]
    moved["attention_mask"] = moved["attention_mask"].long()
    for text in PLANS:
        with torch.no_grad(), skipping(model, text):
            left, right = (model(**with_positions(one)).logits[one["attention_mask"].bool()] for one in (batch, moved))
        assert error(right, left) < 1e-4, text


def test_an_image_after_cached_text_is_ranked_as_in_one_prompt():
    """The keys that the cache holds take part in the softmax, and are not stored twice."""
    model = random_model()
    batch = batch_for(model, before=9, images=(1,), after=(6,))
    for text in ("rank:2=0.5", "vision:1-2/rank:2=0.4/leave:3=0.3", "merge:2=1~1x0.5,4x0.5/keep:2-=0-5"):
        with torch.no_grad(), skipping(model, text):
            whole = model(**batch).logits[:, -1]
            first = model(input_ids=batch["input_ids"][:, :5], use_cache=True)
            rest = {name: value for name, value in batch.items() if name not in ("input_ids", "attention_mask")}
            cache = first.past_key_values
            found = model(input_ids=batch["input_ids"][:, 5:], past_key_values=cache, **rest).logits[:, -1]
        assert error(found, whole) < 1e-5, text
        assert cache.get_seq_length() == batch["input_ids"].shape[1]


def test_a_merge_across_the_calls_of_one_cache_is_refused():
    model = random_model()
    batch = batch_for(model, images=(1,), after=(2,))
    with torch.no_grad(), skipping(model, "merge:1=10~10x0.5,3x0.5/keep:0-=0-12"):
        cache = model(**batch, use_cache=True).past_key_values
        again = {**batch, "attention_mask": torch.ones(1, 2 * batch["input_ids"].shape[1], dtype=torch.long)}
        with pytest.raises(ValueError, match="image token 10 is joined with tokens of an earlier call"):
            model(**again, past_key_values=cache)


def test_features_encoded_ahead_belong_to_one_image_in_each_row():
    model = random_model()
    batch = batch_for(model, images=(2, 0), after=(4, 7))
    plan = "merge:image=3~0x1.0/keep:0-=1-6"
    with torch.no_grad(), skipping(model, plan), pytest.raises(NotImplementedError, match="one image of 9 tokens in"):
        model.generate(**batch, max_new_tokens=2)
    other = random_model("qwen2_vl")
    with pytest.raises(NotImplementedError, match="has no multi_modal_projector"), skipping(other, plan):
        pass


def test_gradients_equal_the_reference():
    model = random_model(attention="eager")
    batch = with_positions(batch_for(model, **RAGGED))
    real = batch["attention_mask"].bool()
    for text in ("leave:1=0.7/rank:3=0.3", "merge:1=1~1x0.5,3x0.25,5x0.25/keep:1-=0-5"):
        with skipping(model, text):
            model(**batch).logits[real].square().sum().backward()
        fast = [None if p.grad is None else p.grad.clone() for p in model.parameters()]
        model.zero_grad()
        planned_logits(model, batch, text, gradients=True)[real].square().sum().backward()
        for mine, parameter in zip(fast, model.parameters(), strict=True):
            if parameter.grad is not None and float(parameter.grad.abs().max()) > 1e-6:
                assert error(mine, parameter.grad) < 1e-3, text
        model.zero_grad()


@pytest.mark.parametrize("text", ["rank:1=0.5/rank:3=0.25", "leave:1=0.4", "merge:1=1~1x0.5,3x0.5/keep:1-=0-5"])
def test_flash_attention_follows_the_reference(text):
    model = random_model(attention=flash_stand_in.NAME)
    batch = with_positions(batch_for(model, **RAGGED))
    with flash_stand_in.installed(), torch.no_grad(), skipping(model, text):
        fast = model(**batch).logits
    slow = planned_logits(model, batch, text)
    assert error(fast, slow, batch["attention_mask"].bool()) < 1e-4


def test_what_cannot_choose_is_refused_in_one_line():
    with pytest.raises(ValueError, match=r"ranking at layer 2 .* where the plan removes attention"):
        SkipPlan.parse("rank:2=0.5/attention:2-3").resolved(5)
    with pytest.raises(ValueError, match=r"leaving at layer 2 .* where the plan removes the image tokens' queries"):
        SkipPlan.parse("leave:2=0.5/freeze:2-3").resolved(5)
    if absent("qwen3_5") is None:
        model = random_model("qwen3_5")
        with (
            pytest.raises(NotImplementedError, match="ranks no tokens for rank: or leave:"),
            skipping(model, "rank:0=0.5"),
        ):
            pass
    with (
        pytest.raises(NotImplementedError, match="feed-forward of layer 1, a OPTDecoderLayer, is not one module"),
        skipping(random_model("blip-2"), "leave:1=0.5"),
    ):
        pass


def test_merging_is_not_lost_in_a_baked_model():
    with pytest.raises(ValueError, match="which merges image tokens"):
        bake(random_model(), "vision:1-2/text:1-2/merge:image=0~1x1.0")


def test_plans_with_choices_are_values():
    text = "keep:0-=3-5/prune:1=0.8/rank:8=0.5/leave:2=0.6/merge:0=3~3x1.0,7x-0.25"
    plan = SkipPlan.parse(text)
    assert str(plan) == text
    assert SkipPlan.from_json(plan.to_json()) == plan
    assert plan.chooses
    assert str(SkipPlan.parse("merge:1=2~2x0.5,3x1,2x0.5/merge:0=1~1x1")) == "merge:1=2~2x1.0,3x1.0"
    # In one layer tokens are pruned, ranked, and leave; what keeps no less than before has no effect.
    assert str(SkipPlan.parse("leave:2=0.5/rank:2=0.5/prune:3=0.5")) == "rank:2=0.5"
    assert str(SkipPlan.parse("rank:3=0").resolved(5)) == "vision:3-5"
    for wrong in (
        "merge:0=1~",
        "merge:0=1~2",
        "merge:0=1~2xnan",
        "leave:2=0",
        "rank:2=1.5",
        "merge:0=1~2x1/merge:0=1~2x2",
    ):
        with pytest.raises(ValueError, match="plan"):
            SkipPlan.parse(wrong)


FAMILIES = (
    *(
        "qwen2_5_vl",
        "qwen3_vl_moe",
        "idefics3",
        "paligemma",
        "llama4",
        "molmo2",
        "gemma4",
        "glm4v",
        "qwen3_5",
        "blip-2",
    ),
    *("llava-CohereConfig", "llava-Olmo2Config", "llava-Gemma2Config", "llava-DeepseekV3Config", "llava-MixtralConfig"),
)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_equal_the_reference(family):
    """Latent attention, experts, parallel branches, norms after the branches, prefixes, linear layers between."""
    if absent(family):
        pytest.skip(absent(family))
    model = random_model(family, attention="eager")
    batch = with_positions(batch_for(model, images=(2, 1), after=(4, 7)))
    for text in ("merge:1=1~1x0.5,3x0.5/rank:1=0.6/rank:3=0.3", "leave:1=0.6/leave:3=0.3"):
        if family == "blip-2" and "leave" in text:
            continue
        with torch.no_grad(), skipping(model, text):
            fast = model(**batch).logits
        slow = planned_logits(model, batch, text)
        assert error(fast, slow, batch["attention_mask"].bool()) < 1e-4, text


@torch.no_grad()
def test_candidates_behind_the_prompt_choose_nothing():
    model = random_model()
    batch, settings = batch_for(model), dict(max_new_tokens=5, do_sample=False)
    plain = model.generate(**batch, **settings)
    ways = (dict(prompt_lookup_num_tokens=2), dict(assistant_model=random_model(layers=2, seed=1)))
    for plan in ("prune:2=0.5", "rank:1=0.6", "leave:3=0.3", ["prune:1=0.3/leave:3=0.5"]):
        with skipping(model, plan):
            expected = model.generate(**batch, **settings)
            for way in ways:
                assert torch.equal(model.generate(**batch, **settings, **way), expected), (plan, way)
        if isinstance(plan, str):
            # A draft chooses by its own prompt.
            with speculative(model, plan) as draft:
                assert torch.equal(model.generate(**batch, **settings, assistant_model=draft), plain)
