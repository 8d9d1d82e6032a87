"""Losses of fitted maps on other images: against the maps applied to stored states, and what they certify."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import bounds
import vlm
from tests.vlm.hidden_states.test_moment_recording import collected, recorded
from vlm.models.random_batches import batch_for
from vlm.models.random_models import random_model


def prompts(seeds):
    model = random_model()
    return [batch_for(model, images=(1,), after=(4 + s % 3,), seed=s) for s in seeds]


def measured(model, fitted, batches, groups=None, **options):
    with torch.no_grad(), vlm.reconstruction_losses(model, fitted, **options) as losses:
        for i, batch in enumerate(batches):
            if groups is not None:
                losses.expect(groups[i])
            model(**batch)
    return losses


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("project", [None, 6])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_losses_are_those_of_the_map_on_the_collected_states(normalise, project, direction):
    model, new = random_model(), prompts(range(20, 25))
    fitted = recorded(model, prompts(range(8)), normalise=normalise, project=project).moments()
    losses = measured(model, fitted, new)
    states, prompt, modality = collected(model, new)
    for pair in ((0, 1), (3, 4)):
        chosen = modality == "vision"
        x, y = (states[s][chosen] for s in (pair if direction == "forward" else pair[::-1]))
        if normalise:
            x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
        guess = fitted.map(pair, "vision", direction=direction)(x)
        if normalise:
            guess = guess / np.maximum(1.0, np.linalg.norm(guess, axis=1, keepdims=True))
        each = np.square(y - guess).sum(axis=1)
        expected = [each[prompt[chosen] == p].mean() for p in range(5)]
        estimate = losses.estimate(pair, "vision", direction=direction)
        np.testing.assert_allclose(estimate.per_unit, expected, rtol=1e-9)
        assert estimate.support == (0.0, 4.0 if normalise else np.inf)
        same = losses.estimate(pair, "vision", direction=direction, identity=True)
        assert same.value == pytest.approx(np.square(y - x).sum(axis=1).reshape(5, -1).mean(), rel=1e-9)


def test_a_certificate_says_what_it_supposes():
    model = random_model()
    unit = recorded(model, prompts(range(8)), normalise=True, pairs=[(3, 4)]).moments()
    estimate = measured(model, unit, prompts(range(20, 26))).estimate((3, 4), "text")
    certificate = bounds.certify(estimate, side="upper")
    assert certificate.low == 0.0
    assert estimate.value < certificate.high <= 4.0
    assert "the predictors were fitted on other data" in certificate.guarantee
    raw = recorded(model, prompts(range(8)), pairs=[(3, 4)]).moments()
    estimate = measured(model, raw, prompts(range(20, 26))).estimate((3, 4), "text")
    with pytest.raises(ValueError, match="largest_loss here"):
        bounds.certify(estimate, side="upper")
    assert "no loss exceeds 1e+06" in bounds.certify(estimate, side="upper", largest_loss=1e6).guarantee


def test_prompts_of_one_image_are_one_unit():
    model = random_model()
    fitted = recorded(model, prompts(range(6)), [[f"fit {i}"] for i in range(6)], normalise=True).moments()
    losses = measured(model, fitted, prompts(range(20, 24)), [["a"], ["b"], ["a"], ["c"]])
    estimate = losses.estimate((0, 1), "vision")
    assert (estimate.n, estimate.unit_of_sampling) == (3, "image")


def test_images_that_were_fitted_on_are_refused():
    model = random_model()
    fitted = recorded(model, prompts(range(6)), [[f"fit {i}"] for i in range(6)], normalise=True).moments()
    with pytest.raises(ValueError, match="maps were not fitted on, got 'fit 3'; divide the images"):
        measured(model, fitted, prompts([30]), [["fit 3"]])


def test_undefined_directions_count_as_the_largest_loss():
    model, new = random_model(), prompts(range(20, 23))
    fitted = recorded(model, prompts(range(6)), normalise=True).moments()
    handle = model.model.language_model.layers[2].register_forward_hook(lambda m, args, out: torch.zeros_like(out))
    losses = measured(model, fitted, new)
    handle.remove()
    assert losses.estimate((2, 3), "vision").value == 4.0
    assert losses.estimate((0, 1), "text").value == 4.0, "such a prompt is left out nowhere"


def test_bad_input_is_refused():
    model, other = random_model(), random_model(seed=1)
    fitted = recorded(model, prompts(range(4)), pairs=[(1, 2)], modality="vision").moments()
    with pytest.raises(TypeError, match="fitted: expected Moments"), vlm.reconstruction_losses(model, model):
        pass
    with pytest.raises(ValueError, match="moments of the model that runs now"):
        measured(other, fitted, [])
    with (
        vlm.skipping(model, "vision:1-2"),
        pytest.raises(ValueError, match=r"moments of the plan that runs now \(vision:1-2\)"),
    ):
        measured(model, fitted, [])
    with pytest.raises(ValueError, match=r"recorded pairs of states \(1, 2\), got \(0, 1\)"):
        measured(model, fitted, [], pairs=[(0, 1)])
    losses = measured(model, fitted, [])
    with pytest.raises(ValueError, match="expected prompts with vision tokens"):
        losses.estimate((1, 2), "vision")
    with pytest.raises(ValueError, match="expected one of the fitted maps"):
        losses.estimate((1, 2), "text")
