"""Two conditions, four regimes: per layer, whether to remove, freeze, leave for good, or keep image tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import bounds
from vlm.decisions.conditions import Decision
from vlm.plans.plan import SkipPlan
from vlm.table import Table

# What each regime rests on, by the names of `bounds.THEOREMS`.
THEOREMS_OF = {
    "remove": ("attention_removal", "late_entry_propagation"),
    "freeze": ("squared_distance_from_norms", "skip_set_propagation"),
    "exit": ("attention_removal", "early_exit_propagation"),
    "keep": (),
}


@dataclass(frozen=True, eq=False)
class Regimes:
    """What the two conditions license in every layer.

    ==================  =========================  =====================================
    image tokens are    hardly read (small ratio)  read, or undecided
    ==================  =========================  =====================================
    redundant           remove                     freeze
    not, or undecided   exit, if no later layer    keep
                        reads them; else keep
    ==================  =========================  =====================================

    Attributes
    ----------
    plan : SkipPlan
        Image tokens bypass the layers of regimes "remove" and "exit", and are frozen in those of "freeze".
    layers : Table
        The decision's rows (both conditions with interval and verdict) with `regime` and `theorems`.
    runs : Table
        One row per run of consecutive layers in which image tokens keep their state and are met again behind it:
        `start`, `stop`, the distance `chained` that adjacent distances can add up to, and `far_high`, an upper limit
        of the fraction of tokens beyond it.
    late_entry, early_exit : int
        What the decision allows by itself; 0 and the depth mean "none".
    settings : dict
        Thresholds of the decision, and `freeze`.
    """

    plan: SkipPlan
    layers: Table
    runs: Table
    late_entry: int
    early_exit: int
    settings: dict[str, Any]

    def __repr__(self) -> str:
        names = self.layers["regime"].tolist()
        return f"Regimes(plan {self.plan}: {', '.join(f'{names.count(r)} {r}' for r in THEOREMS_OF)})"

    def reasons(self) -> list[str]:
        """One sentence per layer."""
        s = self.settings
        return [
            f"layer {row['layer']}: {row['regime']} ({row['theorems'] or 'nothing licenses more'}); redundancy "
            f"{row['redundant']}, P(d <= {s['t']:g}) in [{row['close_low']:.3f}, {row['close_high']:.3f}] against "
            f"{1 - s['delta']:g}; small attention {row['attention_small']}, ratio in [{row['ratio_low']:.3f}, "
            f"{row['ratio_high']:.3f}] against {s['attention_limit']:g}"
            for row in self.layers.rows()
        ]


def regimes(decision: Decision, *, freeze: bool = True) -> Regimes:
    """Sort the layers by what redundancy and small attention license in each.

    Verdicts and intervals are those of :func:`vlm.decide`: all of them hold together with its confidence, and
    only a condition that holds licenses anything. Late entry is the leading run of layers to remove; early exit is the
    longest end of the model in which every layer is to be removed or left. Like them, the regimes are
    sufficient conditions: the theorems bound the error by what is measured and by Lipschitz factors that are not.

    Parameters
    ----------
    decision : Decision
        From :func:`vlm.decide`. With `accumulated=True` a layer counts as redundant when image tokens are close to
        state 0 both before and behind it, so that distances do not add up along a run.
    freeze : bool
        False keeps the layers that could be frozen: plans of removal only.

    Returns
    -------
    Regimes
    """
    table = decision.layers
    redundant, unread = table["redundant"] == "holds", table["attention_small"] == "holds"
    if decision.settings["accumulated"]:
        # Close to state 0 behind the layer; two states are close to each other if both are.
        redundant = redundant & np.append(True, redundant[:-1])
    left = np.arange(len(table)) >= decision.early_exit
    regime = np.full(len(table), "keep", dtype="<U6")
    regime[redundant & ~unread] = "freeze" if freeze else "keep"
    regime[left] = "exit"
    regime[redundant & unread] = "remove"
    theorems = np.array([" + ".join(THEOREMS_OF[name]) for name in regime])
    plan = SkipPlan()
    for layer, name in enumerate(regime.tolist()):
        if name in ("remove", "exit"):
            plan |= SkipPlan.skip("vision", layer, layer + 1)
        elif name == "freeze":
            plan |= SkipPlan.freeze(layer, layer + 1)
    columns = {**table.columns, "regime": regime, "theorems": theorems}
    columns.pop("decision")
    return Regimes(
        plan,
        Table(columns),
        _runs(Table(columns), decision),
        decision.late_entry,
        decision.early_exit,
        {**decision.settings, "freeze": freeze},
    )


def _runs(layers: Table, decision: Decision) -> Table:
    """How far image tokens may be from where the full model has them, behind each run of bypassed layers."""
    still = np.isin(layers["regime"], ("remove", "freeze")) & (layers["layer"] < decision.early_exit)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], still, [False]]).astype(np.int8)))
    starts, stops = edges[::2], edges[1::2]
    accumulated = decision.settings["accumulated"]
    chained, far = [], []
    for start, stop in zip(starts, stops, strict=True):
        missing = 1.0 - layers["close_low"][start:stop]
        if accumulated and start == 0:
            chained.append(decision.settings["t"])
            far.append(float(missing[-1]))
        else:
            # Through state 0 when distances count from there: two angles, whatever the length of the run.
            steps = 2 if accumulated else stop - start
            ends = layers["close_low"][[start - 1, stop - 1]] if accumulated else 1.0 - missing
            chained.append(float(bounds.chain_threshold(np.full(steps, decision.settings["t"]))))
            far.append(float(bounds.proximal_chain(1.0 - ends)))
    return Table({"start": starts, "stop": stops, "chained": np.array(chained), "far_high": np.array(far)})
