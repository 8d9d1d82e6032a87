"""The command line of each example in the gallery; the long ones run on fewer questions."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

FEWER = {"02": ["--questions", "100"], "10": ["--questions", "40"], "11": ["--questions", "40"]}


def arguments(gallery: dict[str, Any], script: dict[str, Any]) -> list[str]:
    """What follows the script's name; sphinx-gallery calls this before it runs a script."""
    name = Path(script["src_file"]).stem
    return ["--out", tempfile.mkdtemp(prefix="skipit-gallery-"), *FEWER.get(name[:2], [])]
