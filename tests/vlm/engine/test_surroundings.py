"""Around the engine: wrappers, copies, training with checkpoints, layers renumbered or shared, serving."""

from __future__ import annotations

import copy
import io
import logging
import os
import pickle
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import transformers as hf

from vlm import attention, lens, probe, skipping, speculative
from vlm.engine.masked_reference import planned_logits
from vlm.models import flash_stand_in
from vlm.models.families import Family, anatomy
from vlm.models.random_batches import batch_for, lengthened, with_positions
from vlm.models.random_models import IMAGE, _text, random_model

RAGGED = dict(images=(2, 0, 1), after=(4, 7, 2))


def error(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("family", ["llava", "gemma3"])
@pytest.mark.parametrize("plan", ["vision:1-", "freeze:1-3", "attention:1-2/vision:2-", "prune:2=0.5"])
def test_row_4_layers_removed_by_hand_keep_their_part_of_the_cache(family, plan):
    model = random_model(family, layers=6)
    decoder = model.model.language_model
    # The layer types of Gemma 3 alternate.
    decoder.layers = torch.nn.ModuleList([decoder.layers[i] for i in (0, 1, 4, 5)])
    batch = batch_for(model, **RAGGED)
    start = batch["input_ids"].shape[1]
    with torch.no_grad(), skipping(model, plan):
        settings = dict(max_new_tokens=4, do_sample=False, return_dict_in_generate=True, output_logits=True)
        cached = model.generate(**batch, **settings)
    slow = planned_logits(model, with_positions(lengthened(model, batch, cached.sequences)), plan, prompt=start)
    assert error(torch.stack(cached.logits, 1), slow[:, start - 1 : -1]) < 1e-4


def test_row_4_two_layers_with_one_number_are_refused():
    model = random_model()
    model.model.language_model.layers[3].self_attn.layer_idx = 1
    with pytest.raises(ValueError, match=r"layers 1 and 3 have the same layer_idx 1"), skipping(model, "vision:2-"):
        pass


@pytest.mark.parametrize("open_one", [lambda m: skipping(m, "mlp:1-2"), probe, attention, lens])
def test_row_6_copies_inside_a_context_are_refused_and_work_after_it(open_one):
    model = random_model()
    batch = batch_for(model)
    with torch.no_grad():
        plain = model(**batch).logits
        with open_one(model):
            for part in (model, model.model, model.model.language_model):
                with pytest.raises(RuntimeError, match="copy or save the model before the context"):
                    copy.deepcopy(part)
            with pytest.raises(RuntimeError, match="copy or save"):
                pickle.dumps(model)
            with pytest.raises(RuntimeError, match="copy or save"):
                torch.save(model, io.BytesIO())
            with pytest.raises(RuntimeError, match="copy or save"):
                copy.copy(model)
        other = copy.deepcopy(model)
        assert torch.equal(other(**batch).logits, plain)
        with skipping(other, "vision:1-") as plan:
            assert not torch.equal(other(**batch).logits, plain)
            assert str(plan) == "vision:1-5"
            assert torch.equal(model(**batch).logits, plain)


def test_row_6_a_copied_layer_of_a_plan_is_refused():
    model = random_model()
    with skipping(model, "vision:1-2"):
        with pytest.raises(RuntimeError, match="copy or save"):
            copy.deepcopy(model.model.language_model.layers[1])
        copy.deepcopy(model.model.language_model.layers[2])


@pytest.mark.parametrize(
    "open_one", [lambda m: skipping(m, "freeze:1-3"), attention, lambda m: speculative(m, "mlp:1-2")]
)
def test_row_6_what_is_copied_of_the_configuration_knows_nothing_of_a_context(open_one, tmp_path):
    model = random_model()
    batch, settings = batch_for(model), dict(max_new_tokens=3, do_sample=False)
    with torch.no_grad():
        plain, tokens = model(**batch).logits, model.generate(**batch, **settings)
        with open_one(model):
            configs = [copy.deepcopy(model.config), copy.copy(model.config), pickle.loads(pickle.dumps(model.config))]
            assert model.config.get_text_config()._attn_implementation == "sdpa"
            model.save_pretrained(tmp_path)
            part = copy.deepcopy(model.model.language_model.layers[4].mlp)
            with pytest.raises(RuntimeError, match="copy or save the model before the context"):
                copy.deepcopy(model)
            weights = model.state_dict()
        assert not {"__deepcopy__", "generate"} & set(vars(model))
        others = [type(model)(config).eval() for config in configs]
        for other in others:
            other.load_state_dict(weights)
            other.generation_config = copy.deepcopy(model.generation_config)
        for other in (*others, type(model).from_pretrained(tmp_path).eval()):
            assert torch.equal(other(**batch).logits, plain)
            assert torch.equal(other.generate(**batch, **settings), tokens)
    assert "skipit" not in f"{(tmp_path / 'config.json').read_text()}{part}"


EXACT = ("vision:0-2", "text:2-3/vision:3-", "keep:1-=1-", "attention:1-3", "mlp:1-3", "prune:2=0.5", "freeze:1-3")
EXACT += ("merge:1=1~1x0.5,3x0.5/rank:2=0.6/leave:3=0.3",)


def checkpoint(model, reentrant):
    """What `gradient_checkpointing_enable` does, under whatever name transformers gives it."""
    model.train()
    for layer in model.model.language_model.layers:
        layer.gradient_checkpointing = True
        layer._gradient_checkpointing_func = partial(torch.utils.checkpoint.checkpoint, use_reentrant=reentrant)


def gradients(model, logits, real):
    model.zero_grad()
    logits[real].square().mean().backward()
    return torch.cat([torch.zeros(w.numel()) if w.grad is None else w.grad.flatten() for w in model.parameters()])


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("rows", [{}, RAGGED], ids=["single", "ragged"])
@pytest.mark.parametrize("implementation", ["sdpa", flash_stand_in.NAME])
@pytest.mark.parametrize("plan", EXACT)
def test_row_7_gradient_checkpointing_gives_the_same_gradients_or_is_refused(plan, implementation, rows, reentrant):
    flash = flash_stand_in.installed() if implementation == flash_stand_in.NAME else nullcontext()
    with flash:
        check_checkpointing(plan, implementation, rows, reentrant)


def check_checkpointing(plan, implementation, rows, reentrant):
    model = random_model("llava", implementation)
    batch = with_positions(batch_for(model, **rows))
    real = batch["attention_mask"].bool()
    with skipping(model, plan):
        expected = gradients(model, model(**batch).logits, real)
        # Turned on inside the context, as Trainer does.
        checkpoint(model, reentrant)
        if reentrant:
            model.enable_input_require_grads()
        if reentrant and "freeze" in plan:
            with pytest.raises(NotImplementedError, match=r"layer 1 with frozen image tokens needs .*use_reentrant"):
                model(**batch, use_cache=False)
            return
        found = gradients(model, model(**batch, use_cache=False).logits, real)
        assert error(found, expected) < 1e-5
        late, later = (model(**batch, use_cache=False).logits for _ in range(2))
    # Backward may run after the context has closed, and in another one.
    assert error(gradients(model, late, real), expected) < 1e-5
    with skipping(model, "freeze:2-"), attention(model) as seen:
        assert error(gradients(model, later, real), expected) < 1e-5
    assert seen.samples == 0


def test_row_7_observers_do_not_record_what_backward_recomputes():
    model = random_model()
    batch = with_positions(batch_for(model, **RAGGED))
    checkpoint(model, reentrant=False)
    with probe(model) as states, attention(model) as seen, lens(model) as answers:
        model(**batch, use_cache=False).logits.mean().backward()
        whole = torch.utils.checkpoint.checkpoint(lambda: model(**batch, use_cache=False).logits, use_reentrant=False)
        whole.mean().backward()
    assert states.samples == answers.samples == len(seen.ratios()) == 6


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_row_7_trainer_with_checkpointing(tmp_path):
    pytest.importorskip("accelerate")
    model = random_model()
    batch = batch_for(model)
    rows = [{**{k: v[0] for k, v in batch.items()}, "labels": batch["input_ids"][0]} for _ in range(2)]
    settings = hf.TrainingArguments(
        str(tmp_path), max_steps=2, gradient_checkpointing=True, report_to=[], save_strategy="no", use_cpu=True,
        per_device_train_batch_size=2, disable_tqdm=True,
    )  # fmt: skip
    before = model.model.language_model.layers[0].mlp.up_proj.weight.clone()
    with skipping(model, "freeze:1-3/vision:4-"):
        hf.Trainer(model, settings, train_dataset=rows).train()
    assert not torch.equal(before, model.model.language_model.layers[0].mlp.up_proj.weight)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_row_8_wrappers_are_looked_through():
    model = random_model()
    batch = batch_for(model)
    with torch.no_grad(), skipping(model, "vision:1-"):
        expected = model(**batch).logits
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", "29571")
    torch.distributed.init_process_group("gloo", rank=0, world_size=1)
    try:
        for wrap in (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel, torch.compile):
            wrapped = wrap(model) if wrap is not torch.compile else torch.compile(model, backend="eager")
            with torch.no_grad(), skipping(wrapped, "vision:1-"), probe(wrapped) as record:
                assert torch.equal(wrapped(**batch).logits, expected)
            assert record.samples == 1
    finally:
        torch.distributed.destroy_process_group()
        torch._dynamo.reset()
    mine = torch.nn.Module()
    mine.inside, mine.config = model, model.config
    for wrapped in (torch.nn.Sequential(model), mine):
        with torch.no_grad(), skipping(wrapped, "vision:1-"):
            assert torch.equal(model(**batch).logits, expected)
    mine.score = torch.nn.Linear(2, 2)
    with pytest.raises(TypeError, match="a Module around more than one module; pass the model"):
        anatomy(mine)
    part = random_model()
    layers = part.model.language_model.layers
    layers[1] = torch.compile(layers[1], backend="eager")
    with pytest.raises(NotImplementedError, match="layer 1 is a compiled module around the layer; compile it in place"):
        anatomy(part)
    several = torch.nn.DataParallel(model)
    several.device_ids = [0, 1]
    with pytest.raises(NotImplementedError, match="DataParallel over 2 devices"), skipping(several, "vision:1-"):
        pass


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "idefics3"])
def test_row_8_a_model_without_its_head_is_found(family):
    model = random_model(family)
    batch = batch_for(model)
    with torch.no_grad(), skipping(model, "vision:1-"):
        expected = model.model(**batch).last_hidden_state
    with torch.no_grad(), skipping(model.model, "vision:1-"), probe(model.model) as record:
        assert torch.equal(model.model(**batch).last_hidden_state, expected)
    assert record.samples == 1


@pytest.mark.parametrize("open_one", [lambda m: skipping(m, "vision:1-"), probe, attention])
def test_row_9_continuous_batching_is_refused_before_it_starts(open_one):
    model = random_model()
    with open_one(model), pytest.raises(NotImplementedError, match="generate_batch: continuous batching packs"):
        model.generate_batch([[11, 12, 13]], generation_config=hf.GenerationConfig(max_new_tokens=2))
    assert "init_continuous_batching" not in vars(model)
    model.set_attn_implementation("eager")
    model.config.get_text_config()._attn_implementation = "paged|eager"
    with pytest.raises(NotImplementedError, match="continuous batching is running"), open_one(model):
        pass


def test_row_9_continuous_batching_that_began_before_a_context_is_refused():
    logging.getLogger("ContinuousBatchingLogger").setLevel(logging.CRITICAL)
    model = random_model()
    settings = hf.GenerationConfig(max_new_tokens=2, do_sample=False, eos_token_id=49, pad_token_id=0)
    small = hf.ContinuousBatchingConfig(block_size=16, num_blocks=16, max_batch_tokens=64)
    manager = model.init_continuous_batching(generation_config=settings, continuous_batching_config=small)
    manager.start()
    try:
        with pytest.raises(NotImplementedError, match=r"continuous batching .* stop it"), probe(model):
            pass
        manager.add_request([11, 12, 13])
        assert len(manager.get_result(timeout=60).generated_tokens) == 2
    finally:
        manager.stop(block=True, timeout=60)
    if tuple(map(int, hf.__version__.split(".")[:2])) < (5, 23):
        return  # there the manager changes the model's attention as soon as it is made, which is refused
    # Started inside: its thread cannot raise here, so that the request says why.
    manager = model.init_continuous_batching(generation_config=settings, continuous_batching_config=small)
    with skipping(model, "vision:1-2"):
        manager.start()
        manager.add_request([11, 12, 13])
        assert "packs prompts into one row" in manager.get_result(timeout=60).error
        manager.stop(block=True, timeout=60)


REFUSED = {
    "mllama": (lambda: hf.MllamaConfig(text_config=hf.models.mllama.MllamaTextConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=64, cross_attention_layers=[1], pad_token_id=0, rope_parameters=dict(rope_type="default",
        rope_theta=1e4)), image_token_index=IMAGE), r"cross-attention"),
    "lfm2_vl": (lambda: hf.Lfm2VlConfig(
        text_config=_text("Lfm2Config", 3, 32, layer_types=["conv", "full_attention", "conv"]),
        vision_config=hf.Siglip2VisionConfig(hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2), image_token_id=IMAGE), r"attention in layers 0, 2 \(Lfm2DecoderLayer"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_row_11_a_refusal_names_the_nearest_candidate_and_what_it_lacks(kind):
    build, what = REFUSED[kind]
    with torch.device("meta"):
        model = hf.AutoModelForImageTextToText.from_config(build())
    with pytest.raises(TypeError, match=rf"nearest is 'model.language_model'.*{what}"):
        anatomy(model)


def test_row_11_the_norm_may_have_another_name():
    model = random_model()
    decoder = model.model.language_model
    batch = batch_for(model)
    with torch.no_grad(), skipping(model, "vision:1-"):
        expected = model(**batch).logits
    decoder.embedding_norm = decoder.norm
    del decoder.norm
    type(decoder).norm = property(lambda self: self.embedding_norm)
    try:
        named = Family("mine", norm="model.language_model.embedding_norm")
        with torch.no_grad(), skipping(model, "vision:1-", family=named):
            assert torch.equal(model(**batch).logits, expected)
        assert anatomy(model, named).norm is decoder.embedding_norm
    finally:
        del type(decoder).norm


def test_row_12_a_module_used_twice_is_refused():
    model = random_model()
    layers = model.model.language_model.layers
    layers[3] = layers[1]
    for open_one in (probe, attention, lambda m: skipping(m, "vision:1-")):
        with pytest.raises(ValueError, match="layers 1 and 3 are one and the same module"), open_one(model):
            pass
    model = random_model()
    layers = model.model.language_model.layers
    layers[3].self_attn = layers[1].self_attn
    for open_one in (probe, attention, lambda m: skipping(m, "vision:4-")):
        with pytest.raises(ValueError, match="layers 1 and 3 have one attention between them"), open_one(model):
            pass


def gemma4():
    """Gemma 4, whose layers take an argument by position; its image features are drawn at random."""
    torch.manual_seed(0)
    kinds = ["sliding_attention", "full_attention"] * 2 + ["full_attention"]
    text = _text(
        "Gemma4TextConfig", 5, 32, head_dim=8, global_head_dim=8, hidden_size_per_layer_input=4, num_kv_shared_layers=0,
        vocab_size_per_layer_input=50, sliding_window=9, layer_types=kinds,
    )  # fmt: skip
    tower = hf.Gemma4Config.sub_configs["vision_config"](
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
        head_dim=8, patch_size=4, position_embedding_size=64, pooling_kernel_size=2,
    )  # fmt: skip
    config = hf.Gemma4Config(text_config=text, vision_config=tower, audio_config=None, image_token_id=IMAGE)
    model = hf.Gemma4ForConditionalGeneration(config).eval()
    features = torch.randn(9, 32)
    model.model.get_image_features = lambda *_, **__: SimpleNamespace(pooler_output=[features])
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".language_model.layers." in name and weight.ndim == 2:
                weight.mul_(3.0)
    return model


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("plan", ["vision:1-3", "text:2-3/vision:3-", "freeze:2-4", "keep:1-=0-4", "prune:2=0.5"])
def test_row_10_layers_called_with_positional_arguments(plan):
    model = gemma4()
    ids = torch.tensor([[11, 12, 13, *[IMAGE] * 9, 14, 15, 16, 17]])
    batch = dict(input_ids=ids, attention_mask=torch.ones_like(ids), mm_token_type_ids=(ids == IMAGE).int())
    batch |= dict(pixel_values=torch.zeros(1, 3), position_ids=torch.arange(ids.shape[1])[None])
    with torch.no_grad():
        plain = model(**batch).logits
        with skipping(model, "none"):
            assert torch.equal(model(**batch).logits, plain)
        with skipping(model, plan):
            fast = model(**batch).logits
        assert error(fast, planned_logits(model, batch, plan)) < 1e-4
    assert error(fast, plain) > 1e-3


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("plan", ["vision:1-3", "freeze:1-3", "prune:2=0.5", "mlp:1-2"])
def test_row_10_a_decoder_inside_a_generating_module(plan):
    torch.manual_seed(0)
    config = hf.Blip2Config(
        text_config=_text("LlamaConfig", 4, 32),
        vision_config=hf.Blip2VisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=12,
            patch_size=4,
        ),
        qformer_config=hf.Blip2QFormerConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, encoder_hidden_size=16
        ),
        num_query_tokens=4,
        image_token_index=IMAGE,
    )
    model = hf.Blip2ForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "language_model.model.layers" in name and weight.ndim == 2:
                weight.mul_(6.0)
    ids = torch.tensor([[*[IMAGE] * 4, 11, 12, 13], [*[IMAGE] * 4, 14, 15, 16]])
    batch = dict(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=torch.randn(2, 3, 12, 12))
    with torch.no_grad(), skipping(model, plan), probe(model) as record:
        out = model.generate(**batch, max_new_tokens=4, min_new_tokens=4, do_sample=False)
        tokens = ids
        for _ in range(4):
            given = {**batch, "input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
            logits = model(**given, use_cache=False).logits[:, -1]
            if "prune" in plan:
                break
            logits[:, config.text_config.eos_token_id] = -torch.inf
            tokens = torch.cat([tokens, logits.argmax(-1, keepdim=True)], dim=1)
    if "prune" not in plan:
        assert torch.equal(out[:, -4:], tokens[:, -4:])
    assert record.samples >= 2
    assert "generate" not in vars(model)


class Around(torch.nn.Module):
    """A module that calls another."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *args, **kwargs):
        return self.inner(*args, **kwargs)


@torch.no_grad()
def test_row_8_modules_around_parts_of_a_layer_change_nothing():
    model, plain = random_model(), random_model()
    layers = model.model.language_model.layers
    attention = layers[1].self_attn
    attention.q_proj, attention.o_proj = Around(attention.q_proj), Around(attention.o_proj)
    layers[1].self_attn, layers[3].mlp = Around(attention), Around(layers[3].mlp)
    for batch in (with_positions(batch_for(model)), with_positions(batch_for(model, **RAGGED))):
        for plan in ("freeze:1-3", "prune:2=0.5/mlp:3-4", "attention:1-2", "freeze:1-3/text:2-3"):
            with skipping(plain, plan):
                expected = plain(**batch).logits
            with skipping(model, plan):
                assert torch.equal(model(**batch).logits, expected), plan
    layers[4] = Around(layers[4])
    with pytest.raises(NotImplementedError, match=r"layer 4, a Around, has its attention at 'inner.self_attn', inside"):
        skipping(model, "vision:1-2").__enter__()


def test_row_12_a_branch_of_two_layers_is_dropped_in_both_or_refused():
    for part in ("mlp", "attention"):
        model = random_model()
        layers = model.model.language_model.layers
        if part == "mlp":
            layers[2].mlp = layers[1].mlp
        else:
            layers[2].self_attn = Around(layers[1].self_attn)
            layers[2].self_attn.layer_idx = 2
        with (
            pytest.raises(
                NotImplementedError, match=r"layers 1 and 2 share a module that the plan drops in layer 1 alone"
            ),
            skipping(model, f"{part}:1-2"),
        ):
            pass
        assert "forward" not in vars(layers[1])
    layers = (model := random_model()).model.language_model.layers
    layers[2].mlp = layers[1].mlp
    with torch.no_grad(), skipping(model, "mlp:1-3"):
        batch = with_positions(batch_for(model))
        fast = model(**batch).logits
    assert error(fast, planned_logits(model, batch, "mlp:1-3")) < 1e-4


def test_row_2_attention_past_the_interface_is_refused_where_a_plan_needs_it():
    model = random_model()
    layer = model.model.language_model.layers[2]

    class Own(type(layer.self_attn)):
        """Attends by itself, causal by row number."""

        def forward(self, hidden_states, position_embeddings=None, attention_mask=None, past_key_values=None, **_):
            shape = (*hidden_states.shape[:-1], -1, self.head_dim)
            q, k, v = (f(hidden_states).view(shape).transpose(1, 2) for f in (self.q_proj, self.k_proj, self.v_proj))
            if past_key_values is not None:
                k, v = past_key_values.update(k, v, self.layer_idx)
            out = torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True)
            return self.o_proj(out.transpose(1, 2).flatten(2)), None

    layer.self_attn.__class__ = Own
    refused = pytest.raises(NotImplementedError, match=r"layer 2, a LlamaDecoderLayer, does not attend through")
    with torch.no_grad(), skipping(model, "freeze:1-3"), refused:
        model(**batch_for(model))


@torch.no_grad()
def test_tokens_of_a_video_are_image_tokens():
    """Two frames of four tokens: left out everywhere, the text is as alone; plans of every kind change the answer."""
    model = random_model("qwen2_5_vl")
    ids = torch.tensor([[11, 12, *[6] * 8, 13, 14, 15]])
    film, mask, grid = ids == 6, torch.ones_like(ids), torch.tensor([[2, 4, 4]])
    types = torch.where(film, 2, 0).int()
    torch.manual_seed(0)
    video = {"pixel_values_videos": torch.randn(32, 96), "video_grid_thw": grid}
    batch = {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": types, **video}
    places = model.model.get_rope_index(ids, types, video_grid_thw=grid, attention_mask=mask)[0]
    plain = model(**batch).logits
    with skipping(model, "vision:0-"):
        found = model(**batch, position_ids=places).logits[~film]
    alone = model(input_ids=ids[~film][None], position_ids=places[..., ~film[0]]).logits[0]
    assert torch.allclose(found, alone, atol=1e-5)
    with skipping(model, "keep:0-=0-8"):
        assert torch.allclose(model(**batch).logits, plain, atol=1e-5)
    for plan in ("vision:1-3", "freeze:1-3", "keep:1-=0-4", "prune:2=0.5"):
        with skipping(model, plan):
            assert error(model(**batch).logits, plain) > 0.01, plan
    with attention(model) as seen, probe(model) as record:
        model(**batch)
    assert (seen.ratios() > 0).all()
    assert (record.table().where(modality="vision")["tokens"] == 8).all()
