"""Draw the implication map with matplotlib."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

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


# From what is measured (left) to what is asked (right); a quantity without a place is not drawn.
PLACES: dict[str, tuple[float, float]] = {
    "p_far": (0.0, 3.0),
    "geometric": (0.0, 1.0),
    "squared_distance": (1.0, 0.2),
    "information_xy": (1.0, 3.8),
    "entropy_x_given_y": (1.0, 3.0),
    "entropy_y_given_x": (1.0, 4.6),
    "decoding_error": (1.0, 2.0),
    "information_tx_given_y": (2.0, 3.4),
    "unique_x": (2.0, 2.6),
    "unique_y": (2.0, 4.4),
    "functional": (3.0, 2.0),
    "accuracy_gap": (3.0, 3.4),
    "log_loss_gap": (3.0, 4.4),
    "risk_gap": (3.0, 1.2),
    "prediction_gap": (3.0, 0.5),
    "root_risk_gap": (2.0, -0.5),
    "head_log_loss_gap": (3.0, -0.5),
}


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
    if ax is None:
        _, ax = plt.subplots(figsize=(11, 6.5), layout="constrained")
    assert ax is not None
    places = {name: PLACES[name] for name in derived if name in PLACES}
    for source, target, theorem in arrows:
        if source in places and target in places and theorem in derived[target].route:
            style = {"arrowstyle": "-|>", "color": "0.45", "shrinkA": 32, "shrinkB": 34}
            style["connectionstyle"] = "arc3,rad=0.06"
            ax.annotate("", places[target], places[source], arrowprops=style)
    for name, (x, y) in places.items():
        interval = derived[name]
        text = f"{name.replace('_', ' ')}\n[{interval.low:.3g}, {interval.high:.3g}]"
        if interval.route:
            text += f"\n{interval.route[-1]}"
        face = "#cfe3f5" if name in given else "white"
        box = {"boxstyle": "round,pad=0.4", "facecolor": face, "edgecolor": "#2b5d8a"}
        ax.text(x, y, text, ha="center", va="center", fontsize=7.5, bbox=box)
    ax.set_xlim(-0.5, 3.6)
    ax.set_ylim(-1.1, 5.2)
    ax.set_axis_off()
    return ax
