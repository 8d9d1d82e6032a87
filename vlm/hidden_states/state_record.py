"""What :func:`vlm.states` records: the rows of every prompt, in memory or on their way to disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from vlm.engine.forward_call import Call
from vlm.engine.kv_cache import cache_in
from vlm.hidden_states.announced_prompts import Announced, prompts_from
from vlm.hidden_states.call_rows import TORCH_DTYPES, CallRows, kept, rows_of_calls
from vlm.hidden_states.host_copies import CopyStreams
from vlm.hidden_states.state_rows import Block, Prompt, RecordedStates, StateDType, listed
from vlm.hidden_states.token_choice import Counts, choose, number_tokens
from vlm.hidden_states.views import View
from vlm.measure.records import GrowingRecord
from vlm.models.types import Arguments


class Sink(Protocol):
    """Where finished prompts go instead of staying in memory."""

    def done(self, task: str, item: str) -> bool:
        """Whether an item is there already."""

    def add(self, block: Block) -> None:
        """Take in prompts."""

    def blocks(self) -> Sequence[Block]:
        """Everything that is there."""


@dataclass(eq=False, repr=False)
class StatesRecord(GrowingRecord, RecordedStates):
    """The hidden states that :func:`vlm.states` recorded; grows by one row of each batch per forward call.

    Attributes
    ----------
    views : tuple of View
        Which vectors stand for a layer.
    layers : tuple of int
        Recorded states, of 0..L.
    depth : int
        Number of decoder layers L.
    dtype : str or None
        How states are kept; None for the model's own type, with means in float32.
    plan : str
        Text form of the plan under which they were recorded; "none" for the full model.

    See Also
    --------
    vlm.states : Makes one.

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=2, kinds=("location", "count"))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with vlm.states(model, views=("last", "vision-sample(3)")) as states:
    ...     states.expect(["first", "second"], groups=["a", "a"])
    ...     _ = model(**batch)
    >>> states
    StatesRecord(samples=2, views=(last, vision-sample(3)), states=0..10, dtype=None)
    >>> x, y, groups = states.pair(3, 4, "vision-sample(3)")
    >>> x.shape, groups.tolist()
    ((6, 64), ['a', 'a', 'a', 'a', 'a', 'a'])
    >>> states.index("vision-sample(3)").where(item="second")["token"].tolist()
    [6, 12, 16]
    """

    views: tuple[View, ...]
    layers: tuple[int, ...]
    depth: int
    dtype: StateDType | None
    _streams: CopyStreams
    _plan_now: Callable[[], str]
    _plan: str | None = None
    _sink: Sink | None = None
    _finished: list[Block] = field(default_factory=list)
    _recorded: set[tuple[str, str]] = field(default_factory=set)
    _named: bool | None = None
    _announced: Announced | None = None
    _waiting: Announced | None = None
    _current: CallRows | None = None
    _taken: int = 0
    _latest_ids: Tensor | None = None

    @property
    def samples(self) -> int:
        """Number of prompts recorded by this context."""
        self.settle()
        return len(self._recorded)

    @property
    def plan(self) -> str:
        """Text form of the plan under which the states were recorded; "none" for the full model."""
        return self._plan_now() if self._plan is None else self._plan

    def missing(self, items: ArrayLike, *, tasks: ArrayLike | None = None) -> list[int]:
        """Places of the items that are not recorded yet: what remains to be done after a kill, with ``out=``.

        Parameters
        ----------
        items, tasks : array (n,)
            As for :meth:`expect`.

        Returns
        -------
        list of int
            Places in `items`, rising.
        """
        prompts = prompts_from(items, None, tasks, None)
        return [place for place, prompt in enumerate(prompts) if not self._known(prompt)]

    def store_in(self, sink: Sink) -> None:
        """Send finished prompts somewhere else than into memory (called when the context opens)."""
        self._sink, self._plan = sink, self._plan_now()

    def expect(
        self,
        items: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        tasks: ArrayLike | None = None,
        answers: ArrayLike | None = None,
        calls: int = 1,
    ) -> None:
        """Say which items the rows of the next forward call are.

        Without it, every prompt counts as an item and an image of its own, numbered from 0.

        Parameters
        ----------
        items : array (batch,)
            Id of each row's item, unique within its task. Token samples are drawn by it.
        groups : array (batch,), optional
            Image of each row, the unit of sampling; by default each row has its own.
        tasks, answers : array (batch,), optional
            Name of the task and reference answer of each row, kept in the index.
        calls : int
            Forward calls that the prompts come in, with one cache: more than one for prompts that are read in parts.

        Raises
        ------
        ValueError
            Labels of another length than `items`, an item that was recorded before, an earlier prompt of which calls
            are missing, or prompts recorded without `expect`.
        """
        prompts = prompts_from(items, groups, tasks, answers)
        if type(calls) is not int or calls < 1:
            raise ValueError(f"calls: expected a whole number >= 1, got {calls!r}")
        if self._named is False:
            raise ValueError("expect: prompts were already recorded without it; call it before every forward or never")
        self._refuse_repeated(prompts)
        self.announce(prompts, calls)

    def announce(self, prompts: tuple[Prompt, ...], calls: int = 1) -> None:
        """As :meth:`expect`, for prompts that may be recorded already; whatever stores them leaves those out."""
        self._refuse_unfinished()
        self._announced, self._named = Announced(prompts, calls), True

    def check(self, given: Arguments) -> None:
        """Refuse a call that cannot be recorded, before it has run (called by the hooks)."""
        ids, cache = given.get("input_ids"), cache_in(given)
        if not isinstance(ids, Tensor):
            return
        self._check_plan()
        announced = self._announced
        past = cache is not None and int(cache.get_seq_length()) > 0
        if announced is not None and announced.done and not past:
            raise ValueError(
                f"states: call {len(announced.done) + 1} of prompts announced in {announced.calls} calls came without "
                "the cache of the call before; pass its past_key_values"
            )
        if past and not (announced is not None and announced.done):
            return
        earlier, self._latest_ids = self._latest_ids, ids
        if announced is not None and len(announced.prompts) != len(ids):
            raise ValueError(
                f"states: expected {len(announced.prompts)} rows, as announced by expect, got {len(ids)}; beams and "
                "several return sequences repeat prompts, so read their states with a plain forward"
            )
        if announced is None and (self._named or self._sink is not None):
            raise ValueError(
                "states: expected states.expect(...) before each forward, got a call whose items are not known "
                "(decoding without a cache reads the prompt again at each step)"
            )
        if announced is None and earlier is not None and _continues(earlier, ids):
            raise ValueError(
                "states: this call reads the prompt of the call before and one more token, as decoding without a "
                "cache does; decode with the cache, or name the items with states.expect"
            )

    @torch.no_grad()
    def observe(self, call: Call, layer: int, before: Tensor, after: Tensor) -> None:
        """Take in one layer's input and output (called by the hooks)."""
        if layer == 0:
            self._current = self._begin(call, before)
        if self._current is None:
            return
        self._take(layer, before)
        if layer == self.depth - 1:
            self._take(self.depth, after)

    def finish(self, call: Call) -> None:
        """Store the rows of a forward call that has ended (called by the hooks)."""
        current, self._current = self._current, None
        if current is None or self._announced is None:
            return
        if self._taken != len(self.layers):
            raise RuntimeError(f"states: expected {len(self.layers)} states, saw {self._taken}; not all layers ran")
        self._announced.done.append(current)
        if len(self._announced.done) == self._announced.calls:
            ended, self._announced = self._announced, None
            self._recorded.update((prompt.task, prompt.item) for prompt in ended.prompts)
            # Its copies may still be under way; those of the call before have arrived by now.
            self.settle()
            self._waiting = ended

    def close(self) -> None:
        """Wait for the last copies; refuse prompts of which calls are missing (called when the context closes)."""
        self.settle()
        self._refuse_unfinished()

    def settle(self) -> None:
        """Wait for the copies of the last call and take in its rows (called by whatever reads or stores them)."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            block = rows_of_calls(waiting.done, waiting.prompts, self.layers)
            if self._sink is None:
                self._finished.append(block)
            else:
                self._sink.add(block)

    def blocks(self) -> Sequence[Block]:
        self.settle()
        return self._finished if self._sink is None else self._sink.blocks()

    def _begin(self, call: Call, states: Tensor) -> CallRows | None:
        announced = self._announced
        if call.past and not (announced is not None and announced.done):
            if call.images:
                raise ValueError(
                    "states: this call brings an image on top of a cache that holds a prompt; announce how many calls "
                    "the prompt comes in with states.expect(items, calls=...)"
                )
            return None  # decoding
        if announced is None:
            start = len(self._recorded)
            prompts = tuple(Prompt(str(start + i), str(start + i)) for i in range(len(call.real)))
            self._announced = announced = Announced(prompts)
            self._named = False
        before = announced.done[-1].numbers.after if announced.done else Counts.zero(call)
        numbers = number_tokens(call, before)
        choice = choose(call, self.views, [prompt.item for prompt in announced.prompts], numbers)
        types = kept(self.dtype, states.dtype)
        tables = choice.tables()
        table_memory = self._streams.buffer((1, *tables.shape), torch.int64)
        table_memory.put(0, tables)
        width = states.shape[-1]
        size = width * sum(part.table.shape[2] * TORCH_DTYPES[types.of(part.view)].itemsize for part in choice.chosen)
        memory = self._streams.buffer((len(self.layers), len(call.real), size), torch.uint8)
        self._taken = 0
        exact = TORCH_DTYPES[types.token] == states.dtype
        return CallRows(choice, numbers, types, exact, width, table_memory, memory)

    def _take(self, layer: int, states: Tensor) -> None:
        if layer in self.layers and self._current is not None:
            types = self._current.kept
            taken = self._current.choice.take(states, TORCH_DTYPES[types.mean], TORCH_DTYPES[types.token])
            self._current.states.put(self._taken, taken)
            self._taken += 1

    def _refuse_unfinished(self) -> None:
        announced = self._announced
        if announced is not None and announced.done:
            raise ValueError(
                f"states: prompts announced in {announced.calls} calls have had {len(announced.done)}; make the "
                "missing calls, or announce the number that there is"
            )

    def _refuse_repeated(self, prompts: Sequence[Prompt]) -> None:
        keys = [(prompt.task, prompt.item) for prompt in prompts]
        repeated = [p.item for p, key in zip(prompts, keys, strict=True) if keys.count(key) > 1 or self._known(p)]
        if repeated:
            raise ValueError(
                f"items: expected each item once, got {repeated[0]!r} again; states.missing(items) says what is not "
                "recorded yet"
            )

    def _known(self, prompt: Prompt) -> bool:
        stored = self._sink is not None and self._sink.done(prompt.task, prompt.item)
        return stored or (prompt.task, prompt.item) in self._recorded

    def _check_plan(self) -> None:
        """Refuse prompts under different plans in one record."""
        plan = self._plan_now()
        if self._plan is None:
            self._plan = plan
        elif self._plan != plan:
            raise ValueError(
                f"states: expected every prompt under the plan {self._plan!r}, got one under {plan!r}; open a record "
                "for each plan, inside vlm.skipping"
            )

    def _shown(self) -> list[tuple[str, Any]]:
        views = ", ".join(map(str, self.views))
        return [
            ("samples", self.samples),
            ("views", f"({views})"),
            ("states", listed(self.layers)),
            ("dtype", self.dtype),
        ]

    def _measured(self) -> dict[str, object]:
        if self._sink is not None:  # reading it back would end the chunk that waits
            return {}
        return {"rows": {str(v): sum(len(b.rows[v].prompt) for b in self.blocks()) for v in self.views}}


def _continues(earlier: Tensor, ids: Tensor) -> bool:
    """Whether token ids are those of the call before and one more; compared only if the shapes allow it."""
    same = earlier.shape[0] == ids.shape[0] and earlier.shape[1] + 1 == ids.shape[1]
    return same and bool(torch.equal(earlier.to(ids.device), ids[:, :-1]))
