"""Rules that choose image tokens against slow references, on features with ties, and what they are measured from."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.oracles import token_choices_reference as naive
from vlm import selectors
from vlm.models.random_batches import batch_for, single_row
from vlm.models.random_models import random_model

COUNTS = (0, 1, 4, 11, 36)


def features(seed, n=36, width=6):
    """Tokens with several exact duplicates, and attention with ties."""
    rng = np.random.default_rng(seed)
    tokens = rng.normal(size=(n, width)) + rng.normal(size=width)
    tokens[n // 2] = tokens[1]
    return tokens, rng.random(n).round(1) + 0.1


def test_divprune_is_greedy_max_min():
    for seed in range(3):
        tokens, _ = features(seed)
        for keep in COUNTS[:4]:
            assert selectors.divprune_tokens(tokens, keep) == naive.divprune(tokens.tolist(), keep)
    assert selectors.divprune_tokens(tokens, 36) == tuple(range(36))


@pytest.mark.parametrize("pivots", [(4, 4), (1, 2), (4, 0)])
def test_dart_keeps_what_duplicates_the_pivots_least(pivots):
    for seed in range(3):
        tokens, _ = features(seed, n=48)
        keys = np.random.default_rng(seed).normal(size=(48, 8)).round(0)  # norms with ties
        image = np.zeros(48, dtype=bool)
        image[3:39] = True
        for keep in COUNTS[1:]:
            found = selectors.dart_tokens(tokens, keys, image, keep, image_pivots=pivots[0], text_pivots=pivots[1])
            assert found == naive.dart(tokens.tolist(), keys.tolist(), image, keep, *pivots), (seed, keep)
            assert len(found) == keep


@pytest.mark.parametrize("crops", [16, 5, 1])
def test_holov_spreads_over_crops(crops):
    for seed in range(3):
        tokens, attention = features(seed)
        for keep in COUNTS[1:]:
            found = selectors.holov_tokens(tokens, attention, keep, crops=crops)
            assert found == naive.holov(tokens.tolist(), attention.tolist(), keep, crops), (seed, keep)
            assert len(found) == keep


def test_visionzip_unites_the_class_token_s_choice_with_equal_steps():
    _, attention = features(0)
    for keep in COUNTS:
        for context in (0.0, 10 / 64, 0.5):
            found = selectors.visionzip_tokens(attention, keep, context=context)
            assert found == naive.visionzip(attention.tolist(), keep, context)
            assert len(found) == keep


def test_cdpruner_takes_the_largest_determinant():
    for seed in range(3):
        tokens, _ = features(seed, n=14, width=9)
        relevance = np.random.default_rng(seed).random(14)
        tokens[7] += 0.05  # a near duplicate, not an exact one: determinants of zero are all alike
        for keep in (1, 3, 6):
            expected = naive.cdpruner(tokens.tolist(), relevance.tolist(), keep)
            assert selectors.cdpruner_tokens(tokens, relevance, keep) == expected
    with pytest.raises(ValueError, match="finite numbers >= 0"):
        selectors.cdpruner_tokens(tokens, -relevance, 3)


def test_row_7_controls_take_every_set_and_equal_steps():
    rng = np.random.default_rng(0)
    counts = np.zeros(8)
    for _ in range(2000):
        tokens = selectors.random_tokens(8, 3, rng=rng)
        assert len(set(tokens)) == 3
        counts[list(tokens)] += 1
    assert (abs(counts - 750) < 5 * np.sqrt(2000 * 3 / 8 * 5 / 8)).all()
    assert selectors.random_tokens(36, 9, rng=5) == selectors.random_tokens(36, 9, rng=5)
    assert selectors.grid_tokens(36, 6) == (3, 9, 15, 21, 27, 33)
    assert [len(set(selectors.grid_tokens(36, n))) for n in range(37)] == list(range(37))
    with pytest.raises(ValueError, match="0 to 8 image tokens"):
        selectors.random_tokens(8, 9)


NAN = np.where(np.arange(9) == 4, np.nan, 0.1)
ROWS = np.where(np.arange(9)[:, None] == 4, np.nan, np.eye(9))
SEEN = selectors.ImageFeatures(NAN, ROWS, NAN, ROWS, NAN, ROWS, ROWS)


@pytest.mark.parametrize(
    "choose",
    [
        lambda: selectors.divprune_tokens(ROWS, 3),
        lambda: selectors.dart_tokens(ROWS, ROWS, [True] * 9, 3),
        lambda: selectors.holov_tokens(np.eye(9), NAN, 3),
        lambda: selectors.visionzip_tokens(NAN, 3),
        lambda: selectors.topv_tokens(ROWS, np.eye(9), 3),
        lambda: selectors.prumerge_plan(NAN, 3),
        lambda: selectors.prumerge_plus_plan(NAN, 2),
        lambda: selectors.prumerge_merged_plan(SEEN, 2),
        lambda: selectors.visionzip_merged_plan(SEEN, 3),
        lambda: selectors.vscan_plan(SEEN, 3, depth=10),
        lambda: selectors.sparsevlm_plan([NAN] * 3, (1, 2, 4), 0.5),
        lambda: selectors.sparsevlm_plus_plan([NAN] * 3, (1, 2, 4), 0.5),
        lambda: selectors.fitprune_plan([np.broadcast_to(NAN, (3, 2, 9))], lambda plan: 1.0, 0.5),
    ],
)
def test_an_order_of_what_is_not_finite_is_refused(choose):
    with pytest.raises(ValueError, match=r"expected finite numbers, got \d+ others of \d+"):
        choose()


def test_tokens_that_are_zero_and_equal_still_give_as_many():
    nothing, equal = np.zeros((9, 4)), np.ones((9, 4))
    for keep in (0, 1, 4, 9):
        for tokens in (nothing, equal):
            assert len(selectors.divprune_tokens(tokens, keep)) == keep
            assert len(selectors.cdpruner_tokens(tokens, np.zeros(9), keep)) == keep
            assert len(selectors.dart_tokens(tokens, tokens, [True] * 9, keep)) == keep
            assert len(selectors.holov_tokens(tokens, np.zeros(9), keep)) == keep
            assert len(selectors.topv_tokens(tokens, tokens, keep)) == keep
    with pytest.raises(ValueError, match="at least one image token"):
        selectors.pyramiddrop_plan(0, depth=32)


def test_features_of_a_padded_batch_are_those_of_its_rows_alone():
    model = random_model()
    batch = batch_for(model, images=(1, 1), after=(4, 9))
    with torch.no_grad(), selectors.token_features(model) as together:
        model(**batch)
    for row in range(2):
        with torch.no_grad(), selectors.token_features(model) as alone:
            out = model(**single_row(model, batch, (1, 1), row), output_hidden_states=True)
        a, b = together.prompts()[row], alone.prompts()[0]
        assert a.image.tolist() == b.image.tolist()
        assert a.projected == pytest.approx(b.projected, abs=1e-5)
        assert a.states == pytest.approx(b.states, abs=1e-4)
        # State 2, through the model's own final norm; keys are turned by positions, which padding shifts.
        with torch.no_grad():
            normed = model.model.language_model.norm(out.hidden_states[2])[0]
        assert a.states == pytest.approx(normed.double().numpy(), abs=1e-4)
        assert a.keys.shape == b.keys.shape == (len(a.image), a.keys.shape[1])
        assert np.linalg.norm(a.keys, axis=1) == pytest.approx(np.linalg.norm(b.keys, axis=1), rel=1e-4)
        assert together.class_attention()[row] == pytest.approx(alone.class_attention()[0], abs=1e-6)


def test_class_attention_is_head_by_head_in_the_layer_that_makes_the_features():
    model, eager = random_model(), random_model(attention="eager")
    batch = batch_for(model)
    with torch.no_grad(), selectors.token_features(model) as record:
        model(**batch)
    tower = eager.model.vision_tower
    tower.set_attn_implementation("eager")
    with torch.no_grad():
        maps = tower(batch["pixel_values"], output_attentions=True).attentions
    # Features are hidden state -2 of two layers: the output of layer 0.
    expected = maps[0][0, :, 0, 1:].mean(dim=0)
    assert record.class_attention()[0] == pytest.approx(expected.numpy(), abs=1e-6)
    with pytest.raises(ValueError, match="layer: expected 1 to 4"), selectors.token_features(model, 0):
        pass
