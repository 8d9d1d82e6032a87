"""Choose late entry and early exit from measured redundancy and attention, with confidence intervals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypedDict, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

import bounds
from bounds.confidence import Method
from redundancy import Estimate, checks
from redundancy.array_types import BoolArray, FloatArray
from redundancy.display import Displayed
from redundancy.units import unit_means
from vlm.decisions.gap_columns import gap_columns, gap_words
from vlm.measure.attention_reading import Heads, TextTokens, check_reading, reading_words
from vlm.measure.records import (
    AttentionMeasurement,
    DistanceMeasurement,
    EffectMeasurement,
    check_attention,
    check_distances,
    check_effects,
)
from vlm.plans.plan import SkipPlan
from vlm.table import Table

if TYPE_CHECKING:
    from vlm.hidden_states.moment_losses import ReconstructionLosses

Verdict = Literal["holds", "fails", "undecided"]
Condition = Literal["attention", "effect"]


class Settings(TypedDict):
    """Every threshold of a decision, and the number of images it rests on."""

    t: float
    delta: float
    attention_limit: float
    tokens: TextTokens
    heads: Heads
    condition: Condition
    effect_limit: float
    accumulated: bool
    confidence: float
    method: Method
    images: int


@dataclass(frozen=True, eq=False, repr=False)
class Decision(Displayed):
    """The plan that the conditions allow, and why; the result of :func:`vlm.decide`.

    `reading` says in words whose attention was judged.

    Attributes
    ----------
    plan : SkipPlan
        Late entry and early exit of vision tokens, as far as they are allowed; may be empty.
    late_entry, early_exit : int
        The layer k of each; 0 and the model's depth mean "none".
    layers : Table
        One row per layer: both conditions with estimate, confidence interval and verdict ("holds", "fails" or
        "undecided"), and the decision; with `losses` also the bounds on the functional gap by cosine distance and by
        reconstruction, `gap_cosine` and `gap_rebuilt`, in units of L^2, and their upper limits (`_high`).
    settings : dict
        Every threshold used, whose attention was judged, and the number of images.

    See Also
    --------
    vlm.decide : Makes one.
    vlm.regimes : Sorts the same layers into four regimes.

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
    >>> decision
    Decision(plan vision:0-1+7-10: late entry at 1, early exit at 7; judged by answer token, mean over heads)
    >>> decision.reasons()[9].split(" (P(d")[0]
    'layer 9: skip (early exit); redundancy holds'
    """

    plan: SkipPlan
    late_entry: int
    early_exit: int
    layers: Table
    settings: Settings

    def __repr__(self) -> str:
        entry = f"late entry at {self.late_entry}" if self.late_entry else "no late entry"
        leave = f"early exit at {self.early_exit}" if self.early_exit < len(self.layers) else "no early exit"
        return f"Decision(plan {self.plan}: {entry}, {leave}; judged by {self.reading})"

    @property
    def reading(self) -> str:
        """What was judged beside redundancy, in words: "all text tokens, largest head" by default."""
        s = self.settings
        if s["condition"] == "effect":
            return f"removal effect, {'all text tokens' if s['tokens'] == 'all' else 'answer token'}"
        return reading_words(s["tokens"], s["heads"])

    def reasons(self) -> list[str]:
        """One sentence per layer: the decision, both verdicts, and the intervals behind them."""
        s, out = self.settings, []
        reading = reading_words(s["tokens"], s["heads"])
        for row in self.layers.rows():
            near = f"P(d <= {s['t']:g}) in [{row['close_low']:.3f}, {row['close_high']:.3f}]"
            small = f"attention to the image in [{row['ratio_low']:.3f}, {row['ratio_high']:.3f}]"
            line = (
                f"layer {row['layer']}: {row['decision']}; redundancy {row['redundant']} ({near}, needs >= "
                f"{1 - s['delta']:g}), small attention {row['attention_small']} ({small} by {reading}, "
                f"needs <= {s['attention_limit']:g})"
            )
            if "effect_small" in row:
                line += (
                    f", small effect {row['effect_small']} (P(effect <= {s['effect_limit']:g}) in "
                    f"[{row['effect_low']:.3f}, {row['effect_high']:.3f}], needs >= {1 - s['delta']:g})"
                )
            out.append(line + gap_words(row))
        return out


def decide(
    record: DistanceMeasurement,
    attention: AttentionMeasurement,
    *,
    removal: EffectMeasurement | None = None,
    losses: ReconstructionLosses | None = None,
    groups: ArrayLike | None = None,
    t: float = 0.05,
    delta: float = 0.05,
    attention_limit: float = 0.1,
    tokens: TextTokens = "all",
    heads: Heads = "largest",
    condition: Condition = "attention",
    effect_limit: float = 0.1,
    accumulated: bool = False,
    confidence: float = 0.95,
    method: Method = "betting",
) -> Decision:
    """Choose late entry and early exit of vision tokens by the redundancy and attention conditions.

    Late entry at k is allowed while both conditions hold in all layers below k: vision tokens are proximally
    redundant, P(distance <= t) >= 1 - delta, and the image is hardly read. Early exit at k is allowed when the image is
    hardly read in every layer from k on. By default the image is hardly read when the visual attention ratio is at most
    `attention_limit` for every text token and every head: the mean over images of the largest one is judged. A
    condition holds only if its whole confidence interval lies on the right side of the threshold; all intervals hold
    together. The conditions are sufficient by the theory, not necessary.

    The paper judges the answer token and the mean over heads: ``tokens="answer", heads="mean"``. On a model in which
    other tokens read the image, that reading licenses plans that fail (docs/explanation/licences.md).

    Parameters
    ----------
    record : ProbeRecord
        From :func:`vlm.probe`, with `t` among its thresholds; or any `vlm.measure.records.DistanceMeasurement`.
    attention : AttentionRecord
        From :func:`vlm.attention` on the same calls; or any `vlm.measure.records.AttentionMeasurement`.
    removal : RemovalRecord, optional
        From :func:`vlm.removal` on the same calls; or any `vlm.measure.records.EffectMeasurement`. Its condition is
        shown beside that of attention: P(effect <= `effect_limit`) >= 1 - delta over images, where the effect of a
        prompt is the largest change of a text token's attention output without the image, relative to the norm of its
        state.
    losses : ReconstructionLosses, optional
        From :func:`vlm.reconstruction_losses`, forward maps of normalised states of image tokens. Both forms of Theorem
        1 are then shown beside the conditions: how much worse a target can be predicted from the state that stays than
        from the one that it replaces, in units of the square of a Lipschitz constant L that is not measured.
        They decide nothing; their limits hold together with the same confidence, apart from the conditions.
    groups : array (samples,), optional
        Image of each sample: the unit of sampling. By default every sample counts as its own image, so pass it
        whenever there are several questions about one image. Samples without image tokens are left out.
    t : float
        Cosine distance up to which two states are close.
    delta : float
        Fraction of vision tokens that may be farther apart, in [0, 1]; of images that may show a larger effect.
    attention_limit : float
        Largest visual attention ratio that counts as small, in [0, 1].
    tokens : {"all", "answer"}
        Whether every text token is judged, or the query token of the attention record alone.
    heads : {"largest", "mean"}
        Whether every head is judged, or their mean.
    condition : {"attention", "effect"}
        Which of the two decides whether the image is hardly read; "effect" needs `removal`.
    effect_limit : float
        Largest relative effect that counts as small, at least 0.
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
        Records of different calls, a threshold that was not probed, no sample with an image; a record without what all
        text tokens attend to, unless ``tokens="answer"``.
    TypeError
        Arguments in the wrong order, or something else than a record.

    See Also
    --------
    vlm.regimes : What the two conditions allow in every single layer.
    vlm.damage : How much a plan is predicted to change the answers.
    vlm.functional_bounds : Both forms of Theorem 1 for any pair of layers.
    bounds.certify_mean : The intervals.

    Notes
    -----
    Redundancy is proximal redundancy of the vision states (theory, D3); late entry at k replaces state k by state 0, so
    the accumulated distance is the one that (9.6) needs. Small attention bounds what text loses without the image by
    (9.4), for every text token; the effect is what (9.4) bounds, measured.

    References
    ----------
    Hartman et al. (2025), *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models*,
    arXiv:2509.25584.

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
    >>> vlm.decide(record, seen, t=0.2, groups=[q.image_id for q in asked])
    Decision(plan none: no late entry, no early exit; judged by all text tokens, largest head)
    >>> paper = {"tokens": "answer", "heads": "mean"}
    >>> decision = vlm.decide(record, seen, t=0.2, delta=0.5, attention_limit=0.75, **paper)
    >>> str(decision.plan)
    'vision:0-1+7-10'
    >>> decision.layers["attention_small"].tolist()
    ['holds', 'undecided', 'undecided', 'undecided', 'undecided', 'holds', 'undecided', 'holds', 'holds', 'holds']
    """
    check_distances(record)
    check_attention(attention)
    check_reading(tokens, heads)
    for name, value in (("delta", delta), ("attention_limit", attention_limit)):
        checks.probability(value, name=name)
    _check_effect(removal, condition, effect_limit)
    effects = None if removal is None else removal.effects(tokens=tokens) <= effect_limit
    near, entry, mean, entry_mean, ratios, small_effects = _per_image(
        record, attention.reading(tokens=tokens, heads=heads), effects, t, groups
    )
    judged = entry if accumulated else near
    families = 2 + (removal is not None)
    close = _certified(judged, "proximal", confidence, method, families)
    small = _certified(ratios, "visual attention ratio", confidence, method, families)
    redundant = _verdicts(close.low >= 1 - delta, close.high < 1 - delta)
    attention_small = _verdicts(small.high <= attention_limit, small.low > attention_limit)
    unread, effect_columns = attention_small, {}
    if small_effects is not None:
        effect = _certified(small_effects, "mean", confidence, method, families)
        effect_small = _verdicts(effect.low >= 1 - delta, effect.high < 1 - delta)
        effect_columns = {
            "effect": small_effects.mean(axis=0),
            "effect_low": np.asarray(effect.low),
            "effect_high": np.asarray(effect.high),
            "effect_small": effect_small,
        }
        unread = effect_small if condition == "effect" else attention_small
    gaps = {}
    if losses is not None:
        gaps = gap_columns(losses, record.depth, accumulated=accumulated, confidence=confidence, method=method)
    late, leave = _entry_and_exit(redundant == "holds", unread == "holds")
    depth = record.depth
    layer = np.arange(depth)
    decision = np.where(layer < late, "skip (late entry)", np.where(layer >= leave, "skip (early exit)", "keep"))
    columns = {
        "layer": layer,
        "distance": mean.mean(axis=0),
        "distance_from_entry": entry_mean.mean(axis=0),
        "close": judged.mean(axis=0),
        "close_low": np.asarray(close.low),
        "close_high": np.asarray(close.high),
        "redundant": redundant,
        "ratio": ratios.mean(axis=0),
        "ratio_low": np.asarray(small.low),
        "ratio_high": np.asarray(small.high),
        "attention_small": attention_small,
        **effect_columns,
        **gaps,
        "decision": decision,
    }
    settings: Settings = {
        "t": t,
        "delta": delta,
        "attention_limit": attention_limit,
        "tokens": tokens,
        "heads": heads,
        "condition": condition,
        "effect_limit": effect_limit,
        "accumulated": accumulated,
        "confidence": confidence,
        "method": method,
        "images": len(ratios),
    }
    plan = SkipPlan.late_entry(late) | (SkipPlan.early_exit(leave) if leave < depth else SkipPlan())
    return Decision(plan.resolved(depth), late, leave, Table(columns), settings)


def _check_effect(removal: EffectMeasurement | None, condition: Condition, effect_limit: float) -> None:
    if condition not in get_args(Condition):
        raise ValueError(f"condition: expected 'attention' or 'effect', got {condition!r}")
    if removal is not None:
        check_effects(removal)
    elif condition == "effect":
        raise ValueError("removal: condition='effect' needs the record of vlm.removal on the same calls, got None")
    if not effect_limit >= 0:
        raise ValueError(f"effect_limit: expected a number >= 0, got {effect_limit}")


class _PerImage(NamedTuple):
    """Means over each image's samples with vision tokens, each (images, layers)."""

    near: FloatArray
    entry_near: FloatArray
    distance: FloatArray
    entry_distance: FloatArray
    ratios: FloatArray
    small_effects: FloatArray | None


def _per_image(
    record: DistanceMeasurement, ratios: FloatArray, effects: BoolArray | None, t: float, groups: ArrayLike | None
) -> _PerImage:
    columns = _vision_columns(record, t)
    near = columns[0]
    for name, other in (("attention", ratios), ("removal", effects)):
        if other is not None and len(other) != len(near):
            raise ValueError(
                f"record, {name}: expected the same calls, got {len(near)} and {len(other)} samples; open both "
                "contexts around the same forward calls"
            )
    labels = np.arange(len(near)) if groups is None else np.asarray(groups)
    if labels.shape != (len(near),):
        raise ValueError(f"groups: expected one label per sample, shape ({len(near)},), got {labels.shape}")
    if np.isnan(ratios).any():
        raise ValueError(
            "attention: expected a ratio in every layer, got NaN where the query token bypassed a layer; measure "
            "without a plan"
        )
    with_image = ~np.isnan(near).any(axis=1)
    if not with_image.any():
        raise ValueError("record: expected samples with image tokens, got none; measure on prompts with an image")
    index, sizes = checks.group_index(labels[with_image], int(with_image.sum()))
    means = (unit_means(values[with_image], index, sizes) for values in (*columns, ratios))
    small = None if effects is None else unit_means(effects[with_image].astype(np.float64), index, sizes)
    near, entry_near, distance, entry_distance, ratio = means
    return _PerImage(near, entry_near, distance, entry_distance, ratio, small)


def _vision_columns(record: DistanceMeasurement, t: float) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Of vision tokens, each (samples, layers): closeness, closeness to state 0, and both mean distances."""
    if t not in record.thresholds:
        raise ValueError(f"t: expected one of the probed thresholds {record.thresholds}, got {t}")
    table = record.table().where(modality="vision")
    shape = (record.samples, record.depth)
    names = (f"within_{t:g}", f"entry_within_{t:g}", "distance", "distance_from_entry")
    near, entry, mean, entry_mean = (np.asarray(table[name], dtype=np.float64).reshape(shape) for name in names)
    return near, entry, mean, entry_mean


def _entry_and_exit(redundant: BoolArray, attention_small: BoolArray) -> tuple[int, int]:
    """Length of the leading run of layers where both hold; start of the last run of small attention."""
    late = int(np.argmin(np.append(redundant & attention_small, False)))
    last_run = int(np.argmin(np.append(attention_small[::-1], False)))
    return late, len(attention_small) - last_run


def _certified(
    per_unit: FloatArray, quantity: str, confidence: float, method: Method, families: int
) -> bounds.Certificate:
    # The certificates of redundancy, of attention and of the effect must hold together.
    estimate = Estimate.over_units(per_unit, np.arange(len(per_unit)), quantity=quantity, support=(0.0, 1.0))
    return bounds.certify_mean(estimate, confidence, method=method, simultaneous=families)


def _verdicts(holds: ArrayLike, fails: ArrayLike) -> NDArray[np.str_]:
    """One :data:`Verdict` per layer."""
    return np.where(holds, "holds", np.where(fails, "fails", "undecided"))
