"""Models spread over several devices: stand-ins that refuse to compute across, and the script that GPUs run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import vlm
from tests.support.several_devices import KIND, placed_batch, present, put
from vlm import skipping
from vlm.models import flash_stand_in
from vlm.models.random_batches import batch_for, with_positions
from vlm.models.random_models import random_model

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
DEVICES = (f"{KIND}:0", f"{KIND}:1", f"{KIND}:2")
RAGGED = dict(images=(2, 0, 1), after=(4, 7, 2))
PLANS = (
    "none",
    "vision:1-3",
    "freeze:1-3/text:3-4",
    "attention:1-2/mlp:3-4",
    "prune:2=0.5/keep:3-=1-",
    "renumber:2-/vision:2-4",
    "rank:2=0.8/leave:3=0.5",
    "merge:2=1~1x0.5,2x0.5/keep:2-=0-2+3-",
    ["vision:0-2", "keep:1-=0-4", "text:2-3/freeze:3-4"],
)


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import bench_several_gpus

    return bench_several_gpus


def test_the_stand_ins_compute_only_with_their_like():
    here, there = (put(torch.ones(2), device) for device in DEVICES[:2])
    assert (here + here).device == torch.device(DEVICES[0])
    assert float((here + torch.tensor(1.0)).sum()) == 4  # single numbers come along, as on GPUs
    for other in (there, torch.ones(2)):
        with pytest.raises(RuntimeError, match="to be on the same device"):
            here + other
    assert type(here.cpu()) is torch.Tensor
    with present():
        assert (here + there.to(DEVICES[0])).tolist() == [2, 2]
        assert torch.zeros(2, device=there.device).device == there.device


def contexts(model, many):
    """What every context gives on these batches, by name."""
    batch, prompts, one = many
    settings = dict(max_new_tokens=2, do_sample=False)
    found = {}
    for plan in PLANS:
        try:
            with skipping(model, plan):
                found[f"{plan} forward"] = model(**batch).logits
                if plan == PLANS[1] or isinstance(plan, list):
                    found[f"{plan} generate"] = model.generate(**prompts, **settings)
                if plan == PLANS[4] and model.config.model_type == "llava":
                    found[f"{plan} static"] = model.generate(**prompts, **settings, cache_implementation="static")
        except NotImplementedError:
            continue  # a layer with a recurrent state, positions of several axes
    with skipping(model, PLANS[4]):
        found["beams"] = model.generate(**prompts, **settings, num_beams=2)
    with vlm.probe(model) as record, vlm.attention(model) as seen, vlm.states(model, views=("last",)) as states:
        model(**batch)
    found |= {"probe": record.table()["distance"], "ratios": seen.ratios(), "largest": seen.largest()}
    found |= {f"state {layer}": states.layer(layer, "last") for layer in states.layers}
    if model.config.model_type == "llava":
        with vlm.removal(model) as removed, vlm.lens(model) as words:
            model(**batch)
        found |= {"removal": removed.table()["effect_largest"], "lens": words.result().probabilities}
        with vlm.speculative(model, "vision:1-2/text:1-2") as draft:
            found["speculative"] = model.generate(**one, **settings, assistant_model=draft)
        traced = vlm.trace(model, one, corruption=vlm.Noise(draws=1))
        found |= {"trace": traced.restored, "damage": vlm.damage(model, [batch]).table()["damage"]}
    return {name: value.cpu() if torch.is_tensor(value) else torch.as_tensor(value) for name, value in found.items()}


@torch.no_grad()
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("family", "kind"),
    [
        ("llava", "sdpa"),
        pytest.param("llava", flash_stand_in.NAME, marks=pytest.mark.slow),
        pytest.param("qwen3_vl", "sdpa", marks=pytest.mark.slow),
        pytest.param("gemma3", "eager", marks=pytest.mark.slow),
        pytest.param("qwen3_5", "sdpa", marks=pytest.mark.slow),
    ],
)
def test_every_context_over_three_devices_gives_what_it_gives_on_one(family, kind, bench):
    pytest.importorskip("accelerate")
    model = random_model(family, kind)
    ragged = batch_for(model, **RAGGED)
    many = with_positions(ragged), ragged, batch_for(model)
    with flash_stand_in.installed():
        expected = contexts(model, many)
        with present():
            assert set(bench.spread(model, DEVICES).values()) == set(DEVICES)
            found = contexts(model, [placed_batch(batch, DEVICES[0]) for batch in many])
    assert found.keys() == expected.keys()
    assert len(found) >= 15
    for name, value in expected.items():
        assert torch.allclose(found[name], value, rtol=1e-6, atol=1e-9, equal_nan=True), name
        assert name == "damage" or torch.equal(found[name].nan_to_num(), value.nan_to_num()), name


def test_the_script_for_gpus_compares_what_one_device_and_several_give(bench, monkeypatch):
    pytest.importorskip("accelerate")
    import bench_skip_gpu

    monkeypatch.setattr(bench, "build", lambda shape, device: bench_skip_gpu.build(shape, "cpu").float())
    monkeypatch.setattr(bench, "plans_for", lambda depth, vision: ("none", "vision:0-2", "prune:2=0.5"))
    monkeypatch.setattr(bench, "NEW_TOKENS", 2)
    with present():
        lines, passed = bench.compared(bench_skip_gpu.TINY[0], DEVICES[:2], rows=2, rounds=1)
    assert passed, "\n".join(lines)
    rows = [line.split("|")[1:4] for line in lines if line.startswith(("| `", "| all"))]
    assert len(rows) == 5
    assert all(row[1].strip() == "0" for row in rows)
    one = {"none": {"logits": torch.tensor([1.0, 2.0]), "tokens": torch.tensor([1]), "seconds": [1.0]}}
    for other in ({"logits": torch.tensor([1.0, 2.1])}, {"tokens": torch.tensor([2])}):
        assert not bench.table(one, {"none": one["none"] | other})[1]


def test_with_fewer_than_two_gpus_the_script_says_so_and_ends(bench, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(sys, "argv", ["bench_several_gpus.py"])
    assert bench.main() == 0
    assert capsys.readouterr().out.splitlines() == ["1 GPUs here, and this needs two or more: nothing checked"]
