"""Compares figures by what is seen: settings of text and rounding may differ in some pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
_COLOURS, _SHARE = 60, 5e-4


def differing(drawn: Path, kept: Path) -> float:
    """The share of pixels that have clearly another colour; 1 where even the size differs."""
    image = pytest.importorskip("PIL.Image")
    colours = []
    for path in (drawn, kept):
        with image.open(path) as picture:
            colours.append(np.asarray(picture.convert("RGB"), dtype=np.int16))
    if colours[0].shape != colours[1].shape:
        return 1.0
    return float((np.abs(colours[0] - colours[1]).max(axis=2) > _COLOURS).mean())


def check_fresh(drawn: Path, kept: Path) -> None:
    """A figure of the documentation is what was drawn now."""
    share = differing(drawn, kept)
    assert share < _SHARE, (
        f"{kept.name} differs in {share:.2%} of its pixels: python docs/redraw_figures.py {kept.name}"
    )


def comparable() -> bool:
    """Whether matplotlib sets text as the version does that drew the figures."""
    matplotlib = pytest.importorskip("matplotlib")
    return f"matplotlib=={matplotlib.__version__}\n" in (ROOT / "constraints.txt").read_text()
