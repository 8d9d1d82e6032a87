"""Figures of a profile along depth; each function draws on the axes it is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlm.notions.pid_measures import NAMES
from vlm.notions.profile_result import Profile
from vlm.reports.plots import require_matplotlib
from vlm.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FOUR = ("geometric", "proximal", "functional", "informational")
_COLOURS = ("#c4622d", "#0b6e99", "#7a3b8f", "#2d8f6f", "#8a6d1b", "#8a8a8a")
_VIEW_COLOURS = {
    "last": "#c4622d",
    "vision-mean": "#0b6e99",
    "text-mean": "#7a3b8f",
    "vision": "#7fb8d4",
    "text": "#e0a98c",
}
_ATOM_COLOURS = {"redundant": "#8a8a8a", "unique_x": "#c4622d", "unique_y": "#0b6e99", "synergistic": "#7a3b8f"}
_LABELS = {
    "geometric": "mean cosine distance",
    "proximal": "probability of being close",
    "functional": "rise of the answer's risk",
    "informational": "H(earlier | later), nats",
    "next state": "error of an affine map / variance",
    "similarity": "linear CKA",
}
_PREFERRED = ("panel: Brier score", "ridge: Brier score", "ridge: squared error", "smallest certified")
_MOST_TICKS = 16


def plot_notion(ax: Axes, profile: Profile, notion: str, *, method: str | None = None) -> None:
    """Draw one notion along depth, one line per view, with its intervals.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes to draw on.
    profile : Profile
        From :func:`vlm.profile`.
    notion : str
        One of the notions about two layers, such as "geometric" or "informational".
    method : str, optional
        One of its methods. By default the Brier score of the first predictor, the smallest certified limit of the
        conditional entropy, or the first method.

    Raises
    ------
    ValueError
        A notion or method that was not measured.

    See Also
    --------
    plot_usable_information, plot_pid : The other figures of a profile.

    Examples
    --------
    >>> import vlm
    >>> from matplotlib.figure import Figure
    >>> model, processor = vlm.load("tiny")
    >>> items = list(vlm.datasets.read("tiny", limit=50))
    >>> profile = vlm.profile(model, processor, items, notions="geometric", progress=False)
    >>> ax = Figure().subplots()
    >>> vlm.plot_notion(ax, profile, "geometric")
    >>> [line.get_label() for line in ax.containers]
    ['last', 'vision-mean', 'all vision tokens', 'all text tokens']
    """
    rows = profile.rows(notion=notion)
    methods = list(dict.fromkeys(rows["method"].tolist()))
    if not methods:
        raise ValueError(f"notion: expected one that was measured, got {notion!r}")
    chosen = method or next((name for name in _PREFERRED if name in methods), methods[0])
    if chosen not in methods:
        raise ValueError(f"method: expected one of {', '.join(methods)}, got {chosen!r}")
    rows = rows.where(method=chosen)
    places = _places(profile.table)
    views = list(dict.fromkeys(profile.table["view"].tolist()))
    for number, view in enumerate(views):
        line = rows.where(view=view)
        if len(line):
            x = np.array([places.index(pair) for pair in _pairs(line)]) + 0.16 * (number - (len(views) - 1) / 2)
            _with_intervals(ax, x, line, label=view, colour=_colour(view, number))
    if notion == "functional":
        ax.axhline(0.0, lw=1, color="0.6", zorder=0)
    ax.set(xlabel="states compared", ylabel=_LABELS.get(notion, chosen), title=f"{notion}: {chosen}")
    ax.title.set_fontsize(9)
    _pair_ticks(ax, places)


def plot_usable_information(ax: Axes, profile: Profile, *, reader: str = "linear") -> None:
    """Draw the usable information about the answer in each state, one line per view, with its intervals.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes to draw on.
    profile : Profile
        With the notion "usable information".
    reader : {"linear", "network"}
        Family of predictors.

    Raises
    ------
    ValueError
        It was not measured.

    See Also
    --------
    plot_notion, plot_pid : The other figures of a profile.

    Examples
    --------
    >>> import vlm
    >>> from matplotlib.figure import Figure
    >>> model, processor = vlm.load("tiny")
    >>> items = list(vlm.datasets.read("tiny", limit=50))
    >>> wanted = {"notions": "usable information", "readers": "linear", "tokens": False, "progress": False}
    >>> profile = vlm.profile(model, processor, items, layers=(0, 5, 10), **wanted)
    >>> ax = Figure().subplots()
    >>> vlm.plot_usable_information(ax, profile)
    >>> ax.get_xlabel()
    'state'
    """
    rows = profile.rows(notion="usable information", method=reader)
    if not len(rows):
        raise ValueError(f"profile: expected usable information of the {reader} reader, which was not measured")
    for number, view in enumerate(dict.fromkeys(profile.table["view"].tolist())):
        line = rows.where(view=view)
        if len(line):
            _with_intervals(ax, line["layer"] + 0.1 * number, line, label=view, colour=_colour(view, number))
    ax.axhline(float(rows["baseline"].max()), ls=":", color="k", label="all there is")
    ax.axhline(0.0, lw=1, color="0.6", zorder=0)
    ax.set(xlabel="state", ylabel="usable information about the answer, nats")
    layers = sorted(set(rows["layer"].tolist()))
    ax.set_xticks(layers if len(layers) <= _MOST_TICKS else layers[:: -(-len(layers) // _MOST_TICKS)])
    ax.legend(fontsize=8, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def plot_pid(ax: Axes, profile: Profile, *, view: str = "last") -> None:
    """Draw what two layers' codewords say about the answer, together and alone, as stacked bars along depth.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes to draw on.
    profile : Profile
        With the notion "pid".
    view : str
        The view.

    Raises
    ------
    ValueError
        It was not measured.

    See Also
    --------
    plot_notion, plot_usable_information : The other figures of a profile.

    Examples
    --------
    >>> import vlm
    >>> from matplotlib.figure import Figure
    >>> model, processor = vlm.load("tiny")
    >>> items = list(vlm.datasets.read("tiny", limit=100))
    >>> wanted = {"notions": "pid", "views": "last", "tokens": False, "progress": False}
    >>> profile = vlm.profile(model, processor, items, layers=(6, 8, 10), **wanted)
    >>> ax = Figure().subplots()
    >>> vlm.plot_pid(ax, profile)
    >>> [bars.get_label() for bars in ax.containers]
    ['redundant', 'unique to the earlier', 'unique to the later', 'synergistic']
    """
    rows = profile.rows(notion="pid", view=view)
    if not len(rows):
        raise ValueError(f"profile: expected a PID of the view {view!r}, which was not measured")
    places = _places(profile.table)
    top = np.zeros(len(places))
    shuffled = np.zeros(len(places))
    for atom, name in NAMES.items():
        bars = rows.where(method=f"BROJA: {name}")
        at = np.array([places.index(pair) for pair in _pairs(bars)])
        ax.bar(at, bars["value"], 0.7, bottom=top[at], color=_ATOM_COLOURS[atom], label=name)
        top[at] += bars["value"]
        shuffled[at] += bars["baseline"]
    measured = np.flatnonzero(top > 0)
    ax.plot(measured, shuffled[measured], "_", ms=14, color="k", label="all four, shuffled answers")
    ax.set(xlabel="states compared", ylabel="information about the answer, nats")
    _pair_ticks(ax, places)
    ax.legend(fontsize=8, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def save_notion_figures(profile: Profile, folder: Path) -> list[Path]:
    """The figures of a profile as PNG files: the four notions in four panels, usable information, PID of each view."""
    plt = require_matplotlib()
    folder.mkdir(parents=True, exist_ok=True)
    measured = set(profile.rows()["notion"].tolist())
    paths: list[Path] = []

    def save(figure: object, name: str) -> None:
        path = folder / f"{name}.png"
        # The file leaves out matplotlib's version, so that equal figures are equal files.
        figure.savefig(path, dpi=190 if name != "notions" else 140, metadata={"Software": None})  # type: ignore[attr-defined]
        plt.close(figure)
        paths.append(path)

    panels = [notion for notion in FOUR if notion in measured]
    if panels:
        figure, axes = plt.subplots(2, 2, figsize=(9.6, 6.4), layout="constrained")
        draw_panels(axes.ravel().tolist(), profile, panels)
        save(figure, "notions")
    if "usable information" in measured:
        figure, ax = plt.subplots(figsize=(4.8, 3.3), layout="constrained")
        readers = profile.rows(notion="usable information")["method"].tolist()
        plot_usable_information(ax, profile, reader=readers[0])
        save(figure, "usable_information")
    for view in dict.fromkeys(profile.rows(notion="pid")["view"].tolist()):
        figure, ax = plt.subplots(figsize=(4.8, 3.3), layout="constrained")
        plot_pid(ax, profile, view=view)
        save(figure, f"pid_{view.replace('(', '').replace(')', '')}")
    return paths


def draw_panels(axes: Sequence[Axes], profile: Profile, notions: Sequence[str] = FOUR) -> None:
    """One notion on each of the axes, with one legend; axes that are not needed are hidden."""
    for ax, notion in zip(axes, notions, strict=False):
        plot_notion(ax, profile, notion)
    for ax in axes[len(notions) :]:
        ax.set_visible(False)
    axes[0].legend(fontsize=8, frameon=False)


def _with_intervals(ax: Axes, x: np.ndarray, line: Table, *, label: str, colour: str) -> None:
    """Values joined by a line, with error bars where a limit is finite."""
    value, low, high = line["value"], line["low"], line["high"]
    down = np.where(np.isfinite(low), np.maximum(value - low, 0.0), 0.0)
    up = np.where(np.isfinite(high), np.maximum(high - value, 0.0), 0.0)
    # what all tokens say stands behind what one vector says
    style, order = ("s--", 1) if label in ("vision", "text") else ("o-", 2)
    name = f"all {label} tokens" if label in ("vision", "text") else label
    ax.errorbar(x, value, [down, up], fmt=style, ms=4, lw=1.2, capsize=2, color=colour, label=name, zorder=order)


def _colour(view: str, number: int) -> str:
    return _VIEW_COLOURS.get(view, _COLOURS[number % len(_COLOURS)])


def _pairs(table: Table) -> list[tuple[int, int]]:
    return list(zip(table["layer"].tolist(), table["later"].tolist(), strict=True))


def _places(table: Table) -> list[tuple[int, int]]:
    """The pairs of layers in the order of depth."""
    return sorted({pair for pair in _pairs(table) if pair[0] != pair[1]})


def _pair_ticks(ax: Axes, places: Sequence[tuple[int, int]]) -> None:
    step = -(-len(places) // _MOST_TICKS)
    shown = range(0, len(places), step)
    ax.set_xticks(list(shown), [f"{places[i][0]}–{places[i][1]}" for i in shown], fontsize=8)
