"""When a batch fails: halve it if memory was insufficient, otherwise find the item that fails."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")
# What a model raises for inputs that it cannot process.
_ERRORS = (RuntimeError, ValueError, IndexError)
# How allocators without an exception class of their own word a RuntimeError.
_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")


@dataclass(frozen=True)
class TooLarge:
    """An item that does not fit into memory by itself, and after how many attempts."""

    reason: str
    attempts: int


@dataclass(frozen=True)
class Refused:
    """An item that fails by itself for a reason other than memory."""

    reason: str


def in_halves(
    call: Callable[[Sequence[T], int], list[R]], items: Sequence[T], *, attempt: int = 1
) -> list[R | TooLarge]:
    """Call a function with all items, or with halves of them where memory is insufficient.

    Parameters
    ----------
    call : function
        (items, attempt) to one result per item; `attempt` counts the halvings from 1.
    items : sequence
        The batch.
    attempt : int
        Number of the first attempt.

    Returns
    -------
    list
        In the order of `items`; an item that does not fit by itself becomes `TooLarge`.

    Raises
    ------
    RuntimeError
        Whatever else `call` raises.
    """
    if not items:
        return []
    try:
        return list(call(items, attempt))
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        # Free bytes and process ids follow " GPU "; they would make equal failures look different.
        message = str(error).partition("\n")[0].partition(" GPU ")[0] or type(error).__name__
        reason = f"out of memory with a batch of one: {message}"
    # Outside the handler, so that the traceback no longer keeps the failed call's tensors alive.
    free()
    if len(items) == 1:
        return [TooLarge(reason, attempt)]
    half = (len(items) + 1) // 2
    first = in_halves(call, items[:half], attempt=attempt + 1)
    return first + in_halves(call, items[half:], attempt=attempt + 1)


def one_by_one(call: Callable[[Sequence[T], int], list[R]], items: Sequence[T], attempt: int) -> list[R | Refused]:
    """Call a function with all items; if that fails, with each by itself. An item that still fails becomes `Refused`.

    Errors not caused by a single item are re-raised: out of memory (which :func:`in_halves` handles), device failures,
    unsupported operations.
    """
    try:
        return list(call(items, attempt))
    except _ERRORS as error:
        if out_of_memory(error) or isinstance(error, (torch.AcceleratorError, NotImplementedError)):
            raise
        if len(items) == 1:
            return [Refused(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}")]
    return [result for item in items for result in one_by_one(call, [item], attempt + 1)]


def out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory was insufficient, on a GPU or on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def free() -> None:
    """Return cached memory to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
