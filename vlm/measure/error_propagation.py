"""From the error of a skipped layer to the answer: measured changes beside what the recursions predict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

import bounds
from redundancy import Estimate, checks
from redundancy.array_types import FloatArray
from redundancy.units import unit_means
from vlm.engine.forward_call import Call
from vlm.engine.hooks import Engine, attached
from vlm.engine.last_token import last_logits, last_tokens
from vlm.engine.skipping import skipping
from vlm.measure.secant_gains import Gains, secants, stacked_norm
from vlm.models.families import Family
from vlm.plans.plan import SkipPlan
from vlm.table import Table

KINDS = ("remove", "freeze", "late entry", "early exit", "drop")
_LARGEST_EXACT = 4096
# Differences of single-precision states below this are rounding.
_ROUNDING = 1e-5


@dataclass(frozen=True, eq=False)
class Consequences:
    """What each one-layer plan, late entry and early exit does to states and answers, and what was predicted.

    All arrays (samples, runs) unless said otherwise; a run is one kind at one layer.

    Attributes
    ----------
    kinds, layers : (runs,)
        "remove" and "freeze" (image tokens, that layer only), "late entry" and "early exit" at the layer, "drop" (all
        tokens, that layer only).
    images, calibration : (samples,)
        Image of each sample; whether the gains were taken from it.
    error : float
        Norm of the change of the last text states, stacked over text tokens.
    predicted : float
        What the recursions (9.5), (9.6) give with empirical gains: **a diagnostic, not a certificate**.
    omega : float
        Range (max - min) of the change of the last token's logits.
    omega_limit : float
        Upper limit of `omega` by (9.8a), from the measured change of the normalised last state. A theorem.
    omega_predicted : float
        `predicted` times the largest logit range per unit of error that calibration saw. A diagnostic.
    margin : float (samples,)
        Best logit minus second best, without a plan.
    changed : bool
        Whether the most likely token is another one.
    gains : Gains
        The empirical Lipschitz factors used.
    """

    kinds: NDArray[np.str_]
    layers: NDArray[np.int64]
    images: NDArray[Any]
    calibration: NDArray[np.bool_]
    error: FloatArray
    predicted: FloatArray
    omega: FloatArray
    omega_limit: FloatArray
    omega_predicted: FloatArray
    margin: FloatArray
    changed: NDArray[np.bool_]
    gains: Gains

    def __repr__(self) -> str:
        return f"Consequences({len(self.kinds)} runs on {len(self.margin)} samples, {self.calibration.sum()} calibrate)"

    def table(self, *, confidence: float = 0.95) -> Table:
        """One row per run, over the samples that did not calibrate.

        Columns
        -------
        error, predicted, factor, covered
            Medians of both, of their ratio, and the share of samples in which the prediction was large enough.
        omega, omega_factor
            Median range of the logit change; median of its limit (9.8a) over it.
        may_change, may_change_low, may_change_high
            Share of answers with margin <= omega, which alone can change (9.8b); limits count images and hold together
            for all rows. (Twice the largest logit change is at least omega: that criterion is weaker.)
        may_change_predicted, changed
            The same share with the predicted omega, and the share of answers that did change.
        """
        rest = ~self.calibration
        may = bounds.prediction_may_change(self.margin[rest, None], self.omega[rest])
        predicted = bounds.prediction_may_change(self.margin[rest, None], self.omega_predicted[rest])
        index, sizes = checks.group_index(self.images[rest], int(rest.sum()))
        may_change = Estimate.over_units(may, self.images[rest], quantity="answers that may change", support=(0.0, 1.0))
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
    model: Any,
    batches: Iterable[Mapping[str, Any]],
    *,
    images: ArrayLike | None = None,
    calibration: float = 0.5,
    quantile: float = 1.0,
    kinds: Sequence[str] = KINDS,
    family: Family | None = None,
) -> Consequences:
    """Run every plan of the given kinds, measure what it changes, and predict it from the full run.

    The recursions need Lipschitz factors of the layers, which attention does not have globally. Here they are
    secant gains, the growth of differences seen on the calibration images, so that the predictions are
    diagnostics. On a sample that is its own calibration they hold by the triangle inequality. Uncached; a batch needs
    up to 8 L + 2 forward calls and keeps its states meanwhile.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family.
    batches : iterable of mapping
        What the processor returned; every prompt has an image.
    images : array (samples,), optional
        Image of each sample over all batches, the unit of sampling; without it each sample is its own.
    calibration : float
        Share of the images, the first to come, that the gains are taken from; the others are reported.
    quantile : float
        Quantile over calibration samples of each gain; 1 is the largest.
    kinds : sequence of str
        Some of `KINDS`.
    family : Family, optional
        For a model that is not of a known family.

    Returns
    -------
    Consequences

    Raises
    ------
    ValueError
        Unknown kinds, prompts without an image, fewer than two images, `images` of another length.
    """
    kinds = tuple(kinds)
    if not kinds or not set(kinds) <= set(KINDS):
        raise ValueError(f"kinds: expected some of {', '.join(KINDS)}, got {kinds}")
    checks.probability(calibration, name="calibration", open_ends=True)
    checks.probability(quantile, name="quantile")
    with attached(model, family) as engine:
        depth = engine.parts.depth
        runs = [(kind, k) for kind in kinds for k in (range(1, depth + 1) if kind == "late entry" else range(depth))]
        parts = [_measure(engine, batch, runs) for batch in batches]
    if not parts:
        raise ValueError("batches: expected at least one batch, got none")
    seen = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    samples = len(seen["margin"])
    labels = np.arange(samples) if images is None else np.asarray(images)
    if labels.shape != (samples,):
        raise ValueError(f"images: expected one label per sample, shape ({samples},), got {labels.shape}")
    index, sizes = checks.group_index(labels, samples)
    if sizes.size < 2:
        raise ValueError("images: expected at least two, one to calibrate and one to report, got one")
    _, order = np.unique(index, return_index=True)
    rank = np.argsort(np.argsort(order))
    first = rank[index] < min(max(1, round(calibration * sizes.size)), sizes.size - 1)
    gains = Gains.of(seen, first, quantile)
    predicted = np.stack([_predicted(kind, k, seen, gains) for kind, k in runs], axis=1)
    return Consequences(
        np.array([kind for kind, _ in runs]),
        np.array([k for _, k in runs]),
        labels,
        first,
        seen["error"],
        predicted,
        seen["omega"],
        seen["omega_limit"],
        predicted * gains.head,
        seen["margin"],
        seen["changed"],
        gains,
    )


def _measure(engine: Engine, batch: Mapping[str, Any], runs: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Everything (samples, ...) that one batch contributes."""
    depth = engine.parts.depth
    call: list[Call] = []

    def run(plan: SkipPlan | str, given: Sequence[Tensor] | None = None) -> tuple[list[Tensor], Tensor]:
        """States 0..L as they come out of the layers, and the last logits; each layer is given `given`, if anything."""
        states: list[Tensor] = []

        def at(now: Call, state: int, value: Tensor) -> Tensor:
            call[:] = [now]
            states.append(value.to(torch.float64))
            return value if given is None else given[state].to(value.dtype)

        with skipping(engine.parts.model, plan, family=engine.parts.family), engine.rewrite_states(at):
            return states, last_logits(engine.parts.model, batch)

    clean, logits = run("none")
    vision, text = call[0].vision, call[0].text
    if not vision.any(dim=1).all():
        raise ValueError("batches: expected prompts with an image each, got one without")
    rows, last = torch.arange(len(vision), device=vision.device), last_tokens(call[0].real)
    alone, _ = run("vision:0-", clean)
    diameter = _diameter(engine.parts.model.get_output_embeddings().weight)
    top = logits.topk(2, dim=-1).values
    found: dict[str, list[Tensor]] = {name: [] for name in ("error", "omega", "omega_limit", "changed")}
    growth: list[dict[str, Tensor]] = []
    for kind, k in runs:
        states, changed = run(_plan(kind, k))
        mixed = None
        if kind not in ("early exit", "drop"):
            mixed, _ = run("none", [torch.where(text.unsqueeze(-1), s, c) for s, c in zip(states, clean, strict=True)])
        growth.append(secants(kind, k, clean, states, alone, mixed, vision, text))
        delta = changed - logits
        omega = delta.amax(dim=1) - delta.amin(dim=1)
        ends = [engine.parts.norm(s[-1][rows, last].to(_norm_dtype(engine))) for s in (clean, states)]
        gap = (ends[0].to(torch.float64) - ends[1].to(torch.float64)).norm(dim=1)
        found["error"].append(stacked_norm(clean[-1] - states[-1], text))
        found["omega"].append(omega)
        found["omega_limit"].append(diameter * gap)
        found["changed"].append(changed.argmax(dim=1) != logits.argmax(dim=1))
    out = {name: torch.stack(values, dim=1) for name, values in found.items()}
    out["margin"] = top[:, 0] - top[:, 1]
    out["head"] = (out["omega"] / out["error"].clamp(min=_ROUNDING)).amax(dim=1)
    steps = range(depth)
    out["beta"] = torch.stack([stacked_norm(alone[i + 1] - clean[i + 1], text) for i in steps], dim=1)
    out["entry"] = torch.stack([stacked_norm(state - clean[0], vision) for state in clean], dim=1)
    out["step"] = torch.stack([stacked_norm(clean[i + 1] - clean[i], vision) for i in steps], dim=1)
    out["branch"] = torch.stack([stacked_norm(clean[i + 1] - clean[i], vision | text) for i in steps], dim=1)
    for name in growth[0]:
        out[name] = torch.stack([g[name] for g in growth]).amax(dim=0)
    return {name: value.cpu().numpy() for name, value in out.items()}


def _norm_dtype(engine: Engine) -> torch.dtype:
    """The type that the final norm computes in."""
    return next(iter(engine.parts.norm.parameters())).dtype


def _plan(kind: str, k: int) -> SkipPlan:
    if kind == "remove":
        return SkipPlan.skip("vision", k, k + 1)
    if kind == "late entry":
        return SkipPlan.late_entry(k)
    if kind == "early exit":
        return SkipPlan.early_exit(k)
    return SkipPlan.drop([k]) if kind == "drop" else SkipPlan.freeze(k, k + 1)


def _predicted(kind: str, k: int, seen: Mapping[str, FloatArray], gains: Gains) -> FloatArray:
    """(samples,) limit of the last text states' error, were the gains Lipschitz constants: (9.5), (9.6)."""
    beta, depth = seen["beta"], seen["beta"].shape[1]
    if kind == "drop":
        return bounds.skip_set_propagation(seen["branch"], gains.whole, np.arange(depth) == k)
    if kind == "early exit":
        return bounds.early_exit_propagation(beta[:, k:], gains.alone[k:])
    if kind == "late entry":
        read, lipschitz, error, again = beta[:, :k], gains.alone[:k], seen["entry"][:, k], k
    else:
        # One layer: the text misses the image once (or, frozen, not at all), the image misses one update.
        read = beta[:, k : k + 1] * (kind == "remove")
        lipschitz, error, again = np.zeros(1), seen["step"][:, k], k + 1
    if again == depth:
        return bounds.early_exit_propagation(read, lipschitz)
    return bounds.late_entry_propagation(read, lipschitz, error, gains.blocks[again:])[:, 0]


def _diameter(rows: Tensor) -> float:
    """Largest distance between two unembedding rows; for large vocabularies twice the radius around their mean."""
    rows = rows.detach().to(torch.float64)
    if len(rows) <= _LARGEST_EXACT:
        return float(torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").max())
    return 2.0 * float((rows - rows.mean(dim=0)).norm(dim=1).max())


def _median_ratio(large: FloatArray, small: FloatArray) -> FloatArray:
    """Median over samples of large / small where small is more than rounding; NaN where it always is."""
    good = small > _ROUNDING
    ratio = np.where(good, large / np.where(good, small, 1.0), np.nan)
    return np.array([np.median(c[~np.isnan(c)]) if (~np.isnan(c)).any() else np.nan for c in ratio.T])
