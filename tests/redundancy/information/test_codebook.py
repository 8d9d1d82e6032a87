"""Codebooks: nearest codes, balls, radii, files."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import redundancy as rd


def states(n=600, d=8, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.standard_normal((10, d))
    return base[rng.integers(10, size=n)] + 0.2 * rng.standard_normal((n, d))


@pytest.fixture(scope="module")
def book():
    return rd.Codebook.fit([states(), states(seed=1)], size=16, rng=0)


def unit(a):
    return a / np.linalg.norm(a, axis=1, keepdims=True)


def test_codes_are_the_nearest_by_angle(book):
    x = states(seed=2)
    slow = [int(np.argmin([np.linalg.norm(row - c) for c in book.centres])) for row in unit(x)]
    np.testing.assert_array_equal(book.encode(x), slow)
    np.testing.assert_array_equal(book.encode(7.0 * x, chunk=37), slow)
    np.testing.assert_allclose(np.linalg.norm(book.centres, axis=1), 1.0)
    assert book.decode([3, 3]).shape == (2, 8)
    assert book.size == 16


def test_product_codes_are_the_nearest_too():
    product = rd.Codebook.fit(states(d=20), size=49, method="product", parts=2, dimensions=6, rng=0)
    assert product.centres.shape == (49, 6)
    x = states(d=20, seed=3)
    projected = unit(unit(x) @ product.projection)
    np.testing.assert_array_equal(product.encode(x), (projected @ product.centres.T).argmax(1))


def test_torch_states_give_the_same_codes(book):
    torch = pytest.importorskip("torch")
    x = states(seed=4).astype(np.float32)
    np.testing.assert_array_equal(book.encode(torch.from_numpy(x)), book.encode(x))
    assert book.encode(torch.from_numpy(x).bfloat16()).shape == (600,)


def test_balls_by_loops(book):
    distance = 1.0 - book.centres @ book.centres.T
    codes = book.encode(states(seed=5))
    for radius in (0.0, 0.3, 2.0):
        slow = [(distance[:, y] <= radius + 1e-12).sum() for y in range(16)]
        np.testing.assert_array_equal(book.ball_counts(radius + 1e-12), slow)
        probability = [np.mean([distance[x, y] <= radius + 1e-12 for x in codes]) for y in range(16)]
        np.testing.assert_allclose(book.ball_probabilities(codes, radius + 1e-12), probability)
    assert book.ball_extremes(2.0) == (16, 16)
    assert book.ball_extremes(0.0, codes=codes) == (1, 1)
    np.testing.assert_allclose(book.cell_probabilities(codes), np.bincount(codes, minlength=16) / 600)


def test_distances_agree_with_each_other(book):
    cosine, angle, chord = (book.distances(d) for d in ("cosine", "angular", "chordal"))
    np.testing.assert_allclose(np.cos(angle), 1 - cosine, atol=1e-12)
    np.testing.assert_allclose(chord**2, 2 * cosine, atol=1e-12)
    assert (np.diag(chord) == 0).all()


def test_angular_radius_bounds_what_quantising_moves(book):
    """Section 5: P(angle(q(X), q(Y)) > tau + 2 rho) <= P(angle(X, Y) > tau)."""
    x, y = states(seed=6), states(seed=7)
    rho = max(book.angular_radius(x), book.angular_radius(y))
    angle = np.arccos(np.clip((unit(x) * unit(y)).sum(1), -1, 1))
    moved = book.distances("angular")[book.encode(x), book.encode(y)]
    for tau in (0.1, 0.5, 1.0):
        assert (moved > tau + 2 * rho).mean() <= (angle > tau).mean()
    assert (moved <= angle + 2 * rho + 1e-9).all()


def test_angular_radius_is_the_largest_angle_of_all_chunks(book):
    x = states(seed=6)
    angles = np.arccos(np.clip((unit(x) * book.decode(book.encode(x))).sum(1), -1, 1))
    for chunk in (7, len(x)):
        assert book.angular_radius(x, chunk=chunk) == pytest.approx(angles.max(), abs=1e-12)


def test_saved_and_loaded(book, tmp_path):
    pytest.importorskip("safetensors")
    product = rd.Codebook.fit(states(), size=9, method="product", parts=2, rng=0)
    for original in (book, product):
        original.save(tmp_path / "book")
        again = rd.Codebook.load(tmp_path / "book")
        np.testing.assert_array_equal(again.encode(states()), original.encode(states()))
        assert again.settings == original.settings
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json", ".safetensors"]


def test_missing_safetensors_is_one_clear_line(book, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(ImportError, match=r"pip install 'skipit\[vlm\]'"):
        book.save(tmp_path / "book")


def test_deterministic():
    one, other = (rd.Codebook.fit(states(), size=12, rng=3) for _ in range(2))
    np.testing.assert_array_equal(one.centres, other.centres)


def test_given_centres():
    book = rd.Codebook.from_centres(3.0 * np.eye(3))
    np.testing.assert_array_equal(book.encode(np.array([[0.9, 0.1, 0.0], [0.0, 0.0, 2.0]])), [0, 2])
    assert rd.Codebook.fit(states(), size=1, rng=0).encode(states()).max() == 0


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda b: rd.Codebook.fit(states(5), size=6), ValueError, "rows given"),
        (lambda b: rd.Codebook.fit(states(), size=0), ValueError, "size"),
        (lambda b: rd.Codebook.fit(states(), size=10, method="product"), ValueError, "whole number"),
        (lambda b: rd.Codebook.fit(states(), size=9, method="product", dimensions=3), ValueError, "multiple of parts"),
        (lambda b: rd.Codebook.fit(states(), method="lloyd"), ValueError, "method: expected"),
        (lambda b: b.encode(states(d=7)), ValueError, r"\(n, 8\)"),
        (lambda b: b.encode(np.zeros((2, 8))), ValueError, "zero row"),
        (lambda b: b.encode(np.full((2, 8), np.nan)), ValueError, "NaN"),
        (lambda b: b.encode(np.zeros((0, 8))), ValueError, "non-empty"),
        (lambda b: b.encode(states(), chunk=0), ValueError, "chunk"),
        (lambda b: b.decode([16]), ValueError, r"0\.\.15"),
        (lambda b: b.decode([-1]), ValueError, r"0\.\.15"),
        (lambda b: b.decode([0.5]), TypeError, "Codebook.encode"),
        (lambda b: b.decode([]), ValueError, "non-empty"),
        (lambda b: b.ball_counts(-0.1), ValueError, "radius"),
        (lambda b: b.distances("euclid"), ValueError, "distance: expected"),
    ],
)
def test_bad_input(book, call, error, message):
    with pytest.raises(error, match=message):
        call(book)


def test_too_large_a_table(book, monkeypatch):
    monkeypatch.setattr("redundancy.information.codebook.LARGEST_TABLE", 10)
    with pytest.raises(ValueError, match="too large a table"):
        book.distances()
