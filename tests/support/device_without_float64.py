"""A stand-in for a device without float64, such as MPS: tensors that live "there" refuse float64 and NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten

DEVICE = torch.device("mps")


class There(torch.Tensor):
    """A tensor on the device."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func == torch.Tensor.device.__get__:
            return DEVICE
        flat, _ = tree_flatten((args, kwargs))
        home = func is torch.Tensor.cpu or (func is torch.Tensor.to and _target(args, kwargs) == "cpu")
        if any(value is torch.float64 for value in flat) or func is torch.Tensor.double:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        if func is torch.Tensor.numpy or func is torch.Tensor.__array__:
            raise TypeError("can't convert mps:0 device type tensor to numpy")
        if func is torch.Tensor.to and _target(args, kwargs) == "mps":
            args = (args[0], *(a for a in args[1:] if not _is_device(a)))
            kwargs = {k: v for k, v in kwargs.items() if k != "device"}
            if len(args) == 1 and not kwargs:
                return args[0]
        out = super().__torch_function__(func, types, args, kwargs)
        if home and isinstance(out, torch.Tensor):
            return out.as_subclass(torch.Tensor)
        if isinstance(out, torch.Tensor) and torch.Tensor.dtype.__get__(out) is torch.float64:
            raise TypeError(f"{func}: float64 on a device without it")
        return out


def _is_device(value: Any) -> bool:
    return isinstance(value, torch.device) or value in ("mps", "cpu")


def _target(args: Any, kwargs: Any) -> str | None:
    values = [*args[1:], *kwargs.values()]
    found = next((v for v in values if isinstance(v, (str, torch.device, torch.Tensor))), None)
    if found is None:
        return None
    return torch.device(found.device if isinstance(found, torch.Tensor) else found).type


class _Factories(TorchFunctionMode):
    """Tensors made on the device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.to and not isinstance(args[0], There) and _target(args, kwargs) == "mps":
            rest = [a for a in args[1:] if not isinstance(a, (str, torch.device, There))]
            more = {k: v for k, v in kwargs.items() if k != "device"}
            return (func(args[0], *rest, **more) if rest or more else args[0]).as_subclass(There)
        device = kwargs.get("device")
        if device is not None and torch.device(device).type == "mps" and func is not torch.Tensor.to:
            if kwargs.get("dtype") is torch.float64:
                raise TypeError("no float64 on MPS")
            kwargs["device"] = "cpu"
            return func(*args, **kwargs).as_subclass(There)
        if func is torch.Tensor.to and _target(args, kwargs) == "mps":
            return torch.Tensor.to(args[0].as_subclass(There), *args[1:], **kwargs)
        return func(*args, **kwargs)


@contextmanager
def present() -> Iterator[None]:
    """Inside, the device can be made tensors on."""
    with _Factories():
        yield


def moved(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A batch on the device."""
    return {name: value.as_subclass(There) for name, value in batch.items()}
