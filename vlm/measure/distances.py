"""Distances between layers while a model runs: per layer, modality and sample; states are not kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from redundancy import checks
from vlm.engine.forward_call import Call
from vlm.engine.hooks import attached
from vlm.measure.records import BatchedRecord
from vlm.models.families import Family
from vlm.models.types import Model
from vlm.table import Table

MODALITIES = ("vision", "text")
_D_MAX = 2.0
# This many float64 numbers fit in a core's second-level cache.
_BLOCK = 2**17


@dataclass(eq=False, repr=False)
class ProbeRecord(BatchedRecord):
    """The distances that :func:`vlm.probe` measured; grows by one entry per forward call.

    Call the model once per prompt. Under `generate`, the call that reads the prompt is recorded and cached decoding
    steps are ignored; beams, several return sequences and decoding without a cache repeat the prompt, and each
    repetition is recorded as a sample. Memory is O(layers) per sample; during a call, one extra state
    (the input of layer 0) and four numbers per token and layer are kept.

    Attributes
    ----------
    thresholds : tuple of float
        Cosine distances t at which the fraction of close tokens is counted.
    depth : int
        Number of decoder layers.

    See Also
    --------
    vlm.probe : Makes one.

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=2, kinds=("location", "count"))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with vlm.probe(model, thresholds=(0.01, 0.05)) as record:
    ...     _ = model(**batch)
    >>> record
    ProbeRecord(samples=2, thresholds=(0.01, 0.05), depth=10)
    >>> record.samples, record.depth
    (2, 10)
    >>> record.table().where(modality="vision", sample=0)["tokens"].tolist()
    [36, 36, 36, 36, 36, 36, 36, 36, 36, 36]
    """

    thresholds: tuple[float, ...]
    depth: int
    _sample_axis: ClassVar[int] = 1  # after the layers
    _done: list[Tensor] = field(default_factory=list)
    _rows: list[Tensor] = field(default_factory=list)
    _first: Tensor | None = None
    _last: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def observe(self, call: Call, layer: int, before: Tensor, after: Tensor) -> None:
        """Take in one layer's input and output (called by the hooks)."""
        if call.past:
            return
        if layer == 0 or self._first is None:
            self._rows, self._first, self._last = [], before.clone(), None
        # A layer's output is usually the next layer's input: its norms need not be computed again.
        norms = self._last[1] if self._last is not None and self._last[0] is before else _norms(before)
        # The layers of one model may be on different devices.
        here = after.device
        lengths = _lengths(before.to(here), after, self._first.to(here))
        self._rows.append(torch.cat([norms.to(here).unsqueeze(0), lengths]).to(call.real.device))
        self._last = after, lengths[0]

    @torch.no_grad()
    def finish(self, call: Call) -> None:
        """Store the samples of a forward call that has ended (called by the hooks)."""
        rows, self._rows, self._first, self._last = self._rows, [], None, None
        if len(rows) == self.depth:
            self._done.append(_sums(call, torch.stack(rows), self.thresholds).to("cpu"))

    def table(self) -> Table:
        """Tidy table, one row per (sample, layer, modality).

        Returns
        -------
        Table
            Its columns:

            sample, layer, modality
                `layer` l compares state l (what enters decoder layer l) with state l+1 (what leaves it).
            tokens
                Number of tokens of this modality; padding is never counted. With 0 the means are NaN.
            distance
                Mean cosine distance between state l and state l+1, range [0, 2].
            distance_from_entry
                Mean cosine distance between state 0 and state l+1: how far late entry at l+1 would be off.
            norm_in, norm_out, moved
                Mean Euclidean norms of state l, state l+1 and of their difference.
            undefined
                Number of tokens with a zero, NaN or infinite state, which has no direction; their distance counts as 2.
            within_T, entry_within_T
                Fraction of tokens whose adjacent distance (distance from state 0) is at most T, for each threshold.

        Raises
        ------
        ValueError
            Nothing was recorded yet.
        """
        self._check_recorded("probe")
        sums = torch.cat(self._done, dim=1).numpy()  # (layers, samples, modalities, columns)
        layer, sample, modality = (a.reshape(-1) for a in np.indices(sums.shape[:3]))
        order = np.lexsort((modality, layer, sample))
        flat = sums.reshape(-1, sums.shape[-1])[order]
        tokens = flat[:, 0]
        with np.errstate(invalid="ignore"):
            means = flat / np.where(tokens > 0, tokens, np.nan)[:, None]
        columns = {
            "sample": sample[order],
            "layer": layer[order],
            "modality": np.array(MODALITIES)[modality[order]],
            "tokens": tokens.astype(np.int64),
            "distance": means[:, 1],
            "distance_from_entry": means[:, 2],
            "norm_in": means[:, 3],
            "norm_out": means[:, 4],
            "moved": means[:, 5],
            "undefined": flat[:, 6].astype(np.int64),
        }
        for i, t in enumerate(self.thresholds):
            columns[f"within_{t:g}"] = means[:, 7 + 2 * i]
            columns[f"entry_within_{t:g}"] = means[:, 8 + 2 * i]
        return Table(columns)

    def _measured(self) -> dict[str, object]:
        return {"table": self.table().columns}


@contextmanager
def probe(
    model: Model, *, thresholds: float | Sequence[float] = (0.05,), family: Family | None = None
) -> Iterator[ProbeRecord]:
    r"""Measure the cosine distances between layers' states while the model runs.

    Distances are computed in float64 and averaged over the tokens of each modality; no states are kept.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family.
    thresholds : float or sequence of float
        Distances t >= 0 at which the fraction of close tokens is counted.
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    ProbeRecord
        `record.table()` after one or more forward calls.

    Raises
    ------
    ValueError, TypeError
        A negative threshold; a model that is not a vision-language model of a known family.

    See Also
    --------
    vlm.attention : The second measurement that `vlm.decide` needs.
    vlm.decide : The plan that both allow.
    redundancy.geometric, redundancy.proximal : The same quantities for two arrays of states.

    Notes
    -----
    The cosine distance of states x and y is :math:`1 - \langle x, y\rangle / (\|x\| \|y\|)`, in [0, 2] (theory,
    D1). Its mean is geometric redundancy (D2), the fraction of tokens with a distance of at most t is one minus
    :math:`P_t` of proximal redundancy (D3).

    References
    ----------
    Hartman et al. (2025), *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models*,
    arXiv:2509.25584.

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=2, kinds=("location", "count"))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with vlm.probe(model, thresholds=(0.01, 0.05)) as record:
    ...     _ = model(**batch)
    >>> table = record.table().where(sample=0, modality="vision")
    >>> table["distance"].round(3)
    array([0.053, 0.065, 0.146, 0.075, 0.069, 0.055, 0.026, 0.01 , 0.015,
           0.194])
    >>> table["within_0.05"].round(2)
    array([0.56, 0.39, 0.11, 0.31, 0.36, 0.56, 0.97, 1.  , 1.  , 0.06])
    """
    levels, _ = checks.thresholds(np.asarray(thresholds, dtype=np.float64))
    if len({f"{t:g}" for t in levels}) < levels.size:
        raise ValueError(f"thresholds: expected values that differ in their first six digits, got {levels.tolist()}")
    with attached(model, family) as engine:
        record = ProbeRecord(tuple(float(t) for t in levels), engine.parts.depth)
        with engine.watch_layers(record.observe, record.finish):
            yield record


def _norms(states: Tensor) -> Tensor:
    """Euclidean norm of each row in float64."""
    norms: Tensor = torch.linalg.vector_norm(states, dim=-1, dtype=torch.float64)
    return norms


def _lengths(before: Tensor, after: Tensor, first: Tensor) -> Tensor:
    """Norms of after, after - before and after - first, (3, batch, tokens) in float64."""
    # On a CPU, blocks whose float64 copies stay in the cache: fresh memory costs more than the arithmetic.
    rows = after.shape[:-1].numel() if after.is_cuda else max(1, _BLOCK // after.shape[-1])
    blocks = (torch.split(states.flatten(0, -2), rows) for states in (before, after, first))
    parts = []
    for x, y, z in zip(*blocks, strict=True):
        wide = y.to(torch.float64)
        parts.append(torch.stack([_norms(wide), _norms(wide - x), _norms(wide - z)]))
    return torch.cat(parts, dim=1).view(3, *after.shape[:-1])


def _sums(call: Call, lengths: Tensor, thresholds: tuple[float, ...]) -> Tensor:
    """Sums over the tokens of each modality, (layers, batch, modalities, columns).

    `lengths` (layers, 4, batch, tokens) are the norms of state l, state l+1, and state l+1 minus states l and 0.
    """
    norms, new_norms, moved, strayed = lengths.unbind(dim=1)
    lost = _undefined(new_norms)
    undefined = _undefined(norms) | lost
    adjacent = _distance(norms, new_norms, moved, undefined)
    entry = _distance(norms[:1], new_norms, strayed, _undefined(norms[:1]) | lost)
    columns = [torch.ones_like(adjacent), adjacent, entry, norms, new_norms, moved, undefined.to(torch.float64)]
    for t in thresholds:
        columns += [(adjacent <= t).to(torch.float64), (entry <= t).to(torch.float64)]
    masks = torch.stack([call.vision, call.text], dim=1)
    # Padding may hold anything, and 0 times infinity is not 0.
    counted = masks.any(dim=1).unsqueeze(-1)
    # (batch, modalities, tokens) x (layers, batch, tokens, columns)
    return masks.to(torch.float64) @ torch.where(counted, torch.stack(columns, dim=-1), 0.0)


def _undefined(norms: Tensor) -> Tensor:
    return (norms == 0) | ~torch.isfinite(norms)


def _distance(a: Tensor, b: Tensor, apart: Tensor, undefined: Tensor) -> Tensor:
    """Cosine distance of vectors with norms a and b whose difference has norm `apart`; `_D_MAX` where undefined.

    Half the squared chord between the directions, |x/a - y/b|^2 = (|x - y|^2 - (a - b)^2) / (a b), computed as a
    product: accurate to eps (a/b + b/a), where eps is the rounding error of float64.
    """
    gap = (a - b).abs()
    chord = ((apart - gap).clamp(min=0.0) / a) * ((apart + gap) / b)
    return torch.where(undefined, _D_MAX, 0.5 * chord)
