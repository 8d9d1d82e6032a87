"""Recorded states on their way to disk: whole chunks, each listed in a log once it is there.

A run's folder has one log per worker, `records/1-of-4.jsonl`, and its chunks, `chunks/1-of-4/000000.safetensors`. A
chunk counts when its line is in the log, and the line is written after the chunk is on disk; so a kill leaves at most a
chunk that no line names, which is written again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from redundancy.array_types import BoolArray
from vlm.experiments.run_directory import begin, log_path, log_paths, refuse_other_division
from vlm.experiments.shards import Shard
from vlm.hidden_states.state_rows import Block, Held, Prompt, ViewRows
from vlm.hidden_states.tensor_file import write_tensors
from vlm.hidden_states.views import View
from vlm.record_log import Log, appending, read

FORMAT = 1
# A chunk is written when this many bytes are waiting; a kill costs at most this much.
CHUNK = 64 * 2**20
Key: TypeAlias = tuple[str, str]  # task and item


class ChunkLine(NamedTuple):
    """One line of a log: a chunk, and what is in it.

    Attributes
    ----------
    number : int
        Of the worker's chunks, from 0.
    file : str
        Path from the run's folder; empty if no prompt could be read.
    size : int
        Bytes of the file.
    sha256 : str
        Hash of its bytes.
    prompts : tuple of Prompt
        In the order of the file's rows.
    failures : tuple of (task, item, reason, digest)
        Items that gave no states; the digest is that of `Prompt`.
    """

    number: int
    file: str
    size: int
    sha256: str
    prompts: tuple[Prompt, ...]
    failures: tuple[tuple[str, str, str, str], ...]


def chunk_lines(folder: Path, path: Path | None = None) -> Iterator[ChunkLine]:
    """The chunks of all workers, or of one worker's log, in order."""
    for log in log_paths(folder) if path is None else [path]:
        for record in read(log) if log.exists() else ():
            prompts = tuple(Prompt(*entry) for entry in record["prompts"])
            failures = tuple((task, item, reason, digest) for task, item, reason, digest in record["failures"])
            yield ChunkLine(record["number"], record["file"], record["size"], record["sha256"], prompts, failures)


@dataclass(eq=False)
class StateStore:
    """One worker's part of a run's folder; see :func:`storing`.

    Attributes
    ----------
    folder : Path
        The run's folder.
    part : Shard
        Which worker this is.
    done : set of (task, item)
        Items that need not be done again: stored by any worker when this one began, or by this one since.
    chunk_bytes : int
        A chunk is written when this many bytes are waiting.
    chunks : int
        Number of the worker's next chunk.
    """

    folder: Path
    part: Shard
    log: Log
    done: set[Key]
    chunk_bytes: int = CHUNK
    chunks: int = 0
    _blocks: list[Block] = field(default_factory=list)
    _failures: list[tuple[str, str, str, str]] = field(default_factory=list)
    _waiting: int = 0

    def add(self, block: Block) -> None:
        """Take in prompts; those that are done are left out."""
        new = np.array([(prompt.task, prompt.item) not in self.done for prompt in block.prompts])
        if not new.all():
            block = _only(block, new)
        if block.prompts:
            self._blocks.append(block)
            self._waiting += sum(held.array.nbytes for rows in block.rows.values() for held in rows.values.values())
            self.done.update((prompt.task, prompt.item) for prompt in block.prompts)

    def fail(self, task: str, item: str, reason: str, digest: str = "") -> None:
        """Note an item that gives no states, and why."""
        if (task, item) not in self.done:
            self._failures.append((task, item, reason, digest))
            self.done.add((task, item))

    def rest(self) -> None:
        """A point at which a chunk may end: call it when a batch is complete."""
        if self._waiting >= self.chunk_bytes:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting.

        Raises
        ------
        OSError
            The disk is full or cannot be written; chunks written before are kept, and what waits still waits.
        """
        if not self._blocks and not self._failures:
            return
        prompts = tuple(prompt for block in self._blocks for prompt in block.prompts)
        file, size, sha256 = "", 0, ""
        if prompts:
            file = f"chunks/{self.part}/{self.chunks:06d}.safetensors"
            tensors = _tensors(self._blocks)
            size, sha256 = write_tensors(self.folder / file, tensors, {"format": f"skipit states {FORMAT}"})
        line: Mapping[str, object] = {
            "number": self.chunks,
            "file": file,
            "size": size,
            "sha256": sha256,
            "prompts": [[p.item, p.image, p.task, p.answer, p.digest] for p in prompts],
            "failures": self._failures,
        }
        self.log.append([line])
        self.chunks += 1
        self._blocks, self._failures, self._waiting = [], [], 0


@contextmanager
def storing(
    folder: Path,
    content: Mapping[str, Any],
    versions: Mapping[str, str],
    part: Shard,
    *,
    retry_failed: bool = False,
    chunk_bytes: int = CHUNK,
) -> Iterator[StateStore]:
    """Begin a run's folder or enter it again, for this worker alone.

    What is waiting is written when the context closes, after an error too.

    Parameters
    ----------
    folder : Path
        Made if missing.
    content, versions : mapping
        What is computed, and what results depend on besides; must be those of the first time.
    part : Shard
        Which worker this is.
    retry_failed : bool
        Do items again that gave no states.
    chunk_bytes : int
        A chunk is written when this many bytes are waiting.

    Raises
    ------
    RuntimeError
        Another process does this part, or the folder was begun with something else.
    ValueError
        A chunk that a log lists is missing or cut off.
    OSError
        The folder cannot be written.
    """
    begin(folder, content, versions)
    path = log_path(folder, part)
    with appending(path) as log:
        # Under the lock, so that of two workers that start together at least one sees the other.
        refuse_other_division(folder, part)
        done: set[Key] = set()
        for line in chunk_lines(folder):
            check_whole(folder, line)
            done.update((prompt.task, prompt.item) for prompt in line.prompts)
            if not retry_failed:
                done.update((task, item) for task, item, *_ in line.failures)
        number = max((line.number + 1 for line in chunk_lines(folder, path)), default=0)
        store = StateStore(folder, part, log, done, chunk_bytes, number)
        try:
            yield store
        finally:
            store.flush()


def check_whole(folder: Path, line: ChunkLine) -> None:
    """Raise a ValueError unless the chunk of a line is there in its full length."""
    path = folder / line.file
    if line.file:
        size = path.stat().st_size if path.is_file() else None
        if size != line.size:
            got = "no file" if size is None else f"{size} bytes"
            raise ValueError(
                f"states: expected {line.size} bytes in {path}, got {got}; restore it, or delete its line from the log "
                f"in {folder / 'records'} so that its items are done again"
            )


def tensor_name(view: View, what: int | str) -> str:
    """Name of a tensor in a chunk: "vision-mean/state 3", "vision-mean/token"."""
    return f"{view}/state {what}" if isinstance(what, int) else f"{view}/{what}"


def _tensors(blocks: Sequence[Block]) -> dict[str, tuple[NDArray[Any], str]]:
    """The tensors of a chunk."""
    tensors: dict[str, tuple[NDArray[Any], str]] = {}
    starts = np.cumsum([0, *(len(block.prompts) for block in blocks)])
    for view in blocks[0].rows:
        parts = [block.rows[view] for block in blocks]
        index = {
            "prompt": [rows.prompt + start for rows, start in zip(parts, starts, strict=False)],
            "token": [rows.token for rows in parts],
            "block": [rows.block for rows in parts],
        }
        for name, arrays in index.items():
            tensors[tensor_name(view, name)] = np.concatenate(arrays).astype(np.int32), "int32"
        for layer, first in parts[0].values.items():
            states = np.concatenate([rows.values[layer].array for rows in parts])
            tensors[tensor_name(view, layer)] = states, first.dtype
    return tensors


def _only(block: Block, keep: BoolArray) -> Block:
    """Some prompts of a block."""
    place = np.cumsum(keep) - 1
    rows = {}
    for view, old in block.rows.items():
        mine = keep[old.prompt]
        values = {layer: Held(held.array[mine], held.dtype) for layer, held in old.values.items()}
        rows[view] = ViewRows(place[old.prompt[mine]], old.token[mine], old.block[mine], values)
    return Block(tuple(p for p, kept in zip(block.prompts, keep, strict=True) if kept), rows)
