"""Recorded states read back from disk, memory-mapped, without torch."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from redundancy.array_types import IntArray
from redundancy.display import Displayed
from vlm.experiments.run_directory import written_items
from vlm.hidden_states.state_rows import Block, Held, RecordedStates, StateDType, ViewRows, listed
from vlm.hidden_states.state_store import FORMAT, ChunkLine, Key, check_whole, chunk_lines, tensor_name
from vlm.hidden_states.tensor_file import TensorFile, open_tensors
from vlm.hidden_states.views import View


@dataclass(eq=False, repr=False)
class StoredStates(Displayed, RecordedStates):
    """Hidden states in a folder; made by :func:`vlm.read_states`.

    Rows are in the order of the data set, however many workers wrote them; of a folder that was written with ``out=``,
    worker by worker. Arrays are mapped from disk when they are asked for.

    Attributes
    ----------
    folder : Path
        Where they are.
    views : tuple of View
        Which vectors stand for a layer.
    layers : tuple of int
        Recorded states, of 0..L.
    depth : int
        Number of decoder layers L.
    plan : str
        Text form of the plan under which they were recorded; "none" for the full model.
    failures : mapping of (task, item) to str
        Items that gave no states, and why.
    missing : int or None
        Items of the data sets that no worker has done yet; None where that is not known.

    See Also
    --------
    vlm.read_states : Makes one.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import vlm
    >>> spec = vlm.read_spec(data=["tiny"], limit=10)
    >>> with TemporaryDirectory() as out:
    ...     stored = vlm.read_states(vlm.states_run(spec, out, views="last", progress=False))
    >>> stored.plan, stored.depth, stored.missing
    ('none', 10, 0)
    """

    folder: Path
    views: tuple[View, ...]
    layers: tuple[int, ...]
    depth: int
    plan: str
    failures: Mapping[Key, str]
    missing: int | None
    _lines: tuple[ChunkLine, ...]
    _ranks: Mapping[Key, int] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        """Number of prompts."""
        return sum(len(line.prompts) for line in self._lines)

    @cached_property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(line.size for line in self._lines)

    def verify(self) -> None:
        """Read every chunk and compare its hash with the one in the log.

        Raises
        ------
        ValueError
            A chunk that has changed since it was written.
        """
        for line in self._lines:
            if line.file:
                with (self.folder / line.file).open("rb") as file:
                    found = hashlib.file_digest(file, "sha256").hexdigest()
                if found != line.sha256:
                    raise ValueError(
                        f"states: {self.folder / line.file} has changed since it was written (sha256 {found[:12]}, "
                        f"expected {line.sha256[:12]}); restore it"
                    )

    @cached_property
    def _opened(self) -> tuple[Block, ...]:
        return tuple(self._block(line) for line in self._lines if line.file)

    def blocks(self) -> Sequence[Block]:
        return self._opened

    def _block(self, line: ChunkLine) -> Block:
        file = open_tensors(self.folder / line.file)
        rows = {view: _rows(file, view, self.layers) for view in self.views}
        return Block(line.prompts, rows)

    def _order(self, view: View) -> IntArray | None:
        if not self._ranks:
            return None
        ranks = [
            np.array([self._ranks[prompt.task, prompt.item] for prompt in prompts], dtype=np.int64)[rows.prompt]
            for prompts, rows in self._rows(view)
        ]
        whole = np.concatenate(ranks)
        return None if (np.diff(whole) >= 0).all() else np.argsort(whole, kind="stable")

    def _shown(self) -> list[tuple[str, Any]]:
        shown: list[tuple[str, Any]] = [("samples", self.samples)]
        shown += [("missing", self.missing)] if self.missing else []
        shown += [("failed", len(self.failures))] if self.failures else []
        views = ", ".join(map(str, self.views))
        return [*shown, ("views", f"({views})"), ("states", listed(self.layers)), ("plan", self.plan)]


def read_states(folder: str | Path) -> StoredStates:
    """Read back the hidden states that `python -m vlm states` or ``vlm.states(..., out=folder)`` stored.

    Needs neither the model nor torch. A run that is not finished can be read: what is there is whole, and what is
    missing is counted.

    Parameters
    ----------
    folder : str or Path
        The run's folder.

    Returns
    -------
    StoredStates
        ``.pair(l, m, view)`` gives x (rows, d), y (rows, d) and groups (rows,), ready for `redundancy`;
        ``.layer``, ``.index``, ``.groups``, ``.absent`` as for a record in memory.

    Raises
    ------
    FileNotFoundError
        No states in this folder.
    ValueError
        Written in another format, a chunk that is missing or cut off, or an item that is stored twice.

    See Also
    --------
    vlm.states : Records them in Python.
    vlm.states_run : Records them on a data set, as the command line does.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import vlm
    >>> spec = vlm.read_spec(data=["tiny"], limit=10)
    >>> with TemporaryDirectory() as out:
    ...     folder = vlm.states_run(spec, out, views=("last", "vision-sample(2)"), progress=False)
    ...     stored = vlm.read_states(folder)
    ...     x, y, groups = stored.pair(3, 4, "vision-sample(2)")
    >>> stored
    StoredStates(samples=10, views=(last, vision-sample(2)), states=0..10, plan=none)
    >>> x.shape, len(set(groups))
    ((20, 64), 2)
    """
    folder = Path(folder)
    content = _content(folder)
    lines = tuple(chunk_lines(folder))
    for line in lines:
        check_whole(folder, line)
    stored = Counter((prompt.task, prompt.item) for line in lines for prompt in line.prompts)
    twice = next((key for key, count in stored.items() if count > 1), None)
    if twice is not None:
        files = [line.file for line in lines if any((p.task, p.item) == twice for p in line.prompts)]
        raise ValueError(
            f"states: expected each item once, got {twice[1]!r} of {twice[0]!r} in {' and '.join(files)}; delete one "
            f"of these chunks' lines from the logs in {folder / 'records'}"
        )
    failures = {(task, item): reason for line in lines for task, item, reason, _ in line.failures}
    failures = {key: reason for key, reason in failures.items() if key not in stored}
    ranks, missing = _item_order(folder, content, stored, failures)
    return StoredStates(
        folder=folder,
        views=tuple(View.parse(view) for view in content["states"]["views"]),
        layers=tuple(content["states"]["layers"]),
        depth=content["states"]["depth"],
        plan=content["states"]["plan"],
        failures=failures,
        missing=missing,
        _lines=lines,
        _ranks=ranks,
    )


def _content(folder: Path) -> dict[str, Any]:
    path = folder / "spec.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"states: no spec.json in {folder}; expected a folder made by `python -m vlm states`, which prints its "
            "name, or by vlm.states(model, out=folder)"
        )
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["content"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"states: {path} is damaged ({error}); restore it") from error
    if "states" not in content:
        raise ValueError(f"states: {folder} holds another kind of run; expected one made by `python -m vlm states`")
    if content["states"].get("format") != FORMAT:
        got = content["states"].get("format")
        raise ValueError(f"states: expected format {FORMAT} in {path}, got {got!r}; record them again")
    return content


def _item_order(
    folder: Path, content: Mapping[str, Any], stored: Mapping[Key, int], failures: Mapping[Key, str]
) -> tuple[dict[Key, int], int | None]:
    """Place of each item in the data sets, and how many items are not there; nothing if an order is not known."""
    labels = [entry["label"] for entry in content.get("data", ())]
    ids = {label: written_items(folder, label) for label in labels}
    known = [(label, item) for label in labels for item in ids[label] or ()]
    ranks = {key: place for place, key in enumerate(known)}
    complete = bool(labels) and None not in ids.values()
    missing = sum(key not in stored and key not in failures for key in known) if complete else None
    # A data set whose list no worker has written yet keeps the order of its chunks, after the others.
    unknown = (key for key in stored if key not in ranks)
    ranks |= {key: len(ranks) + place for place, key in enumerate(unknown)}
    return (ranks if labels else {}), missing


def _rows(file: TensorFile, view: View, layers: tuple[int, ...]) -> ViewRows:
    prompt, token, block = (
        file.array(tensor_name(view, name)).astype(np.int64) for name in ("prompt", "token", "block")
    )
    return ViewRows(prompt, token, block, _Mapped(file, view, layers))


class _Mapped(Mapping[int, Held]):
    """The states of one view in one chunk, mapped when they are asked for."""

    def __init__(self, file: TensorFile, view: View, layers: tuple[int, ...]) -> None:
        self._file, self._view, self._layers = file, view, layers

    def __getitem__(self, layer: int) -> Held:
        name = tensor_name(self._view, layer)
        kind = self._file.kind(name)
        if kind not in get_args(StateDType):
            raise ValueError(f"states: expected {name!r} in {self._file.path} as floats, got {kind}; restore the file")
        return Held(self._file.array(name), cast(StateDType, kind))

    def __iter__(self) -> Iterator[int]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)
