"""Published selection rules against slow references, closed forms and the shape of their choices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.oracles import selectors_reference as naive
from vlm import SkipPlan, operations_ratio, probe, selectors, skipping
from vlm.engine.attention_event import AttentionEvent
from vlm.engine.forward_call import Call
from vlm.engine.hooks import attached
from vlm.models.random_batches import batch_for
from vlm.models.random_models import random_model
from vlm.selectors.rank_agreement import agreement

# A single prompt has no mask at all under sdpa; prompts of several lengths are padded.
CASES = [("llava", (4, 9, 6)), ("llava-mistral", (4, 9, 6)), ("llava", (7,))]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{len(case[1])}")
def measured(request):
    """Observations of a batch, and each row collected alone by the slow reference."""
    kind, after = request.param
    model, eager = random_model(kind), random_model(kind, attention="eager")
    batch = batch_for(model, images=(1,) * len(after), after=after)
    with torch.no_grad(), selectors.observing(model) as seen:
        model(**batch)
    return model, batch, seen, [naive.collect(eager, batch, row) for row in range(len(after))]


def test_layer_and_sublayer_cosines_of_all_tokens(measured):
    _, _, seen, rows = measured
    for sample, collected in enumerate(rows):
        for layer in range(5):
            before, middle, after = collected.states[layer], collected.middle[layer], collected.states[layer + 1]
            influence = selectors.block_influence(seen.similarity).scores[sample, layer]
            assert influence == pytest.approx(1 - naive.mean_cosine(before, after), abs=1e-5)
            attention, mlp = seen.similarity.sublayer_cosines()[sample, layer]
            assert attention == pytest.approx(naive.mean_cosine(before, middle), abs=1e-5)
            assert mlp == pytest.approx(naive.mean_cosine(middle, after), abs=1e-5)


def test_angles_of_the_last_token_over_blocks(measured):
    _, _, seen, rows = measured
    scores = selectors.angular_distance(seen.similarity).scores
    for sample, collected in enumerate(rows):
        for start in range(5):
            for stop in range(start + 1, 6):
                assert scores[sample, start, stop] == pytest.approx(naive.angle(collected, start, stop), abs=1e-5)


def test_attention_map_rank_without_padding(measured):
    _, _, seen, rows = measured
    ranks = seen.ranks.ranks()
    expected = [[naive.map_rank(row, layer) for layer in range(5)] for row in rows]
    assert ranks == pytest.approx(np.array(expected))
    assert len({len(row.image) for row in rows}) == len(rows)  # a batch of several was padded


def test_token_scores(measured):
    _, _, seen, rows = measured
    for layer in seen.tokens.layers:
        for sample, collected in enumerate(rows):
            last, rated = seen.tokens.last_token(layer)[sample], seen.tokens.text_raters(layer)[sample]
            assert last == pytest.approx(naive.last_token_attention(collected, layer), abs=1e-6)
            assert rated == pytest.approx(naive.rater_attention(collected, layer), abs=1e-6)
            states = collected.states[layer : layer + 2][:, collected.image]
            apart = [1 - naive.cosine(a, b) for a, b in zip(*states, strict=True)]
            assert seen.tokens.distances()[sample][layer] == pytest.approx(apart, abs=1e-5)


def test_class_token_attention_of_the_selected_layer(measured):
    model, batch, seen, _ = measured
    # The features are those of hidden state -2 of two layers: the input of layer 1.
    assert model.config.vision_feature_layer == -2
    expected = naive.class_token_attention(model, batch["pixel_values"], layer=1)
    assert seen.encoder.scores() == pytest.approx(expected, abs=1e-6)


def test_the_last_state_is_before_the_final_norm():
    model, eager = random_model(), random_model(attention="eager")
    for changed in (model, eager):
        norm = changed.model.language_model.norm
        norm.weight.data = torch.linspace(0.1, 3.0, len(norm.weight))  # with equal weights it turns nothing
    batch = batch_for(model)
    with torch.no_grad(), selectors.similarity(model) as record:
        model(**batch)
    collected = naive.collect(eager, batch, 0)
    with torch.no_grad():
        normed = norm(torch.tensor(collected.states[-1], dtype=torch.float32)).numpy()
    influence = selectors.block_influence(record).scores[0, -1]
    assert influence == pytest.approx(1 - naive.mean_cosine(collected.states[-2], collected.states[-1]), abs=1e-5)
    assert abs(influence - (1 - naive.mean_cosine(collected.states[-2], normed))) > 1e-2


def test_divergence_is_of_the_modified_from_the_full_prediction():
    model = random_model()
    batch = batch_for(model, images=(1, 1), after=(4, 7))
    plans = [*selectors.withdrawal_plans(5), SkipPlan()]
    divergence = selectors.prediction_divergence(model, [batch], plans)
    assert divergence.shape == (2, 6)
    with torch.no_grad():
        full = model(**batch).logits[:, -1].double().softmax(-1).numpy()
        for column, plan in enumerate(plans):
            with skipping(model, plan):
                short = model(**batch).logits[:, -1].double().softmax(-1).numpy()
            for row in range(2):
                assert divergence[row, column] == pytest.approx(
                    naive.divergence(short[row], full[row]), rel=1e-4, abs=1e-9
                )
    assert divergence[0, 0] != pytest.approx(naive.divergence(full[0], short[0]))


def test_divergence_takes_the_last_token_of_right_padded_prompts():
    model = random_model()
    batch = batch_for(model, images=(1, 1), after=(4, 7))
    pads = (batch["attention_mask"] == 0).sum(dim=1)
    assert pads.tolist() == [3, 0]
    turned = {
        **batch,
        "input_ids": torch.stack([row.roll(-int(p)) for row, p in zip(batch["input_ids"], pads, strict=True)]),
        "attention_mask": torch.stack(
            [row.roll(-int(p)) for row, p in zip(batch["attention_mask"], pads, strict=True)]
        ),
    }
    plans = selectors.withdrawal_plans(5)
    left, right = (selectors.prediction_divergence(model, [b], plans) for b in (batch, turned))
    assert right == pytest.approx(left, rel=1e-3, abs=1e-6)


def test_withdrawal_search():
    mean = np.array([9.0, 0.002, 3.0, 1.0, 0.1, 0.002, 0.004, 0.0, 0.0, 0.0])
    ranking = selectors.withdrawal(np.stack([mean * 0.5, mean * 1.5]))
    assert str(ranking.plan()) == "vision:5-10"  # layer 1 is below the first allowed one, 5 of 32
    assert str(selectors.withdrawal(mean[None], first=0).plan()) == "vision:1-10"
    assert str(selectors.withdrawal(mean[None], eta=0.0).plan()) == "vision:7-10"
    assert not selectors.withdrawal(np.ones((1, 10))).plan()
    assert str(ranking.plan(2)) == "vision:8-10"


def test_angular_distance_takes_the_best_block_of_each_length():
    angles = np.zeros((1, 5, 5))
    for start, stop, value in [(0, 1, 3), (1, 2, 1), (2, 3, 2), (3, 4, 5), (0, 2, 2), (1, 3, 9), (2, 4, 1)]:
        angles[0, start, stop] = value
    angles[0, 0, 3], angles[0, 1, 4], angles[0, 0, 4] = 4, 3, 1
    record = selectors.SimilarityRecord(4)
    record._done = [(torch.zeros(1, 4), torch.zeros(1, 4, 2), torch.cos(torch.tensor(angles) * np.pi / 10))]
    ranking = selectors.angular_distance(record)
    assert [ranking.chosen(n) for n in range(5)] == [(), (1,), (2, 3), (1, 2, 3), (0, 1, 2, 3)]


def test_adaskip_ranks_both_kinds_of_sublayers_together():
    record = selectors.SimilarityRecord(2)
    cosines = torch.tensor([[[0.9, 0.5], [0.8, 0.95]]], dtype=torch.float64)
    record._done = [(torch.zeros(1, 2), cosines, torch.zeros(1, 3, 3))]
    ranking = selectors.adaskip(record)
    assert ranking.chosen(3) == (3, 0, 2)  # MLP of layer 1, attention of layer 0, attention of layer 1
    assert ranking.layer_scores == pytest.approx(np.array([[0.3, 0.125]]))
    assert ranking.order == (1, 0)


def test_outliers_above_the_upper_fence():
    assert selectors.outlier_count([1.0, 2.0, 3.0, 4.0, 100.0]) == 1
    assert selectors.outlier_count([1.0, 2.0, 3.0, 4.0, 6.9]) == 1  # nothing is above 7: one token is kept
    assert selectors.outlier_count([1.0] * 20 + [5.0, 6.0]) == 2
    # Quartiles 6.25 and 16.75: the fence is at 32.5.
    assert selectors.outlier_count([*range(1, 21), 33, 34]) == 2
    assert selectors.outlier_count([*range(1, 21), 32, 34]) == 1


def test_redundancy_ranks_by_the_probed_distances():
    model = random_model()
    with torch.no_grad(), probe(model, thresholds=(0.05, 0.3)) as record:
        model(**batch_for(model, images=(1, 1), after=(4, 7)))
    rows = record.table().where(modality="vision")
    by_mean, by_close = selectors.redundancy(record), selectors.redundancy(record, t=0.3)
    for sample in range(2):
        for layer in range(5):
            (row,) = rows.where(sample=sample, layer=layer).rows()
            assert by_mean.scores[sample, layer] == row["distance"]
            assert by_close.scores[sample, layer] == 1 - row["within_0.3"]
    free = selectors.redundancy(record, last_free=True)
    assert free.order == (4, *(layer for layer in by_mean.order if layer != 4))
    assert free.scores[:, 4].max() < by_mean.scores.min()
    with pytest.raises(ValueError, match="probed thresholds"):
        selectors.redundancy(record, t=0.2)
    with pytest.raises(ValueError, match="not free"):
        selectors.redundancy(record, freeze=False, last_free=True)


def test_freezing_the_last_layer_changes_no_answer():
    model = random_model()
    batch = batch_for(model, images=(1, 1), after=(4, 7))
    divergence = selectors.prediction_divergence(model, [batch], selectors.contribution_plans(5))
    assert divergence[:, 4] == pytest.approx(0.0, abs=1e-9)
    assert divergence[:, :4].min() > 1e-6


def test_small_attention_is_the_share_of_the_last_token(measured):
    _, _, seen, rows = measured
    scores = selectors.small_attention(seen.attention).scores
    for sample, collected in enumerate(rows):
        share = [naive.last_token_attention(collected, layer).sum() for layer in range(5)]
        assert scores[sample] == pytest.approx(share, abs=1e-5)


def test_observing_leaves_no_trace(measured):
    model, batch, _, _ = measured
    with torch.no_grad():
        plain = model(**batch).logits
        with selectors.observing(model):
            watched = model(**batch).logits
        assert torch.equal(plain, watched)
        assert torch.equal(plain, model(**batch).logits)
    assert "__deepcopy__" not in model.__dict__
    with attached(model) as engine:
        assert engine.attention_name == "sdpa"


def test_generation_is_measured_once():
    model = random_model()
    with torch.no_grad(), selectors.observing(model) as seen:
        model.generate(**batch_for(model), max_new_tokens=3, do_sample=False)
    assert len(seen.similarity.layer_cosines()) == len(seen.ranks.ranks()) == len(seen.tokens.last_token(1)) == 1


def test_bad_input_is_refused():
    model = random_model()
    batch = batch_for(model)
    with selectors.observing(model) as seen:
        pass
    for read in (seen.similarity.layer_cosines, seen.ranks.ranks, seen.encoder.scores, seen.tokens.distances):
        with pytest.raises(ValueError, match="nothing recorded"):
            read()
    for context in (selectors.similarity, selectors.attention_rank, selectors.token_scores):
        with pytest.raises(RuntimeError, match="without a plan"):  # noqa: SIM117
            with torch.no_grad(), context(model), skipping(model, SkipPlan.late_entry(2)):
                model(**batch)
    with pytest.raises(ValueError, match="layers"), selectors.token_scores(model, layers=(5,)):
        pass
    with pytest.raises(ValueError, match="batches"):
        selectors.prediction_divergence(model, [], [SkipPlan()])
    with pytest.raises(ValueError, match="finite"):
        selectors.withdrawal(np.array([[1.0, np.nan]]))
    with pytest.raises(ValueError, match="at least one sample"):
        selectors.withdrawal(np.ones((0, 3)))
    with pytest.raises(ValueError, match="0 to 3 units"):
        selectors.withdrawal(np.ones((1, 3))).plan(4)
    with pytest.raises(ValueError, match="sublayer"):
        selectors.sublayer_similarity(seen.similarity, "norm")
    with pytest.raises(ValueError, match="0 to 4 patches"):
        selectors.prumerge_plan(np.ones(4), keep=5)


def test_patches_that_are_not_the_image_tokens_are_not_scored():
    whole = random_model()
    whole.config.vision_feature_select_strategy = "full"
    for model, what in ((whole, "class token as well"), (random_model("llava_next"), "tiles and row ends")):
        with pytest.raises(TypeError, match=what), selectors.encoder_attention(model):
            pass
        with selectors.observing(model) as seen:
            assert seen.encoder is None


def test_prompt_without_image_has_no_vision_scores():
    model = random_model()
    with torch.no_grad(), selectors.observing(model) as seen:
        model(**batch_for(model, images=(0,)))
    assert seen.tokens.last_token(1)[0].shape == (0,)
    with pytest.raises(ValueError, match="prompts with an image"):
        selectors.redundancy(seen.probe)


def choices(depth=10, samples=3):
    """A ranking of every method, from random scores."""
    rng = np.random.default_rng(0)
    record = selectors.SimilarityRecord(depth)
    shapes = (samples, depth), (samples, depth, 2), (samples, depth + 1, depth + 1)
    record._done = [tuple(torch.tensor(rng.random(shape)) for shape in shapes)]
    ranks = selectors.RankRecord(depth, _done=[torch.tensor(rng.random((samples, depth)))])
    divergence = rng.random((samples, depth))
    return [
        selectors.layer_contribution(divergence),
        selectors.withdrawal(divergence),
        selectors.block_influence(record),
        selectors.angular_distance(record),
        selectors.sublayer_similarity(record),
        selectors.sublayer_similarity(record, "mlp"),
        selectors.adaskip(record),
        selectors.attention_map_rank(ranks),
        selectors.late_insertion(depth),
        selectors.random_order(depth, rng=0),
    ]


@pytest.mark.parametrize("ranking", choices(), ids=lambda r: r.method)
def test_each_number_of_units_is_a_plan_of_its_kind(ranking):
    kind = {
        "freeze image tokens": "frozen",
        "withdraw image tokens": "vision",
        "insert image tokens late": "vision",
        "remove image tokens": "vision",
        "drop layers": "text",
        "drop attention": "attention",
        "drop mlp": "mlp",
    }.get(ranking.action)
    assert not ranking.plan(0)
    for number in range(1, ranking.units + 1):
        plan = ranking.plan(number)
        units = ranking.chosen(number)
        assert len(set(units)) == number
        if kind is not None:
            assert plan.layers(kind, 10) == set(units)
        assert plan == plan.resolved(10)
    assert 0 <= ranking.usual <= ranking.units


def test_adaskip_drops_the_sublayers_it_names():
    adaskip = next(r for r in choices() if r.method == "AdaSkip")
    adaskip = selectors.Ranking(**{**vars(adaskip), "scores": np.tile(np.arange(20.0), (3, 1))})
    plan = adaskip.plan(5)
    assert (plan.layers("text", 10), plan.layers("vision", 10)) == ({0, 1}, {0, 1})  # both parts: the layer
    assert (plan.layers("attention", 10), plan.layers("mlp", 10)) == ({2}, set())


def test_authors_settings_at_32_layers():
    usual = {r.method: r.usual for r in choices(depth=32)}
    assert usual["ShortGPT"] == 8
    assert usual["ShortV"] == 19
    assert usual["LLM-Drop (attention)"] == 16
    assert usual["DeepInsert"] == 8
    assert str(selectors.fastv_plan()) == "prune:2=0.5"
    assert str(selectors.fastv_plan(0.75, layer=3)) == "prune:3=0.25"
    assert selectors.sparse_stages(32) == (2, 6, 15)


def test_prumerge_keeps_the_highest():
    assert str(selectors.prumerge_plan([0.1, 0.4, 0.2, 0.3], 2)) == "keep:0-=1+3"
    assert str(selectors.prumerge_plan([0.1] * 20 + [5.0, 6.0])) == "keep:0-=20-22"
    assert not selectors.prumerge_plan([0.1, 0.4], 2)


@pytest.mark.parametrize(
    ("budget", "counts"), [(192, (300, 200, 110)), (128, (303, 110, 36)), (96, (238, 48, 26)), (64, (66, 30, 17))]
)
def test_sparsevlm_keeps_the_published_numbers_in_stages(budget, counts):
    rng = np.random.default_rng(0)
    scores = [rng.random(576) for _ in range(3)]
    plan = selectors.sparsevlm_plan(scores, (2, 6, 15), budget / 576)
    alive = set(range(576))
    steps = plan.steps(32)
    assert not steps[2].kept[0][0]
    for stage, (layer, count) in enumerate(zip((3, 7, 16), counts, strict=True)):
        alive = set(sorted(alive, key=lambda j: -scores[stage][j])[:count])
        for at in (layer, {3: 6, 7: 15, 16: 31}[layer]):
            assert {j for a, b in steps[at].kept for j in range(a, b)} == alive


def test_the_mildest_plan_within_a_ratio():
    model = random_model()
    ranking = selectors.late_insertion(5)
    full = [operations_ratio(model, ranking.plan(n), vision=9, text=9) for n in range(6)]
    assert ranking.plan_within(model, full[2], vision=9, text=9) == ranking.plan(2)
    assert ranking.plan_within(model, full[2] - 1e-9, vision=9, text=9) == ranking.plan(3)
    assert ranking.plan_within(model, 1.0, vision=9, text=9) == SkipPlan()
    assert ranking.plan_within(model, 0.1, vision=9, text=9) is None


def test_fastv_removes_the_tokens_with_the_lowest_measured_scores():
    model = random_model()
    batch = batch_for(model)
    with torch.no_grad():
        with selectors.token_scores(model, layers=(1,)) as seen:
            model(**batch)
        best = np.argsort(-seen.last_token(1)[0], kind="stable")[:4]
        with skipping(model, selectors.fastv_plan(5 / 9)):
            pruned = model(**batch).logits
        with skipping(model, SkipPlan.keep(2, None, sorted(best.tolist()))):
            named = model(**batch).logits
    text = batch["input_ids"][0] != naive.IMAGE
    assert torch.allclose(pruned[0, text], named[0, text], atol=1e-5)
    assert not torch.allclose(pruned[0, text], model(**batch).logits[0, text], atol=1e-2)


def ranks_of(*scores):
    """ARank of one map of these pre-softmax scores per head, below the diagonal."""
    scores = torch.stack([torch.as_tensor(s, dtype=torch.float32) for s in scores])[None]
    n = scores.shape[-1]
    record = selectors.RankRecord(1)
    call = Call(torch.zeros(1, n, dtype=torch.bool), torch.ones(1, n, dtype=torch.bool), 0)
    record.observe(AttentionEvent(call, 0, scores, torch.eye(n).expand(1, len(scores[0]), n, n), scores, None, 1.0))
    record.finish(call)
    return record.ranks()[0, 0]


def test_row_1_tokens_that_read_themselves_and_the_first_have_rank_one():
    n = 60
    sink = torch.eye(n) * 50
    sink[:, 0] = 50  # half of the attention on the first token, half on itself
    assert ranks_of(sink) == 1
    assert ranks_of(torch.eye(n) * 50) == pytest.approx(n - 1, abs=1)  # what is left is rounding
    # A token that reads the one before it: every row but the first adds a rank.
    before = torch.roll(torch.eye(n), 1, dims=0) * 50
    before[0] = 0
    assert ranks_of(before) == n - 1


def test_rank_is_averaged_over_heads_not_of_the_mean_map():
    n = 6
    first = torch.zeros(n, n)
    first[:, 0] = 50  # one head looks at the first token only, the other each at the one before
    before = torch.roll(torch.eye(n), 1, dims=0) * 50
    assert ranks_of(first, before) == pytest.approx((1 + n - 1) / 2)


def test_row_1_the_released_models_leave_four_layers_dense():
    ranks = selectors.RankRecord(32, _done=[torch.arange(32.0, dtype=torch.float64)[None]])
    assert selectors.attention_map_rank(ranks).usual == 28


def test_row_3_prumerge_plus_unites_outliers_with_a_grid():
    rng = np.random.default_rng(1)
    for n, outliers in [(576, 40), (576, 1), (576, 192), (36, 4), (36, 12), (49, 2)]:
        scores = rng.random(n).round(1)  # with ties
        plan = selectors.prumerge_plus_plan(scores, outliers)
        kept = {j for a, b in plan.kept[0][2] for j in range(a, b)} if plan else set(range(n))
        assert kept == naive.prumerge_plus(scores.tolist(), outliers), (n, outliers)
    automatic = [0.1] * 34 + [5.0, 6.0]
    assert selectors.prumerge_plus_plan(automatic) == selectors.prumerge_plus_plan(automatic, 2)
    with pytest.raises(ValueError, match="at most a third"):
        selectors.prumerge_plus_plan(np.ones(36), 13)


def test_row_10_stages_do_not_collapse_in_silence():
    assert selectors.sparse_stages(8) == (1, 2, 4)
    with pytest.raises(ValueError, match="fall on"):
        selectors.sparse_stages(5)
    with pytest.raises(ValueError, match="different layers"):
        selectors.sparsevlm_plan([np.ones(9)] * 3, (1, 1, 2), 0.5)


def test_row_6_one_unit_of_averaging():
    # Image a has three prompts that prefer layer 0, image b one that prefers layer 1, more strongly.
    scores = np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [1.5, 0.0]])
    ranking = selectors.layer_contribution(scores)
    images = ranking.over_images(["a", "a", "a", "b"])
    assert (ranking.chosen(1), images.chosen(1)) == ((0,), (1,))
    assert images.scores.tolist() == [[0.0, 1.0], [1.5, 0.0]]
    (row,) = agreement(ranking, [ranking], number=1, groups=["a", "a", "a", "b"], draws=2).rows()
    assert row["layers"] == "1"  # as the plan of the images' ranking
    fixed = selectors.late_insertion(4)
    assert fixed.over_images([0, 0, 1]) is fixed
