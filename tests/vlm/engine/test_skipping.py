"""The skip engine: equal to the slow masked reference, cached equal to uncached, and undone completely."""

from __future__ import annotations

import pytest
import torch

from tests.oracles.skipping_reference import by_hand_logits, masked_logits
from vlm import SkipPlan, attention, probe, skipping
from vlm.models.random_batches import batch_for, with_positions
from vlm.models.random_models import random_model

PLANS = [
    "none",
    "vision:0-2",
    "vision:3-",
    "vision:0-1+3-",
    "vision:2-4",
    "vision:0-",
    "text:1-2",
    "vision:1-3/text:2-4",
    "vision:2-3/text:2-3",
    "vision:0-1/text:0-1",
]
SHAPES = {
    "single": dict(images=(1,), after=(6,)),
    "equal pair": dict(images=(1, 1), after=(6, 6)),
    "padded pair": dict(images=(1, 1), after=(3, 8)),
    "two images and none": dict(images=(2, 0, 1), after=(4, 7, 2)),
    "text only": dict(images=(0,), after=(6,)),
}


def relative_error(a: torch.Tensor, b: torch.Tensor, real: torch.Tensor) -> float:
    keep = real.bool()
    return float((a[keep] - b[keep]).norm() / b[keep].norm())


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llava", "llava_next"])
@pytest.mark.parametrize("shape", SHAPES)
def test_prefill_equals_the_masked_reference(family, kind, shape):
    model = random_model(family, kind)
    batch = with_positions(batch_for(model, **SHAPES[shape]))
    for text in PLANS:
        plan = SkipPlan.parse(text)
        with torch.no_grad(), skipping(model, plan):
            fast = model(**batch).logits
        slow = masked_logits(model, batch, plan)
        assert relative_error(fast, slow, batch["attention_mask"]) < 1e-4, text


@pytest.mark.parametrize("shape", SHAPES)
def test_the_reference_equals_an_independent_loop_with_a_mask(shape):
    model = random_model()
    batch = with_positions(batch_for(model, **SHAPES[shape]))
    for text in PLANS:
        plan = SkipPlan.parse(text)
        slow, by_hand = masked_logits(model, batch, plan), by_hand_logits(model, batch, plan)
        assert relative_error(slow, by_hand, batch["attention_mask"]) < 1e-5, text


def test_plans_change_the_logits_so_the_comparison_is_not_vacuous():
    model = random_model()
    batch = batch_for(model)
    plain = masked_logits(model, batch, SkipPlan())
    for text in PLANS[1:]:
        other = masked_logits(model, batch, SkipPlan.parse(text))
        assert relative_error(other, plain, batch["attention_mask"]) > 1e-2, text


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
def test_the_empty_plan_and_leaving_are_bit_identical(kind):
    model = random_model(attention=kind)
    batch = batch_for(model, images=(1, 2), after=(6, 3))
    before_hooks = _hooks(model)
    with torch.no_grad():
        plain = model(**batch).logits
        hooks = _hooks(model)
        with skipping(model, "none"):
            empty = model(**batch).logits
        with skipping(model, "vision:0-3/text:1-2"), probe(model), attention(model):
            model(**batch)
        after = model(**batch).logits
    assert torch.equal(plain, empty)
    assert torch.equal(plain, after)
    assert _hooks(model) == hooks
    assert before_hooks <= hooks
    assert model.config.text_config._attn_implementation == kind


def _hooks(model):
    found = set()
    for name, module in model.named_modules():
        found |= {
            (name, kind, key) for kind in ("_forward_hooks", "_forward_pre_hooks") for key in getattr(module, kind)
        }
        found |= {(name, "forward")} if "forward" in module.__dict__ else set()
    return found


def test_everything_is_undone_after_an_exception():
    model = random_model()
    batch = batch_for(model)
    with torch.no_grad():
        plain = model(**batch).logits
        hooks = _hooks(model)
        with pytest.raises(ZeroDivisionError), skipping(model, "vision:0-2"), probe(model), attention(model):
            model(**batch)
            raise ZeroDivisionError
        with pytest.raises(TypeError), skipping(model, "vision:0-2"):
            model(**batch, no_such_argument=object(), attention_mask=batch["attention_mask"])
        assert torch.equal(model(**batch).logits, plain)
    assert _hooks(model) == hooks
    assert "__deepcopy__" not in model.__dict__


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
@pytest.mark.parametrize("shape", ["single", "padded pair", "two images and none"])
def test_cached_generation_equals_uncached_token_by_token(kind, shape):
    model = random_model(attention=kind)
    batch = batch_for(model, **SHAPES[shape])
    for text in PLANS[1:]:
        plan = SkipPlan.parse(text)
        with torch.no_grad(), skipping(model, plan):
            out = model.generate(
                **batch,
                max_new_tokens=5,
                min_new_tokens=5,
                do_sample=False,
                return_dict_in_generate=True,
                output_logits=True,
            )
        start = batch["input_ids"].shape[1]
        for step in range(5):
            longer = dict(batch)
            longer["input_ids"] = out.sequences[:, : start + step]
            extra = torch.ones(len(out.sequences), step, dtype=torch.long)
            longer["attention_mask"] = torch.cat([batch["attention_mask"], extra], dim=1)
            # The masked reference runs the whole sequence at once, without a cache.
            slow = masked_logits(model, with_positions(longer), plan)[:, -1]
            assert float((out.logits[step] - slow).norm() / slow.norm()) < 1e-4, (text, step)


def test_batch_equals_singles():
    model = random_model()
    pair = batch_for(model, images=(2, 1), after=(3, 9))
    plan = SkipPlan.parse("vision:0-2+3-")
    with torch.no_grad(), skipping(model, plan):
        together = model(**with_positions(pair)).logits[:, -1]
        for row, images in ((0, slice(0, 2)), (1, slice(2, 3))):
            real = pair["attention_mask"][row].bool()
            single = {
                "input_ids": pair["input_ids"][row][real][None],
                "attention_mask": torch.ones(1, int(real.sum()), dtype=torch.long),
                "pixel_values": pair["pixel_values"][images],
            }
            alone = model(**with_positions(single)).logits[0, -1]
            assert float((alone - together[row]).norm() / alone.norm()) < 1e-4


def test_the_sequence_is_physically_shorter_and_so_is_the_cache():
    model = random_model()
    batch = batch_for(model)
    lengths = []
    layer = model.model.language_model.layers[1]
    handle = layer.mlp.register_forward_pre_hook(lambda _, args: lengths.append(args[0].shape[1]))
    with torch.no_grad():
        full = model(**batch, use_cache=True).past_key_values
        with skipping(model, "vision:0-2"):
            short = model(**batch, use_cache=True).past_key_values
    handle.remove()
    total, image_count = batch["input_ids"].shape[1], int((batch["input_ids"] == 7).sum())
    assert lengths == [total, total - image_count]
    assert [layer.keys.shape[2] for layer in full.layers] == [total] * 5
    assert [layer.keys.shape[2] for layer in short.layers] == [total - image_count] * 2 + [total] * 3
    assert short.get_seq_length() == total


def test_skipped_states_pass_unchanged():
    model = random_model()
    batch = batch_for(model)
    with torch.no_grad(), skipping(model, "vision:1-3"):
        states = model(**batch, output_hidden_states=True).hidden_states
    vision = batch["input_ids"][0] == 7
    assert torch.equal(states[1][0, vision], states[3][0, vision])
    assert not torch.equal(states[0][0, vision], states[1][0, vision])
    assert not torch.equal(states[1][0, ~vision], states[3][0, ~vision])


@pytest.mark.parametrize("text", ["vision:0-2", "vision:1-3/text:1-2"])
def test_beam_search_with_a_cache_equals_without(text):
    model = random_model()
    batch = batch_for(model, images=(1, 1), after=(3, 6))
    settings = dict(max_new_tokens=4, num_beams=3, do_sample=False, output_scores=True, return_dict_in_generate=True)
    with torch.no_grad(), skipping(model, text):
        cached = model.generate(**batch, **settings)
    for sequence, score in zip(cached.sequences, cached.sequences_scores, strict=True):
        assert torch.isfinite(score)
        assert len(sequence) > batch["input_ids"].shape[1]
    # Teacher forcing on the best beams reproduces their scores.
    start = batch["input_ids"].shape[1]
    longer = {**batch, "input_ids": cached.sequences}
    new = cached.sequences.shape[1] - start
    longer["attention_mask"] = torch.cat([batch["attention_mask"], torch.ones(2, new, dtype=torch.long)], dim=1)
    logits = masked_logits(model, with_positions(longer), SkipPlan.parse(text))
    for row in range(2):
        tokens = cached.sequences[row, start:]
        real = int((tokens != 0).sum())
        steps = torch.log_softmax(logits[row, start - 1 : -1], dim=-1)
        score = float(steps[range(new), tokens][:real].sum()) / real
        assert score == pytest.approx(float(cached.sequences_scores[row]), rel=1e-4)


def test_gradients_flow_under_a_plan():
    model = random_model()
    batch = batch_for(model)
    with skipping(model, "vision:0-2"):
        model(**batch).logits.square().mean().backward()
    projector = model.model.multi_modal_projector.linear_1.weight.grad
    assert projector is not None
    assert float(projector.abs().sum()) > 0


def test_a_cache_filled_outside_continues_inside():
    model = random_model()
    batch = batch_for(model)
    with torch.no_grad():
        cache = model(**batch, use_cache=True).past_key_values
        step = {"input_ids": torch.tensor([[11]]), "attention_mask": torch.ones(1, batch["input_ids"].shape[1] + 1)}
        plain = model(**step, past_key_values=cache).logits
        cache = model(**batch, use_cache=True).past_key_values
        with skipping(model, "vision:0-2"):
            inside = model(**step, past_key_values=cache).logits
    # Tokens that went through a layer before the plan began remain visible there.
    assert float((plain - inside).norm() / plain.norm()) < 1e-5


def test_a_cache_filled_under_a_plan_is_refused_outside():
    model = random_model()
    batch = batch_for(model)
    with torch.no_grad():
        with skipping(model, "vision:0-2"):
            cache = model(**batch, use_cache=True).past_key_values
        step = {"input_ids": torch.tensor([[11]]), "attention_mask": torch.ones(1, batch["input_ids"].shape[1] + 1)}
        with pytest.raises(RuntimeError, match="filled under a skip plan"):
            model(**step, past_key_values=cache)


def test_refusals():
    model = random_model()
    batch = batch_for(model)
    with pytest.raises(ValueError, match=r"has 5 decoder layers"), skipping(model, "vision:0-6"):
        pass
    with (
        pytest.raises(ValueError, match="already active"),
        skipping(model, "vision:0-1"),
        skipping(model, "vision:1-2"),
    ):
        pass
    with pytest.raises(TypeError, match="expected a vision-language model"), skipping(torch.nn.Linear(2, 2), "none"):
        pass
    with skipping(model, "vision:0-1"):
        with pytest.raises(RuntimeError, match="called directly"):
            model.model.language_model(input_ids=batch["input_ids"])
        with pytest.raises(ValueError, match="expected input_ids"):
            model(inputs_embeds=torch.zeros(1, 4, 32))
        with pytest.raises(ValueError, match="padding mask"):
            model(input_ids=batch["input_ids"], attention_mask=torch.ones(1, 1, 19, 19))
    model.config.text_config._attn_implementation = "flex_attention"
    with pytest.raises(NotImplementedError, match="flex_attention"), skipping(model, "vision:0-1"):
        pass
