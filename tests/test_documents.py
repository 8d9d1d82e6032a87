"""README and docs keep their word: Python blocks run, links lead somewhere, the reference is complete."""

from __future__ import annotations

import doctest
import importlib.util
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILT = ("_build", "_static", "gallery")
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(p for p in sorted((ROOT / "docs").rglob("*.md")) if p.relative_to(ROOT / "docs").parts[0] not in BUILT),
]


def printed_blocks(path: Path) -> list[tuple[str, str | None]]:
    """Python blocks of a page that are run, each with the block of output that follows it, if one does."""
    pattern = r"(<!-- not run: [^\n]* -->\n+)?```python\n(.*?)```(?:\n\n```\n(.*?)```)?"
    found = re.findall(pattern, path.read_text(), flags=re.DOTALL)
    return [(code, output or None) for skipped, code, output in found if not skipped]


def blocks(path: Path) -> list[str]:
    """Python blocks of a page, except those marked as needing a hub model or a GPU."""
    found = re.findall(r"(<!-- not run: [^\n]* -->\n+)?```python\n(.*?)```", path.read_text(), flags=re.DOTALL)
    return [code for skipped, code in found if not skipped]


# The README's block has a test of its own below, which also reads what it prints.
@pytest.mark.parametrize("path", PAGES[1:], ids=lambda path: str(path.relative_to(ROOT)))
def test_python_blocks_run_and_print_what_the_page_shows(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shared: dict[str, object] = {"__name__": "document"}
    for code, output in printed_blocks(path):
        # Blocks of one page build on each other, as a reader would type them.
        exec(compile(code, str(path), "exec"), shared)
        printed = capsys.readouterr().out
        # A tutorial shows all that it prints.
        if output is not None or "tutorials" in path.parts:
            assert printed == (output or "")


def test_the_five_commands_of_an_experiment_run_and_print_the_directories_that_they_name(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    from vlm.__main__ import main

    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "tutorials" / "experiment.md").read_text()
    lines = re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL)[0].splitlines()
    assert len(lines) == 5
    printed = ""
    for line in lines:
        words = line.removeprefix("python -m vlm ").split()
        assert main([*words, *(["--quiet"] if words[0] in ("measure", "sweep") else [])]) == 0
        printed += capsys.readouterr().out
    for directory in re.findall(r"`((?:measurement|run): runs/[\w-]+)`", page):
        assert directory in printed.splitlines()


def test_decisions_of_the_pages_count_images():
    """Several questions about one image are not independent: every `decide` call of the pages says which is which."""
    for path in PAGES:
        for code in blocks(path):
            for call in re.findall(r"\bdecide\((.*)\)", code):
                assert "groups=" in call or "one question about each image" in code, f"{path.name}: {call}"


def test_the_pages_count_the_families_that_there_are():
    from vlm.models.families import FAMILIES

    for path in PAGES:
        for number in re.findall(r"\b(\d+) families", path.read_text(encoding="utf-8")):
            assert int(number) == len(FAMILIES), f"{path.name}: {number} families"


def test_definitions_have_one_numbering():
    texts = [*PAGES, *(p for room in ("redundancy", "bounds", "vlm", "examples") for p in (ROOT / room).rglob("*.py"))]
    for path in texts:
        found = re.search(r"\bDefinitions? \d", path.read_text(encoding="utf-8"))
        assert found is None, f"{path.relative_to(ROOT)}: {found and found[0]}; definitions are D1 to D11"


def test_every_page_that_the_code_names_exists():
    for package in ("redundancy", "bounds", "vlm"):
        for path in [*(ROOT / package).rglob("*.py"), *(ROOT / package).rglob("*.md")]:
            for name in re.findall(r"\b((?:docs|tests|examples)/[\w./-]*\w)", path.read_text(encoding="utf-8")):
                assert (ROOT / name).exists(), f"{path.relative_to(ROOT)} names {name}"


def test_the_readme_prints_what_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, printed = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    exec(compile(code, "README.md", "exec"), {"__name__": "document"})
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
        if "://" not in target and not target.startswith("mailto:"):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_public_name_is_in_the_reference():
    """The API pages are generated; this is what they will list."""
    sys.path.append(str(ROOT / "docs" / "extensions"))
    import api_pages

    listed = [name for names in api_pages.pages().values() for name in names]
    assert len(listed) == len(set(listed))
    rooms = {name.removeprefix("vlm.") for name in api_pages.ROOMS}
    for package in api_pages.PACKAGES:
        locked = (ROOT / "tests" / "public_names" / f"{package}.txt").read_text().split()
        assert [name for name in locked if name not in rooms and f"{package}.{name}" not in listed] == []
    constants = [name for name in listed if api_pages.is_constant(name)]
    assert [name for name in constants if name not in api_pages.CONSTANTS] == []


def test_every_paper_that_is_cited_is_in_the_bibliography():
    bibliography = (ROOT / "docs" / "reference" / "bibliography.md").read_text()
    modules = [path for package in ("redundancy", "bounds", "vlm") for path in sorted((ROOT / package).rglob("*.py"))]
    for path in [*PAGES, *modules]:
        for number in re.findall(r"arXiv[:. ]*(\d{4}\.\d{4,5})", path.read_text(encoding="utf-8"), re.IGNORECASE):
            assert f"https://arxiv.org/abs/{number}" in bibliography, f"{path.relative_to(ROOT)} cites arXiv {number}"


def test_where_is_what_names_places_that_exist_and_say_so():
    """Questions of a newcomer, each with its answer within one listing."""
    section = (ROOT / "CONTRIBUTING.md").read_text().split("## Where is what\n")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| ([^|]+\?) \| (.+) \|$", section, flags=re.MULTILINE))
    assert len(rows) >= 10
    for question, answer in rows.items():
        places = re.findall(r"\[([^]]+)\]\(([^)]+)\)", answer)
        assert places, question
        for words, target in places:
            assert words == target
            assert (ROOT / target).exists(), f"{question} {target}"
    # The first place holds what the question names.
    words = {"KSG": "Kraskov", "BROJA": "BROJA", "hooks": "register", "late entry": "late_entry", "ShortV": "ShortV"}
    for name, word in words.items():
        (question,) = (text for text in rows if name in text)
        assert word in (ROOT / re.findall(r"\(([^)]+)\)", rows[question])[0]).read_text(encoding="utf-8")


TEMPLATES = sorted((ROOT / "docs" / "contributing" / "templates").glob("*.py"))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_templates_are_imported_and_their_examples_hold(path):
    """A template that no longer fits the code is worse than none."""
    specification = importlib.util.spec_from_file_location(f"template_{path.stem}", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    assert doctest.testmod(module).failed == 0


def test_every_template_has_a_page():
    linked = set(re.findall(r"templates/(\w+\.py)", (ROOT / "CONTRIBUTING.md").read_text()))
    assert linked == {path.name for path in TEMPLATES}
    assert len(TEMPLATES) == 7


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 80


def test_every_test_that_the_hard_cases_name_exists():
    page = (ROOT / "docs" / "reference" / "hard-cases.md").read_text(encoding="utf-8")
    names = set(re.findall(r"\b(test_\w+)(?!\w*\.py)", page))
    files = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    defined = set(re.findall(r"^def (test_\w+)\(", "\n".join(files.values()), flags=re.MULTILINE))
    assert len(names) > 20
    for name in names:
        known = f"{name}.py" in files or name in defined
        assert known or (name.endswith("_") and any(other.startswith(name) for other in defined)), name


def test_the_table_of_data_and_scores_has_all_its_rows_and_each_names_a_test():
    page = (ROOT / "docs" / "reference" / "hard-cases.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \|(.*)\|$", page.split("## Data, scores, runs and reports")[1], flags=re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 16))
    for number, row in rows:
        kind, was, now, held = (cell.strip() for cell in re.split(r"(?<!\\)\|", row))
        assert all((kind, was, now)), number
        assert re.search(r"\.py(::|`: `)test_", held), number
