"""Families of paths of points, attention heads, and networks run in full and with layers skipped."""

from __future__ import annotations

from math import prod
from typing import Literal

import numpy as np

from bounds.worlds.attention import AttentionWorld, SoftmaxWorld
from bounds.worlds.families import Family, Variant, take
from bounds.worlds.networks import PathWorld, ResidualWorld, TwoStreamWorld
from bounds.worlds.planned import PlannedWorld
from redundancy.array_types import FloatArray


def paths(steps: int, dim: int) -> Variant:
    """Points in space, one after the other."""
    return Variant(0, (steps + 1) * dim, lambda _, free: PathWorld(free.reshape(steps + 1, dim)))


TWO_STEPS = Family("paths of two steps", PathWorld, (paths(2, 1), paths(2, 3)))
PATHS = Family("paths", PathWorld, (paths(3, 1), paths(2, 2), paths(5, 3)))


def heads(count: int, keys: tuple[int, int], dim: int) -> Variant:
    """Attention heads over image and text keys."""
    n_image, n_text = keys
    n = n_image + n_text
    shapes = ((count, n), (count, n, dim), (count, dim, dim), (count, n_image), (count, n_image, dim))

    def build(_: FloatArray, free: FloatArray) -> AttentionWorld:
        scores, values, outputs, new_scores, new_values = take(free, *shapes)
        return AttentionWorld(3.0 * scores, values, n_image, outputs, 3.0 * new_scores, new_values)

    return Variant(0, sum(prod(s) for s in shapes), build)


ONE_HEAD = Family("one attention head", AttentionWorld, (heads(1, (1, 1), 1), heads(1, (2, 3), 2)))
HEADS = Family("attention heads", AttentionWorld, (heads(2, (1, 1), 1), heads(3, (2, 2), 2)))


def softmaxes(keys: int, dim: int) -> Variant:
    """A softmax distribution and a change of its scores."""

    def build(_: FloatArray, free: FloatArray) -> SoftmaxWorld:
        scores, change, values = take(free, (keys,), (keys,), (keys, dim))
        return SoftmaxWorld(2.0 * scores, 2.0 * change, values)

    return Variant(0, keys * (dim + 2), build)


SOFTMAX = Family("a softmax distribution with changed scores", SoftmaxWorld, (softmaxes(2, 1), softmaxes(4, 3)))


def residual(depth: int, dim: int) -> Variant:
    """Residual networks run in full and with layers skipped; the sign of a number says which."""
    shapes = ((dim,), (depth, dim, dim), (depth, dim, dim), (depth,))

    def build(_: FloatArray, free: FloatArray) -> ResidualWorld:
        start, linear, curved, skip = take(free, *shapes)
        return ResidualWorld(start, linear, 0.3 * curved, skip > 0.3)

    return Variant(0, sum(prod(s) for s in shapes), build)


RESIDUAL = Family("residual networks", ResidualWorld, (residual(2, 1), residual(4, 2)))


def planned(depth: int, dim: int, words: int) -> Variant:
    """Residual networks that end in logits; all weights are bounded, so that logits stay comparable."""
    shapes = ((dim,), (depth, dim, dim), (depth, dim, dim), (depth,), (words, dim))

    def build(_: FloatArray, free: FloatArray) -> PlannedWorld:
        start, linear, curved, skip, rows = take(free, *shapes)
        network = ResidualWorld(np.tanh(start), 0.5 * np.tanh(linear), 0.5 * np.tanh(curved), skip > 0.0)
        return PlannedWorld(network, 2.0 * np.tanh(rows))

    return Variant(0, sum(prod(s) for s in shapes), build)


PLANNED = Family("plans of residual networks with logits", PlannedWorld, (planned(2, 1, 2), planned(4, 2, 3)))


def two_streams(depth: int, dim: int, which: Literal["entry", "exit"]) -> Variant:
    """Text and image streams; image tokens skip the first half of the layers ("entry") or the second ("exit")."""
    shapes = ((dim,), (dim,), (depth, 4, dim, dim))
    entry, leave = (depth // 2, depth) if which == "entry" else (0, depth // 2)

    def build(_: FloatArray, free: FloatArray) -> TwoStreamWorld:
        text, image, maps = take(free, *shapes)
        return TwoStreamWorld(text, image, 0.5 * maps, entry, leave)

    return Variant(0, sum(prod(s) for s in shapes), build)


LATE_ENTRY = Family("late entry", TwoStreamWorld, (two_streams(2, 1, "entry"), two_streams(4, 2, "entry")))
EARLY_EXIT = Family("early exit", TwoStreamWorld, (two_streams(2, 1, "exit"), two_streams(4, 2, "exit")))
