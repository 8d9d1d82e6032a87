"""The theory pages keep up with the code: one numbering, every cited number on exactly one page, the table current."""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections import Counter
from pathlib import Path

import pytest

from bounds.theorems.catalogue import THEOREMS
from bounds.theorems.catalogue_table import statement_table

ROOT = Path(__file__).resolve().parents[3]
PAGES = ROOT / "docs" / "explanation" / "theory"
sys.path.append(str(ROOT / "docs" / "extensions"))
pytest.importorskip("sphinx", reason="the numbers of the pages are read as the site reads them")

from equations import MENTIONED, NUMBER, defined_numbers, defined_sections  # noqa: E402

TEXT = (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING))
WRITTEN = [path for path in sorted(PAGES.glob("*.md")) if path.name != "statements.md"]
EQUATIONS = Counter(n for path in WRITTEN for n in defined_numbers(path.read_text()))
SECTIONS = Counter(n for path in WRITTEN for n in defined_sections(path.read_text()))


def test_the_generated_table_is_current():
    stale = "statements.md is stale: run python -m bounds table > docs/explanation/theory/statements.md"
    assert (PAGES / "statements.md").read_text() == statement_table(), stale


def test_the_page_of_the_last_verification_is_about_all_statements():
    assert f"**{len(THEOREMS)} statements" in (PAGES / "numerics.md").read_text(), "run python -m bounds verify anew"


def test_every_number_is_defined_once():
    assert [number for number, times in EQUATIONS.items() if times > 1] == []
    assert [number for number, times in SECTIONS.items() if times > 1] == []


def test_every_statement_of_the_catalogue_has_its_number_on_a_page():
    for theorem in THEOREMS:
        for number in re.findall(rf"\(({NUMBER})\)", theorem.equation):
            assert EQUATIONS[number] == 1, f"{theorem.name} {theorem.equation}"


def prose(path):
    """Comments and strings of a module, without code."""
    with io.BytesIO(path.read_bytes()) as stream:
        for token in tokenize.tokenize(stream.readline):
            if token.type in TEXT:
                yield from enumerate(token.string.splitlines(), start=token.start[0])


def cited(line):
    """Equations and sections that a line of prose refers to."""
    if line.lstrip().startswith((">>>", "...")):
        return
    for match in MENTIONED.finditer(line):
        before = line[: match.start()][-1:]
        number = match[1] or match[2]
        # f(0.5) is a call and (0.05) a value: section 0 has no more than three equations.
        if not (match[1] and (before.isalnum() or before in "_]" or number.startswith("0."))):
            yield number


@pytest.mark.parametrize("package", ["redundancy", "bounds", "vlm"])
def test_every_cited_number_is_on_exactly_one_page(package):
    dangling = []
    for path in sorted((ROOT / package).rglob("*.py")):
        for row, line in prose(path):
            missing = [number for number in cited(line) if EQUATIONS[number] + SECTIONS[number] == 0]
            missing += re.findall(r"theory, \d[\d.]*", line)  # a number that nothing reads; say "theory, section ..."
            dangling += [f"{path.relative_to(ROOT)}:{row}: {number}" for number in missing]
    assert dangling == []


def test_pages_cite_only_numbers_that_exist():
    dangling = []
    for path in WRITTEN:
        for row, line in enumerate(path.read_text().splitlines(), start=1):
            dangling += [f"{path.name}:{row}: {n}" for n in cited(line) if EQUATIONS[n] + SECTIONS[n] == 0]
    assert dangling == []


@pytest.mark.parametrize("path", sorted(PAGES.glob("*.md")), ids=lambda path: path.name)
def test_maths_is_written_for_a_code_host(path):
    text = path.read_text()
    assert text.count("```") % 2 == 0
    inline = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    # $`...`$ keeps Markdown from eating backslashes; a lone dollar would not render.
    assert re.sub(r"\$`[^`]*`\$", "", inline).count("$") == 0
    for formula in re.findall(r"\$`([^`]*)`\$", inline) + re.findall(r"```math\n(.*?)```", text, re.DOTALL):
        assert formula.count("{") == formula.count("}")
        assert formula.count(r"\left") - formula.count(r"\leftarrow") == formula.count(r"\right")
