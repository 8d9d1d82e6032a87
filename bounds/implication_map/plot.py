"""Drawing the implication map with matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redundancy.optional_imports import optional_import

if TYPE_CHECKING:
    from bounds.implication_map.derive import ImplicationMap

# Columns from what is measured to what is asked; others stay at the left edge.
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


def draw(found: ImplicationMap, ax: Any = None) -> Any:
    """Draw what is given (filled) and what follows (open), with the statement on each arrow."""
    plt = optional_import("matplotlib.pyplot", extra="plot", purpose="the map of implications")
    if ax is None:
        _, ax = plt.subplots(figsize=(11, 6.5), layout="constrained")
    shown = {name: PLACES[name] for name in found if name in PLACES}
    for source, target, theorem in found.arrows:
        if source in shown and target in shown and theorem in found[target].route:
            (x0, y0), (x1, y1) = shown[source], shown[target]
            style = {"arrowstyle": "-|>", "color": "0.45", "shrinkA": 32, "shrinkB": 34}
            ax.annotate("", (x1, y1), (x0, y0), arrowprops={**style, "connectionstyle": "arc3,rad=0.06"})
    for name, (x, y) in shown.items():
        known = found[name]
        face = "#cfe3f5" if name in found.given else "white"
        text = f"{name.replace('_', ' ')}\n[{known.low:.3g}, {known.high:.3g}]"
        if known.route:
            text += f"\n{known.route[-1]}"
        box = {"boxstyle": "round,pad=0.4", "facecolor": face, "edgecolor": "#2b5d8a"}
        ax.text(x, y, text, ha="center", va="center", fontsize=7.5, bbox=box)
    ax.set_xlim(-0.5, 3.6)
    ax.set_ylim(-1.1, 5.2)
    ax.set_axis_off()
    return ax
