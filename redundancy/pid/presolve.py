"""Reduce a BROJA problem to smaller ones with the same answer, and expand their solutions.

Symbols of X with the same posterior p(t | x) are merged (Blackwell: only the posterior matters), likewise for Y;
the values of T are split into blocks that share no cell; a block of a single t contributes nothing; a slice in which X
or Y takes one value has only one coupling. None of this can do harm: the certificate is computed on the original
distribution.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from redundancy.array_types import BoolArray, FloatArray, IntArray
from redundancy.information.finite_entropy import LEAST

SAME_POSTERIOR = 1e-9  # relative; merging posteriors that differ by this much costs its square


@dataclass(frozen=True, eq=False)
class Block:
    """Values t of one block, its merged symbols, and its normalised pair tables a (x, t) and b (t, y)."""

    t: IntArray
    a: FloatArray
    b: FloatArray
    x_of: IntArray  # merged row of each original x, -1 where x never meets this block
    y_of: IntArray

    @property
    def forced(self) -> bool:
        """Whether the pair tables determine the coupling (for a single t, any coupling is optimal)."""
        single_x, single_y = (self.a > 0).sum(0) == 1, (self.b > 0).sum(1) == 1
        return self.t.size == 1 or bool((single_x | single_y).all())


def blocks(a: FloatArray, b: FloatArray) -> Iterator[Block]:
    """Independent blocks of the problem with pair tables a (x, t) and b (t, y); values t without mass are left out."""
    label_x, label_y = same_rows(a), same_rows(b.T)
    merged_a = _sum_by(a, label_x)
    merged_b = _sum_by(b.T, label_y).T
    # t and t' share a cell (x, y) when some x and some y can occur with both
    has_a, has_b = (merged_a > 0).astype(np.float64), (merged_b > 0).astype(np.float64)
    for t in _components((has_a.T @ has_a > 0) & (has_b @ has_b.T > 0)):
        if not has_a[:, t].any():
            continue
        rows = np.flatnonzero((merged_a[:, t] > 0).any(1))
        columns = np.flatnonzero((merged_b[t] > 0).any(0))
        mass = merged_a[:, t].sum()
        yield Block(
            t=t,
            a=merged_a[np.ix_(rows, t)] / mass,
            b=merged_b[np.ix_(t, columns)] / mass,
            x_of=_position(label_x, rows, a[:, t].sum(1) > 0),
            y_of=_position(label_y, columns, b[t].sum(0) > 0),
        )


def forced_solution(block: Block) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Coupling (x, t, y) and dual (u, v) of a forced block, without any iteration.

    With one x per slice, u = 0 and v = log q(t | x, y) there is optimal, and likewise with one y.
    """
    a, b = block.a, block.b
    if block.t.size == 1:
        q = a[:, :, None] * (b / b.sum(1, keepdims=True))[None]
        return q, np.where(a > 0, 0.0, -np.inf), np.where(b > 0, 0.0, -np.inf)
    return _one_per_slice(a, b)


def propose_forced(a: FloatArray, b: FloatArray, tol: float) -> tuple[FloatArray, FloatArray, FloatArray, int]:
    """The same for whole pair tables a (x, t) and b (t, y), every slice of which has one x or one y."""
    return *_one_per_slice(a, b), 0


def _one_per_slice(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    has_a, has_b = a > 0, b > 0
    q = a[:, :, None] * (b / np.add.reduce(b, 1)[:, None])[None]  # exact: one factor of each slice is 0 or 1
    ratio = q / np.maximum(np.add.reduce(q, 1)[:, None], LEAST)
    single_x = np.add.reduce(has_a, 0) == 1
    with np.errstate(divide="ignore"):
        u = np.log(np.where(single_x, has_a, np.maximum.reduce(ratio, 2)))
        v = np.log(np.where(single_x[:, None], np.maximum.reduce(ratio, 0), has_b))
    return q, u, v


def put_back(
    block: Block,
    solution: tuple[FloatArray, FloatArray, FloatArray],
    tables: tuple[FloatArray, FloatArray],
    out: tuple[FloatArray, FloatArray, FloatArray],
) -> None:
    """Write a block's solution into the full coupling q (x, t, y) and dual u (x, t), v (t, y), in place.

    Merged symbols share their mass in proportion to the original tables; their dual values are equal.
    """
    (q, u, v), (a, b), (full_q, full_u, full_v) = solution, tables, out
    x, y = np.flatnonzero(block.x_of >= 0), np.flatnonzero(block.y_of >= 0)
    row, column = block.x_of[x], block.y_of[y]
    here_a, here_b = a[np.ix_(x, block.t)], b[np.ix_(block.t, y)]
    whole_a, whole_b = _sum_by(here_a, row)[row], _sum_by(here_b.T, column).T[:, column]
    share_a = np.divide(here_a, whole_a, out=np.zeros_like(here_a), where=here_a > 0)
    share_b = np.divide(here_b, whole_b, out=np.zeros_like(here_b), where=here_b > 0)
    mass = here_a.sum()
    coupling = mass * q[row][:, :, column] * share_a[:, :, None] * share_b[None]
    full_q[np.ix_(x, block.t, y)] = coupling
    full_u[np.ix_(x, block.t)] = np.where(here_a > 0, u[row], -np.inf)
    full_v[np.ix_(block.t, y)] = np.where(here_b > 0, v[:, column], -np.inf)


def same_rows(a: FloatArray) -> IntArray:
    """Label rows (x, t) by their posterior p(t | x); rows without mass keep a label of their own."""
    mass = a.sum(1, keepdims=True)
    posterior = np.divide(a, mass, out=np.zeros_like(a), where=mass > 0)
    order = np.lexsort(posterior.T)
    here, before = posterior[order[1:]], posterior[order[:-1]]
    # relative closeness also forbids merging a zero with a small number
    same = (np.abs(here - before) <= SAME_POSTERIOR * np.minimum(here, before)).all(1)
    if not same.any():
        return np.arange(len(a))
    label = np.empty(len(a), dtype=np.int64)
    label[order] = np.concatenate([[0], np.cumsum(~same)])
    return label


def _sum_by(a: FloatArray, label: IntArray) -> FloatArray:
    out = np.zeros((label.max() + 1, *a.shape[1:]))
    np.add.at(out, label, a)
    return out


def _position(label: IntArray, rows: IntArray, present: BoolArray) -> IntArray:
    place = np.full(label.max() + 1, -1)
    place[rows] = np.arange(rows.size)
    return np.where(present, place[label], -1)


def _components(linked: BoolArray) -> list[IntArray]:
    """Connected components of a symmetric relation, in order of their first member."""
    rest, components = np.ones(len(linked), dtype=bool), []
    while rest.any():
        reached = np.zeros(len(linked), dtype=bool)
        grown = np.arange(len(linked)) == np.argmax(rest)
        while (grown != reached).any():
            reached, grown = grown, grown | linked[grown].any(0)
        components.append(np.flatnonzero(reached))
        rest &= ~reached
    return components
