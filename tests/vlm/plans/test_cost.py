"""Counted operations, cache and weights against torch's own counter, a real cache, and closed forms."""

from __future__ import annotations

from math import prod

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop

from vlm import SkipPlan, skipping
from vlm.engine.hooks import attached
from vlm.models.random_batches import batch_for
from vlm.models.random_models import absent, random_model
from vlm.plans.cost import operations, operations_ratio, plan_cost

PLANS = (
    "none",
    "vision:0-2",
    "vision:0-1+3-",
    "text:1-3",
    "vision:2-3/text:2-3",
    "freeze:1-4",
    "attention:1-3",
    "mlp:2-4",
    "keep:1-=0-7+9",
    "prune:2=0.4",
    "freeze:1-3/attention:3-4/mlp:0-1/prune:2=0.5/vision:4-",
    "prune:1=0.8/rank:2=0.6/rank:3=0.3",
    "keep:0-=0-9/leave:1=0.3",
    "merge:1=0~0x1.0,1x1.0,2x0.5/keep:1-=0",
)
FAMILIES = ("llava", "qwen2_5_vl", "qwen3_vl", "gemma3", "idefics3", "llama4")
# Torch's counter does not know the kernel that sdpa uses on the CPU.
CPU_KERNEL = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda *a, out_shape=None, **k: sdpa_flop(*a[:3])
}
# Nor triangular systems: half a square of multiply-adds for each right-hand side.
CPU_KERNEL[torch.ops.aten.linalg_solve_triangular] = lambda a, b, *_, out_shape=None, **k: a[-1] * prod(b)


def tokens_of(batch):
    vision = int((batch["input_ids"] == 7).sum()) // len(batch["input_ids"])
    return vision, batch["input_ids"].shape[1] - vision


def counted_decoder(model, plan, **inputs):
    """Operations of the decoder layers and the head, and the output of the call."""
    with attached(model) as engine:
        counted = [*engine.parts.layers, model.get_output_embeddings()]
    names = [f"{type(model).__name__}.{name}" for name, module in model.named_modules() if module in counted]
    with torch.no_grad(), skipping(model, plan):
        if "past_key_values" not in inputs:
            model(**inputs)  # the first call of a context tries which layers take one head of zero queries
        with FlopCounterMode(display=False, custom_mapping=CPU_KERNEL) as counter:
            out = model(**inputs)
    counts = counter.get_flop_counts()
    return sum(sum(counts[name].values()) for name in names if name in counts), out


@pytest.mark.parametrize("kind", ["eager", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
def test_within_one_percent_of_a_counted_forward(family, kind):
    if absent(family):
        pytest.skip(absent(family))
    model = random_model(family, attention=kind, width=64)
    batch = batch_for(model, images=(2, 2), after=(20, 20))
    vision, text = tokens_of(batch)
    for plan in PLANS:
        cost = plan_cost(model, vision=vision, text=text, plan=plan, batch=2, head_tokens=vision + text)
        counted, out = counted_decoder(model, plan, **batch, use_cache=True)
        assert cost.prefill.total == pytest.approx(counted, rel=0.01), plan
        cache = out.past_key_values
        for held, layer in zip(cost.cache_bytes, cache.layers, strict=True):
            # A sliding window is cut to its length with the next token.
            if not layer.is_sliding:
                assert held == (0 if layer.keys is None else 2 * layer.keys.numel() * 4), plan
        counted, _ = counted_decoder(model, plan, input_ids=torch.full((2, 1), 11), past_key_values=cache)
        assert cost.decode.total == pytest.approx(counted, rel=0.01), plan


TEXT = (
    *("CohereConfig", "Olmo2Config", "DeepseekV2Config", "DeepseekV3Config", "Phi3Config", "GlmConfig"),
    *("Qwen3MoeConfig", "MixtralConfig", "GraniteMoeSharedConfig", "StableLmConfig", "GPTNeoXConfig"),
    *("GptOssConfig", "DiffLlamaConfig", "AfmoeConfig"),
)


@pytest.mark.parametrize("text", TEXT)
def test_row_3_other_text_models_within_one_percent(text):
    """Fused projections, latent attention, routed experts: sizes come from the modules, not from names."""
    model = random_model(f"llava-{text}", attention="eager", width=64)
    model.set_experts_implementation("eager")
    batch = batch_for(model, images=(2, 2), after=(20, 20))
    vision, tail = tokens_of(batch)
    for plan in ("none", "vision:0-2", "freeze:1-4", "attention:1-3/mlp:3-4"):
        cost = plan_cost(model, vision=vision, text=tail, plan=plan, batch=2, head_tokens=vision + tail)
        counted, out = counted_decoder(model, plan, **batch, use_cache=True)
        assert cost.prefill.total == pytest.approx(counted, rel=0.01), plan
        held = [0 if x.keys is None else 4 * (x.keys.numel() + x.values.numel()) for x in out.past_key_values.layers]
        assert cost.cache_bytes.tolist() == held, plan
        step = dict(input_ids=torch.full((2, 1), 11), past_key_values=out.past_key_values)
        counted, _ = counted_decoder(model, plan, **step)
        assert cost.decode.total == pytest.approx(counted, rel=0.01), plan


@pytest.mark.skipif(absent("qwen3_5") is not None, reason=str(absent("qwen3_5")))
def test_recurrent_states_within_one_percent():
    model = random_model("qwen3_5", attention="eager", width=128)
    batch = batch_for(model, images=(9, 9), after=(50, 50))  # more than one chunk of the state
    vision, text = tokens_of(batch)
    for plan in ("none", "vision:0-3", "vision:1-2/text:0-1", "keep:0-=0-9", "vision:2-3/text:2-3"):
        cost = plan_cost(model, vision=vision, text=text, plan=plan, batch=2, head_tokens=vision + text)
        counted, out = counted_decoder(model, plan, **batch, use_cache=True)
        assert cost.prefill.total == pytest.approx(counted, rel=0.01), plan
        for held, layer in zip(cost.cache_bytes, out.past_key_values.layers, strict=True):
            kinds = [getattr(layer, name, None) for name in ("conv_states", "recurrent_states")]
            parts = [layer.keys, layer.values] if None in kinds else [part for kind in kinds for part in kind.values()]
            assert held == sum(0 if part is None else part.numel() * part.element_size() for part in parts), plan
        step = dict(input_ids=torch.full((2, 1), 11), past_key_values=out.past_key_values)
        counted, _ = counted_decoder(model, plan, **step)
        assert cost.decode.total == pytest.approx(counted, rel=0.01), plan
    with pytest.raises(NotImplementedError, match=r"layer 0 has a recurrent state .* no half is dropped"):
        operations(model, vision=9, text=4, plan="mlp:0-1")


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_row_3_adapters_are_counted_as_they_run():
    peft = pytest.importorskip("peft")
    base = random_model(width=64)
    plain = operations(base, vision=18, text=22).total
    settings = peft.LoraConfig(r=16, target_modules=["q_proj", "o_proj", "up_proj"])
    model = peft.get_peft_model(base, settings)
    batch = batch_for(base, images=(2,), after=(20,))
    vision, tail = tokens_of(batch)
    for plan in ("none", "vision:1-3", "freeze:1-4"):
        counted, _ = counted_decoder(base, plan, **batch)
        assert operations(model, vision=vision, text=tail, plan=plan, head_tokens=40).total == pytest.approx(
            counted, rel=0.01
        ), plan
    assert operations(model, vision=18, text=22).total > 1.05 * plain
    with model.disable_adapter():
        assert operations(model, vision=18, text=22).total == plain
    model.merge_adapter()
    assert operations(model, vision=18, text=22).total == plain
    other = peft.get_peft_model(random_model(), peft.LoraConfig(r=4, use_dora=True, target_modules=["q_proj"]))
    with pytest.raises(NotImplementedError, match=r"operations of the adapter Linear .* are not known; merge it"):
        operations(other, vision=9, text=4)


def test_row_3_quantised_weights_keep_their_operations_and_have_their_own_bytes():
    quanto = pytest.importorskip("optimum.quanto")
    model = random_model(width=64)
    plain = plan_cost(model, vision=9, text=4)
    quanto.quantize(model.model.language_model, weights=quanto.qint8)
    quanto.freeze(model)
    packed = plan_cost(model, vision=9, text=4)
    assert packed.prefill.total == plain.prefill.total
    head = 4 * 64 * 50
    assert 0.25 < (packed.decode_weight_bytes - head) / (plain.decode_weight_bytes - head) < 0.35


def test_row_3_a_map_of_unknown_purpose_is_refused_where_it_matters():
    model = random_model()
    attention = model.model.language_model.layers[2].self_attn
    attention.mixer = torch.nn.Linear(32, 32)
    operations(model, vision=9, text=4, plan="vision:1-3")
    with pytest.raises(NotImplementedError, match=r"layer 2: which of its maps .*mixer \(Linear\)"):
        operations(model, vision=9, text=4, plan="freeze:1-3")


def test_a_worked_example():
    # width 32, 4 heads of 8, 2 key heads, feed-forward 64: 32*32*2 + 32*16*2 + 3*32*64 = 9,216 weights a layer
    model = random_model(layers=2)
    counted = operations(model, vision=9, text=1)
    assert counted.layers.tolist() == [2 * 9216 * 10 + 4 * 32 * 100] * 2
    assert counted.head == 2 * 32 * 50
    half = operations(model, vision=9, text=1, plan="vision:0-1")
    assert half.layers.tolist() == [2 * 9216 + 4 * 32, 2 * 9216 * 10 + 4 * 32 * 100]
    # Frozen: keys and values (1,024 weights) of nine tokens more, one query over ten keys.
    frozen = operations(model, vision=9, text=1, plan="freeze:0-1")
    assert frozen.layers[0] == 2 * 9216 + 2 * 1024 * 9 + 4 * 32 * 10
    # Ten tokens in float32, 16 + 16 numbers each; two norms of 32 weights a layer, head of 50 x 32.
    cost = plan_cost(model, vision=9, text=1, plan="attention:1-2", batch=3, generated=5)
    assert cost.cache_bytes.tolist() == [3 * 15 * 32 * 4, 0]
    assert cost.decode.layers.tolist() == [3 * (2 * 9216 + 4 * 32 * 16), 3 * 2 * 6144]
    assert cost.decode_weight_bytes == 4 * (9216 + 64 + 6144 + 64 + 1600)
    assert cost.prefill_weight_bytes == cost.decode_weight_bytes


def test_weights_that_no_token_uses_are_not_counted():
    model = random_model(layers=2)
    touched = [plan_cost(model, vision=9, text=1, plan=plan) for plan in ("none", "text:0-1", "vision:0-1/text:0-1")]
    none, text, dropped = [(c.prefill_weight_bytes, c.decode_weight_bytes) for c in touched]
    assert none == (text[0], none[0])
    assert text[1] == dropped[0] == dropped[1] < none[0]
    assert "prefill" in str(touched[0])


def test_a_frozen_image_costs_less_than_running_and_more_than_skipped():
    model = random_model()
    share = [operations_ratio(model, f"{word}:1-4", vision=90, text=10) for word in ("vision", "freeze")]
    assert share[0] < share[1] < 1
    pruned = plan_cost(model, vision=90, text=10, plan=SkipPlan.prune(2, 0.5)).cache_bytes
    assert (pruned / pruned[0]).tolist() == [1, 1, 0.55, 0.55, 0.55]


def test_ratios_of_the_empty_plan_and_of_dropping_everything():
    model = random_model()
    assert operations_ratio(model, "none", vision=9, text=4) == 1.0
    assert operations_ratio(model, "vision:0-5", vision=9, text=4) < 0.35
    assert plan_cost(model, vision=9, text=0, plan="freeze:0-5").prefill.layers[0] == 2 * 1024 * 9
    with pytest.raises(ValueError, match="not both 0"):
        operations(model, vision=0, text=0)
    with pytest.raises(ValueError, match="at least 1 and 0"):
        plan_cost(model, vision=1, text=1, batch=0)
    with pytest.raises(ValueError, match="decoder layers"):
        operations(model, vision=1, text=1, plan="vision:0-9")


def test_costs_and_operations_show_themselves_in_one_line():
    cost = plan_cost(random_model(layers=2), vision=9, text=1)
    assert repr(cost.prefill) == "Operations(0.000397 Gflop in 2 layers and head)"
    assert repr(cost) == f"Cost({cost})"
    assert "\n" not in repr(cost)
    assert set(cost.to_dict()["decode"]) == {"layers", "head"}
    assert cost._repr_html_().startswith("<table>")
