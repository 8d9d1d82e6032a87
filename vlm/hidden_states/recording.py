"""Record hidden states while a model runs."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from vlm.engine.hooks import Engine, attached
from vlm.experiments.shards import Shard
from vlm.hidden_states.host_copies import CopyStreams
from vlm.hidden_states.state_record import StatesRecord
from vlm.hidden_states.state_rows import STATE_DTYPES, Block, StateDType, listed
from vlm.hidden_states.state_store import FORMAT, StateStore, storing
from vlm.hidden_states.stored_states import StoredStates, read_states
from vlm.hidden_states.views import View, Views, parse_views
from vlm.models.families import Family
from vlm.models.types import Model
from vlm.models.weights_fingerprint import weights_fingerprint


@contextmanager
def states(
    model: Model,
    *,
    views: Views = ("last", "vision-mean"),
    layers: Sequence[int] | None = None,
    dtype: StateDType | None = None,
    out: str | Path | None = None,
    part: Shard | None = None,
    family: Family | None = None,
) -> Iterator[StatesRecord]:
    """Record the hidden states of every layer while the model runs.

    Only prompts are recorded: cached decoding steps add no rows. Under a plan, the states are those of the model that
    skips. Padding is never taken. Say with ``states.expect(items, groups=...)`` before each forward which item and
    image its rows are.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family, on one device or on several.
    views : str, View or sequence of them
        Which vectors stand for a layer on one prompt: "last" (the last prompt token), "vision-mean", "text-mean",
        "vision-sample(k)", "text-sample(k)" (k tokens drawn by a hash of the item's id, the same in every layer),
        "vision-all", "text-all".
    layers : sequence of int, optional
        States to record, of 0..L; all of them by default. State l < L is what enters decoder layer l, state L what
        leaves the last layer, before the final norm.
    dtype : {"float16", "bfloat16", "float32", "float64"}, optional
        How states are kept. By default as they are, and means in float32 (of a float64 model, in float64).
    out : str or Path, optional
        Folder in which states are stored instead of in memory. Entered again, it continues: ``states.missing(items)``
        says what is not there yet. Needs ``states.expect`` before each forward.
    part : Shard, optional
        With `out`, which of several workers this is; each has its own.
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    StatesRecord
        ``states.pair(l, m, view)`` gives x (rows, d), y (rows, d) and groups (rows,), ready for `redundancy`, during
        and after the context; ``states.layer(l, view)`` one layer, ``states.index(view)`` what each row is.

    Raises
    ------
    ValueError
        An unknown view, layers outside 0..L, an unknown dtype. During a forward call: more or fewer rows than
        announced, an image on top of a cache that was not announced, decoding without a cache, another plan.
    TypeError
        A model that is not a vision-language model of a known family.
    OverflowError
        A state is too large for float16.
    RuntimeError
        `out` was begun with other weights, views, layers, dtype, plan or packages, or another process writes there.
    OSError
        `out` cannot be written, or the disk is full; what was written before is kept.

    See Also
    --------
    vlm.read_states : Reads back what was stored.
    vlm.states_run : Records the states of a data set.
    vlm.probe : Distances between layers over all tokens; no states are kept.
    redundancy.functional, redundancy.informational, redundancy.ksg : What the arrays are for.

    Notes
    -----
    Per layer and call, one copy goes from the device to pinned memory on the host, on a stream of its own; nothing
    waits for the device (but for the views "vision-all" and "text-all", once per call). The layers of a model may be
    on different devices. Means are summed in float32, of a float64 model in float64. In Qwen3-VL, features that are
    added to image tokens between two layers belong to the state that enters the later one.

    Examples
    --------
    >>> import redundancy as rd
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=20, kinds=("location", "count"))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with vlm.states(model) as states:
    ...     states.expect(range(20), groups=[q.image_id for q in asked])
    ...     _ = model(**batch)
    >>> x, y, groups = states.pair(6, 7, "last")
    >>> x.shape, len(set(groups))
    ((20, 64), 10)
    >>> print(f"{rd.geometric(x, y, groups=groups):.3f}")
    0.008
    """
    wanted = parse_views(views)
    check_dtype(dtype)
    if out is None:
        if part is not None:
            raise ValueError("part: expected with out=, the folder that workers share; in memory there is one worker")
        with record_states(model, views=wanted, layers=layers, dtype=dtype, family=family) as record:
            yield record
        return
    with attached(model, family) as engine:
        depth = engine.parts.depth
        chosen = states_layers(layers, depth)
        content = {"states": states_content(wanted, chosen, depth, dtype, plan_text(engine))}
        with (
            storing(Path(out), content, _versions(model), part or Shard()) as store,
            record_states(
                model, views=wanted, layers=chosen, dtype=dtype, family=family, sink=StoreSink(store)
            ) as record,
        ):
            yield record


@contextmanager
def record_states(
    model: Model,
    *,
    views: tuple[View, ...],
    layers: Sequence[int] | None,
    dtype: StateDType | None,
    family: Family | None = None,
    sink: StoreSink | None = None,
) -> Iterator[StatesRecord]:
    """As :func:`states`, into memory or into a store that is open."""
    with attached(model, family) as engine:
        depth = engine.parts.depth
        streams = CopyStreams(any(parameter.is_cuda for parameter in model.parameters()))
        record = StatesRecord(views, states_layers(layers, depth), depth, dtype, streams, partial(plan_text, engine))
        if sink is not None:
            record.store_in(sink)
        with engine.check_calls(record.check), engine.watch_layers(record.observe, record.finish):
            try:
                yield record
            except BaseException:
                with suppress(RuntimeError, OverflowError):  # the error that is under way says more
                    record.settle()
                raise
        record.close()


def plan_text(engine: Engine) -> str:
    """Text form of the plan that is active now; "none" without one."""
    return "none" if engine.plan is None else str(engine.plan)


def check_dtype(dtype: str | None) -> None:
    """Raise a ValueError unless states can be kept as this type."""
    if dtype is not None and dtype not in STATE_DTYPES:
        raise ValueError(f"dtype: expected one of {', '.join(STATE_DTYPES)}, got {dtype!r}")


@dataclass(eq=False)
class StoreSink:
    """A store as the place where a record's prompts go."""

    store: StateStore
    _read: tuple[int, StoredStates] | None = field(default=None)

    def done(self, task: str, item: str) -> bool:
        """Whether an item is stored or waiting."""
        return (task, item) in self.store.done

    def add(self, block: Block) -> None:
        """Take in prompts."""
        self.store.add(block)
        self.store.rest()

    def blocks(self) -> Sequence[Block]:
        """What is on disk, once everything is."""
        self.store.flush()
        if self._read is None or self._read[0] != self.store.chunks:
            self._read = self.store.chunks, read_states(self.store.folder)
        return self._read[1].blocks()


def states_content(
    views: Sequence[View], layers: Sequence[int], depth: int, dtype: StateDType | None, plan: str
) -> dict[str, Any]:
    """What is recorded, as JSON values; part of what names a run."""
    return {
        "format": FORMAT,
        "views": [str(view) for view in views],
        "layers": list(layers),
        "depth": depth,
        "dtype": dtype,
        "plan": plan,
    }


def _versions(model: Model) -> dict[str, str]:
    """What states depend on besides: weights and packages."""
    packages = {name: version(name) for name in ("skipit", "torch", "transformers")}
    python = ".".join(platform.python_version_tuple()[:2])
    return {"python": python, "model": f"{type(model).__name__}, weights {weights_fingerprint(model)}", **packages}


def states_layers(layers: Sequence[int] | None, depth: int) -> tuple[int, ...]:
    """The states to record, rising; all of them by default."""
    if layers is None:
        return tuple(range(depth + 1))
    chosen = sorted(set(layers))
    if not chosen or any(type(layer) is not int or not 0 <= layer <= depth for layer in chosen):
        got = listed(chosen) if all(type(layer) is int for layer in chosen) and chosen else repr(list(layers))
        raise ValueError(f"layers: expected states in 0..{depth} (state {depth} leaves the last layer), got {got}")
    return tuple(chosen)
