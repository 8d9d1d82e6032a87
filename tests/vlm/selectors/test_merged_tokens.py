"""Rules that merge, and rules inside the decoder, against slow references in words and against rebuilt prompts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.oracles import token_choices_reference as naive
from vlm import SkipPlan, selectors, skipping
from vlm.engine.token_merging import merged_features
from vlm.models.random_batches import batch_for, image_tokens
from vlm.models.random_models import IMAGE, random_model
from vlm.plans.text_form import FEATURES
from vlm.selectors.decoder_choices import _fitted
from vlm.selectors.fastv_sparsevlm import plus_heads, raters
from vlm.selectors.image_features import shallow_layer


def seen_of(seed, n=36, width=6):
    rng = np.random.default_rng(seed)
    parts = rng.random(n).round(2), rng.normal(size=(n, width)), rng.random(n).round(2), rng.normal(size=(n, 4))
    more = rng.random(n).round(2), rng.normal(size=(n, width)) + 1, rng.normal(size=(n, width + 1)) + 1
    return selectors.ImageFeatures(*parts, *more)


def rows_of(plan, features):
    """What the slots of a plan hold, in order: the features that the rebuilt prompt would have."""
    sums = {token: terms for layer, token, terms in plan.merges if layer == FEATURES}
    new = merged_features([len(features)], torch.tensor(features)[None], [sums])[0].numpy()
    ((_, _, slots),) = plan.kept
    return new[[j for a, b in slots for j in range(a, b)]]


@pytest.mark.parametrize(("keep", "plus", "near"), [(5, False, 3), (1, False, 32), (3, True, 2), (12, False, 1)])
def test_prumerge_sums_neighbours_by_attention_and_adds_one_token(keep, plus, near):
    for seed in range(3):
        seen = seen_of(seed)
        plan = selectors.prumerge_merged_plan(seen, keep, plus=plus, neighbours=near)
        expected = naive.prumerge_rows(seen.scores, seen.keys, seen.features, keep, near, plus)
        assert rows_of(plan, seen.features) == pytest.approx(np.array(expected), rel=1e-5, abs=1e-7)
        assert plan.renumbered == ((0, None),)


@pytest.mark.parametrize(("keep", "context"), [(10, 0.3), (4, 0.0), (6, 1.0), (35, 0.2)])
def test_visionzip_joins_every_other_token_to_its_target(keep, context):
    for seed in range(3):
        seen = seen_of(seed)
        plan = selectors.visionzip_merged_plan(seen, keep, context=context)
        expected = naive.visionzip_rows(seen.attention, seen.mean_keys, seen.features, keep, context)
        assert rows_of(plan, seen.features) == pytest.approx(np.array(expected), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize(("keep", "window"), [(9, 2), (20, 3), (4, 1), (23, 2), (17, 4), (35, 2)])
def test_vscan_scans_windows_before_the_rest_and_averages_projected_tokens(keep, window):
    for seed in range(3):
        seen = seen_of(seed)
        plan = selectors.vscan_plan(seen, keep, depth=10, window=window)
        expected = naive.vscan_rows(seen.attention, seen.shallow, seen.projected, keep, window)
        ((_, _, slots),) = plan.kept
        assert [j for a, b in slots for j in range(a, b)] == list(expected)
        rows = {layer_token[1]: layer_token[2] for layer_token in plan.merges if layer_token[0] == 0}
        for token, row in expected.items():
            terms = rows.get(token, ((token, 1.0),))  # a token that nothing joins is not named
            found = sum(weight * seen.projected[j] for j, weight in terms)
            assert found == pytest.approx(np.array(row), abs=1e-9)
        assert plan.ranked == ((5, keep // 3 / 36),)


def test_layers_and_heads_are_those_of_the_released_code():
    # VScan: attentions[5] of 24 layers; SparseVLM+: topk(14), of 32 heads in LLaVA 1.5 7B and 40 in 13B.
    assert [shallow_layer(n) for n in (24, 27, 12, 2, 1)] == [5, 6, 2, 0, 0]
    assert [plus_heads(n) for n in (28, 32, 40, 4, 1)] == [14, 14, 14, 2, 1]


def test_topv_ends_with_the_columns():
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(16, 5))
        y = x + rng.normal(size=(16, 5))
        for keep, recovered in ((5, 0.25), (8, 0.5), (3, 0.0), (16, 0.25)):
            settings = dict(recovered=recovered, weights=(1.0, 1.0, 0.01), sigma=3.0, temperature=0.1, iterations=3)
            expected = naive.topv(x.tolist(), y.tolist(), keep, **settings)
            found = selectors.topv_tokens(x, y, keep, **settings)
            assert found == expected
            assert len(found) == keep


def test_fitprune_takes_what_both_lists_let_go():
    rng = np.random.default_rng(0)
    prompts = [rng.random((5, 2, 12)) ** 3 for _ in range(3)]
    for alpha in (0.05, 0.2, 0.5, 0.9):
        numbers = naive.fitprune_numbers(prompts, alpha)
        plan = _fitted(prompts, alpha, lambda plan: 1.0, 0.0)
        left, expected = 12, SkipPlan()
        for layer, number in enumerate(numbers):
            left -= number
            if number:
                expected |= SkipPlan.leave(layer, left / 12)
        assert plan == expected

    def cost(plan):
        return min([1.0, *(f for _, f in plan.leaving)])

    found = selectors.fitprune_plan(prompts, cost, 0.5)
    assert cost(found) <= 0.5
    # The mildest tolerance that reaches the budget, to a hundredth.
    tolerances = [a for a in np.arange(0, 1.001, 1 / 128) if cost(_fitted(prompts, a, cost, 0.5)) <= 0.5]
    assert found == _fitted(prompts, min(tolerances), cost, 0.5)
    with pytest.raises(ValueError, match="as many image tokens"):
        selectors.fitprune_plan([], cost, 0.5)


def test_pyramiddrop_keeps_whole_parts_at_three_layers():
    plan = selectors.pyramiddrop_plan(9, depth=32)
    assert plan.ranked == ((8, 4 / 9), (16, 2 / 9), (24, 1 / 9))  # int(4.5), int(2.25), int(1.125)
    assert plan.renumbered == ((8, None),)
    with pytest.raises(ValueError, match="fall on"):
        selectors.pyramiddrop_plan(9, depth=2)


def test_pyramiddrop_s_tokens_are_those_of_a_rebuilt_decoder():
    """The authors' loop: rank on what enters the layer, cut the sequence, number it anew, go on."""
    model = random_model()
    batch = batch_for(model, images=(1,), after=(6,))
    decoder = model.model.language_model
    shown = batch["input_ids"][0] == IMAGE
    count = int(shown.sum())
    plan = SkipPlan.rank(1, 6 / count) | SkipPlan.rank(3, 3 / count) | SkipPlan.renumber(1, None)
    with torch.no_grad():
        states = model.get_input_embeddings()(batch["input_ids"])
        features = model.model.get_image_features(pixel_values=batch["pixel_values"]).pooler_output
        states[0, shown] = torch.cat(list(features)) if isinstance(features, list | tuple) else features.flatten(0, -2)
        image = shown.clone()
        for index, layer in enumerate(decoder.layers):
            keep = {1: 6, 3: 3}.get(index)
            if keep is not None:
                normed, places = layer.input_layernorm(states), torch.arange(states.shape[1])[None]
                cos, sin = decoder.rotary_emb(states, places)
                attention = layer.self_attn
                q = attention.q_proj(normed).view(1, -1, 4, attention.head_dim).transpose(1, 2)
                k = attention.k_proj(normed).view(1, -1, 2, attention.head_dim).transpose(1, 2).repeat_interleave(2, 1)

                def turned(x, cos=cos, sin=sin):
                    a, b = x.chunk(2, dim=-1)
                    return x * cos[:, None] + torch.cat([-b, a], dim=-1) * sin[:, None]

                scores = turned(q)[:, :, -1:] @ turned(k).transpose(2, 3) * attention.scaling
                weight = torch.softmax(scores, dim=-1)[0, :, 0].mean(0)
                weight[~image] = -1
                best = weight.topk(keep).indices
                stays = ~image
                stays[best] = True
                states, image = states[:, stays], image[stays]
            length = states.shape[1]
            places = torch.arange(length)[None]
            mask = torch.full((length, length), torch.finfo(states.dtype).min).triu(1)[None, None]
            given = dict(position_ids=places, position_embeddings=decoder.rotary_emb(states, places))
            states = layer(states, attention_mask=mask, **given)
        expected = model.lm_head(decoder.norm(states))[:, -1]
        with skipping(model, plan):
            found = model(**batch).logits[:, -1]
    assert float((found - expected).norm() / expected.norm()) < 1e-5


def test_merging_plans_are_the_decoder_on_the_rebuilt_prompt():
    """The authors' way: merged features, the projector, a shorter prompt. With random weights order matters."""
    model = random_model()
    batch = batch_for(model, images=(1,), after=(6,))
    with torch.no_grad(), selectors.encoder_features(model) as record:
        model(**batch)
    (seen,) = record.images()
    plans = {
        "prumerge": (
            selectors.prumerge_merged_plan(seen, 3, neighbours=2),
            naive.prumerge_rows(seen.scores, seen.keys, seen.features, 3, 2, plus=False),
        ),
        "visionzip": (
            selectors.visionzip_merged_plan(seen, 5, context=0.4),
            naive.visionzip_rows(seen.attention, seen.mean_keys, seen.features, 5, 0.4),
        ),
    }
    shown = batch["input_ids"][0] == IMAGE
    first, last = int(shown.nonzero()[0]), int(shown.nonzero()[-1])
    for name, (plan, rows) in plans.items():
        with torch.no_grad():
            words = model.get_input_embeddings()(batch["input_ids"])
            image = model.model.multi_modal_projector(torch.tensor(rows, dtype=words.dtype)[None])
            whole = torch.cat([words[:, :first], image, words[:, last + 1 :]], dim=1)
            expected = model.lm_head(model.model.language_model(inputs_embeds=whole).last_hidden_state)[:, -1]
            with skipping(model, plan):
                found = model(**batch).logits[:, -1]
                generated = model.generate(
                    **batch, max_new_tokens=1, do_sample=False, return_dict_in_generate=True, output_logits=True
                )
        assert float((found - expected).norm() / expected.norm()) < 1e-5, name
        assert torch.allclose(generated.logits[0], expected, atol=1e-4), name


def test_what_is_measured_is_what_the_names_say():
    model = random_model()
    batch = batch_for(model, images=(1, 1), after=(4, 9))
    with (
        torch.no_grad(),
        selectors.encoder_features(model) as encoder,
        selectors.encoder_attention(model) as scores,
        selectors.token_features(model) as tokens,
        selectors.attention_statistics(model) as sums,
    ):
        model(**batch)
    tower = random_model(attention="eager").model.vision_tower
    tower.set_attn_implementation("eager")
    with torch.no_grad():
        out = tower(batch["pixel_values"], output_attentions=True, output_hidden_states=True)
        layers = [m for m in tower.modules() if hasattr(m, "k_proj")]
        eager = random_model(attention="eager")
        maps = eager(**batch, output_attentions=True).attentions
    for row, one in enumerate(encoder.images()):
        assert one.scores == pytest.approx(scores.scores()[row], abs=1e-6)
        assert one.attention == pytest.approx(tokens.class_attention()[row], abs=1e-6)
        # Two encoder layers: features are hidden state -2, the output of layer 0; 6 of 24 is layer 0 as well.
        assert one.shallow == pytest.approx(out.attentions[0][row, :, 0, 1:].mean(0).numpy(), abs=1e-6)
        assert one.features == pytest.approx(out.hidden_states[-2][row, 1:].numpy(), abs=1e-5)
        assert one.projected == pytest.approx(tokens.prompts()[row].projected, abs=1e-5)
        assert one.mean_keys.shape == (image_tokens(model), layers[0].head_dim)
        shown, real = batch["input_ids"][row] == IMAGE, batch["attention_mask"][row].bool()
        text = real & ~shown
        for layer, whole in enumerate(maps):
            largest = whole[row].amax(0)
            found = sums.prompts()[row][layer]
            assert found[0] == pytest.approx(largest[text][:, shown].sum(0).numpy(), abs=1e-5)
            assert found[1] == pytest.approx(largest[shown][:, shown].mean(0).numpy(), abs=1e-5)


def test_sparsevlm_plus_divides_by_what_positions_alone_would_give():
    model, eager = random_model(), random_model(attention="eager")
    batch = batch_for(model, images=(1,), after=(8,))
    with torch.no_grad(), selectors.token_scores(model, layers=(1, 3)) as record:
        model(**batch)
    shown = (batch["input_ids"][0] == IMAGE).numpy()
    states = []
    handle = eager.model.language_model.layers[0].register_forward_pre_hook(lambda m, args: states.append(args[0]))
    with torch.no_grad():
        maps = eager(**batch, output_attentions=True).attentions
    handle.remove()

    class Call:
        vision, real = batch["input_ids"] == IMAGE, batch["attention_mask"].bool()

    rows = np.flatnonzero(raters(Call, states[0])[0].numpy())
    width = model.model.language_model.layers[0].self_attn.head_dim
    for layer in (1, 3):
        expected = naive.sparsevlm_plus(maps[layer][0].double().numpy(), {"rows": rows, "width": width}, shown)
        assert record.plus(layer)[0] == pytest.approx(expected, rel=1e-4, abs=1e-7)
        assert len(rows) > 1
    plan = selectors.sparsevlm_plus_plan([np.arange(576.0)] * 3, (1, 2, 4), 64 / 576)
    assert [sum(b - a for a, b in tokens) for _, _, tokens in plan.kept] == [66, 34, 20]
