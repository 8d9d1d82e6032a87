"""Choosing tokens of calls that are cut anywhere, and copies to the host that go through streams."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.oracles.states_reference import reference_rows
from vlm.engine.forward_call import Call
from vlm.hidden_states import host_copies
from vlm.hidden_states.call_rows import TORCH_DTYPES, CallRows, kept, rows_of_calls
from vlm.hidden_states.host_copies import CopyStreams
from vlm.hidden_states.state_rows import Prompt
from vlm.hidden_states.token_choice import Counts, choose, number_tokens
from vlm.hidden_states.views import View, parse_views
from vlm.models.random_models import IMAGE

VIEWS = ("last", "vision-mean", "text-mean", "vision-sample(3)", "text-sample(2)", "vision-all", "text-all")
NAMES = ("a", "b", "c", "d")


def random_batch(seed, length=17):
    """Tokens and padding anywhere but within a row's tokens; row 1 has no image."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.where(torch.rand(len(NAMES), length, generator=generator) < 0.6, IMAGE, 20)
    ids[1] = 20
    mask = torch.ones_like(ids)
    for row, (left, right) in enumerate([(0, 0), (3, 2), (9, 0), (0, 7)]):
        mask[row, :left] = 0
        mask[row, length - right :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def taken(batch, states, cuts, dtype=None, streams=None):
    """The block of rows of a batch that comes in pieces."""
    views, streams = parse_views(VIEWS), streams or CopyStreams(False)
    calls, before = [], None
    edges = [0, *cuts, batch["input_ids"].shape[1]]
    for start, stop in pairwise(edges):
        real = batch["attention_mask"][:, start:stop].bool()
        call = Call((batch["input_ids"][:, start:stop] == IMAGE) & real, real, start)
        numbers = number_tokens(call, before or Counts.zero(call))
        before = numbers.after
        choice = choose(call, views, NAMES, numbers)
        types, tables = kept(dtype, states[0].dtype), choice.tables()
        pieces = [choice.take(s[:, start:stop], TORCH_DTYPES[types.mean], TORCH_DTYPES[types.token]) for s in states]
        memory = streams.buffer((len(states), *pieces[0].shape), torch.uint8)
        table_memory = streams.buffer((1, *tables.shape), torch.int64)
        table_memory.put(0, tables)
        for i, piece in enumerate(pieces):
            memory.put(i, piece)
        calls.append(CallRows(choice, numbers, types, True, states[0].shape[-1], table_memory, memory))
    return rows_of_calls(calls, tuple(Prompt(name, name) for name in NAMES), range(len(states)))


@pytest.mark.parametrize("cuts", [(), (5,), (1, 2, 3), (8, 9, 16), tuple(range(1, 17))])
@pytest.mark.parametrize("seed", range(4))
def test_cutting_a_prompt_changes_nothing(seed, cuts):
    batch = random_batch(seed)
    generator = torch.Generator().manual_seed(seed)
    states = [torch.randn(len(NAMES), 17, 6, generator=generator) for _ in range(2)]
    expected = reference_rows(states, batch, NAMES, VIEWS)
    block = taken(batch, states, cuts)
    for view in VIEWS:
        rows = block.rows[View.parse(view)]
        assert list(zip(rows.prompt, rows.token, rows.block, strict=True)) == expected[view, -1], view
        for layer in range(2):
            np.testing.assert_allclose(rows.values[layer].wide(), expected[view, layer], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_means_in_pieces_round_once_more_at_most(dtype):
    batch = random_batch(0)
    states = [torch.randn(len(NAMES), 17, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)]
    whole, pieces = (taken(batch, states, cuts, dtype).rows[View("mean", "text")].values[0] for cuts in ((), (6, 11)))
    eps = torch.finfo(TORCH_DTYPES[dtype]).eps
    np.testing.assert_allclose(pieces.wide(), whole.wide(), rtol=3 * eps, atol=3 * eps)


def test_rows_do_not_share_the_memory_that_is_used_again():
    batch, states = random_batch(0), [torch.ones(len(NAMES), 17, 6)]
    streams, buffers = CopyStreams(False), []
    own = CopyStreams.buffer
    streams.buffer = lambda *args: buffers.append(own(streams, *args)) or buffers[-1]  # type: ignore[method-assign]
    block = taken(batch, states, (), streams=streams)
    for buffer in buffers:
        buffer.memory.zero_()
    for rows in block.rows.values():
        assert (rows.values[0].wide() == 1).all()
        assert rows.token.max() > 0


class _Recorder:
    """Stands in for torch.cuda and a tensor on a GPU; writes down what is asked of it."""

    def __init__(self):
        self.said = []

    def Stream(self, device):
        self.said.append(f"new stream on {device}")
        return self

    def Event(self):
        return self

    def current_stream(self, device):
        return f"the model's stream on {device}"

    def wait_stream(self, stream):
        self.said.append(f"wait for {stream}")

    def stream(self, stream):
        return self

    def __enter__(self):
        self.said.append("enter")

    def __exit__(self, *error):
        self.said.append("leave")

    def record(self, stream):
        self.said.append("event")

    def synchronize(self):
        self.said.append("synchronise")


class _OnGpu:
    """A tensor that says it is on a GPU."""

    is_cuda = True

    def __init__(self, said, device, value):
        self.said, self.device, self.value = said, device, value

    def record_stream(self, stream):
        self.said.append(f"keep the memory on {self.device}")


def test_copies_from_gpus_wait_for_the_states_and_nobody_waits_for_the_copies(monkeypatch):
    recorder = _Recorder()
    monkeypatch.setattr(host_copies.torch, "cuda", recorder)

    class Memory:
        def __getitem__(self, place):
            return self

        def copy_(self, values, non_blocking=False):
            recorder.said.append(f"copy {values.value}, {'ahead' if non_blocking else 'waiting'}")

    streams = CopyStreams(pinned=False)
    buffer = host_copies.HostBuffer(streams, Memory())
    for place, (device, value) in enumerate([("gpu 0", "x"), ("gpu 0", "y"), ("gpu 1", "z")]):
        buffer.put(place, _OnGpu(recorder.said, device, value))
    copies = []
    for device, value in (("gpu 0", "x"), ("gpu 0", "y"), ("gpu 1", "z")):
        copied = [f"wait for the model's stream on {device}", "enter", f"copy {value}, ahead", "event", "leave"]
        copies.append([*copied, f"keep the memory on {device}"])
    first, second, third = copies
    assert recorder.said == ["new stream on gpu 0", *first, *second, "new stream on gpu 1", *third]
    recorder.said.clear()
    buffer.ready()
    assert recorder.said == ["synchronise"] * 2  # one per device
    buffer.ready()
    assert recorder.said == ["synchronise"] * 2
