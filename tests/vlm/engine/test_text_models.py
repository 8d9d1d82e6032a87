"""Plans on text models whose layers are built in other ways than Llama's: roles are found by what they do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.models.llama import modeling_llama

from vlm import attention, removal, skipping
from vlm.engine.half_layers import halves
from vlm.engine.masked_reference import planned_logits
from vlm.models.random_batches import batch_for, lengthened, with_positions
from vlm.models.random_models import EAGER, TEXT_MODELS, random_model

PLANS = (
    "attention:1-2",
    "mlp:3-4",
    "attention:0-2/mlp:1-3",
    "freeze:1-4",
    "freeze:0-",
    "vision:0-2/text:3-4",
    "prune:2=0.5/keep:1-=1-",
    "rank:1=0.6/leave:3=0.3",
)


def error(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("text", TEXT_MODELS)
def test_plans_equal_the_reference_before_and_in_decoding(text):
    model = random_model(f"llava-{text}", "eager" if text in EAGER else "sdpa")
    batch = batch_for(model, images=(2, 0, 1), after=(4, 7, 2))
    full = with_positions(batch)
    real, start = batch["attention_mask"].bool(), batch["input_ids"].shape[1]
    plain = planned_logits(model, full, "none")
    for plan in PLANS:
        if "leave" in plan and text == "GraniteMoeSharedConfig":
            continue  # refused: its feed-forward is two modules
        slow = planned_logits(model, full, plan)
        with torch.no_grad(), skipping(model, plan):
            assert error(model(**full).logits[real], slow[real]) < 1e-4, plan
            out = model.generate(
                **batch, max_new_tokens=3, do_sample=False, return_dict_in_generate=True, output_logits=True
            )
        assert error(slow[real], plain[real]) > 1e-2, plan
        later = planned_logits(model, with_positions(lengthened(model, batch, out.sequences)), plan, prompt=start)
        assert error(torch.stack(out.logits, 1), later[:, start - 1 : -1]) < 1e-4, plan


def test_a_layer_whose_states_change_without_its_branches_is_refused_by_name():
    model = random_model()
    layer = model.model.language_model.layers[1]

    class Scaled(type(layer)):
        def forward(self, hidden_states, **kwargs):
            return 2 * super().forward(hidden_states, **kwargs)

    layer.__class__ = Scaled
    with (
        pytest.raises(NotImplementedError, match=r"half of a Scaled.*LlamaMLP zero, it changes the states"),
        skipping(model, "mlp:1-2"),
    ):
        pass
    with skipping(model, "mlp:2-3"):
        pass
    # A norm with a bias after the branch adds its bias although the branch adds nothing.
    biased = random_model("llava-Olmo2Config")
    layer = biased.model.language_model.layers[0]
    layer.post_attention_layernorm = torch.nn.LayerNorm(32)
    torch.nn.init.ones_(layer.post_attention_layernorm.bias)
    with pytest.raises(NotImplementedError, match=r"Olmo2DecoderLayer.*it changes the states even so"):
        halves(layer, 32, torch.float32)


def test_the_check_leaves_the_layer_as_it_was():
    layer = random_model().model.language_model.layers[0]
    before = dict(vars(layer)), dict(layer._modules)
    halves(layer, 32, torch.float32)
    assert (dict(vars(layer)), dict(layer._modules)) == before


CHOICES = ("prune:2=0.5/keep:1-=1-", "rank:1=0.6/leave:3=0.3", "attention:1-2/freeze:2-4/prune:4=0.4")


def test_sinks_take_their_share_of_what_is_ranked_and_measured():
    model = random_model("llava-GptOssConfig", "eager")
    layers = model.model.language_model.layers
    torch.manual_seed(0)
    for layer in layers:
        torch.nn.init.normal_(layer.self_attn.sinks, std=3.0)
    batch = batch_for(model, images=(2, 0, 1), after=(4, 7, 2))
    full, real, start = with_positions(batch), batch["attention_mask"].bool(), batch["input_ids"].shape[1]
    settings = dict(max_new_tokens=3, do_sample=False, return_dict_in_generate=True, output_logits=True)
    for plan in CHOICES:
        with torch.no_grad(), skipping(model, plan):
            fast, out = model(**full).logits, model.generate(**batch, **settings)
        assert error(fast[real], planned_logits(model, full, plan)[real]) < 1e-4, plan
        later = planned_logits(model, with_positions(lengthened(model, batch, out.sequences)), plan, prompt=start)
        assert error(torch.stack(out.logits, 1), later[:, start - 1 : -1]) < 1e-4, plan
    one, maps = batch_for(model), []
    for layer in layers:
        layer.self_attn.register_forward_hook(lambda module, given, out: maps.append(out[1][0, :, -1]))
    with torch.no_grad(), attention(model) as seen:
        model(**one)
    image = (one["input_ids"] == model.config.image_token_id)[0]
    np.testing.assert_allclose(seen.ratios()[0], [heads[:, image].sum(1).numpy() for heads in maps], rtol=1e-4)
    assert min(float(heads.sum(1).min()) for heads in maps) < 0.5  # the sinks hold the rest
    with torch.no_grad(), removal(model), pytest.raises(NotImplementedError, match="layer 0 attends to a sink too"):
        model(**one)


def test_attention_that_is_no_softmax_of_products_is_refused_where_it_is_read(monkeypatch):
    own = modeling_llama.eager_attention_forward

    def doubled(*args, **kwargs):
        out, weights = own(*args, **kwargs)
        return 2 * out, weights

    monkeypatch.setattr(modeling_llama, "eager_attention_forward", doubled)
    model = random_model("llava", "eager")
    batch = batch_for(model)
    refused = "a LlamaAttention weighs its keys otherwise"
    with torch.no_grad():
        for plan in ("prune:2=0.5", "rank:1=0.6", "leave:3=0.3"):
            with skipping(model, plan), pytest.raises(NotImplementedError, match=refused):
                model(**batch)
        with attention(model), pytest.raises(NotImplementedError, match=refused):
            model(**batch)
        with skipping(model, "vision:1-2/freeze:2-3"):
            fast = model(**batch).logits
        assert error(fast, planned_logits(model, batch, "vision:1-2/freeze:2-3")) < 1e-4


def test_keys_that_need_the_map_named_for_queries_are_made_with_it():
    model = random_model()

    class Added(torch.nn.Linear):
        def forward(self, states):
            return super().forward(states) + self.query

    class Attention(modeling_llama.LlamaAttention):
        def forward(self, hidden_states, *args, **kwargs):
            self.k_proj.__dict__["query"] = self.q_proj(hidden_states)[..., :16]
            return super().forward(hidden_states, *args, **kwargs)

    class Layer(modeling_llama.LlamaDecoderLayer):
        pass

    for layer in model.model.language_model.layers:
        layer.__class__, layer.self_attn.__class__, layer.self_attn.k_proj.__class__ = Layer, Attention, Added
    for rows in ({}, dict(images=(2, 0, 1), after=(4, 7, 2))):
        batch = with_positions(batch_for(model, **rows))
        real = batch["attention_mask"].bool()
        with torch.no_grad(), skipping(model, "freeze:1-3"):
            fast = model(**batch).logits
        assert error(fast[real], planned_logits(model, batch, "freeze:1-3")[real]) < 1e-4
