"""When a batch fails: halve it where memory did not suffice, else find out which item it was."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")
# What a model raises for inputs that it cannot take.
_ERRORS = (RuntimeError, ValueError, IndexError)
# What allocators without an exception class of their own write into a RuntimeError.
_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "cannot allocate memory")


@dataclass(frozen=True)
class TooLarge:
    """An item that does not fit by itself."""

    reason: str
    attempts: int


@dataclass(frozen=True)
class Refused:
    """An item that fails by itself, for another reason than memory."""

    reason: str


def in_halves(
    call: Callable[[Sequence[T], int], list[R]], items: Sequence[T], *, attempt: int = 1
) -> list[R | TooLarge]:
    """Call with all items, or with halves of them where memory does not suffice.

    Parameters
    ----------
    call : function
        (items, attempt) to one result per item; `attempt` counts the halvings from 1.
    items : sequence
        What to call it with.

    Returns
    -------
    list
        In the order of `items`; an item that does not fit by itself becomes `TooLarge`.
    """
    if not items:
        return []
    try:
        return list(call(items, attempt))
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        # What follows " GPU " are free bytes and process ids, which would make equal failures look different.
        said = str(error).partition("\n")[0].partition(" GPU ")[0] or type(error).__name__
        reason = f"out of memory with a batch of one: {said}"
    # Outside of the handler, so that the traceback no longer holds the failed call's tensors.
    free()
    if len(items) == 1:
        return [TooLarge(reason, attempt)]
    half = (len(items) + 1) // 2
    first = in_halves(call, items[:half], attempt=attempt + 1)
    return first + in_halves(call, items[half:], attempt=attempt + 1)


def one_by_one(call: Callable[[Sequence[T], int], list[R]], items: Sequence[T], attempt: int) -> list[R | Refused]:
    """Call with all items; if that fails, with each by itself: one that fails even so becomes `Refused`.

    What is no item's error is raised: too little memory, which :func:`in_halves` answers, a device that no longer
    works, and what is not supported at all.
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
    """Whether an exception says that memory did not suffice, on a GPU or on the CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def free() -> None:
    """Give cached memory back."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
