"""Restorers without weights that do as they are told, and chunks that tell them."""

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from streamrestore.errors import RestoreError
from streamrestore.frame import (
    ChromaLocation,
    Chunk,
    Matrix,
    PixelFormat,
    Planes,
    Restored,
    VideoFormat,
)
from streamrestore.patches import PatchPlan


def chunk_of(value: int, size: tuple[int, int] = (8, 16), depth: int = 8) -> Chunk:
    """Two grey frames whose every sample is ``value``."""
    height, width = size
    pixels = PixelFormat("gray" if depth == 8 else f"gray{depth}le", "grey", depth)
    video = VideoFormat(width, height, pixels, Matrix.BT709, full_range=True, chroma_location=ChromaLocation.LEFT)
    plane = np.full((2, height, width), value, np.uint8 if depth == 8 else np.uint16)
    return Chunk(video, PatchPlan(size, size, size, 0, 1), (plane,))


def value_of(planes: Planes) -> int:
    """The one value of all samples."""
    (plane,) = planes
    (value,) = np.unique(plane)
    return int(value)


@dataclass(frozen=True)
class Script:
    """What to do with the chunks of a value; adds one to all others."""

    seconds: dict[int, float] = field(default_factory=dict)
    """Sleep so long."""
    errors: dict[int, Exception] = field(default_factory=dict)
    """Raise this."""
    kill: frozenset[int] = frozenset()
    """Kill the process."""
    once: Path | None = None
    """Sleep, raise and kill only if this file does not exist; create it."""

    def __call__(self) -> "ScriptedRestorer":
        return ScriptedRestorer(self)


@dataclass
class ScriptedRestorer:
    """Follows a script."""

    script: Script

    def restore(self, chunk: Chunk) -> Restored:
        value = value_of(chunk.planes)
        if self._first_time(value):
            time.sleep(self.script.seconds.get(value, 0.0))
            if value in self.script.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            if value in self.script.errors:
                raise self.script.errors[value]
        return Restored(tuple(plane + plane.dtype.type(1) for plane in chunk.planes), 0.5)

    def _first_time(self, value: int) -> bool:
        if self.script.once is None or value not in {*self.script.seconds, *self.script.errors, *self.script.kill}:
            return True
        try:
            self.script.once.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


@dataclass(frozen=True)
class OneIll:
    """Restorers of which one fails with everything, for as long as its process lives."""

    taken: Path
    """Created by whoever restores first; that one is ill."""

    def __call__(self) -> "MaybeIllRestorer":
        return MaybeIllRestorer(self.taken)


@dataclass
class MaybeIllRestorer:
    """Adds one, unless it is ill."""

    taken: Path
    ill: bool | None = None

    def restore(self, chunk: Chunk) -> Restored:
        if self.ill is None:
            with self.taken.open("a+") as file:
                file.write(f"{os.getpid()}\n")
                file.flush()
            self.ill = self.taken.read_text().split()[0] == str(os.getpid())
        if self.ill:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return Restored(tuple(plane + plane.dtype.type(1) for plane in chunk.planes), 0.5)


@dataclass(frozen=True)
class OneCanStart:
    """Restorers of which all but the first cannot be built, until that is repaired."""

    taken: Path
    """Created by whoever is built first."""
    repaired: Path
    kill: bool = False
    """Whether the others' processes die, instead of saying why."""

    def __call__(self) -> ScriptedRestorer:
        try:
            self.taken.touch(exist_ok=False)
        except FileExistsError:
            if not self.repaired.exists():
                if self.kill:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise OSError("no such device") from None
        return ScriptedRestorer(Script())


@dataclass(frozen=True)
class FailingBuild:
    """A restorer that cannot be built."""

    error: Exception

    def __call__(self) -> ScriptedRestorer:
        raise self.error


def hanging_build() -> ScriptedRestorer:
    """A restorer that takes minutes to build."""
    time.sleep(600)
    raise AssertionError("nobody waits that long")


def killing_build() -> ScriptedRestorer:
    """A restorer whose building kills the process."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody survives that")


class EnvironmentRestorer:
    """Tells its environment in an error."""

    def restore(self, chunk: Chunk) -> Restored:
        raise RestoreError(os.environ["CUDA_VISIBLE_DEVICES"], os.environ["OMP_NUM_THREADS"])
