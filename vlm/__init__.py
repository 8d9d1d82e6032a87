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
from vlm.decisions.conditions import Decision, decide
from vlm.decisions.four_regimes import Regimes, regimes
from vlm.engine.skipping import skipping
from vlm.measure.attention_ratio import AttentionRecord, attention
from vlm.measure.attention_removal import RemovalRecord, removal
from vlm.measure.causal_tracing import Noise, Trace, trace
from vlm.measure.distances import ProbeRecord, probe
from vlm.measure.error_propagation import Consequences, consequences
from vlm.measure.logit_lens import Lens, LensRecord, lens
from vlm.models.families import FAMILIES, Family
from vlm.models.loading import load
from vlm.plans.cost import Cost, Operations, operations, operations_ratio, plan_cost
from vlm.plans.plan import SkipPlan
from vlm.table import Table

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
