"""How many bytes recorded states take, said before any work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from redundancy.display import Displayed
from vlm.hidden_states.state_rows import HELD_AS, StateDType
from vlm.hidden_states.views import View, Views, parse_views

# Place of the prompt, ordinal and block of each row, as int32.
INDEX_BYTES = 12


@dataclass(frozen=True, repr=False)
class StatesSize(Displayed):
    """Size of recorded states.

    Attributes
    ----------
    rows : mapping of str -> int
        Rows of one layer, by view; an upper limit where prompts may lack tokens.
    sizes : mapping of str -> int
        Bytes of all layers, by view, with the index.
    total : int
        Bytes of all views together.
    """

    rows: dict[str, int]
    sizes: dict[str, int]

    @property
    def total(self) -> int:
        """Bytes of all views together."""
        return sum(self.sizes.values())

    @classmethod
    def joined(cls, parts: Sequence[StatesSize]) -> StatesSize:
        """Size of several sets of prompts in the same views."""
        rows = {view: sum(part.rows[view] for part in parts) for view in parts[0].rows}
        return cls(rows, {view: sum(part.sizes[view] for part in parts) for view in rows})

    def __str__(self) -> str:
        parts = ", ".join(f"{view} {readable(size)}" for view, size in self.sizes.items())
        return readable(self.total) if len(self.sizes) == 1 else f"{readable(self.total)} ({parts})"


def states_size(
    views: Views,
    *,
    prompts: int,
    width: int,
    layers: int,
    vision_tokens: float = 0,
    text_tokens: float = 0,
    dtype: StateDType | None = None,
    own: StateDType = "bfloat16",
) -> StatesSize:
    """Size of the states of some prompts: rows x layers x width x bytes, and the index.

    Parameters
    ----------
    views : str, View or sequence of them
        As for `vlm.states`.
    prompts : int
        Number of prompts.
    width : int
        Entries of one state.
    layers : int
        Number of recorded states; all of them are one more than the model has decoder layers.
    vision_tokens, text_tokens : float
        Mean number of such tokens of a prompt; needed for "vision-all" and "text-all".
    dtype : {"float16", "bfloat16", "float32", "float64"}, optional
        As for `vlm.states`; by default means are kept in float32 and tokens in the model's own type.
    own : {"float16", "bfloat16", "float32", "float64"}
        The model's own type.

    Returns
    -------
    StatesSize

    Examples
    --------
    LLaVA 1.5 7B on 1,000 prompts, all 33 states:

    >>> from vlm.hidden_states.state_size import states_size
    >>> print(states_size(("last", "vision-mean"), prompts=1000, width=4096, layers=33))
    811.0 MB (last 270.3 MB, vision-mean 540.7 MB)
    """
    rows: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for view in parse_views(views):
        count = round(prompts * _per_prompt(view, vision_tokens, text_tokens))
        kind = dtype or ("float64" if own == "float64" else "float32" if view.which == "mean" else own)
        rows[str(view)] = count
        sizes[str(view)] = count * (layers * width * np.dtype(HELD_AS[kind]).itemsize + INDEX_BYTES)
    return StatesSize(rows, sizes)


def _per_prompt(view: View, vision_tokens: float, text_tokens: float) -> float:
    if view.which == "sample":
        return view.size or 0
    if view.which == "all":
        return vision_tokens if view.modality == "vision" else text_tokens
    return 1


def readable(size: float) -> str:
    """Bytes in a unit of three digits or fewer, in powers of 1,000."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
