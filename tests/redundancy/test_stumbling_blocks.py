"""Every counter-example of docs/stumbling-blocks.md runs and shows what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "stumbling-blocks.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[str(i) for i in range(len(BLOCKS))])
def test_block(block):
    exec(compile(block, str(PAGE), "exec"), {})


def test_there_are_some():
    assert len(BLOCKS) >= 10
