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
from vlm.consequences import Consequences, consequences
from vlm.cost import Cost, Operations, operations, operations_ratio, plan_cost
from vlm.families import FAMILIES, Family
from vlm.lens import Lens, LensRecord, lens
from vlm.load import load
from vlm.plan import SkipPlan
from vlm.probe import ProbeRecord, probe
from vlm.regimes import Regimes, regimes
from vlm.removal import RemovalRecord, removal
from vlm.skip import skipping
from vlm.table import Table
from vlm.tracing import Noise, Trace, trace

__all__ = [
    "FAMILIES",
    "AttentionRecord",
    "Consequences",
    "Cost",
    "Decision",
    "Family",
    "Lens",
    "LensRecord",
    "Noise",
    "Operations",
    "ProbeRecord",
    "Regimes",
    "RemovalRecord",
    "SkipPlan",
    "Table",
    "Trace",
    "attention",
    "consequences",
    "decide",
    "lens",
    "load",
    "operations",
    "operations_ratio",
    "plan_cost",
    "probe",
    "regimes",
    "removal",
    "selectors",
    "skipping",
    "trace",
]
