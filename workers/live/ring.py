"""Planes of a few frames in memory that two processes share.

The memory has no name: it is handed over as a file descriptor, and is gone when both processes are,
however they ended.
"""

import mmap
import os
import tempfile
from contextlib import suppress
from typing import cast

import numpy as np
from numpy.typing import NDArray

from streamrestore.frame import Plane, Planes, VideoFormat

_FREE, _FULL = 0, 1


class FrameRing:
    """Slots that one process fills and the other one empties. One thread on either side.

    A slot's state is one byte before all slots, so neither side ever waits for the other.
    """

    def __init__(self, descriptor: int, slots: int, slot_bytes: int) -> None:
        """Map memory that was made already; the descriptor is the ring's from here on.

        Args:
            descriptor: Of the memory, as `create` made it.
            slots: How many frames it holds.
            slot_bytes: What one frame may take.
        """
        self.descriptor = descriptor
        self.slots = slots
        self.slot_bytes = slot_bytes
        self._memory = mmap.mmap(descriptor, _length(slots, slot_bytes))

    @classmethod
    def create(cls, slots: int, slot_bytes: int) -> "FrameRing":
        """New memory, all of whose slots are free."""
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("streamrestore-frames")
        else:
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        os.ftruncate(descriptor, _length(slots, slot_bytes))
        return cls(descriptor, slots, slot_bytes)

    def free_slot(self) -> int | None:
        """A slot that may be filled; None where all are full."""
        slot = self._memory[: self.slots].find(_FREE)
        return None if slot < 0 else slot

    def fill(self, slot: int, planes: Planes) -> None:
        """Copy a frame into a free slot.

        Args:
            slot: From `free_slot`.
            planes: ``[H, W]`` each, together at most `slot_bytes`.
        """
        place = self._place(slot)
        for plane in planes:
            place[: plane.nbytes].view(plane.dtype).reshape(plane.shape)[:] = plane
            place = place[plane.nbytes :]
        self._memory[slot] = _FULL

    def empty(self, slot: int, video: VideoFormat) -> Planes:
        """Copy a frame out of a full slot, and free the slot.

        Returns:
            Planes of that format, owned by the caller.
        """
        place = self._place(slot)
        planes = list[Plane]()
        for shape in video.plane_shapes():
            count = shape[0] * shape[1] * (1 if video.pixels.depth <= 8 else 2)
            samples = place[:count].view(np.uint8 if video.pixels.depth <= 8 else np.uint16)
            planes.append(cast(Plane, samples.reshape(shape).copy()))
            place = place[count:]
        self.free(slot)
        return tuple(planes)

    def free(self, slot: int) -> None:
        """Give a slot back without looking at it."""
        self._memory[slot] = _FREE

    def close(self) -> None:
        """Let go of the memory; may be called twice."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        with suppress(BufferError):  # somebody still looks at it, and will let go
            self._memory.close()

    def _place(self, slot: int) -> NDArray[np.uint8]:
        start = _start(self.slots) + slot * _padded(self.slot_bytes)
        return np.frombuffer(self._memory, np.uint8, self.slot_bytes, start)


def _padded(count: int) -> int:
    """Where samples of 16 bits may begin."""
    return -(-count // 64) * 64


def _start(slots: int) -> int:
    return _padded(slots)


def _length(slots: int, slot_bytes: int) -> int:
    return _start(slots) + slots * _padded(slot_bytes)
