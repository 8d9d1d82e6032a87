"""D2 and D3: distances against exact references, groups, baselines, torch and NumPy alike, clear errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import bounds
import redundancy as rd
from tests.oracles.distances_reference import exact_distance

NAMES = ["cosine", "angular", "chordal", "euclidean"]
rows = arrays(np.float64, (3, 4), elements=st.floats(-1e3, 1e3).filter(lambda v: v == 0 or abs(v) > 1e-3))
nonzero_rows = rows.map(lambda a: np.where(np.abs(a).max(axis=1, keepdims=True) > 0, a, 1.0))


@given(nonzero_rows, nonzero_rows, st.sampled_from(NAMES))
def test_distances_equal_their_exact_references(x, y, name):
    expected = [exact_distance(a, b, name) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(rd.row_distances(x, y, distance=name), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-9, 1e-12])
def test_nearly_equal_rows_keep_their_digits(gap):
    x, y = np.array([[1.0, 0.0, 0.0]]), np.array([[1.0, gap, 0.0]])
    # 1 - <x, y> would lose everything below 1e-8.
    assert rd.row_distances(x, y)[0] == pytest.approx(exact_distance(x[0], y[0], "cosine"), rel=1e-12)
    assert rd.row_distances(x, y, distance="angular")[0] == pytest.approx(math.atan(gap), rel=1e-12)


def test_nearly_opposite_rows_keep_their_angle():
    x, y = np.array([[1.0, 0.0]]), np.array([[-1.0, 1e-9]])
    assert math.pi - rd.row_distances(x, y, distance="angular")[0] == pytest.approx(1e-9, rel=1e-6)
    assert rd.row_distances(x, y)[0] == pytest.approx(2.0, rel=1e-15)


def test_huge_and_tiny_rows_do_not_overflow():
    x = np.array([[1e200, 1e200], [1e-200, 0.0]])
    y = np.array([[1e200, 0.0], [0.0, 1e-200]])
    np.testing.assert_allclose(rd.row_distances(x, y), [1 - math.sqrt(0.5), 1.0], rtol=1e-14)


@given(nonzero_rows, nonzero_rows)
def test_lemma_2_cosine_is_half_the_squared_chord(x, y):
    chord = rd.row_distances(x, y, distance="chordal")
    np.testing.assert_allclose(rd.row_distances(x, y), chord**2 / 2, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_torch_and_numpy_agree(name, dtype):
    torch = pytest.importorskip("torch")
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(50, 8, generator=generator).to(getattr(torch, dtype)) for _ in range(2))
    ours = rd.row_distances(x, y, distance=name)
    theirs = rd.row_distances(x.double().numpy(), y.double().numpy(), distance=name)
    assert ours.dtype == np.float64
    np.testing.assert_allclose(ours, theirs, rtol=1e-13)
    assert rd.geometric(x, y, name).value == pytest.approx(theirs.mean(), rel=1e-13)


def test_tensors_that_require_gradients_are_accepted():
    torch = pytest.importorskip("torch")
    x = torch.ones(3, 2, requires_grad=True)
    assert rd.geometric(x, x).value == 0.0


def test_chunks_do_not_change_the_result():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 1000, 5))
    np.testing.assert_array_equal(rd.row_distances(x, y, chunk=7), rd.row_distances(x, y))


def test_rows_accumulate_in_float64():
    x = np.full((100_000, 1), 1.0, dtype=np.float32)
    y = x + np.float32(0.1)
    gap = float(np.float32(1.1)) - 1.0
    assert rd.geometric(x, y, "euclidean").value == pytest.approx(gap, rel=1e-12)


def test_groups_average_within_images_first():
    x = np.array([[1.0, 0.0]] * 4)
    y = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    estimate = rd.geometric(x, y, groups=["b", "b", "b", "a"])
    assert estimate.per_unit.tolist() == [2.0, 0.0]
    assert estimate.rows.tolist() == [1.0, 3.0]
    assert estimate.value == 1.0
    assert rd.geometric(x, y).value == 0.5
    close = rd.proximal(x, y, t=0.05, groups=[1, 1, 1, 0])
    assert close.per_unit.tolist() == [0.0, 1.0]
    assert (close.n, close.unit_of_sampling, close.support) == (2, "image", (0.0, 1.0))


def test_close_includes_the_threshold_and_many_thresholds_are_columns():
    x = np.array([[1.0, 0.0], [1.0, 0.0]])
    y = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert rd.proximal(x, y, t=1.0).value == 1.0
    assert rd.proximal(x, y, t=np.nextafter(1.0, 0)).value == 0.5
    many = rd.proximal(x, y, t=[0.0, 0.5, 1.0], groups=[0, 0])
    assert many.value.tolist() == [0.5, 0.5, 1.0]
    assert many.per_unit.shape == (1, 3)


def test_baseline_exposes_states_that_all_point_the_same_way():
    rng = np.random.default_rng(0)
    images = np.repeat(np.arange(40), 5)
    spread = rng.normal(size=(200, 16))
    bundled = 20.0 + rng.normal(size=(200, 16))
    step = 0.01 * rng.normal(size=(200, 16))
    free = rd.proximal(spread, spread + step, groups=images, baseline=True, rng=0)
    same = rd.proximal(bundled, bundled + step, groups=images, baseline=True, rng=0)
    assert free.value == same.value == 1.0
    assert free.baseline.value < 0.05
    assert same.baseline.value > 0.95
    assert free.baseline.n == 20
    far = rd.geometric(spread, spread + step, groups=images, baseline=True, rng=0)
    assert far.baseline.value == pytest.approx(1.0, abs=0.1)
    assert "unrelated" in repr(free)


def test_baseline_pairs_rows_of_different_images_only():
    images = np.repeat(np.arange(7), [1, 2, 3, 4, 5, 6, 7])
    states = np.eye(7)[images]
    unrelated = rd.proximal(states, states, groups=images, baseline=True, rng=3).baseline
    assert unrelated.value == 0.0
    assert unrelated.n == 3


def test_callable_and_own_distance():
    x, y = np.array([[1.0], [2.0]]), np.array([[3.0], [2.0]])
    assert rd.geometric(x, y, lambda a, b: abs(a - b)[:, 0]).value == 1.0
    own = rd.Distance("clipped", lambda a, b: np.minimum(abs(a - b)[:, 0], 1.0), d_max=1.0)
    estimate = rd.geometric(x, y, own)
    assert estimate.value == 0.5
    assert estimate.support == (0.0, 1.0)


def test_certificates_cover_the_estimate_at_image_level():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 600, 4))
    images = np.repeat(np.arange(60), 10)
    for estimate in (rd.geometric(x, y, groups=images), rd.proximal(x, y, t=0.5, groups=images)):
        for method in ("hoeffding", "betting"):
            limits = bounds.certify(estimate, method=method)
            assert limits.low < estimate.value < limits.high
            assert "image" in limits.guarantee
    single = rd.proximal(x, y, t=0.5)
    exact = bounds.certify(single, method="clopper-pearson")
    assert exact.low < single.value < exact.high
    with pytest.raises(ValueError, match=r"0 or 1|binary"):
        bounds.certify(rd.proximal(x, y, t=0.5, groups=images), method="clopper-pearson")


def test_one_row_is_one_unit():
    estimate = rd.geometric([[1.0, 0.0]], [[0.0, 1.0]])
    assert (estimate.value, estimate.n) == (1.0, 1)
    assert bounds.certify(estimate).high == 2.0


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([[0.0, 0.0], [1.0, 0.0]], [[1.0, 0.0]] * 2, "zero vector has no direction, first in rows \\[0\\]"),
        ([[np.nan, 0.0]], [[1.0, 0.0]], "NaN or infinity, first in rows \\[0\\]"),
        ([[1.0, 0.0]], [[np.inf, 0.0]], "y: expected finite"),
        ([[1.0, 0.0]], [[1.0, 0.0, 0.0]], "equal shapes"),
        ([1.0, 0.0], [1.0, 0.0], "shape \\(n, d\\)"),
        (np.empty((0, 3)), np.empty((0, 3)), "at least one row"),
    ],
)
def test_bad_states(x, y, message):
    with pytest.raises(ValueError, match=message):
        rd.geometric(x, y)
    with pytest.raises(ValueError, match=message):
        rd.proximal(x, y)


def test_zero_rows_are_fine_where_they_have_a_distance():
    assert rd.geometric([[0.0, 0.0]], [[3.0, 4.0]], "euclidean").value == 5.0


def test_other_bad_input():
    torch = pytest.importorskip("torch")
    x = np.ones((2, 2))
    with pytest.raises(ValueError, match=r"thresholds >= 0, got -0\.1"):
        rd.proximal(x, x, t=-0.1)
    with pytest.raises(ValueError, match="thresholds"):
        rd.proximal(x, x, t=[0.1, np.nan])
    with pytest.raises(ValueError, match="thresholds"):
        rd.proximal(x, x, t=[])
    with pytest.raises(ValueError, match="one label"):
        rd.geometric(x, x, groups=[1])
    with pytest.raises(ValueError, match="without NaN"):
        rd.geometric(x, x, groups=[1.0, np.nan])
    with pytest.raises(ValueError, match="expected one of cosine"):
        rd.geometric(x, x, "manhattan")
    with pytest.raises(TypeError, match="a name, a callable or a Distance"):
        rd.geometric(x, x, 3)
    with pytest.raises(TypeError, match="one library"):
        rd.geometric(x, torch.ones(2, 2))
    with pytest.raises(TypeError, match="real numbers"):
        rd.geometric(x.astype(complex), x.astype(complex))
    with pytest.raises(ValueError, match="one number per row"):
        rd.geometric(x, x, lambda a, b: a)
    with pytest.raises(ValueError, match="expected numbers in"):
        rd.geometric(x, x, lambda a, b: -np.ones(2))
    with pytest.raises(ValueError, match="at least 2 units"):
        rd.geometric(x, x, groups=[0, 0], baseline=True)
    with pytest.raises(ValueError, match="chunk: expected an integer >= 1"):
        rd.row_distances(x, x, chunk=0)
    with pytest.raises(ValueError, match="nats"):
        _ = rd.geometric(x, x).bits
