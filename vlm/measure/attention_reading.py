"""Which visual attention ratio a condition speaks of: whose, and how heads are joined."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from redundancy.array_types import FloatArray

TextTokens = Literal["all", "answer"]
Heads = Literal["largest", "mean"]


def check_reading(tokens: TextTokens = "all", heads: Heads = "largest") -> None:
    """Raise a ValueError that names the argument unless both are known."""
    for name, value, known in (("tokens", tokens, get_args(TextTokens)), ("heads", heads, get_args(Heads))):
        if value not in known:
            raise ValueError(f"{name}: expected {' or '.join(map(repr, known))}, got {value!r}")


def chosen_reading(by_head: FloatArray, head_mean: FloatArray | None, heads: Heads) -> FloatArray:
    """(samples, layers) from ratios (samples, layers, heads) and, where it is not their mean, the joined one.

    The largest mean over heads of any token is less than the mean of each head's largest, so it is kept apart.
    """
    if heads == "largest":
        return np.asarray(by_head.max(axis=2))
    return np.asarray(by_head.mean(axis=2)) if head_mean is None else head_mean


def reading_words(tokens: TextTokens, heads: Heads) -> str:
    """The reading in words, for reports: "all text tokens, largest head"."""
    whose = "all text tokens" if tokens == "all" else "answer token"
    return f"{whose}, {'largest head' if heads == 'largest' else 'mean over heads'}"
