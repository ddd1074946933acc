"""A frame: planes of samples with an exact time, and what its samples mean.

Frames stay in the source's own planes from decoder to encoder. What all frames of a stream
share (size, layout, colour) is a `VideoFormat`; what crosses to a worker is a `Chunk`: the
planes of a few frames and what is needed to restore them. Times never travel.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from streamrestore.patches import PatchPlan
from streamrestore.tasks import Stages, Task

Plane = NDArray[np.uint8] | NDArray[np.uint16]
Planes = tuple[Plane, ...]
"""One array per plane, in FFmpeg's order: Y, Cb, Cr; or G, B, R; or grey alone; then alpha, if any.

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
    TOP = "top"
    """On the top row, between the columns."""
    BOTTOM_LEFT = "bottomleft"
    """On the bottom left luma sample."""
    BOTTOM = "bottom"
    """On the bottom row, between the columns."""


class FieldOrder(StrEnum):
    """Which field of an interlaced frame is shown first: its even or its odd lines. The values are FFmpeg's words."""

    TOP = "tff"
    """Lines 0, 2, 4 and so on."""
    BOTTOM = "bff"


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
    alpha: bool = False
    """Whether a last plane, as large as the picture, says how opaque it is; it passes through untouched."""


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
    fields: bool = False
    """Whether a frame holds two fields, its even and odd lines, taken at different times. They are restored as
    pictures of half its height."""

    @property
    def upright_size(self) -> tuple[int, int]:
        """(height, width) of the picture as it is shown."""
        return (self.width, self.height) if self.quarter_turns % 2 else (self.height, self.width)

    @property
    def divisible(self) -> bool:
        """Whether fields can be restored one by one: every plane has as many even lines as odd ones."""
        return all(height % 2 == 0 for height, _ in self.plane_shapes())

    @property
    def pictures_per_frame(self) -> int:
        """How many pictures a frame is restored as."""
        return 2 if self.fields else 1

    @property
    def picture(self) -> "VideoFormat":
        """The format of what is restored in one piece: a field, or the frame itself."""
        return replace(self, height=self.height // 2, fields=False) if self.fields else self

    def plane_shapes(self) -> tuple[tuple[int, int], ...]:
        """(height, width) of each plane; odd luma sizes round the chroma up."""
        luma = (self.height, self.width)
        down, right = self.pixels.chroma_shift
        chroma = (-(-self.height >> down), -(-self.width >> right))
        colour = () if self.pixels.model == "grey" else (chroma, chroma)
        return (luma, *colour, luma) if self.pixels.alpha else (luma, *colour)

    def frame_bytes(self) -> int:
        """Bytes of one frame's planes."""
        samples = sum(height * width for height, width in self.plane_shapes())
        return samples * (1 if self.pixels.depth <= 8 else 2)


OnError = Literal["pass", "fail"]
"""What becomes of a frame that cannot be read or restored as it should: it is passed on as it is
and counted, or ends the job."""


class Defect(StrEnum):
    """What had to be done about a frame that did not come as it should."""

    CONCEALED = "concealed"
    """The decoder filled in what was damaged."""
    RETIMED = "retimed"
    """Its time was missing, or not after its predecessor's."""
    RESCALED = "rescaled"
    """It had another size or pixel format than the first frame."""


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
    defects: tuple[Defect, ...] = ()
    lost: int = 0
    """Packets since the frame before, or after it at the end of the stream, that gave no picture."""


def planes_md5(planes: Planes) -> str:
    """MD5 of samples: of one plane after the other, row by row, as FFmpeg's ``framemd5`` takes planar formats."""
    digest = hashlib.md5(usedforsecurity=False)
    for plane in planes:
        digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Stamp:
    """What stays of a frame while its planes travel to a worker and back."""

    pts: int
    """As `Frame.pts`."""
    duration: int
    md5: str
    """Of the source's samples: its planes one after the other, as `Planes` orders them."""
    defects: tuple[Defect, ...] = ()
    lost: int = 0
    passed: bool = False
    """Whether the frame could not be restored, and is the source's own."""
    untouched: bool = False
    """Whether the frame needed no restoring, and is the source's own."""


BatchKind: TypeAlias = tuple[tuple[int, int], int, tuple[Task, ...] | None, Stages | None]
"""Size of patches, patches of a batch, tasks, and stages."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A few frames on their way to a worker, restored under one plan."""

    format: VideoFormat
    plan: PatchPlan
    planes: Planes
    """``[K, H, W]`` each."""
    tasks: tuple[Task, ...] | None = None
    """Which tasks of the restorer's chain are run, in the chain's order; None for all of them."""
    stages: Stages | None = None
    """How many stages of each network are run; None for as many as the restorer was set to."""

    @property
    def batch_kind(self) -> BatchKind:
        """Chunks whose kinds are equal may share batches, whatever the size and format of their frames."""
        return self.plan.patch, self.plan.batch, self.tasks, self.stages

    @property
    def patches(self) -> int:
        """Patches of all its pictures."""
        return len(self.planes[0]) * self.format.pictures_per_frame * self.plan.patches


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


@runtime_checkable
class BatchRestorer(ChunkRestorer, Protocol):
    """A restorer whose chunks may share batches, and that may work by itself once it has begun."""

    @property
    def overlaps(self) -> bool:
        """Whether what was begun goes on by itself, so that the next chunks should be begun before it is waited for."""
        ...

    def begin(self, chunks: Sequence[Chunk]) -> Callable[[], tuple[Restored, ...]]:
        """Begin to restore chunks of one `Chunk.batch_kind`; what is returned waits for the results, in order.

        Raises:
            DeviceMemoryError, RestoreError: As `restore`, here or when the results are waited for, whichever
                of the chunks is to blame.
        """
        ...
