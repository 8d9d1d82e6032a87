"""Copies from a device to the host that run beside the model: pinned memory, a stream of their own, no waiting."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(eq=False)
class CopyStreams:
    """One stream per device for copies, so that they do not hold up the model's own work.

    Attributes
    ----------
    pinned : bool
        Whether the host's memory is pinned, without which a copy from a GPU waits for the device.
    """

    pinned: bool
    _streams: dict[torch.device, torch.cuda.Stream] = field(default_factory=dict)

    def of(self, device: torch.device) -> torch.cuda.Stream:
        """The stream of a device."""
        if device not in self._streams:
            self._streams[device] = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        return self._streams[device]

    def buffer(self, shape: tuple[int, ...], dtype: torch.dtype) -> HostBuffer:
        """Memory on the host for some copies."""
        return HostBuffer(self, torch.empty(shape, dtype=dtype, pin_memory=self.pinned))


@dataclass(eq=False)
class HostBuffer:
    """Memory on the host into which slices are copied; :meth:`ready` waits for what is still under way.

    Attributes
    ----------
    streams : CopyStreams
        The streams used.
    memory : Tensor
        Not to be read before :meth:`ready`.
    """

    streams: CopyStreams
    memory: Tensor
    _events: dict[torch.device, torch.cuda.Event] = field(default_factory=dict)

    def put(self, place: int, values: Tensor) -> None:
        """Copy a tensor to `memory[place]`."""
        if not values.is_cuda:
            self.memory[place].copy_(values)
            return
        device = values.device
        stream = self.streams.of(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            self.memory[place].copy_(values, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(stream)
        # The allocator must not give this memory to a later layer before the copy has read it.
        values.record_stream(stream)
        self._events[device] = event

    def ready(self) -> Tensor:
        """The memory, once every copy has arrived."""
        for event in self._events.values():
            event.synchronize()
        self._events.clear()
        return self.memory
