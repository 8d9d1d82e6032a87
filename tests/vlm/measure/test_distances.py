"""Distances and attention ratios against states and attention maps collected by slow references."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

import redundancy as rd
from vlm import Table, attention, probe, skipping
from vlm.models.random_batches import batch_for
from vlm.models.random_models import IMAGE, random_model

SHAPES = [dict(images=(1,), after=(6,)), dict(images=(2, 1, 0), after=(4, 7, 3))]


def collected_states(model, batch):
    """All decoder states 0..L, collected by separate hooks; state L is before the final norm."""
    states, handles = [], []
    layers = model.model.language_model.layers
    handles.append(layers[0].register_forward_pre_hook(lambda m, args: states.append(args[0])))
    handles += [layer.register_forward_hook(lambda m, args, out: states.append(out)) for layer in layers]
    with torch.no_grad():
        model(**batch)
    for handle in handles:
        handle.remove()
    return states


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", ["llava", "llava_next"])
def test_table_equals_the_estimators_on_collected_states(family, shape):
    model = random_model(family)
    batch = batch_for(model, **shape)
    states = collected_states(model, batch)
    with torch.no_grad(), probe(model, thresholds=(0.05, 0.3)) as record:
        model(**batch)
    table = record.table()
    assert len(table) == len(batch["input_ids"]) * 5 * 2
    for row in table.rows():
        vision = batch["input_ids"][row["sample"]] == IMAGE
        real = batch["attention_mask"][row["sample"]].bool()
        chosen = vision if row["modality"] == "vision" else real & ~vision
        assert row["tokens"] == int(chosen.sum())
        if not row["tokens"]:
            assert np.isnan(row["distance"])
            continue
        zero, before, after = (states[i][row["sample"], chosen].numpy() for i in (0, row["layer"], row["layer"] + 1))
        assert row["distance"] == pytest.approx(rd.geometric(before, after).value, rel=1e-9, abs=1e-12)
        assert row["distance_from_entry"] == pytest.approx(rd.geometric(zero, after).value, rel=1e-9)
        assert row["within_0.3"] == rd.proximal(before, after, t=0.3).value
        assert row["entry_within_0.05"] == rd.proximal(zero, after, t=0.05).value
        assert row["norm_in"] == pytest.approx(np.linalg.norm(before, axis=1).mean(), rel=1e-5)
        assert row["norm_out"] == pytest.approx(np.linalg.norm(after, axis=1).mean(), rel=1e-5)
        assert row["moved"] == pytest.approx(np.linalg.norm(after - before, axis=1).mean(), rel=1e-5)
        assert row["undefined"] == 0


def test_the_last_state_is_before_the_final_norm():
    model = random_model()
    batch = batch_for(model)
    with torch.no_grad(), probe(model) as record:
        last = model(**batch, output_hidden_states=True).hidden_states[-1]
    text = batch["input_ids"][0] != IMAGE
    reported = record.table().where(layer=4, modality="text")["norm_out"][0]
    assert abs(reported - float(last[0, text].norm(dim=-1).mean())) > 0.1


def test_probing_does_not_change_the_model_and_ignores_decoding_steps():
    model = random_model()
    batch = batch_for(model)
    with torch.no_grad():
        plain = model.generate(**batch, max_new_tokens=4, do_sample=False)
        with probe(model) as record, attention(model) as seen:
            probed = model.generate(**batch, max_new_tokens=4, do_sample=False)
    assert torch.equal(plain, probed)
    assert record.samples == 1
    assert seen.ratios().shape == (1, 5, 4)


def test_samples_are_numbered_across_calls():
    model = random_model()
    with torch.no_grad(), probe(model) as record:
        model(**batch_for(model, images=(1, 1), after=(3, 6)))
        model(**batch_for(model))
    assert sorted(set(record.table()["sample"].tolist())) == [0, 1, 2]


def test_memory_is_of_the_order_of_layers():
    model = random_model()
    with torch.no_grad(), probe(model) as record:
        for _ in range(3):
            model(**batch_for(model))
    assert all(part.shape == (5, 1, 2, 9) for part in record._done)
    assert record._first is None
    assert record._last is None


def test_a_failed_call_is_not_recorded():
    model = random_model()
    batch = batch_for(model)
    with torch.no_grad(), probe(model) as record:
        with pytest.raises(RuntimeError, match="boom"):
            handle = model.model.language_model.layers[3].register_forward_pre_hook(_explode)
            model(**batch)
        handle.remove()
        model(**batch)
    assert record.samples == 1


def _explode(module, args):
    raise RuntimeError("boom")


def test_zero_states_are_counted_and_are_far():
    model = random_model()
    layer = model.model.language_model.layers[2]
    batch = batch_for(model)
    handle = layer.register_forward_hook(lambda m, args, out: torch.zeros_like(out))
    with torch.no_grad(), probe(model) as record:
        model(**batch)
    handle.remove()
    row = next(record.table().where(layer=2, modality="vision").rows())
    assert row["undefined"] == row["tokens"]
    assert row["distance"] == 2.0


@pytest.mark.parametrize(("factor", "distance"), [(1.5, 0.0), (2.0**20, 0.0), (-1.0, 2.0), (-3.0, 2.0)])
def test_only_the_direction_counts(factor, distance):
    model = random_model()
    layer = model.model.language_model.layers[2]
    handle = layer.register_forward_hook(lambda m, args, out: factor * args[0])
    with torch.no_grad(), probe(model, thresholds=0.0) as record:
        model(**batch_for(model))
    handle.remove()
    for row in record.table().where(layer=2).rows():
        assert 0 <= row["distance"] == pytest.approx(distance, abs=1e-9)
        assert row["norm_out"] == pytest.approx(abs(factor) * row["norm_in"], rel=1e-6)


@pytest.mark.parametrize("block", [1, 70])
def test_the_block_size_does_not_change_the_result(block, monkeypatch):
    model = random_model()
    batch = batch_for(model, images=(2, 1, 0), after=(4, 7, 3))
    tables = []
    for size in (2**17, block):
        monkeypatch.setattr(sys.modules[probe.__module__], "_BLOCK", size)
        with torch.no_grad(), probe(model) as record:
            model(**batch)
        tables.append(record.table())
    for name in ("distance", "distance_from_entry", "moved", "norm_out"):
        np.testing.assert_allclose(tables[0][name], tables[1][name], rtol=1e-13)


def eager_ratio(model, batch, token_of_row):
    """From the full attention maps of the eager implementation."""
    with torch.no_grad():
        maps = model(**batch, output_attentions=True).attentions
    vision = batch["input_ids"] == IMAGE
    rows = []
    for b, token in enumerate(token_of_row):
        rows.append([[float(m[b, h, token][vision[b]].sum()) for h in range(m.shape[1])] for m in maps])
    return np.array(rows)


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
@pytest.mark.parametrize("token", [-1, -3, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_ratio_equals_full_eager_attention(kind, token, shape):
    model, slow = random_model(attention=kind), random_model(attention="eager")
    batch = batch_for(model, **shape)
    with torch.no_grad(), attention(model, token=token) as record:
        model(**batch)
    length = batch["input_ids"].shape[1]
    counts = batch["attention_mask"].sum(1)
    places = [length + token if token < 0 else length - int(n) + token for n in counts]
    expected = eager_ratio(slow, batch, places)
    assert expected.max() > 0.05 or token == 1
    assert np.abs(record.ratios() - expected).max() < 1e-5


def test_ratio_under_right_padding():
    model, slow = random_model(), random_model(attention="eager")
    batch = batch_for(model, images=(1, 1), after=(3, 8))
    ids, mask = batch["input_ids"].clone(), batch["attention_mask"].clone()
    pad = int((mask[0] == 0).sum())
    ids[0], mask[0] = ids[0].roll(-pad), mask[0].roll(-pad)
    batch = {**batch, "input_ids": ids, "attention_mask": mask}
    with torch.no_grad(), attention(model) as record:
        model(**batch)
    length = ids.shape[1]
    assert np.abs(record.ratios() - eager_ratio(slow, batch, [length - pad - 1, length - 1])).max() < 1e-5


def test_ratio_under_a_plan_is_zero_without_image_keys():
    model = random_model()
    batch = batch_for(model, images=(1, 2), after=(6, 4))
    with torch.no_grad():
        with attention(model) as plain:
            model(**batch)
        with skipping(model, "vision:1-3"), attention(model) as planned:
            model(**batch)
        with skipping(model, "text:2-3"), attention(model) as dropped:
            model(**batch)
    assert (planned.ratios()[:, 1:3] == 0).all()
    assert np.allclose(planned.ratios()[:, 0], plain.ratios()[:, 0], atol=1e-6)
    assert np.abs(planned.ratios()[:, 3:] - plain.ratios()[:, 3:]).max() > 1e-3
    assert np.isnan(dropped.ratios()[:, 2]).all()


def test_attention_leaves_no_name_behind():
    from transformers import AttentionInterface, AttentionMaskInterface

    before = set(AttentionInterface._global_mapping), set(AttentionMaskInterface._global_mapping)
    model = random_model()
    with torch.no_grad(), attention(model), attention(model, token=-2):
        model(**batch_for(model))
    assert (set(AttentionInterface._global_mapping), set(AttentionMaskInterface._global_mapping)) == before


def test_text_only_prompt_has_no_vision_tokens_and_zero_ratio():
    model = random_model()
    batch = batch_for(model, images=(0,))
    with torch.no_grad(), probe(model) as record, attention(model) as seen:
        model(**batch)
    vision = record.table().where(modality="vision")
    assert (vision["tokens"] == 0).all()
    assert np.isnan(vision["distance"]).all()
    assert (seen.ratios() == 0).all()


def test_errors_say_what_to_do():
    model = random_model()
    with pytest.raises(ValueError, match=r"thresholds >= 0"), probe(model, thresholds=-0.1):
        pass
    with pytest.raises(TypeError, match="vision-language model"), probe(torch.nn.Linear(2, 2)):
        pass
    with pytest.raises(ValueError, match="nothing recorded"), probe(model) as record:
        record.table()
    with pytest.raises(ValueError, match="nothing recorded"), attention(model) as seen:
        seen.table()
    with pytest.raises(ValueError, match="index within every prompt"), attention(model, token=-99):
        model(**batch_for(model))


def test_a_text_model_is_refused():
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
    with pytest.raises(TypeError, match="nearest is 'model'"), probe(LlamaForCausalLM(config)):
        pass


@pytest.mark.parametrize("ending", ["csv", "npz"])
def test_table_round_trip(tmp_path, ending):
    model = random_model()
    with torch.no_grad(), probe(model) as record:
        model(**batch_for(model, images=(1, 0), after=(5, 4)))
    table = record.table()
    loaded = Table.load(table.save(tmp_path / "deep" / f"table.{ending}"))
    assert list(loaded.columns) == list(table.columns)
    for name, values in table.columns.items():
        np.testing.assert_array_equal(loaded[name], values)
    assert not list(tmp_path.glob("**/*.part"))


def test_table_errors(tmp_path):
    table = Table({"a": np.arange(3)})
    with pytest.raises(ValueError, match="ending"):
        table.save(tmp_path / "table.pickle")
    with pytest.raises(FileNotFoundError, match="no table at"):
        Table.load(tmp_path / "none.csv")
    with pytest.raises(KeyError, match="no column 'b'"):
        table["b"]
    with pytest.raises(ValueError, match="equal length"):
        Table({"a": np.arange(3), "b": np.arange(2)})
    (tmp_path / "cut.csv").write_text("a,b\n1,2\n3")
    with pytest.raises(ValueError, match="cut off"):
        Table.load(tmp_path / "cut.csv")
