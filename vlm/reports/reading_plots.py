"""Figures of logit lens, causal tracing, regimes and consequences; each function draws on the axes it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike

from vlm.decisions.four_regimes import THEOREMS_OF, Regimes
from vlm.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from vlm.measure.causal_tracing import Trace
    from vlm.measure.error_propagation import Consequences
    from vlm.measure.logit_lens import Lens


class Decoder(Protocol):
    """The part of a tokenizer that turns token ids into text."""

    def decode(self, token_ids: list[int]) -> str: ...


_TARGETS = {
    "vision": ("#0b6e99", "image tokens"),
    "text": ("#c4622d", "text tokens"),
    "last": ("#7a3b8f", "last token"),
}
_REGIMES = dict(zip(THEOREMS_OF, ("#0b6e99", "#2d8f6f", "#7a3b8f", "#8a8a8a"), strict=True))


def plot_lens(ax: Axes, lens: Lens, tokenizer: Decoder, *, state: int, columns: int, sample: int = 0) -> None:
    """Draw the likeliest word of every image patch at one state, in a grid, shaded by its probability.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes to draw on.
    lens : Lens
        From :func:`vlm.lens`.
    tokenizer : transformers tokenizer
        Decodes the token ids.
    state : int
        State 0 enters decoder layer 0; state L leaves the last layer.
    columns : int
        Number of patches in a row of the image.
    sample : int
        The prompt whose patches are drawn.

    Raises
    ------
    ValueError
        The sample has no image tokens.

    See Also
    --------
    vlm.lens : Reads the words.
    plot_trace : Where the answer is made.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from vlm import Lens, plot_lens
    >>> class Words:
    ...     def decode(self, token_ids):
    ...         return ["cat", "dog"][token_ids[0]]
    >>> zeros = np.zeros(4, dtype=int)
    >>> tokens, shares = np.array([0, 1, 1, 0]).reshape(4, 1, 1), np.full((4, 1, 1), 0.5)
    >>> words = Lens(zeros, np.arange(4), tokens, shares, np.zeros((4, 1)))
    >>> ax = Figure().subplots()
    >>> plot_lens(ax, words, Words(), state=0, columns=2)
    >>> [text.get_text() for text in ax.texts]
    ['cat', 'dog', 'dog', 'cat']
    """
    rows = np.flatnonzero(lens.sample == sample)
    if rows.size == 0:
        raise ValueError(f"sample: expected one with image tokens, got {sample}")
    order = rows[np.argsort(lens.patch[rows])]
    height = -(-rows.size // columns)
    shade = np.full(height * columns, np.nan)
    shade[: rows.size] = lens.probabilities[order, state, 0]
    ax.imshow(shade.reshape(height, columns), cmap="Blues", vmin=0, vmax=1)
    for place, row in enumerate(order):
        word = tokenizer.decode([int(lens.tokens[row, state, 0])]).strip()
        dark = shade[place] > 0.6
        ax.text(
            place % columns,
            place // columns,
            word,
            ha="center",
            va="center",
            fontsize=7,
            color="white" if dark else "black",
        )
    ax.set(xticks=[], yticks=[], title=f"state {state}")


def plot_trace(ax: Axes, trace: Trace, *, groups: ArrayLike | None = None) -> None:
    """Draw the share of the answer's probability that each restored state brings back.

    The bands are confidence intervals of the gain that hold together for all states and targets.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes to draw on.
    trace : Trace
        From :func:`vlm.trace`.
    groups : array (samples,), optional
        Image of each sample, the unit of sampling; by default each sample is its own.

    See Also
    --------
    vlm.trace : Measures what is drawn.
    plot_lens : What the image tokens say.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from vlm import Trace, plot_trace
    >>> ones, token = np.ones((3, 2)), np.zeros(3, dtype=int)
    >>> restored = np.linspace(0.1, 0.9, 3).reshape(1, 1, 3, 1) * np.ones((3, 1, 3, 2))
    >>> bad = 0.1 * ones
    >>> result = Trace(("last",), 1, token, token, 0.9 * ones, corrupted=bad, restored=restored, draws=bad[:, None])
    >>> ax = Figure().subplots()
    >>> plot_trace(ax, result)
    >>> ax.lines[0].get_ydata().round(2).tolist()
    [0.0, 0.5, 1.0]
    """
    table = trace.table(groups=groups)
    best = int(np.abs(table["gain"]).argmax())
    lost = table["gain"][best] / table["recovery"][best]
    for target in trace.targets:
        colour, name = _TARGETS[target]
        rows = table.where(target=target)
        ax.plot(rows["state"], rows["recovery"], "o-", ms=4, color=colour, label=name)
        ax.fill_between(
            rows["state"], rows["gain_low"] / lost, rows["gain_high"] / lost, alpha=0.15, lw=0, color=colour
        )
    for level in (0, 1):
        ax.axhline(level, lw=0.8, ls=":", color="k")
    until = "" if trace.window == 1 else f" .. l+{trace.window - 1}"
    ax.set(
        xlabel=f"clean state l{until} put back", ylabel="recovered share of the answer", xticks=range(trace.depth + 1)
    )
    ax.set_ylim(-0.15, 1.15)
    ax.legend(fontsize=8, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def plot_regimes(ax: Axes, regimes: Regimes) -> None:
    """Draw every layer in the plane of the two conditions, with its intervals, coloured by regime.

    The dotted lines are the thresholds of the two conditions.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes to draw on.
    regimes : Regimes
        From :func:`vlm.regimes`.

    See Also
    --------
    vlm.regimes : Sorts the layers.
    plot_redundancy, plot_attention : The two conditions, layer by layer.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from vlm import Regimes, SkipPlan, Table, plot_regimes
    >>> layer = {"close": 0.98, "close_low": 0.96, "close_high": 1.0, "ratio": 0.05, "ratio_low": 0, "ratio_high": 0.1}
    >>> rows = [{"layer": 0, "regime": "keep", **layer, "close": 0.4}, {"layer": 1, "regime": "remove", **layer}]
    >>> settings = {"t": 0.05, "delta": 0.05, "attention_limit": 0.1}
    >>> result = Regimes(SkipPlan.parse("vision:1-2"), Table.from_rows(rows), Table({}), 0, 2, settings)
    >>> ax = Figure().subplots()
    >>> plot_regimes(ax, result)
    >>> [text.get_text() for text in ax.get_legend().get_texts()], [text.get_text() for text in ax.texts]
    (['remove', 'keep'], ['0', '1'])
    """
    s = regimes.settings
    for row in regimes.layers.rows():
        x, y = row["close"], row["ratio"]
        ax.errorbar(
            x,
            y,
            xerr=[[max(0.0, x - row["close_low"])], [max(0.0, row["close_high"] - x)]],
            yerr=[[max(0.0, y - row["ratio_low"])], [max(0.0, row["ratio_high"] - y)]],
            fmt="o",
            ms=4,
            lw=0.8,
            color=_REGIMES[row["regime"]],
        )
        ax.annotate(str(row["layer"]), (x, y), xytext=(3, 3), textcoords="offset points", fontsize=8)
    for regime, colour in _REGIMES.items():
        if regime in regimes.layers["regime"]:
            ax.plot([], [], "o", color=colour, label=regime)
    ax.axvline(1 - s["delta"], ls=":", color="k", lw=0.8)
    ax.axhline(s["attention_limit"], ls=":", color="k", lw=0.8)
    ax.set(
        xlabel=f"fraction of image tokens within {s['t']:g}",
        ylabel="visual attention ratio",
        xlim=(-0.02, 1.04),
        ylim=(0, 1),
    )
    ax.legend(fontsize=8, frameon=False, loc="upper left")


def plot_consequences(ax: Axes, consequences: Consequences | Table, *, kind: str) -> None:
    """Draw the measured change of the last text states and the recursion's prediction, per layer.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes to draw on.
    consequences : Consequences or Table
        From :func:`vlm.consequences`, or its table.
    kind : {"remove", "freeze", "late entry", "early exit", "drop"}
        The kind of plan to draw.

    Raises
    ------
    ValueError
        There are no rows of this kind.

    See Also
    --------
    vlm.consequences : Measures what is drawn.
    plot_regimes : The plan that this follows.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from vlm import Table, plot_consequences
    >>> rows = [{"kind": "freeze", "layer": i, "error": 0.1 * 2**i, "predicted": 0.5 * 2**i} for i in range(3)]
    >>> ax = Figure().subplots()
    >>> plot_consequences(ax, Table.from_rows(rows), kind="freeze")
    >>> {line.get_label(): line.get_ydata().tolist() for line in ax.lines}
    {'measured': [0.1, 0.2, 0.4], 'recursion with empirical gains': [0.5, 1.0, 2.0]}
    """
    table = consequences if isinstance(consequences, Table) else consequences.table()
    rows = table.where(kind=kind)
    if not len(rows):
        raise ValueError(f"kind: expected one of {', '.join(np.unique(table['kind']))}, got {kind!r}")
    for column, mark, colour, name in (
        ("error", "o-", "#0b6e99", "measured"),
        ("predicted", "s--", "#c4622d", "recursion with empirical gains"),
    ):
        shown = np.where(rows[column] > 1e-6, rows[column], np.nan)
        ax.plot(rows["layer"], shown, mark, ms=4, color=colour, label=name)
    ax.set(xlabel="decoder layer", ylabel="change of text states", title=kind, yscale="log", xticks=rows["layer"])
    ax.legend(fontsize=8, frameon=False)
