"""A profile on disk: CSV of all rows, readable tables, figures, and one self-contained HTML page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vlm.atomic_files import write_atomically
from vlm.notions.notion_figures import save_notion_figures
from vlm.notions.profile_result import Profile, chain_table
from vlm.notions.readable_tables import gap_bounds, summary, verdicts
from vlm.plans.plan import INDEX_CONVENTION
from vlm.reports.html_parts import Figure, bullets, document, figures, heading, paragraph, subheading
from vlm.reports.html_parts import title as page_title
from vlm.reports.table_formats import html, latex, markdown
from vlm.table import Table

_CAPTIONS = {
    "notions": "The four notions along depth, with intervals that hold together for all pairs of states of a panel.",
    "usable_information": "What a reader of one state can tell about the answer, in nats.",
}
_CAPTION = "Information decomposition of the answer: what two states' codewords say together and alone ({view})."
READING = (
    "distance: mean cosine distance of the two states.",
    "close: probability that the distance is at most t.",
    "answer lost: risk of predicting the answer from the later state minus that from the earlier one; negative where "
    "the later state tells more.",
    "H(X|Y): what is left of the earlier state's codeword when the later one's is known, with the smallest certified "
    "upper limit.",
    "not rebuilt: error of an affine prediction of the earlier state's direction from the later one's, over its "
    "variance.",
)


def write_profile(profile: Profile, folder: str | Path, *, title: str = "What the layers share") -> list[Path]:
    """Write tables (CSV, Markdown, LaTeX, JSON), figures and index.html; each appears complete or not at all.

    Parameters
    ----------
    profile : Profile
        From :func:`vlm.profile`.
    folder : str or Path
        Made where it is missing.
    title : str
        Of the page.

    Returns
    -------
    list of Path
        What was written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = [profile.table.save(folder / "notions.csv")]
    if len(profile.chain):
        written.append(profile.chain.save(folder / "theorems.csv"))
    table = summary(profile)
    for name, text in (
        ("notions.md", markdown(table)),
        ("notions.tex", latex(table, caption=title, label="tab:notions")),
        ("profile.json", profile.to_json() + "\n"),
    ):
        write_atomically(folder / name, text)
        written.append(folder / name)
    images = save_notion_figures(profile, folder)
    page = folder / "index.html"
    body = [
        page_title(title),
        paragraph(INDEX_CONVENTION),
        heading("What two layers share"),
        *profile_section(profile, images),
    ]
    write_atomically(page, document(title, body))
    return [*written, *images, page]


def read_profile(folder: str | Path) -> Profile:
    """Read what :func:`write_profile` wrote.

    Raises
    ------
    FileNotFoundError
        A folder without a profile.
    ValueError
        A file that is cut off or holds something else.
    """
    folder = Path(folder)
    if not (folder / "profile.json").is_file():
        raise FileNotFoundError(
            f"folder: no profile.json in {folder}; expected a folder that `python -m vlm notions` wrote"
        )
    try:
        kept = json.loads((folder / "profile.json").read_text(encoding="utf-8"))
        settings, notes = dict(kept["settings"]), tuple(map(str, kept["notes"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"folder: {folder / 'profile.json'} is cut off or not a profile ({error!r})") from None
    chain = folder / "theorems.csv"
    return Profile(
        _as_text(Table.load(folder / "notions.csv")),
        _as_text(Table.load(chain)) if chain.is_file() else chain_table([]),
        settings,
        notes,
    )


def _as_text(table: Table) -> Table:
    """A column of labels that look like numbers, such as the unit 1, as text."""
    texts = ("view", "notion", "method", "unit", "guarantee", "theorem", "label", "equation", "quantity", "says")
    columns = {name: values.astype(np.str_) if name in texts else values for name, values in table.columns.items()}
    return Table(columns)


def written_section(folder: str | Path) -> list[str]:
    """The parts of an HTML page about a profile on disk, with the figures that are there."""
    return profile_section(read_profile(folder), sorted(Path(folder).glob("*.png")))


def profile_section(profile: Profile, images: Sequence[Path]) -> list[str]:
    """The parts of an HTML page about a profile: tables, figures, theorems, what was left out."""
    settings = profile.settings
    parts = [
        paragraph(
            f"{profile!r}. Intervals hold with probability {settings['confidence']:g} for "
            f"{settings['simultaneous']} of one notion, method and view together; they count images."
        ),
        html(summary(profile), caption="The notions of redundancy by pair of states"),
        bullets(READING),
        figures([Figure(path, _caption(path)) for path in images]),
    ]
    both = gap_bounds(profile)
    if len(both):
        parts += [
            subheading("Theorem 1 in both of its forms"),
            paragraph(
                "How much worse a target can be predicted from the earlier state than from the later one, at most, in "
                "units of the square of a Lipschitz constant that is not measured: by the mean cosine distance, and by "
                "the error of an affine map fitted on other images (Corollary 5). Limits of one column hold together."
            ),
            html(both, caption="Upper limits of the functional gap, by pair of states"),
        ]
    if len(profile.chain):
        parts += [
            subheading("Theorems on the codewords"),
            paragraph(
                "On the empirical distribution of answers and codewords every theorem holds exactly. A bound bites "
                "where it is better than what is true without it; the number is the smaller side over the larger one."
            ),
            html(verdicts(profile), caption="Where each bound bites"),
        ]
    if profile.notes:
        parts += [subheading("Left out"), bullets(profile.notes)]
    return parts


def _caption(path: Path) -> str:
    view = path.stem.removeprefix("pid_")
    return _CAPTIONS.get(path.stem, _CAPTION.format(view=view))
