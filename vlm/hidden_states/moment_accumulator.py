"""Sums on the layers' devices: what one prompt adds for each state and pair of states, and where it is added.

Arrays of several states or pairs are stacked, so that a GPU runs few kernels; on a CPU each stays in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from redundancy.array_types import FloatArray
from vlm.hidden_states.moment_exact import ExactSum

# Float64 numbers in a temporary array of one step: 128 MiB on a GPU, where kernels should be few; 1 MiB on a CPU.
_GPU_STEP = 2**24
_CPU_STEP = 2**17
# Float64 numbers in a block of an addition on a CPU: its six arrays fit in the second-level cache.
_CPU_BLOCK = 2**15


@dataclass(eq=False)
class Accumulators:
    """Running sums (folds, items, ...) of the states or pairs that live on one device, with their rounding errors."""

    high: tuple[Tensor, ...]
    low: tuple[Tensor, ...]

    @classmethod
    def zeros(cls, folds: int, items: int, shapes: Sequence[tuple[int, ...]], device: torch.device) -> Accumulators:
        """Empty sums of arrays of these shapes."""

        def empty() -> tuple[Tensor, ...]:
            return tuple(torch.zeros(folds, items, *s, dtype=torch.float64, device=device) for s in shapes)

        return cls(empty(), empty())

    def add(self, fold: int, items: slice, parts: Sequence[Tensor]) -> None:
        """Add one array (items, ...) per sum; arrays are consumed."""
        for high, low, part in zip(self.high, self.low, parts, strict=True):
            add_exactly(high[fold, items], low[fold, items], part)

    def on_host(self, fold: int, item: int) -> tuple[ExactSum, ...]:
        """The sums of one item."""
        return tuple(
            ExactSum.of(high[fold, item].cpu().numpy(), low[fold, item].cpu().numpy())
            for high, low in zip(self.high, self.low, strict=True)
        )


def add_exactly(high: Tensor, low: Tensor, part: Tensor) -> None:
    """high + low += part in place, keeping the rounding error of the addition in `low` (Knuth's sum)."""
    arrays = [high.reshape(-1), low.reshape(-1), part.reshape(-1)]  # views: all are contiguous
    size = _CPU_BLOCK if part.device.type == "cpu" else arrays[0].numel() or 1
    for h, rest, p in zip(*(torch.split(a, size) for a in arrays), strict=True):
        total = h + p
        taken = total - h
        rest += p.sub_(taken).add_(h - (total - taken))
        h.copy_(total)


@dataclass(frozen=True, eq=False)
class Prepared:
    """One prompt's rows of one state less the pilot, with their mean, and projected."""

    rows: Tensor  # (n, d)
    projected: Tensor  # (n, k)
    mean: Tensor  # (d,) float64
    projected_mean: Tensor  # (k,) float64


@dataclass(frozen=True, eq=False)
class Geometry:
    """What the sums look like: widths, folds and the projection."""

    folds: int
    width: int
    basis: FloatArray | None
    dtype: torch.dtype
    _bases: dict[torch.device, Tensor] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        """Columns k of the input side."""
        return self.width if self.basis is None else len(self.basis)

    @property
    def state_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Outer products u x^T, products of means, and the small sums of `state_parts`."""
        d, k = self.width, self.rank
        return ((k, d), (k, k), (d + 2 * k + 5,))

    @property
    def pair_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Outer products u y^T (and v x^T and u v^T, if projected), products of means, and small sums."""
        d, k = self.width, self.rank
        crosses = ((k, d),) if self.basis is None else ((k, d), (k, d), (k, k))
        return (*crosses, (k, k), (4 * k + 4,))

    def numbers(self, states: int, pairs: int) -> int:
        """How many float64 numbers all sums of one modality hold, rounding errors included."""
        each = [sum(int(np.prod(shape)) for shape in shapes) for shapes in (self.state_shapes, self.pair_shapes)]
        return 2 * self.folds * (states * each[0] + pairs * each[1])

    def step(self, device: torch.device, tokens: int) -> int:
        """How many states or pairs are worked on at once, for a prompt of so many tokens."""
        most = _CPU_STEP if device.type == "cpu" else _GPU_STEP
        return max(1, most // (max(self.rank, tokens) * self.width))

    def prepared(self, rows: Tensor, pilot: Tensor) -> Prepared:
        """Bring one prompt's rows (n, d) into the form that the sums are made of."""
        # Float32 less float64 is float64, in one pass.
        centred = rows - pilot if self.dtype == torch.float64 else rows.to(self.dtype) - pilot.to(self.dtype)
        mean = centred.mean(dim=0, dtype=torch.float64)
        if self.basis is None:
            return Prepared(centred, centred, mean, mean)
        basis = self._basis(rows.device)
        return Prepared(centred, centred @ basis.to(self.dtype).T, mean, basis @ mean)

    def _basis(self, device: torch.device) -> Tensor:
        if device not in self._bases:
            self._bases[device] = torch.as_tensor(self.basis, dtype=torch.float64, device=device)
        return self._bases[device]


def state_parts(states: Sequence[Prepared], projected: bool) -> list[Tensor]:
    """What one prompt adds to the sums of some states, each (states, ...)."""
    z, u = (_stacked([getattr(s, name) for s in states]) for name in ("rows", "projected"))
    mean, m = (_stacked([getattr(s, name) for s in states]) for name in ("mean", "projected_mean"))
    outer = _product(u, z)
    own = _product(u, u) if projected else outer
    mixed = (own @ m[..., None])[..., 0]
    square = m.square().sum(-1, keepdim=True)
    small = torch.cat(
        [
            mean,
            mixed,
            m * square,
            _norm_square(z) / z.shape[1],
            _norm_square(own),
            (mixed * m).sum(-1, keepdim=True),
            square,
            square.square(),
        ],
        dim=-1,
    )
    return [outer, m[:, :, None] * m[:, None, :], small]


def pair_parts(left: Sequence[Prepared], right: Sequence[Prepared], projected: bool) -> list[Tensor]:
    """What one prompt adds to the sums of some pairs of states, each (pairs, ...)."""
    x, u, y, v = (
        _stacked([getattr(s, name) for s in side]) for side in (left, right) for name in ("rows", "projected")
    )
    a, b = (_stacked([s.projected_mean for s in side]) for side in (left, right))
    crosses = [_product(u, y)]
    if projected:
        crosses += [_product(v, x), _product(u, v)]
    own = crosses[-1]
    mixed_a = (a[:, None, :] @ own)[:, 0]
    mixed_b = (own @ b[..., None])[..., 0]
    aa, bb = (m.square().sum(-1, keepdim=True) for m in (a, b))
    small = torch.cat(
        [
            mixed_a,
            mixed_b,
            a * bb,
            b * aa,
            _norm_square(y - x) / x.shape[1],
            _norm_square(own),
            (mixed_b * a).sum(-1, keepdim=True),
            aa * bb,
        ],
        dim=-1,
    )
    return [*crosses, a[:, :, None] * b[:, None, :], small]


def _stacked(arrays: Sequence[Tensor]) -> Tensor:
    return arrays[0][None] if len(arrays) == 1 else torch.stack(list(arrays))


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a^T b / n of each item in float64."""
    out: Tensor = torch.bmm(a.transpose(1, 2), b).to(torch.float64)
    return out.div_(a.shape[1])


def _norm_square(a: Tensor) -> Tensor:
    """Squared Frobenius norm (items, 1) in float64."""
    out: Tensor = torch.linalg.vector_norm(a.flatten(1), dim=1, dtype=torch.float64).square()[:, None]
    return out
