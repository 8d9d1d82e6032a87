"""Devices without float64, weights that are elsewhere, adapted or quantised."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import vlm
from tests.support.device_without_float64 import There, moved, present
from vlm import attention, lens, probe, removal, skipping
from vlm.models.linear_maps import matrix_of
from vlm.models.random_batches import batch_for, with_positions
from vlm.models.random_models import random_model
from vlm.self_check.checks import check

PLANS = (
    *("vision:1-3", "freeze:1-3/text:3-4", "attention:1-2/mlp:3-4", "prune:2=0.5/keep:3-=1-"),
    "rank:1=0.6/merge:1=0~0x0.5,3x0.5/leave:3=0.3",
)
RAGGED = dict(images=(2, 0, 1), after=(4, 7, 2))


def error(a, b):
    return float((a - b).norm() / b.norm())


def test_row_13_the_stand_in_device_refuses_float64():
    tensor = torch.ones(2).as_subclass(There)
    with pytest.raises(TypeError, match="float64"):
        tensor.to(torch.float64)
    with pytest.raises(TypeError, match="numpy"):
        tensor.numpy()
    assert type(tensor.cpu()) is torch.Tensor
    with present():
        assert type(torch.zeros(2, device=tensor.device)) is There


def test_row_13_measuring_and_pruning_on_a_device_without_float64():
    model = random_model()
    batch = with_positions(batch_for(model, **RAGGED))
    with torch.no_grad():
        with probe(model) as states, attention(model) as seen, lens(model) as words, removal(model) as removed:
            plain = model(**batch).logits
        with present():
            with probe(model) as there, attention(model) as seen_there, lens(model), removal(model) as removed_there:
                logits = model(**moved(batch)).logits
            assert type(logits) is There
            assert torch.equal(logits.cpu(), plain)
            for plan in PLANS:
                with skipping(model, plan):
                    fast = model(**moved(batch)).logits.cpu()
                with skipping(model, plan):
                    assert torch.equal(fast, model(**batch).logits), plan
    assert words.result() is not None
    for one, other in ((states, there), (removed, removed_there)):
        for name, column in one.table().columns.items():
            found = other.table().columns[name]
            # Not a number where a prompt has no image.
            same = (
                column == found if column.dtype.kind in "UO" else np.isclose(column, found, atol=1e-6, equal_nan=True)
            )
            assert same.all(), name
    assert abs(seen.ratios() - seen_there.ratios()).max() < 1e-7


def test_row_13_damage_and_propagation_on_a_device_without_float64():
    model = random_model()
    batch = with_positions(batch_for(model, images=(1, 1), after=(5, 5)))
    kinds = dict(kinds=("remove", "late entry"))
    plain = [vlm.damage(model, batch).table()["damage"], vlm.consequences(model, [batch], **kinds).table()["error"]]
    with present():
        there = moved(batch)
        found = [vlm.damage(model, there).table()["damage"], vlm.consequences(model, [there], **kinds).table()["error"]]
    for one, other in zip(found, plain, strict=True):
        assert np.allclose(one, other, atol=1e-5)
    assert abs(plain[0]).max() > 0.01


def test_row_5_the_matrix_of_a_map_is_what_the_map_does():
    class Mine(torch.nn.Linear):
        """Not a plain linear map as far as types go."""

    linear = Mine(6, 4)
    found = matrix_of(linear, dtype=torch.float32, device=torch.device("cpu"))
    assert torch.allclose(found, linear.weight.double(), atol=1e-7)


@pytest.mark.parametrize("where", ["cpu", "disk"])
def test_row_15_offloaded_layers_follow_every_plan_bit_for_bit(where, tmp_path):
    accelerate = pytest.importorskip("accelerate")
    model = random_model()
    batch = with_positions(batch_for(model, **RAGGED))
    expected, generated, small = {}, {}, batch_for(model)
    for plan in (*PLANS, "none"):
        with torch.no_grad(), skipping(model, plan):
            expected[plan] = model(**batch).logits
            generated[plan] = model.generate(**small, max_new_tokens=3, do_sample=False)
    with torch.no_grad(), removal(model) as plain:
        model(**batch)
    names = ["model.vision_tower", "model.multi_modal_projector", "model.language_model", "lm_head"]
    places = dict.fromkeys(names, "cpu")
    del places["model.language_model"]
    for part in ("embed_tokens", "norm", "rotary_emb", "layers.0", "layers.3"):
        places[f"model.language_model.{part}"] = "cpu"
    for part in ("layers.1", "layers.2", "layers.4"):
        places[f"model.language_model.{part}"] = where
    if where == "cpu":
        accelerate.cpu_offload(model, execution_device=torch.device("cpu"))
    else:
        accelerate.dispatch_model(model, places, main_device="cpu", offload_dir=str(tmp_path), force_hooks=True)
    assert any(weight.device.type == "meta" for weight in model.parameters())
    for plan in (*PLANS, "none"):
        with torch.no_grad(), skipping(model, plan), probe(model) as record:
            assert torch.equal(model(**batch).logits, expected[plan]), plan
            assert torch.equal(model.generate(**small, max_new_tokens=3, do_sample=False), generated[plan]), plan
        assert record.samples == 4
    with torch.no_grad(), removal(model) as offloaded:
        model(**batch)
    assert abs(offloaded.table()["change"] - plain.table()["change"]).max() < 1e-6


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", ["quanto-int8", "quanto-int4", "torchao-int8", "torchao-int4", "bitsandbytes-8bit", "bitsandbytes-4bit"]
)
def test_row_5_quantised_models_pass_their_own_check(name):
    pytest.importorskip({"quanto": "optimum.quanto"}.get(name.split("-")[0], name.split("-")[0]))
    pytest.importorskip("accelerate")
    model, processor = vlm.load("tiny", quantization=name)
    # Every kind of plan by one of them, kinds that run other code in quantised layers by all.
    result = check(model, processor, None if name == "quanto-int8" else "freeze:2-4/prune:5=0.5", rounds=1)
    assert result.passed, str(result)
    asked = vlm.tiny.questions(limit=2, kinds=("location",))
    prompts = processor(
        images=[q.image for q in asked], text=[q.prompt for q in asked], return_tensors="pt", padding=True
    )
    with torch.no_grad(), removal(model) as record, lens(model):
        model(**prompts)
    table = record.table()
    assert (table["change"] <= table["bound"] * (1 + 1e-6)).all()


def test_an_unknown_quantisation_is_refused():
    with pytest.raises(ValueError, match=r"quantization: expected one of bitsandbytes-4bit, .*, got 'int3'"):
        vlm.load("tiny", quantization="int3")
