"""The figures of the documentation: each has a command, is shown on a page, and is what its table says."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"


def redraw():
    spec = importlib.util.spec_from_file_location("redraw_figures", ROOT / "docs" / "redraw_figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_figure_has_a_command_and_a_page():
    figures = redraw().FIGURES
    files = {path.name for path in IMAGES.glob("*.png")}
    assert files <= set(figures)
    pages = "\n".join(path.read_text() for path in [*ROOT.glob("docs/**/*.md"), ROOT / "README.md"])
    unshown = {"redundancy.png", "attention.png", "sweep.png"}  # of the demo's page; the gallery shows them
    assert files - unshown <= set(re.findall(r"images/([\w-]+\.png)", pages))


@pytest.mark.parametrize("source", ["tiny", "tiny-scaled"])
def test_figures_drawn_from_tables_are_fresh(source, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    image = pytest.importorskip("PIL.Image")
    matplotlib = pytest.importorskip("matplotlib")
    if f"matplotlib=={matplotlib.__version__}\n" not in (ROOT / "constraints.txt").read_text():
        pytest.skip("another version of matplotlib sets text otherwise than that of constraints.txt")
    module = redraw()
    module.notions(source)(tmp_path)
    names = [name for name in module.FROM_TABLES if name.endswith(f"{source}.png")]
    assert names
    for name in names:
        drawn, kept = (image.open(path) for path in (tmp_path / module.FIGURES[name][1], IMAGES / name))
        assert drawn.size == kept.size, f"{name}: python docs/redraw_figures.py {name}"
        colours = [np.asarray(picture.convert("RGB"), dtype=np.int16) for picture in (drawn, kept)]
        other = (np.abs(colours[0] - colours[1]).max(axis=2) > 60).mean()
        assert other < 5e-4, f"{name} differs in {other:.2%} of its pixels: python docs/redraw_figures.py {name}"
