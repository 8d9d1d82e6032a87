"""Every public name explains itself: what it does, its parameters, an executed example, and where to look next."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOTS = ("redundancy", "bounds", "vlm")
PUBLIC_ROOMS = tuple(f"vlm.{n}" for n in ("datasets", "judges", "published", "reports", "scoring", "selectors", "tiny"))
# What only runs, reads, writes or draws has no source of its own; everything else cites one, a paper or a section.
WITHOUT_SOURCE = (
    "vlm.experiments",
    "vlm.reports",
    "vlm.engine",
    "vlm.models",
    "vlm.datasets",
    "vlm.tiny",
    "vlm.judges",
    "vlm.plans",
    "vlm.evaluation.timing",
    "vlm.self_check",
    "vlm.hidden_states.recording",
    "vlm.hidden_states.stored_states",
    "vlm.hidden_states.dataset_run",
    "vlm.notions.notion_figures",
)
# Values and aliases without a docstring of their own.
DATA = {
    "THEOREMS",
    "FAMILIES",
    "DATASETS",
    "GROUPS",
    "SCORERS",
    "MODELS",
    "ANSWERS",
    "KINDS",
    "IMAGE_KINDS",
    "Judge",
}


def public() -> list[tuple[str, object]]:
    names = []
    for package in (*ROOTS, *PUBLIC_ROOMS):
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            if name not in DATA and not inspect.ismodule(value):
                names.append((f"{package}.{name}", value))
    return names


def sections(text: str) -> set[str]:
    """Headings of a numpydoc docstring."""
    return {title for title, line in re.findall(r"^[ ]*([A-Z][A-Za-z ]+)\n[ ]*(-{3,})$", text, flags=re.MULTILINE)}


@pytest.mark.parametrize(("name", "value"), public(), ids=[name for name, _ in public()])
def test_public_names_explain_themselves(name, value):
    text = inspect.cleandoc(value.__doc__ or "")
    assert text, f"{name} has no docstring"
    first = text.split("\n\n")[0]
    assert first.endswith("."), f"{name}: the first paragraph is not a sentence: {first!r}"
    found = sections(text)
    assert "Examples" in found, f"{name} has no Examples section"
    assert ">>>" in text.split("Examples\n", 1)[1], f"{name}: the Examples section runs nothing"
    assert "See Also" in found, f"{name} does not say where to look next"
    if inspect.isclass(value):
        return
    room = getattr(inspect.unwrap(value), "__module__", "")
    if not room.startswith(WITHOUT_SOURCE):
        assert "References" in found, f"{name} does not say where its definition or method is from"
    parameters = [p for p in inspect.signature(value).parameters.values() if p.name not in ("self", "cls")]
    if parameters:
        assert "Parameters" in found, f"{name} does not describe its parameters"
        described = text.split("Parameters\n", 1)[1]
        for parameter in parameters:
            assert re.search(rf"\b{parameter.name}\b", described), f"{name}: {parameter.name} is not described"
    # What draws on given axes returns nothing, and numpydoc has no section for that.
    nothing = inspect.signature(value).return_annotation in (None, "None")
    if not nothing and not inspect.isgeneratorfunction(inspect.unwrap(value)):
        assert found & {"Returns", "Yields"}, f"{name} does not say what it returns"


def test_every_source_is_in_the_bibliography():
    """Surname and year of each source are found in one entry; arXiv numbers have a test of their own."""
    entries = (ROOT / "docs" / "reference" / "bibliography.md").read_text(encoding="utf-8").split("\n- ")
    cited = set()
    for name, value in public():
        text = inspect.cleandoc(value.__doc__ or "")
        if "References" in sections(text):
            source = text.split("References\n----------\n")[1].split("\n\n")[0].replace("\n", " ")
            cited |= {(name, *who) for who in re.findall(r"([A-Z][\w-]+)(?:,? [^;()*]*)? \((\d{4})\)", source)}
    assert len({who for _, *who in cited for who in [tuple(who)]}) > 40
    missing = [
        (name, surname, year)
        for name, surname, year in cited
        if not any(surname in entry and year in entry for entry in entries)
    ]
    assert missing == []


def test_sections_are_found():
    assert sections("Text.\n\nExamples\n--------\n>>> 1\n1\n") == {"Examples"}
    assert sections("Text.\n\nSee Also\n--------\nother\n\nReturns\n-------\nint\n") == {"See Also", "Returns"}
