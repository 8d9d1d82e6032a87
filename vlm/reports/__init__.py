"""From merged records to tables, figures, one HTML page, and a statement of how well the conditions predicted."""

from __future__ import annotations

from vlm.reports.cells import condition_cells
from vlm.reports.figures import plot_cost, plot_prediction
from vlm.reports.files import write
from vlm.reports.formats import html, latex, markdown
from vlm.reports.prediction import Prediction, area_under_curve, bootstrap, prediction, share
from vlm.reports.results import results, timing
from vlm.reports.summary import failures, summary, times

__all__ = [
    "Prediction",
    "area_under_curve",
    "bootstrap",
    "condition_cells",
    "failures",
    "html",
    "latex",
    "markdown",
    "plot_cost",
    "plot_prediction",
    "prediction",
    "results",
    "share",
    "summary",
    "times",
    "timing",
    "write",
]
