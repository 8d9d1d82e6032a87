"""Recorded states against states collected by separate hooks, row by row, in every family."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import redundancy as rd
from tests.oracles.states_reference import collected, reference_rows, right_padded
from vlm import moments, probe, skipping, states
from vlm.models.random_batches import batch_for, images_of, single_row, with_positions
from vlm.models.random_models import FAMILY_NAMES, IMAGE, absent, random_model

VIEWS = ("last", "vision-mean", "text-mean", "vision-sample(3)", "text-sample(2)", "vision-all", "text-all")
IMAGES, AFTER = (2, 0, 1), (4, 7, 2)
NAMES = ["first", "second", "third"]


def agree(record, expected, names=NAMES, tolerance=1e-6):
    """Every view and layer of a record equals the reference."""
    for view in VIEWS:
        layers = {layer: states for (v, layer), states in expected.items() if v == view and layer >= 0}
        index = record.index(view)
        want = expected[view, -1]
        assert [names.index(item) for item in index["item"]] == [row[0] for row in want], view
        assert index["token"].tolist() == [row[1] for row in want], view
        assert index["block"].tolist() == [row[2] for row in want], view
        for layer, rows in layers.items():
            np.testing.assert_allclose(record.layer(layer, view), rows, rtol=tolerance, atol=tolerance, err_msg=view)


@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("padding", ["left", "right"])
def test_every_view_equals_the_collected_states(family, padding):
    if (why := absent(family)) is not None:
        pytest.skip(why)
    model = random_model(family)
    batch = batch_for(model, images=IMAGES, after=AFTER)
    if padding == "right":
        batch = right_padded(batch)
    expected = reference_rows(collected(model, batch), batch, NAMES, VIEWS)
    with torch.no_grad(), states(model, views=VIEWS) as record:
        record.expect(NAMES, groups=["a", "b", "a"])
        plain = model(**batch).logits
    with torch.no_grad():
        assert torch.equal(plain, model(**batch).logits)
    agree(record, expected)
    x, y, groups = record.pair(1, 3, "vision-sample(3)")
    assert x.shape == y.shape == (6, 32)
    assert groups.tolist() == ["a"] * 6
    assert record.absent("vision-mean") == 1
    assert record.absent("last") == 0


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_states_under_a_plan_are_those_of_the_skipped_model(family):
    if (why := absent(family)) is not None:
        pytest.skip(why)
    model = random_model(family)
    batch = batch_for(model, images=IMAGES, after=AFTER)
    with skipping(model, "vision:1-3"):
        expected = reference_rows(collected(model, batch), batch, NAMES, VIEWS)
        with torch.no_grad(), states(model, views=VIEWS) as record:
            record.expect(NAMES)
            model(**batch)
    agree(record, expected)
    if not family.startswith("qwen3_vl"):  # which adds features to image tokens between its first layers
        x, y, _ = record.pair(1, 3, "vision-all")
        np.testing.assert_array_equal(x, y)
    assert not np.array_equal(*record.pair(1, 3, "text-all")[:2])


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "idefics3"])
def test_distances_of_all_tokens_are_those_of_probe(family):
    model = random_model(family)
    batch = batch_for(model, images=(1, 1), after=(4, 2))
    with torch.no_grad(), states(model, views=("vision-all", "text-all")) as record, probe(model) as seen:
        record.expect(["p", "q"])
        model(**batch)
    for row in seen.table().rows():
        view = f"{row['modality']}-all"
        mine = record.index(view)["item"] == "pq"[row["sample"]]
        x, y, _ = record.pair(row["layer"], row["layer"] + 1, view)
        assert rd.geometric(x[mine], y[mine]).value == pytest.approx(row["distance"], rel=1e-9)


def test_decoding_adds_no_rows_and_changes_no_token():
    model = random_model()
    batch = batch_for(model, images=(1, 1), after=(4, 2))
    with torch.no_grad():
        plain = model.generate(**batch, max_new_tokens=4, do_sample=False)
        with states(model, views=VIEWS) as record:
            record.expect(["p", "q"])
            assert torch.equal(model.generate(**batch, max_new_tokens=4, do_sample=False), plain)
    expected = reference_rows(collected(model, with_positions(batch)), batch, ["p", "q"], VIEWS)
    agree(record, expected, ["p", "q"], 1e-5)


@pytest.mark.parametrize("family", ["llava", "gemma3", "qwen2_5_vl", "idefics3"])
@pytest.mark.parametrize("cuts", [(0, -5, -2), "images"])
def test_a_prompt_in_several_calls_equals_the_prompt_in_one(family, cuts):
    """Cut within the text, and between two images."""
    model = random_model(family)
    batch = batch_for(model, images=(2,), after=(8,))
    length = batch["input_ids"].shape[1]
    tokens = int((batch["input_ids"] == IMAGE).sum()) // 2
    starts = [0, 3 + tokens + 1] if cuts == "images" else [cut % length for cut in cuts]
    whole = reference_rows(collected(model, batch), batch, ["p"], VIEWS)
    positions = with_positions(batch).get("position_ids")
    if positions is None:
        names = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
        positions = model.model.get_rope_index(**{name: batch[name] for name in names})[0]
    cache, shown = None, 0
    with torch.no_grad(), states(model, views=VIEWS) as record:
        record.expect(["p"], calls=len(starts))
        for start, stop in zip(starts, [*starts[1:], length], strict=True):
            ids = batch["input_ids"][:, start:stop]
            count = int((ids == IMAGE).sum()) // tokens
            piece = {"input_ids": ids, "attention_mask": batch["attention_mask"][:, :stop]}
            if "token_type_ids" in batch and count:
                piece["token_type_ids"] = batch["token_type_ids"][:, :stop]
            piece |= images_of(batch, (2,), 0, shown, count)
            shown += count
            piece["position_ids"] = positions[..., start:stop]
            cache = model(**piece, past_key_values=cache, use_cache=True).past_key_values
        model(input_ids=ids[:, -1:], past_key_values=cache, use_cache=True)  # a decoding step
    assert record.samples == 1
    agree(record, whole, ["p"], 1e-4)


def test_a_batch_equals_its_rows():
    model = random_model()
    batch = batch_for(model, images=IMAGES, after=AFTER)
    with torch.no_grad(), states(model, views=VIEWS) as together:
        together.expect(NAMES)
        model(**with_positions(batch))
    with torch.no_grad(), states(model, views=VIEWS) as apart:
        for i, name in enumerate(NAMES):
            apart.expect([name])
            model(**single_row(model, batch, IMAGES, i))
    for view in VIEWS:
        np.testing.assert_array_equal(together.index(view)["token"], apart.index(view)["token"])
        for layer in range(6):
            np.testing.assert_allclose(together.layer(layer, view), apart.layer(layer, view), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gives_the_same_rows():
    """Copies on their own stream, over several calls, so that memory that was freed too early would show."""
    model = random_model()
    batches = [batch_for(model, images=IMAGES, after=AFTER, seed=seed) for seed in range(8)]
    records = []
    for device in ("cpu", "cuda"):
        model.to(device)
        with torch.no_grad(), states(model, views=VIEWS) as record:
            for seed, batch in enumerate(batches):
                record.expect([f"{seed} {name}" for name in NAMES])
                model(**{name: value.to(device) for name, value in batch.items()})
        records.append(record)
    for view in VIEWS:
        for layer in range(6):
            here, there = (record.layer(layer, view) for record in records)
            np.testing.assert_allclose(here, there, rtol=1e-2, atol=1e-2)


def test_padding_may_hold_anything():
    model = random_model()
    batch = batch_for(model, images=(1, 0), after=(2, 3))

    def poison(module, args, kwargs):
        args[0][~batch["attention_mask"].bool()] = torch.nan
        return args, kwargs

    handle = model.model.language_model.layers[0].register_forward_pre_hook(poison, with_kwargs=True)
    with torch.no_grad(), states(model, views=VIEWS, layers=[0]) as record:
        model(**batch)
    handle.remove()
    for view in VIEWS:
        assert np.isfinite(record.layer(0, view)).all()


@pytest.mark.parametrize("own", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("asked", [None, "float16", "bfloat16", "float32", "float64"])
def test_dtypes_round_once(own, asked):
    model = random_model().to(own)
    batch = batch_for(model, images=(1, 2), after=(4, 2))
    batch["pixel_values"] = batch["pixel_values"].to(own)
    kept = own if asked is None else getattr(torch, asked)
    found = collected(model, batch)
    with torch.no_grad(), states(model, views=("last", "vision-mean"), dtype=asked) as record:
        model(**batch)
    mean = kept if asked else torch.float64 if own == torch.float64 else torch.float32
    for layer, state in enumerate(found):
        wide = np.float64 if kept == torch.float64 else np.float32
        last = record.layer(layer, "last")
        assert last.dtype == wide
        np.testing.assert_array_equal(last, state[:, -1].to(kept).to(torch.float64).numpy())
        rows = zip(state.to(torch.float64), batch["input_ids"], strict=True)
        means = torch.stack([row[ids == IMAGE].mean(0) for row, ids in rows])
        eps = torch.finfo(mean).eps + torch.finfo(torch.float32 if own != torch.float64 else own).eps * 4
        np.testing.assert_allclose(record.layer(layer, "vision-mean"), means.numpy(), rtol=eps, atol=eps)


def test_float16_that_overflows_is_refused():
    model = random_model()
    with torch.no_grad():
        model.model.multi_modal_projector.linear_2.bias += 1e5
    with torch.no_grad(), states(model, dtype="float16") as record:
        model(**batch_for(model))
        with pytest.raises(OverflowError, match=r"dtype: expected states within float16's .* state 0 .*bfloat16"):
            record.layer(0, "vision-mean")


def test_only_the_layers_asked_for():
    model = random_model()
    with torch.no_grad(), states(model, layers=[5, 0, 2]) as record:
        model(**batch_for(model))
    assert record.layers == (0, 2, 5)
    with pytest.raises(ValueError, match=r"layer: expected one of the recorded states 0, 2, 5 of 0\.\.5, got 1"):
        record.layer(1)
    for wrong in ([6], [-1], [], [1.0], ["1"], [True]):
        with (
            pytest.raises((ValueError, TypeError), match=r"layers: expected states in 0\.\.5"),
            states(model, layers=wrong),
        ):
            pass


def test_rows_without_a_name_are_numbered():
    model = random_model()
    with torch.no_grad(), states(model, views=("last", "vision-sample(2)")) as record:
        model(**batch_for(model, images=(1, 1), after=(3, 6)))
        model(**batch_for(model))
        assert record.samples == 3  # before the context ends
        with pytest.raises(ValueError, match="already recorded without it"):
            record.expect(["a"])
    assert record.groups().tolist() == ["0", "1", "2"]
    assert record.index("vision-sample(2)")["item"].tolist() == ["0", "0", "1", "1", "2", "2"]


def test_labels_stay_with_their_rows():
    model = random_model()
    with torch.no_grad(), states(model) as record:
        record.expect([7, 8], groups=[3, 3], tasks=["count", "where"], answers=["two", "left"])
        model(**batch_for(model, images=(0, 1), after=(3, 6)))
    assert list(record.index("vision-mean").rows()) == [
        {"item": "8", "image": "3", "task": "where", "answer": "left", "token": 9, "block": -1}
    ]


def test_prompts_without_image_are_counted_and_a_view_without_rows_is_an_error():
    model = random_model()
    with torch.no_grad(), states(model) as record:
        model(**batch_for(model, images=(0, 0), after=(3, 6)))
    assert record.absent("vision-mean") == 2
    assert record.pair(0, 1, "last").x.shape == (2, 32)
    with pytest.raises(ValueError, match=r"vision tokens for vision-mean, but none of the 2 recorded prompts"):
        record.pair(0, 1, "vision-mean")
    with pytest.raises(
        ValueError, match=r"view: expected one of last, vision-mean, which were recorded, got text-mean"
    ):
        record.layer(0, "text-mean")
    with pytest.raises(ValueError, match=r"view: expected last, .*got 'vision'"):
        record.layer(0, "vision")


def test_calls_that_cannot_be_told_apart_are_refused():
    model = random_model()
    two = batch_for(model, images=(1, 1), after=(3, 6))
    with torch.no_grad(), states(model) as record:
        with pytest.raises(ValueError, match="nothing recorded yet"):
            record.layer(0)
        record.expect(["a"])
        with pytest.raises(ValueError, match=r"expected 1 rows, as announced by expect, got 2; beams"):
            model(**two)
        record.expect(["a", "b"])
        model(**two)
        with pytest.raises(ValueError, match=r"expected states.expect\(\.\.\.\) before each forward"):
            model(**two)
        for wrong, message in (
            (dict(items=["b"]), r"items: expected each item once, got 'b' again"),
            (dict(items=["c", "c"]), r"items: expected each item once, got 'c' again"),
            (dict(items="c"), r"items: expected one label per row of the batch, got the single text 'c'"),
            (dict(items=["c"], groups=[1, 2]), r"groups: expected one label per item, shape \(1,\), got shape \(2,\)"),
            (dict(items=["c"], calls=0), r"calls: expected a whole number >= 1, got 0"),
            (dict(items=["c"], calls=True), r"calls: expected a whole number >= 1, got True"),
        ):
            with pytest.raises(ValueError, match=message):
                record.expect(**wrong)
    assert record.samples == 2
    again = pytest.raises(ValueError, match="decode with the cache, or name the items")
    with torch.no_grad(), states(model) as record, again:
        model.generate(**batch_for(model), max_new_tokens=3, do_sample=False, use_cache=False)
    assert record.samples == 1


def test_prompts_in_several_calls_need_all_of_them_and_their_cache():
    model = random_model()
    batch = batch_for(model)
    with torch.no_grad(), pytest.raises(ValueError, match="announced in 2 calls have had 1"), states(model) as record:
        record.expect(["a"], calls=2)
        cache = model(**batch, use_cache=True).past_key_values
        with pytest.raises(ValueError, match="call 2 of prompts announced in 2 calls came without the cache"):
            model(**batch)
        with pytest.raises(ValueError, match="announced in 2 calls have had 1"):
            record.expect(["b"])
    assert record.samples == 0
    more = torch.cat([batch["attention_mask"], batch["attention_mask"]], dim=1)
    with torch.no_grad(), states(model) as record:
        model(**batch)
        with pytest.raises(ValueError, match="brings an image on top of a cache"):
            model(**batch | {"attention_mask": more}, past_key_values=cache)


def test_a_call_that_fails_leaves_nothing_and_may_be_repeated():
    model = random_model()
    batch = batch_for(model)

    def fail(module, args, out):
        raise RuntimeError("out of memory")

    with torch.no_grad(), states(model) as record:
        record.expect(["a"])
        handle = model.model.language_model.layers[3].register_forward_hook(fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            model(**batch)
        handle.remove()
        assert record.samples == 0
        model(**batch)
        assert record.samples == 1
    two = batch_for(model, images=(1, 1), after=(3, 6))
    with torch.no_grad(), states(model) as record:  # without names, and in halves after the failure
        handle = model.model.language_model.layers[3].register_forward_hook(fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            model(**two)
        handle.remove()
        for row in range(2):
            model(**single_row(model, two, (1, 1), row))
    assert record.groups().tolist() == ["0", "1"]


def test_unknown_arguments_and_models_are_refused():
    model = random_model()
    with pytest.raises(ValueError, match=r"dtype: expected one of float16, .*got 'int8'"), states(model, dtype="int8"):
        pass
    with pytest.raises(ValueError, match="view: expected last"), states(model, views="first"):
        pass
    with pytest.raises(TypeError, match="vision-language model"), states(torch.nn.Linear(2, 2)):
        pass


def test_what_a_record_shows():
    model = random_model()
    with torch.no_grad(), states(model) as record:
        assert record.to_dict()["samples"] == 0
        model(**batch_for(model))
    assert repr(record) == "StatesRecord(samples=1, views=(last, vision-mean), states=0..5, dtype=None)"
    assert record.to_dict()["rows"] == {"last": 1, "vision-mean": 1}
    assert "vision-mean" in record._repr_html_()


@pytest.mark.parametrize("plan", ["none", "freeze:1-3/vision:4-"])
def test_layers_whose_weights_lie_elsewhere_give_the_same_states(plan):
    # What several devices ask for, as far as one machine without them can say: weights come and go with each layer.
    accelerate = pytest.importorskip("accelerate")
    model = random_model()
    batch = batch_for(model, images=IMAGES, after=AFTER)

    def seen():
        with torch.no_grad(), skipping(model, plan), states(model, views=VIEWS) as record, moments(model) as sums:
            for turn in range(4):
                record.expect([f"{turn} {name}" for name in NAMES], groups=[f"{turn}a", f"{turn}b", f"{turn}c"])
                sums.expect([f"{turn}a", f"{turn}b", f"{turn}c"])
                model(**batch)
        return record, sums.moments().table()

    before, sums_before = seen()
    accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    assert all(weight.device.type == "meta" for weight in model.model.language_model.layers.parameters())
    after, sums_after = seen()
    for view in VIEWS:
        for layer in range(6):
            assert np.array_equal(before.layer(layer, view), after.layer(layer, view)), (view, layer)
    for name in sums_before.columns:
        np.testing.assert_array_equal(sums_before[name], sums_after[name], err_msg=name)
