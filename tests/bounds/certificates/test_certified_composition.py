"""A certificate pushed through a theorem covers the quantity that the theorem bounds; error probabilities add up."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

import bounds
import redundancy as rd

POINTS, STEP, FAR = 24, 3, 0.15
ANGLES = 2 * np.pi * np.arange(POINTS) / POINTS
CIRCLE = np.column_stack([np.cos(ANGLES), np.sin(ANGLES)])
APART = 1 - np.cos(ANGLES[STEP])
NEAR = 0.5 * (1 - np.cos(ANGLES[1]))  # below the distance of neighbouring points: a ball holds one point
# X uniform on a circle; Y = X, or with probability FAR the point STEP to the left or right; Z = Y: Theorem 1 is
# attained, mmse(Z | X) - mmse(Z | Y) = kappa(E distance).
EPSILON = FAR * APART
GAP = EPSILON * (2 - EPSILON)
ENTROPY = -(1 - FAR) * np.log(1 - FAR) - FAR * np.log(FAR / 2)


def sample(rng, images, tokens=3):
    """Images of several tokens that move together."""
    image = np.repeat(np.arange(images), tokens)
    i = rng.integers(POINTS, size=image.size)
    moved = (rng.random(images) < FAR)[image] * rng.choice([-STEP, STEP], size=image.size)
    return CIRCLE[i], CIRCLE[(i + moved) % POINTS], image


def test_bounds_from_certificates_cover_together():
    alpha, runs = 0.2, 120
    rng = np.random.default_rng(0)
    missed, gaps, entropies = 0, [], []
    for _ in range(runs):
        x, y, image = sample(rng, 60)
        distance = bounds.certify(rd.geometric(x, y, groups=image), 1 - alpha, side="upper", simultaneous=2)
        close = bounds.certify(rd.proximal(x, y, t=NEAR, groups=image), 1 - alpha, side="lower", simultaneous=2)
        gap = float(bounds.functional_from_geometric(distance.high, lipschitz=1.0))
        entropy = float(bounds.fano_monotone(1 - close.low, POINTS, 1, 1))
        missed += gap < GAP or entropy < ENTROPY
        gaps.append(gap)
        entropies.append(entropy)
    assert binom.sf(missed - 1, runs, alpha) > 1e-3
    # The bounds are informative: below the trivial ones.
    assert np.median(gaps) < 0.5
    assert np.median(entropies) < np.log(POINTS)


def test_the_non_monotone_fano_may_not_be_fed_a_bound():
    # Why (5.1) exists: past its peak the plain bound falls again, and an upper bound would certify too little.
    assert bounds.fano(1.0, POINTS, 1, 1) < bounds.fano_monotone(1.0, POINTS, 1, 1)


def test_proximal_to_geometric_to_functional_agrees_with_the_direct_function():
    x, y, image = sample(np.random.default_rng(1), 200)
    close = bounds.certify(rd.proximal(x, y, t=NEAR, groups=image), side="lower")
    p_far = 1 - close.low
    epsilon = bounds.geometric_from_proximal(NEAR, p_far)
    assert epsilon >= EPSILON
    assert bounds.functional_from_geometric(epsilon, 1.0) == pytest.approx(
        float(bounds.functional_from_proximal(NEAR, p_far, 1.0)), rel=1e-9
    )


def test_implications_push_certificates_and_add_their_error_probabilities():
    x, y, image = sample(np.random.default_rng(2), 200)
    distance = bounds.certify(rd.geometric(x, y, groups=image), 0.97, side="upper")
    close = bounds.certify(rd.proximal(x, y, t=NEAR, groups=image), 0.98, side="lower")
    derived = bounds.implications(
        geometric=distance, proximal=close, t=NEAR, lipschitz_x=1.0, lipschitz_y=1.0, size=POINTS, n_min=1, n_max=1
    )
    entropy = derived["entropy_x_given_y"]
    assert entropy.high == pytest.approx(float(bounds.fano_monotone(1 - close.low, POINTS, 1, 1)), rel=1e-9)
    assert entropy.high >= ENTROPY
    functional = derived["functional"]
    direct = float(bounds.functional_from_geometric(distance.high, 1.0))
    assert functional.high == pytest.approx(direct, rel=1e-9)
    assert functional.low <= -GAP <= functional.high
    # Whichever certificates a route may have used are paid for.
    assert functional.confidence == pytest.approx(0.95)
    assert "0.95" in functional.guarantee
