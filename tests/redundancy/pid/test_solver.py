"""The BROJA solver against published values, an independent check of its certificates, and the identities of a PID."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import redundancy as rd
from redundancy.pid.binary_sources import propose
from redundancy.pid.duality_gap import bound_gap, round_to_marginals
from redundancy.pid.interior_point import solve
from redundancy.pid.one_binary_law import propose_one
from redundancy.pid.presolve import blocks
from redundancy.pid.result import ATOMS
from redundancy.pid.small_law import propose_small
from tests.oracles import broja_reference as slow


def dirichlet(rng, *shape, concentration=1.0):
    p = rng.gamma(concentration, size=shape)
    return p / p.sum()


def hard(rng):
    """A sparse distribution with masses down to 1e-12 and 2 to 8 values per variable."""
    shape = rng.integers(2, 9, size=3)
    p = rng.random(shape) * (rng.random(shape) < rng.choice([0.15, 0.3, 0.5, 0.8]))
    p[0, 0, 0] += 1e-3
    spread = rng.integers(3)
    if spread == 0:
        p *= 10.0 ** (-12.0 * rng.random(shape))
    elif spread == 1:
        p *= np.where(rng.random(shape) < 0.5, 1.0, 1e-12)
    else:
        p *= 10.0 ** rng.integers(-12, 1, size=shape)
    return p / p.sum()


def verified(p, pid):
    """The certificate holds when checked by loops, and the atoms follow from it."""
    check = slow.checked_gap(p, pid.q, pid.u, pid.v)
    assert check["marginal"] < 1e-15
    assert check["negative"] >= 0
    assert check["load"] <= 1.0
    assert check["gap"] <= pid.gap
    for atom in ATOMS:
        assert getattr(pid, atom) >= -pid.gap
    return check


@st.composite
def seeded_pmfs(draw):
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    shape = draw(st.tuples(*[st.integers(1, 5)] * 3))
    p = dirichlet(rng, *shape, concentration=draw(st.sampled_from([0.1, 1.0])))
    keep = rng.random(shape) < draw(st.sampled_from([0.3, 1.0]))
    keep[0, 0, 0] = True
    return p * keep / (p * keep).sum()


@pytest.mark.parametrize("name", slow.PUBLISHED)
def test_published_values(name):
    p, values = slow.PUBLISHED[name]
    pid = rd.broja(p)
    verified(p, pid)
    for atom, value in zip(ATOMS, values, strict=True):
        assert pid.bits[atom] == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("name", ["XOR", "RDN", "UNQ", "RDNXOR", "RDNUNQXOR"])
def test_presolve_settles_classical_distributions_without_iterating(name):
    p, _ = slow.PUBLISHED[name]
    pid = rd.broja(p)
    assert pid.iterations == 0
    assert pid.gap < 1e-13


@pytest.mark.parametrize(
    "p",
    [
        dirichlet(np.random.default_rng(1), 2, 2, 2),
        dirichlet(np.random.default_rng(2), 4, 10, 10),
        dirichlet(np.random.default_rng(3), 10, 20, 20),
        dirichlet(np.random.default_rng(4), 6, 12, 9, concentration=0.05),
        dirichlet(np.random.default_rng(5), 3, 2, 30),
    ],
    ids=["2x2x2", "4x10x10", "10x20x20", "sparse-ish", "wide"],
)
def test_certificate_is_true(p):
    pid = rd.broja(p)
    assert pid.converged
    assert pid.gap <= 1e-9
    verified(p, pid)


def test_near_deterministic_distribution():
    rng = np.random.default_rng(0)
    p = np.full((5, 8, 8), 1e-12)
    p[rng.integers(5, size=(8, 8)), np.arange(8)[:, None], np.arange(8)] = 1.0
    p /= p.sum()
    pid = rd.broja(p)
    assert pid.gap <= 1e-9
    verified(p, pid)


def test_hard_sparse_distributions():
    rng = np.random.default_rng(0)
    laws = [hard(rng) for _ in range(60)]
    gaps = []
    for p in laws:
        pid = rd.broja(p)
        verified(p, pid)
        gaps.append(pid.gap)
    assert np.mean(np.array(gaps) <= 1e-9) >= 0.99


@pytest.mark.parametrize("exponent", [100, 300, 308, 320])
def test_masses_down_to_the_smallest_number_of_double_precision(exponent):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        p = 10.0 ** (-rng.uniform(0.0, exponent, rng.integers(2, 5, 3)))
        p /= p.sum()
        estimate = rd.broja(p)
        assert estimate.status == "converged"
        assert estimate.gap <= 1e-9
        rounded = np.where(p < 1e-60, 0.0, p)
        assert estimate.unique_x == pytest.approx(rd.broja(rounded / rounded.sum()).unique_x, abs=1e-9)


def test_against_alternating_minimisation():
    p = dirichlet(np.random.default_rng(7), 3, 3, 3)
    pid = rd.broja(p)
    upper = slow.alternating(p, rounds=150, sweeps=40)
    assert pid.unique_x - 1e-9 <= upper <= pid.unique_x + 3e-4


@given(seeded_pmfs())
def test_atoms_obey_the_accounting(p):
    pid = rd.broja(p)
    verified(p, pid)
    kind = {"kind": "pmf"}
    information_x = rd.mutual_information(p.sum(2), **kind).value
    information_y = rd.mutual_information(p.sum(1), **kind).value
    assert pid.redundant + pid.unique_x == pytest.approx(information_x, abs=1e-12)
    assert pid.redundant + pid.unique_y == pytest.approx(information_y, abs=1e-12)
    flat = p.reshape(p.shape[0], -1)
    assert pid.total == pytest.approx(rd.mutual_information(flat, **kind).value, abs=1e-12)


@given(seeded_pmfs())
def test_swapping_the_sources_swaps_the_unique_atoms(p):
    one, other = rd.broja(p), rd.broja(p.swapaxes(1, 2))
    slack = one.gap + other.gap
    assert one.unique_x == pytest.approx(other.unique_y, abs=slack)
    assert one.unique_y == pytest.approx(other.unique_x, abs=slack)
    assert one.redundant == pytest.approx(other.redundant, abs=slack)


@given(seeded_pmfs(), st.randoms(use_true_random=False))
def test_renaming_symbols_changes_nothing(p, random):
    orders = [random.sample(range(m), m) for m in p.shape]
    one, other = rd.broja(p), rd.broja(p[np.ix_(*orders)])
    assert one.synergistic == pytest.approx(other.synergistic, abs=one.gap + other.gap)


@given(seeded_pmfs(), st.integers(0, 1000), st.integers(1, 4))
def test_garbling_x_does_not_raise_its_unique_information(p, seed, size):
    channel = np.random.default_rng(seed).dirichlet(np.full(size, 0.3), size=p.shape[1])  # (x, x')
    before, after = rd.broja(p), rd.broja(np.einsum("txy,xz->tzy", p, channel))
    assert after.unique_x <= before.unique_x + before.gap + after.gap


@given(seeded_pmfs())
def test_pid_sandwich(p):
    """Lemma 5: max(0, I(T;X) - I(T;Y)) <= U <= min(I(T;X), I(T;X|Y)) <= H(X|Y)."""
    pid = rd.broja(p)
    kind = {"kind": "pmf"}
    x, y = (rd.mutual_information(p.sum(axis), **kind).value for axis in (2, 1))
    given_y = rd.conditional_mutual_information(p, **kind).value
    assert pid.unique_x >= max(0.0, x - y) - pid.gap
    assert pid.unique_x <= min(x, given_y) + pid.gap
    assert given_y <= rd.conditional_entropy(p.sum(0), **kind).value + 1e-12


def test_unique_information_about_x_itself_is_the_conditional_entropy():
    joint = dirichlet(np.random.default_rng(3), 4, 5)
    p = np.zeros((4, 4, 5))
    p[np.arange(4), np.arange(4)] = joint
    pid = rd.broja(p)
    assert pid.unique_x == pytest.approx(rd.conditional_entropy(joint, kind="pmf").value, abs=1e-12)
    assert pid.iterations == 0


def test_markov_chain():
    """T - X - Y: the earlier layer's unique information is I(T; X | Y), the later one has none."""
    rng = np.random.default_rng(4)
    p = np.einsum("tx,xy->txy", dirichlet(rng, 3, 4), rng.dirichlet(np.ones(5), size=4))
    pid = rd.broja(p)
    assert pid.unique_x == pytest.approx(rd.conditional_mutual_information(p, kind="pmf").value, abs=1e-9)
    assert pid.unique_y == pytest.approx(0.0, abs=1e-9)


def test_deterministic():
    p = dirichlet(np.random.default_rng(5), 4, 6, 7)
    one, other = rd.broja(p), rd.broja(p)
    assert one.unique_x == other.unique_x
    assert (one.q == other.q).all()


def test_an_unreachable_tolerance_is_reported_and_the_interval_still_holds():
    p = dirichlet(np.random.default_rng(6), 4, 6, 6)
    strict, usual = rd.broja(p, tol=1e-300), rd.broja(p)
    assert strict.status == "stalled"
    assert not strict.converged
    assert strict.gap < 1e-11
    low, high = strict.interval("unique_x")
    assert low <= usual.unique_x <= usual.interval("unique_x")[1]
    assert high <= usual.unique_x + 1e-15
    assert strict.interval("redundant")[0] == strict.redundant


def test_the_solver_is_not_trusted_but_checked():
    """A wrong coupling or dual point can only widen the gap."""
    p = dirichlet(np.random.default_rng(8), 3, 4, 4)
    pid = rd.broja(p)
    a, b = p.sum(2).T[None], p.sum(1)[None]
    q, u, v = pid.q.transpose(1, 0, 2)[None], pid.u.T[None], pid.v[None]
    rng = np.random.default_rng(0)
    _, _, worse = bound_gap(q, u + 0.1 * rng.standard_normal(u.shape), v, a, b)
    assert worse[0] > 1e-4
    rounded, _, gap = bound_gap(q * rng.random(q.shape), u, v, a, b)
    np.testing.assert_allclose(rounded.sum(3), a, rtol=1e-13)
    assert gap[0] > 1e-4


def test_rounding_reaches_any_marginals_from_anything():
    rng = np.random.default_rng(9)
    p = dirichlet(rng, 3, 4, 5)
    a, b = p.sum(2).T[None], p.sum(1)[None]
    q = round_to_marginals(rng.random((1, 4, 3, 5)) ** 8, a, b)
    np.testing.assert_allclose(q.sum(3), a, rtol=1e-13)
    np.testing.assert_allclose(q.sum(1), b, rtol=1e-13)
    assert (q >= 0).all()


def test_presolve_merges_equal_posteriors_and_splits_blocks():
    one = dirichlet(np.random.default_rng(1), 2, 3, 3)
    p = np.zeros((4, 7, 6))
    p[:2, :3, :3] = 0.5 * one
    p[2:, 3:6, 3:] = 0.5 * one
    p[:, 6] = 0.25 * p[:, 0]  # one more symbol with the posterior of x = 0, in T and in Y
    p[:, 0] *= 0.75
    estimate = list(blocks(p.sum(2).T, p.sum(1)))
    assert [len(block.t) for block in estimate] == [2, 2]
    assert [block.a.shape[0] for block in estimate] == [3, 3]
    pid = rd.broja(p)
    verified(p, pid)
    assert pid.unique_x == pytest.approx(rd.broja(one).unique_x, abs=1e-8)


def test_the_closed_form_for_binary_sources_certifies_the_same_gap():
    rng = np.random.default_rng(2)
    p = np.stack([dirichlet(rng, 3, 2, 2) for _ in range(50)])
    a, b = np.ascontiguousarray(p.sum(3).swapaxes(1, 2)), p.sum(2)
    q, u, v, _ = propose(a, b, tol=1e-9)
    assert bound_gap(q, u, v, a, b)[2].max() <= 1e-9
    assert solve(a, b, tol=1e-9).gap.max() <= 1e-9


@pytest.mark.parametrize(
    ("way", "shape"), [(propose_one, (3, 2, 2)), (propose_small, (3, 2, 2)), (propose_small, (3, 3, 2))]
)
def test_the_short_ways_for_small_distributions_prove_the_same_values(way, shape):
    rng, proved = np.random.default_rng(4), []
    for law in range(60):
        # every third law has pairs without mass, every third an optimum at the border of the simplex
        p = rng.gamma(0.1 if law % 3 == 2 else 1.0, size=shape) * (rng.random(shape) > (0.4 if law % 3 == 1 else 0.0))
        p = np.maximum(p, 1e-12 * (law % 3 == 2)) / p.sum()
        a, b = p.sum(2).T, p.sum(1)
        if not (a.any(1).all() and a.any(0).all() and b.any(0).all()):
            continue
        if way is propose_one and (np.minimum(a, b.T).min(0) == 0).all():
            continue  # one coupling: settled before
        q, u, v, _ = way(a, b, 1e-9)
        proved.append(bound_gap(q[None], u[None], v[None], a[None], b[None])[2][0] <= 1e-9)
        assert bound_gap(q[None], 0.99 * u[None], v[None], a[None], b[None])[2][0] > 1e-5
    assert np.mean(proved) > 0.9  # the rest goes the long way


@pytest.mark.parametrize("kind", ["dense", "sparse", "ties", "tiny", "vanishing", "equal sources", "one tells more"])
def test_a_binary_target_is_settled_to_the_last_digits_without_iterating(kind):
    rng = np.random.default_rng(12)
    for _ in range(40):
        shape = (2, *rng.integers(2, 8, 2))
        p = rng.gamma(rng.choice([0.2, 1.0]), size=shape)
        if kind == "sparse":
            p *= rng.random(shape) < 0.5
        elif kind == "ties":
            p = np.round(3.0 * p)  # equal steps, and corners of one curve on the other
        elif kind == "tiny":
            p *= 10.0 ** (-14.0 * rng.random(shape))
        elif kind == "vanishing":  # the points of both curves differ by less than their rounding
            p *= 10.0 ** (-40.0 * rng.integers(0, 2, shape))
        elif kind == "equal sources":
            p = np.stack([np.diag(row) for row in p[:, :, 0]])
        elif kind == "one tells more":
            p = p[:, :, :1] * rng.dirichlet(np.ones(shape[2]), size=shape[1])
        p[0, 0, 0] += 0.1
        p /= p.sum()
        pid = rd.broja(p)
        assert verified(p, pid)["gap"] <= 1e-12
        assert pid.gap <= 1e-12
        assert pid.iterations == 0


def test_a_binary_target_with_masses_below_the_rounding_of_the_others():
    # a step that leaves less than its rounding to the next one
    p = np.array([[[6e-31, 2e-31, 0.0], [0.0, 0.6, 0.0]], [[0.0, 6e-31, 2e-31], [6e-31, 0.4, 0.0]]])
    laws = [p / p.sum()]
    for seed in (884, 1157, 3399):  # bridges between points that rounding cannot tell apart
        rng = np.random.default_rng(seed)
        p = rng.gamma(1.0, size=(2, 2, 5)) * 10.0 ** (-40.0 * rng.integers(0, 2, (2, 2, 5)))
        laws.append(p / p.sum())
    for p in laws:
        pid = rd.broja(p)
        assert pid.iterations == 0
        assert verified(p, pid)["gap"] <= 1e-12


def test_a_binary_target_with_many_symbols_and_beside_other_blocks():
    many = dirichlet(np.random.default_rng(13), 2, 40, 30)
    other = dirichlet(np.random.default_rng(14), 3, 3, 3)
    p = np.zeros((5, 43, 33))
    p[:2, :40, :30], p[2:, 40:, 30:] = 0.5 * many, 0.5 * other
    pid, alone = rd.broja(p), rd.broja(many)
    verified(p, pid)
    assert alone.iterations == 0
    assert alone.gap <= 1e-12
    assert pid.unique_x == pytest.approx(0.5 * (alone.unique_x + rd.broja(other).unique_x), abs=1e-9)


@pytest.mark.parametrize("shape", [(2, 2, 2), (3, 3, 3), (2, 3, 4), (4, 5, 6)])
def test_batch_agrees_with_one_by_one(shape):
    rng = np.random.default_rng(3)
    p = np.stack([dirichlet(rng, *shape, concentration=c) for c in (1.0, 0.1) for _ in range(8)])
    p[3, 0, 0] = 0.0
    p[5, :, 1] = 0.0
    p[7, 1] = 0.0
    p /= p.sum((1, 2, 3), keepdims=True)
    table = rd.broja_batch(p)
    assert len(table) == 16
    assert table.converged.all()
    assert "16 distributions" in repr(table)
    for i, law in enumerate(p):
        one, many = rd.broja(law), table[i]
        verified(law, many)
        for atom in ATOMS:
            assert getattr(many, atom) == pytest.approx(getattr(one, atom), abs=one.gap + many.gap)


def test_shape_of_the_result():
    p = dirichlet(np.random.default_rng(0), 3, 4, 5)
    pid = rd.broja(p)
    assert pid.q.shape == (3, 4, 5)
    assert pid.u.shape == (3, 4)
    assert pid.v.shape == (3, 5)
    assert pid.bits["redundant"] == pytest.approx(pid.redundant / math.log(2.0))
    assert "gap" in repr(pid)
    assert "\n" not in repr(pid)
    with pytest.raises(ValueError, match="expected one of redundant"):
        pid.interval("shared")


def test_one_symbol_each():
    for shape in [(1, 1, 1), (1, 3, 2), (3, 1, 2), (2, 2, 1)]:
        p = dirichlet(np.random.default_rng(0), *shape)
        pid = rd.broja(p)
        assert pid.gap < 1e-12
        assert pid.iterations == 0
        verified(p, pid)


@pytest.mark.parametrize(
    ("p", "message"),
    [
        (np.full((2, 2), 0.25), "expected shape"),
        (np.zeros((0, 2, 2)), "at least one value"),
        (np.full((2, 2, 2), 0.25), "sum to 1"),
        (np.array([[[1.5]], [[-0.5]]]), "non-negative"),
        (np.array([[[np.nan]], [[1.0]]]), "finite"),
        (np.array([[[np.inf]], [[1.0]]]), "finite"),
    ],
)
def test_invalid_distributions_are_refused(p, message):
    with pytest.raises(ValueError, match=message):
        rd.broja(p)
    if p.ndim == 3:
        with pytest.raises(ValueError, match=message):
            rd.broja_batch(p[None])


@pytest.mark.parametrize("tol", [0.0, -1.0, math.nan, math.inf])
def test_bad_tolerance(tol):
    with pytest.raises(ValueError, match="positive number of nats"):
        rd.broja(np.full((2, 2, 2), 0.125), tol=tol)


def test_bad_batch():
    with pytest.raises(ValueError, match="at least one distribution"):
        rd.broja_batch(np.full((2, 2, 2), 0.125))
    with pytest.raises(ValueError, match="at least one distribution"):
        rd.broja_batch(np.zeros((0, 2, 2, 2)))
