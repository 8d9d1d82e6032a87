"""Every example runs in a process of its own, in an empty folder, and leaves its figure."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import forked
from tests.support.pictures import check_fresh, comparable

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("[0-9]*.py"))


def test_there_are_examples():
    assert len(EXAMPLES) >= 3


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(path, tmp_path):
    code, out, err = forked.run_script(path, "--out", str(tmp_path), cwd=tmp_path)
    assert code == 0, err[-3000:]
    assert out.strip()
    assert list(tmp_path.glob("*.png"))
    if comparable():
        for drawn in tmp_path.glob("*.png"):
            kept = ROOT / "docs" / "images" / drawn.name
            if kept.is_file():
                check_fresh(drawn, kept)
