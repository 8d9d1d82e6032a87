"""Insufficient memory: batches are halved until they fit, and single items that never fit are named."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vlm.evaluation.batch_failures import TooLarge, in_halves, out_of_memory


@given(st.lists(st.integers(1, 9), max_size=20), st.integers(1, 20))
def test_every_item_has_its_result_in_order(sizes, room):
    calls = []

    def call(items, attempt):
        calls.append((len(items), attempt))
        if sum(items) > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has ... Process 7 has ...")
        return [10 * item for item in items]

    with mock.patch("vlm.evaluation.batch_failures.free"):  # collecting garbage takes a while
        found = in_halves(call, sizes)
    assert len(found) == len(sizes)
    for size, result in zip(sizes, found, strict=True):
        if size <= room:
            assert result == 10 * size
        else:
            assert isinstance(result, TooLarge)
            assert result.reason == "out of memory with a batch of one: CUDA out of memory. Tried to allocate 2 GiB."
    assert all(attempt >= 1 for _, attempt in calls)
    if sizes and sum(sizes) <= room:
        assert calls == [(len(sizes), 1)]


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (torch.OutOfMemoryError("x"), True),
        (MemoryError(), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: ..."), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_only_memory_errors_count_as_memory_errors(error, is_memory):
    assert out_of_memory(error) == is_memory

    def call(items, attempt):
        raise error

    if is_memory:
        assert isinstance(in_halves(call, [1])[0], TooLarge)
    else:
        with pytest.raises(type(error)):
            in_halves(call, [1])


def test_a_real_allocation_that_cannot_be_met():
    found = in_halves(lambda items, attempt: [torch.empty(2**60, dtype=torch.uint8)], [1])
    assert isinstance(found[0], TooLarge)


def test_the_failed_call_holds_nothing_when_the_halves_run():
    class Big:
        alive = 0

        def __init__(self):
            Big.alive += 1

        def __del__(self):
            Big.alive -= 1

    seen = []

    def call(items, attempt):
        seen.append(Big.alive)
        held = Big()
        if len(items) > 1:
            raise MemoryError
        del held
        return list(items)

    assert in_halves(call, [1, 2, 3, 4]) == [1, 2, 3, 4]
    assert seen == [0] * 7
