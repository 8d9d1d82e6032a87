"""Discrete estimators against closed forms, slow reference formulas and the exact distributions they estimate."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import redundancy as rd
from redundancy.information.bias_corrections import METHODS, _tail

counts_lists = st.lists(st.integers(1, 30), min_size=1, max_size=12)
joint_tables = st.integers(0, 10_000).map(
    lambda s: np.random.default_rng(s).integers(0, 6, size=(3, 4)) + np.eye(3, 4, dtype=int)
)


def slow(counts, method):
    """Each correction as in its paper, by sums in high precision."""
    n = sum(counts)
    with mpmath.workdps(400):
        plug = -sum(mpmath.mpf(c) / n * mpmath.log(mpmath.mpf(c) / n) for c in counts)
        if method == "plugin":
            return plug
        if method == "miller-madow":
            return plug + mpmath.mpf(len(counts) - 1) / (2 * n)
        if method == "jackknife":
            if n == 1:
                return mpmath.mpf(0)
            total = mpmath.mpf(0)
            for i, c in enumerate(counts):
                less = [d - (j == i) for j, d in enumerate(counts)]
                total += mpmath.mpf(c) / n * slow([d for d in less if d > 0], "plugin")
            return n * plug - (n - 1) * total
        if method == "grassberger":
            total = mpmath.mpf(0)
            for c in counts:
                half = mpmath.mpf(c) / 2
                g = mpmath.psi(0, c) + mpmath.mpf(-1) ** c * (mpmath.psi(0, half + 0.5) - mpmath.psi(0, half)) / 2
                total += c * g
            return mpmath.log(n) - total / n
        once, twice = counts.count(1), counts.count(2)
        if method == "chao-shen":
            coverage = 1 - mpmath.mpf(min(once, n - 1)) / n
            total = mpmath.mpf(0)
            for c in counts:
                p = coverage * c / n
                total -= p * mpmath.log(p) / (1 - (1 - p) ** n)
            return total
        total = sum(mpmath.mpf(c) / n * sum(mpmath.mpf(1) / k for k in range(c, n)) for c in counts)
        if once == 0:
            return total
        a = mpmath.mpf(2) / ((n - 1) * (once - 1) + 2)
        if twice:
            a = mpmath.mpf(2 * twice) / ((n - 1) * once + 2 * twice)
        if a < 1:
            rest = -mpmath.log(a) - sum((1 - a) ** r / r for r in range(1, n))
            total += mpmath.mpf(once) / n * (1 - a) ** (1 - n) * rest
        return total


@pytest.mark.parametrize("method", METHODS)
@given(counts=counts_lists)
def test_against_the_formula_in_high_precision(method, counts):
    assert rd.entropy(counts, method, kind="counts").value == pytest.approx(float(slow(counts, method)), abs=1e-10)


@pytest.mark.parametrize(("n", "a"), [(10, 1e-3), (1000, 1e-4), (10**6, 1e-5), (10**6, 0.3), (5, 1.0)])
def test_tail_of_chao_wang_jost(n, a):
    j = np.arange(min(50.0 / a, 5e6))
    exact = np.sum((1 - a) ** (j + 1) / (n + j))
    assert _tail(float(n), a) == pytest.approx(exact, rel=1e-9, abs=1e-300)


def test_corrections_reduce_the_bias():
    """Uniform and Zipf distributions, 1,000 symbols and samples: the order of the table in the docs."""
    rng = np.random.default_rng(0)
    for p in (np.full(1000, 1e-3), 1.0 / np.arange(1, 1001) / (1.0 / np.arange(1, 1001)).sum()):
        truth = rd.entropy(p, kind="pmf").value
        samples = [rng.multinomial(1000, p) for _ in range(20)]
        bias = {m: abs(np.mean([rd.entropy(c, m, kind="counts").value for c in samples]) - truth) for m in METHODS}
        assert bias["plugin"] > 0.35
        assert bias["miller-madow"] < 0.7 * bias["plugin"]
        assert bias["jackknife"] < 0.2
        assert bias["grassberger"] < 0.2
        assert bias["chao-wang-jost"] < 0.1


@pytest.mark.parametrize("method", METHODS)
@given(table=joint_tables)
def test_joint_quantities_obey_one_accounting(method, table):
    """H(X) - H(X|Y) = I(X;Y) = I(Y;X), for every correction, from samples and from tables."""
    kind = {"kind": "counts"}
    quiet = {"on_doubt": "ignore"}
    information = rd.mutual_information(table, method=method, **kind, **quiet).value
    difference = (
        rd.entropy(table.sum(1), method, **kind).value - rd.conditional_entropy(table, method=method, **kind).value
    )
    assert information == pytest.approx(difference, abs=1e-12)
    assert information == pytest.approx(rd.mutual_information(table.T, method=method, **kind, **quiet).value, abs=1e-12)
    x, y = (np.repeat(i.ravel(), table.ravel()) for i in np.indices(table.shape))
    assert information == pytest.approx(rd.mutual_information(x, y, method, **quiet).value, abs=1e-12)


def test_conditional_mutual_information_of_samples_and_table():
    rng = np.random.default_rng(1)
    x, y, z = rng.integers(3, size=(3, 500))
    y = (x + y // 2 + z) % 3
    table = np.zeros((3, 3, 3), dtype=int)
    np.add.at(table, (x, y, z), 1)
    samples = rd.conditional_mutual_information(x, y, z)
    assert samples.value == pytest.approx(rd.conditional_mutual_information(table, kind="counts").value, abs=1e-12)
    assert samples.value == pytest.approx(rd.conditional_mutual_information(table / 500, kind="pmf").value, abs=1e-12)
    chain = rd.mutual_information(x, 3 * y + z).value - rd.mutual_information(x, z).value
    assert samples.value == pytest.approx(chain, abs=1e-12)


def test_labels_may_be_strings_booleans_or_large():
    word = rd.mutual_information(["a", "b", "a", "b"], [True, False, True, False])
    assert word.value == pytest.approx(math.log(2))
    assert rd.entropy(np.array([2**62, -5, 2**62, 0])).value == pytest.approx(1.5 * math.log(2))
    wide = np.arange(5000)
    assert rd.conditional_mutual_information(wide, wide, wide, on_doubt="ignore").value == pytest.approx(0.0, abs=1e-12)


def test_closed_forms():
    assert rd.entropy([0.5, 0.25, 0.25], kind="pmf").value == pytest.approx(1.5 * math.log(2))
    assert rd.entropy([7, 7, 7]).value == 0.0
    assert rd.entropy([1, 0, 0], kind="counts").value == 0.0
    assert rd.entropy([0.5, 0.5], kind="pmf").bits == pytest.approx(1.0)
    assert rd.conditional_entropy([0, 1, 0, 1], [0, 1, 0, 1]).value == pytest.approx(0.0, abs=1e-15)


def test_an_estimate_records_how_it_was_made():
    estimate = rd.entropy([3, 1, 1], "grassberger", kind="counts")
    assert estimate.details["n"] == 5
    assert estimate.details["cells_seen"] == 3
    assert estimate.per_unit is None
    assert estimate.unit == "nats"
    assert "grassberger" in repr(estimate)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([],), {}, ValueError, "non-empty vector"),
        (([[1, 2]],), {}, ValueError, "non-empty vector"),
        (([0.5, 1.0],), {}, TypeError, "Codebook"),
        (([1, 2],), {"method": "nsb"}, ValueError, "method: expected one of"),
        (([1, 2],), {"kind": "probabilities"}, ValueError, "kind: expected one of"),
        (([0.5, 0.6],), {"kind": "pmf"}, ValueError, "sum to 1"),
        (([1.5, -0.5],), {"kind": "pmf"}, ValueError, "entries >= 0"),
        (([np.nan, 1.0],), {"kind": "pmf"}, ValueError, "finite"),
        (([0.5, 0.5],), {"kind": "pmf", "method": "chao-shen"}, ValueError, "no sampling bias"),
        (([0.5, 0.5],), {"kind": "counts"}, ValueError, "whole numbers"),
        (([0, 0],), {"kind": "counts"}, ValueError, "at least one sample"),
        (([[1, 2]],), {"kind": "counts"}, ValueError, "1 axes"),
        ((["a"],), {"kind": "counts"}, TypeError, "kind='samples'"),
    ],
)
def test_bad_input(arguments, options, error, message):
    with pytest.raises(error, match=message):
        rd.entropy(*arguments, **options)


def test_bad_pairs():
    with pytest.raises(ValueError, match="one length"):
        rd.mutual_information([1, 2, 3], [1, 2])
    with pytest.raises(ValueError, match="y: expected a vector of labels, got None"):
        rd.mutual_information([1, 2, 3])
    with pytest.raises(ValueError, match="got several arrays"):
        rd.conditional_entropy([[1, 2]], [[1, 2]], kind="counts")
