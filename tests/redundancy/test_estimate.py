"""Estimates: typed quantities, averages over units, and how results display themselves."""

from __future__ import annotations

import json

import numpy as np
import pytest

import redundancy as rd


def test_quantities_are_their_strings():
    estimate = rd.Estimate(0.5, "geometric")
    assert estimate.quantity is rd.Quantity.GEOMETRIC
    assert estimate.quantity == "geometric"
    assert f"{estimate.quantity}" == "geometric"
    assert json.dumps({"quantity": estimate.quantity}) == '{"quantity": "geometric"}'


@pytest.mark.parametrize("name", ["proximl", "", None, 3])
def test_unknown_quantities_are_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=r"quantity: expected one of geometric, proximal, .*'mean'"):
        rd.Estimate(0.5, name)
    with pytest.raises(ValueError, match="quantity: expected one of"):
        rd.Estimate.over_units([0.5], None, quantity=name, support=(0, 1))


def test_over_units_averages_each_image_first():
    estimate = rd.Estimate.over_units(
        [[0.0, 1.0], [1.0, 1.0], [1.0, 0.0]], ["b", "b", "a"], quantity="mean", support=(0, 1), settings={"k": 2}
    )
    np.testing.assert_array_equal(estimate.per_unit, [[1.0, 0.0], [0.5, 1.0]])
    np.testing.assert_array_equal(estimate.value, [0.75, 0.5])
    np.testing.assert_array_equal(estimate.rows, [1, 2])
    assert (estimate.n, estimate.unit_of_sampling, estimate.support, estimate.settings) == (
        2,
        "image",
        (0, 1),
        {"k": 2},
    )
    alone = rd.Estimate.over_units([1, 0, 0], None, quantity="mean", support=(0, 1), unit="nats")
    assert (alone.value, alone.n, alone.unit_of_sampling) == (pytest.approx(1 / 3), 3, "row")
    assert alone.bits == pytest.approx(1 / 3 / np.log(2))


@pytest.mark.parametrize(
    ("values", "groups", "error", "message"),
    [
        ([], None, ValueError, "values: expected a non-empty array"),
        (np.zeros((2, 2, 2)), None, ValueError, "values: expected a non-empty array"),
        ([0.0, np.nan], None, ValueError, "values: expected finite"),
        (["a", "b"], None, TypeError, "values: expected real numbers"),
        ([0.0, 1.0], [1], ValueError, "groups: expected one label"),
    ],
)
def test_over_units_bad_input(values, groups, error, message):
    with pytest.raises(error, match=message):
        rd.Estimate.over_units(values, groups, quantity="mean", support=(0, 1))


def test_an_estimate_displays_itself():
    estimate = rd.proximal(np.eye(4), np.eye(4)[::-1], t=0.5, groups=[0, 0, 1, 1], baseline=True, rng=0)
    assert repr(estimate) == "proximal 0 (n = 2 images, unrelated 0; t=0.5, distance=cosine)"
    assert f"{estimate}" == repr(estimate)
    assert f"{estimate:.2f}" == "0.00"
    assert "<th scope='row'>quantity</th><td>proximal</td>" in estimate._repr_html_()
    table = json.loads(estimate.to_json())
    assert table["quantity"] == "proximal"
    assert table["per_unit"] == [0.0, 0.0]
    assert table["baseline"]["value"] == 0.0
    many = rd.proximal(np.eye(2), np.eye(2), t=[0.1, 0.2])
    with pytest.raises(TypeError, match="no single value"):
        f"{many:.2f}"


def test_decompositions_and_codebooks_display_themselves():
    pmf = np.full((2, 2, 2), 0.125)
    pid, table = rd.broja(pmf), rd.broja_batch(pmf[None])
    estimate = rd.unique_information(20 * [0, 1], 20 * [0, 1], 20 * [0, 0])
    book = rd.Codebook.from_centres(np.eye(3))
    for value in (pid, table, estimate, book):
        assert "\n" not in repr(value)
        assert value._repr_html_().startswith("<table>")
        assert json.loads(value.to_json()) == value.to_dict()
        assert f"{value}" == repr(value)
    assert repr(book) == "Codebook(3 codewords in 3 dimensions; method=given)"
    assert estimate.to_dict()["details"]["pid"]["status"] == "converged"
    assert book.to_dict()["centres"] == np.eye(3).tolist()
    with pytest.raises(TypeError, match="no single value"):
        f"{pid:.2f}"


def test_arguments_that_are_not_numbers_are_named():
    x = np.eye(2)
    for call, message in (
        (lambda: rd.proximal(x, x, t="a"), "t: expected real numbers, got 'a'"),
        (lambda: rd.proximal(x, x, t=[0.1, "b"]), "t: expected real numbers"),
        (lambda: rd.proximal(x, x, t=1j), "t: expected real numbers"),
        (lambda: rd.geometric([["a", "b"]], [["a", "b"]]), "x: expected real numbers"),
        (lambda: rd.ksg(["a"] * 20, np.arange(20.0)), "x: expected real numbers"),
        (lambda: rd.mmse(np.arange(20.0), [["a"]] * 20), "x: expected real numbers"),
        (lambda: rd.risk_difference(["a"], [0.0], largest_loss=1.0), "loss_x: expected real numbers"),
        (lambda: rd.risk_difference([0.0], [0.0], largest_loss="a"), "largest_loss: expected a number"),
        (lambda: rd.broja([[["a"]]]), "pmf: expected real numbers"),
        (lambda: rd.broja([[[1.0]]], tol="a"), "tol: expected a number"),
        (lambda: rd.broja_batch([[[["a"]]]]), "pmfs: expected real numbers"),
        (lambda: rd.informational([0, 1], [0, 1], size=2, method="cross-entropy", mix="a"), "mix: expected a number"),
        (lambda: rd.Codebook.from_centres([["a"]]), "centres: expected real numbers"),
        (lambda: rd.Codebook.from_centres(x).ball_counts("a"), "radius: expected a number"),
    ):
        with pytest.raises(TypeError, match=message):
            call()
    with pytest.raises(ValueError, match="x: expected an array, got rows of unequal length"):
        rd.geometric([[1.0], [1.0, 2.0]], [[1.0], [1.0, 2.0]])


def test_boolean_codewords_are_zero_and_one_everywhere():
    x, y = np.array([True, False, True, True]), np.array([True, False, False, True])
    whole = rd.informational(x.astype(int), y.astype(int), size=2).value
    assert rd.informational(x, y, size=2).value == whole
    assert rd.broja_from_samples(x, x, y, sizes=(2, 2, 2)).unique_x == rd.broja_from_samples(x, x, y).unique_x
    book = rd.Codebook.from_centres(np.eye(2))
    np.testing.assert_array_equal(book.decode(x), book.decode(x.astype(int)))
    with pytest.raises(ValueError, match=r"x_codes: expected codewords in 0\.\.0"):
        rd.informational(x, y, size=1)
