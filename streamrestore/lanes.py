"""Three lanes of a device: what comes up, what is computed, what goes down. On CUDA they overlap.

There each lane is a stream with memory of the host pinned for it, so that one chunk is computed while the next one
comes up and the last one goes down. Elsewhere the lanes are one and everything happens at once, in order.

Whoever uses a tensor in another lane than its own keeps it until the lane is done: memory of a stream that is given
back is used again at once by the same stream, whatever the others still do.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from streamrestore.frame import Plane


class Lanes:
    """Lanes of a device that does one thing after the other."""

    overlap = False
    """Whether work is only begun when a call returns, and goes on by itself."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._began = self._ended = 0.0

    @contextmanager
    def uploading(self) -> Iterator[None]:
        """What is done inside is done in the lane of what comes up."""
        self._began = time.perf_counter()
        yield

    @contextmanager
    def computing(self) -> Iterator[None]:
        """In the lane of what is computed, after everything that has come up so far."""
        yield

    @contextmanager
    def downloading(self) -> Iterator[None]:
        """In the lane of what goes down, after everything that was to be computed so far."""
        yield
        self._ended = time.perf_counter()

    def upload(self, plane: Plane) -> Tensor:
        """Samples on the device; to be called inside `uploading`."""
        return torch.from_numpy(plane).to(self._device)

    def download(self, tensor: Tensor) -> Tensor:
        """A tensor on the host; to be called inside `downloading`, its values are there once the mark is passed."""
        return tensor.cpu()

    def mark(self) -> "Mark":
        """The end of all that was begun so far."""
        return Mark(self._ended - self._began)


class Mark:
    """A point in the lanes that is passed when it is made."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds

    def wait(self) -> float:
        """Wait until all is done that was begun before; the seconds that the device took for it."""
        return self._seconds


class CudaLanes(Lanes):
    """Lanes of a GPU. For one thread."""

    overlap = True

    def __init__(self, device: torch.device) -> None:
        """Open the lanes; what was begun before, on whatever stream, is done when this returns."""
        super().__init__(device)
        if device.index is not None:
            # Or every stream that is left would switch back to GPU 0, and so open it: half a gigabyte of its memory.
            torch.cuda.set_device(device)
        torch.cuda.synchronize(device)
        # What comes and goes is little and is waited for: it need not queue behind a network's kernels.
        self._up, self._compute, self._down = (_stream(device, priority) for priority in (-1, 0, -1))
        self._first, self._last = _event(), _event()

    @contextmanager
    def uploading(self) -> Iterator[None]:
        """On the stream of what comes up."""
        with torch.cuda.stream(self._up):
            yield

    @contextmanager
    def computing(self) -> Iterator[None]:
        """On the stream of what is computed, which waits for the other."""
        self._compute.wait_stream(self._up)
        with torch.cuda.stream(self._compute):
            self._first, self._last = _event(), _event()
            self._first.record()
            yield
            self._last.record()

    @contextmanager
    def downloading(self) -> Iterator[None]:
        """On the stream of what goes down, which waits for what is computed."""
        self._down.wait_stream(self._compute)
        with torch.cuda.stream(self._down):
            yield

    def upload(self, plane: Plane) -> Tensor:
        """By way of pinned memory, and not yet there."""
        return torch.from_numpy(plane).pin_memory().to(self._device, non_blocking=True)

    def download(self, tensor: Tensor) -> Tensor:
        """Into pinned memory, and not yet there."""
        # Pinned memory is cached by torch: from the second chunk on, none is pinned any more.
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        return host.copy_(tensor, non_blocking=True)

    def mark(self) -> Mark:
        """The end of what was begun on all streams; knows how long the last computation took."""
        down = _event()
        down.record(self._down)
        return _CudaMark(self._first, self._last, down)


class _CudaMark(Mark):
    def __init__(self, first: torch.cuda.Event, last: torch.cuda.Event, down: torch.cuda.Event) -> None:
        super().__init__()
        self._first, self._last, self._down = first, last, down

    def wait(self) -> float:
        self._down.synchronize()
        return float(self._first.elapsed_time(self._last)) / 1000


def _stream(device: torch.device, priority: int) -> torch.cuda.Stream:
    return torch.cuda.Stream(device, priority)  # type: ignore[no-untyped-call] # torch's, without types


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call] # torch's, without types


def open_lanes(device: torch.device) -> Lanes:
    """The lanes that suit a device."""
    return CudaLanes(device) if device.type == "cuda" else Lanes(device)
