"""Properties of all theorem objects: true, numeric equals symbolic, states itself, not vacuous."""

from __future__ import annotations

import inspect

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bounds
from bounds.theorems.catalogue import THEOREMS
from tests.oracles import bounds_reference
from tests.support import strategies

SLOW = ("unique", "stability")  # worlds that need a numerical decomposition


def ids(theorem):
    return theorem.name


@pytest.mark.parametrize("theorem", THEOREMS, ids=ids)
def test_holds_on_worlds_that_meet_its_assumptions(theorem):
    count = 8 if any(word in theorem.name for word in SLOW) else 20

    @settings(max_examples=count, database=None)
    @given(strategies.worlds(theorem.family))
    def holds(world):
        check = theorem.check(world)
        assert check.holds, check

    holds()


# Differences of two numbers: their precision is relative to the larger of the two.
DIFFERENCES = {
    "squared_sum_gap",
    "entropy_difference",
    "unique_information_lower",
    "information_from_means",
    "information_from_distance_laws",
    "entropy_from_proximity",
    "braun_pokutta",
    "attention_removal",
    "attention_removal_exact",
    "plan_change",
    "plan_margin",
}


@pytest.mark.parametrize("theorem", THEOREMS, ids=ids)
def test_numeric_equals_symbolic(theorem):
    rng = np.random.default_rng(7)
    for _ in range(25):
        arguments = strategies.draw_arguments(theorem, rng)
        value = theorem(**arguments)
        if isinstance(value, tuple):
            value = value[1]
        if theorem.name == "late_entry_propagation":
            value = value[0]
        exact = bounds_reference.right_side(theorem, strategies.substitution(theorem, arguments))
        scale = max(abs(exact), 1) if theorem.name in DIFFERENCES else abs(exact)
        if scale < mp.mpf("1e-305"):  # below the smallest normal double
            assert abs(float(value)) < 1e-300
            continue
        assert abs(mp.mpf(float(value)) - exact) <= mp.mpf("1e-12") * scale, (arguments, value, exact)


@pytest.mark.parametrize("theorem", THEOREMS, ids=ids)
def test_states_itself(theorem):
    assert getattr(bounds, theorem.name) is theorem
    assert theorem.label
    assert theorem.equation
    assert theorem.source
    assert theorem.form in {"paper", "sharp", "consequence"}
    relation = {"<=": r"\le", ">=": r"\ge", "=": "="}[theorem.relation]
    assert theorem.latex.startswith(theorem.left + " " + relation)
    assert theorem.latex.count("{") == theorem.latex.count("}")
    # Every symbol of the statement is an argument of the function, and every argument is documented.
    stems = {strategies.re.sub(r"(_\d+)+$", "", s.name) for s in theorem.expr.free_symbols}
    assert stems <= set(inspect.signature(theorem).parameters)
    documented = inspect.getdoc(theorem)
    for name in inspect.signature(theorem).parameters:
        assert name in documented
    assert "Raises" in documented
    assert theorem.name in repr(theorem)
    for assumption in theorem.assumes:
        assert str(assumption) == assumption.words


@pytest.mark.parametrize("theorem", THEOREMS, ids=ids)
def test_is_not_vacuous(theorem):
    if theorem.tight is None:
        assert theorem.unattained
    else:
        ratio = theorem.check(theorem.tight()).ratio
        assert ratio >= 0.999
        assert theorem.reached == "limit" or ratio == pytest.approx(1.0, abs=1e-8)
    # On typical worlds the statement is informative: its smaller side is positive and its larger side finite.
    rng = np.random.default_rng(3)
    checks = [theorem.check(theorem.family.random(rng)) for _ in range(12)]
    assert sum(c.ratio > 0 and np.isfinite(c.right).all() for c in checks) >= 2


def test_names_are_distinct_and_not_those_of_modules():
    import pkgutil

    names = [t.name for t in THEOREMS]
    assert len(set(names)) == len(names) >= 45
    assert not {m.name for m in pkgutil.iter_modules(bounds.__path__)} & set(names)


def test_every_form_of_the_paper_is_here():
    labels = {t.label.split(" (")[0] for t in THEOREMS}
    for number in range(1, 6):
        assert f"Lemma {number}" in labels
    assert "Proposition 1" in labels
    for number in range(1, 7):
        assert f"Theorem {number}" in labels


@pytest.mark.parametrize("theorem", THEOREMS, ids=ids)
def test_broadcasts_over_leading_axes(theorem):
    rng = np.random.default_rng(11)
    many = [strategies.draw_arguments(theorem, rng) for _ in range(3)]
    stacked = {name: np.stack([np.asarray(one[name]) for one in many]) for name in many[0]}
    together = theorem(**stacked)
    singly = [theorem(**one) for one in many]
    if isinstance(together, tuple):
        together, singly = together[1], [one[1] for one in singly]
    np.testing.assert_allclose(together, np.array(singly), rtol=1e-13, atol=0)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.integers(1, 30), st.data())
@settings(max_examples=60)
def test_monotone_fano_never_falls_and_covers_the_published_form(p, q, size, data):
    high = data.draw(st.integers(0, size))
    low = data.draw(st.integers(0, high))
    first, second = sorted((p, q))
    upper = bounds.fano_monotone(second, size, low, high)
    assert bounds.fano_monotone(first, size, low, high) <= upper + 1e-15
    # For every true P_t below the bound, F2 at P_t (or log |V|) is covered.
    assert min(bounds.fano(first, size, low, high), np.log(size)) <= upper + 1e-12
