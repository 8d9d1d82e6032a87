"""Which items the rows of the next forward calls are."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from redundancy.array_conversion import as_labels
from vlm.hidden_states.call_rows import CallRows
from vlm.hidden_states.state_rows import Prompt


@dataclass(eq=False)
class Announced:
    """The prompts of the next rows, how many calls they take, who named them, and what the calls so far gave."""

    prompts: tuple[Prompt, ...]
    calls: int = 1
    named: bool = True
    done: list[CallRows] = field(default_factory=list)


def prompts_from(
    items: ArrayLike, groups: ArrayLike | None, tasks: ArrayLike | None, answers: ArrayLike | None
) -> tuple[Prompt, ...]:
    """One prompt per item; a ValueError for labels of another length."""
    names = _texts(items, "items", None)
    if groups is None:
        groups = names
    columns = [_texts(groups, "groups", len(names))]
    columns += [
        [""] * len(names) if values is None else _texts(values, name, len(names))
        for name, values in (("tasks", tasks), ("answers", answers))
    ]
    return tuple(Prompt(*row) for row in zip(names, *columns, strict=True))


def _texts(values: ArrayLike, name: str, length: int | None) -> list[str]:
    if isinstance(values, str):
        raise ValueError(f"{name}: expected one label per row of the batch, got the single text {values!r}")
    labels = as_labels(values, name=name)
    if labels.ndim != 1 or (length is not None and len(labels) != length):
        expected = "one label per row" if length is None else f"one label per item, shape ({length},)"
        raise ValueError(f"{name}: expected {expected}, got shape {np.shape(labels)}")
    return [str(label) for label in labels.tolist()]
