"""The catalogue: what find returns, what files are called, and how theorem objects show themselves."""

from __future__ import annotations

import json
import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

import bounds
from bounds.theorems.catalogue import CHAPTERS, THEOREMS
from bounds.worlds import gallery

ROOM = Path(bounds.__file__).parent / "theorems"


def names(query: str) -> list[str]:
    return [t.name for t in bounds.find(query)]


def test_find_by_label_gives_every_form():
    assert names("Theorem 4") == [t.name for t in THEOREMS if t.label.startswith("Theorem 4")]
    assert names("theorem  4 (clamped)") == ["information_from_ball_range"]
    assert names("Lemma 3") == ["squared_sum", "squared_sum_gap"]


def test_find_by_name_and_by_equation():
    assert names("fano") == [t.name for t in THEOREMS if "fano" in t.name or t.label.startswith("Fano")]
    assert names("(8.8)") == names("8.8") == ["functional_from_fano"]
    assert names("(1.2)") == ["entropy_difference"]
    assert names("F2") == ["fano"]
    assert names("Corollary 4") == ["functional_from_local_constants"]
    assert names("section 3") == ["functional_of_later_target", "functional_of_label"]


def test_find_gives_catalogue_order():
    order = {t.name: i for i, t in enumerate(THEOREMS)}
    positions = [order[name] for name in names("functional")]
    assert positions == sorted(positions)
    assert all(any(t is s for s in THEOREMS) for t in bounds.find("functional"))


def test_a_label_does_not_match_a_longer_number():
    with pytest.raises(ValueError, match=r"query: expected part of a name, a label or an equation, got 'Theorem 45'"):
        bounds.find("Theorem 45")
    assert all(t.label.startswith("Theorem 1") for t in bounds.find("Theorem 1"))


def test_find_names_near_misses():
    with pytest.raises(ValueError, match="did you mean 'braun_pokutta'"):
        bounds.find("brown_pokutta")
    with pytest.raises(ValueError, match="python -m bounds list"):
        bounds.find("zzzzzzzzzzzz")
    with pytest.raises(ValueError, match="query"):
        bounds.find("  ")
    with pytest.raises(TypeError, match="query: expected a name, label or equation as a string, got int"):
        bounds.find(4)


KINDS = {
    "skipping": r"Attention|Changed scores|From |Skipped|Late entry|Early exit|Normalisation",
    "stability": r"Continuity|Stability|.* by simulation",
    "composition": r"Composition|Pipeline",
    "divergence": r"Pinsker|Fano",
    "plan": r"Plan damage",
}


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda m: m.__name__.rpartition(".")[2])
def test_a_file_is_named_after_the_label_of_its_statements(chapter):
    stem = chapter.__name__.rpartition(".")[2]
    numbered = re.match(r"(lemma|proposition|theorem)_(\d)_", stem)
    pattern = rf"{numbered[1].title()} {numbered[2]}\b" if numbered else KINDS[stem.partition("_")[0]]
    labels = [t.label for t in THEOREMS if t.function.__module__ == chapter.__name__]
    assert labels
    for label in labels:
        assert re.match(pattern, label), f"{label} is in {stem}.py"


def test_every_file_of_the_room_is_a_chapter():
    stems = {path.stem for path in ROOM.glob("*.py")} - {"__init__", "catalogue", "catalogue_table"}
    assert stems == {m.__name__.rpartition(".")[2] for m in CHAPTERS}


def test_the_readme_maps_every_label_to_its_file():
    table = dict(re.findall(r"^\| (.+?) \| `(\w+)\.py` \|$", (ROOM / "README.md").read_text(), re.MULTILINE))
    files = {stem: label for label, stem in table.items()}
    assert set(files) == {m.__name__.rpartition(".")[2] for m in CHAPTERS}
    for chapter in CHAPTERS:
        stem = chapter.__name__.rpartition(".")[2]
        numbered = re.match(r"(lemma|proposition|theorem)_(\d)_", stem)
        if numbered:
            assert files[stem].startswith(f"{numbered[1].title()} {numbered[2]}")


def test_a_theorem_shows_itself():
    theorem = bounds.functional_from_geometric
    assert repr(theorem) == ("<Theorem 1 (3.3): bounds.functional_from_geometric(epsilon, lipschitz, *, exact=False)>")
    page = theorem._repr_html_()
    assert "$$" + theorem.latex + "$$" in page
    assert "states of norm one" in page
    assert f"{theorem}" == repr(theorem)
    with pytest.raises(TypeError, match="format"):
        format(theorem, ".3f")
    with pytest.raises(FrozenInstanceError):
        theorem.name = "other"


@pytest.mark.parametrize("theorem", THEOREMS, ids=lambda t: t.name)
def test_theorems_are_plain_data_too(theorem):
    fields = json.loads(theorem.to_json())
    assert fields["statement"] == theorem.latex
    assert fields["assumes"] == [a.words for a in theorem.assumes]
    assert "\n" not in repr(theorem)
    html = theorem._repr_html_()
    assert "<script" not in html
    # A less-than sign of the statement must not open a tag.
    assert not re.search(r"<(?!/?(p|strong|code)>)", html)


def test_checks_and_assumptions_show_themselves():
    check = bounds.functional_from_geometric.check(gallery.sign_flip(0.6))
    assert "\n" not in repr(check)
    fields = json.loads(check.to_json())
    assert fields["theorem"] == "functional_from_geometric"
    assert fields["holds"] is True
    assert fields["left"][0] == pytest.approx(0.84)
    assert "functional_from_geometric" in check._repr_html_()
    assumption = bounds.functional_from_geometric.assumes[0]
    assert assumption.to_dict() == {"name": "unit norm", "words": "states of norm one"}
    assert repr(assumption) == "Assumption(name=unit norm, words=states of norm one)"
    assert assumption == bounds.frozen_head_from_geometric.assumes[0]
