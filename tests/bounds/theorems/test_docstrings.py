"""Docstrings of the theorems: common parts are generated, signatures are right, and every example is executed."""

from __future__ import annotations

import doctest
import importlib
import inspect
import io
import pydoc
import re
from pathlib import Path

import pytest

import bounds
from bounds.framework import docstrings, symbolic
from bounds.theorems.catalogue import CHAPTERS, THEOREMS

ORDER = ["Parameters", "Returns", "Raises", "See Also", "Notes", "References", "Examples"]


def titles(text: str) -> list[str]:
    return re.findall(r"^([A-Z][A-Za-z ]+)\n-+$", text, re.MULTILINE)


@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda t: t.name)
def test_docstring_is_complete_and_in_numpydoc_order(theorem):
    text = inspect.getdoc(theorem)
    assert titles(text) == ORDER
    assert text.count("ValueError") == 1
    notes = text.split("Notes\n-----\n")[1].split("References\n----------\n")[0]
    assert f".. math::\n\n    {theorem.latex}\n\n" in notes
    assert theorem.label in notes
    assert theorem.equation in notes
    for assumption in theorem.assumes:
        assert assumption.words in " ".join(notes.split())
    # The statement and the errors of every theorem are written once, in the decorator.
    own = inspect.getdoc(theorem.function)
    assert "math::" not in own
    assert "broadcast" not in own.split("Examples\n")[0]


@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda t: t.name)
def test_see_also_names_other_public_objects(theorem):
    block = inspect.getdoc(theorem).split("See Also\n--------\n")[1].split("\n\n")[0]
    names = re.findall(r"^(\w+) :", block, re.MULTILINE)
    assert names
    assert theorem.name not in names
    for name in names:
        assert hasattr(bounds, name), name


def test_signature_and_help_are_those_of_the_function():
    assert str(inspect.signature(bounds.fano)) == (
        "(p_far: 'ArrayLike', size: 'ArrayLike', n_min: 'ArrayLike', n_max: 'ArrayLike') -> 'FloatArray'"
    )
    text = pydoc.plain(pydoc.render_doc(bounds.fano))
    assert "bounds.fano(p_far, size, n_min, n_max)" in text
    assert "Smallest and largest N(y) over the support of Y" in text
    assert "Duchi and Wainwright" in text


def test_a_particular_reason_follows_the_common_one():
    text = inspect.getdoc(bounds.normalisation)
    assert "broadcast.\n    Also if both norms are zero and there is no offset." in text


def test_own_notes_come_before_the_statement():
    text = docstrings.completed("Summary.\n\nNotes\n-----\nOwn remark.", bounds.fano)
    assert text.index("Own remark.") < text.index(bounds.fano.latex)
    assert titles(text) == ["Raises", "Notes", "References"]


def run_examples(module, **replaced) -> dict[str, tuple[int, int]]:
    """(failed, attempted) of each docstring in the module, as doctest collects them."""
    results = {}
    runner = doctest.DocTestRunner(verbose=False)
    for test in doctest.DocTestFinder().find(module, module.__name__):
        for example in test.examples:
            example.want = replaced.get(test.name.rpartition(".")[2], example.want)
        outcome = runner.run(test, out=io.StringIO().write)
        results[test.name.rpartition(".")[2]] = (outcome.failed, outcome.attempted)
    return results


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda m: m.__name__.rpartition(".")[2])
def test_every_theorem_executes_an_example(chapter):
    results = run_examples(chapter)
    for theorem in (t for t in THEOREMS if t.function.__module__ == chapter.__name__):
        failed, attempted = results[theorem.name]
        assert failed == 0, theorem.name
        assert attempted >= 2, f"{theorem.name}: the import and at least one value"


def test_a_planted_wrong_value_fails():
    module = importlib.import_module("bounds.theorems.theorem_3_fano")
    results = run_examples(module, fano="0.4\n")
    assert results["fano"][0] > 0
    assert results["fano_monotone"][0] == 0


# Where the statement is written in other letters than the function's parameters.
LETTERS = {
    "epsilon": r"\varepsilon",
    "t": "t",
    "p_far": "P_t",
    "d_max": r"d_{\max}",
    "lipschitz": "L",
    "lipschitz_x": "L_1",
    "lipschitz_y": "L_2",
    "delta_x": r"\delta_X",
    "delta_y": r"\delta_Y",
    "radius": "B",
    "diameter": r"\mathsf{D}",
    "spread": r"(\beta-\alpha)",
    "information": "I",
    "entropy": r"H(",
    "omega": r"\omega",
    "mass": r"\alpha",
    "sigma": r"\sigma",
    "share": "s",
    "classes": "K",
    "deficiency": r"\delta",
    "decoding_error": "P_e",
    "squared_distance": r"E\lVert X-Y\rVert^2",
    "variance_x": r"\mathrm{mmse}(X\mid Y)",
    "variance_y": r"\mathrm{mmse}(Y\mid X)",
    "entropy_x_given_y": r"H(X\mid Y)",
    "entropy_y_given_x": r"H(Y\mid X)",
    "entropy_t_given_y": r"H(T\mid Y)",
    "information_tx": "I(T;X)",
    "information_ty": "I(T;Y)",
    "information_tx_given_y": r"I(T;X\mid Y)",
    "information_ty_given_x": r"I(T;Y\mid X)",
}
IN_OTHER_LETTERS = {
    "functional_from_local_constants",
    "functional_gap_from_variance",
    "unique_information_of_chain",
    "unique_information_of_copy",
    "accuracy_from_entropy",
    "empirical_functional_from_geometric",
    "attention_removal_averaged",
    "attention_replacement",
    "squared_distance_from_norms",
}


@pytest.mark.parametrize("theorem", [t for t in THEOREMS if t.name not in IN_OTHER_LETTERS], ids=lambda t: t.name)
def test_the_printed_statement_speaks_of_the_symbols_of_the_expression(theorem):
    for symbol in theorem.expr.free_symbols:
        letter = LETTERS.get(symbol.name)
        assert letter is None or letter in theorem.right, (symbol.name, theorem.right)


def test_loading_the_catalogue_needs_no_sympy():
    assert "sympy" not in inspect.getsource(docstrings)
    assert symbolic.sp().__name__ == "sympy"


def test_cited_sections_exist_in_the_theory():
    """Section numbers in docstrings and errors are headings of the mathematical specification."""
    root = Path(bounds.__file__).parent
    pages = (root.parent / "docs" / "explanation" / "theory").glob("*.md")
    headings = {number for page in pages for number in re.findall(r"(?m)^#{1,4} (\d+(?:\.\d+)*) ", page.read_text())}
    for room in ("theorems", "framework", "verification"):
        for path in (root / room).glob("*.py"):
            for number in re.findall(r"[Ss]ection (\d+(?:\.\d+)*)", path.read_text()):
                assert number in headings, f"{path.name}: section {number}"
