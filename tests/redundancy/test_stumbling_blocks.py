"""Every counter-example on docs/stumbling-blocks.md runs, and its assertions hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "stumbling-blocks.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[str(i) for i in range(len(BLOCKS))])
def test_block(block):
    exec(compile(block, str(PAGE), "exec"), {})


def test_the_page_has_counter_examples():
    assert len(BLOCKS) >= 10
