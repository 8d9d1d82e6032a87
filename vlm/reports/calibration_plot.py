"""The calibration curve of predicted damage: what was predicted beside what was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vlm.reports.condition_prediction import Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_calibration(ax: Axes, prediction: Prediction) -> None:
    """Draw the measured loss of accuracy against predicted damage: one point per cell, and groups of cells as a line.

    A damage orders plans; its size is in logits. The line says what it came to here. Where points of one damage lie far
    apart, it says little: layers that can stand in for each other look harmless one by one.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes to draw on.
    prediction : Prediction
        Of cells with a predicted damage.

    Raises
    ------
    ValueError
        No damage was predicted.

    See Also
    --------
    vlm.damage : Predicts it.
    prediction : Compares it with the changes of accuracy.

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from vlm import Table
    >>> from vlm.reports import prediction
    >>> from vlm.reports.calibration_plot import plot_calibration
    >>> damage = np.arange(8) / 4
    >>> named = {"model": np.full(8, "a"), "dataset": np.array(list("abcdefgh")), "closeness": np.ones(8)}
    >>> changes = {"change": -damage / 10, "change_low": -damage / 5, "change_high": np.zeros(8)}
    >>> cells = Table({**named, "attention": np.full(8, 0.05), "damage": damage, **changes})
    >>> ax = Figure().subplots()
    >>> plot_calibration(ax, prediction(cells, resamples=20))
    >>> ax.get_xlabel(), ax.lines[0].get_xdata().tolist()[:3]
    ('predicted damage (logits)', [0.0, 0.25, 0.5])
    """
    groups, cells = prediction.calibration, prediction.cells
    if not len(groups):
        raise ValueError("prediction: expected cells with a predicted damage, got none; pass damage= to the cells")
    order = np.argsort(groups["damage"], kind="stable")
    ax.plot(groups["damage"][order], -groups["change"][order], "-", color="0.4", label="mean of a group")
    damage, change = (cells[name].astype(np.float64) for name in ("damage", "change"))
    for met, face in ((True, "#0b6e99"), (False, "none")):
        chosen = cells["met"] == met
        if chosen.any():
            label = "conditions met" if met else "not met"
            ax.plot(damage[chosen], -change[chosen], "o", ms=5, color="#0b6e99", mfc=face, label=label)
    ax.axhline(prediction.settings.tolerance, ls="--", lw=1, color="k", label="tolerance")
    ax.set(xlabel="predicted damage (logits)", ylabel="loss of accuracy")
    ax.legend(fontsize=8, frameon=False, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
