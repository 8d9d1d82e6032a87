"""The numbers of the paper's two tables as data, and whether they fit together and with the paper's conditions.

Source: *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models* (arXiv 2509.25584).
"""

from __future__ import annotations

from vlm.published.condition_readings import readings
from vlm.published.consistency import inconsistencies
from vlm.published.cost_estimates import Cost, costs, estimate
from vlm.published.paper_decisions import decisions
from vlm.published.paper_models import MODELS, PublishedModel, skeleton
from vlm.published.paper_tables import cells, early_exit, late_entry

__all__ = [
    "MODELS",
    "Cost",
    "PublishedModel",
    "cells",
    "costs",
    "decisions",
    "early_exit",
    "estimate",
    "inconsistencies",
    "late_entry",
    "readings",
    "skeleton",
]
