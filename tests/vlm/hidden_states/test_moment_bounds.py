"""Both forms of Theorem 1 side by side: from reconstruction and from cosine distance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import bounds
import vlm
from tests.vlm.hidden_states.test_moment_losses import measured, prompts
from tests.vlm.hidden_states.test_moment_recording import recorded
from vlm.models.random_models import random_model


def test_both_bounds_are_those_of_theorem_1():
    model, new = random_model(width=16), prompts(range(40, 60))
    fitted = recorded(model, prompts(range(24)), normalise=True, pairs=[(0, 1), (1, 2)]).moments()
    losses = measured(model, fitted, new)
    with torch.no_grad(), vlm.probe(model) as record:
        for batch in new:
            model(**batch)
    table = vlm.functional_bounds(losses, lipschitz=3.0)
    assert len(table) == 8
    for row in table.rows():
        near = record.table().where(layer=row["layer"], modality=row["modality"])["distance"].mean()
        assert row["cosine"] == pytest.approx(near, rel=1e-9)
        assert row["cosine_bound"] == pytest.approx(9 * near * (2 - near), rel=1e-9)
        assert row["reconstruction_bound"] == pytest.approx(9 * row["reconstruction"], rel=1e-12)
        key = (row["layer"], row["later"]), row["modality"]
        estimate = losses.estimate(*key, direction=row["direction"])
        limit = bounds.certify(estimate, side="upper", simultaneous=16).high
        assert row["reconstruction_limit"] == pytest.approx(9 * limit, rel=1e-12)
        assert row["cosine_limit"] > row["cosine_bound"]
        assert row["bound_limit"] == min(row["cosine_limit"], row["reconstruction_limit"])


def test_the_best_affine_map_is_never_worse_than_the_cosine_distance():
    """Among affine maps is (1 - e) x, whose error on unit vectors is e (2 - e); the sums know all of them."""
    rng = np.random.default_rng(0)
    for noise in (0.05, 0.5, 2.0):
        x, step = rng.normal(size=(2, 4000, 5))
        y = x + noise * step
        x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
        e = float((1 - (x * y).sum(1)).mean())
        kappa = e * (2 - e)
        assert np.square(y - (1 - e) * x).sum(1).mean() == pytest.approx(kappa, rel=1e-9)
        design = np.c_[x, np.ones(len(x))]
        left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
        assert np.square(left).sum(1).mean() <= kappa


def test_bad_input_is_refused():
    model = random_model()
    raw = recorded(model, prompts(range(4)), pairs=[(1, 2)]).moments()
    with pytest.raises(TypeError, match="moments alone give estimates without a certificate"):
        vlm.functional_bounds(raw)
    with pytest.raises(ValueError, match="got states as they are"):
        vlm.functional_bounds(measured(model, raw, prompts([9])))
    unit = recorded(model, prompts(range(4)), pairs=[(1, 2)], normalise=True).moments()
    with pytest.raises(ValueError, match="nothing recorded yet"):
        vlm.functional_bounds(measured(model, unit, []))
    with pytest.raises(ValueError, match="lipschitz"):
        vlm.functional_bounds(measured(model, unit, prompts([9])), lipschitz=-1.0)
