"""docs/theory agrees with the code: the generated table is current, every equation number is on a page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bounds.theorems.catalogue import THEOREMS
from bounds.theorems.catalogue_table import statement_table

PAGES = Path(__file__).resolve().parents[3] / "docs" / "theory"


def test_the_generated_table_is_current():
    stale = "docs/theory/statements.md is stale: run python -m bounds table > docs/theory/statements.md"
    assert (PAGES / "statements.md").read_text() == statement_table(), stale


def test_every_numbered_equation_is_on_a_page():
    text = "".join(path.read_text() for path in PAGES.glob("*.md") if path.name != "statements.md")
    for theorem in THEOREMS:
        for number in re.findall(r"\((\d\.\d+|F\d)", theorem.equation):
            assert number in text, f"{theorem.name} {theorem.equation}"


@pytest.mark.parametrize("path", sorted(PAGES.glob("*.md")), ids=lambda path: path.name)
def test_maths_is_written_for_github(path):
    text = path.read_text()
    assert text.count("```") % 2 == 0
    inline = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    # $`...`$ keeps Markdown from eating backslashes; a lone dollar would not render.
    assert re.sub(r"\$`[^`]*`\$", "", inline).count("$") == 0
    for formula in re.findall(r"\$`([^`]*)`\$", inline) + re.findall(r"```math\n(.*?)```", text, re.DOTALL):
        assert formula.count("{") == formula.count("}")
        assert formula.count(r"\left") - formula.count(r"\leftarrow") == formula.count(r"\right")
