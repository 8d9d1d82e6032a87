"""Four regimes: whether each layer can remove image tokens, freeze them, lose them for good, or must keep them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

import bounds
from redundancy.display import Displayed
from vlm.decisions.conditions import Decision, Settings
from vlm.decisions.gap_columns import gap_words
from vlm.measure.attention_reading import reading_words
from vlm.plans.plan import SkipPlan
from vlm.table import Table

Regime = Literal["remove", "freeze", "exit", "keep"]
# The theorems that each regime rests on, by their names in `bounds.THEOREMS`.
THEOREMS_OF: dict[Regime, tuple[str, ...]] = {
    "remove": ("attention_removal", "late_entry_propagation"),
    "freeze": ("squared_distance_from_norms", "skip_set_propagation"),
    "exit": ("attention_removal", "early_exit_propagation"),
    "keep": (),
}


class RegimeSettings(Settings):
    """Thresholds of the decision, and whether layers may be frozen."""

    freeze: bool


@dataclass(frozen=True, eq=False, repr=False)
class Regimes(Displayed):
    """What the two conditions allow in every layer; the result of :func:`vlm.regimes`.

    ==================  ==========================  =====================================
    image tokens are    hardly read (small ratio)   read, or undecided
    ==================  ==========================  =====================================
    redundant           remove                      freeze
    not, or undecided   exit if no later layer      keep
                        reads them, otherwise keep
    ==================  ==========================  =====================================

    Attributes
    ----------
    plan : SkipPlan
        Image tokens bypass the layers of regimes "remove" and "exit", and are frozen in those of "freeze".
    layers : Table
        The decision's rows (both conditions with interval and verdict; both bounds on the functional gap, if it has
        them) with `regime` and `theorems`.
    runs : Table
        One row per run of consecutive layers in which image tokens keep their state and after which they are used
        again: `start`, `stop`, the distance `chained` to which adjacent distances can add up, and `far_high`, an upper
        confidence limit for the fraction of tokens beyond it.
    late_entry, early_exit : int
        As in the decision; 0 and the depth mean "none".
    settings : dict
        Thresholds of the decision, and `freeze`.

    See Also
    --------
    vlm.regimes : Makes one.

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=40, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with vlm.probe(model, thresholds=0.2) as record, vlm.attention(model) as seen:
    ...     _ = model(**batch)
    >>> paper = {"tokens": "answer", "heads": "mean"}  # on this model no head of no token is always small
    >>> result = vlm.regimes(vlm.decide(record, seen, t=0.2, delta=0.5, attention_limit=0.75, **paper))
    >>> result
    Regimes(plan vision:0-1+5-6+7-10/freeze:1-5+6-7: 5 remove, 5 freeze, 0 exit, 0 keep)
    >>> result.reasons()[0].split(";")[0]
    'layer 0: remove (attention_removal + late_entry_propagation)'
    """

    plan: SkipPlan
    layers: Table
    runs: Table
    late_entry: int
    early_exit: int
    settings: RegimeSettings

    def __repr__(self) -> str:
        names = self.layers["regime"].tolist()
        return f"Regimes(plan {self.plan}: {', '.join(f'{names.count(r)} {r}' for r in THEOREMS_OF)})"

    def reasons(self) -> list[str]:
        """One sentence per layer: its regime, the theorems behind it, both verdicts and their intervals."""
        s = self.settings
        reading = reading_words(s["tokens"], s["heads"])
        lines = []
        for row in self.layers.rows():
            line = (
                f"layer {row['layer']}: {row['regime']} ({row['theorems'] or 'nothing allows more'}); redundancy "
                f"{row['redundant']}, P(d <= {s['t']:g}) in [{row['close_low']:.3f}, {row['close_high']:.3f}] against "
                f"{1 - s['delta']:g}; small attention {row['attention_small']} ({reading}), ratio in "
                f"[{row['ratio_low']:.3f}, {row['ratio_high']:.3f}] against {s['attention_limit']:g}"
            )
            if "effect_small" in row:
                line += (
                    f"; small effect {row['effect_small']}, P(effect <= {s['effect_limit']:g}) in "
                    f"[{row['effect_low']:.3f}, {row['effect_high']:.3f}] against {1 - s['delta']:g}"
                )
            lines.append(line + gap_words(row))
        return lines


def regimes(decision: Decision, *, freeze: bool = True) -> Regimes:
    """Sort the layers into four regimes by what redundancy and small attention allow in each.

    Verdicts and intervals are those of :func:`vlm.decide`, as is whose attention was judged (every text token and head
    by default): all of them hold together with its confidence, and only a condition that holds allows anything. Late
    entry is the leading run of layers to remove; early exit is the longest run of last layers that image tokens bypass.
    Like these, the regimes are sufficient conditions: the theorems bound the error by measured quantities and by
    Lipschitz factors, which are not measured.

    Parameters
    ----------
    decision : Decision
        From :func:`vlm.decide`. With `accumulated=True` a layer counts as redundant when image tokens are close to
        state 0 both before and after it, so that distances do not add up along a run.
    freeze : bool
        False keeps the layers that could be frozen, so that the plan only removes.

    Returns
    -------
    Regimes

    Raises
    ------
    TypeError
        `decision` is not a :class:`vlm.Decision`.

    See Also
    --------
    vlm.decide : Both conditions.
    vlm.consequences : What plans of single layers change, measured.

    Notes
    -----
    Removing rests on (9.4) and (9.6), freezing on Lemma 2 and (9.5), leaving on (9.4) and the recursion for early exit
    (theory, section 9.7). Adjacent distances chain by (8.2).

    References
    ----------
    Hartman et al. (2025), *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models*,
    arXiv:2509.25584; Theory, sections 9.6 and 9.7 (docs/explanation/theory).

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=40, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with vlm.probe(model, thresholds=0.2) as record, vlm.attention(model) as seen:
    ...     _ = model(**batch)
    >>> paper = {"tokens": "answer", "heads": "mean"}
    >>> decision = vlm.decide(record, seen, t=0.2, delta=0.5, attention_limit=0.75, **paper)
    >>> vlm.regimes(decision).layers["regime"].tolist()
    ['remove', 'freeze', 'freeze', 'freeze', 'freeze', 'remove', 'freeze', 'remove', 'remove', 'remove']
    >>> str(vlm.regimes(decision, freeze=False).plan)
    'vision:0-1+5-6+7-10'
    """
    if not isinstance(decision, Decision):
        raise TypeError(f"decision: expected the result of vlm.decide, got {type(decision).__name__}")
    table = decision.layers
    judged = "effect_small" if decision.settings["condition"] == "effect" else "attention_small"
    redundant, unread = table["redundant"] == "holds", table[judged] == "holds"
    if decision.settings["accumulated"]:
        # The column says "close to state 0 after the layer"; the layer changes little if that also holds before it.
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
    layers = Table(columns)
    return Regimes(
        plan=plan,
        layers=layers,
        runs=_runs(layers, decision),
        late_entry=decision.late_entry,
        early_exit=decision.early_exit,
        settings={**decision.settings, "freeze": freeze},
    )


def _runs(layers: Table, decision: Decision) -> Table:
    """How far image tokens may be from their states in the full model, after each run of bypassed layers."""
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
            # Distances from state 0: two angles via state 0, however long the run is.
            steps = 2 if accumulated else stop - start
            ends = layers["close_low"][[start - 1, stop - 1]] if accumulated else 1.0 - missing
            chained.append(float(bounds.chain_threshold(np.full(steps, decision.settings["t"]))))
            far.append(float(bounds.proximal_chain(1.0 - ends)))
    return Table({"start": starts, "stop": stops, "chained": np.array(chained), "far_high": np.array(far)})
