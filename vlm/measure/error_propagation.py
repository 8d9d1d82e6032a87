"""Error propagation: how skipped layers change states and answers, measured and predicted by the recursions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

import bounds
from redundancy import Estimate, checks
from redundancy.array_types import BoolArray, FloatArray, IntArray
from redundancy.display import Displayed
from redundancy.units import unit_means
from vlm.engine.forward_call import Call
from vlm.engine.hooks import Engine, attached
from vlm.engine.last_token import last_logits, last_tokens
from vlm.engine.skipping import skipping
from vlm.measure.secant_gains import KINDS, Gains, Kind, secants, stacked_norm
from vlm.models.families import Family
from vlm.models.linear_maps import matrix_of
from vlm.models.precision import wide
from vlm.models.types import Model
from vlm.plans.plan import SkipPlan
from vlm.progress_bar import by_count
from vlm.table import Table

_LARGEST_EXACT = 4096
# Differences between single-precision states below this are rounding errors.
_ROUNDING = 1e-5


@dataclass(frozen=True, eq=False, repr=False)
class Consequences(Displayed):
    """Effect of one-layer plans, late entry and early exit on states and answers: measured and predicted.

    Arrays have shape (samples, runs) unless stated otherwise; a run is one kind at one layer.

    Attributes
    ----------
    kinds, layers : (runs,)
        "remove" and "freeze" (image tokens, that layer only), "late entry" and "early exit" at the layer, "drop" (all
        tokens, that layer only).
    groups, calibration : (samples,)
        Image of each sample; whether the gains were estimated from it.
    error : float
        Norm of the change of the last text states, stacked over text tokens.
    predicted : float
        Error according to the recursions (9.5), (9.6) with secant gains: **a diagnostic, not a certificate**.
    omega : float
        Range (max - min) of the change of the last token's logits.
    omega_limit : float
        Upper bound on `omega` from the measured change of the normalised last state (theory, section 9.7, From error
        to prediction). A theorem.
    omega_predicted : float
        `predicted` times the largest logit range per unit of error in the calibration samples. A diagnostic.
    margin : float (samples,)
        Largest logit minus second largest, without a plan.
    changed : bool
        Whether the most likely token is a different one.
    gains : Gains
        The secant gains used in place of Lipschitz constants.

    See Also
    --------
    vlm.consequences : Makes one.

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=4, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> result = vlm.consequences(model, [batch], kinds=("freeze",))
    >>> result
    Consequences(10 runs on 4 samples, 2 calibrate)
    >>> result.error.shape, result.calibration
    ((4, 10), array([ True,  True, False, False]))
    >>> result.table()["factor"].round(1)  # predicted over measured error, median
    array([6.4, 2.6, 5. , 4.7, 4.2, 3.4, 2.4, 1.7, 1.3, nan])
    """

    kinds: NDArray[np.str_]
    layers: IntArray
    groups: NDArray[Any]
    calibration: BoolArray
    error: FloatArray
    predicted: FloatArray
    omega: FloatArray
    omega_limit: FloatArray
    omega_predicted: FloatArray
    margin: FloatArray
    changed: BoolArray
    gains: Gains

    def __repr__(self) -> str:
        return f"Consequences({len(self.kinds)} runs on {len(self.margin)} samples, {self.calibration.sum()} calibrate)"

    def table(self, *, confidence: float = 0.95) -> Table:
        """One row per run, over the samples that were not used for calibration.

        Parameters
        ----------
        confidence : float
            Of all limits together, in (0, 1).

        Returns
        -------
        Table
            Its columns:

            error, predicted, factor, covered
                Median measured error, median predicted error, median of predicted / measured, and the fraction of
                samples whose prediction was at least the measured error.
            omega, omega_factor
                Median range of the logit change; median of the bound on it divided by it.
            may_change, may_change_low, may_change_high
                Fraction of answers with margin <= omega, the only ones that can change; the confidence limits count
                images and hold together for all rows. (Twice the largest logit change is at least omega, so that
                criterion is weaker.)
            may_change_predicted, changed
                The same fraction with the predicted omega, and the fraction of answers that did change.
        """
        rest = ~self.calibration
        may = bounds.prediction_may_change(self.margin[rest, None], self.omega[rest])
        predicted = bounds.prediction_may_change(self.margin[rest, None], self.omega_predicted[rest])
        groups = self.groups[rest]
        index, sizes = checks.group_index(groups, int(rest.sum()))
        may_change = Estimate.over_units(may, groups, quantity="answers that may change", support=(0.0, 1.0))
        limits = bounds.certify_mean(may_change, confidence)
        error, guess, omega = self.error[rest], self.predicted[rest], self.omega[rest]
        return Table(
            {
                "kind": self.kinds,
                "layer": self.layers,
                "error": np.median(error, axis=0),
                "predicted": np.median(guess, axis=0),
                "factor": _median_ratio(guess, error),
                "covered": (guess + _ROUNDING >= error).mean(axis=0),
                "omega": np.median(omega, axis=0),
                "omega_factor": _median_ratio(self.omega_limit[rest], omega),
                "may_change": np.asarray(may_change.value),
                "may_change_low": np.asarray(limits.low),
                "may_change_high": np.asarray(limits.high),
                "may_change_predicted": unit_means(predicted, index, sizes).mean(axis=0),
                "changed": unit_means(self.changed[rest].astype(np.float64), index, sizes).mean(axis=0),
            }
        )


@torch.no_grad()
def consequences(
    model: Model,
    batches: Iterable[Mapping[str, Tensor]],
    *,
    groups: ArrayLike | None = None,
    calibration: float = 0.5,
    quantile: float = 1.0,
    kinds: Sequence[Kind] = KINDS,
    family: Family | None = None,
    progress: bool = False,
) -> Consequences:
    r"""Run every plan of the given kinds, measure what it changes, and predict that from the full run.

    The recursions need Lipschitz constants of the layers, which attention does not have globally. Here they are
    replaced by secant gains, the growth of differences observed on the calibration images; the predictions are
    therefore diagnostics, not certificates. For a sample that is its own calibration they hold by the triangle
    inequality. Runs without a cache; a batch needs up to 8 L + 2 forward calls and keeps its states during them.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family.
    batches : iterable of mapping
        The processor's output; every prompt has an image.
    groups : array (samples,), optional
        Image of each sample over all batches, the unit of sampling; by default each sample is its own image.
    calibration : float
        Fraction of the images, in (0, 1), from which the gains are estimated; these come first, the others are
        reported.
    quantile : float
        Quantile over calibration samples of each gain; 1 is the largest.
    kinds : sequence of str
        Some of "remove", "freeze", "late entry", "early exit" and "drop".
    family : Family, optional
        For a model that is not of a known family.
    progress : bool
        Show how many batches are done, and the time left, on standard error.

    Returns
    -------
    Consequences

    Raises
    ------
    ValueError
        Unknown kinds, prompts without an image, fewer than two images, `groups` of a different length.

    See Also
    --------
    vlm.removal : The first step of the recursion, per layer, with a bound that is a theorem.
    bounds.late_entry_propagation, bounds.early_exit_propagation, bounds.skip_set_propagation : The recursions.

    Notes
    -----
    Dropped layers: (9.5). Late entry, early exit and the one-layer plans for image tokens: (9.6), whose
    :math:`\beta_l`, :math:`f_m` are measured in the full run and whose Lipschitz factors are the gains (theory,
    section 9.7).

    References
    ----------
    Theory, section 9.7 (docs/explanation/theory).

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=4, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> result = vlm.consequences(model, [batch], kinds=("remove",), groups=[q.image_id for q in asked])
    >>> table = result.table()
    >>> table["error"].round(1)
    array([16.1, 28.3, 15.7, 13.6, 12.5, 13.8, 15.9,  6. ,  4.4,  7.8])
    >>> table["predicted"].round(1)
    array([70.8, 86.5, 77.1, 50.1, 38.1, 33.2, 29.8, 11.8,  6.9,  7.8])
    """
    kinds = tuple(kinds)
    if not kinds or not set(kinds) <= set(KINDS):
        raise ValueError(f"kinds: expected one or more of {', '.join(KINDS)}, got {kinds}")
    checks.probability(calibration, name="calibration", open_ends=True)
    checks.probability(quantile, name="quantile")
    with attached(model, family) as engine:
        depth = engine.parts.depth
        runs = [(kind, k) for kind in kinds for k in (range(1, depth + 1) if kind == "late entry" else range(depth))]
        told = by_count(batches, len(batches) if isinstance(batches, Sized) else None, "batches", shown=progress)
        parts = [_measure(engine, batch, runs) for batch in told]
    if not parts:
        raise ValueError("batches: expected at least one batch, got none")
    measured = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    labels, calibrates = _calibration_samples(groups, len(measured["margin"]), calibration)
    gains = Gains.of(measured, calibrates, quantile)
    predicted = np.stack([_predicted(kind, k, measured, gains) for kind, k in runs], axis=1)
    return Consequences(
        kinds=np.array([kind for kind, _ in runs]),
        layers=np.array([k for _, k in runs]),
        groups=labels,
        calibration=calibrates,
        error=measured["error"],
        predicted=predicted,
        omega=measured["omega"],
        omega_limit=measured["omega_limit"],
        omega_predicted=predicted * gains.head,
        margin=measured["margin"],
        changed=measured["changed"],
        gains=gains,
    )


def _calibration_samples(groups: ArrayLike | None, samples: int, share: float) -> tuple[NDArray[Any], BoolArray]:
    """(samples,) image labels, and whether each sample belongs to the first `share` of the images."""
    labels = np.arange(samples) if groups is None else np.asarray(groups)
    if labels.shape != (samples,):
        raise ValueError(f"groups: expected one label per sample, shape ({samples},), got {labels.shape}")
    index, sizes = checks.group_index(labels, samples)
    if sizes.size < 2:
        raise ValueError("groups: expected at least two images, one to calibrate and one to report, got one")
    _, first_row = np.unique(index, return_index=True)
    rank = np.argsort(np.argsort(first_row))
    return labels, rank[index] < min(max(1, round(share * sizes.size)), sizes.size - 1)


class _FullRun(NamedTuple):
    """What every run under a plan is compared with.

    `states` and `alone` hold states 0..L (batch, tokens, width): of the full run, and what each layer makes of the
    clean text without image tokens.
    """

    states: list[Tensor]
    alone: list[Tensor]
    logits: Tensor
    call: Call


def _run(
    engine: Engine, batch: Mapping[str, Tensor], plan: SkipPlan | str, given: Sequence[Tensor] | None = None
) -> tuple[list[Tensor], Tensor, Call]:
    """States 0..L as the layers return them, the last logits, and the call; `given` replaces each layer's input."""
    states: list[Tensor] = []
    calls: list[Call] = []

    def rewrite(call: Call, state: int, value: Tensor) -> Tensor:
        calls[:] = [call]
        states.append(wide(value.to(call.real.device)))
        return value if given is None else given[state].to(value.dtype).to(value.device)

    with skipping(engine.parts.model, plan, family=engine.parts.family), engine.rewrite_states(rewrite):
        logits = last_logits(engine.parts.model, batch)
    return states, logits, calls[0].measurable()


def _full_run(engine: Engine, batch: Mapping[str, Tensor]) -> _FullRun:
    states, logits, call = _run(engine, batch, "none")
    if not call.vision.any(dim=1).all():
        raise ValueError("batches: expected prompts with an image each, got one without")
    alone, _, _ = _run(engine, batch, "vision:0-", states)
    return _FullRun(states, alone, logits, call)


def _measure(engine: Engine, batch: Mapping[str, Tensor], runs: Sequence[tuple[Kind, int]]) -> dict[str, NDArray[Any]]:
    """Everything that one batch contributes, each array (samples, ...)."""
    full = _full_run(engine, batch)
    head = engine.parts.model.get_output_embeddings()
    diameter = _diameter(matrix_of(head, dtype=_norm_dtype(engine), device=engine.parts.model.device))
    changes, gains = zip(*(_change(engine, batch, full, kind, k, diameter) for kind, k in runs), strict=True)
    out = {name: torch.stack([change[name] for change in changes], dim=1) for name in changes[0]}
    top = full.logits.topk(2, dim=-1).values
    out["margin"] = top[:, 0] - top[:, 1]
    out["head"] = (out["omega"] / out["error"].clamp(min=_ROUNDING)).amax(dim=1)
    out |= _steps(full)
    out |= {name: torch.stack([gain[name] for gain in gains]).amax(dim=0) for name in gains[0]}
    return {name: value.cpu().numpy() for name, value in out.items()}


def _change(
    engine: Engine, batch: Mapping[str, Tensor], full: _FullRun, kind: Kind, k: int, diameter: float
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What one plan changes, each (batch,), and the gains that it shows (see `secants`)."""
    vision, text = full.call.vision, full.call.text
    states, logits, _ = _run(engine, batch, _plan(kind, k))
    mixed = None
    if kind not in ("early exit", "drop"):
        inputs = [torch.where(text.unsqueeze(-1), s, c) for s, c in zip(states, full.states, strict=True)]
        mixed, _, _ = _run(engine, batch, "none", inputs)
    delta = logits - full.logits
    rows, last = torch.arange(len(vision), device=vision.device), last_tokens(full.call.real)
    device, dtype = engine.parts.model.device, _norm_dtype(engine)
    ends = [wide(engine.parts.norm(s[-1][rows, last].to(device, dtype))) for s in (full.states, states)]
    gap = (ends[0] - ends[1]).norm(dim=1)
    change = {
        "error": stacked_norm(full.states[-1] - states[-1], text),
        "omega": delta.amax(dim=1) - delta.amin(dim=1),
        "omega_limit": diameter * gap,
        "changed": logits.argmax(dim=1) != full.logits.argmax(dim=1),
    }
    return change, secants(kind, k, full.states, states, full.alone, mixed, vision, text)


def _steps(full: _FullRun) -> dict[str, Tensor]:
    """Norms of the full run that the recursions start from, each (batch, L) or, `entry`, (batch, L + 1)."""
    vision, text, clean = full.call.vision, full.call.text, full.states
    layers = range(len(clean) - 1)
    return {
        "beta": torch.stack([stacked_norm(full.alone[i + 1] - clean[i + 1], text) for i in layers], dim=1),
        "entry": torch.stack([stacked_norm(state - clean[0], vision) for state in clean], dim=1),
        "step": torch.stack([stacked_norm(clean[i + 1] - clean[i], vision) for i in layers], dim=1),
        "branch": torch.stack([stacked_norm(clean[i + 1] - clean[i], vision | text) for i in layers], dim=1),
    }


def _norm_dtype(engine: Engine) -> torch.dtype:
    """The dtype in which the final norm computes."""
    return next(iter(engine.parts.norm.parameters())).dtype


def _plan(kind: Kind, k: int) -> SkipPlan:
    if kind == "remove":
        return SkipPlan.skip("vision", k, k + 1)
    if kind == "late entry":
        return SkipPlan.late_entry(k)
    if kind == "early exit":
        return SkipPlan.early_exit(k)
    return SkipPlan.drop([k]) if kind == "drop" else SkipPlan.freeze(k, k + 1)


def _predicted(kind: Kind, k: int, measured: Mapping[str, FloatArray], gains: Gains) -> FloatArray:
    """(samples,) bound on the error of the last text states if the gains were Lipschitz constants: (9.5), (9.6)."""
    beta, depth = measured["beta"], measured["beta"].shape[1]
    if kind == "drop":
        return bounds.skip_set_propagation(measured["branch"], gains.whole, np.arange(depth) == k)
    if kind == "early exit":
        return bounds.early_exit_propagation(beta[:, k:], gains.alone[k:])
    if kind == "late entry":
        read, lipschitz, error, again = beta[:, :k], gains.alone[:k], measured["entry"][:, k], k
    else:
        # One layer: the text misses the image once (or not at all if frozen), the image misses one update.
        read = beta[:, k : k + 1] * (kind == "remove")
        lipschitz, error, again = np.zeros(1), measured["step"][:, k], k + 1
    if again == depth:
        return bounds.early_exit_propagation(read, lipschitz)
    return bounds.late_entry_propagation(read, lipschitz, error, gains.blocks[again:])[:, 0]


def _diameter(rows: Tensor) -> float:
    """Largest distance between two unembedding rows; for large vocabularies an upper bound: twice their radius."""
    if len(rows) <= _LARGEST_EXACT:
        return float(torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").max())
    return 2.0 * float((rows - rows.mean(dim=0)).norm(dim=1).max())


def _median_ratio(large: FloatArray, small: FloatArray) -> FloatArray:
    """Median over samples of large / small where small exceeds rounding errors; NaN where it never does."""
    usable = small > _ROUNDING
    ratio = np.where(usable, large / np.where(usable, small, 1.0), np.nan)
    return np.array([np.median(c[~np.isnan(c)]) if (~np.isnan(c)).any() else np.nan for c in ratio.T])
