"""Attention removal inside a model: the measured change is that of a plan, and the bound holds and is attained."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import bounds
from vlm import skipping
from vlm.engine.hooks import attached
from vlm.measure.attention_removal import _cross_diameters, removal
from vlm.models.random_batches import batch_for
from vlm.models.random_models import IMAGE, random_model

PAIR = dict(images=(1, 2, 0), after=(3, 8, 5))


@pytest.mark.parametrize("kind", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llava", "llava_next"])
def test_the_change_is_that_of_a_plan_and_the_bound_holds(family, kind):
    model = random_model(family, kind)
    batch = batch_for(model, **PAIR)
    with torch.no_grad(), removal(model) as record:
        model(**batch)
    table = record.table()
    assert len(table) == 3 * 5
    outputs = {}
    for layer, module in enumerate(model.model.language_model.layers):
        module.self_attn.register_forward_hook(lambda m, a, out, layer=layer: outputs.__setitem__(layer, out[0]))
    with torch.no_grad():
        for layer in range(5):
            model(**batch)
            full = outputs[layer][:, -1]
            with skipping(model, f"vision:{layer}-{layer + 1}"):
                model(**batch)
            measured = (full - outputs[layer][:, -1]).norm(dim=-1).numpy()
            rows = table.where(layer=layer)
            assert rows["change"] == pytest.approx(measured, rel=1e-3, abs=1e-5)
            assert rows["bound"][2] == rows["change"][2] == 0.0
            assert (measured[:2] <= rows["bound"][:2] * (1 + 1e-6)).all()
            assert measured[:2].min() > 1e-3
    for name in ("heads", "joint", "mapped"):
        assert (table["change"] <= table[name] * (1 + 1e-9)).all()
    assert (table["change_text"] <= table["bound_text"] * (1 + 1e-9)).all()
    assert ((table["ratio"] >= 0) & (table["ratio"] <= 1)).all()


def test_opposite_values_attain_the_bound():
    # Image states u, text states -u, identity after the heads: any smaller constant would be wrong here.
    model = random_model()
    batch = batch_for(model, images=(2,), after=(6,))
    vision = (batch["input_ids"] == IMAGE).unsqueeze(-1)
    direction = torch.randn(32, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        for layer in model.model.language_model.layers:
            layer.self_attn.o_proj.weight.copy_(torch.eye(32))

    def opposite(call, state, value):
        return torch.where(vision, direction, -direction).expand_as(value)

    with torch.no_grad(), attached(model) as engine, engine.rewrite_states(opposite), removal(model) as record:
        model(**batch)
    table = record.table()
    assert table["change"].min() > 0.1
    assert np.allclose(table["change"], table["bound"], rtol=1e-5)
    assert np.allclose(table["change"], table["joint"], rtol=1e-5)
    assert np.allclose(table["change_text"], table["bound_text"], rtol=1e-5)


def test_diameters_are_those_of_the_theorem():
    generator = torch.Generator().manual_seed(0)
    image, text = (torch.randn(3, n, 4, generator=generator, dtype=torch.float64) for n in (5, 7))
    assert np.allclose(_cross_diameters(image, text), bounds.cross_diameter(image.numpy(), text.numpy()), rtol=1e-12)


def test_measuring_changes_nothing_and_a_plan_is_refused():
    model = random_model()
    batch = batch_for(model, **PAIR)
    with torch.no_grad():
        plain = model(**batch).logits
        with removal(model):
            assert torch.equal(model(**batch).logits, plain)
        assert torch.equal(model(**batch).logits, plain)
        with skipping(model, "vision:1-2"), removal(model), pytest.raises(RuntimeError, match="without a plan"):
            model(**batch)
    assert model.config.text_config._attn_implementation == "sdpa"
    with removal(model) as record, pytest.raises(ValueError, match="nothing recorded"):
        record.table()
    del model.model.language_model.layers[0].self_attn.o_proj
    with pytest.raises(TypeError, match=r"self_attn\.o_proj"), removal(model):
        pass


def test_what_lies_between_the_heads_and_the_output_matrix_is_noticed():
    """BitNet normalises the heads' outputs first; a gate multiplies them; both would make change and bound wrong."""
    bitnet, gated = random_model("llava-BitNetConfig"), random_model()
    gated.model.language_model.layers[2].self_attn.o_proj.register_forward_pre_hook(lambda _, given: (0.5 * given[0],))
    for model, layer in ((bitnet, 0), (gated, 2)):
        with (
            torch.no_grad(),
            removal(model) as record,
            pytest.raises(NotImplementedError, match=f"in layer {layer} something .a gate, a norm. lies between"),
        ):
            model(**batch_for(model))
        assert record.samples == 0
    with pytest.raises(NotImplementedError, match=r"layer 0, a Qwen3_5DecoderLayer, has no attention"):
        removal(random_model("qwen3_5")).__enter__()
