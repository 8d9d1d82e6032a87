"""Flash attention under plans: transformers' own path around a stand-in kernel, and layouts by themselves."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.cache_utils import DynamicCache

from vlm import attention, skipping
from vlm.engine import exactness_checks, flash_attention, flash_layout
from vlm.engine.active_tokens import Active, Roles
from vlm.engine.forward_call import Call
from vlm.engine.masked_reference import planned_logits
from vlm.measure.attention_removal import removal
from vlm.models import flash_stand_in
from vlm.models.random_batches import batch_for, with_positions
from vlm.models.random_models import random_model

NAME = flash_stand_in.NAME
SHAPE = dict(images=(2, 0, 1), after=(4, 7, 2))


@pytest.fixture
def kernel():
    with flash_stand_in.installed():
        yield


@pytest.mark.parametrize(
    ("queries", "keys", "rows"),
    [(2, 5, ["11110", "11111"]), (5, 2, ["00", "00", "00", "10", "11"])],
)
def test_the_stand_in_aligns_causality_as_the_package_documents(queries, keys, rows):
    torch.manual_seed(0)
    q, k, v = torch.randn(1, queries, 2, 4), torch.randn(1, keys, 1, 4), torch.randn(1, keys, 1, 4)
    out = flash_stand_in.flash_attn_func(q, k, v, causal=True)
    for i, row in enumerate(rows):
        seen = [j for j, sign in enumerate(row) if sign == "1"]
        if not seen:
            assert not out[0, i].any()
            continue
        weights = torch.softmax(q[0, i] @ k[0, seen, 0].T / 2, dim=-1)
        assert torch.allclose(out[0, i], weights @ v[0, seen, 0], atol=1e-6)


@st.composite
def layouts(draw):
    """Rows of running, frozen, absent and padding tokens after some cached keys, as the engine arranges them."""
    batch, length, past = draw(st.integers(1, 3)), draw(st.integers(1, 9)), draw(st.integers(0, 4))
    kinds = st.lists(st.sampled_from("rfapr"), min_size=length, max_size=length)
    rows = [draw(kinds) for _ in range(batch)]
    rows[0][draw(st.integers(0, length - 1))] = "r"
    held = torch.tensor(sorted(draw(st.sets(st.integers(0, past - 1)))) if past else [], dtype=torch.long)
    # Padding keeps its place among the running tokens, as text does.
    groups = {name: [[kind in name for kind in row] for row in rows] for name in ("rp", "f", "rfp")}
    real = torch.tensor([[kind != "p" for kind in row] for row in rows])
    return past, held, real, {name: torch.tensor(mask) for name, mask in groups.items()}


def active(stays):
    rows = int(stays.sum(1).max())
    order = [sorted(range(stays.shape[1]), key=lambda i, row=row: (bool(row[i]), i)) for row in stays]
    index = torch.tensor(order)[:, stays.shape[1] - rows :]
    places = torch.arange(rows) >= rows - stays.sum(1, keepdim=True)
    return Active(index, None if bool(places.all()) else places, stays.shape[1])


@settings(max_examples=200, deadline=None)
@given(layouts())
def test_runs_attend_as_positions_and_padding_require(drawn):
    past, held, real, groups = drawn
    running, seen = active(groups["rp"]), active(groups["rfp"])
    tokens = Roles(running, active(groups["f"]), seen)
    new = torch.where(seen.places >= 0, seen.places + past, -1)
    keys = torch.cat([held.expand(len(real), -1), new], dim=1)
    mask = torch.cat([torch.ones(len(real), past, dtype=torch.bool), real], dim=1)
    call = Call(~real, real, past)
    found = flash_attention.shortened_layout(
        call, None if bool(real.all()) else mask, None, tokens, keys, bool((keys < 0).any())
    )
    torch.manual_seed(0)
    if found.runs is None:
        return
    q = torch.randn(len(real), 2, running.rows, 4)
    k, v = torch.randn(2, len(real), 2, keys.shape[1], 4)
    module = torch.nn.Module()
    module.is_causal = True
    out, _ = flash_attention.attend(run_by_run, found, module, q, k, v)
    for row in range(len(real)):
        for i, place in enumerate(running.places[row].tolist()):
            if place < 0 or not real[row, place]:
                assert not out[row, i].any()
                continue
            columns = [j for j, at in enumerate(keys[row].tolist()) if 0 <= at <= past + place and mask[row, at]]
            assert found.lines()[row, 0, i].nonzero()[:, 0].tolist() == columns
            weights = torch.softmax(torch.einsum("hd,hjd->hj", q[row, :, i], k[row, :, columns]) / 2, dim=-1)
            expected = torch.einsum("hj,hjd->hd", weights, v[row, :, columns])
            assert torch.allclose(out[row, i], expected, atol=1e-5)


def run_by_run(module, query, key, value, mask, *, position_ids, **options):
    """Call the kernel with runs as transformers does."""
    assert mask is None
    assert position_ids is None
    q, k, v = (part.transpose(1, 2)[0] for part in (query, key, value))
    where = options["cu_seq_lens_q"], options["cu_seq_lens_k"], options["max_length_q"], options["max_length_k"]
    return flash_stand_in.flash_attn_varlen_func(q, k, v, *where, causal=True).unsqueeze(0), None


@pytest.mark.parametrize("plan", ["none", "vision:0-2", "freeze:1-3/text:3-4", "freeze:0-2/keep:2-=1-3"])
def test_observers_see_under_flash_what_they_see_under_eager_attention(kernel, plan):
    seen = []
    for kind in ("eager", NAME):
        model = random_model(attention=kind)
        with torch.no_grad(), skipping(model, plan), attention(model) as record:
            model(**with_positions(batch_for(model, **SHAPE)))
        seen.append(record.ratios())
    np.testing.assert_allclose(*seen, atol=1e-6)
    assert np.nanmax(seen[0]) > 0.05


@pytest.mark.parametrize("plan", ["prune:2=0.5", "freeze:0-1/prune:3=0.3"])
def test_an_image_after_cached_text_is_pruned_as_in_one_prompt(kernel, plan):
    model = random_model(attention=NAME)
    batch = batch_for(model, before=6)
    ids, pixels = batch["input_ids"], batch["pixel_values"]
    with torch.no_grad(), skipping(model, plan):
        whole = model(input_ids=ids, pixel_values=pixels).logits[:, -1]
        cache = model(input_ids=ids[:, :4], use_cache=True).past_key_values
        parts = model(input_ids=ids[:, 4:], pixel_values=pixels, past_key_values=cache).logits[:, -1]
    assert exactness_checks.relative(parts, whole) < 1e-5
    assert exactness_checks.relative(whole, planned_logits(model, batch, plan)[:, -1]) < 1e-5


def test_removal_is_the_same_under_flash(kernel):
    tables = []
    for kind in ("eager", NAME):
        model = random_model(attention=kind)
        with torch.no_grad(), removal(model) as record:
            model(**with_positions(batch_for(model, **SHAPE)))
        tables.append(record.table())
    for name in ("ratio", "change", "bound", "change_text"):
        np.testing.assert_allclose(tables[0][name], tables[1][name], rtol=1e-4, atol=1e-6)


def test_leaving_undoes_everything(kernel):
    model = random_model(attention=NAME)
    attending = model.model.language_model.layers[0].self_attn
    with pytest.raises(RuntimeError, match="stop"), skipping(model, "freeze:0-2/prune:3=0.5"), attention(model):
        assert attending.config._attn_implementation != NAME
        assert attending.config.hidden_size == model.config.text_config.hidden_size
        raise RuntimeError("stop")
    assert attending.config is model.config.text_config
    assert "__deepcopy__" not in model.__dict__


def test_a_full_sliding_window_is_refused(kernel):
    model = random_model("gemma3", NAME)
    batch = batch_for(model)
    for context in (skipping(model, "vision:0-1"), attention(model)):
        with torch.no_grad(), context, pytest.raises(NotImplementedError, match=r"14 tokens exceed .* window of 9"):
            model(**batch)


@pytest.mark.parametrize("configured", [True, False])
@pytest.mark.parametrize("padded", [True, False])
def test_a_sliding_window_that_fills_while_decoding_is_refused(kernel, configured, padded):
    """A cache created without a configuration has no window, but the kernel does."""
    model = random_model("llava-mistral", NAME)
    model.config.text_config.sliding_window = 22
    batch = batch_for(model, images=(1, 1) if padded else (1,), after=(6, 2) if padded else (6,))
    cache = DynamicCache(config=model.config.get_text_config()) if configured else DynamicCache()
    mask, token = batch["attention_mask"], torch.full((len(batch["input_ids"]), 1), 11)
    with torch.no_grad(), skipping(model, "vision:0-2"):
        model(**batch, past_key_values=cache)
        for length in range(20, 24):
            mask = torch.cat([mask, torch.ones_like(token)], dim=1)
            step = dict(input_ids=token, attention_mask=mask, past_key_values=cache)
            if length <= 22:
                model(**step)
                continue
            with pytest.raises(NotImplementedError, match=r"23 tokens exceed this layer's sliding window of 2[12]"):
                model(**step)


@pytest.mark.parametrize("context", [attention, removal, lambda model: skipping(model, "freeze:0-2")])
def test_bidirectional_layers_are_refused_where_causality_is_needed(kernel, context):
    model = random_model("paligemma", NAME)
    with torch.no_grad(), context(model), pytest.raises(NotImplementedError, match="causal layers"):
        model(**batch_for(model))


@pytest.mark.parametrize("copies", [0, 1])
def test_a_mask_is_used_where_runs_would_copy_too_many_keys(kernel, copies, monkeypatch):
    monkeypatch.setattr(flash_layout, "_MAXIMUM_COPIES", copies)
    model = random_model(attention=NAME)
    batch = with_positions(batch_for(model, images=(3, 0, 2), after=(4, 7, 2)))
    real = batch["attention_mask"].bool()
    plan = "freeze:0-3/keep:2-=3-20"
    with torch.no_grad(), skipping(model, plan):
        fast = model(**batch).logits[real]
    assert exactness_checks.relative(fast, planned_logits(model, batch, plan)[real]) < 1e-5


@pytest.mark.parametrize(("copies", "in_runs"), [(1, False), (2, True)])
def test_nine_keys_for_five_exceed_one_copy_but_not_two(copies, in_runs, monkeypatch):
    monkeypatch.setattr(flash_layout, "_MAXIMUM_COPIES", copies)
    found = flash_attention.Layout(torch.tensor([[0, 2, 4]]), torch.arange(5).unsqueeze(0), None, True)
    assert (found.runs is not None) == in_runs
    if not in_runs:
        module, states = torch.nn.Module(), torch.zeros(1, 1, 5, 4)
        module.is_causal = True
        with pytest.raises(NotImplementedError, match="not supported in layers with 'softcap'"):
            flash_attention.attend(run_by_run, found, module, states[:, :, :3], states, states, softcap=30.0)
    else:
        assert found.runs.keys.tolist() == [0, 0, 1, 2, 0, 1, 2, 3, 4]
        assert found.runs.lengths["cu_seq_lens_k"].tolist() == [0, 1, 4, 9]


def test_another_attention_inside_the_context_is_refused(kernel):
    model = random_model(attention=NAME)
    with torch.no_grad(), skipping(model, "freeze:0-2"):
        model.config.text_config._attn_implementation = "sdpa"
        with pytest.raises(RuntimeError, match="changed inside a context"):
            model(**batch_for(model))
    assert model.config.text_config._attn_implementation == "sdpa"


def test_several_prompts_in_one_row_are_refused(kernel):
    model = random_model(attention=NAME)
    batch = batch_for(model)
    del batch["attention_mask"]
    length = batch["input_ids"].shape[1]
    positions = torch.arange(length).unsqueeze(0)
    with torch.no_grad(), skipping(model, "vision:0-2"):
        plain = model(**batch).logits
        assert torch.equal(model(**batch, position_ids=positions).logits, plain)
        with pytest.raises(NotImplementedError, match="several prompts in one row"):
            model(**batch, position_ids=positions % (length - 4))
        ends = torch.tensor([0, length], dtype=torch.int32)
        packed = dict(cu_seq_lens_q=ends, cu_seq_lens_k=ends, max_length_q=length, max_length_k=length)
        with pytest.raises(NotImplementedError, match=r"cu_seq_lens_q, .* mean several prompts in one row"):
            model(**batch, **packed)


def test_a_call_of_padding_and_frozen_tokens_runs_no_kernel():
    mask = torch.tensor([[0, 0, 1, 1]])
    call = Call(mask.bool(), mask.bool(), 0)
    everybody = active(torch.ones(1, 4, dtype=torch.bool))
    padding, images = active(~mask.bool()), active(mask.bool())
    found = flash_attention.shortened_layout(
        call, mask, None, Roles(padding, images, everybody), everybody.index, False
    )
    q, k = torch.randn(1, 2, 2, 4), torch.randn(1, 2, 4, 4)
    module = torch.nn.Module()
    module.is_causal = True
    assert found.runs is None
    out, _ = flash_attention.attend(run_by_run, found, module, q, k, k)
    assert out.shape == (1, 2, 2, 4)
    assert torch.isfinite(out).all()


def test_a_mask_with_heads_is_refused():
    call = Call(torch.zeros(1, 4).bool(), torch.ones(1, 4).bool(), 0)
    with pytest.raises(NotImplementedError, match=r"expected a padding mask .* got 4 dimensions"):
        flash_attention.whole_layout(call, torch.ones(1, 1, 4, 4), 4, 4)


@pytest.mark.skipif(not (torch.cuda.is_available() and find_spec("flash_attn")), reason="needs a GPU and flash-attn")
@pytest.mark.parametrize("plan", exactness_checks.JOINED)
def test_the_real_kernel_follows_the_reference_in_half_precision(plan):
    model = random_model(attention=NAME)
    batch = {name: value.to("cuda") for name, value in with_positions(batch_for(model, **SHAPE)).items()}
    batch["pixel_values"] = batch["pixel_values"].to(torch.bfloat16)
    model, real = model.to("cuda", torch.bfloat16), batch["attention_mask"].bool()
    with torch.no_grad(), skipping(model, plan):
        fast = model(**batch).logits[real].double()
    slow = planned_logits(model, batch, plan)[real].double()
    assert float((fast - slow).abs().max() / slow.std()) < 0.5
