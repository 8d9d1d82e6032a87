"""Measure, plan, skip and validate on vision-language models."""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401
    import transformers as _transformers  # noqa: F401
except ModuleNotFoundError as error:
    if error.name not in ("torch", "transformers"):
        raise
    raise ImportError("vlm needs torch and transformers: pip install 'skipit[vlm]'") from error

from vlm import selectors
from vlm.attention import AttentionRecord, attention
from vlm.conditions import Decision, decide
from vlm.cost import Cost, Operations, operations, operations_ratio, plan_cost
from vlm.families import FAMILIES, Family
from vlm.load import load
from vlm.plan import SkipPlan
from vlm.probe import ProbeRecord, probe
from vlm.skip import skipping
from vlm.table import Table

__all__ = [
    "FAMILIES",
    "AttentionRecord",
    "Cost",
    "Decision",
    "Family",
    "Operations",
    "ProbeRecord",
    "SkipPlan",
    "Table",
    "attention",
    "decide",
    "load",
    "operations",
    "operations_ratio",
    "plan_cost",
    "probe",
    "selectors",
    "skipping",
]
