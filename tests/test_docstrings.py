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
    if inspect.isclass(value):
        return
    parameters = [p for p in inspect.signature(value).parameters.values() if p.name not in ("self", "cls")]
    if parameters:
        assert "Parameters" in found, f"{name} does not describe its parameters"
        described = text.split("Parameters\n", 1)[1]
        for parameter in parameters:
            assert re.search(rf"\b{parameter.name}\b", described), f"{name}: {parameter.name} is not described"
    assert "See Also" in found, f"{name} does not say where to look next"
    # What draws on given axes returns nothing, and numpydoc has no section for that.
    nothing = inspect.signature(value).return_annotation in (None, "None")
    if not nothing and not inspect.isgeneratorfunction(inspect.unwrap(value)):
        assert found & {"Returns", "Yields"}, f"{name} does not say what it returns"


def test_sections_are_found():
    assert sections("Text.\n\nExamples\n--------\n>>> 1\n1\n") == {"Examples"}
    assert sections("Text.\n\nSee Also\n--------\nother\n\nReturns\n-------\nint\n") == {"See Also", "Returns"}
