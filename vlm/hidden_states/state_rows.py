"""Rows of recorded states on the host, whether they are in memory or on disk, and how two layers of them are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from redundancy.array_types import IntArray
from vlm.hidden_states.views import View
from vlm.table import Table

StateDType = Literal["float16", "bfloat16", "float32", "float64"]
STATE_DTYPES: tuple[StateDType, ...] = get_args(StateDType)
# What an array of each type is held as: NumPy has no bfloat16, so its bits are kept.
HELD_AS: dict[StateDType, type[np.generic]] = {
    "float16": np.float16,
    "bfloat16": np.uint16,
    "float32": np.float32,
    "float64": np.float64,
}
States: TypeAlias = NDArray[np.floating[Any]]
Text = NDArray[np.str_]


class StatePair(NamedTuple):
    """States of two layers on the same tokens, ready for the estimators of `redundancy`.

    Attributes
    ----------
    x, y : float (rows, d)
        States l and m; row i of both is the same token of the same prompt.
    groups : str (rows,)
        Image of each row, the unit of sampling.
    """

    x: States
    y: States
    groups: Text


@dataclass(frozen=True)
class Prompt:
    """What one prompt is about.

    Attributes
    ----------
    item, image : str
        Id of the item, and of its image.
    task, answer : str
        Data set (or another name of the task) and reference answer; empty where none was given.
    digest : str
        Hash of the item's content, by which a run tells whether its data has changed; empty outside of runs.
    """

    item: str
    image: str
    task: str = ""
    answer: str = ""
    digest: str = ""


@dataclass(frozen=True, eq=False)
class Held:
    """An array of states (rows, d) as it is held: bfloat16 as the bits of its numbers."""

    array: NDArray[Any]
    dtype: StateDType

    def wide(self) -> States:
        """As float32 (float64 where it is held as float64); exact."""
        if self.dtype == "bfloat16":
            return (np.asarray(self.array).astype(np.uint32) << 16).view(np.float32)
        return np.asarray(self.array, dtype=np.float64 if self.dtype == "float64" else np.float32)


@dataclass(frozen=True, eq=False)
class ViewRows:
    """The rows of one view on some prompts.

    Attributes
    ----------
    prompt : int (rows,)
        Place of each row's prompt in the block.
    token : int (rows,)
        Ordinal of the token among those of its modality in the prompt; of a mean, the number of tokens.
    block : int (rows,)
        Number of the run of consecutive image tokens that an image token belongs to, or of runs before a text token.
        -1 for means.
    values : mapping of int -> Held
        States (rows, d) by layer.
    """

    prompt: IntArray
    token: IntArray
    block: IntArray
    values: Mapping[int, Held]


@dataclass(frozen=True, eq=False)
class Block:
    """Prompts that were recorded together, and their rows in every view."""

    prompts: tuple[Prompt, ...]
    rows: Mapping[View, ViewRows]


class RecordedStates(ABC):
    """Hidden states of some prompts: what :func:`vlm.states` recorded, or what was read back from disk.

    Row i is the same token of the same prompt in every layer of a view.
    """

    views: tuple[View, ...]
    layers: tuple[int, ...]
    depth: int

    @abstractmethod
    def blocks(self) -> Sequence[Block]:
        """Everything recorded so far, in order; for ``layer`` and ``pair``, which most readers want."""

    def layer(self, layer: int, view: str | View = "last") -> States:
        """States of one layer.

        Parameters
        ----------
        layer : int
            0..L: state l enters decoder layer l; state L is the last layer's output before the final norm.
        view : str or View
            One of the recorded views.

        Returns
        -------
        ndarray (rows, d)
            As float32 (float64 where they were kept as float64).

        Raises
        ------
        ValueError
            A layer or view that was not recorded, or a view without any row.
        """
        view = self._check(layer, view)
        parts = [rows.values[layer].wide() for _, rows in self._rows(view) if len(rows.prompt)]
        order = self._order(view)
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return whole if order is None else whole[order]

    def pair(self, first: int, second: int, view: str | View = "last") -> StatePair:
        """States of two layers and the image of each row.

        Parameters
        ----------
        first, second : int
            Layers l and m, as for :meth:`layer`.
        view : str or View
            One of the recorded views.

        Returns
        -------
        StatePair
            x (rows, d), y (rows, d), groups (rows,).

        Raises
        ------
        ValueError
            As for :meth:`layer`.
        """
        x = self.layer(first, view)
        return StatePair(x, self.layer(second, view), self.groups(view))

    def pairs(self, first: int, second: int, view: str | View = "last") -> Iterator[StatePair]:
        """As :meth:`pair`, piece by piece in the order of recording, for views that do not fit into memory.

        Parameters
        ----------
        first, second, view
            As for :meth:`pair`.

        Yields
        ------
        StatePair
            Some rows; all rows of a prompt come together.
        """
        view = self._check(first, view)
        self._check(second, view)
        for prompts, rows in self._rows(view):
            if len(rows.prompt):
                images = np.array([prompt.image for prompt in prompts], dtype=np.str_)
                yield StatePair(rows.values[first].wide(), rows.values[second].wide(), images[rows.prompt])

    def groups(self, view: str | View = "last") -> Text:
        """Image of each row of a view, as text."""
        return self._names("image", self._check(None, view))

    def index(self, view: str | View = "last") -> Table:
        """What each row of a view is.

        Parameters
        ----------
        view : str or View
            One of the recorded views.

        Returns
        -------
        Table
            One row per row of :meth:`layer`, with columns

            item, image, task, answer
                The prompt's, as text.
            token
                Ordinal of the token among those of its modality in the prompt (for a mean, the number of tokens).
            block
                Which run of consecutive image tokens an image token belongs to, counted from 0; for a text token the
                number of such runs before it; -1 for a mean.

        Raises
        ------
        ValueError
            As for :meth:`layer`.
        """
        view = self._check(None, view)
        named = {name: self._names(name, view) for name in ("item", "image", "task", "answer")}
        parts, order = [rows for _, rows in self._rows(view)], self._order(view)
        token, block = np.concatenate([r.token for r in parts]), np.concatenate([r.block for r in parts])
        if order is not None:
            token, block = token[order], block[order]
        return Table({**named, "token": token, "block": block})

    def absent(self, view: str | View) -> int:
        """Number of recorded prompts that have no row in a view, such as prompts without an image in "vision-mean"."""
        rows = list(self._rows(self._check_view(view)))
        return sum(len(prompts) - len(np.unique(part.prompt)) for prompts, part in rows)

    def _names(self, name: str, view: View) -> Text:
        parts = []
        for prompts, rows in self._rows(view):
            labels = np.array([getattr(prompt, name) for prompt in prompts], dtype=np.str_)
            parts.append(labels[rows.prompt])
        order = self._order(view)
        return np.concatenate(parts) if order is None else np.concatenate(parts)[order]

    def _order(self, view: View) -> IntArray | None:
        """How the rows of the blocks are sorted; None to leave them as they are."""
        return None

    def _rows(self, view: View) -> Iterator[tuple[tuple[Prompt, ...], ViewRows]]:
        return ((block.prompts, block.rows[view]) for block in self.blocks())

    def _check_view(self, view: str | View) -> View:
        view = View.parse(view)
        if view not in self.views:
            raise ValueError(
                f"view: expected one of {', '.join(map(str, self.views))}, which were recorded, got {view}"
            )
        return view

    def _check(self, layer: int | None, view: str | View) -> View:
        view = self._check_view(view)
        if layer is not None and layer not in self.layers:
            raise ValueError(
                f"layer: expected one of the recorded states {listed(self.layers)} of 0..{self.depth}, got {layer!r}"
            )
        prompts = sum(len(prompts) for prompts, _ in self._rows(view))
        if not prompts:
            raise ValueError("states: nothing recorded yet; call the model inside the context first")
        if not any(len(rows.prompt) for _, rows in self._rows(view)):
            raise ValueError(
                f"view: expected prompts with {view.modality or 'any'} tokens for {view}, but none of the {prompts} "
                "recorded prompts has one; read another view"
            )
        return view


def listed(layers: Sequence[int]) -> str:
    """Layers in a few characters: runs as "0..4"."""
    parts: list[str] = []
    start = 0
    for i, layer in enumerate(layers):
        if i + 1 == len(layers) or layers[i + 1] != layer + 1:
            first = layers[start]
            parts.append(f"{first}" if first == layer else f"{first}..{layer}")
            start = i + 1
    return ", ".join(parts)
