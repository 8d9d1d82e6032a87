"""Frozen, kept and pruned image tokens and dropped half layers: equal to the full-length reference in every use."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
import transformers

from vlm import SkipPlan, attention, probe, skipping
from vlm.engine.active_tokens import Active, Roles
from vlm.engine.forward_call import Call
from vlm.engine.masked_reference import planned_logits
from vlm.engine.slicing import shorter_mask
from vlm.engine.token_pruning import most_attended
from vlm.models.random_batches import batch_for, lengthened, single_row, with_positions
from vlm.models.random_models import absent, random_model

PLANS = (
    "freeze:1-3",
    "freeze:0-",
    "freeze:2-4/text:1-2",
    "attention:1-3",
    "mlp:2-4",
    "attention:0-1/vision:2-",
    "keep:1-=0-4+6",
    "keep:0-3=2-/keep:2-=0-5",
    "prune:2=0.5",
    "prune:1=0.6/prune:3=0.3",
    "freeze:1-3/prune:2=0.5/keep:3-=1-",
    "freeze:2-4/attention:3-4/mlp:1-2/keep:0-2=1-5",
)
SINGLE = dict(images=(1,), after=(6,))
RAGGED = dict(images=(2, 0, 1), after=(4, 7, 2))


def error(a, b, real=slice(None)):
    return float((a[real] - b[real]).norm() / b[real].norm())


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3", "llama4"])
def test_prefill_equals_the_full_length_reference(family, kind):
    if absent(family):
        pytest.skip(absent(family))
    model = random_model(family, kind)
    for shape in (SINGLE, RAGGED):
        batch = with_positions(batch_for(model, **shape))
        for text in PLANS:
            with torch.no_grad(), skipping(model, text):
                fast = model(**batch).logits
            slow = planned_logits(model, batch, text)
            assert error(fast, slow, batch["attention_mask"].bool()) < 1e-4, (text, shape)


def test_half_precision_stays_close_to_the_reference_in_half_precision():
    model = random_model().to(torch.bfloat16)
    batch = with_positions(batch_for(model, **RAGGED))
    batch["pixel_values"] = batch["pixel_values"].to(torch.bfloat16)
    real = batch["attention_mask"].bool()
    for text in PLANS:
        with torch.no_grad(), skipping(model, text):
            fast = model(**batch).logits
        if "prune" not in text:  # its ranking may depend on rounding
            assert error(fast.float(), planned_logits(model, batch, text).float(), real) < 0.05, text


def test_every_plan_changes_the_logits_so_the_comparison_is_not_vacuous():
    model = random_model()
    batch = batch_for(model)
    plain = planned_logits(model, batch, "none")
    answers = [planned_logits(model, batch, text)[0, -1] for text in (*PLANS, "vision:1-3", "vision:0-")]
    assert all(error(answer, plain[0, -1]) > 1e-2 for answer in answers)
    assert torch.pdist(torch.stack(answers)).min() > 1e-2


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
def test_cached_generation_equals_uncached_token_by_token(kind):
    model = random_model(attention=kind)
    batch = batch_for(model, **RAGGED)
    start = batch["input_ids"].shape[1]
    for text in PLANS:
        with torch.no_grad(), skipping(model, text):
            out = model.generate(
                **batch, max_new_tokens=4, do_sample=False, return_dict_in_generate=True, output_logits=True
            )
        for step, logits in enumerate(out.logits):
            longer = with_positions(lengthened(model, batch, out.sequences[:, : start + step]))
            slow = planned_logits(model, longer, text, prompt=start)[:, -1]
            assert error(logits, slow) < 1e-4, (text, step)


@pytest.mark.parametrize("family", ["llava", "qwen3_vl"])
def test_a_padded_batch_equals_its_rows_alone(family):
    model = random_model(family)
    batch = batch_for(model, **RAGGED)
    for text in PLANS:
        with torch.no_grad(), skipping(model, text):
            together = model(**with_positions(batch)).logits[:, -1]
            for row in range(3):
                alone = model(**with_positions(single_row(model, batch, RAGGED["images"], row))).logits[0, -1]
                assert error(together[row], alone) < 1e-4, (text, row)


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
@pytest.mark.parametrize("text", ["vision:1-3", *PLANS])
def test_gradients_of_a_ragged_batch_equal_the_reference(text, kind):
    model = random_model(attention=kind)
    batch = with_positions(batch_for(model, **RAGGED))
    real = batch["attention_mask"].bool()
    weights = {n: p for n, p in model.named_parameters() if "language_model" in n or "projector" in n}
    with skipping(model, text):
        model(**batch, use_cache=False).logits[real].square().mean().backward()
    fast = {n: p.grad for n, p in weights.items()}
    model.zero_grad()
    planned_logits(model, batch, text, gradients=True)[real].square().mean().backward()
    for name, parameter in weights.items():
        slow = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        got = torch.zeros_like(parameter) if fast[name] is None else fast[name]
        assert torch.isfinite(got).all(), name
        assert float((got - slow).norm()) <= 1e-4 * float(slow.norm()) + 1e-7, name


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
def test_no_query_of_a_ragged_batch_is_left_without_a_key(kind):
    """Not even filler: some kernels return NaN for a fully masked row, which would spread through keys and values."""
    model = random_model(attention=kind)
    # Rows of equal length: without padding sdpa gets no mask at all, eager a full one.
    batch = with_positions(batch_for(model, images=(1, 0), after=(4, 14)))
    assert batch["attention_mask"].all()
    for text in ("vision:1-3", "freeze:1-3", "keep:1-4=0-4+11", "prune:2=0.5", "freeze:1-4/keep:2-=3-"):
        masks = []
        with torch.no_grad(), skipping(model, text), recorded_masks(model, masks):
            model(**batch)
        masks = [mask for mask in masks if mask is not None]
        # Frozen tokens without padding: blocks of queries, or causal by row number.
        assert masks or (kind == "sdpa" and text == "freeze:1-3")
        assert all((mask if mask.dtype == torch.bool else mask == 0).any(dim=-1).all() for mask in masks), text


@contextmanager
def recorded_masks(model, masks):
    handles = [
        layer.self_attn.register_forward_pre_hook(
            lambda module, args, kwargs: masks.append(kwargs["attention_mask"]), with_kwargs=True
        )
        for layer in model.model.language_model.layers
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
def test_measuring_changes_nothing_and_reads_the_attention_under_the_plan(kind):
    model = random_model(attention=kind)
    batch = with_positions(batch_for(model, images=(1, 2), after=(6, 3)))
    vision = batch["input_ids"] == 7
    for text in PLANS:
        with torch.no_grad(), skipping(model, text):
            bare = model(**batch).logits
            with probe(model) as record, attention(model) as seen:
                measured = model(**batch).logits
        assert torch.equal(bare, measured), text
        maps = {}
        planned_logits(model, batch, text, maps=maps)
        steps = SkipPlan.parse(text).steps(5)
        for layer, step in enumerate(steps):
            ratio = torch.as_tensor(seen.ratios()[:, layer])
            if not (step.text and step.attention):
                assert torch.isnan(ratio).all()
                continue
            slow = (maps[layer][:, :, -1] * vision[:, None]).sum(-1)
            assert torch.allclose(ratio, slow.double(), atol=1e-5), (text, layer)
        table = record.table()
        held = (table["modality"] == "vision") & (table["layer"] == 1)
        if text.startswith("freeze:1-3"):
            assert (table["moved"][held] == 0).all()


def test_image_tokens_are_numbered_across_the_calls_of_one_cache():
    model = random_model()
    batch = batch_for(model, images=(2,), after=(5,))
    cut = 3 + 9 + 1  # text, the first image, one text token
    for text in ("keep:0-=0-4+10-15", "keep:2-=12-", "freeze:1-3", "keep:1-3=5-12/freeze:2-4"):
        with torch.no_grad(), skipping(model, text):
            whole = model(**batch).logits[:, -1]
            pixels = [{"pixel_values": batch["pixel_values"][i : i + 1]} for i in (0, 1)]
            first = model(input_ids=batch["input_ids"][:, :cut], **pixels[0], use_cache=True)
            cache = first.past_key_values
            second = model(input_ids=batch["input_ids"][:, cut:], **pixels[1], past_key_values=cache)
        assert error(second.logits[:, -1], whole) < 1e-5, text
    with torch.no_grad():
        cache = model(input_ids=batch["input_ids"][:, :cut], **pixels[0], use_cache=True).past_key_values
        with skipping(model, "keep:0-=0-4"), pytest.raises(ValueError, match="begun outside the plan"):
            model(input_ids=batch["input_ids"][:, cut:], **pixels[1], past_key_values=cache)


def test_image_tokens_removed_by_a_crop_are_no_longer_counted():
    model = random_model()
    batch = batch_for(model, images=(3,), after=(5,))
    first, second = 3 + 9 + 1, 3 + 2 * (9 + 1)

    def piece(start, stop, images, cache=None):
        pixels = batch["pixel_values"][slice(*images)]
        return model(input_ids=batch["input_ids"][:, start:stop], pixel_values=pixels, past_key_values=cache)

    with torch.no_grad(), skipping(model, "keep:1-=0-8+20-25"):
        whole = model(**batch).logits[:, -1]
        cache = piece(0, first, (0, 1)).past_key_values
        piece(first, second, (1, 2), cache)
        cache.crop(first - second)
        assert error(piece(first, batch["input_ids"].shape[1], (1, 3), cache).logits[:, -1], whole) < 1e-5


def test_a_chunk_of_image_tokens_alone_is_stored_for_the_text_after_it():
    model = random_model()
    batch = batch_for(model)
    ids, pixels = batch["input_ids"], batch["pixel_values"]
    with torch.no_grad(), skipping(model, "freeze:1-4"):
        whole = model(**batch).logits[:, -1]
        cache = model(input_ids=ids[:, :3], use_cache=True).past_key_values
        cache = model(input_ids=ids[:, 3:12], pixel_values=pixels, past_key_values=cache).past_key_values
        parts = model(input_ids=ids[:, 12:], past_key_values=cache).logits[:, -1]
    assert error(parts, whole) < 1e-5


@pytest.mark.parametrize("text", ["keep:1-4=2-5", "freeze:1-3/keep:2-=0-4"])
def test_a_cache_begun_with_text_alone_counts_the_images_that_follow(text):
    model = random_model()
    batch = batch_for(model, before=6)
    ids, pixels = batch["input_ids"], batch["pixel_values"]
    with torch.no_grad(), skipping(model, text):
        whole = model(**batch).logits[:, -1]
        cache = model(input_ids=ids[:, :4], use_cache=True).past_key_values
        parts = model(input_ids=ids[:, 4:], pixel_values=pixels, past_key_values=cache).logits[:, -1]
    assert error(parts, whole) < 1e-5


@pytest.mark.skipif(not hasattr(transformers, "MiniMaxM2Config"), reason="no MiniMaxM2 in this transformers")
def test_freezing_works_with_attention_that_normalises_all_heads_together():
    model = random_model("llava-minimax")
    batch = batch_for(model)
    with torch.no_grad(), skipping(model, "freeze:0-2"):
        fast = model(**batch).logits
    assert error(fast, planned_logits(model, batch, "freeze:0-2")) < 1e-5


def test_image_numbers_follow_crops_and_reordered_rows():
    model = random_model()
    batch = batch_for(model, images=(3, 3), after=(6, 6))
    ids, pixels = batch["input_ids"], batch["pixel_values"]
    first, second = slice(0, 13), slice(13, 23)  # text, image, text; image, text
    asked = {"input_ids": ids[:, second], "pixel_values": pixels[[1, 4]]}
    filler = torch.full((2, 14), 11)
    with torch.no_grad(), skipping(model, "keep:1-=0-12"):
        cache = model(input_ids=ids[:, first], pixel_values=pixels[[0, 3]], use_cache=True).past_key_values
        straight = model(
            input_ids=torch.cat([filler, ids[:, second]], 1), past_key_values=cache, pixel_values=pixels[[1, 4]]
        )
        cache.crop(-24)
        cache = model(**asked, past_key_values=cache).past_key_values
        cache.crop(-10)
        cache = model(input_ids=filler, past_key_values=cache).past_key_values
        again = model(**asked, past_key_values=cache).logits
        assert error(again, straight.logits[:, 14:]) < 1e-5
        cache.crop(-10)
        cache.batch_select_indices(torch.tensor([1, 0]))
        turned = {"input_ids": ids[[1, 0], second], "pixel_values": pixels[[4, 1]]}
        assert error(model(**turned, past_key_values=cache).logits.flip(0), again) < 1e-5
        cache.crop(-10)
        cache.batch_select_indices(torch.tensor([1]))
        one = model(input_ids=ids[:1, second], pixel_values=pixels[[1]], past_key_values=cache).logits
        assert error(one, again[:1]) < 1e-5


@pytest.mark.parametrize("text", ["freeze:1-3/keep:2-=0-4", "attention:2-3/mlp:1-2", "prune:2=0.5"])
def test_beam_scores_with_a_cache_equal_the_reference(text):
    model = random_model()
    batch = batch_for(model, images=(1, 1), after=(3, 6))
    settings = dict(max_new_tokens=4, num_beams=3, do_sample=False, output_scores=True, return_dict_in_generate=True)
    with torch.no_grad(), skipping(model, text):
        out = model.generate(**batch, **settings)
    start = batch["input_ids"].shape[1]
    logits = planned_logits(model, with_positions(lengthened(model, batch, out.sequences)), text, prompt=start)
    chances = torch.log_softmax(logits[:, start - 1 : -1], dim=-1)
    # A score is the mean log-probability of the new tokens.
    means = chances.gather(2, out.sequences[:, start:, None]).mean(dim=(1, 2))
    assert torch.allclose(means, out.sequences_scores, atol=1e-4)


def test_prompt_lookup_gives_the_same_answer():
    """Without prunings: the first call ends with candidates, the last of which would decide."""
    model = random_model()
    batch = batch_for(model)
    for text in PLANS:
        with torch.no_grad(), skipping(model, text):
            plain = model.generate(**batch, max_new_tokens=6, do_sample=False)
            if "prune" not in text:
                other = model.generate(**batch, max_new_tokens=6, do_sample=False, prompt_lookup_num_tokens=3)
                assert torch.equal(plain, other), text


def test_the_highest_scores_stay_and_ties_go_to_the_earlier_token():
    vision = torch.tensor([[0, 1, 1, 1, 1, 0], [0, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]]).bool()
    scores = torch.tensor([[9, 1, 2, 2, 3, 9], [9, 1, 1, 1, 0, 0], [9, 9, 9, 9, 9, 9.0]])
    assert most_attended(scores, vision, 0.5).int().tolist() == [[0, 0, 1, 0, 1, 0], [0, 1, 1, 0, 0, 0], [0] * 6]
    absent_first = torch.tensor([[-1, 0.0, 2.0]])
    assert most_attended(absent_first, torch.ones(1, 3).bool(), 1.0).int().tolist() == [[0, 1, 1]]


def test_frozen_tokens_are_stored_and_tokens_not_kept_are_not():
    model = random_model()
    batch = batch_for(model)
    total = batch["input_ids"].shape[1]
    held = {}
    for text in ("freeze:1-3", "keep:1-3=0-4", "prune:2=0.5", "attention:1-3", "mlp:1-3"):
        with torch.no_grad(), skipping(model, text):
            cache = model(**batch, use_cache=True).past_key_values
        assert cache.get_seq_length() == total
        held[text] = [(0 if layer.keys is None else layer.keys.shape[2]) - total for layer in cache.layers]
    assert held == {
        "freeze:1-3": [0, 0, 0, 0, 0],
        "keep:1-3=0-4": [0, -5, -5, 0, 0],
        "prune:2=0.5": [0, 0, -5, -5, -5],
        "attention:1-3": [0, -total, -total, 0, 0],
        "mlp:1-3": [0, 0, 0, 0, 0],
    }


def test_plans_without_effect_are_bit_identical():
    model = random_model()
    batch = batch_for(model)
    without = {n: v for n, v in batch.items() if n != "pixel_values"} | {"input_ids": batch["input_ids"].clamp(min=10)}
    with torch.no_grad():
        for text in ("keep:0-=0-", "prune:2=1", "freeze:5-"):
            with skipping(model, text) as plan:
                assert not plan
                assert torch.equal(model(**batch).logits, fresh(model, batch)), text
        for text in ("freeze:1-4", "prune:2=0.5", "keep:1-=0-2"):
            with skipping(model, text):
                assert torch.equal(model(**without).logits, fresh(model, without)), text


def fresh(model, batch):
    other = random_model()
    other.load_state_dict(model.state_dict())
    return other(**batch).logits


def test_everything_is_undone_after_an_error_inside_a_layer():
    model = random_model()
    batch = batch_for(model)
    places = [m for m in model.modules() if "forward" in m.__dict__]
    with torch.no_grad():
        plain = model(**batch).logits
        for text in PLANS:
            with pytest.raises(TypeError, match="broken"), skipping(model, text), breaking(model):
                model(**batch)
            with pytest.raises(ZeroDivisionError), skipping(model, text), probe(model):
                model(**batch)
                raise ZeroDivisionError
        assert torch.equal(model(**batch).logits, plain)
    assert [m for m in model.modules() if "forward" in m.__dict__] == places
    assert model.config.text_config._attn_implementation == "sdpa"


@contextmanager
def breaking(model):
    def broken(*_):
        raise TypeError("broken")

    handle = model.model.language_model.layers[4].self_attn.k_proj.register_forward_pre_hook(broken)
    try:
        yield
    finally:
        handle.remove()


def test_refusals():
    model = random_model()
    batch = batch_for(model)
    length = batch["input_ids"].shape[1]
    with pytest.raises(ValueError, match="prune at another layer"), skipping(model, "prune:2=0.5/vision:1-2"):
        pass
    with skipping(model, "vision:1-2"), pytest.raises(NotImplementedError, match=r"'strange'.*along the sequence"):
        model(**batch, strange=torch.zeros(1, length))
    ids = batch["input_ids"][:, :12]  # ends with the image, whose last token is frozen
    with skipping(model, "freeze:1-2/prune:2=0.5"), pytest.raises(ValueError, match="end the prompt with text"):
        model(input_ids=ids, pixel_values=batch["pixel_values"])
    with (
        skipping(model, "prune:2=0.5"),
        pytest.raises(RuntimeError, match="attention implementation was changed inside"),
    ):
        planned_logits(model, batch, "none")  # switches to another attention implementation
    del model.model.language_model.layers[1].input_layernorm
    with (
        pytest.raises(
            NotImplementedError, match=r"half of a LlamaDecoderLayer cannot be dropped.*no attribute 'input_layernorm'"
        ),
        skipping(model, "attention:1-2"),
    ):
        pass


def test_a_mask_without_heads_is_refused():
    everybody = Active(torch.arange(4).unsqueeze(0), None, length=4)
    call = Call(torch.zeros(1, 4).bool(), torch.ones(1, 4).bool(), 0)
    with pytest.raises(NotImplementedError, match="expected a 4-D attention mask, got 2 dimensions"):
        shorter_mask(call, torch.zeros(4, 4), Roles(everybody, None, everybody), everybody.index, False)


@pytest.mark.parametrize("text", [5, 300, 900])
def test_row_14_frozen_tokens_need_no_mask_of_all_by_all(text, monkeypatch):
    """Few queries attend in blocks under small masks, many are causal by row number."""
    model = random_model("llava-mistral")
    batch = with_positions(batch_for(model, images=(15, 15), after=(text, text)))
    assert batch["attention_mask"].all()
    plan, sizes = "freeze:1-4/vision:4-", []
    product = torch.nn.functional.scaled_dot_product_attention

    def watched(query, key, value, attn_mask=None, *args, **kwargs):
        sizes.append(0 if attn_mask is None else attn_mask[0].numel())
        return product(query, key, value, attn_mask, *args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    with torch.no_grad(), skipping(model, plan), attention(model) as seen:
        fast = model(**batch).logits
    assert error(fast, planned_logits(model, batch, plan)) < 1e-5
    tokens = batch["input_ids"].shape[1]
    assert max(sizes) <= (256 * tokens if text < 900 else 0)
    with torch.no_grad(), skipping(random_model("llava-mistral", "eager"), plan) as _, attention(model) as plain:
        model(**batch)
    assert seen.ratios().shape == plain.ratios().shape
    assert abs(seen.ratios()[:, 0] - plain.ratios()[:, 0]).max() < 1e-6
