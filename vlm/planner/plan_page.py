"""One self-contained page about an optimisation: the frontier, the certified plan, and the answers that changed."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vlm.atomic_files import write_atomically
from vlm.planner.best_plan import BestPlan, ChangedAnswer, scored_table
from vlm.planner.frontier import Scored, frontier
from vlm.planner.model_card import model_card
from vlm.plans.plan import INDEX_CONVENTION
from vlm.plans.plan_file import PlanFile
from vlm.reports.html_parts import (
    Figure,
    bullets,
    copied,
    document,
    figures,
    heading,
    lead,
    paragraph,
    pictured,
    side_by_side,
    title,
)
from vlm.reports.plots import require_matplotlib, save_figures
from vlm.reports.table_formats import html
from vlm.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Named methods get one colour each, in order; what the search found is drawn in grey.
_LEAST_QUESTIONS = 16


def write_page(best: BestPlan, folder: str | Path) -> list[Path]:
    """Write report.html, model_card.md and the figures; returns their paths.

    Without matplotlib the page has tables only and says so.
    """
    folder = Path(folder)
    card = write_atomically(folder / "model_card.md", model_card(best.file, str(folder / "plan.json")))
    images: list[Figure] = []
    problem = ""
    try:
        require_matplotlib()
    except ImportError as error:
        problem = str(error)
    else:
        draw = {"plan_frontier": lambda ax: plot_frontier(ax, best), "plan_damages": lambda ax: plot_damages(ax, best)}
        captions = {
            "plan_frontier": "Cost and loss on the search's questions of everything that was tried; the tested "
            "candidates with their intervals on the certification images.",
            "plan_damages": "KL of each single action on 8 prompts: it orders the search and certifies nothing.",
        }
        written = save_figures(draw, folder)
        images = [Figure(path, captions[path.stem]) for path in written]
    page = write_atomically(folder / "report.html", page_text(best, images, folder / "plan.json", problem))
    return [page, card, *(image.path for image in images)]


def page_text(best: BestPlan, images: Sequence[Figure], path: Path, problem: str = "") -> str:
    """The page as HTML.

    Parameters
    ----------
    images : sequence of Figure
        Drawn by `write_page`.
    path : Path
        The plan file, for the lines to copy.
    problem : str
        Why there are no figures; "" if there are.
    """
    file = best.file
    result = (
        f"{file.plan!s}: {best.cost:.1%} of the full model's {best.objective}."
        if file.plan
        else "No cheaper plan could be certified: the result is the full model."
    )
    body = [
        title(f"A plan with a promise: {file.model}"),
        lead(result),
        paragraph(file.guarantee),
        *use_section(file, path),
        *([paragraph(problem)] if problem else []),
        *tried_sections(best, images),
        heading("Damage of single actions"),
        html(damages_by_layer(best.damages), caption="KL of each action alone, in nats"),
        heading("Answers that changed"),
        *changed_answers(best.changed),
        heading("What was not asked"),
        bullets(f"{f.dataset}/{f.id}: {f.reason}" for f in best.failures) if best.failures else paragraph("Nothing."),
        *card_section(file, path),
        paragraph(INDEX_CONVENTION),
    ]
    return document(f"skipit: a plan for {file.model}", body)


def promise_sections(best: BestPlan, path: Path) -> list[str]:
    """What another page shows of an optimisation, below `use_section`."""
    certification, *rest = tried_sections(best)
    return [
        certification,
        paragraph(best.file.guarantee),
        *rest,
        heading("Answers that changed"),
        *changed_answers(best.changed),
        *card_section(best.file, path),
    ]


def use_section(file: PlanFile, path: Path) -> list[str]:
    """The lines that use a plan file, to copy."""
    use = (
        f'model, processor = vlm.load({file.model!r}, plan="{path}")\n'
        f'with vlm.skipping(model, "{path}"): model.generate(**batch)\n'
        f"python -m vlm sweep --model {file.model} --plan {path}\n"
        f"lmms-eval --model skipit --model_args pretrained={file.model},plan={path}"
    )
    return [paragraph("Use this plan; it is refused for other weights than those it was certified for:"), copied(use)]


def tried_sections(best: BestPlan, images: Sequence[Figure] = ()) -> list[str]:
    """The tests of the candidates, the search's frontier, and the named methods."""
    return [
        heading("Certification"),
        figures(images),
        *(
            [
                html(best.table(), caption="Candidates on the certification images"),
                paragraph("Tested in this order; the sequence stops at the first that fails."),
            ]
            if best.tested
            else [paragraph("No candidate was tested.")]
        ),
        bullets(best.messages),
        heading("Frontier of the search"),
        html(best.frontier_table(), caption="Plans that no other beats"),
        heading("Named methods on the search's questions"),
        html(scored_table(named_methods(best)), caption="Best plans of each method"),
        paragraph("Of each method the plans that none of its own beats. Losses of few questions are coarse."),
    ]


def damages_by_layer(damages: Table) -> Table:
    """One row per layer with a column per action; NaN where an action is not possible."""
    actions = dict.fromkeys(damages["action"].tolist()) if len(damages) else ()
    known = {(row["layer"], row["action"]): row["kl"] for row in damages.rows()}
    layers = sorted({layer for layer, _ in known})
    return Table.from_rows(
        [{"layer": layer, **{action: known.get((layer, action), math.nan) for action in actions}} for layer in layers]
    )


def card_section(file: PlanFile, path: Path) -> list[str]:
    """The Markdown block for a model card, to copy."""
    return [heading("For a model card"), copied(model_card(file, str(path)))]


def named_methods(best: BestPlan) -> list[Scored]:
    """The frontier of each named method among what was measured, method by method."""
    out: list[Scored] = []
    for method in sorted({s.method for s in best.tried} - {"search", "full model"}):
        own = [s for s in best.tried if s.method == method and s.questions >= _LEAST_QUESTIONS]
        out += frontier(own)
    return out


def changed_answers(changed: Sequence[ChangedAnswer]) -> list[str]:
    """Each question with its picture, the full model's answer and the plan's."""
    if not changed:
        return [paragraph("None of the certification questions changed its answer.")]
    cells = []
    for answer in changed:
        pictures = [_picture(image) for image in answer.item.images]
        text = f"{answer.item.question} full model: {answer.full!r}, plan: {answer.plan!r}"
        labels = f" (labelled {', '.join(answer.item.answers)})" if answer.item.answers else ""
        cells.append(pictured(pictures, text + labels, alternative="picture of the question"))
    return [side_by_side(cells)]


def _picture(image: object) -> bytes:
    """A PIL image as PNG data; small ones are enlarged, large ones reduced."""
    from PIL import Image

    assert isinstance(image, Image.Image)
    factor = max(1, 144 // max(image.size))
    shown = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    shown.thumbnail((384, 384))
    file = io.BytesIO()
    shown.convert("RGB").save(file, "PNG")
    return file.getvalue()


def plot_frontier(ax: Axes, best: BestPlan) -> None:
    """Cost against loss: what was tried, the named methods, the frontier, and the tested candidates with intervals."""
    found = [s for s in best.tried if s.questions >= _LEAST_QUESTIONS]
    search = [s for s in found if s.method == "search"]
    ax.plot([s.cost for s in search], [s.loss for s in search], ".", color="#bbbbbb", ms=3, label="search")
    for method in sorted({s.method for s in found} - {"search", "full model"}):
        front = frontier([s for s in found if s.method == method])
        ax.plot([s.cost for s in front], [s.loss for s in front], "x-", ms=4, lw=0.7, alpha=0.7, label=method)
    ax.plot([s.cost for s in best.frontier], [s.loss for s in best.frontier], "o-", color="#222222", label="frontier")
    for test in best.tested:
        colour = "#0b6e99" if test.certified else "#c4622d"
        ax.errorbar(
            test.candidate.cost,
            test.loss,
            [[max(test.loss - test.low, 0.0)], [max(test.high - test.loss, 0.0)]],
            fmt="s",
            color=colour,
            capsize=2,
        )
    ax.axhline(best.file.max_loss, color="#c4622d", ls="--", lw=1, label=f"allowed {best.file.max_loss:g}")
    # What matters is near the promise; plans that lose far more are left out of sight.
    top = max([6 * best.file.max_loss, *(test.high for test in best.tested)])
    ax.set(xlabel=f"{best.objective}, share of the full model", ylabel=best.file.loss, ylim=(-0.03 * top, top))
    ax.legend(fontsize=6, ncols=2, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def plot_damages(ax: Axes, best: BestPlan) -> None:
    """KL of each single action by layer."""
    table = best.damages
    for action in dict.fromkeys(table["action"].tolist()) if len(table) else ():
        rows = table.where(action=action)
        ax.plot(rows["layer"], rows["kl"], "o-", ms=4, label=action)
    largest = max([1e-3, *table["kl"].tolist()]) if len(table) else 1e-3
    ax.set_yscale("symlog", linthresh=1e-3)
    ax.set(xlabel="decoder layer", ylabel="KL, nats", ylim=(-2e-4, 2 * largest))
    ax.legend(fontsize=8, frameon=False)
