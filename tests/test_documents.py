"""README and docs keep their word: Python blocks run, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(path: Path) -> list[str]:
    """Python blocks of a page, except those marked as needing a hub model or a GPU."""
    found = re.findall(r"(<!-- not run: [^\n]* -->\n+)?```python\n(.*?)```", path.read_text(), flags=re.DOTALL)
    return [code for skipped, code in found if not skipped]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_blocks_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shared: dict[str, object] = {"__name__": "document"}
    for code in blocks(path):
        # Blocks of one page build on each other, as a reader would type them.
        exec(compile(code, str(path), "exec"), shared)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
        if "://" not in target and not target.startswith("mailto:"):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"
