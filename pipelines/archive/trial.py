"""Restore a second or so of a few clips, and see what that takes; what comes of it is thrown away.

Decoder, network and encoder are those of a run, one after the other, so that each is measured by itself. Where a frame
would take the device too long the network is given a part of each, and what is encoded are the frames as they came.
"""

import logging
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.archive.context import ArchiveContext
from pipelines.archive.forecast import Measured, total_measured
from pipelines.archive.items import ArchiveItem
from pipelines.planning import FileOptions, plan_job_encoding, plan_job_fields, plan_job_patches
from streamrestore.assessor import ShotAssessor
from streamrestore.cpu import cpu_cores
from streamrestore.devices import CPU_THREADS, DeviceKind
from streamrestore.encoder import check_encoder
from streamrestore.errors import OutputError, SourceError, StreamRestoreError
from streamrestore.frame import Chunk, Frame, Planes, Restored, Stamp, VideoFormat, planes_md5
from streamrestore.opening import find_opening
from streamrestore.patches import PatchPlan
from streamrestore.probing import probe
from streamrestore.segment_file import segment_packets
from streamrestore.segments import Segment
from streamrestore.shots import find_shots, shot_at
from streamrestore.sink import open_sink
from streamrestore.source import Source
from streamrestore.tasks import Task
from streamrestore.work_folder import WorkFolder
from workers import RestorerPool, frames_in_chunk

FRAMES = 36
"""In all, at most; a chunk of them is restored before any is measured."""

SECONDS = 9.0
"""That the network may take in all, about, and as long again for what is not measured."""

LEAST_FRAMES = 4
"""Of each clip: where it takes too long to restore so many, they are restored in part."""

SKIPPED_SECONDS = 3.0
"""At the beginning of a clip, where it may be black."""

_BUSY = 1.5
"""Processes that wait for each core, on average of the last minute, on a busy machine."""

_WORKED = 0.8
"""The part of the time that each core of a worker works for the network, if left alone. Measured: 0.75 to 0.97."""

_FRAMES_BYTES = 1 << 28
"""What the frames of a clip may hold."""

_CROP_MULTIPLE = 16
"""Sides and places of parts of frames: whole samples of any chroma, and of both fields."""

_AHEAD: dict[DeviceKind, int] = {"cuda": 4, "mps": 4, "cpu": 0}
"""Chunks that wait while one is restored: a GPU takes in the next one meanwhile."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trial:
    """What some frames took on one device."""

    device: str
    """For people."""
    kind: DeviceKind
    precision: str
    clips: tuple[str, ...]
    measured: Measured
    cropped: bool
    """Whether the network was given parts of frames."""
    cores: int
    """Of the machine."""
    busy: bool
    """Whether other processes took the cores of a CPU meanwhile; that is not measured."""


@dataclass(frozen=True, slots=True)
class Untried:
    """Why nothing was measured."""

    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TryClips:
    """Try some clips on the device of a worker: a step, as those of `pipelines.archive.steps`."""

    items: tuple[ArchiveItem, ...]
    """At least one."""
    frames: int = FRAMES
    seconds: float = SECONDS

    def __call__(self, context: ArchiveContext) -> Trial | Untried:
        """Try them; those that cannot be restored are left out.

        Raises:
            ConfigError: The precision is unknown.
            WorkerStartError: The network could not be started.
        """
        found, failures, cropped = dict[str, Measured](), list[str](), False
        share = len(self.items)
        for item in self.items:
            network = context.network(item)
            with context.pool(network) as pool, tempfile.TemporaryDirectory(prefix="streamrestore-") as folder:
                try:
                    with context.source(item) as path:
                        clip = PreparedClip(path, context.options(item), item.suffix)
                        found[item.name], part = _try(
                            clip, pool, Path(folder), max(LEAST_FRAMES, self.frames // share), self.seconds / share
                        )
                        cropped |= part
                except StreamRestoreError as error:
                    failures.append(f"{item.name}: {error}")
        if not found:
            return Untried(tuple(failures))
        network = context.network(self.items[0])
        return Trial(
            device=context.device,
            kind=network.device.kind,
            precision=str(network.precision),
            clips=tuple(found),
            measured=total_measured(found.values()),
            cropped=cropped,
            cores=cpu_cores(),
            busy=network.device.kind == "cpu" and os.getloadavg()[0] > _BUSY * cpu_cores(),
        )


class PreparedClip:
    """One clip with all decided for which it need not be read through."""

    def __init__(self, path: Path, options: FileOptions, suffix: str | None = None) -> None:
        """Look at it.

        Args:
            path: Of the clip.
            options: What is asked for of it.
            suffix: Of the output, if it was given one.

        Raises:
            ConfigError: What was asked for does not fit it.
            SourceError: It cannot be read, or not be restored without loss.
        """
        began = time.process_time()
        self.options = options
        self.info, self.fields = plan_job_fields(probe(find_opening(path, options.input)), options)
        self.encoding = plan_job_encoding(self.info, self.fields, options, suffix)
        check_encoder(self.info, self.encoding)
        self.source = Source(self.info, deinterlace=self.fields.deinterlace)
        self.look_seconds = time.process_time() - began
        """Of a core, that this took."""

    def patches(self, video: VideoFormat | None = None) -> PatchPlan:
        """How its frames are cut, or those of another format.

        Raises:
            PatchSizeError: No patches of the size that was asked for cover them.
        """
        info = self.info if video is None else replace(self.info, video=video)
        return plan_job_patches(info, self.options.network, self.options.patch)

    def frames_to_skip(self) -> int:
        """Frames that are not looked at; not more than a third."""
        rate = float(self.info.average_rate or 25)
        return min(int(SKIPPED_SECONDS * rate), (self.info.estimated_frames or 0) // 3)


def _try(clip: PreparedClip, pool: RestorerPool, folder: Path, most: int, seconds: float) -> tuple[Measured, bool]:
    """What some frames of a clip take, and whether they were restored in part only."""
    video, network = clip.info.video, clip.options.network
    frames, decode_seconds = _decode(clip, min(most, max(2, _FRAMES_BYTES // video.frame_bytes())))
    began = time.process_time()
    tasks = [None] * len(frames) if network.assessor is None else needed_tasks(frames, video, network.assessor)
    look_seconds = time.process_time() - began
    if network.assessor is not None:  # whatever is looked through is decoded twice
        look_seconds += decode_seconds
    part = affordable_part(clip, pool, frames, seconds)
    shown = video if part is None else part
    plan = clip.patches(shown)
    chunks = _chunks(frames, tasks, video, shown, plan)
    restored, count, restore_seconds = _restore(pool, chunks, seconds, network.device.kind)
    given = restored if part is None else [frame.planes for frame in frames]
    sizes, encode_seconds, verify_seconds = _encode(clip, folder, frames, given)
    pixels = float(video.height * video.width)
    measured = Measured(
        frames=len(restored),
        pixels=pixels * len(given),
        decode_seconds=(decode_seconds + look_seconds) * len(given) / len(frames),
        encode_seconds=encode_seconds,
        flops=count * plan.patches * plan.patch[0] * plan.patch[1] * shown.pictures_per_frame * network.flops_per_pixel,
        restore_seconds=restore_seconds,
        key_pixels=pixels,
        key_bytes=sizes[0],
        other_bytes=sum(sizes[1:]),
        look_seconds=clip.look_seconds,
        verify_seconds=verify_seconds,
    )
    return measured, part is not None


def _decode(clip: PreparedClip, most: int) -> tuple[list[Frame], float]:
    """Some frames, and the seconds of a core that they took.

    Raises:
        SourceError: It has none.
    """
    with clip.source as source:
        decoded = source.frames()
        skipped = deque(islice(decoded, clip.frames_to_skip()), maxlen=1)
        began = time.process_time()
        frames = list(islice(decoded, most))
        for frame in frames:
            planes_md5(frame.planes)  # as of all that is restored
        seconds = time.process_time() - began
    frames = frames or list(skipped)
    if not frames:
        raise SourceError(f"no frame of {clip.info.path} is shown: nothing to restore")
    return frames, seconds


def needed_tasks(frames: Sequence[Frame], video: VideoFormat, assessor: ShotAssessor) -> list[tuple[Task, ...] | None]:
    """What each frame needs."""
    shots = list(find_shots(iter(frames), video, assessor))
    return [shot_at(shots, frame.pts).tasks for frame in frames]


def affordable_part(
    clip: PreparedClip, pool: RestorerPool, frames: Sequence[Frame], seconds: float
) -> VideoFormat | None:
    """What of each frame is restored, so that a few of them can be; None for all of it."""
    video = clip.info.video
    patch = clip.patches().patch
    sample = _part(video, min(patch))
    noise, seconds_taken = np.random.default_rng(0), list[float]()
    for _ in range(3):  # the first one wakes the device
        # What shows the same as before would not be computed again.
        planes = tuple(
            plane ^ noise.integers(0, 2, plane.shape, plane.dtype) for plane in cut_part(frames[:1], video, sample)
        )
        chunk = Chunk(sample, clip.patches(sample), planes)
        taken = _seconds(clip.options.network.device.kind)
        pool.submit(chunk).result()
        seconds_taken.append(taken())
    took = min(seconds_taken[1:])
    plan, sample_plan = clip.patches(), clip.patches(sample)
    whole = took * plan.patches / sample_plan.patches * plan.patch[0] * plan.patch[1]
    whole /= sample_plan.patch[0] * sample_plan.patch[1]
    affordable = seconds / LEAST_FRAMES / max(whole, 1e-9)
    if affordable >= 1:
        return None
    side = int((video.height * video.width * affordable) ** 0.5)
    return _part(video, max(side, min(patch)))


def _part(video: VideoFormat, side: int) -> VideoFormat:
    """A square of a video, or as much of it as there is."""
    height, width = (
        length if length <= side else max(_CROP_MULTIPLE, side // _CROP_MULTIPLE * _CROP_MULTIPLE)
        for length in (video.height, video.width)
    )
    return replace(video, height=height, width=width)


def cut_part(frames: Sequence[Frame], video: VideoFormat, part: VideoFormat) -> Planes:
    """The middle of some frames.

    Args:
        frames: At least one.
        video: Their format.
        part: Of the part.

    Returns:
        ``[K, H, W]`` each.
    """
    top, left = (
        (whole - cut) // 2 // _CROP_MULTIPLE * _CROP_MULTIPLE
        for whole, cut in ((video.height, part.height), (video.width, part.width))
    )
    planes = list[NDArray[Any]]()
    shapes = zip(part.plane_shapes(), video.plane_shapes(), strict=True)
    for index, ((rows, columns), (height, width)) in enumerate(shapes):
        first, leftmost = top * height // video.height, left * width // video.width
        cut = slice(first, first + rows), slice(leftmost, leftmost + columns)
        planes.append(np.stack([frame.planes[index][cut] for frame in frames]))
    return tuple(planes)


def _chunks(
    frames: Sequence[Frame],
    tasks: Sequence[tuple[Task, ...] | None],
    video: VideoFormat,
    part: VideoFormat,
    plan: PatchPlan,
) -> Iterator[Chunk]:
    """Frames as a run hands them to the network, or parts of them."""
    most = frames_in_chunk(video.frame_bytes())
    for task, group in groupby(zip(frames, tasks, strict=True), key=lambda each: each[1]):
        same = [frame for frame, _ in group]
        for first in range(0, len(same), most):
            yield Chunk(part, plan, cut_part(same[first : first + most], video, part), task)


def _restore(
    pool: RestorerPool, chunks: Iterator[Chunk], seconds: float, kind: DeviceKind
) -> tuple[list[Planes], int, float]:
    """As many frames as there is time for.

    Returns:
        What became of them, how many were measured, and the seconds that these took. The first ones are not measured,
        if others follow: devices, and what computes on a CPU, prepare for sizes that they have not seen.
    """
    restored, waiting = list[Planes](), deque[tuple[Chunk, "Future[Restored] | None"]]()
    taken = _seconds(kind)
    first = next(chunks)
    restored += _apart(first, None if first.tasks == () else pool.submit(first))
    unmeasured, first_seconds, began, taken = len(restored), taken(), time.monotonic(), _seconds(kind)
    for chunk in chunks:
        waiting.append((chunk, None if chunk.tasks == () else pool.submit(chunk)))
        if len(waiting) > _AHEAD[kind]:
            restored += _apart(*waiting.popleft())
        if time.monotonic() - began > seconds:
            break
    for each in waiting:
        restored += _apart(*each)
    if len(restored) == unmeasured:
        return restored, unmeasured, first_seconds
    return restored, len(restored) - unmeasured, taken()


def _seconds(kind: DeviceKind) -> Callable[[], float]:
    """Says how long a device has taken since then; a CPU, as if nobody else had wanted its cores meanwhile."""
    began, worked = time.monotonic(), time.process_time()

    def taken() -> float:
        seconds, at_work = time.monotonic() - began, time.process_time() - worked
        return seconds if kind != "cpu" else min(seconds, at_work / CPU_THREADS / _WORKED)

    return taken


def _apart(chunk: Chunk, future: "Future[Restored] | None") -> list[Planes]:
    """The restored frames of a chunk, each by itself."""
    planes = chunk.planes if future is None else future.result().planes
    return [tuple(plane[index] for plane in planes) for index in range(len(planes[0]))]


def _encode(
    clip: PreparedClip, folder: Path, frames: Sequence[Frame], given: Sequence[Planes]
) -> tuple[list[int], float, float]:
    """The sizes of all packets in bytes, the key frame's first, and the seconds of a core that it took to write and to
    read them.
    """
    work = WorkFolder(folder, {"trial": str(clip.info.path)})
    work.open()
    began = time.process_time()
    with open_sink(work, clip.info, clip.encoding, [Segment(0, None, None)]) as sink:
        for frame, planes in zip(frames, given, strict=False):
            sink.write(Stamp(frame.pts, frame.duration, ""), planes)
    seconds = time.process_time() - began
    record = work.record(0)
    if record is None:
        raise OutputError(f"{folder}: what was just written there is gone")
    file = work.file_of(record)
    with Source(probe(find_opening(file))) as written:
        began = time.process_time()
        for frame in written.frames():
            planes_md5(frame.planes)
        verify_seconds = time.process_time() - began
    return [packet.size for packet in segment_packets(file)], seconds, verify_seconds
