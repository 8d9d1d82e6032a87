"""From merged records to tables, figures, one HTML page, and a statement of how well the conditions predicted."""

from vlm.reports.accuracy_table import failures, summary
from vlm.reports.condition_prediction import Prediction, prediction
from vlm.reports.condition_table import condition_cells
from vlm.reports.results_table import results
from vlm.reports.run_figures import plot_cost, plot_prediction
from vlm.reports.statistics import area_under_curve, bootstrap, share
from vlm.reports.table_formats import html, latex, markdown
from vlm.reports.timing_tables import times, timing
from vlm.reports.writer import write

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
