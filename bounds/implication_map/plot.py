"""Draw the implication map with matplotlib."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from bounds.implication_map.layered_layout import layered
from redundancy.optional_imports import optional_import

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Interval(Protocol):
    """What is drawn of a quantity: its interval and the theorems that lead to it."""

    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def route(self) -> tuple[str, ...]: ...


_WIDTH, _HEIGHT = 2.5, 1.0  # inches of a node's place


def draw(
    derived: Mapping[str, Interval],
    given: Collection[str],
    arrows: Iterable[tuple[str, str, str]],
    ax: Axes | None = None,
) -> Axes:
    """Draw what is given (filled) and what follows (open), with the theorem on each arrow.

    Parameters
    ----------
    derived : mapping from str to Derived
        Interval and route of each quantity.
    given : collection of str
        The quantities that were given.
    arrows : iterable of (str, str, str)
        From which quantity, to which, by which theorem; drawn where the theorem is on the tightest route.
    ax : matplotlib Axes, optional
        Where to draw; a new figure by default.
    """
    plt = optional_import("matplotlib.pyplot", extra="plot", purpose="the map of implications")
    drawn = [(source, target) for source, target, theorem in arrows if _leads(derived, source, target, theorem)]
    joined = {name for arrow in drawn for name in arrow}
    # A constant that was given and leads nowhere by itself is named below the map.
    places = layered([name for name in derived if name in joined or derived[name].route], drawn)
    columns = 1 + max((x for x, _ in places.values()), default=0)
    top = max((y for _, y in places.values()), default=0)
    if ax is None:
        _, ax = plt.subplots(figsize=(_WIDTH * columns, _HEIGHT * (2 * top + 2)), layout="constrained")
    assert ax is not None
    boxes: dict[str, object] = {}
    for name, (x, y) in places.items():
        interval = derived[name]
        text = f"{name.replace('_', ' ')}\n[{interval.low:.3g}, {interval.high:.3g}]"
        if interval.route:
            text += f"\n{interval.route[-1]}"
        face = "#cfe3f5" if name in given else "white"
        box = {"boxstyle": "round,pad=0.4", "facecolor": face, "edgecolor": "#2b5d8a"}
        boxes[name] = ax.text(x, y, text, ha="center", va="center", fontsize=8, bbox=box).get_bbox_patch()
    for source, target in dict.fromkeys(drawn):
        style: dict[str, object] = {
            "arrowstyle": "-|>",
            "color": "0.45",
            "connectionstyle": "arc3,rad=0.04",
            "shrinkA": 0,
            "shrinkB": 1,
        }
        style |= {"patchA": boxes[source], "patchB": boxes[target]}
        ax.annotate("", places[target], places[source], arrowprops=style)
    alone = [f"{name.replace('_', ' ')} = {derived[name].low:.3g}" for name in derived if name not in places]
    if alone:
        ax.text(-0.5, -top - 0.8, f"given too: {', '.join(alone)}", va="center", fontsize=7.5, wrap=True)
    ax.set_xlim(-0.55, columns - 0.45)
    ax.set_ylim(-top - 1, top + 0.6)
    ax.set_axis_off()
    return ax


def _leads(derived: Mapping[str, Interval], source: str, target: str, theorem: str) -> bool:
    """Whether an arrow is on the tightest route to its target."""
    return source in derived and target in derived and source != target and theorem in derived[target].route
