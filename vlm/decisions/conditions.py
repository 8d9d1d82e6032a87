"""From measurements to a plan: the stated conditions, every threshold explicit, every verdict with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

import bounds
from bounds.confidence import Method
from redundancy import Estimate, checks
from redundancy.array_types import FloatArray
from redundancy.units import unit_means
from vlm.measure.attention_ratio import AttentionRecord
from vlm.measure.distances import ProbeRecord
from vlm.plans.plan import SkipPlan
from vlm.table import Table


@dataclass(frozen=True, eq=False)
class Decision:
    """The plan that the conditions allow, and why.

    Attributes
    ----------
    plan : SkipPlan
        Late entry and early exit of vision tokens, as far as allowed; may be empty.
    late_entry, early_exit : int
        The k of each; 0 and the model's depth mean "none".
    layers : Table
        One row per layer: both conditions with estimate, interval and verdict ("holds", "fails" or
        "undecided"), and what was decided.
    settings : dict
        Every threshold used.
    """

    plan: SkipPlan
    late_entry: int
    early_exit: int
    layers: Table
    settings: dict[str, Any]

    def __repr__(self) -> str:
        entry = f"late entry at {self.late_entry}" if self.late_entry else "no late entry"
        leave = f"early exit at {self.early_exit}" if self.early_exit < len(self.layers) else "no early exit"
        return f"Decision(plan {self.plan}: {entry}, {leave})"

    def reasons(self) -> list[str]:
        """One sentence per layer."""
        s = self.settings
        out = []
        for row in self.layers.rows():
            near = f"P(d <= {s['t']:g}) in [{row['close_low']:.3f}, {row['close_high']:.3f}]"
            small = f"attention to the image in [{row['ratio_low']:.3f}, {row['ratio_high']:.3f}]"
            out.append(
                f"layer {row['layer']}: {row['decision']}; redundancy {row['redundant']} ({near}, needs >= "
                f"{1 - s['delta']:g}), small attention {row['attention_small']} ({small}, "
                f"needs <= {s['attention_limit']:g})"
            )
        return out


def decide(
    record: ProbeRecord,
    attention: AttentionRecord,
    *,
    images: ArrayLike | None = None,
    t: float = 0.05,
    delta: float = 0.05,
    attention_limit: float = 0.1,
    accumulated: bool = False,
    confidence: float = 0.95,
    method: Method = "betting",
) -> Decision:
    """Choose late entry and early exit of vision tokens by the redundancy and attention conditions.

    Late entry at k is allowed while for all layers below k both hold: vision tokens are proximally
    redundant, P(distance <= t) >= 1 - delta, and the visual attention ratio of the asking token is at most
    `attention_limit`. Early exit at k is allowed when from layer k on the ratio is at most
    `attention_limit`. A condition holds only when its confidence interval lies on the right side; all
    2 x layers intervals hold together. Both conditions are sufficient by the theory, not necessary.

    Parameters
    ----------
    record : ProbeRecord
        From :func:`vlm.probe`, with `t` among its thresholds.
    attention : AttentionRecord
        From :func:`vlm.attention` on the same calls.
    images : array (samples,), optional
        Image of each sample: the unit of sampling. Without it every sample counts as its own image, so
        pass it whenever an image was asked more than once. Samples without image tokens are left out.
    t : float
        Cosine distance up to which two states are close.
    delta : float
        Fraction of vision tokens that may be far, in [0, 1].
    attention_limit : float
        Largest visual attention ratio (mean over heads) that counts as small, in [0, 1].
    accumulated : bool
        Judge redundancy of layer l by the distance between state 0 and state l+1, which is what late entry
        replaces, instead of the adjacent distance.
    confidence, method
        As in `bounds.certify_mean`.

    Returns
    -------
    Decision

    Raises
    ------
    ValueError
        Records of different calls, a threshold that was not probed, no sample with an image.
    """
    for name, value in (("delta", delta), ("attention_limit", attention_limit)):
        checks.probability(value, name=name)
    near, entry, far_mean, entry_mean = _vision_columns(record, t)
    ratios = attention.ratios().mean(axis=2)
    if len(ratios) != len(near):
        raise ValueError(
            f"record, attention: expected the same calls, got {len(near)} and {len(ratios)} samples; open both "
            "contexts around the same forward calls"
        )
    labels = np.arange(len(near)) if images is None else np.asarray(images)
    if labels.shape != (len(near),):
        raise ValueError(f"images: expected one label per sample, shape ({len(near)},), got {labels.shape}")
    if np.isnan(ratios).any():
        raise ValueError("attention: some layers did not attend from the asking token; measure without a plan")
    seen = ~np.isnan(near).any(axis=1)
    if not seen.any():
        raise ValueError("record: expected samples with image tokens, got none; measure on prompts with an image")
    index, sizes = checks.group_index(labels[seen], int(seen.sum()))
    near, entry, far_mean, entry_mean, ratios = (
        unit_means(a[seen], index, sizes) for a in (near, entry, far_mean, entry_mean, ratios)
    )
    judged = entry if accumulated else near
    close = _certified(judged, "proximal", confidence, method)
    small = _certified(ratios, "visual attention ratio", confidence, method)
    redundant = _verdicts(close.low >= 1 - delta, close.high < 1 - delta)
    attention_small = _verdicts(small.high <= attention_limit, small.low > attention_limit)
    depth = record.depth
    both = (redundant == "holds") & (attention_small == "holds")
    late = int(np.argmin(np.append(both, False)))
    late_exit = depth - int(np.argmin(np.append((attention_small == "holds")[::-1], False)))
    plan = SkipPlan.late_entry(late) | (SkipPlan.early_exit(late_exit) if late_exit < depth else SkipPlan())
    layer = np.arange(depth)
    decision = np.where(layer < late, "skip (late entry)", np.where(layer >= late_exit, "skip (early exit)", "keep"))
    columns = {
        "layer": layer,
        "distance": far_mean.mean(axis=0),
        "distance_from_entry": entry_mean.mean(axis=0),
        "close": judged.mean(axis=0),
        "close_low": np.asarray(close.low),
        "close_high": np.asarray(close.high),
        "redundant": redundant,
        "ratio": ratios.mean(axis=0),
        "ratio_low": np.asarray(small.low),
        "ratio_high": np.asarray(small.high),
        "attention_small": attention_small,
        "decision": decision,
    }
    settings = {
        "t": t,
        "delta": delta,
        "attention_limit": attention_limit,
        "accumulated": accumulated,
        "confidence": confidence,
        "method": method,
        "images": int(sizes.size),
    }
    return Decision(plan.resolved(depth), late, late_exit, Table(columns), settings)


def _vision_columns(record: ProbeRecord, t: float) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    if t not in record.thresholds:
        raise ValueError(f"t: expected one of the probed thresholds {record.thresholds}, got {t}")
    table = record.table().where(modality="vision")
    shape = (record.samples, record.depth)
    names = (f"within_{t:g}", f"entry_within_{t:g}", "distance", "distance_from_entry")
    near, entry, mean, entry_mean = (np.asarray(table[name], dtype=np.float64).reshape(shape) for name in names)
    return near, entry, mean, entry_mean


def _certified(per_unit: FloatArray, quantity: str, confidence: float, method: Method) -> bounds.Certificate:
    estimate = Estimate.over_units(per_unit, np.arange(len(per_unit)), quantity=quantity, support=(0.0, 1.0))
    # Redundancy and attention are two certificates that must hold together.
    return bounds.certify_mean(estimate, confidence, method=method, simultaneous=2)


def _verdicts(holds: Any, fails: Any) -> NDArray[np.str_]:
    return np.where(holds, "holds", np.where(fails, "fails", "undecided"))
