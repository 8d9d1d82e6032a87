"""Adding the states of a model's forward calls to the sums of moments, on the devices where they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from redundancy.array_types import IntArray
from vlm.engine.forward_call import Call
from vlm.hidden_states.moment_accumulator import Accumulators, Geometry, Prepared, pair_parts, state_parts
from vlm.hidden_states.moment_calls import Announced, HeldCall, Modality, Part
from vlm.hidden_states.moment_folds import fold_of, image_key
from vlm.hidden_states.moment_result import Moments
from vlm.hidden_states.moment_store import MomentSettings, MomentStore, Pair, PairKey, StateKey, Sums
from vlm.measure.records import GrowingRecord
from vlm.models.types import Arguments
from vlm.table import Table


class _Group(NamedTuple):
    """States or pairs whose sums live on one device, with the places of each step's items among them."""

    device: torch.device
    items: tuple[int | Pair, ...]


@dataclass(eq=False, repr=False)
class MomentsRecord(GrowingRecord):
    """The sums that :func:`vlm.moments` accumulates; grows by no memory, whatever the number of prompts.

    During a call, the states of its tokens are held, so that a call that fails leaves no trace.

    Attributes
    ----------
    settings : MomentSettings
        What is recorded.

    See Also
    --------
    vlm.moments : Makes one.
    vlm.Moments : The result on the host, which merges and saves.

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=20, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with vlm.moments(model, pairs=[(2, 3)], modality="vision") as sums:
    ...     sums.expect([q.image_id for q in asked])
    ...     _ = model(**batch)
    >>> sums.samples
    20
    >>> sums.moments()
    Moments(1 pair, vision, 20 prompts, 720 tokens)
    """

    settings: MomentSettings
    _geometry: Geometry = field(repr=False)
    _shared: Moments | None = field(default=None, repr=False)
    _announced: Announced = field(default_factory=lambda: Announced("moments"), repr=False)
    _held: HeldCall | None = None
    _groups: tuple[tuple[_Group, ...], tuple[_Group, ...]] | None = None
    _sums: dict[tuple[Modality, bool, torch.device], Accumulators] = field(default_factory=dict)
    _pilots: dict[tuple[Modality, int], Tensor] = field(default_factory=dict)
    _prompts: IntArray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    _tokens: IntArray = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))
    _left_out: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    _images: list[set[int]] = field(default_factory=list)
    _seen: int = 0

    def __post_init__(self) -> None:
        shape = (len(self.settings.modalities), self.settings.folds)
        self._prompts, self._tokens = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        self._left_out = np.zeros(shape[0], dtype=np.int64)
        self._images = [set() for _ in range(shape[1])]

    def __repr__(self) -> str:
        s = self.settings
        projected = "" if s.project is None else f", project={s.project}"
        return f"MomentsRecord(samples={self.samples}, pairs={len(s.pairs)}, folds={s.folds}{projected})"

    @property
    def samples(self) -> int:
        """Number of prompts seen."""
        return self._seen

    @property
    def bytes(self) -> int:
        """Memory of the sums on all devices, once both modalities have come."""
        s = self.settings
        return 8 * len(s.modalities) * self._geometry.numbers(len(s.states), len(s.pairs))

    def expect(self, groups: ArrayLike) -> None:
        """Say which image each row of the next forward call is about.

        Without it, every prompt counts as an image of its own. An image's prompts go to one fold, in every shard.

        Parameters
        ----------
        groups : array (batch,)
            One label per row; labels with the same text are the same image.

        Raises
        ------
        ValueError
            Prompts were already recorded without labels, or labels that are not one per row.
        """
        self._announced.expect(groups)

    def check(self, given: Arguments) -> None:
        """Refuse a call whose images are not known (called by the hooks)."""
        self._announced.check(given)

    @torch.no_grad()
    def observe(self, call: Call, layer: int, before: Tensor, after: Tensor) -> None:
        """Hold one layer's states (called by the hooks)."""
        if call.past:
            return
        if layer == 0 or self._held is None:
            s = self.settings
            self._held = HeldCall(frozenset(s.states), s.depth, s.modalities)
        self._held.take(call, layer, before, after)

    @torch.no_grad()
    def finish(self, call: Call) -> None:
        """Add the states of a forward call that has ended (called by the hooks)."""
        held, self._held = self._held, None
        if held is None or not held.complete:
            return
        labels = self._announced.taken(held.batch)
        # Sums outlive the caller's inference mode.
        with torch.inference_mode(False):
            self._add(held, labels)
        self._seen += held.batch

    def moments(self) -> Moments:
        """What was recorded so far, on the host: it merges with other recordings, saves, and gives the numbers.

        Raises
        ------
        ValueError
            Nothing was recorded yet.
        """
        self._check_recorded("moments")
        pilots = {key: pilot.cpu().numpy() for key, pilot in self._pilots.items()}
        states: dict[StateKey, Sums] = {}
        pairs: dict[PairKey, Sums] = {}
        for modality, fold, sums, place, item in self._stored():
            if isinstance(item, int):
                states[modality, fold, item] = sums.on_host(fold, place)
            else:
                pairs[modality, fold, item] = sums.on_host(fold, place)
        keys = tuple(np.array(sorted(fold), dtype=np.int64) for fold in self._images)
        return Moments.of(
            MomentStore(
                self.settings,
                self._prompts.copy(),
                self._tokens.copy(),
                self._left_out.copy(),
                keys if self._announced.always else None,
                pilots,
                states,
                pairs,
            )
        )

    def table(self) -> Table:
        """:meth:`vlm.Moments.table` of what was recorded so far."""
        return self.moments().table()

    def _measured(self) -> dict[str, object]:
        return {"prompts": self._prompts, "tokens": self._tokens, "left_out": self._left_out}

    def _stored(self) -> Iterator[tuple[Modality, int, Accumulators, int, int | Pair]]:
        for (modality, is_pair, device), sums in self._sums.items():
            assert self._groups is not None
            group = next(g for g in self._groups[is_pair] if g.device == device)
            for fold in range(self.settings.folds):
                for place, item in enumerate(group.items):
                    yield modality, fold, sums, place, item

    def _add(self, held: HeldCall, labels: Sequence[str | None]) -> None:
        s = self.settings
        if self._groups is None:
            self._groups = _by_device(s, {state: rows.device for state, rows in held.rows.items()})
        usable = held.usable(normalise=s.normalise)
        for part in held.parts:
            place = s.modalities.index(part.modality)
            if not usable[part]:
                self._left_out[place] += 1
                continue
            label = labels[part.row]
            fold = fold_of(label, self._seen + part.row, s.folds)
            self._add_prompt(part, fold, held.rows)
            self._prompts[place, fold] += 1
            self._tokens[place, fold] += part.stop - part.start
            if label is not None:
                self._images[fold].add(image_key(label))

    def _add_prompt(self, part: Part, fold: int, held: Mapping[int, Tensor]) -> None:
        assert self._groups is not None
        projected = self._geometry.basis is not None
        tokens = part.stop - part.start
        ready: dict[int, Prepared] = {}
        waiting = {
            group.device: [pair for pair in group.items if not isinstance(pair, int)] for group in self._groups[1]
        }
        for group in self._groups[0]:
            step = self._geometry.step(group.device, tokens)
            sums = self._accumulators(part.modality, False, group)
            for start in range(0, len(group.items), step):
                states = [item for item in group.items[start : start + step] if isinstance(item, int)]
                for state in states:
                    ready[state] = self._prepared(held[state][part.start : part.stop], part.modality, state)
                parts = state_parts([ready[state] for state in states], projected)
                sums.add(fold, slice(start, start + len(states)), parts)
                # At once, while the states are in the cache; what no pair needs any more is dropped.
                self._add_pairs(part, fold, ready, waiting)
                used = {state for items in waiting.values() for pair in items for state in pair}
                ready = {state: rows for state, rows in ready.items() if state in used}

    def _add_pairs(
        self, part: Part, fold: int, ready: Mapping[int, Prepared], waiting: dict[torch.device, list[Pair]]
    ) -> None:
        """Add the pairs whose states are both ready, from the front of those that wait on each device."""
        assert self._groups is not None
        projected = self._geometry.basis is not None
        for group in self._groups[1]:
            items = waiting[group.device]
            step = self._geometry.step(group.device, part.stop - part.start)
            while count := _leading(items[:step], ready):
                start = len(group.items) - len(items)
                left, right = ([_on(ready[pair[side]], group.device) for pair in items[:count]] for side in (0, 1))
                sums = self._accumulators(part.modality, True, group)
                sums.add(fold, slice(start, start + count), pair_parts(left, right, projected))
                del items[:count]

    def _prepared(self, rows: Tensor, modality: Modality, state: int) -> Prepared:
        if self.settings.normalise:
            rows = normalised(rows)
        key = modality, state
        if key not in self._pilots:
            self._pilots[key] = self._pilot(rows, modality, state)
        return self._geometry.prepared(rows, self._pilots[key])

    def _pilot(self, rows: Tensor, modality: Modality, state: int) -> Tensor:
        """The shift of a state: that of the shared recording, else the mean of the first prompt, roughly."""
        shared = None if self._shared is None else self._shared.pilot(state, modality)
        if shared is not None:
            return torch.as_tensor(shared, dtype=torch.float64, device=rows.device)
        # Eight bits: near enough, and then no prompt's means are so small beside the others' that their sum with them
        # needs more than the 106 bits of an exact sum.
        return rows.mean(dim=0, dtype=torch.float64).to(torch.bfloat16).to(torch.float64)

    def _accumulators(self, modality: Modality, is_pair: bool, group: _Group) -> Accumulators:
        key = modality, is_pair, group.device
        if key not in self._sums:
            shapes = self._geometry.pair_shapes if is_pair else self._geometry.state_shapes
            self._sums[key] = Accumulators.zeros(self.settings.folds, len(group.items), shapes, group.device)
        return self._sums[key]


def normalised(rows: Tensor) -> Tensor:
    """Rows of norm one in float64."""
    wide = rows.to(torch.float64)
    # Twice: squares of very small or large entries leave the range of float64 only before the first.
    wide = wide / wide.abs().amax(dim=-1, keepdim=True)
    unit: Tensor = wide / torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    return unit


def _by_device(
    settings: MomentSettings, devices: Mapping[int, torch.device]
) -> tuple[tuple[_Group, ...], tuple[_Group, ...]]:
    """States by the device they are on, and pairs by that of the later state."""
    out: list[tuple[_Group, ...]] = []
    homes: tuple[dict[int | Pair, torch.device], ...] = (
        {state: devices[state] for state in settings.states},
        {pair: devices[pair[1]] for pair in sorted(settings.pairs, key=lambda pair: pair[::-1])},
    )
    for home in homes:
        grouped: dict[torch.device, list[int | Pair]] = {}
        for item, device in home.items():
            grouped.setdefault(device, []).append(item)
        out.append(tuple(_Group(device, tuple(items)) for device, items in grouped.items()))
    return out[0], out[1]


def _leading(pairs: Sequence[Pair], ready: Mapping[int, Prepared]) -> int:
    """How many of the first pairs have both states."""
    count = 0
    for a, b in pairs:
        if a not in ready or b not in ready:
            break
        count += 1
    return count


def _on(prepared: Prepared, device: torch.device) -> Prepared:
    if prepared.rows.device == device:
        return prepared
    return Prepared(*(getattr(prepared, name).to(device) for name in prepared.__dataclass_fields__))
