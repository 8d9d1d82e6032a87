"""Adapters (PEFT): every context sees the adapted model, which merging turns into a plain one."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import vlm
from vlm import SkipPlan, skipping
from vlm.engine.masked_reference import planned_logits
from vlm.models.random_batches import batch_for, with_positions
from vlm.models.random_models import random_model
from vlm.self_check.checks import check

peft = pytest.importorskip("peft")
PLANS = (
    *("vision:1-3", "freeze:1-3/text:3-4", "attention:1-2/mlp:3-4", "prune:2=0.5/keep:3-=1-"),
    "rank:1=0.6/merge:1=0~0x0.5,3x0.5/leave:3=0.3",
)
ROWS = ("vision:0-2", "none", "prune:2=0.5")
RAGGED = dict(images=(2, 0, 1), after=(4, 7, 2))
SETTINGS = dict(max_new_tokens=4, do_sample=False)
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def error(a, b):
    return float((a - b).norm() / b.norm())


def strong(model):
    """Adapters that change the model, as new ones do not."""
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    return model.eval()


def lora(model):
    settings = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj", "o_proj", "up_proj"], lora_dropout=0.5)
    return strong(peft.get_peft_model(model, settings))


@torch.no_grad()
def test_row_5_and_8_plans_on_adapters_are_those_of_the_merged_model():
    base = random_model()
    batch = with_positions(batch_for(base, **RAGGED))
    real, one, prompts = batch["attention_mask"].bool(), batch_for(base), batch_for(base, **RAGGED)
    plain = base(**batch).logits
    adapted = lora(base)
    merged = copy.deepcopy(adapted).merge_and_unload()
    assert error(merged(**batch).logits[real], plain[real]) > 0.01
    for plan in (*PLANS, list(ROWS)):
        with skipping(adapted, plan):
            fast, tokens = adapted(**batch).logits, adapted.generate(**prompts, **SETTINGS)
        with skipping(merged, plan):
            slow, expected = merged(**batch).logits, merged.generate(**prompts, **SETTINGS)
        assert error(fast[real], slow[real]) < 1e-5, plan
        assert torch.equal(tokens, expected), plan
    reference = planned_logits(adapted.get_base_model(), batch, PLANS[1])
    with skipping(adapted, PLANS[1]):
        assert error(adapted(**batch).logits[real], reference[real]) < 1e-4
    # Applied to the wrapper, and forgotten; taken off through the model.
    vlm.apply(adapted, PLANS[0])
    with skipping(merged, PLANS[0]):
        assert torch.equal(adapted.generate(**one, **SETTINGS), merged.generate(**one, **SETTINGS))
    vars(adapted)["_skipit_applied"].remove()
    answer = merged.generate(**one, **SETTINGS)
    with vlm.speculative(adapted, "vision:1-2/text:1-2") as draft:
        for whole in (adapted, adapted.get_base_model()):
            assert torch.equal(whole.generate(**one, **SETTINGS, assistant_model=draft), answer)
    for model in (adapted, adapted.get_base_model()):
        with pytest.raises(ValueError, match=r"bake: this model has adapters, .*; merge them first .merge_and_unload"):
            vlm.bake(model, SkipPlan.drop([3]))
    assert torch.equal(vlm.bake(merged, SkipPlan.drop([3])).generate(**one, **SETTINGS), dropped(adapted, one))


def dropped(model, batch):
    with skipping(model, SkipPlan.drop([3])):
        return model.generate(**batch, **SETTINGS)


@torch.no_grad()
def test_row_5_measurements_on_adapters_are_those_of_the_merged_model():
    adapted = lora(random_model())
    merged = copy.deepcopy(adapted).merge_and_unload()
    batch = batch_for(merged, **RAGGED)
    found = []
    for model in (adapted, merged):
        with vlm.probe(model) as states, vlm.attention(model) as seen, vlm.removal(model) as removed:
            model(**batch)
        with vlm.states(model, views=("last",)) as kept, vlm.lens(model) as words:
            model(**batch)
        damage = vlm.damage(model, [batch]).table()["damage"]
        states, removed = states.table()["distance"], removed.table()["change"]
        found.append([states, seen.ratios(), removed, kept.layer(5, "last"), words.result().entropy, damage])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


@torch.no_grad()
def test_adapters_may_be_switched_inside_a_context_and_kinds_of_them_follow_plans():
    model = lora(random_model())
    model.add_adapter("second", peft.LoraConfig(r=2, target_modules=["k_proj", "down_proj"]))
    strong(model)
    batch = batch_for(model.get_base_model())
    choices = ("default", "second", ["default", "second"])
    with skipping(model, PLANS[1]):
        fast = []
        for names in choices:
            model.base_model.set_adapter(names)
            fast.append(model(**batch).logits)
    assert error(fast[1], fast[0]) > 1e-3
    for names, logits in zip(choices, fast, strict=True):
        model.base_model.set_adapter(names)
        assert error(logits, planned_logits(model.get_base_model(), batch, PLANS[1])) < 1e-4, names
    other = (
        peft.IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
        peft.LoraConfig(use_dora=True, target_modules=["q_proj", "o_proj"]),
        peft.LoraConfig(target_modules=["lm_head", "embed_tokens"], modules_to_save=["multi_modal_projector"]),
        peft.LoraConfig(target_parameters=["q_proj.weight"], target_modules=[]),
        peft.LoHaConfig(target_modules=["q_proj", "k_proj"]),
        peft.OFTConfig(target_modules=["q_proj"], r=0, oft_block_size=8),
        peft.VeraConfig(r=4, target_modules=["q_proj"]),
    )
    for settings in other:
        adapted = strong(peft.get_peft_model(random_model(), settings))
        with skipping(adapted, "freeze:1-3/vision:3-"):
            fast = adapted(**batch).logits
        slow = planned_logits(adapted.get_base_model(), batch, "freeze:1-3/vision:3-")
        assert error(fast, slow) < 1e-4, settings.peft_type


def masked_with_prefix(adapted, batch, layers, *, frozen):
    """Logits with image tokens masked in some layers, if not frozen, and their states restored; eager, full length."""
    image = batch["input_ids"] == 7
    own = torch.eye(image.shape[1], dtype=torch.bool)
    closed = image[:, None, :] & ~own if not frozen else torch.zeros_like(own)
    entered, handles = {}, []

    def before(module, args, kwargs):
        entered[module] = args[0]
        mask = kwargs["attention_mask"].clone()
        mask[..., -image.shape[1] :].masked_fill_(closed.unsqueeze(-3), torch.finfo(mask.dtype).min)
        return args, {**kwargs, "attention_mask": mask}

    for layer in layers:
        handles.append(layer.register_forward_pre_hook(before, with_kwargs=True))
        handles.append(
            layer.register_forward_hook(lambda m, args, out: torch.where(image.unsqueeze(-1), entered[m], out))
        )
    logits = adapted(**batch).logits
    for handle in handles:
        handle.remove()
    return logits


@torch.no_grad()
def test_prefixes_are_seen_by_all_and_what_cannot_follow_them_is_refused():
    model = random_model("llava", "eager")
    settings = peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    adapted = peft.get_peft_model(model, settings).eval()
    torch.manual_seed(0)
    torch.nn.init.normal_(adapted.prompt_encoder["default"].embedding.weight)
    for rows in ({}, RAGGED):
        batch = batch_for(model, **rows)
        real = batch["attention_mask"].bool()
        for plan, frozen in (("vision:1-3", False), ("freeze:1-3", True)):
            with skipping(adapted, plan):
                fast = adapted(**batch).logits
            slow = masked_with_prefix(adapted, batch, model.model.language_model.layers[1:3], frozen=frozen)
            assert error(fast[real], slow[real]) < 1e-5, plan
    one = batch_for(model)
    with skipping(adapted, "keep:1-=0-4"), pytest.raises(ValueError, match="prefix tuning begins every cache"):
        adapted(**one)
    with vlm.attention(adapted) as seen:
        adapted(**one)
    with pytest.raises(ValueError, match="with prefix tuning every call does"):
        seen.ratios()
    prompted = peft.get_peft_model(
        random_model(), peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    ).eval()
    with skipping(prompted, "vision:1-"), pytest.raises(ValueError, match="prompt tuning and p-tuning pass none on"):
        prompted(**one)


def test_an_adapted_model_passes_its_own_check():
    model, processor = vlm.load("tiny")
    torch.manual_seed(0)
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    result = check(adapted, processor, "freeze:2-4/vision:4-", rounds=1)
    assert result.passed, str(result)
