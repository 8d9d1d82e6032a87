"""The figures of the documentation: each has a command, is shown on a page, and is what its table says."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from tests.support.pictures import check_fresh, comparable, differing
from vlm.models.fingerprint import model_identity
from vlm.table import Table

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"


def _redraw():
    spec = importlib.util.spec_from_file_location("redraw_figures", ROOT / "docs" / "redraw_figures.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


REDRAW = _redraw()
DRAWN = [name for name, figure in REDRAW.FIGURES.items() if figure.draw is not None]
OF_EXAMPLES = [name for name, figure in REDRAW.FIGURES.items() if figure.draw is None]


@pytest.fixture(autouse=True)
def _path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_every_figure_has_a_command_and_a_page():
    files = {path.name for path in IMAGES.glob("*.png")}
    assert files == set(REDRAW.FIGURES)
    pages = "\n".join(path.read_text() for path in [*ROOT.glob("docs/**/*.md"), ROOT / "README.md"])
    assert files == set(re.findall(r"images/([\w-]+\.png)", pages))
    assert {path.name for path in IMAGES.glob("*.csv")} == set(REDRAW.stamps())


def test_figures_of_examples_are_held_to_what_the_example_draws():
    """`tests/test_examples.py` runs them and compares."""
    examples = "\n".join(path.read_text() for path in (ROOT / "examples").glob("*.py"))
    assert all(f'"{name}"' in examples for name in OF_EXAMPLES)


@pytest.mark.parametrize("name", DRAWN)
def test_figures_drawn_from_tables_are_fresh(name, tmp_path, monkeypatch):
    """Redrawn from the committed table it is the same; the table is of the weights of now; its text can be read."""
    if not comparable():
        pytest.skip("another version of matplotlib sets text otherwise than that of constraints.txt")
    from matplotlib.figure import Figure
    from matplotlib.text import Text

    sizes, save = [], Figure.savefig

    def saved(figure, path, *, dpi, **how):
        shown = [t.get_fontsize() for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()]
        sizes.append(min(shown) * dpi / 72)
        save(figure, path, dpi=dpi, **how)

    monkeypatch.setattr(Figure, "savefig", saved)
    figure = REDRAW.FIGURES[name]
    figure.draw(IMAGES, tmp_path / name)
    check_fresh(tmp_path / name, IMAGES / name)
    assert min(sizes, default=9) >= 9  # pixels; on a narrow screen pages scroll a figure instead of shrinking it
    for table in figure.tables:
        assert REDRAW.stamps()[table] == {model: model_identity(model) for model in figure.models}, table


def test_a_stale_figure_is_noticed(tmp_path):
    """One number of a table changed is more than what is allowed."""
    if not comparable():
        pytest.skip("another version of matplotlib sets text otherwise than that of constraints.txt")
    for name in REDRAW.FIGURES["licences.png"].tables:
        Table.load(IMAGES / name).save(tmp_path / name)
    changed = tmp_path / "licences_tiny-late-sweep.csv"
    rows = list(Table.load(changed).rows())
    rows[3]["accuracy"] -= 0.2
    Table.from_rows(rows).save(changed)
    REDRAW.draw_licences(tmp_path, tmp_path / "licences.png")
    assert differing(tmp_path / "licences.png", IMAGES / "licences.png") > 5e-4


def test_on_a_narrow_screen_figures_scroll_and_keep_their_size():
    style = (ROOT / "docs" / "_static" / "site.css").read_text()
    narrow = style.split("@media (max-width: 40rem)")[1].split("\n}")[0]
    assert re.search(r"p:has\(> img\) \{ overflow-x: auto; \}", narrow)
    assert re.search(r"p > img \{ max-width: none; \}", narrow)
