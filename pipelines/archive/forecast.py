"""What an archive will take, by what a few frames took. Pure.

Decoding, encoding and verifying are taken to cost by the pixel, the network by its arithmetic. On a GPU they overlap,
and the slowest one counts, or the cores, if all but the network together keep these busy for longer; on a CPU all of
them share its cores.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Literal

from streamrestore.devices import CPU_THREADS, DeviceKind
from streamrestore.encoders import ENCODER_THREADS
from workers.archive import LANES

Stage = Literal["decode", "restore", "encode", "files"]
"""``files`` is what is done with each clip as a whole: looking at it, and joining and verifying its result."""

FILE_SHARE = 1.4
"""How many times as long as looking at a clip takes all that is done once for it, however long it is. Measured: 1.1 to
1.7."""

_CORES = (LANES["restore"], LANES["restore"] * ENCODER_THREADS, LANES["side"])
"""The most that a worker uses at once to decode, to encode, and for files."""


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do: of one clip, or of many of one size."""

    items: int = 0
    frames: int = 0
    segments: int = 0
    video_seconds: float = 0.0
    bytes: int = 0
    """Of the sources."""
    companion_bytes: int = 0
    """Of these, sound and all else beside the video, where headers tell."""
    pixels: float = 0.0
    """Of all frames."""
    key_pixels: float = 0.0
    """Of the first frame of each segment."""
    flops: float = 0.0
    """Floating-point operations of the networks for all frames."""

    def __add__(self, other: "Work") -> "Work":
        return Work(
            self.items + other.items,
            self.frames + other.frames,
            self.segments + other.segments,
            self.video_seconds + other.video_seconds,
            self.bytes + other.bytes,
            self.companion_bytes + other.companion_bytes,
            self.pixels + other.pixels,
            self.key_pixels + other.key_pixels,
            self.flops + other.flops,
        )


NOTHING = Work()


def clip_work(
    *,
    frames: int,
    seconds: float,
    size: tuple[int, int],
    flops_per_frame: float,
    frames_in_segment: float,
    bytes: int = 0,
    companion_bytes: int = 0,
) -> Work:
    """What one clip is.

    Args:
        frames: That are to be restored.
        seconds: That they are shown.
        size: (height, width) in pixels.
        flops_per_frame: Of the networks.
        frames_in_segment: The most.
        bytes: Of the source.
        companion_bytes: Of what is beside the video.
    """
    # A segment may end at a key frame in its second half.
    segments = max(2, round(frames / (0.75 * frames_in_segment))) if frames > frames_in_segment else 1
    pixels = float(size[0] * size[1])
    return Work(
        items=1,
        frames=frames,
        segments=segments,
        video_seconds=seconds,
        bytes=bytes,
        companion_bytes=companion_bytes,
        pixels=frames * pixels,
        key_pixels=min(segments, frames) * pixels,
        flops=frames * flops_per_frame,
    )


@dataclass(frozen=True, slots=True)
class Measured:
    """What some frames took on one device."""

    frames: int
    pixels: float
    """That were decoded and encoded."""
    decode_seconds: float
    encode_seconds: float
    flops: float
    """Of the network, for as much of these frames as it restored."""
    restore_seconds: float
    key_pixels: float
    """Of frames that begin a segment."""
    key_bytes: int
    """Of their packets."""
    other_bytes: int
    """Of all other packets."""
    clips: int = 1
    look_seconds: float = 0.0
    """That it took to look at the clips."""
    verify_seconds: float = 0.0
    """That it took to read the encoded frames."""

    def __add__(self, other: "Measured") -> "Measured":
        return Measured(
            self.frames + other.frames,
            self.pixels + other.pixels,
            self.decode_seconds + other.decode_seconds,
            self.encode_seconds + other.encode_seconds,
            self.flops + other.flops,
            self.restore_seconds + other.restore_seconds,
            self.key_pixels + other.key_pixels,
            self.key_bytes + other.key_bytes,
            self.other_bytes + other.other_bytes,
            self.clips + other.clips,
            self.look_seconds + other.look_seconds,
            self.verify_seconds + other.verify_seconds,
        )


def total_measured(measured: Iterable[Measured]) -> Measured:
    """All of it together; there is some."""
    return reduce(add, measured)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What an archive will take on one device; each stage, if nothing else kept its worker waiting."""

    decode_seconds: float
    restore_seconds: float
    encode_seconds: float
    file_seconds: float
    device_seconds: float
    """From beginning to end, with one device."""
    output_bytes: float

    @property
    def stages(self) -> dict[Stage, float]:
        """Seconds of each."""
        return {
            "restore": self.restore_seconds,
            "decode": self.decode_seconds,
            "encode": self.encode_seconds,
            "files": self.file_seconds,
        }

    @property
    def bottleneck(self) -> Stage:
        """The stage that takes longest."""
        return max(self.stages, key=lambda stage: self.stages[stage])

    def hours(self, devices: float = 1) -> float:
        """From beginning to end, with several devices like this one."""
        return self.device_seconds / 3600 / devices


def forecast(works: Iterable[Work], measured: Measured, kind: DeviceKind, cores: float = CPU_THREADS) -> Forecast:
    """Predict what work takes.

    Args:
        works: Clips of one kind each.
        measured: What some frames took; some of each stage. Seconds of a core, but for those of a GPU.
        kind: Of the device it was measured on.
        cores: That there are for each device; on a CPU, of a worker.
    """
    decode = restore = encode = files = size = 0.0
    others = measured.pixels - measured.key_pixels
    for work in works:
        stages = (
            _scaled(measured.decode_seconds, work.pixels, measured.pixels),
            _scaled(measured.restore_seconds, work.flops, measured.flops),
            _scaled(measured.encode_seconds, work.pixels, measured.pixels),
            _scaled(FILE_SHARE * measured.look_seconds, work.items, measured.clips)
            + _scaled(measured.verify_seconds, work.pixels, measured.pixels),
        )
        decode, restore, encode, files = (
            sums + mine for sums, mine in zip((decode, restore, encode, files), stages, strict=True)
        )
        size += _scaled(measured.key_bytes, work.key_pixels, measured.key_pixels) + work.companion_bytes
        if others > 0:
            size += _scaled(measured.other_bytes, work.pixels - work.key_pixels, others)
        else:  # nothing is known but of key frames
            size += _scaled(measured.key_bytes, work.pixels - work.key_pixels, measured.key_pixels)
    beside = (decode + encode + files) / cores
    decode, encode, files = (
        seconds / min(cores, most) for seconds, most in zip((decode, encode, files), _CORES, strict=True)
    )
    whole = max(restore + beside if kind == "cpu" else restore, beside, decode, encode, files)
    return Forecast(decode, restore, encode, files, whole, size)


def _scaled(value: float, wanted: float, measured: float) -> float:
    return value * (wanted / measured) if measured > 0 else 0.0


def total(works: Iterable[Work]) -> Work:
    """All of them together."""
    return sum(works, NOTHING)
