"""From merged records to tables, figures, one HTML page, and a statement of how well the conditions predicted."""

from __future__ import annotations

from vlm.reports.cells import condition_cells
from vlm.reports.figures import plot_cost, plot_prediction
from vlm.reports.files import write
from vlm.reports.formats import html, latex, markdown
from vlm.reports.intervals import area_under_curve, bootstrap, share
from vlm.reports.prediction import Prediction, prediction
from vlm.reports.results import results
from vlm.reports.seconds import times, timing
from vlm.reports.summary import failures, summary

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
