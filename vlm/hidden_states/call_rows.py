"""What was taken of the forward calls of some prompts, unpacked on the host into rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from redundancy.array_types import BoolArray, FloatArray, IntArray
from vlm.hidden_states.host_copies import HostBuffer
from vlm.hidden_states.state_rows import HELD_AS, STATE_DTYPES, Block, Held, Prompt, StateDType, ViewRows
from vlm.hidden_states.token_choice import Choice, Numbers
from vlm.hidden_states.views import View

TORCH_DTYPES: dict[StateDType, torch.dtype] = {name: getattr(torch, name) for name in STATE_DTYPES}


class Kept(NamedTuple):
    """How means and tokens are kept."""

    mean: StateDType
    token: StateDType

    def of(self, view: View) -> StateDType:
        """How the rows of a view are kept."""
        return self.mean if view.which == "mean" else self.token


def kept(dtype: StateDType | None, states: torch.dtype) -> Kept:
    """How states of a model are kept: as asked, else as they are, with means at least in float32."""
    if dtype is not None:
        return Kept(dtype, dtype)
    own = [name for name, value in TORCH_DTYPES.items() if value == states]
    return Kept("float64" if states == torch.float64 else "float32", own[0] if own else "float32")


@dataclass(frozen=True, eq=False)
class CallRows:
    """What was taken of one call, possibly still on its way to the host.

    Attributes
    ----------
    choice : Choice
        Which tokens.
    numbers : Numbers
        Numbers of the call's tokens.
    kept : Kept
        Types of the rows.
    exact : bool
        Whether the rows are the model's own numbers, so that infinities are its own too.
    width : int
        Entries of one state.
    tables : HostBuffer
        (1, batch, numbers): the tables of `choice`.
    states : HostBuffer
        (layers, batch, bytes): what `choice.take` gave for each layer.
    """

    choice: Choice
    numbers: Numbers
    kept: Kept
    exact: bool
    width: int
    tables: HostBuffer
    states: HostBuffer

    def arrived(self, layers: Sequence[int]) -> dict[View, _Columns]:
        """The columns of each view, as arrays that own their memory."""
        tables = self.tables.ready()[0].numpy()
        packed = self.states.ready().numpy()
        columns: dict[View, _Columns] = {}
        number = byte = 0
        for chosen in self.choice.chosen:
            shape = tuple(chosen.table.shape)
            size = shape[1] * shape[2]
            table = tables[:, number : number + size].reshape(shape).copy()
            held = HELD_AS[self.kept.of(chosen.view)]
            length = shape[2] * self.width * np.dtype(held).itemsize
            values = np.ascontiguousarray(packed[:, :, byte : byte + length]).view(held)
            if values.base is not None and np.shares_memory(values, packed):
                values = values.copy()  # the pinned memory is used again
            values = values.reshape(len(layers), shape[0], shape[2], self.width)
            valid, token, place, key = table.transpose(1, 0, 2)
            columns[chosen.view] = _Columns(valid.astype(bool), token, place, key, values)
            number, byte = number + size, byte + length
        return columns


class _Columns(NamedTuple):
    """Of one view and call, or of several calls side by side."""

    valid: BoolArray  # (batch, columns)
    token: IntArray
    block: IntArray
    key: IntArray
    values: NDArray[np.generic]  # (layers, batch, columns, width)


def rows_of_calls(calls: Sequence[CallRows], prompts: tuple[Prompt, ...], layers: Sequence[int]) -> Block:
    """The rows of prompts that came in one call or, in parts, in several.

    Raises
    ------
    OverflowError
        A state is too large for float16.
    """
    arrived = [call.arrived(layers) for call in calls]
    rows: dict[View, ViewRows] = {}
    for view in arrived[0]:
        dtype = calls[0].kept.of(view)
        parts = [columns[view] for columns in arrived]
        whole = parts[0] if len(parts) == 1 else _joined(view, parts, dtype)
        valid = whole.valid
        values = {layer: Held(whole.values[i][valid], dtype) for i, layer in enumerate(layers)}
        if dtype == "float16" and not calls[0].exact:
            _refuse_overflow(values, view)
        rows[view] = ViewRows(np.nonzero(valid)[0], whole.token[valid], whole.block[valid], values)
    return Block(prompts, rows)


def _joined(view: View, parts: Sequence[_Columns], dtype: StateDType) -> _Columns:
    """One set of columns for prompts that came in several calls."""
    if view.which == "mean":
        return _joined_mean(parts, dtype)
    valid, token, block, key = (np.concatenate([part[i] for part in parts], axis=1) for i in range(4))
    side = _Columns(valid, token, block, key, np.concatenate([part.values for part in parts], axis=2))
    if view.which == "all":
        return side
    # Of the last token, the latest; of a sample, the smallest hash values.
    place = np.arange(side.valid.shape[1])
    rank = np.where(side.valid, side.key if view.which == "sample" else -place, np.iinfo(np.int64).max)
    best = np.argsort(rank, axis=1, kind="stable")[:, : 1 if view.which == "last" else view.size]
    chosen = np.zeros_like(side.valid)
    np.put_along_axis(chosen, best, True, axis=1)
    return side._replace(valid=side.valid & chosen)


def _joined_mean(parts: Sequence[_Columns], dtype: StateDType) -> _Columns:
    count = np.sum([part.token for part in parts], axis=0)
    total: FloatArray = np.sum(
        [Held(part.values, dtype).wide().astype(np.float64) * part.token[None, :, :, None] for part in parts], axis=0
    )
    mean = torch.from_numpy(total / np.maximum(count, 1)[None, :, :, None]).to(TORCH_DTYPES[dtype])
    held = mean.view(torch.int16).numpy().view(np.uint16) if dtype == "bfloat16" else mean.numpy()
    return parts[0]._replace(valid=count > 0, token=count, values=held)


def _refuse_overflow(values: dict[int, Held], view: View) -> None:
    for layer, held in values.items():
        if np.isinf(held.array).any():
            raise OverflowError(
                f"dtype: expected states within float16's +-65504, but state {layer} has larger entries ({view}); "
                "keep them as bfloat16 or float32"
            )
