"""Exactness of every family: a small part of the table in every run, all of it marked slow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.oracles.skipping_reference import masked_logits
from vlm import SkipPlan, attention, probe
from vlm.engine import exactness, exactness_checks
from vlm.models import flash_stand_in
from vlm.models.random_batches import batch_for, image_tokens, with_positions
from vlm.models.random_models import FAMILY_NAMES, absent, random_model, unsuited

PROPERTIES = {item.name: item for item in exactness_checks.PROPERTIES}
# Late entry, a layer without text, and early exit together.
EVERYTHING = exactness_checks.JOINED[0]
# Only in the slow tests: their classes differ from another family's in what the engine does not see.
TWINS = ("smolvlm", "aya_vision", "llava_next_video", "qwen3_5_moe", "instructblip")
FAMILIES = tuple(name for name in FAMILY_NAMES if name not in TWINS)
UNLIKE = ("llava", "qwen3_vl", "gemma3", "idefics3", "llama4")


def check(family, attention, name, plans=None):
    if (why := absent(family)) is not None:
        pytest.skip(why)
    try:
        assert exactness.worst_error(family, attention, PROPERTIES[name], plans) <= PROPERTIES[name].limit, name
    except exactness_checks.NotApplicable as reason:
        pytest.skip(f"{family}, {name}: {reason}")


@pytest.mark.parametrize("family", FAMILIES)
def test_prefill_and_cached_decoding(family):
    check(family, "sdpa", "empty plan, after leaving", [EVERYTHING])
    check(family, "sdpa", "prefill", exactness_checks.JOINED)
    check(family, "sdpa", "greedy, cached", [EVERYTHING])
    check(family, "eager", "greedy, cached", [EVERYTHING])


@pytest.mark.parametrize("family", FAMILIES)
def test_flash_attention(family):
    flash = exactness.ATTENTION[2]
    for name in ("empty plan, after leaving", "prefill", "greedy, cached", "chunked prefill", "second image"):
        check(family, flash, name, exactness_checks.JOINED[:2])
    check(family, flash, "gradients", exactness_checks.JOINED[1:2])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["batch = singles", "chunked prefill", "second image"])
def test_forward_calls(family, name):
    check(family, "sdpa", name, [EVERYTHING])


@pytest.mark.parametrize("family", UNLIKE)
@pytest.mark.parametrize("name", ["gradients", "bfloat16", "sampling", "beam search", "prompt lookup", "assisted"])
def test_training_and_generation(family, name):
    check(family, "sdpa", name, [EVERYTHING])


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILY_NAMES)
@pytest.mark.parametrize("attention", exactness.ATTENTION)
@pytest.mark.parametrize("name", PROPERTIES)
def test_the_whole_table(family, attention, name):
    # `python -m vlm exactness` takes all plans under all three; these joint ones hold most kinds.
    own = PROPERTIES[name].plans if attention == "sdpa" else exactness_checks.JOINED
    check(family, attention, name, own if name == "prefill" else own[:6])


@pytest.mark.parametrize("family", FAMILIES)
def test_plans_change_the_logits_so_small_errors_are_not_vacuous(family):
    if (why := absent(family)) is not None:
        pytest.skip(why)
    model = random_model(family)
    batch = with_positions(batch_for(model))
    assert int((batch["input_ids"] == 7).sum()) == image_tokens(model) > 1
    plain = masked_logits(model, batch, SkipPlan())
    plans = [SkipPlan.parse(text) for text in exactness_checks.PLANS[:4:3]]
    for plan in plans + exactness.plans_for(model, exactness_checks.PLANS[-1:]):
        assert exactness_checks.relative(masked_logits(model, batch, plan), plain) > 0.1, str(plan)
    # And the content of the image reaches the answer.
    pixels = next(name for name in batch if name.startswith("pixel_values"))
    other = {**batch, pixels: torch.randn_like(batch[pixels])}
    assert exactness_checks.relative(masked_logits(model, other, SkipPlan())[:, -1], plain[:, -1]) > 0.01


@pytest.mark.parametrize("family", FAMILIES)
def test_measuring_changes_no_output_and_is_the_same_under_every_attention(family):
    if (why := absent(family)) is not None:
        pytest.skip(why)
    ratios = []
    for kind in exactness.ATTENTION[: 2 if unsuited(family) else 3]:
        model = random_model(family, kind)
        batch = batch_for(model, images=(2, 0, 1), after=(4, 7, 2))
        with torch.no_grad(), flash_stand_in.installed():
            plain = model(**batch).logits
            with probe(model) as record, attention(model) as seen:
                assert torch.equal(model(**batch).logits, plain)
        table = record.table()
        assert table.where(layer=0, modality="vision")["tokens"].tolist() == [
            2 * image_tokens(model),
            0,
            image_tokens(model),
        ]
        assert (table.where(modality="text")["distance"] > 0).all()
        ratios.append(seen.ratios())
    # Not a number in rows without an image and in layers without attention.
    for other in ratios[1:]:
        assert np.allclose(ratios[0], other, rtol=0, atol=1e-5, equal_nan=True)
    assert 0 < np.nanmax(ratios[0]) <= 1


def test_the_command_prints_and_writes_the_table(tmp_path, capsys, monkeypatch):
    two = tuple(replace(PROPERTIES[name], plans=("vision:1-2",)) for name in ("prefill", "second image"))
    monkeypatch.setattr(exactness, "PROPERTIES", two)
    page = tmp_path / "exactness.md"
    assert exactness.run(("paligemma",), page) == 0
    printed, written = capsys.readouterr().out, page.read_text()
    assert printed.count("| paligemma |") == written.count("| paligemma |") == 2
    assert "n/a: paligemma, second image" in written
    wrong = exactness_checks.Property("wrong", lambda model, plan: 1.0, 0.5, ("none",))
    monkeypatch.setattr(exactness, "PROPERTIES", (wrong,))
    assert exactness.run(("llava",)) == 1
    with pytest.raises(ValueError, match=r"--family: expected one or more of llava, .*, got lava$"):
        exactness.run(("lava",))
