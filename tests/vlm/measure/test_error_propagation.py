"""Error propagation: measured as by a slow reference; the recursions hold on the samples that calibrated them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.oracles.skipping_reference import masked_logits
from vlm import SkipPlan
from vlm.measure.error_propagation import KINDS, _predicted, consequences
from vlm.measure.secant_gains import Gains
from vlm.models.random_batches import batch_for
from vlm.models.random_models import IMAGE, random_model

SHAPE = dict(images=(1, 2), after=(3, 8))


@pytest.fixture(scope="module")
def measured():
    model = random_model()
    batches = [batch_for(model, **SHAPE, seed=seed) for seed in range(4)]
    return model, batches, consequences(model, batches)


def last_logits_under(model, batch, kind, k):
    if kind != "freeze":
        plans = {
            "remove": SkipPlan.skip("vision", k, k + 1),
            "late entry": SkipPlan.late_entry(k),
            "early exit": SkipPlan.early_exit(k),
            "drop": SkipPlan.drop([k]),
        }
        return masked_logits(model, batch, plans[kind])[:, -1]
    vision = (batch["input_ids"] == IMAGE).unsqueeze(-1)
    layer = model.model.language_model.layers[k]
    handle = layer.register_forward_hook(lambda m, args, out: torch.where(vision, args[0], out))
    with torch.no_grad():
        logits = model(**batch).logits[:, -1]
    handle.remove()
    return logits


@pytest.mark.parametrize("kind", KINDS)
def test_logit_changes_equal_those_of_a_slow_reference(measured, kind):
    model, batches, result = measured
    for run in np.flatnonzero(result.kinds == kind):
        for number, batch in enumerate(batches[:2]):
            full = masked_logits(model, batch, SkipPlan())[:, -1].double()
            delta = last_logits_under(model, batch, kind, int(result.layers[run])).double() - full
            omega = (delta.amax(1) - delta.amin(1)).numpy()
            mine = slice(2 * number, 2 * number + 2)
            assert result.omega[mine, run] == pytest.approx(omega, rel=1e-3, abs=1e-4)
            top = full.topk(2, dim=1).values
            assert result.margin[mine] == pytest.approx((top[:, 0] - top[:, 1]).numpy(), rel=1e-3, abs=1e-4)
            assert result.changed[mine, run].tolist() == ((full + delta).argmax(1) != full.argmax(1)).tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_the_recursions_hold_on_the_samples_that_calibrated_them(measured, kind):
    # With gains of its own a sample's recursion is the triangle inequality: it must hold, whatever the layers do.
    _, _, result = measured
    own = result.calibration[:, None] & (result.kinds == kind)
    assert own.any()
    assert (result.predicted[own] + 1e-5 >= result.error[own] * (1 - 1e-5)).all()
    assert (result.omega_predicted[own] + 1e-5 >= result.omega[own] * (1 - 1e-5)).all()


def test_a_prediction_is_the_recursion_by_hand():
    seen = {
        "beta": np.array([[1.0, 2.0, 3.0]]),
        "entry": np.array([[0.0, 5.0, 7.0, 9.0]]),
        "step": np.array([[5.0, 4.0, 6.0]]),
        "branch": np.array([[8.0, 10.0, 20.0]]),
    }
    block = np.array([[2.0, 0.5], [0.25, 3.0]])
    gains = Gains(np.array([9.0, 1.5, 4.0]), np.stack([9 * block, block, block]), np.array([9.0, 1.1, 1.2]), 1.0)
    expected = {
        ("drop", 1): 10 * 1.2,
        ("early exit", 1): 3 + 4 * 2,
        ("late entry", 2): 2 * (2 + 1.5 * 1) + 0.5 * 7,
        ("late entry", 3): 3 + 4 * (2 + 1.5 * 1),
        ("remove", 0): (block @ block @ [1, 5])[0],
        ("remove", 2): 3,
        ("freeze", 1): 0.5 * 4,
        ("freeze", 2): 0,
    }
    for (kind, k), value in expected.items():
        assert _predicted(kind, k, seen, gains) == pytest.approx([value]), (kind, k)


def test_with_one_run_the_gain_of_a_dropped_layer_is_exact():
    # Two layers: dropping the first, the only difference that the second has met, is predicted without slack.
    model = random_model(layers=2)
    batch = batch_for(model)
    layers = model.model.language_model.layers
    with torch.no_grad():
        states = []
        handles = [layer.register_forward_hook(lambda m, args, out: states.append((args[0], out))) for layer in layers]
        model(**batch)
        entered, full = states[0][0], states[1][1]
        layers[0].register_forward_hook(lambda m, args, out: args[0])
        model(**batch)
        error = float((full - states[3][1]).norm())
        for handle in handles:
            handle.remove()
        layers[0]._forward_hooks.clear()
    assert torch.equal(states[2][0], entered)
    result = consequences(model, [batch, batch], kinds=("drop",))
    assert result.predicted[:, 0] == pytest.approx([error, error], rel=1e-4)


def test_theorems_about_logits_hold_everywhere(measured):
    _, _, result = measured
    assert (result.omega <= result.omega_limit * (1 + 1e-5) + 1e-5).all()
    assert result.omega.max() > 0.1
    assert (~result.changed | (result.margin[:, None] <= result.omega)).all()
    assert result.changed.any()


def test_runs_that_are_the_same_plan_agree(measured):
    _, _, result = measured

    def column(kind, k, name):
        return getattr(result, name)[:, np.flatnonzero((result.kinds == kind) & (result.layers == k))[0]]

    for name in ("error", "predicted", "omega"):
        assert np.allclose(column("remove", 0, name), column("late entry", 1, name), rtol=1e-5)
        assert np.allclose(column("late entry", 5, name), column("early exit", 0, name), rtol=1e-5)
        assert np.allclose(column("remove", 4, name), column("early exit", 4, name), rtol=1e-5)
    # Leaving before the last layer: what the image adds there, exactly.
    assert np.allclose(column("early exit", 4, "predicted"), column("early exit", 4, "error"), rtol=1e-5)
    # The state that an image token leaves the last layer with is not used, so freezing it changes nothing.
    assert column("freeze", 4, "error") == pytest.approx(0.0, abs=1e-5)


def test_table_reports_the_images_that_did_not_calibrate(measured):
    model, batches, _ = measured
    images = [0, 0, 1, 1, 2, 2, 3, 3]
    result = consequences(model, batches, groups=images, kinds=("remove",), calibration=0.25)
    assert result.calibration.tolist() == [True, True] + [False] * 6
    table = result.table()
    rest = ~result.calibration
    may = result.margin[rest, None] <= result.omega[rest]
    assert table["may_change"] == pytest.approx(may.mean(axis=0))
    assert (table["may_change_low"] <= table["may_change"]).all()
    assert (table["may_change"] <= table["may_change_high"]).all()
    assert (table["changed"] <= table["may_change"]).all()
    assert table["error"] == pytest.approx(np.median(result.error[rest], axis=0))
    assert ((table["covered"] >= 0) & (table["covered"] <= 1)).all()


def test_bad_input_and_nothing_left_behind(measured):
    model, batches, _ = measured
    with torch.no_grad():
        plain = model(**batches[0]).logits
        with pytest.raises(ValueError, match="prompts with an image each"):
            consequences(model, [batch_for(model, images=(1, 0), after=(3, 4))])
        assert torch.equal(model(**batches[0]).logits, plain)
    assert "__deepcopy__" not in model.__dict__
    with pytest.raises(ValueError, match="kinds: expected one or more of"):
        consequences(model, batches, kinds=("vanish",))
    with pytest.raises(ValueError, match="at least one batch"):
        consequences(model, [])
    with pytest.raises(ValueError, match="at least two"):
        consequences(model, batches[:1], kinds=("remove",), groups=[5, 5])
    with pytest.raises(ValueError, match="one label per sample"):
        consequences(model, batches[:1], kinds=("remove",), groups=[5])
