"""Redraws the figures in docs/images: python docs/redraw_figures.py [--drawn] [NAME.png ...]

A figure is drawn from tables beside it, which measuring writes first; --drawn leaves them as they are and takes
seconds. Tests hold every figure to its tables, the tables to the weights of the embedded models, and the figures of
examples to what the example draws.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT))

# From the folder of the tables to the file of the figure.
Drawing = Callable[[Path, Path], None]
MODELS = ("tiny", "tiny-scaled")
LICENSED = ("tiny-priced", "tiny-late")
PROMISE = ("plan_frontier.csv", "plan_promise.csv")


@dataclass(frozen=True)
class Figure:
    """How a figure comes about.

    Attributes
    ----------
    draw : function
        Draws it from its tables, in seconds; None where measuring draws it too.
    tables : tuple of str
        What it is drawn from, in docs/images.
    measure : function, optional
        Writes these tables (or the figure itself) into a folder, in minutes.
    models : tuple of str
        The embedded models that were measured.
    """

    draw: Drawing | None
    tables: tuple[str, ...] = ()
    measure: Callable[[Path], None] | None = None
    models: tuple[str, ...] = ()


def run(*command: str) -> Callable[[Path], None]:
    """Run a script that writes into a folder."""

    def measure(folder: Path) -> None:
        arguments = [part.replace("OUT", str(folder)) for part in command]
        subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True)

    return measure


def notions(model: str, name: str) -> Drawing:
    """Draw a profile from its table."""

    def draw(tables: Path, path: Path) -> None:
        path.write_bytes(_notions(tables, model)[name])

    return draw


@cache
def _notions(tables: Path, model: str) -> dict[str, bytes]:
    from vlm.notions.notion_figures import save_notion_figures
    from vlm.notions.profile_result import Profile, chain_table
    from vlm.table import Table

    table = Table.load(tables / f"notions_{model}.csv")
    with TemporaryDirectory() as folder:
        drawn = save_notion_figures(Profile(table, chain_table([]), {}, ()), Path(folder))
        return {path.name: path.read_bytes() for path in drawn}


def measure_promise(folder: Path) -> None:
    """The demo's plan with a promise: what its search tried, what it tested, what was promised."""
    import vlm
    from vlm.demo.loop import promised_plan
    from vlm.table import Table

    best = promised_plan(*vlm.load("tiny"), 1000, seed=0, batch_size=60, progress=True)  # as `vlm demo` does
    parts = (("tried", best.tried), ("frontier", best.frontier), ("tested", [t.candidate for t in best.tested]))
    limits = {str(test.candidate.plan): test for test in best.tested}
    rows = []
    for part, plans in parts:
        for s in plans:
            test = limits.get(str(s.plan)) if part == "tested" else None
            ends = {"loss": s.loss, "low": 0.0, "high": 0.0, "certified": False}
            if test is not None:
                ends = {"loss": test.loss, "low": test.low, "high": test.high, "certified": bool(test.certified)}
            row = {
                "part": part,
                "plan": str(s.plan),
                "method": s.method,
                "cost": s.cost,
                "kl": s.kl,
                "questions": s.questions,
            }
            rows.append(row | ends)
    Table.from_rows(rows).save(folder / PROMISE[0])
    promise = {"max_loss": best.file.max_loss, "loss": best.file.loss, "objective": best.objective}
    Table.from_rows([promise]).save(folder / PROMISE[1])


def draw_promise(tables: Path, path: Path) -> None:
    """Cost against loss, from the tables of the demo."""
    from vlm.planner.plan_page import plot_frontier
    from vlm.reports.plots import save_figures
    from vlm.table import Table

    table, (promise,) = Table.load(tables / PROMISE[0]), Table.load(tables / PROMISE[1]).rows()
    tried, front, tested = ([SimpleNamespace(**r) for r in table.where(part=part).rows()] for part in PARTS)
    for test in tested:
        test.candidate = SimpleNamespace(cost=test.cost)
    shown = SimpleNamespace(
        tried=tried, frontier=front, tested=tested, objective=promise["objective"], file=SimpleNamespace(**promise)
    )
    with TemporaryDirectory() as folder:
        (drawn,) = save_figures({"plan_frontier": lambda ax: plot_frontier(ax, shown)}, Path(folder))
        shutil.copy(drawn, path)


PARTS = ("tried", "frontier", "tested")


def measure_methods(folder: Path) -> None:
    """Compare named methods with random tokens and random sets of layers on every embedded model."""
    run("-m", "tests.benchmarks.compare_embedded", "--out", "OUT")(folder)


def draw_methods(tables: Path, path: Path) -> None:
    """Accuracy against operations, the draws of random tokens as bands."""
    from tests.benchmarks.method_figure import draw

    draw(tables, path)


def script(name: str) -> ModuleType:
    """A script of tests/benchmarks, which imports its neighbours by their names."""
    folder = str(ROOT / "tests" / "benchmarks")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(folder)


def measure_licences(folder: Path) -> None:
    """Attention by every reading, and every entry and exit, of the two models with licences."""
    run("tests/benchmarks/licences.py", "--out", "OUT", "--sweep")(folder)
    for model in LICENSED:
        for part in ("layers", "sweep"):
            shutil.copy(folder / f"{model}-{part}.csv", folder / f"licences_{model}-{part}.csv")


def draw_licences(tables: Path, path: Path) -> None:
    """Attention by reading, and accuracy of every entry and exit."""
    with TemporaryDirectory() as folder:
        for model in LICENSED:
            for part in ("layers", "sweep"):
                shutil.copy(tables / f"licences_{model}-{part}.csv", Path(folder) / f"{model}-{part}.csv")
        script("licences").draw(Path(folder))
        shutil.copy(Path(folder) / "licences.png", path)


def draw_predictors(tables: Path, path: Path) -> None:
    """Rank correlations of predictors."""
    from vlm.table import Table

    script("predictors").draw(Table.load(tables / "predictors.csv"), path)


CELLS = "calibration_tiny-priced.csv"


def measure_calibration(folder: Path) -> None:
    """Measure `tiny-priced`, sweep entries and exits, and set predicted damage beside the loss of accuracy."""
    what = ("--model", "tiny-priced", "--data", "tiny", "--limit", "200", "--batch-size", "50", "--out", "OUT/runs")
    run("-m", "vlm", "measure", *what)(folder)
    entries, exits = ["1", "2", "3", "4", "5"], ["3", "4", "5", "6", "7", "8", "9"]
    plans = ("--late-entry", *entries, "--early-exit", *exits, "--plan", "vision:0-3+4-10")
    run("-m", "vlm", "sweep", *what, *plans)(folder)
    (swept,) = (path for path in (folder / "runs").iterdir() if not path.name.startswith("measure-"))
    run("-m", "vlm", "report", str(swept), "--damage", "surrogate", "--out", "OUT/report")(folder)
    shutil.copy(folder / "report" / "conditions.csv", folder / CELLS)


def draw_calibration(tables: Path, path: Path) -> None:
    """Predicted damage against the loss of accuracy."""
    from vlm.reports import prediction
    from vlm.reports.calibration_plot import plot_calibration
    from vlm.reports.plots import save_figures
    from vlm.table import Table

    found = prediction(Table.load(tables / CELLS), resamples=20)
    with TemporaryDirectory() as folder:
        (drawn,) = save_figures({"calibration": lambda ax: plot_calibration(ax, found)}, Path(folder))
        shutil.copy(drawn, path)


layers = run("examples/10_read_the_layers.py", "--out", "OUT")
FIGURES: Mapping[str, Figure] = {
    "plan_frontier.png": Figure(draw_promise, PROMISE, measure_promise, ("tiny",)),
    # Examples, which the tests run as they are: they measure and draw in one.
    "lens.png": Figure(None, (), layers, ("tiny",)),
    "tracing.png": Figure(None, (), layers, ("tiny",)),
    "regimes.png": Figure(None, (), run("examples/11_regimes_and_consequences.py", "--out", "OUT"), ("tiny",)),
    "theory_curves.png": Figure(None, (), run("examples/12_one_channel_through_every_theorem.py", "--out", "OUT")),
    "published_numbers.png": Figure(None, (), run("examples/08_published_numbers.py", "--out", "OUT")),
    "methods_and_controls.png": Figure(
        draw_methods,
        tuple(f"{part}_{model}.csv" for model in (*MODELS, *LICENSED) for part in ("methods", "controls")),
        measure_methods,
        (*MODELS, *LICENSED),
    ),
    # Its table takes hours: docs/reference/benchmarks/predictors.md says how it is made.
    "predictors.png": Figure(draw_predictors, ("predictors.csv",), None, (*MODELS, *LICENSED)),
    "licences.png": Figure(
        draw_licences,
        tuple(f"licences_{model}-{part}.csv" for model in LICENSED for part in ("layers", "sweep")),
        measure_licences,
        LICENSED,
    ),
    # docs/tutorials/what-layers-share.md says how their tables are made.
    "notions_tiny.png": Figure(notions("tiny", "notions.png"), ("notions_tiny.csv",), None, ("tiny",)),
    "usable_information_tiny.png": Figure(
        notions("tiny", "usable_information.png"), ("notions_tiny.csv",), None, ("tiny",)
    ),
    "pid_tiny.png": Figure(notions("tiny", "pid_last.png"), ("notions_tiny.csv",), None, ("tiny",)),
    "notions_tiny-scaled.png": Figure(
        notions("tiny-scaled", "notions.png"), ("notions_tiny-scaled.csv",), None, ("tiny-scaled",)
    ),
    "calibration.png": Figure(draw_calibration, (CELLS,), measure_calibration, ("tiny-priced",)),
}
# The weights that each table was made with, by table and model.
STAMPS = IMAGES / "made-with.json"


def stamps() -> dict[str, dict[str, str]]:
    """What the tables in docs/images say of the weights that they were made with."""
    return json.loads(STAMPS.read_text()) if STAMPS.is_file() else {}


def stamp(figure: Figure) -> None:
    """Note the weights of now for the tables of a figure."""
    from vlm.models.fingerprint import model_identity

    weights = {model: model_identity(model) for model in figure.models}
    known = {**stamps(), **dict.fromkeys(figure.tables, weights)}
    STAMPS.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME.png", help="default: all of them")
    parser.add_argument("--drawn", action="store_true", help="draw from the tables that are there; measure nothing")
    given = parser.parse_args()
    names = given.names or list(FIGURES)
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        parser.error(f"expected some of {', '.join(FIGURES)}, got {', '.join(unknown)}")
    measured: dict[Callable[[Path], None], Path] = {}
    with TemporaryDirectory() as folder:
        for name in names:
            figure = FIGURES[name]
            if figure.measure is not None and not (given.drawn and figure.draw):
                if figure.measure not in measured:
                    measured[figure.measure] = Path(folder, str(len(measured)))
                    measured[figure.measure].mkdir()
                    figure.measure(measured[figure.measure])
                for made in figure.tables or (name,):
                    shutil.copy(measured[figure.measure] / made, IMAGES / made)
                stamp(figure)
            if figure.draw is not None:
                figure.draw(IMAGES, IMAGES / name)
            print(f"wrote {IMAGES / name}")


if __name__ == "__main__":
    main()
