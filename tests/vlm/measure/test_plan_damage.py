"""Damage of plans: gradients against differences, sums against their theorems, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

import vlm
from vlm import Damage, SkipPlan, damage, skipping, tiny
from vlm.engine.hooks import attached
from vlm.engine.last_token import last_logits
from vlm.measure.damage_record import ACTIONS, action_plan
from vlm.models.random_batches import batch_for
from vlm.models.random_models import random_model


@pytest.fixture(scope="module")
def embedded():
    model, processor = vlm.load("tiny")
    asked = tiny.questions(limit=10, kinds=("location", "comparison"))
    images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    return model, processor(images=images, text=prompts, return_tensors="pt", padding=True)


def shifted(model, batch, action, layer, scale):
    """Logits when layer `layer` moves from its own output towards that of the action by `scale`."""
    states, acted = {}, {}

    def keep(store):
        return lambda call, index, before, after: store.__setitem__(index + 1, after)

    with torch.no_grad(), attached(model) as engine:
        with engine.watch_layers(keep(states), lambda call: None):
            last_logits(model, batch)
        with (
            engine.watch_layers(keep(acted), lambda call: None),
            skipping(model, action_plan(action, layer, layer + 1)),
        ):
            last_logits(model, batch)
        mixed = states[layer + 1] + scale * (acted[layer + 1] - states[layer + 1])

        def rewrite(call, index, state):
            return mixed if index == layer + 1 else state

        with engine.rewrite_states(rewrite):
            return last_logits(model, batch)


@pytest.mark.parametrize("action", ACTIONS)
def test_the_surrogate_is_the_derivative_towards_the_action(action):
    """Central differences of the logits along the change of one layer's output. Norms and softmax are in float32."""
    model = random_model().double()
    batch = batch_for(model, images=(1, 2), after=(6, 4))
    batch = {k: v.double() if v.is_floating_point() else v for k, v in batch.items()}
    predicted = damage(model, batch, actions=(action,), classes=4)
    step = 2e-3
    top = last_logits(model, batch).topk(4, dim=1).indices
    for layer in range(predicted.depth):
        ahead, behind = (shifted(model, batch, action, layer, sign * step) for sign in (1, -1))
        slope = ((ahead - behind) / (2 * step)).gather(1, top)
        expected = (slope - slope[:, :1]).detach().numpy()
        np.testing.assert_allclose(predicted.shifts[:, 0, layer], expected, rtol=1e-2, atol=1e-4)
    assert np.abs(predicted.shifts).max() > 1e-3


def test_checkpointing_and_the_weights_gradients_change_nothing(embedded):
    model, batch = embedded
    flags = [parameter.requires_grad for parameter in model.parameters()]
    kept, again = (damage(model, batch, checkpoint=value) for value in (False, True))
    np.testing.assert_allclose(kept.shifts, again.shifts, rtol=1e-4, atol=1e-5)
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(parameter.grad is None for parameter in model.parameters())
    with torch.inference_mode():
        inside = damage(model, batch)
    np.testing.assert_allclose(kept.shifts, inside.shifts, rtol=1e-4, atol=1e-5)


def test_measured_damage_is_that_of_single_runs(embedded):
    model, batch = embedded
    measured = damage(model, batch, method="measured", actions=("freeze", "mlp"), classes=100)
    with torch.inference_mode():
        full = last_logits(model, batch)
        with skipping(model, "mlp:3-4"):
            plan = last_logits(model, batch)
    p, change = full.softmax(1), plan - full
    variance = (p * (change - (p * change).sum(1, keepdim=True)) ** 2).sum(1)
    np.testing.assert_allclose(measured.per_prompt()[:, 1, 3], variance.sqrt().numpy(), rtol=1e-5)
    np.testing.assert_allclose(measured.mass, 1.0)
    divergence = (p * (full.log_softmax(1) - plan.log_softmax(1))).sum(1).mean()
    predicted = measured.divergence("mlp:3-4")
    assert predicted.value == pytest.approx(float(divergence), rel=1e-5)
    assert predicted.low <= predicted.value <= predicted.high
    assert measured.changed("mlp:3-4") == float((full.argmax(1) != plan.argmax(1)).double().mean())


def test_surrogate_and_measured_agree_where_layers_do_little(embedded):
    model, batch = embedded
    surrogate, measured = (damage(model, batch, method=m, actions=("freeze",)) for m in ("surrogate", "measured"))
    small = measured.per_layer()[0] < 0.05
    assert small.any()
    np.testing.assert_allclose(surrogate.per_layer()[0][small], measured.per_layer()[0][small], atol=0.02)


def test_sums_obey_minkowski_and_the_two_sided_divergence():
    rng = np.random.default_rng(0)
    shifts = rng.normal(size=(40, 2, 5, 6)) * rng.exponential(size=(40, 1, 1, 1))
    shifts[..., 0] = 0.0
    logits = -np.sort(rng.exponential(3.0, size=(40, 6)), axis=1)
    logits -= logits[:, :1]
    made = Damage("surrogate", ("remove", "freeze"), shifts, logits, np.ones(40))
    for text in ("vision:0-3", "vision:1-2/freeze:2-5", "freeze:0-5"):
        plan = SkipPlan.parse(text)
        assert made.joint(plan) <= made.of(plan) + 1e-12
        value, low, high = made.divergence(plan)
        assert 0 <= low <= value <= high
    assert made.of("none") == made.joint("none") == made.changed("none") == 0.0
    assert made.divergence("none") == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)
    assert made.of("vision:0-2") == pytest.approx(made.per_layer()[0, :2].sum())
    shifted_logits = logits + shifts[:, 0, 1]
    assert made.changed("vision:1-2") == (shifted_logits.argmax(1) != 0).mean()


def test_layers_that_stand_in_for_each_other_look_harmless_one_by_one():
    """Theory 16.3: either layer lifts the answer by 4 where 3 are enough, so one-layer runs hide the joint damage."""
    shifts = np.zeros((1, 1, 2, 2))  # measured one by one: nothing changes
    made = Damage("measured", ("remove",), shifts, np.array([[0.0, -5.0]]), np.ones(1))
    assert made.of("vision:0-2") == 0.0
    assert made.changed("vision:0-2") == 0.0


def test_padding_and_batching_change_nothing():
    model = random_model()
    one, two = (batch_for(model, images=(1,), after=(n,), seed=3) for n in (6, 4))
    both = batch_for(model, images=(1, 2), after=(6, 4))
    together = damage(model, both)
    alone = damage(model, [one, two])
    assert together.shifts.shape[0] == alone.shifts.shape[0] == 2
    ids, mask = both["input_ids"], both["attention_mask"].bool()
    # The first row is the longer text or not; take it without its padding.
    row = {**both, "input_ids": ids[:1][:, mask[0]], "attention_mask": both["attention_mask"][:1][:, mask[0]]}
    row["pixel_values"] = both["pixel_values"][:1]
    np.testing.assert_allclose(damage(model, row).shifts[0], together.shifts[0], rtol=1e-3, atol=1e-5)


def test_plans_that_were_not_measured_are_refused(embedded):
    model, batch = embedded
    made = damage(model, batch, method="measured", actions=("remove",), classes=2)
    for plan, got in (
        ("freeze:1-2", "'freeze' in layer 1"),
        ("vision:1-2/mlp:1-2", "several parts or single tokens in layer 1"),
        ("text:2-3", "several parts or single tokens in layer 2"),
        ("keep:3-=0-4", "several parts or single tokens in layer 3"),
        ("prune:4=0.5", "several parts or single tokens in layer 4"),
    ):
        with pytest.raises(ValueError, match=got):
            made.of(plan)
    with pytest.raises(ValueError, match="reaches to 12, but the model has 10"):
        made.of("vision:0-12")


def test_arguments_are_checked(embedded):
    model, batch = embedded
    with pytest.raises(ValueError, match="method: expected 'surrogate' or 'measured', got 'guessed'"):
        damage(model, batch, method="guessed")
    with pytest.raises(ValueError, match="actions: expected some of remove, freeze, drop, attention, mlp"):
        damage(model, batch, actions="remove")
    with pytest.raises(ValueError, match="classes: expected at least 2"):
        damage(model, batch, classes=1)
    with pytest.raises(ValueError, match="batches: expected at least one batch"):
        damage(model, [])


def test_without_gradients_the_message_names_the_other_method(embedded, monkeypatch):
    model, batch = embedded
    forward = model.lm_head.forward
    monkeypatch.setattr(model.lm_head, "forward", lambda states: forward(states).detach())
    with pytest.raises(ValueError, match=r"got none from LlavaForConditionalGeneration.*use method='measured'"):
        damage(model, batch)
    assert damage(model, batch, method="measured", actions=("freeze",)).depth == 10


@pytest.mark.filterwarnings("ignore")
def test_quantised_models_are_measured_without_gradients(embedded):
    pytest.importorskip("bitsandbytes")
    model, batch = embedded
    quantised, _ = vlm.load("tiny", quantization="bitsandbytes-4bit")
    found, full = (
        damage(m, batch, method="measured", actions=("remove",)).per_prompt().mean(axis=0)[0]
        for m in (quantised, model)
    )
    # Fewer bits are another model; which layers matter stays.
    assert np.corrcoef(found, full)[0, 1] > 0.9


@pytest.mark.parametrize(("checkpoint", "most"), [(False, 16.0), (True, 2.0)])
def test_what_the_backward_keeps_is_what_the_documentation_says(checkpoint, most):
    # In the proportions of LLaVA 1.5: feed-forward 2.7 times the width, several hundred numbers per token and layer.
    depth, width = 8, 128
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            text_config=LlamaConfig(
                hidden_size=width,
                intermediate_size=344,
                num_hidden_layers=depth,
                num_attention_heads=4,
                vocab_size=100,
            ),
            vision_config=CLIPVisionConfig(
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=56,
                patch_size=14,
            ),
            image_token_index=99,
        )
    ).eval()
    ids = torch.cat([torch.tensor([1]), torch.full((16,), 99), torch.arange(3, 83)])[None]
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        damage(model, {"input_ids": ids, "pixel_values": torch.zeros(1, 3, 56, 56)}, checkpoint=checkpoint)
    assert 0.5 < sum(kept.values()) / (4 * depth * ids.shape[1] * width) < most


def test_a_damage_shows_itself(embedded):
    model, batch = embedded
    made = damage(model, batch, classes=3)
    assert repr(made).startswith("Damage(prompts=10, method='surrogate'")
    assert len(json.loads(made.to_json())["shifts"]) == 10
    table = made.table()
    assert len(table) == 50
    assert table.where(action="mlp", layer=2)["damage"][0] == made.of("mlp:2-3")
