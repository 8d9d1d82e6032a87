"""Redraws the figures in docs/images, each by its command: python docs/redraw_figures.py [NAME.png ...]

Figures that are drawn from tables in docs/images or from published numbers take seconds, and tests hold the files to
them; the others measure a model first.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
sys.path.insert(0, str(ROOT))

Drawing = Callable[[Path], None]


def run(*command: str) -> Drawing:
    """Draw by a command that writes into a folder."""

    def draw(folder: Path) -> None:
        arguments = [part.replace("OUT", str(folder)) for part in command]
        subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True)

    return draw


def notions(model: str) -> Drawing:
    """Draw a profile from its table in docs/images."""

    def draw(folder: Path) -> None:
        from vlm.notions.notion_figures import save_notion_figures
        from vlm.notions.profile_result import Profile, chain_table
        from vlm.table import Table

        table = Table.load(IMAGES / f"notions_{model}.csv")
        save_notion_figures(Profile(table, chain_table([]), {}, ()), folder)

    return draw


def published(folder: Path) -> None:
    """Draw the published numbers, without the statistics that the example prints."""
    run("examples/08_published_numbers.py", "--out", "OUT")(folder)


def methods(folder: Path) -> None:
    """Compare named methods with random tokens on both embedded models, and draw both comparisons."""
    models = ("tiny", "tiny-scaled")
    for model in models:
        run("-m", "vlm", "compare-methods", "--model", model, "--out", f"OUT/{model}")(folder)
    drawn = [f"{model}=OUT/{model}" for model in models]
    run("-m", "tests.benchmarks.method_figure", "OUT/methods_and_controls.png", *drawn)(folder)


def calibration(folder: Path) -> None:
    """Measure `tiny-priced`, sweep entries and exits, and draw predicted damage against the loss of accuracy."""
    what = ("--model", "tiny-priced", "--data", "tiny", "--limit", "200", "--batch-size", "50", "--out", "OUT/runs")
    run("-m", "vlm", "measure", *what)(folder)
    entries, exits = ["1", "2", "3", "4", "5"], ["3", "4", "5", "6", "7", "8", "9"]
    plans = ("--late-entry", *entries, "--early-exit", *exits, "--plan", "vision:0-3+4-10")
    run("-m", "vlm", "sweep", *what, *plans)(folder)
    (swept,) = (path for path in (folder / "runs").iterdir() if not path.name.startswith("measure-"))
    run("-m", "vlm", "report", str(swept), "--damage", "surrogate", "--out", "OUT")(folder)


demo = run("-m", "vlm", "demo", "--out", "OUT")
layers = run("examples/10_read_the_layers.py", "--out", "OUT")
# What draws a figure, and its name there.
FIGURES: Mapping[str, tuple[Drawing, str]] = {
    **{f"{name}.png": (demo, f"{name}.png") for name in ("redundancy", "attention", "sweep", "plan_frontier")},
    **{f"{name}.png": (layers, f"{name}.png") for name in ("lens", "tracing")},
    "regimes.png": (run("examples/11_regimes_and_consequences.py", "--out", "OUT"), "regimes.png"),
    "methods_and_controls.png": (methods, "methods_and_controls.png"),
    "predictors.png": (
        run("tests/benchmarks/predictors.py", "--draw", "docs/images/predictors.csv", "--out", "OUT"),
        "predictors.png",
    ),
    "licences.png": (run("tests/benchmarks/licences.py", "--out", "OUT", "--sweep", "--draw"), "licences.png"),
    "calibration.png": (calibration, "prediction_damage.png"),
    "theory_curves.png": (run("examples/12_one_channel_through_every_theorem.py", "--out", "OUT"), "theory_curves.png"),
    "published_numbers.png": (published, "published_numbers.png"),
    "notions_tiny.png": (notions("tiny"), "notions.png"),
    "usable_information_tiny.png": (notions("tiny"), "usable_information.png"),
    "pid_tiny.png": (notions("tiny"), "pid_last.png"),
    "notions_tiny-scaled.png": (notions("tiny-scaled"), "notions.png"),
}
# Drawn in seconds from what lies beside them.
FROM_TABLES = ("notions_tiny.png", "usable_information_tiny.png", "pid_tiny.png", "notions_tiny-scaled.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME.png", help="default: all of them")
    names = parser.parse_args().names or list(FIGURES)
    unknown = [name for name in names if name not in FIGURES]
    if unknown:
        parser.error(f"expected some of {', '.join(FIGURES)}, got {', '.join(unknown)}")
    drawn: dict[Drawing, Path] = {}
    with TemporaryDirectory() as folder:
        for name in names:
            draw, source = FIGURES[name]
            if draw not in drawn:
                drawn[draw] = Path(folder, str(len(drawn)))
                drawn[draw].mkdir()
                draw(drawn[draw])
            shutil.copy(drawn[draw] / source, IMAGES / name)
            print(f"wrote {IMAGES / name}")


if __name__ == "__main__":
    main()
