"""A frame: planes of samples with an exact time, and what its samples mean.

Frames stay in the source's own planes from decoder to encoder. What all frames of a stream
share (size, layout, colour) is a `VideoFormat`; what crosses to a worker is a `Chunk`: the
planes of a few frames and what is needed to restore them. Times never travel.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from streamrestore.patches import PatchPlan

Plane = NDArray[np.uint8] | NDArray[np.uint16]
Planes = tuple[Plane, ...]
"""One array per plane, in FFmpeg's order: Y, Cb, Cr; or G, B, R; or grey alone.

``[H, W]`` for a frame, ``[K, H, W]`` for a chunk; chroma planes are smaller where the format
subsamples. uint8 up to 8 bits, else uint16 in native byte order, values in [0, 2^depth - 1].
"""


class Matrix(StrEnum):
    """Which YCbCr matrix the samples are in."""

    BT601 = "bt601"
    """ITU-R BT.601 (FFmpeg's bt470bg and smpte170m)."""
    BT709 = "bt709"
    """ITU-R BT.709."""
    BT2020_NCL = "bt2020nc"
    """ITU-R BT.2020, non-constant luminance."""
    FCC = "fcc"
    """FCC Title 47."""
    SMPTE240M = "smpte240m"
    """SMPTE ST 240."""


class ChromaLocation(StrEnum):
    """Where a chroma sample sits among the luma samples it covers."""

    LEFT = "left"
    """On the left column, between the rows (MPEG-2, H.264: the default)."""
    CENTER = "center"
    """In the middle (JPEG, MPEG-1)."""
    TOP_LEFT = "topleft"
    """On the top left luma sample (BT.2020, DV)."""


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How samples are laid out in planes."""

    name: str
    """FFmpeg's name, such as ``yuv420p10le``."""
    model: Literal["yuv", "rgb", "grey"]
    depth: int
    """Bits a sample, 8 to 16."""
    chroma_shift: tuple[int, int] = (0, 0)
    """Binary logarithm of the (vertical, horizontal) chroma subsampling: 4:2:0 is (1, 1)."""


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """What every frame of a stream has in common, all guesses already made."""

    width: int
    height: int
    pixels: PixelFormat
    matrix: Matrix
    """Only meaningful where ``pixels.model`` is ``yuv``."""
    full_range: bool
    chroma_location: ChromaLocation
    quarter_turns: int = 0
    """Counterclockwise quarter turns that put the picture upright, 0 to 3. Networks are trained on
    upright pictures (rain falls down), so they are shown them; the planes stay as they are."""

    @property
    def upright_size(self) -> tuple[int, int]:
        """(height, width) of the picture as it is shown."""
        return (self.width, self.height) if self.quarter_turns % 2 else (self.height, self.width)

    def plane_shapes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of each plane; odd luma sizes round the chroma up."""
        luma = (self.height, self.width)
        if self.pixels.model == "grey":
            return (luma,)
        down, right = self.pixels.chroma_shift
        chroma = (-(-self.height >> down), -(-self.width >> right))
        return (luma, chroma, chroma)

    def frame_bytes(self) -> int:
        """Bytes of one frame's planes."""
        samples = sum(height * width for height, width in self.plane_shapes())
        return samples * (1 if self.pixels.depth <= 8 else 2)


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded picture, in presentation order."""

    index: int
    """Counted from 0 over the frames that are shown."""
    pts: int
    """Presentation time in the stream's time base, exact."""
    duration: int
    """In the stream's time base; 0 where the container does not say."""
    planes: Planes
    """``[H, W]`` each, owned by the frame."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A few frames on their way to a worker, restored under one plan."""

    format: VideoFormat
    plan: PatchPlan
    planes: Planes
    """``[K, H, W]`` each."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a worker gives back for a chunk."""

    planes: Planes
    """Same shapes and dtypes as the chunk's; may be read-only."""
    seconds: float
    """How long the device was busy with it."""


class ChunkRestorer(Protocol):
    """What a worker holds. Passive; called by one thread at a time."""

    def restore(self, chunk: Chunk) -> Restored:
        """Restore every frame of the chunk.

        Raises:
            DeviceMemoryError: One patch of the plan does not fit the device.
            RestoreError: The frames could not be restored.
        """
        ...
