"""Stand-ins for several devices: tensors with an address, which compute only with tensors of the same address.

As on GPUs, tensors of two devices in one operation are an error, single numbers on the processor excepted. Values are
computed on the processor, so that results are those of one device bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map_only

# A kind of device that no test machine has, and for which neither library nor accelerate calls anything.
KIND = "ipu"
_COPIES = (torch.Tensor.copy_,)
_INDEXING = (torch.Tensor.__getitem__, torch.Tensor.__setitem__)


class Placed(torch.Tensor):
    """A tensor on one of the devices."""

    place: torch.device

    def __deepcopy__(self, memo: Any) -> Any:
        if id(self) not in memo:
            memo[id(self)] = self.detach().clone().requires_grad_(self.requires_grad)
        return memo[id(self)]

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _computed(func, args, kwargs or {})


def put(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """The tensor on a device; its memory is shared."""
    device = torch.device(device)
    with torch._C.DisableTorchFunctionSubclass():
        plain = tensor.as_subclass(torch.Tensor)
        if device.type != KIND:
            return plain
        placed = plain.as_subclass(Placed)
    placed.place = torch.device(KIND, device.index or 0)
    return placed


def placed_batch(batch: dict[str, torch.Tensor], device: str) -> dict[str, torch.Tensor]:
    """A batch on a device."""
    return {name: put(value, device) for name, value in batch.items()}


def _computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation on tensors of one device; its results are there too."""
    flat, _ = tree_flatten((args, kwargs))
    here = {value.place for value in flat if type(value) is Placed or isinstance(value, Placed)}
    if func == torch.Tensor.device.__get__:
        return args[0].place
    if func is torch.autograd.grad:
        with torch._C.DisableTorchFunctionSubclass():
            found = func(*args, **kwargs)
        return tuple(put(one, source.device) for one, source in zip(found, args[1], strict=True))
    if func is torch.Tensor.cpu:
        return put(args[0], "cpu").clone()
    if func is torch.Tensor.to:
        return _moved(*args, **kwargs)
    if func in (torch.Tensor.numpy, torch.Tensor.__array__):
        raise TypeError(f"can't convert {KIND}:0 device type tensor to numpy. Use Tensor.cpu() first")
    others = [value for value in flat if isinstance(value, torch.Tensor) and not isinstance(value, Placed)]
    if func in _INDEXING and len(here) == 1 and isinstance(args[0], Placed):
        others = []  # indices may be on the processor
    if func not in _COPIES and (len(here) > 1 or any(value.ndim for value in others)):
        places = sorted({str(place) for place in here} | {"cpu" for value in others if value.ndim})
        raise RuntimeError(f"Expected all tensors to be on the same device, found {', '.join(places)} in {func}")
    target = kwargs.get("device")
    if target is not None:
        kwargs = {**kwargs, "device": "cpu"}
    if not here and target is None:
        return func(*args, **kwargs)
    place = torch.device(target) if target is not None else next(iter(here))
    with torch._C.DisableTorchFunctionSubclass():
        out = func(*args, **kwargs)

    def settled(tensor: torch.Tensor) -> torch.Tensor:
        return tensor if "place" in vars(tensor) else put(tensor, place)

    if func in (torch.Tensor.grad.__get__, torch.Tensor.requires_grad.__get__):
        return out
    return tree_map_only(torch.Tensor, settled, out)


def _moved(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """`tensor.to(...)`, which copies between devices."""
    args_, kwargs_ = list(args), dict(kwargs)
    target: Any = kwargs_.pop("device", None)
    for index, value in enumerate(args_):
        if isinstance(value, torch.Tensor):
            target, kwargs_["dtype"] = value.device, value.dtype
        elif isinstance(value, (str, torch.device)):
            target = value
        else:
            continue
        args_[index] = "cpu"
        break
    before = tensor.device
    target = before if target is None else torch.device(target)
    with torch._C.DisableTorchFunctionSubclass():
        plain = tensor.as_subclass(torch.Tensor)
        out = plain.to(*args_, **kwargs_) if args_ or kwargs_ else plain
        if target != before and out is plain:
            out = plain.clone()
    return tensor if out is plain and target == before else put(out, target)


class _Factories(TorchFunctionMode):
    """Tensors made on a device or moved to one."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.to and any(_is_here(value) for value in (*args, *kwargs.values())):
            return _moved(*args, **kwargs)
        if func is not torch.Tensor.to and _is_here(kwargs.get("device")):
            return _computed(func, args, kwargs)
        return func(*args, **kwargs)


def _is_here(value: Any) -> bool:
    if isinstance(value, str):
        return value.partition(":")[0] == KIND
    return isinstance(value, Placed) or (isinstance(value, torch.device) and value.type == KIND)


@contextmanager
def present() -> Iterator[None]:
    """Inside, tensors can be made on the devices and moved to them."""
    with _Factories():
        yield
