"""The partial cache layer by itself: compared with transformers' layers if all tokens are held, and with gaps."""

from __future__ import annotations

import random

import pytest
import torch
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from vlm.engine.kv_cache import PartialLayer

WINDOW = 6


def keys_for(start, stop, batch=1):
    return torch.arange(start, stop, dtype=torch.float32).view(1, 1, -1, 1).expand(batch, 1, -1, 2)


def hold(layer, positions, length):
    """One call of `length` tokens, of which those at these positions are stored; returns the visible keys."""
    new = torch.tensor(positions)
    held = layer.visible()
    layer.expect(new if held is None else torch.cat([held, new], dim=1), length)
    states = new.view(len(positions), 1, -1, 1).float()
    return layer.update(states, -states)


@pytest.mark.parametrize("recording", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_a_full_layer_equals_transformers_own_under_updates_and_crops(seed, recording):
    draw = random.Random(seed)
    window = draw.choice([None, 3, WINDOW])
    own = DynamicLayer() if window is None else DynamicSlidingWindowLayer(window)
    new = PartialLayer(window)
    if recording and window:
        own.activate_past_recording()
        new.activate_past_recording()
    fresh = 0
    for _ in range(30):
        length, start = draw.randint(1, 4), own.get_seq_length()
        assert new.get_mask_sizes(length) == (sizes := own.get_mask_sizes(length))
        expected, _ = own.update(keys := keys_for(start, start + length), -keys)
        shown, values = hold(new, [list(range(start, start + length))], length)
        # Transformers 5.17 returns more keys than its mask covers while it records the past.
        assert shown.shape[2] == sizes[0]
        assert torch.equal(shown[..., :1], expected[..., -sizes[0] :, :1])
        assert torch.equal(values, -shown)
        fresh += length
        if (window is None or recording) and draw.random() < 0.4:
            removed = draw.randint(1, fresh)
            own.crop(-removed)
            new.crop(-removed)
            fresh = 0
        assert new.get_seq_length() == own.get_seq_length()


def test_rows_with_gaps_keep_their_own_positions_through_window_and_crop():
    layer = PartialLayer(WINDOW)
    shown, _ = hold(layer, [[0, 1, 2, 3], [-1, -1, 2, 3]], 4)
    assert shown[1, 0, :, 0].tolist() == [-1, -1, 2, 3]
    hold(layer, [[4, 5, 6], [-1, 5, 6]], 3)
    # Seven tokens so far; the next one sees positions 2 to 6.
    assert layer.visible().tolist() == [[2, 3, 4, 5, 6], [2, 3, -1, 5, 6]]
    layer.crop(-2)
    assert layer.get_seq_length() == 5
    assert layer.positions.tolist() == [[0, 1, 2, 3, 4], [-1, -1, 2, 3, -1]]
    assert layer.keys.shape[2] == 5
    layer.batch_select_indices(torch.tensor([1]))
    assert layer.visible().tolist() == [[-1, -1, 2, 3, -1]]
    layer.reset()
    assert layer.get_seq_length() == 0


@pytest.mark.parametrize("seed", range(8))
def test_calls_with_all_tokens_are_counted_as_if_every_position_was_stored(seed):
    """Against a list of positions, with gaps, tokens that bypass the layer, crops and beams in between."""
    draw, layer = random.Random(seed), PartialLayer()
    hold(layer, [[0, 2, 3]] * 2, 5)
    held, logical = [0, 2, 3], 5
    for _ in range(40):
        length = draw.randint(1, 3)
        match draw.choice(["all", "all", "all", "gap", "none", "crop", "rows", "look"]):
            case "all":
                assert layer.expect_all(length)
                states = torch.arange(logical, logical + length).float().view(1, 1, -1, 1).expand(2, 1, -1, 1)
                layer.update(states, -states)
                held += range(logical, logical + length)
                logical += length
            case "gap":
                hold(layer, [[logical]] * 2, length)
                held.append(logical)
                logical += length
            case "none":
                layer.advance(length)
                logical += length
            case "crop" if logical > 8:
                layer.crop(-length)
                logical -= length
                held = [p for p in held if p < logical]
            case "rows":
                layer.batch_select_indices(torch.tensor([1, 0]))
            case "look":
                assert layer.visible().tolist() == [held] * 2
        assert layer.get_seq_length() == logical
        assert layer.keys[:, 0, :, 0].tolist() == [held] * 2
    assert layer.visible().tolist() == [held] * 2


def test_an_update_that_needs_a_mask_is_not_announced_as_complete():
    assert not PartialLayer().expect_all(1)  # holds nothing yet
    ragged, windowed = PartialLayer(), PartialLayer(WINDOW)
    new = torch.tensor([[0, 1], [-1, 1]])
    ragged.expect(new, 2, ragged=True)
    ragged.update(new.view(2, 1, 2, 1).float(), new.view(2, 1, 2, 1).float())
    hold(windowed, [[0, 1]], 2)
    assert not ragged.expect_all(1)
    assert not windowed.expect_all(1)
    ragged.crop(-1)
    assert ragged.positions.tolist() == [[0], [-1]]
    assert ragged.ragged
    ragged.batch_select_indices(torch.tensor([0]))
    ragged.crop(0)
    assert ragged.expect_all(1)


def test_a_crop_removes_each_rows_own_positions():
    layer = PartialLayer()
    hold(layer, [[0, 1], [2, 3]], 4)
    layer.crop(-1)
    assert layer.positions.tolist() == [[0, 1], [2, -1]]


def test_a_crop_that_needs_forgotten_positions_is_refused():
    layer = PartialLayer(WINDOW)
    for start in range(0, 12, 4):
        hold(layer, [list(range(start, start + 4))], 4)
    with pytest.raises(RuntimeError, match="sliding window of 6 has forgotten positions below 3"):
        layer.crop(-6)


def test_adopting_a_window_that_is_full():
    own = DynamicSlidingWindowLayer(WINDOW)
    own.update(keys := keys_for(0, 9, batch=2), -keys)
    layer = PartialLayer.adopt(own)
    assert layer.visible().tolist() == [[4, 5, 6, 7, 8]] * 2
    assert layer.get_mask_sizes(1) == own.get_mask_sizes(1)
    assert layer.is_sliding
    assert not PartialLayer().is_sliding


def test_a_partial_layer_used_outside_its_plan_is_refused():
    with pytest.raises(RuntimeError, match="filled under a skip plan"):
        PartialLayer().update(keys_for(0, 1), keys_for(0, 1))
